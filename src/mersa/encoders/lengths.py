"""Batches of one length at a time, and the question whether padding would do as well.

Shapes: B clips, T samples, N frames, D width.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from mersa.audio import FloatArray
from mersa.encoders.base import Encoded, pad
from mersa.errors import ShapeError

PADDING_TOLERANCE = 1e-4
"""How far frames of a padded batch may be from those of the clip alone, in float32."""

_Item = TypeVar("_Item")


def check_mono(batch: Sequence[object]) -> list[FloatArray]:
    """Return the waveforms as float32.

    Raises:
        ShapeError: If there are none, or one is not a single channel.
    """
    waveforms = [np.asarray(waveform, dtype=np.float32) for waveform in batch]
    if not waveforms:
        raise ShapeError("the batch holds no waveforms; give at least one")
    for waveform in waveforms:
        if waveform.ndim != 1:
            raise ShapeError(
                f"a waveform has shape {waveform.shape}, but one channel, (samples,), was "
                "expected; average the channels first"
            )
    return waveforms


def lengthen(waveform: FloatArray, samples: int) -> FloatArray:
    """Append silence to a clip that is shorter than `samples`."""
    return np.pad(waveform, (0, max(0, samples - len(waveform))))


def encode_by_length(
    waveforms: Sequence[FloatArray], encode: Callable[[FloatArray], FloatArray]
) -> Encoded:
    """Encode clips of any lengths, those of one length together, and keep the order given.

    Args:
        waveforms: One (T,) array a clip.
        encode: (B, T) to (B, N, D), for clips of one length.
    """
    rows_of: dict[int, list[int]] = {}
    for row, waveform in enumerate(waveforms):
        rows_of.setdefault(len(waveform), []).append(row)
    frames: dict[int, FloatArray] = {}
    for rows in rows_of.values():
        encoded = encode(np.stack([waveforms[row] for row in rows]))
        frames.update(zip(rows, encoded, strict=True))
    return pad([frames[row] for row in range(len(waveforms))])


def padding_error(encode: Callable[[list[_Item]], Encoded], probes: Sequence[_Item]) -> float:
    """Return how far frames in one padded batch are from those of each item alone.

    Args:
        encode: Encodes a batch, padded.
        probes: Items of different lengths.

    Returns:
        The largest difference over the largest reference; infinite where the numbers of frames
        differ or a value is not finite.
    """
    alone = [encode([probe]).split()[0] for probe in probes]
    together = encode(list(probes)).split()
    if [one.shape for one in together] != [one.shape for one in alone]:
        return math.inf
    difference = max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True))
    error = float(difference / max(np.abs(one).max() for one in alone))
    return error if math.isfinite(error) else math.inf
