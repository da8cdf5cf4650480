import functools
import time
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from mersa import evaluation
from mersa.bootstrap import interval
from mersa.errors import RunError, ShapeError
from mersa.evaluation import (
    CALIBRATION_BINS,
    DRAWS,
    SCORES,
    Predictions,
    Tables,
    concatenate,
    quick_scores,
    score,
    score_cell,
)

LABELS = ("anger", "happy", "sad", "neutral", "fear")
SEVEN = (*LABELS, "surprise", "disgust")


def predictions(truth, probabilities, groups=None, labels=LABELS, parts=None):
    num = len(truth)
    return Predictions(
        tuple(f"u{row}" for row in range(num)),
        tuple(parts or ("test",) * num),
        np.array(truth, dtype=np.int64),
        np.array(probabilities, dtype=np.float64),
        tuple(groups or (f"d{row % 9}" for row in range(num))),
        tuple(labels),
    )


def random_predictions(seed, num=60, num_groups=9, labels=LABELS):
    """Answers that are right about half of the time."""
    random = np.random.default_rng(seed)
    truth = random.choice(len(labels), size=num)
    logits = random.normal(size=(num, len(labels)))
    logits[np.arange(num), truth] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    groups = [f"d{group}" for group in random.integers(num_groups, size=num)]
    return predictions(truth, probabilities, groups, labels)


def by_scikit_learn(truth, answers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are no one's truth
        return {
            "accuracy": accuracy_score(truth, answers),
            "balanced_accuracy": balanced_accuracy_score(truth, answers),
            "macro_f1": f1_score(truth, answers, average="macro", zero_division=0),
            "weighted_f1": f1_score(truth, answers, average="weighted", zero_division=0),
        }


def ece_by_loops(truth, probabilities):
    total = 0.0
    for number in range(CALIBRATION_BINS):
        low, high = number / CALIBRATION_BINS, (number + 1) / CALIBRATION_BINS
        right, confidence = [], []
        for true, row in zip(truth, probabilities, strict=True):
            if low <= max(row) < high or (high == 1 and max(row) == 1):
                right.append(row.argmax() == true)
                confidence.append(max(row))
        if right:
            total += len(right) / len(truth) * abs(np.mean(right) - np.mean(confidence))
    return total


LABEL_SUBSETS = st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)


@st.composite
def truth_and_answers(draw):
    """Some labels may be no one's truth, some never answered, some neither."""
    num = draw(st.integers(1, 30))
    return tuple(
        draw(st.lists(st.sampled_from(draw(LABEL_SUBSETS)), min_size=num, max_size=num))
        for _ in range(2)
    )


@settings(max_examples=400, deadline=None)
@given(truth_and_answers())
def test_scores_are_those_of_scikit_learn(pairs):
    truth, answers = pairs

    scores = score(predictions(truth, np.eye(5)[answers]), draws=2)

    wanted = by_scikit_learn(truth, answers)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)
    assert scores["confusion"] == confusion_matrix(truth, answers, labels=range(5)).tolist()


@pytest.mark.parametrize(
    ("truth", "answers"),
    [
        ([0, 0, 2, 2], [0, 2, 2, 2]),  # 1, 3 and 4 neither true nor answered
        ([0, 0, 2, 2], [0, 1, 1, 2]),  # 1 answered, and never true
        ([0, 0, 2, 1], [0, 0, 2, 2]),  # 1 true, and never answered
        ([3], [3]),
        ([3], [0]),
    ],
)
def test_absent_labels_are_averaged_as_scikit_learn_does(truth, answers):
    scores = score(predictions(truth, np.eye(5)[answers]), draws=2)

    wanted = by_scikit_learn(truth, answers)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(4))
def test_quick_scores_are_the_scores(seed):
    made = random_predictions(seed)

    quick = quick_scores(made.truth, made.probabilities)

    whole = score(made, draws=2)
    assert quick == pytest.approx({name: whole[name] for name in SCORES})


