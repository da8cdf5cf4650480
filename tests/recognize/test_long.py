"""Recordings longer than an utterance; the models learnt the toy corpus, synthetic speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa.audio import SAMPLE_RATE, read_audio
from mersa.errors import ConfigError
from mersa.experiment import train
from mersa.recognize.prediction import NO_SPEECH, WITHOUT_WORDS
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.segments import SpeechCutter
from mersa.recognize.settings import Turn, make_segmentation
from mersa.recognize.words import Word, in_time, untimed

DATA = Path(__file__).parents[3] / "shared" / "data" / "ravdess" / "flac"
PLAIN = ("smoothing.weight=0", "smoothing.margin=0")


class Standing:
    """A stand-in transcriber that hears one word in the middle of what it is given."""

    name = "stand-in"

    def transcribe(self, audio):
        middle = len(audio) / SAMPLE_RATE / 2
        return [Word(middle, middle + 0.01, "furious")]


@pytest.fixture(scope="module")
def both(small_run):
    return Recognizer.from_pretrained(small_run, device="cpu")


@pytest.fixture(scope="module")
def heard(small_corpus, quick, tmp_path_factory, cache_folder):
    """A recogniser that reads sound alone."""
    from mersa.encoders.cache import FeatureCache

    folder = tmp_path_factory.mktemp("heard") / "run"
    config = quick("network.system=audio")
    train(small_corpus, config, folder, cache=FeatureCache(cache_folder), device="cpu")
    return Recognizer.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def read(small_corpus, quick, tmp_path_factory, cache_folder):
    """A recogniser that reads words alone."""
    from mersa.encoders.cache import FeatureCache

    folder = tmp_path_factory.mktemp("read") / "run"
    config = quick("network.system=text")
    train(small_corpus, config, folder, cache=FeatureCache(cache_folder), device="cpu")
    return Recognizer.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def clips(toy_corpus):
    return [read_audio(path) for path in sorted((toy_corpus / "audio").rglob("*.ogg"))[:24]]


def silence(seconds):
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def joined(clips, gap_s):
    """Clips with silences around them, and where each begins, in seconds."""
    parts, starts, at = [silence(gap_s)], [], gap_s
    for clip in clips:
        starts.append(at)
        parts += [clip, silence(gap_s)]
        at += len(clip) / SAMPLE_RATE + gap_s
    return np.concatenate(parts), starts


def alone(clips, starts, segmentation):
    """What voice activity finds in each clip by itself: times of the joined recording."""
    spans = []
    for clip, start in zip(clips, starts, strict=True):
        cutter = SpeechCutter(segmentation)
        spans += [
            (start + one.start_s, start + one.end_s)
            for one in (*cutter.push(clip), *cutter.finish())
        ]
    return spans


def share_near(found, expected, limit_s=0.3):
    """Share of expected boundaries that have one of the same kind near them."""
    near = [
        min(abs(one[side] - other[side]) for other in found) <= limit_s
        for one in expected
        for side in (0, 1)
    ]
    return sum(near) / len(near)


def answer(recognizer, samples, how="speech", **named):
    if isinstance(how, str):
        how = make_segmentation(how, PLAIN)
    return recognizer.predict(samples, sampling_rate=SAMPLE_RATE, segmentation=how, **named)


def test_segments_of_joined_clips_are_those_of_the_clips(heard, clips):
    how = make_segmentation("speech", ["speech.pad_s=0.1", *PLAIN])
    recording, starts = joined(clips, 1.5)

    found = answer(heard, recording, how)

    assert found.segmentation == "speech"
    spans = [(one.start_s, one.end_s) for one in found.segments]
    assert share_near(spans, alone(clips, starts, how)) >= 0.9
    assert share_near(alone(clips, starts, how), spans) >= 0.9


def test_a_segment_has_the_answer_of_its_samples_alone(heard, clips):
    recording, _ = joined(clips, 1.5)

    found = answer(heard, recording)

    assert len(found.segments) >= 20
    for one in found.segments:
        first, last = round(one.start_s * SAMPLE_RATE), round(one.end_s * SAMPLE_RATE)
        by_itself = answer(heard, recording[first:last], "whole")
        assert one.label == by_itself.label
        assert list(one.scores.values()) == pytest.approx(list(by_itself.scores.values()), abs=1e-5)


def test_the_whole_answer_is_the_mean_by_length(heard, clips):
    found = answer(heard, joined(clips, 1.5)[0])

    weights = np.array([one.end_s - one.start_s for one in found.segments])
    scores = np.array([list(one.scores.values()) for one in found.segments])
    expected = weights @ scores / weights.sum()
    assert list(found.scores.values()) == pytest.approx(expected.tolist())
    assert found.confidence == max(found.scores.values()) == found.scores[found.label]


def test_a_file_and_its_samples_give_one_answer(heard, clips, tmp_path):
    recording, _ = joined(clips, 0.5)
    soundfile.write(tmp_path / "a.wav", recording, SAMPLE_RATE, subtype="FLOAT")

    found = heard.predict(tmp_path / "a.wav")

    assert found == heard.predict(recording, sampling_rate=SAMPLE_RATE)
    assert len(found.segments) > 10


def test_auto_judges_what_is_short_as_a_whole(heard, clips):
    short, long = clips[0], joined(clips, 0.5)[0]
    limited = make_segmentation("auto", ["longest_s=1"])

    assert answer(heard, short, "auto") == answer(heard, short, "whole")
    assert answer(heard, long, "auto").segmentation == "speech"
    assert answer(heard, np.concatenate([short, short]), limited).segmentation == "speech"


@pytest.mark.parametrize("seconds", [1.0, 60.0])
@pytest.mark.parametrize("level", [0.0, 0.05])
def test_without_speech_there_is_no_label(heard, seconds, level):
    noise = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))

    found = answer(heard, (level * noise).astype(np.float32), "auto")

    assert (found.label, found.scores, found.confidence, found.segments) == (None, {}, 0.0, ())
    assert found.notes == (NO_SPEECH,)


def test_one_second_of_telephone_speech_is_judged(heard, clips):
    import soxr

    telephone = soxr.resample(joined(clips[:1], 0.1)[0][:SAMPLE_RATE], SAMPLE_RATE, 8_000)

    found = heard.predict(telephone, sampling_rate=8_000)

    assert found.segmentation == "whole"
    assert found.label in heard.labels.labels


def test_windows_leave_nothing_out(heard, clips):
    recording, _ = joined(clips, 1.5)
    how = make_segmentation("windows", ["windows.length_s=4", "windows.step_s=2", *PLAIN])

    found = answer(heard, recording, how).segments

    assert found[0].start_s == 0
    assert found[-1].end_s == pytest.approx(len(recording) / SAMPLE_RATE)
    assert [one.end_s for one in found[:-1]] == [one.start_s for one in found[1:]]
    second = answer(heard, recording[2 * SAMPLE_RATE : 6 * SAMPLE_RATE], "whole").scores
    first = answer(heard, recording[: 4 * SAMPLE_RATE], "whole").scores
    mean = [(first[label] + second[label]) / 2 for label in first]
    assert list(found[1].scores.values()) == pytest.approx(mean, abs=1e-5)


def test_each_channel_is_a_speaker(heard, clips):
    left, right = joined(clips[:8], 1.5)[0], joined(clips[8:16], 1.5)[0]
    length = max(len(left), len(right))
    stereo = np.stack([np.pad(one, (0, length - len(one))) for one in (left, right)], axis=1)
    how = make_segmentation("speech", PLAIN, channels=True)

    found = heard.predict(stereo, sampling_rate=SAMPLE_RATE, segmentation=how).segments

    assert [one.start_s for one in found] == sorted(one.start_s for one in found)
    for channel, samples in enumerate((left, right)):
        expected = answer(heard, np.pad(samples, (0, length - len(samples)))).segments
        mine = [one for one in found if one.channel == channel]
        assert [(o.start_s, o.end_s, o.label) for o in mine] == [
            (o.start_s, o.end_s, o.label) for o in expected
        ]


def test_given_turns_are_judged_as_they_are(heard, clips):
    recording, starts = joined(clips[:4], 1.0)
    lengths = [len(clip) / SAMPLE_RATE for clip in clips[:4]]
    turns = [
        Turn(start_s=start, end_s=start + length, speaker=f"s{n % 2}")
        for n, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    how = make_segmentation("turns", PLAIN, turns=turns)

    found = answer(heard, recording, how)

    assert found.segmentation == "turns"
    assert [one.speaker for one in found.segments] == ["s0", "s1", "s0", "s1"]
    for one, clip in zip(found.segments, clips, strict=False):
        assert one.label == answer(heard, clip, "whole").label


def test_words_with_times_go_to_the_segments_that_they_lie_in(both, clips):
    recording, starts = joined(clips, 1.5)
    said = [Word(start + 0.3, start + 0.6, f"w{n}") for n, start in enumerate(starts)]
    words = in_time(said, "x")

    found = answer(both, recording, words=words)

    assert found.words == "x"
    assert found.modalities == ("text", "audio")
    assert " ".join(one.text for one in found.segments).split() == words.text.split()
    one = found.segments[3]
    samples = recording[round(one.start_s * SAMPLE_RATE) : round(one.end_s * SAMPLE_RATE)]
    by_itself = answer(both, samples, "whole", text=one.text)
    assert list(one.scores.values()) == pytest.approx(list(by_itself.scores.values()), abs=1e-5)


def test_a_transcriber_hears_the_words_of_each_segment(both, clips):
    recording, _ = joined(clips[:8], 1.5)

    found = answer(both, recording, transcriber=Standing())

    assert found.words == "stand-in"
    assert [one.text for one in found.segments if one.text] == ["furious"]  # heard in one go
    silent = answer(both, recording)
    assert silent.notes[-1] == WITHOUT_WORDS
    assert (silent.words, silent.modalities) == ("none", ("audio",))


def test_a_model_of_words_judges_subtitles_without_sound(read):
    cues = [Turn(start_s=1, end_s=2), Turn(start_s=5, end_s=6), Turn(start_s=8, end_s=9)]
    words = in_time([Word(1.0, 1.5, "so"), Word(5.0, 5.5, "what")], "a.srt", cues)

    found = read.predict(words=words, segmentation="words")

    assert [(one.start_s, one.end_s, one.text) for one in found.segments] == [
        (1.0, 2.0, "so"),
        (5.0, 6.0, "what"),
    ]
    assert found.modalities == ("text",)


def test_words_without_times_do_not_go_to_segments(both, clips):
    recording, _ = joined(clips[:3], 1.5)

    assert answer(both, recording, "auto", text="so").segmentation == "whole"
    with pytest.raises(ConfigError, match=r"words have no times, but segments need them; give \.s"):
        answer(both, recording, text="so")
    with pytest.raises(ConfigError, match="segments by words need words with times; give"):
        answer(both, recording, "words")
    with pytest.raises(ConfigError, match="both text and words were given"):
        answer(both, recording, text="so", words=untimed("so"))


def test_a_bad_sample_late_in_a_recording_is_refused(heard, clips):
    recording, _ = joined(clips, 1.5)
    recording[-10] = np.inf

    with pytest.raises(ValueError, match=r"holds inf at .* mend or replace the recording"):
        answer(heard, recording)


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
def test_boundaries_and_labels_of_real_clips(heard):
    """RAVDESS; the model is not of these clips, but a label must not depend on what is around."""
    clips = [read_audio(path) for path in sorted(DATA.rglob("*.flac"))[::12]]
    how = make_segmentation("speech", ["speech.pad_s=0.2", *PLAIN])
    recording, starts = joined(clips, 1.0)

    found = answer(heard, recording, how).segments

    expected = alone(clips, starts, how)
    shares = share_near([(one.start_s, one.end_s) for one in found], expected)
    print(f"{len(clips)} clips, {len(expected)} and {len(found)} segments: {shares:.1%} near")
    assert shares >= 0.9
    assert len(found) == pytest.approx(len(expected), rel=0.05)
    for one in found:
        first, last = round(one.start_s * SAMPLE_RATE), round(one.end_s * SAMPLE_RATE)
        assert one.label == answer(heard, recording[first:last], "whole").label
