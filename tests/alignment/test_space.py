import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mersa.alignment import geometry, space
from mersa.alignment.space import MEASURES, Points, Space, compare, to_text
from mersa.errors import RunError, ShapeError


def measure(train, part, **choice):
    return space.measure(Space(train, part), **choice)


def scored(train, part, draws, seed):
    return space._scored([Space(train, part)], draws, seed)


PAIRWISE = ("silhouette", "alignment", "uniformity")


def points(seed, num=60, *, num_groups=12, width=16, apart=0.7, num_labels=3):
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_labels, num)
    centres = np.random.default_rng(99).normal(size=(num_labels, width))
    embeddings = apart * centres[labels] + random.normal(size=(num, width))
    groups = random.integers(0, num_groups, num)
    groups[:num_groups] = range(num_groups)
    scale = random.uniform(0.1, 10, (num, 1))  # directions alone are measured
    return Points(embeddings * scale, labels, tuple(f"d{group}" for group in groups))


def distance_by_loops(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    norms = (math.sqrt(sum(a * a for a in vector)) for vector in (one, other))
    return 1 - dot / math.prod(norms)


def pairwise_by_loops(held, weights):
    """The three measures inside a part, each row counted `weights` times, none beside itself."""
    rows = range(len(held.labels))
    labels = held.labels.tolist()
    d = [[distance_by_loops(held.embeddings[i], held.embeddings[j]) for j in rows] for i in rows]
    silhouettes, close, near = [], [], []
    for i in rows:
        means = {}
        for label in set(labels):
            others = [j for j in rows if labels[j] == label and j != i]
            total = sum(weights[j] for j in others)
            means[label] = sum(weights[j] * d[i][j] for j in others) / total
        inner = means.pop(labels[i])
        outer = min(means.values())
        silhouettes.append((weights[i], (outer - inner) / max(inner, outer)))
        for j in rows:
            if j != i:
                near.append((weights[i] * weights[j], math.exp(-2 * 2 * d[i][j])))
                if labels[i] == labels[j]:
                    close.append((weights[i] * weights[j], 2 * d[i][j]))
    means = [
        sum(w * x for w, x in one) / sum(w for w, _ in one) for one in (silhouettes, close, near)
    ]
    return {"silhouette": means[0], "alignment": means[1], "uniformity": math.log(means[2])}


def test_measures_inside_a_part_equal_plain_loops():
    held = points(1)

    values = measure(points(0), held, draws=10).values

    expected = pairwise_by_loops(held, [1] * 60)
    assert {name: values[name] for name in PAIRWISE} == pytest.approx(expected)


def test_silhouette_neighbours_and_probe_equal_scikit_learn():
    train, held = points(0, 200), points(1, 90)

    values = measure(train, held, draws=10).values

    unit = [
        one.embeddings / np.linalg.norm(one.embeddings, axis=1)[:, None] for one in (train, held)
    ]
    nearest = KNeighborsClassifier(15, metric="cosine").fit(unit[0], train.labels).predict(unit[1])
    scaler = StandardScaler().fit(train.embeddings)
    probe = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
    probe.fit(scaler.transform(train.embeddings), train.labels)
    answers = probe.predict(scaler.transform(held.embeddings))
    assert values == pytest.approx(
        {
            "neighbour_balanced_accuracy": balanced_accuracy_score(held.labels, nearest),
            "silhouette": silhouette_score(held.embeddings, held.labels, metric="cosine"),
            "probe_balanced_accuracy": balanced_accuracy_score(held.labels, answers),
            "probe_weighted_f1": f1_score(held.labels, answers, average="weighted"),
            "alignment": values["alignment"],
            "uniformity": values["uniformity"],
        }
    )


@pytest.mark.parametrize("name", PAIRWISE)
def test_draws_move_by_the_derivative_of_each_group(name):
    """To first order in the weights, and so not by half of it, as rows with means held would."""
    held = points(1, 40, num_groups=8)
    group = np.array([int(one[1:]) for one in held.groups])
    step = 1e-5
    derivative = []
    for number in range(8):
        weights = [np.where(group == number, 1 + sign * step, 1.0) for sign in (1, -1)]
        above, below = (pairwise_by_loops(held, one.tolist())[name] for one in weights)
        derivative.append((above - below) / (2 * step))

    found = scored(points(0), held, 50, 3)[name]

    weights = space.group_weights(8, 50, 3)
    assert found.drawn == pytest.approx(found.value + (weights - 1) @ derivative)


def test_blocks_change_nothing(monkeypatch):
    train, held = points(0, 200), points(1, 90)
    whole = measure(train, held)

    monkeypatch.setattr(geometry, "_BLOCK", 700)

    blocks = measure(train, held)
    assert blocks.values == pytest.approx(whole.values, abs=1e-12)


def test_the_scale_of_a_vector_and_the_order_of_rows_change_nothing():
    train, held = points(0, 80), points(1)
    order = np.random.default_rng(0).permutation(60)
    moved = Points(
        held.embeddings[order] * 1e150, held.labels[order], tuple(held.groups[i] for i in order)
    )

    one, other = (scored(train, each, 20, 0) for each in (held, moved))

    for name in ("neighbour_balanced_accuracy", *PAIRWISE):
        assert other[name].value == pytest.approx(one[name].value)
        assert other[name].drawn == pytest.approx(one[name].drawn)


def test_points_as_near_as_the_last_neighbour_share_its_votes_whatever_their_order():
    """14 votes are clear, 7 to 7; 30 copies of one point, 20 of them of label 1, share the last."""
    axis, copied = np.eye(4)[0], np.eye(4)[0] + np.eye(4)[1]
    embeddings = np.array([axis] * 14 + [copied] * 30)
    labels = np.array([0] * 7 + [1] * 7 + [0] * 10 + [1] * 20)
    order = np.random.default_rng(1).permutation(44)

    answers = [
        geometry.vote(geometry.unit(embeddings[rows]), labels[rows], axis[None], 2)
        for rows in (slice(None), slice(None, None, -1), order)
    ]

    assert answers == [[1], [1], [1]]


def test_of_labels_with_equal_votes_the_first_wins():
    embeddings = np.ones((20, 3))

    answer = geometry.vote(geometry.unit(embeddings), np.arange(20) % 2, np.ones((1, 3)), 2)

    assert answer == [0]


def test_duplicates_of_one_point_are_measured():
    """Silhouette of points without any distance is 0, as in scikit-learn."""
    train = Points(np.ones((20, 4)), np.arange(20) % 2, tuple(map(str, range(20))))

    values = measure(train, train, draws=10).values

    assert values["silhouette"] == 0
    assert values["alignment"] == pytest.approx(0, abs=1e-12)
    assert values["uniformity"] == pytest.approx(0, abs=1e-12)
    assert values["neighbour_balanced_accuracy"] == 0.5


def test_a_label_of_one_utterance_has_silhouette_0_and_no_pair():
    held = points(1, 30)
    labels = held.labels.copy()
    labels[0] = 7

    values = measure(points(0), replace(held, labels=labels), draws=10).values

    expected = silhouette_score(held.embeddings, labels, metric="cosine")
    assert values["silhouette"] == pytest.approx(expected)


def test_draws_make_the_interval_that_below_8_groups_is_not_given():
    enough = measure(points(0), points(1, num_groups=8))
    few = measure(points(0), points(1, num_groups=7))

    for name in MEASURES:
        low, high = enough.ci95[name]
        assert low < enough.values[name] < high
        assert few.ci95[name] is None
    assert "(too few groups)" in to_text({"few": few})


@pytest.mark.slow
@pytest.mark.parametrize("num_groups", [8, 40])
def test_intervals_of_pairwise_measures_cover_what_they_estimate(num_groups):
    """Points of one dialogue lie together, so rows are not independent."""

    def drawn(seed, num_groups):
        random = np.random.default_rng(seed)
        centre = 0.6 * np.eye(2, 6)
        labels = random.integers(0, 2, (num_groups, 6))
        shift = 0.5 * random.normal(size=(num_groups, 1, 6))
        embeddings = centre[labels] + shift + random.normal(size=(num_groups, 6, 6))
        groups = tuple(str(group) for group in range(num_groups) for _ in range(6))
        return Points(embeddings.reshape(-1, 6), labels.ravel(), groups)

    train = drawn(12345, 20)
    wanted = {
        name: np.mean([scored(train, drawn(seed, 400), 2, 0)[name].value for seed in range(9)])
        for name in PAIRWISE
    }

    covered = dict.fromkeys(PAIRWISE, 0)
    trials = 200
    for seed in range(trials):
        ci95 = measure(train, drawn(1000 + seed, num_groups), draws=999).ci95
        for name in PAIRWISE:
            covered[name] += ci95[name][0] <= wanted[name] <= ci95[name][1]

    for name in PAIRWISE:
        print(f"{name}, {num_groups} groups: {covered[name] / trials:.3f}")
        assert covered[name] / trials >= 0.9


def test_a_better_space_is_better_by_every_measure_and_the_difference_is_paired():
    before = Space(points(0, 200, apart=0.2), points(1, 200, apart=0.2))
    after = Space(points(0, 200, apart=2.0), points(1, 200, apart=2.0))

    found = compare([before], [after])

    for name in MEASURES[:4]:
        low, _ = found.difference.ci95[name]
        assert low > 0
    assert found.difference.ci95["alignment"][1] < 0
    alone = space.measure(after)
    assert found.after == alone
    for name in MEASURES:
        expected = alone.values[name] - found.before.values[name]
        assert found.difference.values[name] == pytest.approx(expected)


def test_a_space_is_no_better_than_itself():
    one = Space(points(0), points(1))

    found = compare([one], [one])

    assert set(found.difference.values.values()) == {0}
    assert set(found.difference.ci95.values()) == {(0, 0)}


def test_answers_of_folds_are_pooled_and_measures_inside_them_averaged():
    spaces = [Space(points(seed, 80), points(seed + 1, 30 + seed)) for seed in (0, 10)]

    together = space.measure(*spaces)

    alone = [space.measure(one) for one in spaces]
    assert (together.num, together.num_groups) == (70, 12)
    for name in PAIRWISE:
        expected = np.average([one.values[name] for one in alone], weights=[30, 40])
        assert together.values[name] == pytest.approx(expected)
    truth = np.concatenate([one.part.labels for one in spaces])
    units = [[geometry.unit(each.embeddings) for each in (one.train, one.part)] for one in spaces]
    answers = [
        geometry.vote(index, one.train.labels, queries, 3)
        for one, (index, queries) in zip(spaces, units, strict=True)
    ]
    expected = balanced_accuracy_score(truth, np.concatenate(answers))
    assert together.values["neighbour_balanced_accuracy"] == pytest.approx(expected)


def test_folds_of_speakers_together_have_groups_enough():
    """Three folds of four speakers each: none has an interval alone."""
    spaces = []
    for fold in range(3):
        held = points(fold + 1, 50, num_groups=4)
        groups = tuple(f"{fold} {group}" for group in held.groups)
        spaces.append(Space(points(0, 80), replace(held, groups=groups)))

    together = space.measure(*spaces)

    assert space.measure(spaces[0]).ci95["silhouette"] is None
    assert together.num_groups == 12
    for name in MEASURES:
        low, high = together.ci95[name]
        assert low < together.values[name] < high


@pytest.mark.parametrize("name", PAIRWISE)
def test_folds_of_one_speaker_each_differ_by_their_speakers(name):
    """Nothing moves inside such a fold, but how much it counts does."""
    spaces = [
        Space(
            points(0, 80), replace(points(fold + 1, 30 + fold), groups=(str(fold),) * (30 + fold))
        )
        for fold in range(9)
    ]

    found = space._scored(spaces, 50, 0)[name]

    alone = np.array([space.measure(one, draws=2).values[name] for one in spaces])
    sizes = np.array([30 + fold for fold in range(9)])
    shares = (space.group_weights(9, 50, 0) - 1) * sizes / sizes.sum()
    assert found.drawn == pytest.approx(found.value + shares @ (alone - found.value))


def test_the_table_says_which_way_is_better_and_the_dictionary_has_every_number():
    found = compare([Space(points(0), points(1))], [Space(points(0, apart=1), points(1, apart=1))])

    lines = to_text({"before": found.before, "after": found.after}).splitlines()

    assert lines[0].split() == ["before", "after"]
    assert lines[1].split() == ["utterances", "60", "60"]
    assert [line.startswith("uniformity (lower is better)") for line in lines].count(True) == 1
    value = found.after.values["silhouette"]
    assert f"{value:.3f} [" in next(line for line in lines if line.startswith("silhouette"))
    held = found.as_dict()["after"]
    assert (held["n"], held["groups"]) == (60, 12)
    assert held["ci95"]["silhouette"] == list(found.after.ci95["silhouette"])


def with_row(held, row):
    embeddings = held.embeddings.copy()
    embeddings[3] = row
    return replace(held, embeddings=embeddings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, labels=p.labels * 0), "60 utterances of 1 label, but a space"),
        (
            lambda p: with_row(p, 0.0),
            "1 embeddings of the measured part are zero vectors.*leave out",
        ),
        (lambda p: with_row(p, np.nan), "of the measured part is not finite"),
        (lambda p: with_row(p, np.inf), "of the measured part is not finite"),
        (lambda p: replace(p, labels=np.arange(60)), "no two of the 60 utterances.*larger part"),
    ],
)
def test_a_part_without_a_measure_is_refused(change, message):
    with pytest.raises(RunError, match=message):
        measure(points(0), change(points(1)))


def test_fewer_train_utterances_than_neighbours_are_refused():
    with pytest.raises(RunError, match=r"15 nearest neighbours need as many.*but found 14; give"):
        measure(points(0, 14), points(1))


def test_a_train_part_of_one_label_is_refused():
    train = points(0)
    with pytest.raises(RunError, match="the train part holds 60 utterances of 1 label"):
        measure(replace(train, labels=train.labels * 0), points(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, labels=p.labels[1:]), r"\(60, 16\), 59 labels and 60 groups"),
        (lambda p: replace(p, embeddings=p.embeddings[:, 0]), r"\(60,\), 60 labels"),
        (lambda p: replace(p, embeddings=p.embeddings[:, :9]), "width 16 and those to measure 9"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ShapeError, match=message):
        measure(points(0), change(points(1)))


def test_spaces_of_other_utterances_are_not_compared():
    with pytest.raises(ShapeError, match="60 and 59 with other labels or groups"):
        compare([Space(points(0), points(1))], [Space(points(0), points(1, 59))])