def test_recall_and_confusion_are_counted_by_label():
    truth = [0, 0, 0, 1, 2, 2]
    answers = [0, 0, 1, 1, 4, 2]

    scores = score(predictions(truth, np.eye(5)[answers]), draws=2)

    assert scores["recall"] == {
        "anger": pytest.approx(2 / 3),
        "happy": 1.0,
        "sad": 0.5,
        "neutral": None,
        "fear": None,
    }
    assert scores["confusion"] == confusion_matrix(truth, answers, labels=range(5)).tolist()
    assert scores["confusion"][2] == [0, 0, 1, 0, 1]
    assert scores["n"] == 6


@pytest.mark.parametrize("seed", range(4))
def test_calibration_error_is_that_of_plain_loops(seed):
    made = random_predictions(seed)

    wanted = ece_by_loops(made.truth, made.probabilities)

    assert score(made, draws=2)["ece"] == pytest.approx(wanted)


def test_calibration_error_is_that_computed_by_hand():
    """Bins [2/5, 7/15): one right of two, sure of 0.42 on average; [3/5, 2/3): one right of one."""
    probabilities = [[0.40, 0.30, 0.30, 0, 0], [0.30, 0.44, 0.26, 0, 0], [0.38, 0.62, 0, 0, 0]]

    made = score(predictions([0, 0, 1], probabilities), draws=2)

    assert made["ece"] == pytest.approx(2 / 3 * (0.5 - 0.42) + 1 / 3 * (1 - 0.62))


def test_certain_answers_are_calibrated_if_they_are_right():
    truth = [0, 1, 2, 3]

    assert score(predictions(truth, np.eye(5)[truth]), draws=2)["ece"] == 0
    assert score(predictions(truth, np.eye(5)[[1, 2, 3, 4]]), draws=2)["ece"] == 1


def test_the_majority_is_always_answering_the_commonest_label():
    truth = [0, 3, 3, 3, 1, 0]

    majority = score(predictions(truth, np.eye(5)[truth]), draws=2)["majority"]

    assert majority == pytest.approx(by_scikit_learn(truth, [3] * 6))
    assert majority["accuracy"] == 0.5


@pytest.mark.parametrize("seed", [0, 5])
def test_intervals_come_from_drawing_whole_groups(seed):
    made = random_predictions(1, num=40, num_groups=8)
    names = sorted(set(made.groups))
    draws = 60

    scores = score(made, draws=draws, seed=seed)

    random = np.random.default_rng(seed)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    drawn = []
    for counts in times:
        rows = [
            row
            for name, count in zip(names, counts, strict=True)
            for _ in range(count)
            for row, group in enumerate(made.groups)
            if group == name
        ]
        truth, probabilities = made.truth[rows], made.probabilities[rows]
        again = by_scikit_learn(truth, probabilities.argmax(1))
        drawn.append(again | {"ece": ece_by_loops(truth, probabilities)})
    for name in SCORES:
        values = np.array([one[name] for one in drawn])
        biased = name in {"macro_f1", "weighted_f1", "ece"}
        bias = values.mean() - scores[name] if biased else 0
        low, high = interval(values, len(names), bias=bias)
        assert scores["ci95"][name] == pytest.approx([max(low, 0), min(high, 1)]), name


def test_intervals_are_repeated_by_their_seed():
    made = random_predictions(2)

    assert score(made, draws=50, seed=3) == score(made, draws=50, seed=3)
    assert score(made, draws=50, seed=3)["ci95"] != score(made, draws=50, seed=4)["ci95"]


def test_intervals_hold_the_score():
    made = random_predictions(3, num=200, num_groups=20)

    scores = score(made, draws=500)

    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"):
        low, high = scores["ci95"][name]
        assert low < scores[name] < high
    assert scores["groups"] == 20


def test_intervals_stay_between_0_and_1():
    """One label is rare and hard: what is drawn lies far below macro F1, which is nearly 1."""
    truth = np.array([0] * 60 + [1] * 60 + [2, 2, 2])
    answers = np.array([0] * 60 + [1] * 60 + [2, 2, 0])
    groups = [f"d{row % 10}" for row in range(len(truth))]

    low, high = score(predictions(truth, np.eye(5)[answers], groups), draws=500)["ci95"]["macro_f1"]

    assert 0 < low < 0.9
    assert high == 1


