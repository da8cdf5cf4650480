"""How good a space of embeddings is: whether emotions lie together, and apart from each other.

Each measure looks at the same points from another side:

- `neighbour_balanced_accuracy`: each utterance is answered by a vote of its 15 nearest train
  utterances (cosine).
- `silhouette`: mean silhouette (Rousseeuw 1987) by cosine distance, inside the part.
- `probe_balanced_accuracy`, `probe_weighted_f1`: a linear classifier fitted on train.
- `alignment`, `uniformity`: mean squared distance of pairs of one label, and the logarithm of the
  mean of exp(-2 d^2) over all pairs, of unit vectors inside the part (Wang and Isola 2020,
  "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
  Hypersphere"). Both are better when lower, and each is easily had at the price of the other.

Intervals are those of `bootstrap`, over the groups of the part; train is held as it is. A mean over
pairs is not a mean over rows: a row moves its own pairs and the mean of every other row, so drawing
rows with their means held would halve the deviation. Of `silhouette`, `alignment` and `uniformity`
the derivative by the weight of each group is taken, and what is drawn is the measure to first
order in those weights (the infinitesimal jackknife; Efron and Tibshirani 1993, Ch. 21).

Shapes: N utterances of the part, M of train, D width, C labels, G groups, B draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mersa.alignment import geometry
from mersa.alignment.geometry import NUM_NEIGHBOURS, Embeddings
from mersa.bootstrap import DRAWS, FEWEST_GROUPS, Array, group_weights, interval
from mersa.errors import RunError, ShapeError
from mersa.evaluation import IntArray, Predictions, bias, group_tables, score_cell
from mersa.tables import aligned

TITLES = {
    "neighbour_balanced_accuracy": f"{NUM_NEIGHBOURS}-neighbour balanced accuracy",
    "silhouette": "silhouette",
    "probe_balanced_accuracy": "probe balanced accuracy",
    "probe_weighted_f1": "probe weighted F1",
    "alignment": "alignment",
    "uniformity": "uniformity",
}
"""How tables and pictures head each measure."""

MEASURES = tuple(TITLES)
LOWER_IS_BETTER = ("alignment", "uniformity")

_ANSWERED = {"neighbour": ("balanced_accuracy",), "probe": ("balanced_accuracy", "weighted_f1")}
_INSIDE = ("silhouette", "alignment", "uniformity")


@dataclass(frozen=True)
class Points:
    """Embeddings of one part.

    Attributes:
        embeddings: (N, D), of any scale; only their directions are measured, but for the probe,
            which standardises each of the D values.
        labels: Label index of each row, (N,).
        groups: Dialogue, else speaker, else id of each row, N.
    """

    embeddings: Embeddings
    labels: IntArray
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """One space: what neighbours are looked for in, and what is measured.

    Attributes:
        train: Where neighbours are looked for and the probe is fitted.
        part: The utterances that are measured: validation, or test.
    """

    train: Points
    part: Points


@dataclass(frozen=True)
class Measures:
    """How good a space is on one part, or by how much one is above another.

    Attributes:
        num: Utterances of the part.
        num_groups: Groups that were drawn.
        values: Each of `MEASURES`.
        ci95: The 95 % interval of each; None below `FEWEST_GROUPS` groups.
    """

    num: int
    num_groups: int
    values: Mapping[str, float]
    ci95: Mapping[str, tuple[float, float] | None]

    def as_dict(self) -> dict[str, Any]:
        """Return them as the parts of `metrics.json` hold scores."""
        bounds = {name: None if one is None else list(one) for name, one in self.ci95.items()}
        return {"n": self.num, "groups": self.num_groups, **self.values, "ci95": bounds}


@dataclass(frozen=True)
class Comparison:
    """Two spaces of the same utterances, and the second less the first on the same draws."""

    before: Measures
    after: Measures
    difference: Measures

    def as_dict(self) -> dict[str, Any]:
        """Return all three by name."""
        return {name: getattr(self, name).as_dict() for name in ("before", "after", "difference")}


def measure(*spaces: Space, draws: int = DRAWS, seed: int = 0) -> Measures:
    """Measure a space on one part; the spaces of several folds are measured together.

    Answers of several folds are pooled before they are scored, as elsewhere; the measures inside a
    part are the mean over the folds, by their utterances. A group that is in several folds is
    drawn in all of them.

    Args:
        spaces: One, or one for each fold.
        draws: B, bootstrap draws.
        seed: Of the draws.

    Raises:
        RunError: If there are fewer than 15 train utterances, a side has one label alone, no two
            utterances of the part share a label, or an embedding is zero or not finite.
        ShapeError: If embeddings, labels and groups do not fit each other.
    """
    return _measures(spaces, _scored(spaces, draws, seed))


def compare(
    before: Sequence[Space], after: Sequence[Space], *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Measure two spaces of the same utterances, and what the second is above the first.

    Args:
        before: The first space, one for each fold.
        after: The same utterances in the second.
        draws: As in `measure`.
        seed: As in `measure`.

    Raises:
        RunError: As `measure`.
        ShapeError: As `measure`, or if the two do not hold the same labels and groups.
    """
    for pair in zip(before, after, strict=True):
        for one, other in ((pair[0].train, pair[1].train), (pair[0].part, pair[1].part)):
            if not np.array_equal(one.labels, other.labels) or one.groups != other.groups:
                raise ShapeError(
                    f"two spaces are compared on the same utterances, but {len(one.labels)} and "
                    f"{len(other.labels)} with other labels or groups were given; embed one list "
                    "twice"
                )
    first, second = _scored(before, draws, seed), _scored(after, draws, seed)
    above = {
        name: _Scored(
            second[name].value - first[name].value,
            second[name].drawn - first[name].drawn,
            second[name].bias - first[name].bias,
        )
        for name in MEASURES
    }
    return Comparison(_measures(before, first), _measures(after, second), _measures(before, above))


