"""Uncertainty by drawing whole groups, and by seeds.

Utterances of one dialogue are not independent, so whole groups (dialogues, else speakers) are drawn
with replacement. Two things are mended in the plain percentile interval:

- With few groups it is too narrow, so its levels are widened as Student's t asks (Hesterberg 2015,
  "What Teachers Should Know About the Bootstrap", Sec. 4.3: expanded percentile interval). Below
  `FEWEST_GROUPS` no interval is given.
- A score such as macro F1 is biased where labels are rare, and drawing shows the bias: what is
  drawn lies on average beside the score, and the score as much beside what it estimates (Efron and
  Tibshirani 1993, "An Introduction to the Bootstrap", Ch. 10). The bound on the other side is moved
  outwards by twice the shift, and neither inwards, so the correction never narrows an interval.

What is covered is the score on endlessly many groups like these: that of their expected table of
confusion, not the mean score of test parts of this size.

Shapes: G groups, B draws.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mersa.errors import RunError

Array = npt.NDArray[np.float64]

FEWEST_GROUPS = 8
DRAWS = 10_000


def group_weights(num_groups: int, draws: int, seed: int) -> Array:
    """Return how often each group stands in each draw, (B, G)."""
    random = np.random.default_rng(seed)
    share = np.full(num_groups, 1 / num_groups)
    return random.multinomial(num_groups, share, size=draws).astype(np.float64)


def interval(drawn: Array, num_groups: int, *, bias: float) -> tuple[float, float]:
    """Return the 95 % interval of a score from what was drawn.

    The bounds are drawn values, counted as in Davison and Hinkley 1997, Ch. 5.

    Args:
        drawn: The score on each draw, (B,).
        num_groups: How many groups the draws are made of, at least 2.
        bias: Mean of the score over draws of groups, less the score itself.
    """
    low, high = _levels_drawn(drawn, bias)
    tail = interval_levels(num_groups)[0]
    place = max(math.floor(tail * (len(drawn) + 1)), 1)
    return float(np.sort(low)[place - 1]), float(np.sort(high)[-place])


def p_value(drawn: Array, num_groups: int, *, bias: float) -> float:
    """Return the two-sided p value of 0, at most 0.05 exactly where `interval` leaves 0 out.

    It is the level at which a bound of the interval comes to lie on 0, so with B draws it is never
    less than that of the outermost draw. The arguments are those of `interval`.
    """
    from scipy import stats

    low, high = _levels_drawn(drawn, bias)
    beyond = min(int((low <= 0).sum()), int((high >= 0).sum()))
    tail = (beyond + 1) / (len(drawn) + 1)
    t = -stats.norm.ppf(tail) / math.sqrt(num_groups / (num_groups - 1))
    return float(min(1.0, 2 * stats.t.sf(t, num_groups - 1)))


def interval_levels(num_groups: int, level: float = 0.95) -> tuple[float, float]:
    """Return the percentiles whose bootstrap interval covers `level` with this many groups.

    Below `FEWEST_GROUPS` groups there are none that do.
    """
    from scipy import stats

    t = stats.t.ppf(0.5 + level / 2, num_groups - 1)
    low = float(stats.norm.cdf(-math.sqrt(num_groups / (num_groups - 1)) * t))
    return low, 1 - low


def seed_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of a score over seeds and its t interval.

    It speaks of training again, on the same parts; it says nothing of other utterances.

    Raises:
        RunError: If there are fewer than two seeds.
    """
    from scipy import stats

    num = len(values)
    if num < 2:
        raise RunError(
            f"an interval over seeds needs at least 2 of them, but found {num}; train more "
            "with --seeds"
        )
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.5 + level / 2, num - 1) * np.std(values, ddof=1) / math.sqrt(num))
    return mean, mean - half, mean + half


def _levels_drawn(drawn: Array, bias: float) -> tuple[Array, Array]:
    """Return what the lower and the upper bound are taken from."""
    return drawn - 2 * max(bias, 0.0), drawn - 2 * min(bias, 0.0)
