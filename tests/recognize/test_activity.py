import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mersa.audio import read_audio
from mersa.recognize.activity import FRAME, SpeechDetector, SpeechFinder
from mersa.recognize.settings import SpeechSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import silero_vad

    LIBRARY = silero_vad.load_silero_vad()


@pytest.fixture(scope="module")
def speech(toy_corpus):
    """Some seconds of speech, 1,024 samples of silence between the clips."""
    clips = sorted((toy_corpus / "audio").rglob("*.ogg"))[:6]
    gap = np.zeros(1_024, dtype=np.float32)
    return np.concatenate([part for clip in clips for part in (read_audio(clip), gap)])


def detect(samples, size):
    detector = SpeechDetector()
    parts = [detector(samples[n : n + size]) for n in range(0, len(samples), size)]
    parts.append(detector.finish())
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))


def test_probabilities_are_those_of_the_library(speech):
    expected = LIBRARY.audio_forward(torch.from_numpy(speech)[None], 16_000)[0].numpy()

    found, _ = detect(speech, 10_000)

    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.max() > 0.9
    assert found.min() < 0.1


def test_it_does_not_matter_how_the_stream_is_cut(speech):
    for one, other in zip(detect(speech, 777), detect(speech, len(speech)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_torch_keeps_its_number_of_threads():
    torch.set_num_threads(2)

    SpeechDetector()

    assert torch.get_num_threads() == 2


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 30)),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.0, 0.03, 0.3]),
    st.integers(1, 9),
)
def test_stretches_are_those_of_the_library(runs, min_silence_s, pad_s, size):
    probabilities = np.repeat([p for p, _ in runs], [n for _, n in runs]).astype(np.float32)
    num_samples = len(probabilities) * FRAME - 100
    finder = SpeechFinder(SpeechSettings(min_silence_s=min_silence_s, pad_s=pad_s), 300.0)
    expected = silero_vad.get_speech_timestamps_from_probs(
        probabilities.tolist(),
        min_silence_duration_ms=1000 * min_silence_s,
        speech_pad_ms=1000 * pad_s,
        audio_length_samples=num_samples,
    )

    found = []
    for start in range(0, len(probabilities), size):
        some = probabilities[start : start + size]
        found += finder.push(some, some)
    found += finder.finish(num_samples)

    assert [(start, end) for start, end in found] == [
        pytest.approx((one["start"], one["end"]), abs=1) for one in expected
    ]


def test_long_speech_is_cut_where_it_is_quietest():
    finder = SpeechFinder(SpeechSettings(pad_s=0.1), longest_s=4.0)
    probabilities = np.ones(190, dtype=np.float32)  # 6.1 s
    loudness = np.ones(190, dtype=np.float32)
    loudness[78:83] = 0.1  # 2.5 s
    loudness[10:15] = 0.0  # quieter, but in the first half of what can be kept

    found = [*finder.push(probabilities, loudness), *finder.finish(190 * FRAME)]

    (first, cut), (again, last) = found
    assert (first, last) == (0, 190 * FRAME)
    assert cut == again == 80 * FRAME
    assert max(cut - first, last - again) <= 4.0 * 16_000


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.1])
def test_noise_and_silence_are_no_speech(level):
    noise = level * np.random.default_rng(0).standard_normal(16_000 * 5).astype(np.float32)
    finder = SpeechFinder(SpeechSettings(), 20.0)

    assert [*finder.push(*detect(noise, 50_000)), *finder.finish(len(noise))] == []