def to_text(columns: Mapping[str, Measures]) -> str:
    """Write measures as an aligned table, a column for each name given."""
    rows = [["", *columns]]
    rows.append(["utterances", *(f"{one.num:,}" for one in columns.values())])
    rows.append(["groups", *(f"{one.num_groups:,}" for one in columns.values())])
    for name in MEASURES:
        arrow = " (lower is better)" if name in LOWER_IS_BETTER else ""
        cells = [score_cell(one.as_dict(), name) for one in columns.values()]
        rows.append([TITLES[name] + arrow, *cells])
    return "\n".join(aligned(rows)) + "\n"


@dataclass(frozen=True)
class _Scored:
    """A measure, the same on each draw, (B,), and how far draws lie on average above it."""

    value: float
    drawn: Array
    bias: float


def _measures(spaces: Sequence[Space], scored: Mapping[str, _Scored]) -> Measures:
    num_groups = len({group for one in spaces for group in one.part.groups})
    enough = num_groups >= FEWEST_GROUPS
    return Measures(
        sum(len(one.part.labels) for one in spaces),
        num_groups,
        {name: one.value for name, one in scored.items()},
        {
            name: interval(one.drawn, num_groups, bias=one.bias) if enough else None
            for name, one in scored.items()
        },
    )


def _scored(spaces: Sequence[Space], draws: int, seed: int) -> dict[str, _Scored]:
    for one in spaces:
        _check(one)
    # Only the labels that occur count, in the order of their numbers.
    known = np.unique(np.concatenate([p.labels for one in spaces for p in (one.train, one.part)]))
    looked = [_look(one, known) for one in spaces]
    groups = tuple(group for one in spaces for group in one.part.groups)
    truth = np.concatenate([np.searchsorted(known, one.part.labels) for one in spaces])
    names, group = np.unique(np.array(groups, dtype=object), return_inverse=True)
    weights = group_weights(len(names), draws, seed)
    found = {}
    for kind, scores in _ANSWERED.items():
        answers = np.concatenate([one.answers[kind] for one in looked])
        tables = group_tables(_answered(groups, truth, answers, len(known)))
        values, drawn = tables.scores(), tables.drawn(weights)
        for name in scores:
            shift = bias(name, drawn[name], values[name])
            found[f"{kind}_{name}"] = _Scored(values[name], drawn[name], shift)
    for name in _INSIDE:
        # The mean over folds by their utterances, whose number moves with the weights too.
        sizes = [len(one.part.labels) for one in spaces]
        value = float(np.average([one.inside[name][0] for one in looked], weights=sizes))
        rows = np.concatenate(
            [
                (size * derivative + inside - value) / sum(sizes)
                for size, one in zip(sizes, looked, strict=True)
                for inside, derivative in [one.inside[name]]
            ]
        )
        by_group = np.bincount(group, weights=rows, minlength=len(names))
        found[name] = _Scored(value, value + (weights - 1) @ by_group, 0.0)
    return {name: found[name] for name in MEASURES}


