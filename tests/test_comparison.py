import functools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests

from mersa.bootstrap import interval, p_value
from mersa.comparison import (
    Difference,
    as_dict,
    compare,
    compare_all,
    holm,
    mcnemar,
    seed_difference,
    to_text,
)
from mersa.errors import RunError, ShapeError
from mersa.evaluation import SCORES, Predictions, quick_scores

LABELS = ("anger", "happy", "sad", "neutral", "fear")
NUM_LABELS = len(LABELS)


def system(truth, groups, known, seed=0):
    """Answer right where `known` is above 0, else with another label."""
    random = np.random.default_rng(seed)
    wrong = (truth + random.integers(1, NUM_LABELS, len(truth))) % NUM_LABELS
    answer = np.where(np.asarray(known) > 0, truth, wrong)
    confidence = random.uniform(0.4, 1, len(truth))
    probabilities = np.repeat((1 - confidence)[:, None] / (NUM_LABELS - 1), NUM_LABELS, axis=1)
    probabilities[np.arange(len(truth)), answer] = confidence
    return Predictions(
        tuple(f"u{row:05d}" for row in range(len(truth))),
        ("test",) * len(truth),
        truth,
        probabilities,
        tuple(groups),
        LABELS,
    )


def world(seed, num_groups=12, seeds=1, better=0.0, training=0.0, sizes=(4, 20)):
    """Two systems and their seeds, whose knowledge has a shared part, one by group and one by seed.

    `better` is what the second knows more, `training` the deviation between seeds.
    """
    random = np.random.default_rng(seed)
    size = random.integers(sizes[0], sizes[1], num_groups, endpoint=True)
    group = np.repeat(np.arange(num_groups), size)
    truth = random.choice(NUM_LABELS, size=len(group), p=(0.4, 0.25, 0.2, 0.1, 0.05))
    shared = 0.4 + random.normal(0, 0.7, num_groups)[group] + random.normal(0, 1, len(group))
    systems = []
    for more in (0.0, better):
        own = shared + more + random.normal(0, 0.4, num_groups)[group]
        noise = random.normal(0, 0.5, (seeds, len(group)))
        trained = random.normal(0, training, (seeds, 1))
        names = [f"d{number:03d}" for number in group]
        systems.append(
            [
                system(truth, names, known, seed=1000 * seed + place)
                for place, known in enumerate(own + noise + trained)
            ]
        )
    return systems


def by_name(comparison):
    return {difference.name: difference for difference in comparison.differences}


def four_scores(one, rows):
    truth, answers = one.truth[rows], one.probabilities[rows].argmax(1)
    return {
        "accuracy": accuracy_score(truth, answers),
        "balanced_accuracy": balanced_accuracy_score(truth, answers),
        "macro_f1": f1_score(truth, answers, average="macro", zero_division=0),
        "weighted_f1": f1_score(truth, answers, average="weighted", zero_division=0),
    }


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_differences_come_from_scoring_both_on_the_same_drawn_groups():
    (one,), (two,) = world(1, num_groups=9, better=0.4)
    names = sorted(set(one.groups))
    draws = 50

    made = by_name(compare(one, two, draws=draws, seed=3))

    random = np.random.default_rng(3)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    everything = list(range(len(one.ids)))
    whole = [four_scores(which, everything) for which in (one, two)]
    drawn = []
    for counts in times:
        count = dict(zip(names, counts, strict=True))
        rows = [row for row in everything for _ in range(count[one.groups[row]])]
        drawn.append([four_scores(which, rows) for which in (one, two)])
    for name in whole[0]:
        value = whole[1][name] - whole[0][name]
        values = np.array([second[name] - first[name] for first, second in drawn])
        bias = values.mean() - value if name.endswith("f1") else 0
        low, high = interval(values, len(names), bias=bias)
        assert made[name].value == pytest.approx(value)
        assert (made[name].low, made[name].high) == pytest.approx((low, high))
        assert made[name].p == pytest.approx(p_value(values, len(names), bias=bias))


