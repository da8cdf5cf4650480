"""Which differences between two systems hold.

Both answered the same utterances, so everything is paired. The difference of each score is second
less first, with an interval by drawing whole groups: in each draw both systems, and all their
seeds, are scored on the same groups (paired bootstrap: Koehn 2004, "Statistical Significance Tests
for Machine Translation Evaluation"; groups and bounds as in `bootstrap`).

With one seed a system, the interval speaks of these two networks on other utterances. With several,
it speaks of training again too: the difference of the means over seeds is drawn on groups, and a
draw of how those means vary is added to it. The Multi-Bootstrap (Sellam et al. 2022, "The
MultiBERTs") draws the seeds themselves with replacement, but of two to five seeds there are too few
different draws: where training matters most, simulated 95 % intervals cover .74 to .91. So the
second level is Student's t, after Welch 1938 ("The significance of the difference between two means
when the population variances are unequal"), which covers .94 or more, at the price of wide
intervals with two seeds.

Beside it stand two tests that each see less: a paired t test over seeds knows of no other
utterances, and McNemar's test (1947) knows neither of groups nor of training again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mersa.bootstrap import DRAWS, seed_interval
from mersa.contrasts import contrast
from mersa.errors import RunError, ShapeError
from mersa.evaluation import SCORES, Predictions, group_tables, score_title
from mersa.tables import aligned

LEVEL = 0.05
LOWER_IS_BETTER = ("ece",)
_NO_SPREAD = 1e-12  # of scores that are equal but for rounding


@dataclass(frozen=True)
class Difference:
    """How much higher the second system scores than the first.

    Attributes:
        name: The score.
        value: Second less first, each the mean over its seeds.
        low: Lower bound of the 95 % interval; None with too few groups.
        high: Upper bound; None with too few groups.
        p: Two-sided p value that belongs to the interval; None with too few groups.
        p_holm: The same after Holm's correction for the comparisons made together.
        n: Number of utterances.
        groups: Number of groups.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    groups: int

    @property
    def verdict(self) -> str:
        """`better` or `worse` than the first, `cannot be told`, or `too few groups`.

        In a single comparison it can be told exactly where the interval leaves 0 out.
        """
        if self.p_holm is None or self.low is None:
            return "too few groups"
        if self.p_holm > LEVEL:
            return "cannot be told"
        return "better" if (self.low > 0) != (self.name in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class McNemar:
    """On how many utterances only one of two networks was right.

    Attributes:
        only_first: Right by the first only.
        only_second: Right by the second only.
        p: Exact two-sided p value (binomial).
        chi2: Statistic with continuity correction (Edwards 1948).
        chi2_p: Its p value.
    """

    only_first: int
    only_second: int
    p: float
    chi2: float
    chi2_p: float


@dataclass(frozen=True)
class SeedDifference:
    """Second less first over pairs of seeds: mean, t interval and paired t test."""

    name: str
    mean: float
    low: float
    high: float
    p: float
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances.

    Attributes:
        first: Name of the system that is compared with.
        second: Name of the system that is compared.
        seeds: How many seeds each has, first and second.
        differences: One a score.
        over_seeds: One a score; empty unless both have the same seeds, at least two.
        mcnemar: None with several seeds, since it compares two networks.
    """

    first: str
    second: str
    seeds: tuple[int, int]
    differences: tuple[Difference, ...]
    over_seeds: tuple[SeedDifference, ...]
    mcnemar: McNemar | None


def compare(
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    *,
    names: tuple[str, str] = ("first", "second"),
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the utterances that both answered.

    Args:
        first: Answers of the system that is compared with, one for each seed; folds are pooled
            first (`evaluation.concatenate`). The rows may stand in any order.
        second: Answers of the other. Where both have as many seeds, they are paired by place.
        names: How messages and tables call the two.
        draws: Bootstrap draws.
        seed: Of the draws.

    Raises:
        RunError: If there are no utterances, they or their emotions or groups differ, or only one
            system has several seeds.
    """
    ones, others = _as_seeds(first), _as_seeds(second)
    reference = _in_order(ones[0], names[0])
    ones = [_matched(one, reference, (names[0], names[0])) for one in ones]
    others = [_matched(one, reference, names) for one in others]
    if min(len(ones), len(others)) == 1 < max(len(ones), len(others)):
        fewer, more = names if len(ones) == 1 else names[::-1]
        raise RunError(
            f"{fewer} has 1 seed, but {more} has {max(len(ones), len(others))}; how much training "
            f"again changes must be known of both, so train {fewer} with more --seeds, or compare "
            "one seed of each"
        )
    return Comparison(
        *names,
        (len(ones), len(others)),
        _differences(ones, others, draws, seed),
        _over_seeds(ones, others),
        mcnemar(_right(ones[0]), _right(others[0])) if len(ones) == len(others) == 1 else None,
    )


def compare_all(
    systems: Mapping[str, Predictions | Sequence[Predictions]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every further system with the first; p values are corrected after Holm 1979.

    The correction is over the comparisons, for each score by itself.

    Raises:
        RunError: If there are fewer than two systems, or as `compare` does.
    """
    if len(systems) < 2:
        raise RunError(f"{len(systems)} run given, but a comparison needs at least 2; name another")
    (name, first), *others = systems.items()
    made = [
        compare(first, second, names=(name, other), draws=draws, seed=seed)
        for other, second in others
    ]
    corrected = [
        _with_holm(several) for several in zip(*(one.differences for one in made), strict=True)
    ]
    return [
        replace(one, differences=differences)
        for one, differences in zip(made, zip(*corrected, strict=True), strict=True)
    ]


def seed_difference(name: str, first: Sequence[float], second: Sequence[float]) -> SeedDifference:
    """Compare the scores of two systems over the same seeds by a paired t test.

    Args:
        name: The score.
        first: Its value for each seed of the system that is compared with.
        second: The same of the other system, in the same order of seeds.

    Raises:
        RunError: If there are fewer than two seeds.
        ShapeError: If the two have different numbers of seeds.
    """
    from scipy import stats

    if len(first) != len(second):
        raise ShapeError(
            f"{len(first)} and {len(second)} seeds cannot be paired; give both the same seeds"
        )
    values = np.subtract(second, first)
    mean, low, high = seed_interval(values.tolist())
    if np.ptp(values) < _NO_SPREAD:  # then there is no t
        p = 1.0 if abs(mean) < _NO_SPREAD else 0.0
    else:
        p = float(stats.ttest_rel(second, first).pvalue)
    return SeedDifference(name, mean, low, high, p, len(values))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Compare on which utterances two networks were right.

    McNemar 1947, exact and with Edwards' (1948) continuity correction.

    Args:
        first: Whether the network that is compared with was right, on each utterance.
        second: The same of the other network.
    """
    from scipy import stats

    only_first = sum(one and not other for one, other in zip(first, second, strict=True))
    only_second = sum(other and not one for one, other in zip(first, second, strict=True))
    num = only_first + only_second
    if num == 0:
        return McNemar(0, 0, 1.0, 0.0, 1.0)
    chi2 = (abs(only_first - only_second) - 1) ** 2 / num
    return McNemar(
        only_first,
        only_second,
        float(stats.binomtest(only_first, num).pvalue),
        chi2,
        float(stats.chi2.sf(chi2, 1)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for being several (Holm 1979), in the order given."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def check_alike(systems: Mapping[str, Sequence[Predictions]]) -> None:
    """See that systems, and all their seeds, answered for the same utterances.

    Args:
        systems: Answers of each, one for each seed, by the name that messages call it.

    Raises:
        RunError: If the utterances, their emotions or groups, or the labels differ.
    """
    (name, first), *_ = systems.items()
    reference = _in_order(first[0], name)
    for other, several in systems.items():
        for one in several:
            _matched(one, reference, (name, other))


def to_text(comparisons: Sequence[Comparison]) -> str:
    """Align comparisons for a terminal, one table each."""
    several = len(comparisons) > 1
    return "\n".join(_one_text(comparison, several) for comparison in comparisons)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON holds it, the verdicts with it."""
    result = asdict(comparison)
    for entry, difference in zip(result["differences"], comparison.differences, strict=True):
        entry["verdict"] = difference.verdict
    return result


def _as_seeds(one: Predictions | Sequence[Predictions]) -> list[Predictions]:
    return [one] if isinstance(one, Predictions) else list(one)


def _in_order(one: Predictions, name: str) -> Predictions:
    """Return the rows in order of id."""
    if not one.ids:
        raise RunError(f"{name} has no answers to compare; read its test part with: mersa evaluate")
    rows = sorted(range(len(one.ids)), key=one.ids.__getitem__)
    for row, following in pairwise(rows):
        if one.ids[row] == one.ids[following]:
            raise RunError(
                f"{name} answers utterance {one.ids[row]!r} more than once; compare one run of it"
            )
    return one.rows(rows)


def _matched(one: Predictions, reference: Predictions, names: tuple[str, str]) -> Predictions:
    """Return the rows in order of id, and see that they are those of the reference."""
    if one.labels != reference.labels:
        raise RunError(
            f"{names[1]} tells {', '.join(one.labels)}, but {names[0]} "
            f"{', '.join(reference.labels)}; compare runs of one label set"
        )
    one = _in_order(one, names[1])
    for name, other, ids, lacking in (
        (*names, reference.ids, one.ids),
        (*names[::-1], one.ids, reference.ids),
    ):
        left = sorted(set(ids) - set(lacking))
        if left:
            raise RunError(
                f"{name} answers {len(left)} utterances that {other} does not, as {left[0]!r}; "
                "compare runs on the same test part"
            )
    for row, id_ in enumerate(one.ids):
        if one.truth[row] != reference.truth[row]:
            words = [which.labels[which.truth[row]] for which in (one, reference)]
            raise RunError(
                f"utterance {id_!r} is {words[0]!r} for {names[1]}, but {words[1]!r} for "
                f"{names[0]}; evaluate both on one manifest"
            )
        if one.groups[row] != reference.groups[row]:
            raise RunError(
                f"utterance {id_!r} is of group {one.groups[row]!r} for {names[1]}, but of "
                f"{reference.groups[row]!r} for {names[0]}; evaluate both on one manifest"
            )
    return one


def _differences(
    ones: Sequence[Predictions], others: Sequence[Predictions], draws: int, seed: int
) -> tuple[Difference, ...]:
    systems = [[group_tables(one) for one in system] for system in (ones, others)]
    num, num_groups = len(ones[0].ids), len(systems[0][0].confusion)
    return tuple(
        Difference(one.name, one.value, one.low, one.high, one.p, one.p, num, num_groups)
        for one in contrast(systems, (-1.0, 1.0), draws=draws, seed=seed)
    )


def _over_seeds(
    ones: Sequence[Predictions], others: Sequence[Predictions]
) -> tuple[SeedDifference, ...]:
    if len(ones) != len(others) or len(ones) < 2:
        return ()
    first, second = ([group_tables(one).scores() for one in system] for system in (ones, others))
    return tuple(
        seed_difference(name, [one[name] for one in first], [one[name] for one in second])
        for name in SCORES
    )


def _right(one: Predictions) -> list[bool]:
    right: list[bool] = (one.probabilities.argmax(1) == one.truth).tolist()
    return right


def _with_holm(several: Sequence[Difference]) -> list[Difference]:
    given = [one.p for one in several if one.p is not None]
    if len(given) < len(several):
        return list(several)  # all were made on the same groups, too few of them
    return [replace(one, p_holm=p) for one, p in zip(several, holm(given), strict=True)]


def _one_text(comparison: Comparison, several: bool) -> str:
    header = ["score", "difference", "p", *(["p (Holm)"] if several else []), "verdict"]
    rows = [header]
    for one in comparison.differences:
        cells = [score_title(one.name), signed(one.value, one.low, one.high), p_text(one.p)]
        rows.append([*cells, *([p_text(one.p_holm)] if several else []), one.verdict])
    any_score = comparison.differences[0]
    title = (
        f"{comparison.second} less {comparison.first}: {any_score.n} utterances in "
        f"{any_score.groups} groups; {_seeds_text(*comparison.seeds)}"
    )
    return "\n".join([title, *aligned(rows), *_beside(comparison)]) + "\n"


def _seeds_text(first: int, second: int) -> str:
    if first != second:
        return f"{second} seeds less {first}"
    return f"{first} {'seed' if first == 1 else 'seeds'} each"


def _beside(comparison: Comparison) -> list[str]:
    lines = [
        f"over {one.seeds} pairs of seeds alone, {score_title(one.name)}: "
        f"{signed(one.mean, one.low, one.high)}, {_p_said(one.p)}"
        for one in comparison.over_seeds
    ]
    if comparison.mcnemar is not None:
        lines.append(
            f"right in {comparison.first} only: {comparison.mcnemar.only_first}, in "
            f"{comparison.second} only: {comparison.mcnemar.only_second}; McNemar's test, which "
            f"takes utterances as independent: {_p_said(comparison.mcnemar.p)}"
        )
    return lines


def signed(value: float, low: float | None, high: float | None) -> str:
    """Write a difference with its sign, and its interval if it has one."""
    said, *bounds = (f"{round(one, 3) + 0.0:+.3f}" for one in (value, low, high) if one is not None)
    return f"{said} [{', '.join(bounds)}]" if bounds else said


def p_text(p: float | None) -> str:
    """Write a p value; nothing where there is none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _p_said(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
