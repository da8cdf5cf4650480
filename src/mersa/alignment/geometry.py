"""What the measures of a space are computed from: directions, neighbours and pairs.

A mean over the points of a part comes with its derivative by the weight of each point, at weights
of 1; `space` makes intervals of it.

Shapes: N points, M points of train, D width, C labels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from mersa.bootstrap import Array
from mersa.evaluation import IntArray

Embeddings = npt.NDArray[np.floating[Any]]

NUM_NEIGHBOURS = 15

_INVERSE_PENALTY = 0.01  # of the probe; at 1 it is hardly held back by some thousand rows of 768
_BLOCK = 2**22  # similarities at once, 32 MB
_SAME = 1e-9  # similarities that differ by less are those of duplicates


def unit(embeddings: Embeddings) -> Array:
    """Return the direction of each embedding, none of which is zero, as unit vectors, (N, D)."""
    wide = embeddings.astype(np.float64)
    wide /= np.abs(wide).max(1, keepdims=True)  # so that no square under- or overflows
    directions: Array = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return directions


def vote(
    index: Array,
    labels: IntArray,
    queries: Array,
    num_labels: int,
    *,
    count: int = NUM_NEIGHBOURS,
) -> IntArray:
    """Answer each query by its nearest neighbours, one vote each.

    Points as near as the last of them share what votes it leaves, so that the order of duplicates
    does not matter. Of labels with equal votes the first wins, as in scikit-learn.
    """
    answers = []
    for rows in _blocks(len(queries), len(index)):
        similarity = queries[rows] @ index.T  # (block, M)
        last = np.partition(similarity, -count, axis=1)[:, -count]
        row, column = np.nonzero(similarity >= last[:, None] - _SAME)  # those, and ties
        nearer = similarity[row, column] > last[row] + _SAME
        num = len(similarity)
        left = count - np.bincount(row, nearer, num)
        share = left / np.bincount(row, ~nearer, num)
        place = row * num_labels + labels[column]
        votes = np.bincount(place, np.where(nearer, 1.0, share[row]), num * num_labels)
        answers.append(votes.reshape(num, num_labels).round(6).argmax(1))
    return np.concatenate(answers)


def probe(
    embeddings: Embeddings,
    labels: IntArray,
    queries: Embeddings,
) -> IntArray:
    """Answer by logistic regression on standardised values, each label of the same weight."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=_INVERSE_PENALTY, class_weight="balanced", max_iter=1000),
    )
    classifier.fit(embeddings.astype(np.float64), labels)
    answers: IntArray = classifier.predict(queries.astype(np.float64))
    return answers


def silhouette(units: Array, labels: IntArray) -> tuple[float, Array]:
    """Return the mean silhouette, and the derivative by the weight of each row, (N,).

    Cosine distance is linear in each unit vector, so the mean distance to a label needs the sum of
    its vectors alone. An utterance whose label has no other one counts 0, as in scikit-learn.
    """
    num = len(units)
    present, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.eye(len(present))[own]  # (N, C)
    sums = members.T @ units  # (C, D)
    distance = np.maximum(counts - units @ sums.T, 0.0)  # (N, C), summed
    others = counts[own] - 1
    rows = np.arange(num)
    inner = distance[rows, own] / np.maximum(others, 1)
    mean = distance / counts
    mean[rows, own] = np.inf
    nearest = mean.argmin(1)
    outer = mean[rows, nearest]
    larger = np.maximum(inner, outer)
    counted = (others > 0) & (larger > _SAME)
    scale = np.where(counted, larger, 1.0)
    silhouette = np.where(counted, (outer - inner) / scale, 0.0)

    # Derivatives of b / a - 1 and 1 - a / b by a (`inner`) and b (`outer`).
    by_inner = np.where(counted, -np.where(inner > outer, outer / scale, 1.0) / scale, 0.0)
    by_outer = np.where(counted, np.where(inner > outer, 1.0, inner / scale) / scale, 0.0)
    by_inner /= np.maximum(others, 1)
    by_outer /= counts[nearest]
    moved = np.zeros(num)
    for slope, towards, to in ((by_inner, own, inner), (by_outer, nearest, outer)):
        # A row j of label c moves the mean distance from each row i towards c by d_ij less that
        # mean; of its own label that counts each row but itself.
        pulled = np.eye(len(present))[towards].T * slope  # (C, N)
        constant = (pulled * (1 - to)).sum(1)
        moved += constant[own] - ((pulled @ units)[own] * units).sum(1)
    moved += by_inner * inner  # itself has no distance to itself, and no weight in the mean
    value = float(silhouette.mean())
    return value, (silhouette - value + moved) / num


def alignment(units: Array, labels: IntArray) -> tuple[float, Array]:
    """Return the mean squared distance of pairs of one label, and its derivative, (N,)."""
    present, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.eye(len(present))[own].T @ units
    to_own = counts[own] - (units * sums[own]).sum(1)  # cosine distances, summed
    squared: Array = np.maximum(2 * to_own, 0.0)
    return _mean_of_pairs(squared, (counts[own] - 1).astype(np.float64))


def uniformity(units: Array) -> tuple[float, Array]:
    """Return the logarithm of the mean of exp(-2 d^2) over pairs, and its derivative, (N,)."""
    num = len(units)
    near = np.zeros(num)
    for rows in _blocks(num, num):
        # Only pairs with a later row, each counted for both.
        similarity = units[rows] @ units[rows.start :].T
        kernel = np.exp(4 * np.minimum(similarity, 1.0) - 4)  # d^2 = 2 - 2 s
        kernel = np.triu(kernel, 1)
        near[rows] += kernel.sum(1)
        near[rows.start :] += kernel.sum(0)
    mean, derivative = _mean_of_pairs(near, np.full(num, num - 1.0))
    return float(np.log(mean)), derivative / mean


def _mean_of_pairs(sums: Array, counts: Array) -> tuple[float, Array]:
    """Return the mean over pairs, and its derivative by the weight of each row.

    Args:
        sums: What each row's pairs sum up to, (N,); each pair stands in two of them.
        counts: How many pairs each row has, (N,).
    """
    value = float(sums.sum() / counts.sum())
    return value, 2 * (sums - value * counts) / counts.sum()


def _blocks(num_rows: int, num_columns: int) -> list[slice]:
    step = max(1, _BLOCK // num_columns)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
