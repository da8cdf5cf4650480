"""Weighted sums of the scores of several systems, with their uncertainty.

A difference of two systems is the sum with the weights -1 and 1; a claim over several pairs of rows
is the mean of such differences. All systems answered the same utterances, so each draw of groups
scores all of them, and all their seeds, on the same groups. With several seeds a draw of how the
means over seeds vary is added, Student's t after Welch 1938 (`comparison` says why).

Shapes: G groups, B draws, S seeds of a system.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mersa.bootstrap import DRAWS, FEWEST_GROUPS, Array, group_weights, interval, p_value
from mersa.evaluation import SCORES, Tables, bias


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of one score of several systems, each the mean over its seeds.

    Attributes:
        name: The score.
        value: The sum.
        low: Lower bound of its 95 % interval; None with too few groups.
        high: Upper bound; None with too few groups.
        p: Two-sided p value of 0, at most 0.05 exactly where the interval leaves 0 out; None with
            too few groups.
        p_within: p value of lying beyond the margin on either side, at most 0.05 exactly where the
            interval lies between both margins (two one-sided tests: Schuirmann 1987); 1 where the
            sum itself lies beyond; None without a margin or with too few groups.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_within: float | None


def contrast(
    systems: Sequence[Sequence[Tables]],
    weights: Sequence[float],
    *,
    margin: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Contrast]:
    """Sum the scores of systems that answered the same utterances, one result a score.

    With one seed of any system the interval speaks of other utterances alone.

    Args:
        systems: Summed answers of each system, one for each seed, over the same groups.
        weights: What each system's scores are multiplied by.
        margin: From how far off 0 on a sum matters; None asks for no such test.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    num_groups = len(systems[0][0].confusion)
    values = [_by_seed([one.scores() for one in system]) for system in systems]
    sums = {name: _sum([one[name].mean() for one in values], weights) for name in SCORES}
    if num_groups < FEWEST_GROUPS:
        return [Contrast(name, float(sums[name]), None, None, None, None) for name in SCORES]
    held = group_weights(num_groups, draws, seed)
    drawn = [_by_seed([one.drawn(held) for one in system]) for system in systems]
    random = np.random.default_rng((seed, 1))
    result = []
    for name in SCORES:
        value = float(sums[name])
        by_groups = _sum([one[name].mean(0) for one in drawn], weights)
        shift = bias(name, by_groups, value)
        again = _training_again([one[name] for one in values], weights, draws, random)
        by_both = by_groups + again
        low, high = interval(by_both, num_groups, bias=shift)
        p = p_value(by_both, num_groups, bias=shift)
        beyond = None
        if margin is not None:
            beyond = 1.0
            if abs(value) < margin:
                ends = (by_both - margin, by_both + margin)
                beyond = max(p_value(one, num_groups, bias=shift) for one in ends)
        result.append(Contrast(name, value, max(low, -1.0), min(high, 1.0), p, beyond))
    return result


def _sum(values: Sequence[Any], weights: Sequence[float]) -> Any:
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total


def _by_seed(several: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Stack each score of each seed, (S,) or (S, B)."""
    return {name: np.stack([one[name] for one in several]) for name in SCORES}


def _training_again(
    scores: Sequence[Array], weights: Sequence[float], draws: int, random: np.random.Generator
) -> Array:
    """Draw how a weighted sum of means over seeds, (S,) each, varies by training, (B,)."""
    if min(map(len, scores)) < 2:
        return np.zeros(draws)
    parts = [
        weight**2 * float(values.var(ddof=1)) / len(values)
        for values, weight in zip(scores, weights, strict=True)
    ]
    if not any(parts):
        return np.zeros(draws)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, scores, strict=True)
    )
    again: Array = math.sqrt(sum(parts)) * random.standard_t(freedom, size=draws)
    return again
