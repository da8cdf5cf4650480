import re

import pytest

from mersa import runs
from mersa.card import model_card
from mersa.config import make_config

SCORES = {
    "accuracy": 0.614,
    "balanced_accuracy": 0.523,
    "macro_f1": 0.432,
    "weighted_f1": 0.341,
    "ece": 0.123,
}


def part(**changes):
    return {
        "n": 57,
        "groups": 13,
        **SCORES,
        "ci95": {name: [value - 0.1, value + 0.2] for name, value in SCORES.items()},
        "majority": {"accuracy": 0.297, "macro_f1": 0.114},
    } | changes


def metrics(**changes):
    return {
        "row": "",
        "row_changes": [],
        "labels": ["anger", "sad"],
        "trainable_parameters": 213572,
        "best_epoch": 6,
        "epochs": 19,
        "counts": {"train": 300, "validation": 57, "test": 41},
        "parts_sha256": "ab12" * 16,
        "leaks": {"speaker": 0.0, "text": 0.25},
        "parts": {"validation": part()},
    } | changes


def card(settings=None, **changes):
    return model_card(make_config(settings or {}), metrics(**changes))


def test_scores_stand_with_their_intervals():
    line = "| validation | 57 | 13 | 0.614 [0.514, 0.814] | 0.523 [0.423, 0.723] |"

    assert line in card()
    assert "accuracy 0.297 and macro F1 0.114" in card()


def test_a_score_without_an_interval_says_why():
    few = part(ci95=dict.fromkeys(SCORES))

    assert "0.614 (too few groups)" in card(parts={"validation": few})


@pytest.mark.parametrize(
    ("row", "changes", "title"),
    [
        ("", [], "# mersa-cross\n"),
        ("IV.6", [], "# mersa-cross (row IV.6)\n"),
        (
            "IV.6",
            ["text.name", "audio.name"],
            "# mersa-cross (row IV.6, but other text.name, audio.name)\n",
        ),
    ],
)
def test_the_title_tells_the_row_and_what_differs_from_it(row, changes, title):
    assert title in card(row=row, row_changes=changes)


def test_both_states_are_told():
    tested = card(parts={"validation": part(), "test": part(n=41)})

    assert "The test part has not been read" in card()
    assert "The test part has not been read" not in tested
    assert "| test | 41 |" in tested


def test_parts_and_leaks_are_told():
    text = card()

    assert "Train 300, validation 57, test 41 utterances" in text
    assert f"SHA-256 of the parts `{'ab12' * 16}`" in text
    assert "also stands in train: text 25.0%." in text
    assert "Kept apart: speaker." in text
    assert "Not known, since train has no such column: session, dialogue, script, episode." in text
    assert "also stands in train: none." in card(leaks={"speaker": 0.0})


def test_a_control_calls_itself_one():
    assert "CONTROL: the audio was shuffled" in card({"data": {"shuffle": "audio"}})
    assert "CONTROL" not in card()


def test_licences_of_weights_and_data_are_told():
    text = card()

    assert "`facebook/wav2vec2-base`: Apache-2.0" in text
    assert "`google-bert/bert-base-uncased`: Apache-2.0" in text
    assert "see the publisher" in card({"text": {"name": "someone/unknown"}})
    assert "The data's licence binds this model too" in text


def test_an_encoder_that_is_not_read_is_not_listed():
    text = card({"network": {"system": "text"}}).partition("## Settings")[0]

    assert "bert" in text
    assert "wav2vec2" not in text


def test_limits_are_told():
    assert "## Limits" in card()
    assert "does not say what a person feels" in card()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"text": {"name": "/home/me/models/small-bert"}}, "small-bert"),
        ({"text": {"name": "me/models/small-bert"}}, "small-bert"),
        ({"text": {"name": "../models/small-bert"}}, "small-bert"),
        ({"text": {"name": "~/models/small-bert"}}, "small-bert"),
        ({"audio": {"name": "onnx:/home/me/models/small.onnx"}}, "onnx:small.onnx"),
        ({"audio": {"name": "vggish:/home/me/models/vgg"}}, "vggish:vgg"),
        ({"audio": {"name": r"C:\Users\me\models\w2v"}}, "w2v"),
        ({"audio": {"name": r"onnx:C:\Users\me\models\small.onnx"}}, "onnx:small.onnx"),
        ({"data": {"protocol": "file:/home/me/models/parts.csv"}}, "file:parts.csv"),
    ],
)
def test_no_path_of_this_machine_is_told(settings, kept):
    text = card(settings)

    assert kept in text
    assert not re.search(r"/home|models|Users|~|\.\./", text)


def test_an_id_of_the_hub_is_told_whole():
    assert "`google-bert/bert-base-uncased`" in card()
    assert 'protocol = "column:session"' in card({"data": {"protocol": "column:session"}})


def test_the_card_of_a_run_is_made_from_it(toy_run):
    text = (toy_run / "README.md").read_text(encoding="utf-8")
    found = runs.read_json(toy_run / "metrics.json")

    assert text.startswith("---\nlibrary_name: mersa\n")
    assert found["row_changes"] == ["data.labels", "audio.name"]
    assert f"(row III.6, but other {', '.join(found['row_changes'])})" in text
    assert found["parts_sha256"] in text
    assert f"{found['parts']['validation']['macro_f1']:.3f} [" in text
    assert f"{found['trainable_parameters']:,} trainable parameters" in text
    assert str(toy_run.parent) not in text
    assert not re.search(r"(^|[\s`\"'(])/\w+/", text), "an absolute path"


def test_the_temperature_and_both_errors_of_calibration_are_told():
    found = {"temperature": 1.234, "n": 57, "note": "the temperature stopped at 10"}
    bounds = part()["ci95"] | {"ece_without_temperature": [0.3, 0.5]}
    both = part(ece_without_temperature=0.4, ci95=bounds)

    told = card(calibration=found, parts={"validation": both})

    assert "temperature 1.234, fitted on the 57 validation utterances" in told
    assert "Mind: the temperature stopped at 10." in told
    line = "validation: 0.123 [0.023, 0.323]; without temperature 0.400 [0.300, 0.500]."
    assert line in told


def test_without_a_temperature_the_card_says_so():
    assert "Probabilities are those of the network; no temperature was fitted." in card()


def test_the_curve_stands_as_a_table():
    rows = [{"coverage": c / 10, "risk": c / 20, "confidence": 0.9} for c in range(10, 0, -1)]

    told = card(parts={"validation": part(selective={"aurc": 0.275, "curve": rows})})

    assert "| 50% | 0.250 | 0.900 |" in told
    assert "| area under the curve (AURC) | 0.275 |" in told


def test_missing_and_wrong_words_are_told_where_they_were_asked_for():
    row = {"condition": "sound only"} | part()

    told = card(robustness=[row])

    assert "| sound only | 0.614 [0.514, 0.814] | 0.523 [0.423, 0.723] |" in told
    assert "Missing and wrong" not in card()