def test_a_score_is_written_with_its_interval_or_why_there_is_none():
    few = score(random_predictions(4, num=100, num_groups=7), draws=20)
    enough = score(random_predictions(4, num=100, num_groups=8), draws=20)

    assert score_cell(few, "macro_f1") == f"{few['macro_f1']:.3f} (too few groups)"
    low, high = enough["ci95"]["macro_f1"]
    assert score_cell(enough, "macro_f1") == f"{enough['macro_f1']:.3f} [{low:.3f}, {high:.3f}]"


def test_few_groups_give_no_interval():
    seven = random_predictions(4, num=100, num_groups=7)
    eight = random_predictions(4, num=100, num_groups=8)

    few, enough = score(seven, draws=20), score(eight, draws=20)

    assert few["groups"] == 7
    assert few["ci95"] == dict.fromkeys(SCORES)
    assert enough["groups"] == 8
    assert all(len(interval) == 2 for interval in enough["ci95"].values())


@dataclass(frozen=True)
class World:
    """How groups come about: they differ in size, in difficulty and in what is felt in them.

    Attributes:
        sizes: Fewest and most utterances of a group; every number between is as likely.
        prior: Share of each label.
        alike: Dirichlet concentration of a group's labels about the shares.
        pull: Share of answers that fall on the first label whatever is true.
    """

    sizes: tuple[int, int]
    prior: tuple[float, ...]
    alike: float
    pull: float = 0.0

    def confusions(self, random, num_trials, num_groups):
        """Draw tables of confusion, (trials, G, C, C)."""
        shape = (num_trials, num_groups)
        sizes = random.integers(self.sizes[0], self.sizes[1], size=shape, endpoint=True)
        shares = random.gamma(self.alike * np.array(self.prior), size=(*shape, len(self.prior)))
        truth = random.multinomial(sizes, shares / shares.sum(-1, keepdims=True))
        ease = random.beta(6, 3, size=shape)[..., None, None]
        return random.multinomial(truth, self.answers(ease)).astype(float)

    def answers(self, ease):
        """Return the share of each answer by truth, (..., C, C); `ease` of them by knowing."""
        num = len(self.prior)
        known = ease * np.eye(num) + (1 - ease) / (num - 1) * (1 - np.eye(num))
        return (1 - self.pull) * known + self.pull * np.eye(num)[0]

    def scores(self):
        """Score the expected table of confusion: what endlessly many groups would give."""
        expected = np.array(self.prior)[:, None] * self.answers(6 / 9)
        return Tables(expected[None], NO_BINS[:1]).scores()


NO_BINS = np.zeros((150, CALIBRATION_BINS, 3))
FOUR = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
WORLDS = {
    "dialogues": World((5, 24), (0.4, 0.3, 0.2, 0.1), alike=6),
    "speakers": World((20, 99), (0.25, 0.25, 0.25, 0.25), alike=60),
    "rare labels": World((30, 119), (0.48, 0.15, 0.13, 0.11, 0.08, 0.03, 0.02), 10, pull=0.3),
    "utterances": World((1, 1), (0.4, 0.3, 0.2, 0.1), alike=6),
}


def coverage(world, num_groups, *, draws=1000, num_trials=1000):
    """Share of trials whose interval holds the true score: of `score`, and of a plain bootstrap.

    The plain one draws utterances, whatever group they are of, and takes plain percentiles.
    """
    num_labels = len(world.prior)
    cells = Tables(
        np.eye(num_labels**2).reshape(-1, num_labels, num_labels),
        np.zeros((num_labels**2, CALIBRATION_BINS, 3)),
    )
    true = world.scores()
    random = np.random.default_rng(num_groups)
    ours, plain = dict.fromkeys(FOUR, 0.0), dict.fromkeys(FOUR, 0.0)
    for groups in world.confusions(random, num_trials, num_groups):
        tables = Tables(groups, NO_BINS[:num_groups])
        bounds = evaluation._intervals(tables, tables.scores(), draws, 0)
        counts = groups.sum(0).ravel()
        drawn = random.multinomial(int(counts.sum()), counts / counts.sum(), size=300)
        by_utterance = cells.drawn(drawn.astype(float))
        for name in FOUR:
            low, high = bounds[name]
            ours[name] += (low <= true[name] <= high) / num_trials
            low, high = np.quantile(by_utterance[name], (0.025, 0.975))
            plain[name] += (low <= true[name] <= high) / num_trials
    return ours, plain


