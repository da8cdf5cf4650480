"""Log-mel energies: an encoder without weights, and the spectrum that VGGish starts from as well.

Shapes: N samples, F windows of 10 ms, L frames after averaging.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoded, Modality, pad
from mersa.encoders.level import check_peak, set_peak
from mersa.errors import ConfigError, EncoderError
from mersa.files import write_json

WINDOW = SAMPLE_RATE * 25 // 1000
"""Samples of one window: 25 ms."""
HOP = SAMPLE_RATE * 10 // 1000
"""Samples from one window to the next: 10 ms."""
NUM_FFT = 512
"""Length of the transform: the power of two above the window."""

_LOW_HZ, _HIGH_HZ = 60.0, 7600.0
_MAX_BANDS = 128  # of a few more, the lowest would hold no bin of the transform (31.25 Hz)
_FLOOR = 1e-6  # energy; the rounding noise of 16-bit samples lies 10 dB below
_MEAN, _DEVIATION = -6.0, 5.0  # natural logarithms, of emotional speech in three languages
_VERSION = 2  # raise it whenever the frames change, so that no cache serves old ones
_Precision = TypeVar("_Precision", np.float32, np.float64)
_BLOCK = 2048  # windows transformed at a time, so that an hour needs no gigabytes


class LogMel:
    """Log-mel energies of speech, summed up in a lower frame rate. There is nothing to load.

    Energies are log(mel + 1e-6), brought by two fixed numbers to about zero mean and unit
    variance for speech as recorded. A frame holds the mean of each band over some windows, then
    its standard deviation. The second half does not move with the level of the recording, so the
    level survives a network's LayerNorm, which would take it out of the means alone. The
    recording is followed by silence up to a whole window, so that every sample counts; the last
    frame is over the windows that are left.

    Args:
        bands: Mel bands between 60 and 7600 Hz; the width is twice as many.
        stride: Windows of 10 ms that one frame sums up.
        peak: Level that each clip is brought to; None keeps it as recorded.

    Raises:
        ConfigError: If a setting is out of its range.
    """

    name = "mel"
    modality: Modality = "audio"
    num_layers = 1
    equal_lengths = False

    def __init__(self, *, bands: int = 64, stride: int = 8, peak: float | None = None) -> None:
        if not 1 <= bands <= _MAX_BANDS:
            raise ConfigError(
                f"bands is {bands}, but a log-mel encoder has 1 to {_MAX_BANDS}, since narrower "
                f"bands hold nothing; use 64, or another number up to {_MAX_BANDS}"
            )
        if stride < 1:
            raise ConfigError(
                f"stride is {stride}, but a frame averages at least one window; use 1 or more"
            )
        check_peak(peak)
        self.width = 2 * bands
        self._bands = bands
        self.frames_per_second = SAMPLE_RATE / HOP / stride
        self._stride = stride
        self._peak = None if peak is None else float(peak)
        self._filters = mel_filters(bands, _LOW_HZ, _HIGH_HZ).astype(np.float32)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the encoder that `save` wrote into `folder`.

        Raises:
            EncoderError: If the folder holds no such encoder.
        """
        try:
            return cls(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{str(folder)!r} holds no log-mel encoder ({error}), but a config.json as save "
                "writes it was expected; save the encoder again"
            ) from error

    @property
    def fingerprint(self) -> str:
        """Hex digest of the settings."""
        facts = json.dumps({"encoder": self.name, "version": _VERSION} | self._settings())
        return hashlib.sha256(facts.encode()).hexdigest()

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode waveforms one by one; see the protocol."""
        return pad([self._encode(waveform) for waveform in cast(Sequence[FloatArray], batch)])

    def save(self, folder: Path) -> None:
        """Write the settings."""
        write_json(folder / "config.json", self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"bands": self._bands, "stride": self._stride, "peak": self._peak}

    def _encode(self, waveform: FloatArray) -> FloatArray:
        waveform = set_peak(waveform, self._peak)
        num_windows = 1 + max(0, -(-(len(waveform) - WINDOW) // HOP))
        waveform = np.pad(waveform, (0, WINDOW + (num_windows - 1) * HOP - len(waveform)))
        energies = np.log(mel_spectrum(waveform, self._filters, exponent=2) + np.float32(_FLOOR))
        energies = (energies.astype(np.float64) - _MEAN) / _DEVIATION  # (F, bands)
        starts = np.arange(0, num_windows, self._stride)
        counts = np.diff(starts, append=num_windows)[:, None]
        means = np.add.reduceat(energies, starts, axis=0) / counts  # (L, bands)
        squares = np.add.reduceat(energies**2, starts, axis=0) / counts
        deviations = np.sqrt(np.maximum(0.0, squares - means**2))
        return np.concatenate([means, deviations], axis=1).astype(np.float32)  # (L, 2 * bands)


def mel_filters(bands: int, low_hz: float, high_hz: float) -> npt.NDArray[np.float64]:
    """Return mel bands as weights of the transform's bins, (NUM_FFT / 2 + 1, bands).

    The mel scale is HTK's, 1127 ln(1 + f / 700); the triangles are straight lines in mel and peak
    at 1; the bin of 0 Hz has no weight.

    Source: harritaylor/torchvggish:torchvggish/mel_features.py.
    """
    bins = _to_mel(np.linspace(0.0, SAMPLE_RATE / 2, NUM_FFT // 2 + 1))[:, None]
    edges = np.linspace(_to_mel(np.array(low_hz)), _to_mel(np.array(high_hz)), bands + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    filters: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def mel_spectrum(
    waveform: FloatArray, filters: npt.NDArray[_Precision], *, exponent: int
) -> npt.NDArray[_Precision]:
    """Return the mel spectrum of every whole window, (1 + (N - WINDOW) // HOP, bands).

    Args:
        waveform: At least one window of samples, (N,).
        filters: Weights of the bins, (NUM_FFT / 2 + 1, bands); their precision is computed in.
        exponent: 1 for magnitudes, 2 for energies.
    """
    samples = waveform.astype(filters.dtype)
    windows = sliding_window_view(samples, WINDOW)[::HOP]  # (F, WINDOW)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))  # periodic
    hann = hann.astype(filters.dtype)
    mel = np.empty((len(windows), filters.shape[1]), dtype=filters.dtype)
    for start in range(0, len(windows), _BLOCK):
        spectrum = fft.rfft(windows[start : start + _BLOCK] * hann, NUM_FFT)
        mel[start : start + _BLOCK] = np.abs(spectrum) ** exponent @ filters
    return mel


def _to_mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1127.0 * np.log1p(hertz / 700.0)
