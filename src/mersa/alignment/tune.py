"""Alignment of the weights of an encoder of Hugging Face itself, of words or sound.

Shapes: B utterances, N samples of all of them, L frames, D width.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mersa.alignment.embedding import Embedder, Pooling
from mersa.alignment.project import clips
from mersa.alignment.sampling import choose_examples
from mersa.alignment.settings import refused_tuning
from mersa.alignment.subject import Leaf, Subject, base_encoder, check_examples
from mersa.batches import audio_items
from mersa.encoders.budget import Item
from mersa.encoders.layout import read_config
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.encoders.tunable import Tunable
from mersa.errors import ConfigError, EncoderError
from mersa.files import write_json
from mersa.progress import OnProgress
from mersa.tuning import TunedEncoder, frames_that_suit

POOLING = "1_Pooling"
_MODULES = (("0", "", "Transformer"), ("1", POOLING, "Pooling"))


class SoundEmbedder(nn.Module):
    """The vectors of recordings, (B, D).

    Args:
        encoder: Gives the frames.
        pooling: `first` takes the first frame of a recording, `mean` the mean of its frames.
    """

    def __init__(self, encoder: TunedEncoder, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, chunks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return one vector a recording, in the order of the chunks: samples and their numbers."""
        return torch.cat([self._pooled(*self.encoder(*chunk)) for chunk in chunks])

    def _pooled(self, frames: Tensor, counts: Tensor) -> Tensor:
        several = torch.split(frames, counts.tolist())
        return torch.stack([one[0] if self.pooling == "first" else one.mean(0) for one in several])


class Recordings:
    """Recordings, read anew for each batch, in the place of texts.

    Args:
        encoder: Reads them.
        items: The recordings, by what names them in `Examples.texts`.
        on_progress: Called after each that was read for its length.
    """

    def __init__(
        self, encoder: Tunable, items: Mapping[str, Item], on_progress: OnProgress
    ) -> None:
        self.device = encoder.device
        self.width = encoder.width
        self._encoder = encoder
        self._items = items
        # All at once, so that what cannot be read is told before the first step.
        self._counts: dict[str, int] = {}
        for name in items:
            self._counts[name] = encoder.count_frames(self._read(name))
            on_progress(len(self._counts), len(items))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many frames each has."""
        return [self._counts[name] for name in texts]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return what the encoder hears, one after the other, (N,), and how long each is, (B,)."""
        read = [self._read(name) for name in texts]
        lengths = torch.tensor([len(one) for one in read])
        return torch.cat(read).to(self.device), lengths.to(self.device)

    def _read(self, name: str) -> Tensor:
        return self._encoder.read(self._items[name].load())


def text_subject(leaf: Leaf) -> Subject:
    """Make ready an encoder of words; errors as of `audio_subject`."""
    settings = leaf.config.align
    if leaf.config.text.name == "tiny":
        raise ConfigError(
            "text.name is 'tiny', which has no weights to align; give a Hugging Face encoder, or a "
            "folder with one"
        )
    examples = choose_examples(leaf.learnt, leaf.labels, settings.conflicts)
    check_examples(leaf, examples)
    encoder, _, base = base_encoder(leaf)
    if not isinstance(encoder, TextEncoder):
        raise EncoderError(refused_tuning("text", encoder.name))
    model = encoder.to_tune(checkpointing=settings.gradient_checkpointing)
    return Subject(
        embedder=Embedder(model, settings.pooling),
        source=encoder,
        examples=examples,
        key=lambda one: one.text.strip() or None,
        base=base,
        save=partial(_save_words, encoder, model, settings.pooling),
        at_once=settings.frames_at_once or frames_that_suit("text", encoder.device),
    )


def audio_subject(leaf: Leaf) -> Subject:
    """Make ready an encoder of sound.

    Raises:
        AlignmentError: If a class has too few utterances, or the encoder was aligned on others.
        EncoderError: If it cannot be tuned.
    """
    settings = leaf.config.align
    encoder, _, base = base_encoder(leaf)
    if not isinstance(encoder, SpeechEncoder) or _is_whisper(encoder):
        raise EncoderError(refused_tuning("audio", encoder.name))
    items = audio_items(leaf.seen.manifest, leaf.readable())
    examples = clips(items, leaf.learnt, leaf.labels)
    check_examples(leaf, examples)
    model = encoder.to_tune(checkpointing=settings.gradient_checkpointing)
    return Subject(
        embedder=SoundEmbedder(TunedEncoder(encoder, model), settings.pooling),
        source=Recordings(encoder, items, leaf.progress.task("reading recordings")),
        examples=examples,
        key=lambda one: one.id if one.id in items else None,
        base=base,
        save=partial(_save_sound, encoder, model),
        at_once=settings.frames_at_once or frames_that_suit("audio", encoder.device),
    )


def _is_whisper(encoder: SpeechEncoder) -> bool:
    return bool(read_config(encoder.folder)["model_type"] == "whisper")


def _save_sound(encoder: Tunable, model: nn.Module, folder: Path) -> list[str]:
    encoder.save_tuned(model, folder)
    return sorted(path.name for path in folder.iterdir())


def _save_words(
    encoder: TextEncoder, model: nn.Module, pooling: Pooling, folder: Path
) -> list[str]:
    """Write it so that SentenceTransformer loads it too; what that adds decides no frame."""
    encoder.save_tuned(model, folder)
    sealed = sorted(path.name for path in folder.iterdir())
    modules = [
        {"idx": int(idx), "name": idx, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for idx, path, kind in _MODULES
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / POOLING / "config.json",
        {
            "word_embedding_dimension": encoder.width,
            "pooling_mode_cls_token": pooling == "first",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": encoder.max_tokens, "do_lower_case": False},
    )
    return sealed
