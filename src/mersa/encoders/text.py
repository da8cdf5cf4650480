"""Any Hugging Face text encoder: words in, one frame a token out.

Shapes: B texts, L tokens of the longest, K layers, D width.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from mersa.audio import FloatArray
from mersa.encoders.base import Encoded, Modality
from mersa.encoders.finetune import save_tuned, to_tune
from mersa.encoders.hub import commit_of, resolve
from mersa.encoders.huggingface import (
    Precision,
    dtype_of,
    live_dropout,
    load_config,
    load_model,
    quiet,
)
from mersa.encoders.layers import Layer, check_layer, take_layer
from mersa.encoders.layout import (
    TEXT_TYPES,
    TOKENIZER_FILES,
    UNUSABLE,
    content_hash,
    copy_model,
    read_config,
)
from mersa.errors import EncoderError, ShapeError, first_line

Output = Literal["frames", "pooler"]

# Positions of these types start behind the padding's (transformers:
# models/roberta/modeling_roberta.py, create_position_ids_from_input_ids).
_OFFSET_TYPES = ("camembert", "mpnet", "roberta", "xlm-roberta")

_FOLDED = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\x91\x92", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\x93\x94", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\x96\x97", "-"),
        **dict.fromkeys("\u2026\x85", "..."),
        **dict.fromkeys("\u00a0\u202f", " "),
    }
)

_log = logging.getLogger(__name__)


def fold_typography(text: str) -> str:
    """Write typographic apostrophes, quotes, dashes and ellipses as on a typewriter.

    A vocabulary knows `don't` with the straight apostrophe of its corpus; MELD writes the curly
    one, partly as a control character of Windows-1252 (U+0092).
    """
    return text.translate(_FOLDED)


class TextEncoder:
    """Frames of a BERT-like model, frozen.

    Typography is folded before tokenising (`fold_typography`). Texts beyond `max_tokens` are cut,
    and the first cut is logged.

    Attributes:
        commit: The commit on the Hub that the weights come from; None for a folder.
        folder: Where the files of the model lie.
        device: Where the model runs.
        max_tokens: The number of tokens, the model's own marks included, at which texts are cut.

    Args:
        name: A folder or an id on the Hugging Face Hub.
        revision: Branch, tag or commit of an id; by default the pinned one.
        layer: 0 for the embeddings to N for the last layer, or counted from the end; `mix` for
            all N + 1 side by side.
        output: `frames` for one frame a token; `pooler` for one frame a text, by the model's
            pooler where its checkpoint holds one, else the mean over the tokens.
        max_tokens: Where texts are cut; by default the most that the model takes.
        precision: What the model computes in, `float32` or `bf16`; frames are float32 always.
        device: Where the model runs, as torch names it.

    Raises:
        EncoderError: If the model cannot be had or is not a text encoder, or a setting does not
            fit it.
    """

    modality: Modality = "text"
    frames_per_second: float | None = None
    equal_lengths = False

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        layer: Layer = -1,
        output: Output = "frames",
        max_tokens: int | None = None,
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> None:
        self.name = str(name)
        self.folder = resolve(self.name, revision=revision)
        self.commit = commit_of(self.folder)
        kind = read_config(self.folder)["model_type"]
        if kind not in TEXT_TYPES:
            raise EncoderError(
                f"encoder {self.name!r} is a model of type {kind!r}, but a text encoder is one of "
                f"{', '.join(TEXT_TYPES)}; choose such a model, or give this one as audio encoder"
            )
        if not any((self.folder / file).is_file() for file in TOKENIZER_FILES):
            raise EncoderError(
                f"encoder {self.name!r} has no tokenizer in {str(self.folder)!r} (one of "
                f"{', '.join(TOKENIZER_FILES)}); save the tokenizer beside the model"
            )
        config = load_config(self.folder)
        self._layer = check_layer(self.name, layer, config.num_hidden_layers)
        if output not in ("frames", "pooler"):
            raise EncoderError(f"output is {output!r}, but it is 'frames' or 'pooler'; choose one")
        if output == "pooler" and self._layer != config.num_hidden_layers:
            raise EncoderError(
                f"layer is {layer!r}, but the output 'pooler' reads the last layer; leave the "
                "layer at -1 or choose the output 'frames'"
            )
        self._output = output
        self._dtype = dtype_of(precision)
        self.device = torch.device(device)
        self.width = int(config.hidden_size)
        self.num_layers = config.num_hidden_layers + 1 if layer == "mix" else 1
        self.max_tokens = self._limit(config, max_tokens)
        self._warned = False

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, config, tokenizer and settings, wherever the files lie."""
        settings = {
            "encoder": "text",
            "layer": self._layer,
            "output": self._output,
            "max_tokens": self.max_tokens,
            "dtype": str(self._dtype).removeprefix("torch."),
            "typography": "folded",
        }
        return content_hash(self.folder, settings)

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode texts; a blank text has the frames of the model's own marks.

        Raises:
            EncoderError: If the weights do not fit the config.
            ShapeError: If the batch is empty.
        """
        if not len(batch):
            raise ShapeError("the batch holds no texts; give at least one")
        ids, mask = self.tokens([str(text) for text in batch])
        frames = self._run(ids, mask)
        lengths = mask.sum(dim=1) if self._output == "frames" else torch.ones(len(frames))
        return Encoded(frames.cpu().numpy(), lengths.long().cpu().numpy())

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the token numbers of texts and their mask, both (B, L); 1 is real."""
        tokens = self._tokenizer(
            [fold_typography(text) for text in texts],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        )
        self._warn_of_cuts([len(one.overflowing) > 0 for one in tokens.encodings])
        return tokens["input_ids"].to(self.device), tokens["attention_mask"].to(self.device)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, the model's own marks included, cuts made."""
        found = self._tokenizer(
            [fold_typography(text) for text in texts],
            truncation=True,
            max_length=self.max_tokens,
        )
        return [len(ids) for ids in found["input_ids"]]

    def words(self, text: str) -> list[tuple[str, int]]:
        """Return the words of a text and how many frames each has, the model's own marks included.

        What the tokenizer takes as one word is one, whatever pieces it is cut into.
        """
        text = fold_typography(text)
        if self._output == "pooler":
            return [(text.strip(), 1)]
        found = self._tokenizer(
            text, truncation=True, max_length=self.max_tokens, return_offsets_mapping=True
        )
        pieces = self._tokenizer.convert_ids_to_tokens(found["input_ids"])
        words: list[tuple[str, int]] = []
        before: int | None = None
        for piece, place, (start, end) in zip(
            pieces, found.word_ids(), found["offset_mapping"], strict=True
        ):
            if place is None:
                words.append((piece, 1))
            elif place != before:
                words.append((text[start:end].strip(), 1))
            else:
                word, num = words[-1]
                words[-1] = (word + text[start:end], num + 1)
            before = place
        return words

    def live_dropout(self) -> AbstractContextManager[None]:
        """Return a context in which dropout is live, so that no two answers are alike."""
        return live_dropout(self._model)

    def save(self, folder: Path) -> None:
        """Copy the model; `TextEncoder(folder)` with the same settings has one fingerprint."""
        copy_model(self.folder, folder)

    def to_tune(
        self, *, checkpointing: bool = False, spec_augment: bool = False
    ) -> PreTrainedModel:
        """Load the model once more, to be trained; see `Tunable`.

        Raises:
            EncoderError: If it cannot do what is asked.
        """
        if spec_augment:
            raise EncoderError(f"{self.name!r} reads words, but SpecAugment masks sound; leave it")
        model, _ = self.load()
        return to_tune(self, model, [self.read("a")], checkpointing=checkpointing)

    def read(self, item: str | FloatArray) -> Tensor:
        """Return the token ids of a text, (L,)."""
        tokens = self._tokenizer(
            fold_typography(str(item)), truncation=True, max_length=self.max_tokens
        )
        self._warn_of_cuts([len(tokens.encodings[0].overflowing) > 0])
        return torch.tensor(tokens["input_ids"])

    def count_frames(self, read: Tensor) -> int:
        """Return how many frames the model computes for a text."""
        return len(read)

    def frames_of(self, model: nn.Module, batch: Sequence[Tensor]) -> list[Tensor]:
        """Return the frames of texts with their gradients; see `Tunable`."""
        lengths = [len(ids) for ids in batch]
        ids = pad_sequence(
            list(batch), batch_first=True, padding_value=int(self._tokenizer.pad_token_id)
        )
        places = torch.arange(ids.shape[1], device=ids.device)
        mask = (places < torch.tensor(lengths, device=ids.device)[:, None]).long()  # (B, L)
        frames = self._frames(model, ids, mask)
        if self._output == "pooler":
            return list(frames)
        return [one[:length] for one, length in zip(frames, lengths, strict=True)]

    def save_tuned(self, model: nn.Module, folder: Path) -> None:
        """Write a trained model of `to_tune`, which `TextEncoder(folder)` then runs frozen."""
        save_tuned(model, self.folder, folder, leave_out=self._lacking)

    @torch.inference_mode()
    def _run(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._frames(self._model, ids, mask)

    def _frames(self, model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
        answer = model(ids, attention_mask=mask, output_hidden_states=True)
        if self._output == "frames":
            frames = take_layer(answer.last_hidden_state, answer.hidden_states, self._layer)
            return frames.float() * mask[..., None]  # (B, L, K * D)
        pooled: Tensor | None = getattr(answer, "pooler_output", None)
        if pooled is None or any("pooler" in name for name in self._lacking):
            real = mask[..., None].float()
            pooled = (answer.last_hidden_state.float() * real).sum(dim=1) / real.sum(dim=1)
        return pooled[:, None].float()  # (B, 1, D)

    @cached_property
    def _model(self) -> PreTrainedModel:
        return self.load()[0]

    def load(self) -> tuple[PreTrainedModel, frozenset[str]]:
        """Load the model anew, on the encoder's device; as `huggingface.load_model`."""
        model, self._lacking = load_model(self.folder, dtype=self._dtype)
        self.check_vocabulary(model)
        return model.to(self.device), self._lacking  # type: ignore[arg-type]

    def check_vocabulary(self, model: PreTrainedModel) -> None:
        """See that a model knows every token of the tokenizer.

        Raises:
            EncoderError: If it knows fewer.
        """
        if len(self._tokenizer) > model.config.vocab_size:
            raise EncoderError(
                f"the tokenizer in {str(self.folder)!r} has {len(self._tokenizer)} tokens, but "
                f"the model knows {model.config.vocab_size}; save the model's own tokenizer there"
            )

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        with quiet():
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            except UNUSABLE as error:
                raise EncoderError(
                    f"the tokenizer in {str(self.folder)!r} cannot be loaded "
                    f"({first_line(error)}); save it again beside the model"
                ) from None
        tokenizer.padding_side = tokenizer.truncation_side = "right"
        if not tokenizer.is_fast or tokenizer.pad_token is None or not tokenizer("").input_ids:
            raise EncoderError(
                f"the tokenizer in {str(self.folder)!r} is not a fast one with a padding token "
                "and marks around the text; save the model's own tokenizer there"
            )
        return tokenizer

    def _limit(self, config: object, wanted: int | None) -> int:
        positions = int(getattr(config, "max_position_embeddings", 512))
        if getattr(config, "model_type", "") in _OFFSET_TYPES:
            positions -= int(getattr(config, "pad_token_id", 1)) + 1
        most = min(positions, self._tokenizer.model_max_length)
        if most < 3:
            raise EncoderError(
                f"{self.name} takes {most} tokens by its config.json and its tokenizer, but a text "
                "needs at least 3, marks included; give the files that belong to the weights"
            )
        if wanted is not None and not 3 <= wanted <= most:
            raise EncoderError(
                f"max_tokens is {wanted}, but {self.name} takes 3 to {most}, its own marks "
                "included; choose a number between them"
            )
        return most if wanted is None else wanted

    def _warn_of_cuts(self, cut: Sequence[bool]) -> None:
        if any(cut) and not self._warned:
            self._warned = True
            _log.warning(
                "%d of %d texts are longer than the %d tokens that %s takes and were cut; later "
                "cuts are not reported",
                sum(cut),
                len(cut),
                self.max_tokens,
                self.name,
            )