def test_a_difference_says_on_how_much_it_rests():
    (one,), (two,) = world(2, num_groups=11)

    made = compare(one, two, draws=50, names=("text", "audio"))

    assert (made.first, made.second, made.seeds) == ("text", "audio", (1, 1))
    assert [difference.name for difference in made.differences] == list(SCORES)
    assert {(one.n, one.groups) for one in made.differences} == {(len(one.ids), 11)}


def test_exchanging_the_systems_turns_every_sign():
    (one,), (two,) = world(3, better=0.3)

    there, back = by_name(compare(one, two, draws=200)), by_name(compare(two, one, draws=200))

    for name in SCORES:
        assert back[name].value == pytest.approx(-there[name].value)
        assert back[name].low == pytest.approx(-there[name].high)
        assert back[name].high == pytest.approx(-there[name].low)
        assert back[name].p == pytest.approx(there[name].p)


def test_the_order_of_the_rows_changes_nothing():
    (one,), (two,) = world(4, better=0.3)
    shuffled = two.rows(np.random.default_rng(0).permutation(len(two.ids)).tolist())

    assert compare(one, shuffled, draws=100) == compare(one, two, draws=100)


def test_a_system_does_not_differ_from_itself():
    (one,), _ = world(5)

    made = compare(one, one, draws=100)

    for difference in made.differences:
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.p == 1
        assert difference.verdict == "cannot be told"
    assert made.mcnemar.p == 1


def test_what_both_find_difficult_does_not_widen_the_interval():
    """Groups differ by far more than the systems do on any of them."""
    random = np.random.default_rng(6)
    groups = np.repeat(np.arange(30), 20)
    truth = random.integers(0, NUM_LABELS, len(groups))
    known = random.normal(0, 3, 30)[groups] + random.normal(0, 1, len(groups))
    names = [f"d{group:02d}" for group in groups]
    one, two = system(truth, names, known), system(truth, names, known + 0.1)

    made = by_name(compare(one, two, draws=1000))["accuracy"]

    assert made.high - made.low < 0.06
    assert made.verdict == "better"


def test_a_better_system_is_better_and_its_rival_worse():
    (one,), (two,) = world(7, num_groups=40, better=1.0)

    there, back = compare(one, two, draws=1000), compare(two, one, draws=1000)

    assert by_name(there)["accuracy"].verdict == "better"
    assert by_name(there)["macro_f1"].verdict == "better"
    assert by_name(back)["accuracy"].verdict == "worse"
    assert by_name(there)["accuracy"].p < 0.01


def test_a_lower_calibration_error_is_better():
    """Both are equally often right; the second is sure of wrong answers too."""
    random = np.random.default_rng(8)
    truth = random.integers(0, NUM_LABELS, 400)
    names = [f"d{row // 10:02d}" for row in range(400)]
    right = random.random(400) < 0.5
    one = system(truth, names, np.where(right, 1, -1))
    sure = np.where(one.probabilities == one.probabilities.max(1, keepdims=True), 0.96, 0.01)

    made = by_name(compare(one, replace(one, probabilities=sure), draws=500))["ece"]

    assert made.value > 0.1
    assert made.low > 0
    assert made.verdict == "worse"


@pytest.mark.parametrize(
    ("name", "low", "high", "p", "verdict"),
    [
        ("accuracy", 0.01, 0.2, 0.03, "better"),
        ("accuracy", -0.2, -0.01, 0.03, "worse"),
        ("accuracy", -0.01, 0.2, 0.08, "cannot be told"),
        ("accuracy", 0.01, 0.2, 0.06, "cannot be told"),  # after Holm's correction
        ("ece", 0.01, 0.2, 0.03, "worse"),
        ("ece", -0.2, -0.01, 0.03, "better"),
        ("macro_f1", None, None, None, "too few groups"),
    ],
)
def test_the_verdict_follows_the_interval(name, low, high, p, verdict):
    assert Difference(name, 0.1, low, high, p, p, 100, 12).verdict == verdict


