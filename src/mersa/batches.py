"""Frames and labels of utterances, and the batches that a network reads, padded or packed.

Shapes: B utterances in a batch, Lt text frames, La audio frames, Dt and Da their widths.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from mersa import parallel
from mersa.audio import FloatArray, content_hash, read_audio
from mersa.encoders.base import Encoder, missing
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, encode_missing, text_item
from mersa.errors import AudioError, ConfigError
from mersa.frames import Frames, cached_frames, num_frames_of, one_after_the_other, reordered
from mersa.manifest import Manifest, Utterance
from mersa.progress import Progress

BUCKET_BATCHES = 16
"""Batches among which utterances are sorted by length, so that little is padded."""


@dataclass(frozen=True)
class Batch:
    """Utterances padded to the longest, with masks that are True where a frame is real; or packed.

    Attributes:
        rows: Place of each utterance in its feature set, B.
        text: (B, Lt, Dt); packed, all frames one after the other, (Nt, Dt).
        text_mask: (B, Lt); packed, the number of frames of each utterance, (B,).
        audio: (B, La, Da); packed (Na, Da).
        audio_mask: (B, La); packed (B,).
        labels: Label index of each utterance, (B,).
    """

    rows: tuple[int, ...]
    text: Tensor
    text_mask: Tensor
    audio: Tensor
    audio_mask: Tensor
    labels: Tensor

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what a network's `forward` takes."""
        return self.text, self.text_mask, self.audio, self.audio_mask

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on a device."""
        moved = (one.to(device, non_blocking=True) for one in (*self.inputs(), self.labels))
        return Batch(self.rows, *moved)


@dataclass(frozen=True)
class FeatureSet:
    """Frames and labels of utterances, in one order.

    Attributes:
        ids: N utterance ids.
        text: N tensors of (Lt, Dt), in memory or read when they are asked for.
        audio: N tensors of (La, Da), likewise.
        labels: Label index of each, (N,); -1 where unknown.
        live: Gives the frames of words and sound of a row anew each time, in place of the stored
            ones; they have the same lengths, or are shorter.
        encoder_inputs: True where `live` gives what encoders read, token ids or waveforms, rather
            than frames. Encoders pad their batch, so padding then counts even where it is packed.
    """

    ids: tuple[str, ...]
    text: Frames
    audio: Frames
    labels: Tensor
    live: Callable[[int], tuple[Tensor, Tensor]] | None = None
    encoder_inputs: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def length(self, row: int) -> int:
        """Return how many frames a row has, words and sound together."""
        return num_frames_of(self.text, row) + num_frames_of(self.audio, row)

    def batch(self, rows: Sequence[int], *, packed: bool = False) -> Batch:
        """Pad these rows into one batch, or pack them."""
        frames = [self.frames(row) for row in rows]
        collate = _end_to_end if packed else pad
        text, text_mask = collate([words for words, _ in frames])
        audio, audio_mask = collate([sound for _, sound in frames])
        return Batch(tuple(rows), text, text_mask, audio, audio_mask, self.labels[list(rows)])

    def joined(self, other: "FeatureSet") -> "FeatureSet":
        """Put the utterances of another set behind these."""

        def live(row: int) -> tuple[Tensor, Tensor]:
            return self.frames(row) if row < len(self) else other.frames(row - len(self))

        return FeatureSet(
            self.ids + other.ids,
            one_after_the_other(self.text, other.text),
            one_after_the_other(self.audio, other.audio),
            torch.cat([self.labels, other.labels]),
            live if self.live or other.live else None,
            self.encoder_inputs or other.encoder_inputs,
        )

    def shuffled(self, modality: str, seed: int) -> "FeatureSet":
        """Give each utterance the words or the sound of another one; a control."""
        ring = np.random.default_rng(seed).permutation(len(self))
        order = np.empty_like(ring)
        order[ring] = np.roll(ring, 1)  # each takes from the one before it, none from itself
        others: list[int] = order.tolist()
        text = reordered(self.text, others) if modality == "text" else self.text
        audio = reordered(self.audio, others) if modality == "audio" else self.audio

        def live(row: int) -> tuple[Tensor, Tensor]:
            own, other = self.frames(row), self.frames(others[row])
            return (other[0], own[1]) if modality == "text" else (own[0], other[1])

        moved = live if self.live and modality != "none" else self.live
        return replace(self, text=text, audio=audio, live=moved)

    def frames(self, row: int) -> tuple[Tensor, Tensor]:
        """Return the frames of words and sound of a row, made anew where that is asked for."""
        return self.live(row) if self.live else (self.text[row], self.audio[row])


def pad(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad B tensors of (L, D) to one (B, L, D) and its mask (B, L)."""
    lengths = torch.tensor([len(one) for one in frames])
    padded = torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True)
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def epoch_rows(features: FeatureSet, batch_size: int, *, seed: int) -> Iterator[list[int]]:
    """Give the rows of each batch, every utterance once, in an order that `seed` alone decides.

    Utterances are shuffled, sorted by length within stretches of `BUCKET_BATCHES` batches, and the
    batches are shuffled again. No other process or thread loads frames beforehand, whether they are
    in memory or on disk, so there is no order but this one.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(features)).tolist()
    stretch = batch_size * BUCKET_BATCHES if batch_size > 1 else len(order)
    batches = []
    for start in range(0, len(order), stretch):
        rows = order[start : start + stretch]
        if batch_size > 1:
            rows.sort(key=features.length)
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    for number in random.permutation(len(batches)).tolist():
        yield batches[number]


def parts_of_batch(
    features: FeatureSet, rows: Sequence[int], budget: int | None, *, packed: bool
) -> Iterator[list[int]]:
    """Cut a batch into parts that hold no more frames than the budget, or one utterance.

    Args:
        features: Where the rows lie.
        rows: Of the batch.
        budget: Most frames of a part, padding included; None: all.
        packed: Whether the parts are packed; else the padding counts.
    """
    part: list[int] = []
    for row in sorted(rows, key=features.length) if budget else rows:
        if budget and part and num_frames(features, [*part, row], packed=packed) > budget:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def num_frames(features: FeatureSet, rows: Sequence[int], *, packed: bool) -> int:
    """Count the frames that a batch of these rows holds, padding included."""
    if packed and not features.encoder_inputs:
        return sum(map(features.length, rows))
    longest = (
        max(num_frames_of(frames, row) for row in rows)
        for frames in (features.text, features.audio)
    )
    return len(rows) * sum(longest)


def sorted_batches(
    features: FeatureSet,
    batch_size: int,
    *,
    packed: bool = False,
    budget: int | None = None,
    fabric: Fabric | None = None,
) -> Iterator[Batch]:
    """Give every utterance once, by length, for answers that do not depend on the order.

    Args:
        features: Where they lie.
        batch_size: Most utterances of a batch.
        packed: Whether batches are packed.
        budget: Most frames of a batch, as of `parts_of_batch`.
        fabric: Of several processes each is given its share of the batches.
    """
    order = sorted(range(len(features)), key=features.length)
    for start in parallel.share(fabric, range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        for part in parts_of_batch(features, rows, budget, packed=packed):
            yield features.batch(part, packed=packed)


def text_items(utterances: Sequence[Utterance]) -> dict[str, Item]:
    """Describe the words of each utterance that has any."""
    return {one.id: text_item(one.text) for one in utterances if one.text.strip()}


def audio_items(manifest: Manifest, utterances: Sequence[Utterance]) -> dict[str, Item]:
    """Describe the sound of each utterance that has any.

    Raises:
        AudioError: If a recording cannot be opened; the message names the utterance.
    """
    items = {}
    digests: dict[str, str] = {}
    for utterance in utterances:
        path = manifest.audio_path(utterance)
        if path is None:
            continue
        if utterance.audio not in digests:
            try:
                digests[utterance.audio] = _content_hash(path)
            except AudioError as error:
                raise AudioError(f"utterance {utterance.id!r}: {error}") from None
        span = f"{utterance.start_s}:{utterance.end_s}"
        items[utterance.id] = Item(
            f"{digests[utterance.audio]}:{span}",
            _Recording(manifest, utterance),
            utterance.length_s or 0.0,
        )
    return items


def encode(
    encoder: Encoder,
    items: Mapping[str, Item],
    cache: FeatureCache,
    progress: Progress,
    *,
    fabric: Fabric | None = None,
) -> int:
    """Fill the cache with what it lacks, and return how many clips that were.

    Of several processes (`fabric`) each encodes its share; the first tells of its own.
    """
    name = "encoding words" if encoder.modality == "text" else "encoding sound"
    mine = _share_of(items, encoder, cache, fabric) if parallel.several(fabric) else items
    encoded = encode_missing(
        encoder, mine, cache, on_progress=progress.task(f"{name}: {encoder.name}")
    )
    return sum(parallel.gather(fabric, encoded))


def load_features(
    utterances: Sequence[Utterance],
    label_of: Callable[[str], int | None],
    text: tuple[Encoder, Mapping[str, Item]] | None,
    audio: tuple[Encoder, Mapping[str, Item]] | None,
    cache: FeatureCache,
) -> FeatureSet:
    """Give the frames of utterances; a modality that is absent is one zero frame.

    They are read into memory, or each time anew where they would fill it
    (`mersa.frames.IN_MEMORY_SHARE`).

    Args:
        utterances: Their order is kept.
        label_of: Gives the label index of an emotion word, or None.
        text: Encoder and items of the words, or None if the network reads none.
        audio: The same for sound.
        cache: Where frames lie; what it lacks is encoded.
    """
    labels = [label_of(utterance.emotion) for utterance in utterances]
    return FeatureSet(
        tuple(utterance.id for utterance in utterances),
        _frames(utterances, text, cache),
        _frames(utterances, audio, cache),
        torch.tensor([-1 if label is None else label for label in labels]),
    )


def with_live_dropout(
    features: FeatureSet,
    text: tuple[Encoder, Mapping[str, Item]] | None,
    audio: tuple[Encoder, Mapping[str, Item]] | None,
) -> FeatureSet:
    """Let frames of these encoders be made anew for each batch, with dropout (D1).

    Args:
        features: The same utterances, encoded without.
        text: Encoder and items of the words, or None to keep their stored frames.
        audio: The same for sound.

    Raises:
        ConfigError: If an encoder has no dropout.
    """

    def live(row: int) -> tuple[Tensor, Tensor]:
        return (
            _live_frames(text, features.ids[row], features.text, row),
            _live_frames(audio, features.ids[row], features.audio, row),
        )

    for source in (text, audio):
        if source and not hasattr(source[0], "live_dropout"):
            raise ConfigError(
                f"{source[0].modality}.live_dropout is set, but {source[0].name!r} has no dropout; "
                "leave it unset"
            )
    return replace(features, live=live)


def _share_of(
    items: Mapping[str, Item], encoder: Encoder, cache: FeatureCache, fabric: Fabric | None
) -> dict[str, Item]:
    """Return which of the clips that the cache lacks this process encodes, by content."""
    by_key = {item.key: item for item in items.values()}
    lacking = [key for key, item in by_key.items() if not cache.path(encoder, key).exists()]
    # As the first process sees it, since the others may have begun before the last one looks.
    order = sorted(parallel.gather(fabric, lacking)[0], key=lambda key: (by_key[key].size, key))
    return {key: by_key[key] for key in parallel.share(fabric, order)}


def _end_to_end(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put B tensors of (L, D) one after the other, (N, D), and tell their lengths (B,)."""
    return torch.cat(list(frames)), torch.tensor([len(one) for one in frames])


