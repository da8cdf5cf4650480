import io

import numpy as np
import pytest
import soundfile

from mersa.audio import read_audio
from mersa.decoding import declared_s
from mersa.errors import AudioError, ConfigError
from mersa.recognize.stream import open_stream


def sound(seconds, rate, channels=1, seed=0):
    noise = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return noise.astype(np.float32)


def streamed(source, sampling_rate=None):
    with open_stream(source, sampling_rate) as stream:
        return np.concatenate(list(stream.mono()))


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_blocks_give_what_reading_at_once_gives(rate, kind, tmp_path):
    path = tmp_path / f"sound.{kind}"
    soundfile.write(path, sound(9.7, rate, channels=2), rate)

    found = streamed(path)

    assert np.array_equal(found, read_audio(path))


def test_a_file_object_and_an_array_are_streamed_alike(tmp_path):
    samples = sound(9.3, 22_050, channels=2)
    soundfile.write(tmp_path / "a.wav", samples, 22_050, subtype="FLOAT")
    expected = read_audio(tmp_path / "a.wav")

    assert np.array_equal(streamed(samples, 22_050), expected)
    assert np.array_equal(streamed(io.BytesIO((tmp_path / "a.wav").read_bytes())), expected)


def test_channels_are_kept_apart():
    left, right = sound(9.1, 44_100)[:, 0], sound(9.1, 44_100, seed=1)[:, 0]

    with open_stream(np.stack([left, right], axis=1), 44_100) as stream:
        found = np.concatenate(list(stream.channels()))

    assert found.shape[1] == 2
    assert np.array_equal(found[:, 0], streamed(left, 44_100))
    assert np.array_equal(found[:, 1], streamed(right, 44_100))


@pytest.mark.parametrize("seconds", [3.0, 9.0])
def test_a_recording_that_is_short_enough_comes_whole(seconds, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(seconds, 8_000), 8_000)

    with open_stream(path) as stream:
        whole = stream.whole(5.0)
        rest = list(stream.mono()) if whole is None else []

    if seconds < 5:
        assert np.array_equal(whole, read_audio(path))
        assert stream.seconds == seconds
    else:
        assert whole is None  # and nothing of it is lost
        assert np.array_equal(np.concatenate(rest), read_audio(path))


def test_a_bad_sample_is_told_with_its_time_in_the_whole_recording():
    samples = sound(9.0, 8_000)[:, 0]
    samples[60_000] = np.nan

    with pytest.raises(AudioError, match=r"holds nan at 7\.500 s, but every sample must be a fin"):
        streamed(samples, 8_000)


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, sound(9.0, 8_000), 8_000)
    path.write_bytes(path.read_bytes()[:-40_000])

    with pytest.raises(AudioError, match=r"a\.flac is (damaged or )?cut short"):
        streamed(path)


def test_one_channel_is_not_two_speakers():
    with (
        open_stream(sound(1.0, 8_000), 8_000) as stream,
        pytest.raises(AudioError, match=r"has one channel, .* give the recording in two channels"),
    ):
        list(stream.channels())


def test_samples_need_their_rate():
    with (
        pytest.raises(ConfigError, match="without its rate; give sampling_rate in hertz"),
        open_stream(sound(1.0, 8_000)),
    ):
        pass


@pytest.mark.parametrize("kind", ["wav", "ogg", "mp3"])
def test_a_recording_says_how_long_it_is(kind, tmp_path):
    path = tmp_path / f"sound.{kind}"
    soundfile.write(path, sound(9.0, 16_000), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"no sound")

    assert declared_s(path) == pytest.approx(9.0, abs=0.1)
    assert declared_s(tmp_path / "bad.wav") is None
    assert declared_s(tmp_path / "absent.wav") is None
