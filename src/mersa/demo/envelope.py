"""The outline of a recording, small enough to be drawn whatever its length."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.errors import AudioError
from mersa.recognize.stream import open_stream

_STEP_S = 0.02
_MOST_POINTS = 1200  # more than a picture has columns


@dataclass(frozen=True)
class Envelope:
    """Lowest and highest sample of each of N stretches of one length.

    Attributes:
        seconds: How long the recording is.
        low: (N,).
        high: (N,).
    """

    seconds: float
    low: FloatArray
    high: FloatArray


def read_envelope(path: Path, *, longest_s: float) -> Envelope:
    """Read a recording once, in memory that hardly grows with its length.

    Raises:
        AudioError: If it cannot be read, or is longer than `longest_s`.
    """
    step = round(_STEP_S * SAMPLE_RATE)
    lows, highs = [], []
    rest = np.zeros(0, dtype=np.float32)
    with open_stream(path) as stream:
        for block in stream.mono():
            if stream.seconds > longest_s:
                raise AudioError(
                    f"{path} is longer than {longest_s / 60:g} minutes, the most that this page "
                    "takes; cut it, or use: mersa predict"
                )
            samples = np.concatenate([rest, block])
            whole = len(samples) // step * step
            stretches = samples[:whole].reshape(-1, step)
            lows.append(stretches.min(1))
            highs.append(stretches.max(1))
            rest = samples[whole:]
        if len(rest):
            lows.append(rest.min(keepdims=True))
            highs.append(rest.max(keepdims=True))
        low, high = np.concatenate(lows), np.concatenate(highs)
        starts = np.arange(0, len(low), -(-len(low) // _MOST_POINTS))
        return Envelope(
            stream.seconds, np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        )
