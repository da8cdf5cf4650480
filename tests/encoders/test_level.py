import numpy as np
import pytest

from mersa.encoders.level import set_peak
from mersa.errors import ConfigError

WAVEFORM = np.array([0.1, -0.4, 0.3, 0.0, 0.2], dtype=np.float32)


def test_none_leaves_the_level_as_recorded():
    assert np.array_equal(set_peak(WAVEFORM, None), WAVEFORM)


def test_the_largest_magnitude_becomes_the_peak():
    scaled = set_peak(WAVEFORM, 0.5)

    assert scaled == pytest.approx(np.array([0.125, -0.5, 0.375, 0.0, 0.25]))
    assert scaled.dtype == np.float32


def test_the_argument_is_not_changed():
    before = WAVEFORM.copy()

    set_peak(WAVEFORM, 0.5)

    assert np.array_equal(WAVEFORM, before)


@pytest.mark.parametrize("num_samples", [0, 1, 7])
def test_digital_silence_stays_silence(num_samples):
    silence = np.zeros(num_samples, dtype=np.float32)

    assert np.array_equal(set_peak(silence, 0.5), silence)


def test_the_faintest_sound_is_scaled_without_overflow():
    faintest = np.array([0.0, 1e-45], dtype=np.float32)

    assert set_peak(faintest, 0.5).tolist() == [0.0, 0.5]


@pytest.mark.parametrize("peak", [0, -0.5, float("nan"), float("inf")])
def test_an_impossible_peak_is_refused(peak):
    with pytest.raises(ConfigError, match=rf"peak is {peak}, .* give one as 0\.5"):
        set_peak(WAVEFORM, peak)
