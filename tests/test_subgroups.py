import json

import numpy as np
import pytest

from mersa.errors import RunError
from mersa.evaluation import Predictions, score
from mersa.manifest import Utterance
from mersa.subgroups import (
    FEWEST_UTTERANCES,
    SUBGROUP_SCORES,
    as_dicts,
    by_subgroup,
    to_text,
)

LABELS = ("anger", "happy", "sad")


def corpus(num=200, **extras):
    """Utterances and answers; each extra is a function of the row."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, num)
    logits = random.normal(size=(num, 3))
    logits[np.arange(num), truth] += 1
    made = Predictions(
        tuple(f"u{row:03d}" for row in range(num)),
        ("test",) * num,
        truth,
        np.exp(logits) / np.exp(logits).sum(1, keepdims=True),
        tuple(f"d{row // 5:02d}" for row in range(num)),
        LABELS,
    )
    utterances = {
        id_: Utterance(id=id_, extras={name: of(row) for name, of in extras.items()})
        for row, id_ in enumerate(made.ids)
    }
    return made, utterances


def test_a_subgroup_is_scored_as_its_rows_alone():
    made, utterances = corpus(gender=lambda row: "female" if row % 3 else "male")

    female, male = by_subgroup(made, utterances, ["gender"], draws=100, seed=3)

    rows = [row for row in range(200) if row % 3]
    wanted = score(made.rows(rows), draws=100, seed=3)
    assert (female.column, female.value, male.value) == ("gender", "female", "male")
    assert (female.n, male.n) == (len(rows), 200 - len(rows))
    assert female.groups == 40
    assert female.scores == {name: wanted[name] for name in SUBGROUP_SCORES}
    assert female.ci95 == {name: wanted["ci95"][name] for name in SUBGROUP_SCORES}
    assert male.scores != female.scores


def test_columns_of_the_contract_and_extras_are_taken_alike():
    made, utterances = corpus(style=lambda row: "scripted" if row < 90 else "improvised")
    utterances = {
        id_: Utterance(id=id_, speaker=f"s{row % 2}", session="1", extras=one.extras)
        for row, (id_, one) in enumerate(utterances.items())
    }

    subgroups = by_subgroup(made, utterances, draws=50)

    found = [(one.column, one.value, one.n) for one in subgroups]
    assert found == [
        ("speaker", "s0", 100),
        ("speaker", "s1", 100),
        ("session", "1", 200),
        ("style", "improvised", 110),
        ("style", "scripted", 90),
    ]


def test_a_column_that_the_corpus_does_not_have_is_left_out():
    made, utterances = corpus(gender=lambda row: "")

    assert by_subgroup(made, utterances, draws=50) == []


def test_what_is_not_known_comes_last_as_unknown():
    made, utterances = corpus(style=lambda row: ("", "zeal", "calm")[row % 3])

    subgroups = by_subgroup(made, utterances, ["style"], draws=50)

    assert [one.value for one in subgroups] == ["calm", "zeal", "unknown"]
    assert sum(one.n for one in subgroups) == 200


@pytest.mark.parametrize(
    ("length_s", "name"),
    [
        (0.0, "< 1 s"),
        (0.999, "< 1 s"),
        (1.0, "1-2 s"),
        (2.0, "2-4 s"),
        (3.9, "2-4 s"),
        (4.0, "4-8 s"),
        (8.0, ">= 8 s"),
        (500.0, ">= 8 s"),
    ],
)
def test_a_length_belongs_to_the_bin_that_it_begins(length_s, name):
    made, _ = corpus(num=20)
    utterances = {id_: Utterance(id=id_, duration_s=length_s) for id_ in made.ids}

    (only,) = by_subgroup(made, utterances, ["length"], draws=50)

    assert (only.value, only.n) == (name, 20)


def test_lengths_stand_in_order_of_length_and_come_from_times_too():
    made, _ = corpus(num=60)
    ends = (9.5, 0.5, 1.5, 2.5, 5.0, None)
    utterances = {
        id_: Utterance(id=id_, start_s=0.25, end_s=None if end is None else 0.25 + end)
        for id_, end in zip(made.ids, ends * 10, strict=True)
    }

    subgroups = by_subgroup(made, utterances, ["length"], draws=50)

    names = ["< 1 s", "1-2 s", "2-4 s", "4-8 s", ">= 8 s", "unknown"]
    assert [one.value for one in subgroups] == names
    assert {one.n for one in subgroups} == {10}


def test_few_utterances_give_counts_alone():
    made, utterances = corpus(gender=lambda row: "male" if row < 9 else "female")

    female, male = by_subgroup(made, utterances, ["gender"], draws=50)

    assert (male.n, male.groups, male.scores, male.ci95) == (9, 2, None, None)
    assert female.scores is not None
    line = to_text([female, male]).splitlines()[2]
    assert line.split() == ["gender", "male", "9", "2", "fewer", "than", "10", "utterances"]


def test_just_enough_utterances_give_scores():
    made, utterances = corpus(gender=lambda row: "male" if row < FEWEST_UTTERANCES else "female")

    _, male = by_subgroup(made, utterances, ["gender"], draws=50)

    assert male.n == 10
    assert 0 <= male.scores["accuracy"] <= 1


def test_few_groups_give_scores_without_an_interval():
    made, utterances = corpus(gender=lambda row: "male" if row < 35 else "female")

    subgroups = by_subgroup(made, utterances, ["gender"], draws=50)

    female, male = subgroups
    assert male.groups == 7
    assert male.ci95 == dict.fromkeys(SUBGROUP_SCORES)
    assert female.ci95["accuracy"] is not None
    lines = to_text(subgroups).splitlines()
    assert f"{male.scores['accuracy']:.3f} (too few groups)" in lines[2]
    low, high = female.ci95["accuracy"]
    assert f"{female.scores['accuracy']:.3f} [{low:.3f}, {high:.3f}]" in lines[1]


def test_many_small_subgroups_stand_in_one_line():
    made, utterances = corpus()
    utterances = {
        id_: Utterance(id=id_, speaker="ross" if row < 150 else f"guest {row // 5}")
        for row, id_ in enumerate(utterances)
    }

    lines = to_text(by_subgroup(made, utterances, draws=50)).splitlines()

    assert len(lines) == 3
    assert lines[0].split()[:3] == ["utterances", "groups", "accuracy"]
    assert lines[1].startswith("speaker ross ")
    assert lines[2].startswith("speaker: 10 others ")
    assert lines[2].split()[3:] == ["50", "fewer", "than", "10", "utterances"]


def test_columns_of_the_text_are_aligned():
    made, utterances = corpus(gender=lambda row: "female" if row % 3 else "male")

    lines = to_text(by_subgroup(made, utterances, ["gender"], draws=50)).splitlines()

    starts = {line.index("0.") if "0." in line else line.index("accuracy") for line in lines}
    assert len(starts) == 1


def test_an_utterance_that_the_manifest_lacks_is_refused():
    made, utterances = corpus()
    del utterances["u003"], utterances["u007"]

    message = "2 of 200 answered utterances are not in the manifest, as 'u003'; give the manifest"
    with pytest.raises(RunError, match=message):
        by_subgroup(made, utterances)


def test_utterances_of_other_parts_do_no_harm():
    made, utterances = corpus(gender=lambda row: "female")

    (only,) = by_subgroup(made.rows(range(20)), utterances, draws=50)

    assert only.n == 20


def test_subgroups_can_be_written_as_json():
    made, utterances = corpus(gender=lambda row: "male" if row < 9 else "female")

    read = json.loads(json.dumps(as_dicts(by_subgroup(made, utterances, draws=50))))

    assert [one["value"] for one in read] == ["female", "male"]
    assert len(read[0]["ci95"]["macro_f1"]) == 2
    assert read[1]["scores"] is None