@pytest.fixture
def draws_made_once(monkeypatch):
    """All trials have as many groups and one seed, so the draws are the same."""
    monkeypatch.setattr(evaluation, "group_weights", functools.cache(evaluation.group_weights))


@pytest.mark.usefixtures("draws_made_once")
@pytest.mark.parametrize("num_groups", [8, 20, 150])
def test_intervals_cover_as_often_as_they_say_and_those_over_utterances_do_not(num_groups):
    ours, plain = coverage(WORLDS["dialogues"], num_groups)

    print(num_groups, ours, plain)
    assert all(0.92 <= share <= 0.97 for share in ours.values()), ours
    assert all(share < 0.86 for share in plain.values()), plain


@pytest.mark.slow
@pytest.mark.usefixtures("draws_made_once")
@pytest.mark.parametrize("num_groups", [8, 20, 150])
@pytest.mark.parametrize("world", ["speakers", "rare labels"])
def test_intervals_cover_with_few_labels_and_with_rare_ones(world, num_groups):
    ours, plain = coverage(WORLDS[world], num_groups)

    print(world, num_groups, ours, plain)
    assert all(0.92 <= share <= 0.97 for share in ours.values()), ours
    assert all(share < 0.86 for share in plain.values()), plain


@pytest.mark.slow
@pytest.mark.usefixtures("draws_made_once")
@pytest.mark.parametrize("num_groups", [12, 20, 150])
def test_intervals_cover_where_every_utterance_is_a_group(num_groups):
    """Accuracy of twelve answers takes thirteen values only, so its interval covers more."""
    ours, _ = coverage(WORLDS["utterances"], num_groups)

    print(num_groups, ours)
    assert all(0.92 <= share <= 0.99 for share in ours.values()), ours


@pytest.mark.slow
@pytest.mark.usefixtures("draws_made_once")
@pytest.mark.parametrize("world", ["dialogues", "rare labels"])
def test_intervals_cover_with_as_many_draws_as_are_the_default(world):
    ours, _ = coverage(WORLDS[world], 8, draws=DRAWS)

    print(world, ours)
    assert all(0.92 <= share <= 0.97 for share in ours.values()), ours


def test_many_draws_of_a_large_test_part_fit_into_memory():
    made = random_predictions(5, num=2610, num_groups=280)

    scores = score(made, draws=10_000)

    low, high = scores["ci95"]["macro_f1"]
    assert scores["groups"] == 280
    assert 0.02 < high - low < 0.08


def test_ten_thousand_draws_of_a_large_test_part_take_seconds_at_most():
    made = random_predictions(5, num=2610, num_groups=280, labels=SEVEN)
    began = time.perf_counter()

    score(made, draws=10_000)

    assert time.perf_counter() - began < 5


def test_a_part_is_its_rows():
    made = predictions([0, 1, 2], np.eye(5)[[2, 1, 0]], ["a", "b", "c"], parts=["v", "test", "v"])

    part = made.part("v")

    assert part.ids == ("u0", "u2")
    assert part.parts == ("v", "v")
    assert part.groups == ("a", "c")
    assert part.truth.tolist() == [0, 2]
    assert part.probabilities.argmax(1).tolist() == [2, 0]
    assert part.labels == LABELS


def test_several_are_concatenated_in_order():
    made = random_predictions(6, num=10)
    one, two = random_predictions(7, num=4), random_predictions(8, num=3)

    both = concatenate([one, two, made])

    assert len(both.ids) == len(both.groups) == len(both.parts) == 17
    assert both.truth.tolist() == [*one.truth, *two.truth, *made.truth]
    assert np.array_equal(both.probabilities[4:7], two.probabilities)
    assert both.groups[:4] == one.groups


def test_several_with_different_labels_are_refused():
    one = predictions([0], np.eye(5)[[0]])
    two = predictions([0], np.eye(5)[[0]], labels=LABELS[::-1])

    with pytest.raises(RunError, match="different labels cannot be pooled; train them on one labe"):
        concatenate([one, two])


def test_labels_and_answers_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="3 labels and 2 answers do not fit"):
        quick_scores(np.array([0, 1, 1]), np.eye(5)[:2])
