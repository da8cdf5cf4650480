"""Frames on disk: each clip is encoded once, whatever is trained on it later.

A file's name is the digest of the content of the sound or text and of the encoder's fingerprint
(weights and settings), so a change of either makes another file and nothing is ever stale. Files
appear whole or not at all: the process may be killed at any moment, and several may fill one cache.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mersa.audio import FloatArray
from mersa.encoders.base import Encoder
from mersa.files import write_whole

TEXTS_A_BATCH = 32


@dataclass(frozen=True)
class Item:
    """One thing to encode.

    Attributes:
        key: Hex digest of its content.
        load: Gives the text, or the waveform at 16 kHz.
        size: What sorts items into batches of like length: characters or seconds.
    """

    key: str
    load: Callable[[], str | FloatArray]
    size: float


class FeatureCache:
    """A folder of frames, one `.npy` a clip and encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, encoder: Encoder, key: str) -> Path:
        """Return where the frames of one clip stand."""
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
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode what the cache lacks, and return how many clips that were.

    Texts run in batches of like length; sound runs clip by clip, which is the fastest on a CPU.

    Args:
        encoder: Gives the frames.
        items: What to encode, by utterance id; the same content is encoded once.
        cache: Takes the frames, each as soon as its batch is done.
        on_progress: Called with the number of clips that are there and the number of all.
    """
    by_key = {item.key: item for item in items.values()}
    wanted = [item for item in by_key.values() if not cache.path(encoder, item.key).exists()]
    done = len(by_key) - len(wanted)
    on_progress(done, len(by_key))
    for batch in _batches(wanted, 1 if encoder.modality == "audio" else TEXTS_A_BATCH):
        loaded = [item.load() for item in batch]
        encoded = encoder.encode(loaded)  # type: ignore[arg-type]
        for item, frames in zip(batch, encoded.split(), strict=True):
            cache.put(encoder, item.key, frames)
        done += len(batch)
        on_progress(done, len(by_key))
    return len(wanted)


def load_frames(encoder: Encoder, item: Item, cache: FeatureCache) -> FloatArray:
    """Return the frames of one clip from the cache, encoding it if they are not there."""
    frames = cache.get(encoder, item.key)
    if frames is None:
        frames = encoder.encode([item.load()]).split()[0]  # type: ignore[arg-type]
        cache.put(encoder, item.key, frames)
    return frames


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    ordered = sorted(items, key=lambda item: (item.size, item.key))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
