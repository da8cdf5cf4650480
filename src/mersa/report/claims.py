"""The paper's claims, tested on runs of its rows instead of read off single numbers.

A claim is about pairs of rows, as that row .5 scores above row .3. Its measure in one table is the
mean over its pairs of the difference of the mean scores over seeds. The interval draws whole groups
of utterances and, with it, training again (`contrasts`). It is answered in three ways:

holds             the measure lies above 0
does not hold     it lies below 0, or so near to it that not even `MARGIN` is left to the claim
cannot be told    neither, or something stands in the way of telling

Both tests are at 5 %, corrected after Holm 1979 over all claims and tables of a report, for each
score by itself. The claim is answered by accuracy, the one score that the paper defines; the other
scores stand beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mersa.bootstrap import DRAWS
from mersa.comparison import LEVEL, holm
from mersa.contrasts import Contrast, contrast
from mersa.evaluation import PRINTED_SCORES, group_tables
from mersa.paper import ROWS
from mersa.report.asked import CLAIMS, Asked, Claim, ask, row_weights
from mersa.report.rows import Entry, stand_ins

Verdict = Literal["holds", "does not hold", "cannot be told"]

MARGIN = 0.02
"""Differences below two points count as none; the paper's own steps are mostly of one to four."""

TEST_SIZES: Mapping[str, int] = {"III": 554, "IV": 738, "V": 1136}
"""A tenth of the utterances of each table: the paper says 8:1:1 and no number."""


@dataclass(frozen=True)
class Measure:
    """A claim's measure in one score.

    Attributes:
        name: The score.
        value: Mean difference over the pairs.
        low: Lower bound of its 95 % interval, uncorrected; None with too few groups.
        high: Upper bound; None with too few groups.
        p: p value of 0; None with too few groups.
        p_holm: The same, corrected.
        p_within: Corrected p value of a difference of `MARGIN` or more.
        verdict: What this score alone says.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    p_within: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Printed:
    """What the paper's own numbers say of a claim.

    Attributes:
        accuracy: Difference of the printed accuracies, one a pair.
        f1: Difference of the printed F1, one a pair.
        standard_error: Of the mean difference in accuracy on `n` utterances, if errors of two
            systems are unrelated.
        n: A tenth of the corpus, since the paper gives no number.
        beyond: True if the mean lies above 1.96 standard errors.
    """

    accuracy: tuple[float, ...]
    f1: tuple[float, ...]
    standard_error: float
    n: int
    beyond: bool

    @property
    def mean(self) -> float:
        """Mean difference in accuracy over the pairs."""
        return sum(self.accuracy) / len(self.accuracy)


@dataclass(frozen=True)
class Answer:
    """How a claim fares in one table.

    Attributes:
        claim: The claim.
        table: The table.
        verdict: By accuracy, unless something stands in the way.
        why: What stands in the way; empty if nothing.
        stand_ins: What stands in the place of the paper's corpus or encoders; empty if nothing.
        cautions: What else has to be known to read the numbers, a phrase each.
        pairs: The pairs of rows that were run.
        not_run: The pairs that were not.
        measures: One a score of `PRINTED_SCORES`; empty if no pair was run.
        seeds: Number of seeds.
        n: Number of utterances.
        groups: Number of groups.
        printed: What the paper's numbers say, over all pairs.
    """

    claim: Claim
    table: str
    verdict: Verdict
    why: str
    stand_ins: tuple[str, ...]
    cautions: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    not_run: tuple[tuple[str, str], ...]
    measures: tuple[Measure, ...]
    seeds: int
    n: int
    groups: int
    printed: Printed


def answer_claims(tables: Mapping[str, Mapping[str, Entry]], *, draws: int = DRAWS) -> list[Answer]:
    """Answer each claim in each table.

    Args:
        tables: Entries by row, by table, as `rows.read_entries` returns them.
        draws: Bootstrap draws.
    """
    asked = [ask(claim, table, entries) for claim in CLAIMS for table, entries in tables.items()]
    measured = [_measure(one, draws) for one in asked]
    told = [row for row, one in enumerate(asked) if not one.hindrance()]
    measures: list[list[Measure]] = [[] for _ in asked]
    for place in range(len(PRINTED_SCORES)):
        corrected = dict(zip(told, _corrected([measured[row][place] for row in told]), strict=True))
        for row, several in enumerate(measured):
            if several:
                measures[row].append(corrected.get(row) or _uncorrected(several[place]))
    return [_answer(one, several) for one, several in zip(asked, measures, strict=True)]


def printed_difference(claim: Claim, table: str) -> Printed:
    """Return what the paper's own numbers say of a claim in a table."""
    rows = [(ROWS[f"{table}.{one}"], ROWS[f"{table}.{two}"]) for one, two in claim.pairs]
    accuracy = tuple(round(two.accuracy - one.accuracy, 4) for one, two in rows)
    f1 = tuple(round(two.f1 - one.f1, 4) for one, two in rows)
    n = TEST_SIZES[table]
    variance = sum(
        weight**2 * ROWS[row].accuracy * (1 - ROWS[row].accuracy) / n
        for row, weight in row_weights([(one.id, two.id) for one, two in rows]).items()
    )
    error = math.sqrt(variance)
    return Printed(accuracy, f1, error, n, sum(accuracy) / len(accuracy) > 1.96 * error)


