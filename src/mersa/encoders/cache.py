"""Frames on disk: each clip is encoded once, whatever is trained on it later.

A file's name is the digest of the content of the sound or text and of the encoder's fingerprint
(weights and settings), so a change of either makes another file and nothing is ever stale. Files
appear whole or not at all: the process may be killed at any moment, and several may fill one cache.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mersa.audio import FloatArray
from mersa.encoders.base import Derived, Encoder
from mersa.encoders.budget import Batches, Item
from mersa.files import write_whole

_log = logging.getLogger(__name__)


class FeatureCache:
    """A folder of frames, one `.npy` a clip and encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, encoder: Encoder, key: str) -> Path:
        """Return where the frames of one clip stand; of a derived encoder, those of its base."""
        while isinstance(encoder, Derived):
            encoder = encoder.base
        name = hashlib.sha256(f"{encoder.fingerprint}:{key}".encode()).hexdigest()
        return self.folder / encoder.fingerprint[:16] / name[:2] / f"{name}.npy"

    def get(self, encoder: Encoder, key: str) -> FloatArray | None:
        """Return the frames of one clip, (L, K * D), or None if they are not whole on disk."""
        try:
            frames: FloatArray = np.load(self.path(encoder, key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return frames

    def put(self, encoder: Encoder, key: str, frames: FloatArray) -> None:
        """Store the frames of one clip."""
        content = io.BytesIO()  # np.save to a file would not say that the disk is full
        np.save(content, frames, allow_pickle=False)
        with write_whole(self.path(encoder, key)) as partial:
            partial.write_bytes(content.getbuffer())


def text_item(text: str) -> Item:
    """Describe a text to encode."""
    key = hashlib.sha256(b"text:" + text.encode()).hexdigest()
    return Item(key, lambda: text, len(text))


def encode_missing(
    encoder: Encoder,
    items: Mapping[str, Item],
    cache: FeatureCache,
    *,
    budget: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode what the cache lacks, in batches of like length, and return how many clips that were.

    The frames of a clip do not depend on its batch, and so not on the budget.

    Args:
        encoder: Gives the frames; of a derived one, the frames of its base are stored.
        items: What to encode, by utterance id; the same content is encoded once.
        cache: Takes the frames, each as soon as its batch is done.
        budget: How many seconds or tokens a batch may hold, padding included; by default what
            suits the encoder's device.
        on_progress: Called with the number of clips that are there and the number of all.
    """
    if isinstance(encoder, Derived):
        return encode_missing(encoder.base, items, cache, budget=budget, on_progress=on_progress)
    by_key = {item.key: item for item in items.values()}
    wanted = [item for item in by_key.values() if not cache.path(encoder, item.key).exists()]
    done = len(by_key) - len(wanted)
    on_progress(done, len(by_key))
    if not wanted:
        return 0
    batches = Batches(encoder, wanted, budget=budget)
    for batch, frames in batches:
        for item, one in zip(batch, frames, strict=True):
            cache.put(encoder, item.key, one)
        done += len(batch)
        on_progress(done, len(by_key))
    _log.info(
        "%s: %d inputs encoded in %d batches, of which %.1f %% was padding",
        encoder.name,
        len(wanted),
        batches.count,
        100 * batches.padding_share,
    )
    return len(wanted)


def load_frames(encoder: Encoder, item: Item, cache: FeatureCache) -> FloatArray:
    """Return the frames of one clip from the cache, encoding it if they are not there."""
    if isinstance(encoder, Derived):
        return encoder.derive(load_frames(encoder.base, item, cache))
    frames = cache.get(encoder, item.key)
    if frames is None:
        frames = encoder.encode([item.load()]).split()[0]  # type: ignore[arg-type]
        cache.put(encoder, item.key, frames)
    return frames
