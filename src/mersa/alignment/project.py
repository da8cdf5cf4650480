"""Alignment of any frozen encoder, of words or sound, by a small projection of its frames.

The loop, the loss and the batches are those of `fit`; what stands for an utterance is the pooled
projection of its frames, which are in memory. Shapes: B utterances, L frames, D width, W projected.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mersa.alignment.embedding import Pooling
from mersa.alignment.sampling import Examples, choose_examples
from mersa.alignment.settings import AlignConfig
from mersa.alignment.subject import Leaf, Subject, base_encoder, check_examples
from mersa.batches import audio_items, encode, pad, text_items
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, load_frames
from mersa.encoders.projected import PROJECTION_FILES, ProjectedEncoder, Projection
from mersa.errors import AlignmentError
from mersa.manifest import Utterance
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
        told: What is told of it: `name, revision, fingerprint, leak`.
    """

    encoder: Encoder
    items: Mapping[str, Item]
    settings: Mapping[str, Any]
    told: Mapping[str, Any]

    def key(self, utterance: Utterance) -> str:
        """Return what names the frames of an utterance: its words, or its sound's id."""
        return utterance.text.strip() if self.encoder.modality == "text" else utterance.id


def projection_subject(leaf: Leaf, cache: FeatureCache) -> Subject:
    """Make ready a projection of the frames of a frozen encoder, of words or sound.

    Args:
        leaf: The fold.
        cache: Where frames lie; each process encodes its share of what it lacks.

    Raises:
        AlignmentError: If a class has too few utterances, or the encoder was aligned on others.
    """
    settings, corpus = leaf.config.align, leaf.readable()
    held = corpus_encoder(leaf, corpus)
    if held.encoder.modality == "text":
        examples = choose_examples(leaf.learnt, leaf.labels, settings.conflicts)
    else:
        examples = clips(held.items, leaf.learnt, leaf.labels)
    check_examples(leaf, examples)
    frames = frames_of(held, corpus, cache, leaf.progress, fabric=leaf.fabric)
    projection = new_projection(leaf.config, held, [frames[text] for text in examples.texts])
    given, _, width = projection.sizes
    return Subject(
        embedder=Projector(projection, settings.pooling),
        source=Frames(frames, width=width, device=leaf.device),
        examples=examples,
        key=lambda one: held.key(one) if held.key(one) in frames else None,
        base=held.told,
        save=partial(save, held, projection),
        # A new projection is another space than the encoder's own.
        plain=(
            Projector(nn.Identity(), settings.pooling),
            Frames(frames, width=given, device=leaf.device),
        ),
    )


def corpus_encoder(leaf: Leaf, utterances: Sequence[Utterance]) -> CorpusEncoder:
    """Build the encoder whose frames are projected.

    Args:
        leaf: The fold.
        utterances: Those that may be learnt from; a learnt vocabulary is that of their train part.

    Raises:
        AlignmentError: If it is an aligned folder that does not fit, or nothing of the train part
            has what it reads.
    """
    train_texts = [
        one.text
        for one in utterances
        if leaf.cut.fold.parts[one.id] == "train" and one.text.strip()
    ]
    encoder, settings, told = base_encoder(leaf, train_texts=train_texts)
    words = encoder.modality == "text"
    if words:
        items = text_items([_stripped(one) for one in utterances])
    else:
        items = audio_items(leaf.seen.manifest, utterances)
    if not items:
        raise AlignmentError(
            f"no utterance has {'words' if words else 'sound'} to align on; name their column when "
            "preparing, or align the encoder of the other modality"
        )
    return CorpusEncoder(encoder, items, settings.model_dump(mode="json"), told)


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


def clips(items: Mapping[str, Item], utterances: Sequence[Utterance], labels: LabelSet) -> Examples:
    """Return what is learnt from of recordings; none stands under two labels."""
    kept = [
        (one.id, index)
        for one in utterances
        if one.id in items and (index := labels.index(one.emotion)) is not None
    ]
    counts = Counter(label for _, label in kept)
    facts = {
        "texts": len(kept),
        "by_label": {name: counts[index] for index, name in enumerate(labels.labels)},
        "without_sound": len(utterances) - len(kept),
    }
    return Examples(
        tuple(id_ for id_, _ in kept), tuple(label for _, label in kept), facts, "recording"
    )


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


def save(held: CorpusEncoder, projection: Projection, folder: Path) -> tuple[str, ...]:
    """Write the projection; its base stays where it is, but for a vocabulary learnt here.

    Returns:
        The files that decide its frames.
    """
    encoder = ProjectedEncoder(held.encoder, projection, name=str(folder), settings=held.settings)
    if held.settings["name"] == "tiny":
        encoder.save(folder)
    else:
        encoder.save_projection(folder)
    return PROJECTION_FILES


def _stripped(utterance: Utterance) -> Utterance:
    return replace(utterance, text=utterance.text.strip())
