"""Alignment of any frozen encoder, of words or sound, by a small projection of its frames.

The loop, the loss and the batches are those of `fit`; what stands for an utterance is the pooled
projection of its frames, which are in memory. Shapes: B utterances, L frames, D width, W projected.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mersa import build
from mersa.alignment import artefact
from mersa.alignment.embedding import Pooling
from mersa.alignment.sampling import Examples, choose_examples
from mersa.alignment.settings import AlignConfig
from mersa.batches import audio_items, encode, pad, text_items
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, load_frames
from mersa.encoders.projected import ProjectedEncoder, Projection
from mersa.errors import AlignmentError
from mersa.manifest import Manifest, Utterance
from mersa.progress import Progress


class Projector(nn.Module):
    """The vectors of utterances, (B, W): each frame projected, then pooled.

    Args:
        projection: Moves each frame by itself.
        pooling: `first` takes the first frame, `mean` the mean over the real ones.
    """

    def __init__(self, projection: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.projection = projection
        self.pooling = pooling

    def forward(self, chunks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return one vector an utterance, in the order of the chunks: frames and their mask."""
        return torch.cat([self._pooled(frames, mask) for frames, mask in chunks])

    def _pooled(self, frames: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "first":
            first: Tensor = self.projection(frames[:, 0])
            return first
        real = mask[..., None].to(frames.dtype)
        mean: Tensor = (self.projection(frames) * real).sum(1) / real.sum(1)
        return mean


class Frames:
    """Frames of utterances in memory, in the place of a tokenizer.

    Args:
        frames: (L, D) of each, by what names it in `Examples.texts`.
        width: W, of the vectors that are made of them.
        device: Where they are projected.
    """

    def __init__(self, frames: Mapping[str, Tensor], *, width: int, device: str) -> None:
        self.width = width
        self._frames = frames
        self.device = torch.device(device)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many frames each has."""
        return [len(self._frames[text]) for text in texts]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return padded frames (B, L, D) and their mask (B, L)."""
        frames, mask = pad([self._frames[text] for text in texts])
        return frames.to(self.device), mask.to(self.device)


@dataclass(frozen=True)
class CorpusEncoder:
    """A frozen encoder and what it reads of a corpus.

    Attributes:
        encoder: Gives the frames.
        items: What it reads, by utterance id.
        settings: What the encoder was built from.
        leak: Whether it was itself aligned on all parts.
    """

    encoder: Encoder
    items: Mapping[str, Item]
    settings: Mapping[str, Any]
    leak: bool

    def key(self, utterance: Utterance) -> str:
        """Return what names the frames of an utterance: its words, or its sound's id."""
        return utterance.text.strip() if self.encoder.modality == "text" else utterance.id


def corpus_encoder(
    config: AlignConfig,
    manifest: Manifest,
    utterances: Sequence[Utterance],
    known: artefact.Cut,
    device: str,
) -> CorpusEncoder:
    """Build the encoder whose frames are projected.

    Args:
        config: All settings.
        manifest: What the utterances are of.
        utterances: Those that may be learnt from; a learnt vocabulary is that of their train part.
        known: What an encoder that is aligned already must have been aligned on.
        device: Where it runs.

    Raises:
        AlignmentError: If it is an aligned folder that does not fit, or nothing of the train part
            has what it reads.
    """
    modality = config.align.modality
    settings = config.text if modality == "text" else config.audio
    before = artefact.fitting(settings.name, known)
    leak = False
    if before is not None:
        folder, facts = before
        settings, leak = settings.model_copy(update={"name": str(folder)}), bool(facts["leak"])
    encoder: Encoder
    if modality == "text":
        items = text_items([_stripped(one) for one in utterances])
        train_texts = [
            one.text
            for one in utterances
            if known.fold.parts[one.id] == "train" and one.text.strip()
        ]
        encoder = build.text_encoder(settings, train_texts=train_texts, device=device)  # type: ignore[arg-type]
    else:
        items = audio_items(manifest, utterances)
        encoder = build.audio_encoder(settings, device=device)  # type: ignore[arg-type]
    if not items:
        raise AlignmentError(
            f"no utterance has {'words' if modality == 'text' else 'sound'} to align on; name "
            "their column when preparing, or align the encoder of the other modality"
        )
    return CorpusEncoder(encoder, items, settings.model_dump(mode="json"), leak)


def frames_of(
    held: CorpusEncoder,
    utterances: Sequence[Utterance],
    cache: FeatureCache,
    progress: Progress,
    *,
    fabric: Fabric | None = None,
) -> dict[str, Tensor]:
    """Encode what the cache lacks, and read the frames of utterances that have any into memory.

    Of several processes (`fabric`) each encodes its share, and all read all.
    """
    items = {one.id: held.items[one.id] for one in utterances if one.id in held.items}
    encode(held.encoder, items, cache, progress, fabric=fabric)
    frames: dict[str, Tensor] = {}
    for one in utterances:
        if one.id in items and held.key(one) not in frames:
            loaded = load_frames(held.encoder, items[one.id], cache)
            frames[held.key(one)] = torch.from_numpy(loaded)
    return frames


def clips(
    held: CorpusEncoder, utterances: Sequence[Utterance], labels: LabelSet, rule: Any
) -> Examples:
    """Return what is learnt from; of recordings none stands under two labels."""
    if held.encoder.modality == "text":
        return choose_examples(utterances, labels, rule)
    kept = [
        (one.id, index)
        for one in utterances
        if one.id in held.items and (index := labels.index(one.emotion)) is not None
    ]
    counts = Counter(label for _, label in kept)
    facts = {
        "texts": len(kept),
        "by_label": {name: counts[index] for index, name in enumerate(labels.labels)},
        "without_sound": len(utterances) - len(kept),
    }
    return Examples(tuple(id_ for id_, _ in kept), tuple(label for _, label in kept), facts)


def new_projection(
    config: AlignConfig, held: CorpusEncoder, frames: Sequence[Tensor]
) -> Projection:
    """Return a projection that begins from the seed, standardised by frames of the train part."""
    settings, given = config.align, held.encoder.width * held.encoder.num_layers
    width = settings.projection_width or given
    torch.manual_seed(settings.seed)
    projection = Projection(
        settings.projection, (given, settings.projection_hidden, width), dropout=settings.dropout
    )
    projection.standardise(torch.cat(list(frames)))
    return projection


def save(folder: Path, projection: Projection, held: CorpusEncoder) -> None:
    """Write the projection; its base stays where it is, but for a vocabulary learnt here."""
    encoder = ProjectedEncoder(held.encoder, projection, name=str(folder), settings=held.settings)
    if held.settings["name"] == "tiny":
        encoder.save(folder)
    else:
        encoder.save_projection(folder)


def _stripped(utterance: Utterance) -> Utterance:
    return replace(utterance, text=utterance.text.strip())
