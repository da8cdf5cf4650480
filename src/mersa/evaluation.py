"""Scores with their uncertainty.

Accuracy is the share of right answers; the field calls it WA. Balanced accuracy is the mean of the
recalls of the emotions; the field calls it UA or UAR. Some papers exchange the two names.

Intervals come from a bootstrap over whole groups (dialogues, else speakers), since utterances of
one dialogue are not independent. With few groups a percentile interval is too narrow, so its levels
are widened as Student's t asks (Hesterberg 2015, "What Teachers Should Know About the Bootstrap",
Sec. 4.3: expanded percentile interval); below `FEWEST_GROUPS` no interval is given.

Shapes: N utterances, C labels, G groups, B bootstrap draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mersa.errors import RunError, ShapeError

IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "ece")
CALIBRATION_BINS = 15
FEWEST_GROUPS = 8
DRAWS = 10_000


@dataclass(frozen=True)
class Predictions:
    """What a network answered.

    Attributes:
        ids: Utterance of each row, N.
        parts: Part of each row, N.
        truth: Label index of each row, (N,).
        probabilities: (N, C); each row sums to 1.
        groups: Dialogue, else speaker, else id of each row, N.
        labels: The C emotion words.
    """

    ids: tuple[str, ...]
    parts: tuple[str, ...]
    truth: IntArray
    probabilities: Array
    groups: tuple[str, ...]
    labels: tuple[str, ...]

    def part(self, name: str) -> "Predictions":
        """Return the rows of one part."""
        rows = [row for row, part in enumerate(self.parts) if part == name]
        return Predictions(
            tuple(self.ids[row] for row in rows),
            tuple(self.parts[row] for row in rows),
            self.truth[rows],
            self.probabilities[rows],
            tuple(self.groups[row] for row in rows),
            self.labels,
        )


def concatenate(several: Sequence[Predictions]) -> Predictions:
    """Put the rows of several runs, as of the folds of one protocol, one after the other."""
    if len({one.labels for one in several}) > 1:
        raise RunError("runs with different labels cannot be pooled; train them on one label set")
    return Predictions(
        tuple(id_ for one in several for id_ in one.ids),
        tuple(part for one in several for part in one.parts),
        np.concatenate([one.truth for one in several]),
        np.concatenate([one.probabilities for one in several]),
        tuple(group for one in several for group in one.groups),
        several[0].labels,
    )


def score(predictions: Predictions, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Score predictions as `metrics.json` holds them.

    Returns:
        `n`, `groups` (their number), each of `SCORES`, `recall` by label (None where the label has
        no utterance), `ci95` (for each score [low, high], or None with too few groups),
        `confusion` (rows truth, columns prediction) and `majority` (the same scores for always
        answering the commonest label). A label without an utterance is left out of the means.
    """
    tables = _group_tables(predictions)
    values = _scores(tables.confusion.sum(0)[None], tables.bins.sum(0)[None])
    confusion = tables.confusion.sum(0)
    result: dict[str, Any] = {"n": len(predictions.ids), "groups": len(tables.confusion)}
    result |= {name: float(values[name][0]) for name in SCORES}
    counts = confusion.sum(1)
    result["recall"] = {
        label: float(confusion[row, row] / counts[row]) if counts[row] else None
        for row, label in enumerate(predictions.labels)
    }
    result["ci95"] = _intervals(tables, draws, seed)
    result["confusion"] = confusion.astype(int).tolist()
    result["majority"] = _majority(counts)
    return result


def quick_scores(truth: IntArray, probabilities: Array) -> dict[str, float]:
    """Return the scores alone, for choosing an epoch."""
    if len(truth) != len(probabilities):
        raise ShapeError(f"{len(truth)} labels and {len(probabilities)} answers do not fit")
    predictions = Predictions(
        tuple(map(str, range(len(truth)))),
        ("",) * len(truth),
        truth,
        probabilities,
        ("",) * len(truth),
        tuple(map(str, range(probabilities.shape[1]))),
    )
    tables = _group_tables(predictions)
    values = _scores(tables.confusion, tables.bins)
    return {name: float(values[name][0]) for name in SCORES}


