from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mersa.alignment.sampling import Examples, check_batches, choose_examples, epoch_batches
from mersa.alignment.settings import make_align_config
from mersa.emotions import LABEL_SETS
from mersa.errors import AlignmentError
from mersa.manifest import Utterance

FOUR = LABEL_SETS["meld-4"]


def settings(**changes):
    return make_align_config({"align": changes}).align


def examples(*counts):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    by_label = dict(zip(FOUR.labels, (*counts, 0, 0, 0), strict=False))
    return Examples(tuple(map(str, range(len(labels)))), tuple(labels), {"by_label": by_label})


def said(*pairs):
    return [
        Utterance(id=str(number), text=text, emotion=emotion)
        for number, (text, emotion) in enumerate(pairs)
    ]


TORN = said(
    ("Okay.", "neutral"),
    ("okay", "neutral"),
    ("OKAY!", "happy"),
    ("Fine.", "sad"),
    ("fine", "anger"),
    ("Great", "happy"),
    ("great!", "excited"),
    ("", "sad"),
)


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ("keep", ["Okay.", "okay", "OKAY!", "Fine.", "fine", "Great", "great!"]),
        ("majority", ["Okay.", "okay", "Great", "great!"]),
        ("drop", ["Great", "great!"]),
    ],
)
def test_texts_under_several_labels_follow_the_rule(rule, texts):
    chosen = choose_examples(TORN, FOUR, rule)

    assert list(chosen.texts) == texts
    assert chosen.facts["conflicts"] == {
        "rule": rule,
        "texts": 2,
        "utterances": 5,
        "left_out": 7 - len(texts),
    }
    assert chosen.facts["without_words"] == 1


def test_merged_labels_do_not_conflict():
    assert choose_examples(TORN[5:7], FOUR, "drop").labels == (1, 1)


@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=4),
    batch_size=st.integers(4, 40),
    seed=st.integers(0, 99),
)
def test_balanced_batches_hold_as_many_of_each_class_and_no_text_twice(counts, batch_size, seed):
    held = examples(*counts)

    batches = epoch_batches(held, settings(batch_size=batch_size), seed=seed)

    for batch in batches:
        by_class = Counter(held.labels[row] for row in batch)
        assert len(set(batch)) == len(batch)
        assert len(set(by_class.values())) == 1
        assert len(by_class) >= 2


def test_an_epoch_has_as_many_batches_as_hold_all_texts_once():
    batches = epoch_batches(examples(90, 40, 20, 10), settings(batch_size=16), seed=0)

    assert len(batches) == 10
    assert all(len(batch) == 16 for batch in batches)


def test_each_text_of_a_class_comes_before_one_comes_again():
    held = examples(40, 8)

    batches = epoch_batches(held, settings(batch_size=8), seed=0)

    times = Counter(row for batch in batches for row in batch)
    assert set(times) >= set(range(40, 48))
    assert {times[row] for row in range(40, 48)} == {3}
    assert max(times[row] for row in range(40)) == 1


def test_the_cap_holds_in_an_epoch_and_is_drawn_anew_in_the_next():
    held, capped = examples(50, 50), settings(batch_size=10, per_class_cap=10)

    first, second = (
        {row for batch in epoch_batches(held, capped, seed=seed) for row in batch}
        for seed in (0, 1)
    )

    assert Counter(held.labels[row] for row in first) == {0: 10, 1: 10}
    assert first != second


def test_unbalanced_batches_hold_every_text_at_most_once():
    batches = epoch_batches(examples(20, 5), settings(batch_size=8, balanced=False), seed=1)

    assert [len(batch) for batch in batches] == [8, 8, 8]
    assert len({row for batch in batches for row in batch}) == 24


def test_the_seed_decides_the_batches():
    held = examples(20, 20)

    first, again, other = (
        epoch_batches(held, settings(batch_size=8), seed=seed) for seed in (4, 4, 5)
    )

    assert first == again
    assert first != other


def test_a_class_with_one_text_is_named_with_its_count():
    with pytest.raises(
        AlignmentError, match=r"class 'sad' has 1 text to align on, .* takes 2 of each class"
    ):
        check_batches(examples(5, 5, 1, 5), settings())


def test_recordings_are_called_recordings():
    held = replace(examples(5, 5, 1, 5), noun="recording")

    with pytest.raises(AlignmentError, match=r"class 'sad' has 1 recording to align on"):
        check_batches(held, settings())


def test_a_class_below_per_class_is_named_with_what_would_do():
    with pytest.raises(
        AlignmentError,
        match=r"class 'happy' has 6 texts .* takes 9 .* set align.per_class to at most 6",
    ):
        check_batches(examples(10, 6, 10, 10), settings(per_class=9))
