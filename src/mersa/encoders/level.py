"""The loudness at which a waveform is heard: as recorded, or brought to one peak."""

import math

import numpy as np

from mersa.audio import FloatArray
from mersa.errors import ConfigError


def set_peak(waveform: FloatArray, peak: float | None) -> FloatArray:
    """Scale a waveform so that its largest magnitude is `peak`; digital silence stays as it is.

    Args:
        waveform: Samples, (N,).
        peak: The largest magnitude wanted, where 1 is full scale; None leaves the level as
            recorded.

    Returns:
        The samples at the level asked for, (N,); the argument itself where nothing changes.

    Raises:
        ConfigError: If `peak` is not a positive, finite number.
    """
    check_peak(peak)
    if peak is None:
        return waveform
    largest = np.abs(waveform).max(initial=0.0)
    if largest == 0:
        return waveform
    # Divided first: peak / largest would overflow for the faintest of sounds.
    scaled: FloatArray = waveform / largest * np.float32(peak)
    return scaled


def check_peak(peak: float | None) -> None:
    """Refuse a peak that no waveform can be scaled to.

    Raises:
        ConfigError: If `peak` is neither None nor a positive, finite number.
    """
    if peak is not None and not (math.isfinite(peak) and peak > 0):
        raise ConfigError(
            f"peak is {peak}, but a level is a positive number, where 1 is full scale; "
            "give one as 0.5, or leave it out for the level as recorded"
        )