@dataclass(frozen=True)
class _Looked:
    """What one space says of its part: answers, and each measure with its derivatives."""

    answers: Mapping[str, IntArray]
    inside: Mapping[str, tuple[float, Array]]


def _look(space: Space, known: IntArray) -> _Looked:
    train, part = space.train, space.part
    index, labels = geometry.unit(train.embeddings), np.searchsorted(known, train.labels)
    units, own = geometry.unit(part.embeddings), np.searchsorted(known, part.labels)
    return _Looked(
        {
            "neighbour": geometry.vote(index, labels, units, len(known)),
            "probe": geometry.probe(train.embeddings, labels, part.embeddings),
        },
        {
            "silhouette": geometry.silhouette(units, own),
            "alignment": geometry.alignment(units, own),
            "uniformity": geometry.uniformity(units),
        },
    )


def _check(space: Space) -> None:
    train, part = space.train, space.part
    _check_points(train, "train part")
    _check_points(part, "measured part")
    if train.embeddings.shape[1] != part.embeddings.shape[1]:
        raise ShapeError(
            f"train embeddings have width {train.embeddings.shape[1]} and those to measure "
            f"{part.embeddings.shape[1]}; embed both with one encoder"
        )
    if len(train.labels) < NUM_NEIGHBOURS:
        raise RunError(
            f"{NUM_NEIGHBOURS} nearest neighbours need as many train utterances, but found "
            f"{len(train.labels)}; give a larger train part"
        )


def _check_points(points: Points, what: str) -> None:
    embeddings, labels = points.embeddings, points.labels
    if embeddings.ndim != 2 or not len(embeddings) == len(labels) == len(points.groups):
        raise ShapeError(
            f"embeddings are (N, D), with N labels and N groups, but the {what} has embeddings "
            f"{embeddings.shape}, {len(labels)} labels and {len(points.groups)} groups"
        )
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2:
        raise RunError(
            f"the {what} holds {len(labels)} utterances of {len(counts)} label, but a space is "
            "measured between at least two labels; choose another protocol or other labels"
        )
    if counts.max() < 2:
        raise RunError(
            f"no two of the {len(labels)} utterances of the {what} share a label, but alignment is "
            "a mean over such pairs; give a larger part"
        )
    if not np.isfinite(embeddings).all():
        raise RunError(
            f"an embedding of the {what} is not finite, so it has no place in the space; look at "
            "what the encoder gives"
        )
    num_zero = int((~embeddings.any(1)).sum())
    if num_zero:
        raise RunError(
            f"{num_zero} embeddings of the {what} are zero vectors, which have no direction and so "
            "no cosine; leave out utterances whose words or sound are missing"
        )


def _answered(
    groups: tuple[str, ...],
    truth: IntArray,
    answers: IntArray,
    num_labels: int,
) -> Predictions:
    num = len(truth)
    names = tuple(map(str, range(max(num, num_labels))))
    return Predictions(
        names[:num], ("",) * num, truth, np.eye(num_labels)[answers], groups, names[:num_labels]
    )
