"""Any media file, bytes or array -> mono float32 at 16 kHz.

Channels: one is taken as it is and two are averaged. Of three or more the front centre is taken
where the layout has one, because film sound keeps its speech there (MELD's clips are 5.1);
otherwise all are averaged. The level is never changed and nothing is clipped.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from mersa.decoding import AGAIN, Stretch, decode, mix, opened, to_float, wav_centre
from mersa.decoding import FloatArray as FloatArray
from mersa.decoding import Source as Source
from mersa.errors import AudioError

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside mersa."""

RESAMPLING = "HQ"
"""Quality of soxr's filter."""

MAX_CHANNELS = 8
"""Channels of 7.1 sound, the widest layout that is told apart."""

_LOUDEST = 100.0  # 40 dB above full scale: some recordings clip, none is that loud
_RATES = (1_000, 768_000)


def read_audio(
    source: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    name: str | None = None,
) -> FloatArray:
    """Read a recording, or one stretch of it, as mono float32 at 16 kHz.

    Args:
        source: What to read. A file object is read from its beginning and stays open.
        start_s: Where the stretch begins, in seconds from the first sample; None for the beginning.
        end_s: Where it ends; None for the end. Up to 0.1 s beyond the end counts as the end.
        name: What messages call the source; a path or a named file has a name of its own.

    Returns:
        The samples, full scale -1 to 1, (n,) with n at least 1.

    Raises:
        AudioError: If there is no such file, it is not audio, damaged, shorter than it declares, or
            without sound; if it holds NaN or infinity; or if the stretch is not inside it.
    """
    with opened(source, name) as (file, called):
        stretch = Stretch(called, start_s or 0.0, end_s)
        stretch.check_order()
        pieces, rate = [], 0
        for block in decode(file, stretch):
            pieces.append(block.mono())
            rate = block.rate
    return finish(pieces, rate, called)


def from_array(samples: npt.ArrayLike, sample_rate: int) -> FloatArray:
    """Bring an array of samples to mono float32 at 16 kHz.

    Args:
        samples: (n,) or (n, channels): samples first, channels last, at most 8 of them, in the
            order of a WAV file. Floats are kept; integers are divided by their full range.
        sample_rate: Samples per second of the array, in hertz.

    Raises:
        AudioError: If shape, kind of number or rate is wrong, or a sample is NaN or infinite.
    """
    block = check_array(samples)
    mono = mix(to_float(block), wav_centre(block.shape[1]))
    return finish([mono], sample_rate, "the array")


def check_array(samples: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an array of samples as (n, channels), its numbers as they are.

    Raises:
        AudioError: If its shape or kind of number is wrong; see `from_array`.
    """
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf":
        raise AudioError(
            f"the array holds {array.dtype}, but samples are integers or floats; convert it"
        )
    if array.ndim not in (1, 2):
        raise AudioError(
            f"the array has shape {array.shape}, but (n,) or (n, channels) is needed; "
            "give one recording at a time"
        )
    if array.size == 0:
        raise AudioError(
            f"the array has shape {array.shape}, which is no samples; give at least one"
        )
    block = array.reshape(len(array), -1)  # (n, channels)
    channels = block.shape[1]
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"the array has shape {array.shape}, which is {channels} channels, but at most "
            f"{MAX_CHANNELS} are taken, samples first, channels last; transpose it"
        )
    return block


def content_hash(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        AudioError: If the file is missing, a folder or empty.
    """
    with opened(path, None) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def finish(pieces: Sequence[FloatArray], rate: int, name: str) -> FloatArray:
    """Join pieces of mono samples, check them and bring them to 16 kHz, (n,).

    Raises:
        AudioError: If there are no samples, or one is no number or far above full scale, or the
            rate is none of sound.
    """
    samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)
    if len(samples) == 0:
        raise AudioError(f"{name} holds no samples, but a recording was expected; {AGAIN}")
    check_samples(samples, rate, name)
    resampled: FloatArray = soxr.resample(samples, rate, SAMPLE_RATE, quality=RESAMPLING)
    if len(resampled) == 0:
        raise AudioError(
            f"{name} holds {len(samples)} samples at {rate} Hz, which is less than one at "
            f"{SAMPLE_RATE} Hz; give a longer recording"
        )
    return resampled


def check_samples(samples: FloatArray, rate: int, name: str, *, before: int = 0) -> None:
    """Refuse samples that are no sound.

    Args:
        samples: At least one, (n,) or (n, channels).
        rate: Samples per second, in hertz.
        name: What messages call the recording.
        before: How many samples came before these.

    Raises:
        AudioError: If a sample is no number or far above full scale, or the rate is none of sound.
    """
    low, high = _RATES
    if not low <= rate <= high:
        raise AudioError(
            f"{name} has a sampling rate of {rate} Hz, but {low} to {high} Hz is needed; "
            "give the rate at which it was recorded"
        )
    finite = np.isfinite(samples)
    if not finite.all():
        place, *channel = np.argwhere(~finite)[0].tolist()
        raise AudioError(
            f"{name} holds {samples[(place, *channel)]} at {(before + place) / rate:.3f} s, but "
            "every sample must be a finite number; mend or replace the recording"
        )
    largest = float(np.abs(samples).max())
    if largest > _LOUDEST:
        raise AudioError(
            f"{name} holds samples up to {largest:g}, but floating-point sound has full scale 1; "
            "divide it by its full scale (32768 for 16 bits)"
        )
