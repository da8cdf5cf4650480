import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mersa.encoders.base import Encoder
from mersa.encoders.mel import LogMel, mel_filters
from mersa.errors import ConfigError, EncoderError

DATA = Path(__file__).parents[3] / "shared" / "data"


def noise(num_samples, *, level=0.1, seed=0):
    samples = np.random.default_rng(seed).standard_normal(num_samples) * level
    return samples.astype(np.float32)


def frames_by_loops(waveform, *, bands, stride):
    """Windows of 400 every 160, energies in triangles linear in mel, log, mean of `stride`."""
    num_windows = 1
    while 400 + (num_windows - 1) * 160 < len(waveform):
        num_windows += 1
    samples = np.zeros(400 + (num_windows - 1) * 160)
    samples[: len(waveform)] = waveform

    def mel(hertz):
        return 2595 * np.log10(1 + hertz / 700)

    edges = [mel(60) + i * (mel(7600) - mel(60)) / (bands + 1) for i in range(bands + 2)]
    rows = []
    for window in range(num_windows):
        piece = samples[window * 160 : window * 160 + 400]
        piece = piece * [0.5 - 0.5 * np.cos(2 * np.pi * n / 400) for n in range(400)]
        row = []
        for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
            energy = 0.0
            for k in range(1, 257):
                place = mel(k * 16000 / 512)
                if low < place < high:
                    wave = np.exp(-2j * np.pi * k * np.arange(400) / 512)
                    up, down = (place - low) / (centre - low), (high - place) / (high - centre)
                    energy += min(up, down) * abs((piece * wave).sum()) ** 2
            row.append((np.log(energy + 1e-6) + 6.0) / 5.0)
        rows.append(row)
    groups = [rows[i : i + stride] for i in range(0, num_windows, stride)]
    return np.array([[*np.mean(group, axis=0), *np.std(group, axis=0)] for group in groups])


def test_it_is_an_encoder():
    encoder: Encoder = LogMel(bands=17, stride=5)

    assert (encoder.width, encoder.num_layers, encoder.modality) == (34, 1, "audio")
    assert encoder.frames_per_second == 20
    assert not encoder.equal_lengths


def test_frames_equal_plain_loops():
    waveform = noise(400 + 160 * 6 + 30)  # 8 windows, the last one not whole

    encoded = LogMel(bands=11, stride=3).encode([waveform])

    expected = frames_by_loops(waveform, bands=11, stride=3)
    assert encoded.frames[0].shape == (3, 22)
    assert encoded.frames[0] == pytest.approx(expected, abs=1e-4)
    assert encoded.frames.dtype == np.float32


def test_a_batch_gives_what_one_at_a_time_gives():
    encoder = LogMel()
    waveforms = [noise(n, seed=n) for n in (16_000, 1, 399, 5_000, 23_456)]

    together = encoder.encode(waveforms).split()

    for waveform, frames in zip(waveforms, together, strict=True):
        assert np.array_equal(frames, encoder.encode([waveform]).frames[0])


@given(lengths=st.lists(st.integers(0, 20_000), min_size=2, max_size=5))
@settings(max_examples=20, deadline=None)
def test_padding_changes_nothing_whatever_the_lengths(lengths):
    encoder = LogMel(bands=7)
    waveforms = [noise(n, seed=seed) for seed, n in enumerate(lengths)]

    together = encoder.encode(waveforms).split()

    alone = [encoder.encode([waveform]).frames[0] for waveform in waveforms]
    assert all(map(np.array_equal, together, alone))


@pytest.mark.parametrize(
    ("num_samples", "num_frames"), [(1, 1), (400, 1), (880, 1), (881, 2), (16_000, 25)]
)
def test_the_tail_is_included(num_samples, num_frames):
    waveform = np.zeros(num_samples, dtype=np.float32)
    waveform[-1:] = 1.0

    encoded = LogMel(stride=4).encode([waveform])

    assert encoded.lengths.tolist() == [num_frames]
    assert np.isfinite(encoded.frames).all()


def test_the_last_samples_are_heard():
    silence = np.zeros(400 + 160 + 100, dtype=np.float32)
    click = silence.copy()
    click[-50:] = 0.5

    encoder = LogMel(stride=1)

    last = encoder.encode([click]).frames[0, -1] - encoder.encode([silence]).frames[0, -1]
    assert last.max() > 0.5


