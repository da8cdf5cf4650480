"""Frames of utterances: in memory, or read from the cache each time they are asked for.

Nothing is mapped and no file stays open, so there may be more recordings than a process may hold
maps (65,530 by Linux's default) or files, and what was read is not counted as its memory.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from mersa.audio import FloatArray
from mersa.encoders.base import Derived, Encoder, missing
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, load_frames
from mersa.errors import StorageError
from mersa.memory import free_bytes

IN_MEMORY_SHARE = 0.5
"""Share of the free memory that the frames of one modality may take; beyond it they stay on disk.

The other half is for the network, its optimiser and the other modality.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the frames of one utterance stand on disk.

    Attributes:
        path: The file.
        offset: Bytes before the first frame.
        length: Number of frames, L.
        width: Of each, D.
        derive: What makes of them the frames of a derived encoder, as many; None where they are
            wanted as they stand.
    """

    path: str
    offset: int
    length: int
    width: int
    derive: Callable[[FloatArray], FloatArray] | None = None

    def __len__(self) -> int:
        return self.length

    def read(self) -> Tensor:
        """Return the frames, (L, D).

        Raises:
            StorageError: If they are not there any more.
        """
        count = self.length * self.width
        try:
            frames = np.fromfile(self.path, dtype=np.float32, count=count, offset=self.offset)
        except OSError as error:
            raise StorageError(
                f"the frames in {self.path} cannot be read ({error.strerror}), though they were "
                "there when the training began; leave the cache alone while it runs"
            ) from None
        if len(frames) != count:
            raise StorageError(
                f"{self.path} holds {len(frames)} numbers, but {count} were there when the "
                "training began; leave the cache alone while it runs"
            )
        held: FloatArray = frames.reshape(self.length, self.width)
        return torch.from_numpy(self.derive(held) if self.derive else held)


class StoredFrames(Sequence[Tensor]):
    """Frames that are read when they are asked for, beside some that are in memory.

    Args:
        entries: For each utterance its place on disk, or its frames.
    """

    def __init__(self, entries: Sequence[Place | Tensor]) -> None:
        self.entries = tuple(entries)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, row: int) -> Tensor: ...
    @overload
    def __getitem__(self, row: slice) -> "StoredFrames": ...
    def __getitem__(self, row: int | slice) -> "Tensor | StoredFrames":
        if isinstance(row, slice):
            return StoredFrames(self.entries[row])
        entry = self.entries[row]
        return entry.read() if isinstance(entry, Place) else entry


Frames = tuple[Tensor, ...] | StoredFrames
"""Frames of utterances, one (L, D) each."""


def num_frames_of(frames: Frames, row: int) -> int:
    """Return how many frames an utterance has, unread."""
    return len(frames.entries[row] if isinstance(frames, StoredFrames) else frames[row])


def reordered(frames: Frames, rows: Sequence[int]) -> Frames:
    """Return the frames of these rows in their order, unread."""
    if isinstance(frames, StoredFrames):
        return StoredFrames([frames.entries[row] for row in rows])
    return tuple(frames[row] for row in rows)


def one_after_the_other(frames: Frames, others: Frames) -> Frames:
    """Return both, unread."""
    if isinstance(frames, StoredFrames) or isinstance(others, StoredFrames):
        return StoredFrames([*_entries(frames), *_entries(others)])
    return frames + others


def cached_frames(
    ids: Sequence[str], encoder: Encoder, items: Mapping[str, Item], cache: FeatureCache
) -> Frames:
    """Give the frames of utterances, in memory if they take at most `IN_MEMORY_SHARE` of it.

    Args:
        ids: Of the utterances, in order; one without an item is one zero frame.
        encoder: Gives what the cache lacks.
        items: What is encoded.
        cache: Where the frames stand.
    """
    absent = torch.from_numpy(missing(encoder.width * encoder.num_layers))
    wanted = {item.key: item for item in items.values()}  # the same words or sound are held once
    size, free = _size(encoder, wanted, cache), free_bytes()
    if size <= IN_MEMORY_SHARE * free:
        held = {
            key: torch.from_numpy(load_frames(encoder, item, cache)) for key, item in wanted.items()
        }
        return tuple(held[items[id_].key] if id_ in items else absent for id_ in ids)
    _log.warning(
        "the %s frames take %.1f GB, more than %.0f %% of the %.1f GB of memory that are free, so "
        "they are read from the cache in every epoch",
        encoder.modality,
        size / 1e9,
        100 * IN_MEMORY_SHARE,
        free / 1e9,
    )
    places = {key: _place(encoder, item, cache) for key, item in wanted.items()}
    return StoredFrames([places[items[id_].key] if id_ in items else absent for id_ in ids])


def _entries(frames: Frames) -> Sequence[Place | Tensor]:
    return frames.entries if isinstance(frames, StoredFrames) else frames


def _size(encoder: Encoder, items: Mapping[str, Item], cache: FeatureCache) -> int:
    """Return how many bytes frames take by what is on disk; what is not there counts as none."""
    paths = (cache.path(encoder, key) for key in items)
    stored = sum(path.stat().st_size for path in paths if path.is_file())
    return stored * encoder.width // encoder.base.width if isinstance(encoder, Derived) else stored


def _place(encoder: Encoder, item: Item, cache: FeatureCache) -> Place:
    path = cache.path(encoder, item.key)
    place = _read_header(path)
    if place is None:
        load_frames(encoder, item, cache)
        place = _read_header(path)
    if place is None:
        raise StorageError(
            f"the frames in {path} were just written and cannot be read again; give another "
            "folder with --cache"
        )
    return replace(place, derive=encoder.derive) if isinstance(encoder, Derived) else place


def _read_header(path: Path) -> Place | None:
    """Return where the frames of a whole file stand, or None if it is not one."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                return None
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            offset = file.tell()
            size = file.seek(0, 2) - offset
    except (OSError, ValueError):
        return None
    if len(shape) != 2 or fortran or dtype != np.float32 or size < 4 * shape[0] * shape[1]:
        return None
    return Place(str(path), offset, *shape)