def interval_levels(num_groups: int, level: float = 0.95) -> tuple[float, float]:
    """Return the percentiles whose bootstrap interval covers `level` with this many groups.

    Below `FEWEST_GROUPS` groups there are none that do.
    """
    from scipy import stats

    t = stats.t.ppf(0.5 + level / 2, num_groups - 1)
    low = float(stats.norm.cdf(-math.sqrt(num_groups / (num_groups - 1)) * t))
    return low, 1 - low


def score_cell(scores: Mapping[str, Any], name: str) -> str:
    """Write one score with its interval, or with its deviation over seeds."""
    if "sd" in scores:
        return f"{scores[name]:.3f} ± {scores['sd'][name]:.3f}"
    if "ci95" not in scores:
        return f"{scores[name]:.3f}"
    interval = scores["ci95"][name]
    if interval is None:
        return f"{scores[name]:.3f} (too few groups)"
    return f"{scores[name]:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


@dataclass(frozen=True)
class _Tables:
    """Sums over the utterances of each group, from which every score follows.

    Attributes:
        confusion: (G, C, C), rows truth, columns prediction.
        bins: (G, bins, 3): count, right answers and confidence in each bin of confidence.
    """

    confusion: Array
    bins: Array


def _group_tables(predictions: Predictions) -> _Tables:
    num_labels = len(predictions.labels)
    names, group = np.unique(np.array(predictions.groups, dtype=object), return_inverse=True)
    answer = predictions.probabilities.argmax(1)
    confidence = predictions.probabilities.max(1)
    confusion = np.zeros((len(names), num_labels, num_labels))
    np.add.at(confusion, (group, predictions.truth, answer), 1)
    place = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins = np.zeros((len(names), CALIBRATION_BINS, 3))
    right = answer == predictions.truth
    np.add.at(bins, (group, place), np.stack([np.ones(len(right)), right, confidence], axis=1))
    return _Tables(confusion, bins)


def _scores(confusion: Array, bins: Array) -> Mapping[str, Array]:
    """Compute every score, (B, C, C) and (B, bins, 3) to (B,) each."""
    total = confusion.sum((1, 2))
    right = np.diagonal(confusion, axis1=1, axis2=2)  # (B, C)
    truth = confusion.sum(2)
    answered = confusion.sum(1)
    present = truth > 0
    num_present = present.sum(1)
    recall = np.divide(right, truth, out=np.zeros_like(right), where=present)
    either = truth + answered
    f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0)
    scored = either > 0  # scikit-learn averages over labels that are true or answered
    gap = np.abs(bins[..., 1] - bins[..., 2]).sum(1)
    return {
        "accuracy": right.sum(1) / total,
        "balanced_accuracy": recall.sum(1) / num_present,
        "macro_f1": f1.sum(1) / scored.sum(1),
        "weighted_f1": (f1 * truth).sum(1) / total,
        "ece": gap / total,
    }


def _intervals(tables: _Tables, draws: int, seed: int) -> dict[str, list[float] | None]:
    num_groups = len(tables.confusion)
    if num_groups < FEWEST_GROUPS:
        return dict.fromkeys(SCORES)
    random = np.random.default_rng(seed)
    weights = random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=draws)
    shape = tables.confusion.shape[1:]
    confusion = (weights @ tables.confusion.reshape(num_groups, -1)).reshape(draws, *shape)
    bins = (weights @ tables.bins.reshape(num_groups, -1)).reshape(draws, CALIBRATION_BINS, 3)
    levels = interval_levels(num_groups)
    return {
        name: [float(bound) for bound in np.quantile(values, levels)]
        for name, values in _scores(confusion, bins).items()
    }


def _majority(counts: Array) -> dict[str, float]:
    """Score always answering the commonest label, with the share of that label as confidence."""
    confusion = np.zeros((1, len(counts), len(counts)))
    confusion[0, :, counts.argmax()] = counts
    values = _scores(confusion, np.zeros((1, CALIBRATION_BINS, 3)))
    return {name: float(values[name][0]) for name in SCORES if name != "ece"}