def _measure(asked: Asked, draws: int) -> list[Contrast]:
    """Return the measure in each of `PRINTED_SCORES`; nothing if no pair was run."""
    if not asked.pairs:
        return []
    weights = row_weights(asked.pairs)
    systems = [[group_tables(one) for one in asked.entries[row].answers] for row in weights]
    several = contrast(systems, list(weights.values()), margin=MARGIN, draws=draws)
    by_name = {one.name: one for one in several}
    return [by_name[name] for name in PRINTED_SCORES]


def _corrected(several: Sequence[Contrast]) -> list[Measure]:
    """Correct the p values of one score over all claims and tables, and read the verdicts.

    What cannot be told whatever the numbers are has been left out; all others have p values.
    """
    zero = holm([1.0 if one.p is None else one.p for one in several])
    within = holm([1.0 if one.p_within is None else one.p_within for one in several])
    return [
        Measure(one.name, one.value, one.low, one.high, one.p, p, q, _verdict(one.value, p, q))
        for one, p, q in zip(several, zero, within, strict=True)
    ]


def _uncorrected(one: Contrast) -> Measure:
    return Measure(one.name, one.value, one.low, one.high, one.p, None, None, "cannot be told")


def _verdict(value: float, p: float, p_within: float) -> Verdict:
    if p <= LEVEL:
        return "holds" if value > 0 else "does not hold"
    return "does not hold" if p_within <= LEVEL else "cannot be told"


def _answer(asked: Asked, measures: Sequence[Measure]) -> Answer:
    any_entry = next(iter(asked.entries.values()))
    why = asked.hindrance()
    return Answer(
        asked.claim,
        asked.table,
        measures[0].verdict if measures and not why else "cannot be told",
        why,
        tuple(dict.fromkeys(one for entry in asked.run for one in stand_ins(entry))),
        tuple(asked.cautions()),
        asked.pairs,
        asked.not_run,
        tuple(measures),
        len(any_entry.seeds),
        len(any_entry.answers[0].ids),
        len(set(any_entry.answers[0].groups)),
        printed_difference(asked.claim, asked.table),
    )


def as_dict(answer: Answer) -> dict[str, Any]:
    """Return an answer as JSON holds it."""
    return {
        "claim": answer.claim.name,
        "says": answer.claim.says,
        "table": answer.table,
        "verdict": answer.verdict,
        "why": answer.why,
        "stand_ins": list(answer.stand_ins),
        "cautions": list(answer.cautions),
        "pairs": [list(pair) for pair in answer.pairs],
        "not_run": [list(pair) for pair in answer.not_run],
        "measures": [asdict(one) for one in answer.measures],
        "seeds": answer.seeds,
        "n": answer.n,
        "groups": answer.groups,
        "margin": MARGIN,
        "printed": asdict(answer.printed) | {"mean_accuracy": answer.printed.mean},
    }
