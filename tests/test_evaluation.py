import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from mersa import evaluation
from mersa.errors import RunError, ShapeError
from mersa.evaluation import (
    CALIBRATION_BINS,
    SCORES,
    Predictions,
    concatenate,
    interval_levels,
    quick_scores,
    score,
)

LABELS = ("anger", "happy", "sad", "neutral", "fear")


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


def random_predictions(seed, num=60, num_groups=9, among=range(5)):
    """Answers that are right about half of the time; truth is drawn from `among`."""
    random = np.random.default_rng(seed)
    truth = random.choice(list(among), size=num)
    logits = random.normal(size=(num, len(LABELS)))
    logits[np.arange(num), truth] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    groups = [f"d{group}" for group in random.integers(num_groups, size=num)]
    return predictions(truth, probabilities, groups)


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


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_scores_are_those_of_scikit_learn(pairs):
    truth, answers = (list(one) for one in zip(*pairs, strict=True))

    scores = score(predictions(truth, np.eye(5)[answers]), draws=2)

    wanted = by_scikit_learn(truth, answers)
    assert {name: scores[name] for name in wanted} == pytest.approx(wanted)


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

    intervals = score(made, draws=draws, seed=seed)["ci95"]

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
        scores = by_scikit_learn(truth, probabilities.argmax(1))
        drawn.append(scores | {"ece": ece_by_loops(truth, probabilities)})
    for name in SCORES:
        wanted = np.quantile([one[name] for one in drawn], interval_levels(len(names)))
        assert intervals[name] == pytest.approx(wanted.tolist()), name


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


def test_few_groups_give_no_interval():
    seven = random_predictions(4, num=100, num_groups=7)
    eight = random_predictions(4, num=100, num_groups=8)

    few, enough = score(seven, draws=20), score(eight, draws=20)

    assert few["groups"] == 7
    assert few["ci95"] == dict.fromkeys(SCORES)
    assert enough["groups"] == 8
    assert all(len(interval) == 2 for interval in enough["ci95"].values())


@pytest.mark.parametrize(
    ("num_groups", "low"), [(5, 0.0010), (10, 0.0086), (20, 0.0159), (100_000, 0.0250)]
)
def test_levels_are_widened_as_student_s_t_asks(num_groups, low):
    levels = interval_levels(num_groups)

    assert levels == pytest.approx((low, 1 - low), abs=5e-5)


def test_levels_give_the_interval_of_t_for_a_mean():
    """A bootstrapped mean deviates by s sqrt((n - 1) / n) / sqrt(n), too little."""
    for num in (8, 20):
        low, high = interval_levels(num, 0.9)
        spread = np.sqrt((num - 1) / num)
        assert stats.norm.ppf(high) * spread == pytest.approx(stats.t.ppf(0.95, num - 1))
        assert low == pytest.approx(1 - high)


def coverage(num_groups, num_trials=300):
    """Share of trials whose interval of accuracy holds the truth; groups differ in difficulty."""
    random = np.random.default_rng(0)
    held = 0
    for trial in range(num_trials):
        ease = np.repeat(random.beta(6, 4, size=num_groups), 12)  # a mean of 0.6
        answers = (random.random(len(ease)) >= ease).astype(int)
        groups = [f"d{row // 12}" for row in range(len(ease))]
        made = predictions([0] * len(ease), np.eye(2)[answers], groups, LABELS[:2])
        low, high = score(made, draws=500, seed=trial)["ci95"]["accuracy"]
        held += low <= 0.6 <= high
    return held / num_trials


@pytest.mark.slow
@pytest.mark.parametrize("num_groups", [8, 20])
def test_intervals_cover_as_often_as_they_say(num_groups):
    assert 0.90 < coverage(num_groups) < 0.98


@pytest.mark.slow
def test_plain_percentiles_cover_too_seldom_with_few_groups(monkeypatch):
    widened = coverage(8)
    monkeypatch.setattr(evaluation, "interval_levels", lambda num_groups: (0.025, 0.975))

    plain = coverage(8)

    assert plain < 0.92
    assert plain < widened - 0.03


def test_many_draws_of_a_large_test_part_fit_into_memory():
    made = random_predictions(5, num=2610, num_groups=280)

    scores = score(made, draws=10_000)

    low, high = scores["ci95"]["macro_f1"]
    assert scores["groups"] == 280
    assert 0.02 < high - low < 0.08


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
