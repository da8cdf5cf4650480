import importlib
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mersa.errors import EncoderError, MissingExtraError
from mersa.recognize.segments import Piece
from mersa.recognize.transcribe import FasterWhisper, Hearing, transcribe_together
from mersa.recognize.words import Word

sys.path.append(str(Path(__file__).parent))
RATE = 16_000


class Beeps:
    """A stand-in: each stretch of equal samples is a word, its value in hundredths; but silence."""

    name = "beeps"

    def __init__(self):
        self.seconds = []

    def transcribe(self, audio):
        self.seconds.append(len(audio) / RATE)
        edges = [0, *(np.flatnonzero(np.diff(audio)) + 1).tolist(), len(audio)]
        return [
            Word(start / RATE, end / RATE, f" {round(100 * float(audio[start]))} ")
            for start, end in pairwise(edges)
            if audio[start]
        ]


def beep(*values):
    return np.repeat(np.array(values, dtype=np.float32) / 100, RATE)


def texts(heard):
    return [" ".join(word.text.strip() for word in words) for words in heard]


def test_short_sounds_are_heard_together_and_told_apart():
    sounds = [beep(1, 2), beep(3), beep(0), beep(4, 5, 6)]
    transcriber = Beeps()

    heard = transcribe_together(transcriber, sounds)

    assert len(transcriber.seconds) == 1
    assert texts(heard) == ["1 2", "3", "", "4 5 6"]
    times = [[word.start_s for word in words] for words in heard]
    assert times == [pytest.approx(one) for one in ([0, 1], [0], [], [0, 1, 2])]


def test_sounds_that_do_not_fit_together_are_heard_apart():
    transcriber = Beeps()

    heard = transcribe_together(transcriber, [beep(*[1] * 20), beep(*[2] * 20), beep(*[3] * 40)])

    assert transcriber.seconds == [20.0, 20.0, 40.0]
    assert texts(heard) == ["1", "2", "3"]


def test_words_heard_have_the_times_of_the_recording_and_overlaps_count_once():
    hearing = Hearing(Beeps())
    sound = beep(*range(1, 31))
    first, second = sound[: 20 * RATE], sound[10 * RATE :]
    windows = [Piece(0.0, 20.0, first), Piece(10.0, 30.0, second)]

    found = hearing(windows)

    assert [len(one.split()) for one in found] == [20, 20]
    words = hearing.words()
    assert [word.start_s for word in words.timed] == pytest.approx(list(range(30)))
    assert words.source == "beeps"


@pytest.mark.slow
def test_faster_whisper_gives_words_with_times(tmp_path, toy_corpus):
    from mersa.audio import read_audio

    pytest.importorskip("faster_whisper")
    folder = importlib.import_module("whisper").write_whisper(tmp_path / "tiny")
    sound = read_audio(min((toy_corpus / "audio").rglob("*.ogg")))
    transcriber = FasterWhisper(str(folder), language="en", device="cpu")

    words = transcriber.transcribe(sound)

    assert transcriber.name == f"faster-whisper {folder}"
    assert words
    assert all(0 <= one.start_s <= one.end_s <= 30 and one.text for one in words)
    assert words == transcriber.transcribe(sound)
    with pytest.raises(EncoderError, match=r"language 'de' is not known to .*; choose one of en"):
        FasterWhisper(str(folder), language="de", device="cpu")


def test_a_transcriber_that_is_not_there_is_refused(tmp_path):
    pytest.importorskip("faster_whisper")
    (tmp_path / "empty").mkdir()

    with pytest.raises(EncoderError, match=r"empty' cannot be loaded .*name a size as small"):
        FasterWhisper(str(tmp_path / "empty"), device="cpu")


def test_a_missing_extra_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'mersa\[asr\]'"):
        FasterWhisper("small")