def test_too_few_groups_give_values_and_no_verdict():
    (one,), (two,) = world(9, num_groups=7, better=2)

    made = compare(one, two, draws=50)

    accuracy = by_name(made)["accuracy"]
    assert accuracy.value > 0.1
    assert (accuracy.low, accuracy.high, accuracy.p, accuracy.p_holm) == (None,) * 4
    assert accuracy.groups == 7
    assert {difference.verdict for difference in made.differences} == {"too few groups"}
    assert "too few groups" in to_text([made])


def test_of_several_seeds_the_means_are_compared():
    ones, twos = world(10, seeds=3, better=0.4, training=0.2)

    made = by_name(compare(ones, twos, draws=50))

    scores = [[quick_scores(one.truth, one.probabilities) for one in all_] for all_ in (ones, twos)]
    for name in SCORES:
        first, second = ([one[name] for one in several] for several in scores)
        assert made[name].value == pytest.approx(np.mean(second) - np.mean(first))


@pytest.mark.parametrize("numbers", [(3, 3), (2, 4)])
def test_where_only_training_varies_the_interval_is_welch_s(numbers):
    """Every group holds the same, so that drawing groups changes nothing."""
    truth = np.tile(np.repeat(np.arange(NUM_LABELS), 4), 400)
    names = [f"d{row // 20:03d}" for row in range(len(truth))]
    within = np.tile(np.arange(20), 400)
    rights = ((9, 12, 10), (15, 14, 16)) if numbers == (3, 3) else ((9, 12), (15, 14, 16, 17))
    ones, twos = (
        [system(truth, names, np.where(within < right, 1, -1)) for right in several]
        for several in rights
    )

    made = by_name(compare(ones, twos, draws=20_000))["accuracy"]

    first, second = (np.array(several) / 20 for several in rights)
    welch = stats.ttest_ind(second, first, equal_var=False)
    wanted = welch.confidence_interval(0.95)
    assert made.value == pytest.approx(second.mean() - first.mean())
    assert (made.low, made.high) == pytest.approx((wanted.low, wanted.high), rel=0.05)
    assert made.p == pytest.approx(welch.pvalue, rel=0.1)


def test_bounds_stay_between_what_scores_can_differ_by():
    ones, twos = world(11, num_groups=8, seeds=2, training=1.5)

    made = compare(ones, twos, draws=500)

    for difference in made.differences:
        assert difference.low == pytest.approx(
            -1
        )  # two seeds that differ much tell next to nothing
        assert difference.high == pytest.approx(1)
        assert difference.verdict == "cannot be told"


def test_pairs_of_seeds_have_their_own_test_and_no_mcnemar():
    ones, twos = world(12, seeds=4, better=0.5)

    made = compare(ones, twos, draws=50)

    accuracy = made.over_seeds[0]
    first, second = ([four_scores(one, slice(None))["accuracy"] for one in s] for s in (ones, twos))
    assert (accuracy.name, accuracy.seeds) == ("accuracy", 4)
    assert accuracy.p == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert made.mcnemar is None
    assert compare(ones[:3], twos, draws=50).over_seeds == ()


def test_mcnemar_is_taken_of_single_networks():
    (one,), (two,) = world(13, better=0.5)

    made = compare(one, two, draws=50)

    right = [(which.probabilities.argmax(1) == which.truth).tolist() for which in (one, two)]
    assert made.mcnemar == mcnemar(*right)
    assert made.mcnemar.only_second > made.mcnemar.only_first > 0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
@example(86, 150)  # the ratings of Agresti 2013, Sec. 11.1
@example(5, 5)
@example(0, 7)
def test_mcnemar_s_test_is_that_of_statsmodels(only_first, only_second):
    num = only_first + only_second
    if num == 0:
        return
    first = [True] * only_first + [False] * only_second + [True] * 30 + [False] * 20
    second = [False] * only_first + [True] * only_second + [True] * 30 + [False] * 20

    made = mcnemar(first, second)

    table = [[30, only_first], [only_second, 20]]
    exact = mcnemar_of_statsmodels(table, exact=True)
    corrected = mcnemar_of_statsmodels(table, exact=False, correction=True)
    assert (made.only_first, made.only_second) == (only_first, only_second)
    assert made.p == pytest.approx(exact.pvalue)
    assert made.chi2 == pytest.approx(corrected.statistic)
    assert made.chi2_p == pytest.approx(corrected.pvalue)