def _live_frames(
    source: tuple[Encoder, Mapping[str, Item]] | None, id_: str, stored: Frames, row: int
) -> Tensor:
    if source is None or id_ not in source[1]:
        return stored[row]
    encoder, items = source
    with encoder.live_dropout():  # type: ignore[attr-defined]
        return torch.from_numpy(encoder.encode([items[id_].load()]).split()[0])  # type: ignore[arg-type]


def _frames(
    utterances: Sequence[Utterance],
    source: tuple[Encoder, Mapping[str, Item]] | None,
    cache: FeatureCache,
) -> Frames:
    if source is None:
        return (torch.from_numpy(missing(1)),) * len(utterances)
    return cached_frames([utterance.id for utterance in utterances], *source, cache)


@dataclass(frozen=True, slots=True)
class _Recording:
    """The sound of an utterance, read when it is called; there may be a hundred thousand."""

    manifest: Manifest
    utterance: Utterance

    def __call__(self) -> FloatArray:
        one = self.utterance
        path = self.manifest.audio_path(one)
        try:
            return read_audio(str(path), start_s=one.start_s, end_s=one.end_s)
        except AudioError as error:
            raise AudioError(f"utterance {one.id!r}: {error}") from None


def _content_hash(path: Path) -> str:
    """Hash a recording once a process, since every fold and seed asks for it, unless it changes."""
    try:
        facts = path.stat()
    except OSError:
        return content_hash(path)  # which tells what is wrong with it
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, mtime_ns: int) -> str:
    return content_hash(path)
