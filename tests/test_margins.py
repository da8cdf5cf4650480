"""The sound around speech is measured in training clips and kept around what is cut."""

import itertools

import numpy as np
import pytest

from mersa import runs
from mersa.audio import SAMPLE_RATE, read_audio
from mersa.encoders.budget import Item
from mersa.experiment import train
from mersa.margins import BOUNDS_S, CLIPS, FEWEST_CLIPS, margins_of, sides
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.settings import make_segmentation

KEYS = itertools.count()


@pytest.fixture(scope="module")
def clip(toy_corpus):
    return read_audio(str(toy_corpus / "audio" / "toy_s1_d01_u01.ogg"))


def quiet(seconds):
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def items(waveforms):
    """Sound by id; the key of the content is new, so that nothing known is taken for it."""
    return {str(n): Item(str(next(KEYS)), lambda one=one: one, 1.0) for n, one in waveforms}


def test_silence_around_speech_is_found(clip):
    before, after = sides(clip)

    wider = sides(np.concatenate([quiet(0.8), clip, quiet(0.5)]))

    assert wider == pytest.approx((before + 0.8, after + 0.5), abs=0.1)


def test_silence_alone_has_no_sides():
    assert sides(quiet(2.0)) is None


def test_margins_are_medians(clip):
    inner = sides(clip)
    padded = [np.concatenate([quiet(s), clip, quiet(0.2)]) for s in (0.1, 0.1, 0.5, 3.0, 3.0)]

    found = margins_of(items(enumerate(padded * 2)))

    assert found.clips == 10
    assert found.before_s == pytest.approx(inner[0] + 0.5, abs=0.1)
    assert found.after_s == pytest.approx(inner[1] + 0.2, abs=0.1)
    assert found.pad_s == pytest.approx((found.before_s + found.after_s) / 2)


def test_what_is_kept_is_bounded(clip):
    wide = np.concatenate([quiet(4.0), clip, quiet(4.0)])

    assert margins_of(items(enumerate([wide] * 10))).pad_s == BOUNDS_S[1]


def test_few_clips_with_speech_tell_nothing(clip):
    several = [clip] * (FEWEST_CLIPS - 1) + [quiet(1.0)] * 5

    assert margins_of(items(enumerate(several))) is None


def test_only_some_clips_are_heard(clip):
    heard = []

    def load():
        heard.append(1)
        return clip

    many = {str(n): Item(f"some:{n}", load, 1.0) for n in range(CLIPS + 50)}
    margins_of(many)

    assert len(heard) == CLIPS


def test_a_run_keeps_what_its_training_clips_have(small_run, clip):
    margins = runs.read_metrics(small_run)["margins"]
    long = np.concatenate([quiet(1.5), clip, quiet(1.5)])
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")

    told, given = (
        recognizer.predict(long, sampling_rate=SAMPLE_RATE, segmentation=how)
        for how in ("speech", make_segmentation("speech", ["speech.pad_s=0.4"]))
    )

    before = sides(long)[0]
    assert BOUNDS_S[0] <= margins["pad_s"] <= BOUNDS_S[1]
    assert told.segments[0].start_s == pytest.approx(before - margins["pad_s"], abs=1e-3)
    assert given.segments[0].start_s == pytest.approx(before - 0.4, abs=1e-3)
    sentence = f"{margins['pad_s']:.2f} s of sound are kept around speech, as the training clips"
    assert told.notes[0].startswith(sentence)
    assert not any("are kept around speech" in note for note in given.notes)


def test_a_run_of_words_alone_has_no_margins(small_corpus, cache, quick, tmp_path):
    config = quick("network.system=text")

    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert "margins" not in metrics