def test_digital_silence_gives_the_floor():
    encoded = LogMel(bands=7).encode([np.zeros(3_000, dtype=np.float32)])

    assert encoded.frames[..., :7] == pytest.approx((np.log(1e-6) + 6.0) / 5.0)
    assert encoded.frames[..., 7:] == pytest.approx(0.0, abs=1e-6)


def test_a_louder_clip_gives_larger_values_unless_a_peak_is_set():
    quiet = noise(8_000, level=0.01)

    as_recorded = LogMel().encode([quiet, 10 * quiet]).frames
    levelled = LogMel(peak=0.5).encode([quiet, 10 * quiet]).frames

    means, deviations = np.split(as_recorded[1] - as_recorded[0], 2, axis=-1)
    assert means.mean() == pytest.approx(2 * np.log(10) / 5, rel=0.05)
    assert deviations == pytest.approx(0.0, abs=1e-2)
    assert levelled[1] == pytest.approx(levelled[0], abs=1e-4)


def test_a_long_recording_is_computed_in_blocks_without_a_seam(monkeypatch):
    waveform = noise(16_000)
    whole = LogMel().encode([waveform]).frames

    monkeypatch.setattr("mersa.encoders.mel._BLOCK", 13)

    assert LogMel().encode([waveform]).frames == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("bands", [1, 2, 64, 127, 128])
def test_no_band_is_empty(bands):
    assert (mel_filters(bands, 60.0, 7600.0).sum(axis=0) > 0).all()


@pytest.mark.parametrize("low_hz", [0.0, 60.0])
def test_a_constant_offset_is_not_heard(low_hz):
    assert not mel_filters(64, low_hz, 7600.0)[0].any()


def test_every_setting_changes_the_fingerprint():
    settings = [{}, {"bands": 40}, {"stride": 2}, {"peak": 0.5}, {"peak": 0.25}]

    fingerprints = {LogMel(**setting).fingerprint for setting in settings}

    assert len(fingerprints) == len(settings)
    assert LogMel(peak=1).fingerprint == LogMel(peak=1.0).fingerprint


def test_save_and_load_give_the_same_encoder(tmp_path):
    encoder = LogMel(bands=9, stride=3, peak=0.25)

    encoder.save(tmp_path / "audio")
    again = LogMel.load(tmp_path / "audio")

    assert again.fingerprint == encoder.fingerprint
    waveforms = [noise(5_000)]
    assert np.array_equal(again.encode(waveforms).frames, encoder.encode(waveforms).frames)


@pytest.mark.parametrize(
    "content", [None, b"", b"[3]", b'{"colours": 3}', b'{"bands": 0}', b"\xff"]
)
def test_a_broken_folder_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)

    with pytest.raises(EncoderError, match=rf"{tmp_path.name}.* save the encoder again"):
        LogMel.load(tmp_path)


def test_the_saved_settings_are_plain_json(tmp_path):
    LogMel().save(tmp_path)

    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings == {"bands": 64, "stride": 8, "peak": None}


@pytest.mark.parametrize("bands", [0, 129])
def test_an_impossible_number_of_bands_is_refused(bands):
    with pytest.raises(ConfigError, match=rf"bands is {bands}, .* use 64, or .* up to 128"):
        LogMel(bands=bands)


def test_an_impossible_stride_is_refused():
    with pytest.raises(ConfigError, match=r"stride is 0, .* use 1 or more"):
        LogMel(stride=0)


def test_an_impossible_peak_is_refused_at_once():
    with pytest.raises(ConfigError, match="peak is -1"):
        LogMel(peak=-1)


@pytest.mark.corpus
def test_real_speech_is_about_centred():
    soundfile = pytest.importorskip("soundfile")
    paths = [
        path
        for corpus in ("ravdess", "nemo", "emodb")
        for path in sorted((DATA / corpus).rglob("*.flac"))[::40]
    ]
    if not paths:
        pytest.skip(f"no recordings under {DATA}")

    encoded = LogMel().encode([soundfile.read(path, dtype="float32")[0] for path in paths])

    values = np.concatenate(encoded.split())
    assert abs(values.mean()) < 0.5
    assert 0.7 < values.std() < 1.3
