"""Scores with their uncertainty.

Accuracy is the share of right answers; the field calls it WA. Balanced accuracy is the mean of the
recalls of the emotions; the field calls it UA or UAR. Some papers exchange the two names.

Intervals come from a bootstrap over whole groups (dialogues, else speakers); `bootstrap` says how.
That of the calibration error (ECE; Guo et al. 2017, "On Calibration of Modern Neural Networks", Eq.
3) lies too high where the error is small against its noise: a network that is calibrated exactly
never has an ECE of 0 on finitely many utterances.

Shapes: N utterances, C labels, G groups, B bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mersa.bootstrap import DRAWS, FEWEST_GROUPS, Array, group_weights, interval
from mersa.emotions import LabelSet
from mersa.errors import RunError, ShapeError
from mersa.manifest import Utterance

IntArray = npt.NDArray[np.int64]

PRINTED_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
"""The scores that tables for people hold."""

SCORES = (*PRINTED_SCORES, "ece")
CALIBRATION_BINS = 15
_LEAST_PROBABILITY = 1e-12  # stands for 0, whose logarithm is infinite
_BIASED = ("macro_f1", "weighted_f1", "ece")
"""Scores that are expected to lie beside what they estimate; shares and their means are not."""


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
        return self.rows([row for row, part in enumerate(self.parts) if part == name])

    def rows(self, numbers: Sequence[int]) -> "Predictions":
        """Return some rows, in the order given."""
        return Predictions(
            tuple(self.ids[row] for row in numbers),
            tuple(self.parts[row] for row in numbers),
            self.truth[np.array(numbers, dtype=np.int64)],
            self.probabilities[np.array(numbers, dtype=np.int64)],
            tuple(self.groups[row] for row in numbers),
            self.labels,
        )


@dataclass(frozen=True)
class Tables:
    """Sums over the utterances of each group, from which every score follows.

    Attributes:
        confusion: (G, C, C), rows truth, columns prediction.
        bins: (G, bins, 3): count, right answers and summed confidence in each bin of confidence.
    """

    confusion: Array
    bins: Array

    def scores(self) -> dict[str, float]:
        """Return every score of all groups together."""
        values = _scores(self.confusion.sum(0)[None], self.bins.sum(0)[None])
        return {name: float(values[name][0]) for name in SCORES}

    def drawn(self, weights: Array) -> Mapping[str, Array]:
        """Return every score of each draw, (B,), for how often it holds each group, (B, G)."""
        num_groups, num_labels, _ = self.confusion.shape
        confusion = weights @ self.confusion.reshape(num_groups, -1)
        bins = weights @ self.bins.reshape(num_groups, -1)
        return _scores(
            confusion.reshape(-1, num_labels, num_labels), bins.reshape(-1, CALIBRATION_BINS, 3)
        )


def group_tables(predictions: Predictions) -> Tables:
    """Sum the answers of each group, in sorted order of the groups.

    A bin of confidence is closed below and open above; the last one holds 1 too.
    """
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
    return Tables(confusion, bins)


def bias(name: str, drawn: Array, value: float) -> float:
    """Return how far a score, drawn (B,), lies on average above itself; 0 where it has no bias.

    Balanced accuracy has none, though draws without the rarest label would show one.
    """
    return float(drawn.mean() - value) if name in _BIASED else 0.0


def predictions_of(
    utterances: Sequence[Utterance], part: str, probabilities: Array, labels: LabelSet
) -> Predictions:
    """Put the answers for labelled utterances of one part, (N, C), beside their truth."""
    truth = [labels.index(one.emotion) for one in utterances]
    return Predictions(
        tuple(one.id for one in utterances),
        (part,) * len(utterances),
        np.array(truth, dtype=np.int64),
        probabilities,
        tuple(one.group for one in utterances),
        labels.labels,
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
        answering the commonest label). Balanced accuracy leaves out a label without an
        utterance, macro F1 one that is neither true nor answered.
    """
    tables = group_tables(predictions)
    values = tables.scores()
    confusion = tables.confusion.sum(0)
    result: dict[str, Any] = {"n": len(predictions.ids), "groups": len(tables.confusion)} | values
    counts = confusion.sum(1)
    result["recall"] = {
        label: float(confusion[row, row] / counts[row]) if counts[row] else None
        for row, label in enumerate(predictions.labels)
    }
    result["ci95"] = _intervals(tables, values, draws, seed)
    result["confusion"] = confusion.astype(int).tolist()
    result["majority"] = _majority(counts)
    return result


def log_loss(probabilities: Array, truth: IntArray) -> float:
    """Return the mean negative logarithm of the probability of what is true.

    Args:
        probabilities: (N, C).
        truth: Label index of each utterance, (N,).
    """
    right = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(right, _LEAST_PROBABILITY)).mean())


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
    return group_tables(predictions).scores()


def score_title(name: str) -> str:
    """Return how tables head a score, as `balanced accuracy`."""
    return "calibration error" if name == "ece" else name.replace("_", " ")


def score_cell(scores: Mapping[str, Any], name: str) -> str:
    """Write one score with its interval, or with its deviation and its interval over seeds."""
    if "sd" in scores:
        cell = f"{scores[name]:.3f} ± {scores['sd'][name]:.3f}"
        if "ci95_seeds" not in scores:
            return cell
        low, high = scores["ci95_seeds"][name]
        return f"{cell} [{low:.3f}, {high:.3f}]"
    if "ci95" not in scores:
        return f"{scores[name]:.3f}"
    bounds = scores["ci95"][name]
    if bounds is None:
        return f"{scores[name]:.3f} (too few groups)"
    return f"{scores[name]:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


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


def _intervals(
    tables: Tables, values: Mapping[str, float], draws: int, seed: int
) -> dict[str, list[float] | None]:
    num_groups = len(tables.confusion)
    if num_groups < FEWEST_GROUPS:
        return dict.fromkeys(SCORES)
    drawn = tables.drawn(group_weights(num_groups, draws, seed))
    bounds = {
        name: interval(drawn[name], num_groups, bias=bias(name, drawn[name], values[name]))
        for name in SCORES
    }
    return {name: [max(low, 0.0), min(high, 1.0)] for name, (low, high) in bounds.items()}


def _majority(counts: Array) -> dict[str, float]:
    """Score always answering the commonest label, with the share of that label as confidence."""
    confusion = np.zeros((1, len(counts), len(counts)))
    confusion[0, :, counts.argmax()] = counts
    values = _scores(confusion, np.zeros((1, CALIBRATION_BINS, 3)))
    return {name: float(values[name][0]) for name in SCORES if name != "ece"}