def test_mcnemar_s_test_computed_by_hand():
    """Of 10 discordant pairs 1: p = 2 (1 + 10) / 2 ** 10; chi2 = (8 - 1) ** 2 / 10."""
    made = mcnemar([True] + [False] * 9, [False] + [True] * 9)

    assert made.p == pytest.approx(22 / 1024)
    assert made.chi2 == pytest.approx(4.9)
    assert made.chi2_p == pytest.approx(0.0269, abs=1e-4)


def test_networks_that_agree_everywhere_cannot_be_told_apart_by_mcnemar():
    made = mcnemar([True, False, True], [True, False, True])

    assert (made.only_first, made.only_second, made.p, made.chi2_p) == (0, 0, 1.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
def test_the_test_over_seeds_is_that_of_scipy(pairs):
    first, second = (list(values) for values in zip(*pairs, strict=True))
    if np.ptp(np.subtract(second, first)) < 1e-6:
        return

    made = seed_difference("accuracy", first, second)

    wanted = stats.ttest_rel(second, first)
    bounds = wanted.confidence_interval(0.95)
    assert made.p == pytest.approx(wanted.pvalue)
    assert made.mean == pytest.approx(np.mean(second) - np.mean(first))
    assert (made.low, made.high) == pytest.approx((bounds.low, bounds.high))
    assert made.seeds == len(pairs)


@pytest.mark.parametrize(("more", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_seeds_that_all_differ_alike_have_the_p_of_the_limit(more, p):
    first = [0.3, 0.6, 0.7]

    made = seed_difference("accuracy", first, [value + more for value in first])

    assert made.p == p
    assert (made.low, made.high) == pytest.approx((more, more))


def test_seeds_that_cannot_be_paired_are_refused():
    with pytest.raises(ShapeError, match="3 and 2 seeds cannot be paired; give both the same seed"):
        seed_difference("accuracy", [0.1, 0.2, 0.3], [0.1, 0.2])
    with pytest.raises(RunError, match="at least 2 of them, but found 1; train more with --seeds"):
        seed_difference("accuracy", [0.1], [0.2])


@pytest.mark.parametrize(
    "p_values",
    [[0.04], [0.01, 0.04, 0.03], [0.2, 0.01, 0.01, 0.9], [0.5, 0.4, 1.0], [0.03, 0.02, 0.021, 0.0]],
)
def test_holm_s_correction_is_that_of_statsmodels(p_values):
    wanted = multipletests(p_values, method="holm")[1]

    assert holm(p_values) == pytest.approx(wanted.tolist())


def test_several_systems_are_compared_with_the_first_and_corrected():
    (one,), (two,) = world(14, num_groups=30, better=0.5)
    (_,), (three,) = world(14, num_groups=30, better=0.0)
    systems = {"text": one, "audio": two, "both": three}

    made = compare_all(systems, draws=500)

    alone = [by_name(compare(one, other, draws=500)) for other in (two, three)]
    assert [(each.first, each.second) for each in made] == [("text", "audio"), ("text", "both")]
    for name in SCORES:
        together = [by_name(each)[name] for each in made]
        assert [each.p for each in together] == [each[name].p for each in alone]
        assert [each.p_holm for each in together] == holm([each[name].p for each in alone])


def test_what_holds_alone_may_not_hold_among_many():
    (one,), (two,) = world(15, num_groups=20, better=0.45)
    alone = by_name(compare(one, two, draws=2000))["accuracy"]
    others = {f"same {number}": one for number in range(9)}

    made = compare_all({"first": one, "second": two, **others}, draws=2000)

    among = by_name(made[0])["accuracy"]
    assert alone.verdict == "better"
    assert among.p_holm == pytest.approx(10 * alone.p)
    assert among.verdict == "cannot be told"


def test_too_few_groups_are_not_corrected():
    (one,), (two,) = world(16, num_groups=5)

    made = compare_all({"a": one, "b": two, "c": two}, draws=50)

    assert by_name(made[1])["accuracy"].p_holm is None


def test_one_system_cannot_be_compared():
    (one,), _ = world(17)

    with pytest.raises(RunError, match="1 run given, but a comparison needs at least 2; name anot"):
        compare_all({"text": one})


def test_a_seed_against_several_is_refused():
    ones, twos = world(18, seeds=3)

    message = "text has 1 seed, but audio has 3; .* train text with more --seeds, or compare one"
    with pytest.raises(RunError, match=message):
        compare(ones[0], twos, names=("text", "audio"), draws=50)
    with pytest.raises(RunError, match="second has 1 seed, but first has 3"):
        compare(ones, twos[:1], draws=50)


def edited(one, **changes):
    """Exchange single rows: `truth={3: 2}` sets the truth of row 3."""
    made = {}
    for field, rows in changes.items():
        values = list(getattr(one, field))
        for row, value in rows.items():
            values[row] = value
        made[field] = np.array(values) if field == "truth" else tuple(values)
    return replace(one, **made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda one: one.rows(range(1, len(one.ids))),
            "first answers 1 utterances that second does not, as 'u00000'; compare runs on the",
        ),
        (
            lambda one: edited(one, ids={4: "v1", 5: "v2"}),
            "first answers 2 utterances that second does not, as 'u00004'",
        ),
        (
            lambda one: edited(one, ids={1: "u00000"}),
            "second answers utterance 'u00000' more than once; compare one run of it",
        ),
        (
            lambda one: edited(one, truth={2: (one.truth[2] + 1) % NUM_LABELS}),
            "utterance 'u00002' is '[a-z]+' for second, but '[a-z]+' for first; evaluate both on o",
        ),
        (
            lambda one: edited(one, groups={3: "elsewhere"}),
            "utterance 'u00003' is of group 'elsewhere' for second, but of 'd000' for first; eval",
        ),
        (
            lambda one: replace(one, labels=LABELS[::-1]),
            "second tells fear, neutral, sad, happy, anger, but first anger, happy, .* one label s",
        ),
        (
            lambda one: one.rows([]),
            "second has no answers to compare; read its test part with: mersa evaluate",
        ),
    ],
)
def test_answers_to_other_utterances_are_refused(change, message):
    (one,), (two,) = world(19)

    with pytest.raises(RunError, match=message):
        compare(one, change(two), draws=50)


def test_utterances_that_only_the_second_answers_are_named():
    (one,), (two,) = world(20)

    with pytest.raises(RunError, match="second answers 2 utterances that first does not, as 'u000"):
        compare(one.rows(range(2, len(one.ids))), two, draws=50)


def test_seeds_of_one_system_on_other_utterances_are_refused():
    ones, twos = world(21, seeds=2)
    ones[1] = edited(ones[1], truth={0: (ones[1].truth[0] + 1) % NUM_LABELS})

    with pytest.raises(
        RunError, match=r"utterance 'u00000' is '.*' for text, but '.*' for text; e"
    ):
        compare(ones, twos, names=("text", "audio"), draws=50)


def test_draws_are_repeated_by_their_seed():
    ones, twos = world(22, seeds=3, training=0.2)

    assert compare(ones, twos, draws=50, seed=3) == compare(ones, twos, draws=50, seed=3)
    assert compare(ones, twos, draws=50, seed=3) != compare(ones, twos, draws=50, seed=4)


def test_the_text_names_difference_p_and_verdict():
    (one,), (two,) = world(23, num_groups=20, better=1.0)
    made = compare(one, two, names=("text", "both"), draws=500)

    lines = to_text([made]).splitlines()

    accuracy = by_name(made)["accuracy"]
    assert lines[0] == f"both less text: {len(one.ids)} utterances in 20 groups; 1 seed each"
    assert lines[1].split() == ["score", "difference", "p", "verdict"]
    cell = f"{accuracy.value:+.3f} [{accuracy.low:+.3f}, {accuracy.high:+.3f}]"
    assert lines[2].startswith("accuracy ")
    assert cell in lines[2]
    assert lines[2].endswith("  better")
    assert lines[3].startswith("balanced accuracy  ")
    assert lines[6].startswith("calibration error  ")
    only = made.mcnemar
    assert lines[-1].startswith(
        f"right in text only: {only.only_first}, in both only: {only.only_second}; McNemar's test"
    )


def test_the_text_of_several_comparisons_holds_holm_s_p_and_the_seeds():
    ones, twos = world(24, seeds=3, better=0.5)
    made = compare_all({"text": ones, "audio": twos, "both": twos}, draws=100)

    text = to_text(made)

    assert text.count("p (Holm)") == 2
    assert text.count("; 3 seeds each") == 2
    assert re.search(r"over 3 pairs of seeds alone, macro f1: \+0\.\d{3} \[.*\], p = ", text)
    assert "McNemar" not in text


def test_the_text_of_a_p_value_is_plain():
    (one,), (two,) = world(26, num_groups=60, better=1.5)
    made = compare(one, two, draws=10_000)

    text = to_text([made])

    assert "  < 0.001  better" in text
    assert text.endswith("independent: p < 0.001\n")
    assert "+0.000 [+0.000, +0.000]  1.000" in to_text([compare(one, one, draws=50)])


def test_the_text_tells_different_numbers_of_seeds():
    ones, twos = world(27, seeds=3)

    assert "; 3 seeds less 2\n" in to_text([compare(ones[:2], twos, draws=50)])


def test_a_comparison_can_be_written_as_json():
    (one,), (two,) = world(25, num_groups=9)
    made = compare(one, two, draws=50)

    read = json.loads(json.dumps(as_dict(made)))

    accuracy = made.differences[0]
    assert read["differences"][0]["name"] == "accuracy"
    assert read["differences"][0]["verdict"] == accuracy.verdict
    assert read["differences"][0]["low"] == accuracy.low
    assert read["mcnemar"]["p"] == made.mcnemar.p
    assert read["seeds"] == [1, 1]


FOUR = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")


@functools.cache
def true_differences(seeds, **settings_):
    """Score so many groups, and so many seeds, that they stand for endlessly many."""
    means = []
    for number in range(12 if seeds > 1 else 1):
        ones, twos = world(
            900 + number, num_groups=6000 if seeds == 1 else 2000, seeds=seeds, **settings_
        )
        scores = [
            [quick_scores(one.truth, one.probabilities) for one in all_] for all_ in (ones, twos)
        ]
        means.append(
            [
                np.mean([two[name] for two in scores[1]])
                - np.mean([one[name] for one in scores[0]])
                for name in FOUR
            ]
        )
    return dict(zip(FOUR, np.mean(means, axis=0), strict=True))


def coverage(num_trials, seeds, num_groups, **settings_):
    true = true_differences(8 if seeds > 1 else 1, **settings_)
    held = dict.fromkeys(FOUR, 0.0)
    for trial in range(num_trials):
        ones, twos = world(trial, num_groups=num_groups, seeds=seeds, **settings_)
        made = by_name(compare(ones, twos, draws=1000))
        for name in FOUR:
            held[name] += (made[name].low <= true[name] <= made[name].high) / num_trials
    return held


@pytest.mark.slow
@pytest.mark.parametrize("num_groups", [8, 20, 150])
def test_intervals_of_differences_cover_as_often_as_they_say(num_groups):
    held = coverage(1000, 1, num_groups, better=0.25)

    print(num_groups, held)
    assert all(0.92 <= share <= 0.97 for share in held.values()), held


@pytest.mark.slow
@pytest.mark.parametrize(("training", "seeds"), [(0.0, 3), (0.3, 2), (0.3, 5)])
def test_intervals_over_seeds_never_cover_less_than_they_say(training, seeds):
    held = coverage(300, seeds, 60, better=0.25, training=training)

    print(training, seeds, held)
    assert all(share >= 0.92 for share in held.values()), held
