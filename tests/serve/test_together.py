"""Recordings that are judged at once, and what they ask of the model in one call."""

import numpy as np
import pytest
import soundfile

from mersa.errors import AudioError, RunError
from mersa.recognize.recognizer import Recognizer
from mersa.serve.together import Together


class Counting:
    """A scorer that notes how many utterances come in a call, and may refuse one."""

    def __init__(self, scorer, refused_text=None):
        self.labels, self.modalities = scorer.labels, scorer.modalities
        self.calls = []
        self._scorer, self._refused = scorer, refused_text

    def score(self, utterances):
        self.calls.append(len(utterances))
        if any(one.text == self._refused for one in utterances):
            raise RunError("this one cannot be scored")
        return self._scorer.score(utterances)


@pytest.fixture(scope="module")
def recognizer(small_run):
    return Recognizer.from_pretrained(small_run, device="cpu")


@pytest.fixture
def sounds(toy_corpus):
    return sorted((toy_corpus / "audio").rglob("*.ogg"))[:5]


def judge_together(recognizer, counting, sounds, texts):
    together = Together(counting)
    joined = recognizer.with_scorer(together)

    def judge(item):
        try:
            return joined.predict(*item)
        except (AudioError, RunError) as error:
            return error

    return together.map(judge, list(zip(sounds, texts, strict=True)))


def test_recordings_share_one_call_and_get_their_own_answers(recognizer, sounds):
    texts = ["no one", None, "what a day it was", None, "so"]
    expected = [recognizer.predict(*item) for item in zip(sounds, texts, strict=True)]
    counting = Counting(recognizer.scorer)

    answers = judge_together(recognizer, counting, sounds, texts)

    assert counting.calls == [5]
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.label == wanted.label
        assert list(answer.scores.values()) == pytest.approx(list(wanted.scores.values()), abs=1e-6)


def test_one_that_cannot_be_read_keeps_nobody_waiting(recognizer, sounds, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    counting = Counting(recognizer.scorer)

    answers = judge_together(recognizer, counting, [sounds[0], bad, sounds[1]], [None] * 3)

    assert isinstance(answers[1], AudioError)
    assert (answers[0].label, answers[2].label) == tuple(
        recognizer.predict(one).label for one in sounds[:2]
    )


def test_a_failure_is_told_to_the_one_to_blame(recognizer, sounds):
    counting = Counting(recognizer.scorer, refused_text="bad words")

    answers = judge_together(recognizer, counting, sounds[:3], ["so", "bad words", "no"])

    assert isinstance(answers[1], RunError)
    assert [answers[0].label, answers[2].label] == [
        recognizer.predict(sounds[0], "so").label,
        recognizer.predict(sounds[2], "no").label,
    ]


def test_long_and_short_recordings_go_together(recognizer, sounds, tmp_path):
    samples = np.concatenate([soundfile.read(one)[0] for one in sounds] * 10)
    long = tmp_path / "long.wav"
    soundfile.write(long, samples, 16_000)
    expected = recognizer.predict(long)

    answers = judge_together(
        recognizer, Counting(recognizer.scorer), [long, *sounds[:2]], [None] * 3
    )

    assert len(answers[0].segments) == len(expected.segments) > 1
    assert [one.label for one in answers[0].segments] == [one.label for one in expected.segments]
