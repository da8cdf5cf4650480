"""Labels are withheld below the threshold that the validation part gives."""

import json
import shutil

import numpy as np
import pytest

from mersa import runs
from mersa.emotions import LabelSet
from mersa.errors import ConfigError, RunError
from mersa.pooling import validation_answers
from mersa.recognize.abstaining import ONE_ALONE, Threshold, threshold_for, withheld
from mersa.recognize.prediction import UNCERTAIN, WITHOUT_SOUND, Prediction, Segment
from mersa.recognize.recognizer import Recognizer
from mersa.selective import risk_curve


class Model:
    """Tells two emotions and nothing of its errors."""

    modalities = ("audio",)

    def __init__(self, *labels):
        self.labels = LabelSet("own", labels)

    def score(self, utterances):
        return np.tile([0.6, 0.4], (len(utterances), 1))


def answer(*confidences):
    segments = tuple(
        Segment(float(n), n + 1.0, "sad", {"sad": one, "anger": 1 - one}, one)
        for n, one in enumerate(confidences)
    )
    return Prediction("sad", {"sad": 0.6, "anger": 0.4}, 0.6, segments, ("audio",))


def test_segments_and_the_whole_are_withheld_each_by_its_own_confidence():
    before = answer(0.9, 0.55, 0.7)

    after = withheld(before, Threshold(0.7, "told"))

    assert [one.label for one in after.segments] == ["sad", UNCERTAIN, "sad"]
    assert after.label == UNCERTAIN
    assert after.scores == before.scores
    assert after.confidence == before.confidence
    assert [one.scores for one in after.segments] == [one.scores for one in before.segments]
    assert after.notes == ("told",)


def test_nothing_to_judge_stays_without_a_label():
    empty = Prediction(None, {}, 0.0, (), ("audio",))

    assert withheld(empty, Threshold(0.5, "told")).label is None


def test_the_threshold_is_that_of_the_validation_answers(small_run):
    curve = risk_curve(validation_answers(runs.members(small_run)))
    risk = float(curve.risk[len(curve.risk) // 2 :].min())

    threshold = Recognizer.from_pretrained(small_run, device="cpu").threshold(risk)

    assert threshold.confidence == curve.threshold(risk)
    assert f"below the confidence {threshold.confidence:.3f} are withheld" in threshold.note


def test_a_risk_that_is_never_reached_withholds_everything(small_run, small_corpus):
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")
    recording = next((small_corpus.parent / "audio").glob("*.ogg"))

    told = recognizer.predict(recording, "well", abstain=0.0)

    assert recognizer.threshold(0.0).confidence == float("inf")
    assert {told.label, *(one.label for one in told.segments)} == {UNCERTAIN}
    assert (
        "every label is withheld: at no confidence were at most 0% of at least 10"
        in (told.notes[-1])
    )


def test_a_limit_found_with_words_and_sound_is_told_not_to_hold_for_one_alone(
    small_run, small_corpus
):
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")
    recording = next((small_corpus.parent / "audio").glob("*.ogg"))

    both, sound, words = (
        recognizer.predict(audio, text, abstain=0.5)
        for audio, text in ((recording, "well"), (recording, None), (None, "well"))
    )

    assert ONE_ALONE not in both.notes
    assert sound.notes[-1] == ONE_ALONE
    assert words.notes[-1] == ONE_ALONE
    assert words.notes[0] == WITHOUT_SOUND


@pytest.mark.parametrize("risk", [-0.1, 1.0, 7])
def test_a_risk_that_is_no_share_is_refused(small_run, risk):
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")

    with pytest.raises(ConfigError, match=r"abstain is .*, but a share of errors .* give 0.2"):
        recognizer.predict(text="well", abstain=risk)


def test_a_label_of_the_reserved_name_is_refused():
    with pytest.raises(ConfigError, match="has a label 'uncertain', which is the word for"):
        threshold_for(Model("sad", UNCERTAIN), 0.2)


def test_a_model_without_validation_answers_is_refused():
    with pytest.raises(ConfigError, match="this model brings none; leave abstain out"):
        threshold_for(Model("sad", "anger"), 0.2)


def test_a_run_whose_answers_were_left_out_is_refused(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace(",validation,", ",test,"))
    recognizer = Recognizer.from_pretrained(folder, device="cpu")

    with pytest.raises(ConfigError, match="this model brings none; leave abstain out"):
        recognizer.threshold(0.2)


@pytest.mark.parametrize("kept", [slice(-4), slice(None)])
def test_lost_or_doubled_validation_answers_are_refused(small_run, tmp_path, kept):
    folder = shutil.copytree(small_run, tmp_path / "run")
    path = folder / "predictions.csv"
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *rows[kept], *(rows if kept == slice(None) else [])]))
    recognizer = Recognizer.from_pretrained(folder, device="cpu")

    with pytest.raises(RunError, match=r"validation answers, but training wrote \d+; bring back"):
        recognizer.threshold(0.2)


def test_a_published_run_whose_card_tells_no_curve_is_refused(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    answers = folder / "predictions.csv"
    answers.write_text(answers.read_text().splitlines()[0] + "\n")
    metrics = runs.read_metrics(folder)
    del metrics["parts"]["validation"]["selective"]
    runs.write_json(folder / "metrics.json", metrics)
    recognizer = Recognizer.from_pretrained(folder, device="cpu")

    with pytest.raises(RunError, match=r"holds neither validation answers .*leave abstain out"):
        recognizer.threshold(0.2)


def test_predict_abstains(mersa, small_run, small_corpus, tmp_path):
    recordings = sorted((small_corpus.parent / "audio").glob("toy_s1_d0*.ogg"))[:2]

    said = mersa("predict", small_run, *recordings, "--abstain", "0", "--device", "cpu")

    lines = [json.loads(line) for line in said.out.splitlines()]
    assert said.code == 0
    assert [one["label"] for one in lines] == [UNCERTAIN] * 2
    assert all(max(one["scores"].values()) == one["confidence"] for one in lines)
    assert "2 of 2 recordings: every label is withheld" in said.err


def test_a_wrong_risk_is_told_once(mersa, small_run, small_corpus):
    recordings = sorted((small_corpus.parent / "audio").glob("toy_s1_d0*.ogg"))[:2]

    said = mersa("predict", small_run, *recordings, "--abstain", "1.5", "--device", "cpu")

    assert said.code == 2
    assert said.err.count("abstain is 1.5, but a share of errors") == 1


def test_answers_with_and_without_do_not_mix(mersa, small_run, small_corpus, tmp_path):
    recording = next((small_corpus.parent / "audio").glob("*.ogg"))
    words = ("predict", small_run, recording, "--out", tmp_path / "out", "--device", "cpu")
    first = mersa(*words)

    second = mersa(*words, "--abstain", "0.3")

    assert (first.code, second.code) == (0, 2)
