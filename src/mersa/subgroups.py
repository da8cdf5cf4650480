"""Scores of parts of a test part: by speaker, gender, session, style and length.

Each subgroup has its counts, and an interval by whole groups where it holds enough of them. Below
`FEWEST_UTTERANCES` only the counts stand, since a single answer would move accuracy by more than a
tenth. Balanced accuracy leaves out a label that no one in a subgroup has, and macro F1 one that is
not answered either, so those of two subgroups may be over different labels. The intervals are each
by themselves: among twenty subgroups one lies beside its true score by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mersa.bootstrap import DRAWS
from mersa.errors import RunError
from mersa.evaluation import PRINTED_SCORES, Predictions, score, score_cell, score_title
from mersa.manifest import Utterance
from mersa.tables import aligned

UNKNOWN = "unknown"
LENGTH = "length"
SUBGROUP_COLUMNS = ("speaker", "gender", "session", "style", LENGTH)
FEWEST_UTTERANCES = 10
_TOO_FEW = f"fewer than {FEWEST_UTTERANCES} utterances"
LENGTHS = {"< 1 s": 1.0, "1-2 s": 2.0, "2-4 s": 4.0, "4-8 s": 8.0, ">= 8 s": float("inf")}
"""Names of the bins of length, each with its end in seconds, which belongs to the next bin."""


@dataclass(frozen=True)
class Subgroup:
    """The utterances with one value in one column.

    Attributes:
        column: Column of the manifest, or `length`.
        value: What stands there; `unknown` where nothing does.
        n: Number of utterances.
        groups: Number of groups.
        scores: Each of `PRINTED_SCORES`; None below `FEWEST_UTTERANCES`.
        ci95: For each score [low, high], or None with too few groups; None as `scores`.
    """

    column: str
    value: str
    n: int
    groups: int
    scores: Mapping[str, float] | None
    ci95: Mapping[str, Sequence[float] | None] | None


def by_subgroup(
    predictions: Predictions,
    utterances_by_id: Mapping[str, Utterance],
    columns: Sequence[str] = SUBGROUP_COLUMNS,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Subgroup]:
    """Score every subgroup, in order of the columns and then of the values, `unknown` last.

    A column in which none of the utterances has a value is left out.

    Args:
        predictions: Answers of one part.
        utterances_by_id: The manifest's rows; more than were answered do no harm.
        columns: Columns of the contract, extras, or `length`.
        draws: Bootstrap draws of each subgroup.
        seed: Of the draws.

    Raises:
        RunError: If an answered utterance is not among those given.
    """
    lacking = [id_ for id_ in predictions.ids if id_ not in utterances_by_id]
    if lacking:
        raise RunError(
            f"{len(lacking)} of {len(predictions.ids)} answered utterances are not in the "
            f"manifest, as {lacking[0]!r}; give the manifest that the run was evaluated on"
        )
    utterances = [utterances_by_id[id_] for id_ in predictions.ids]
    subgroups = []
    for column in columns:
        values = [_value(utterance, column) for utterance in utterances]
        known = sorted(set(values) - {UNKNOWN}, key=_place)
        unknown = [UNKNOWN] if UNKNOWN in values else []
        for value in known + unknown if known else []:
            rows = [row for row, one in enumerate(values) if one == value]
            scored = _scored(predictions.rows(rows), draws, seed)
            subgroups.append(Subgroup(column, value, len(rows), *scored))
    return subgroups


def to_text(subgroups: Sequence[Subgroup]) -> str:
    """Align subgroups for a terminal; those with too few utterances stand in one line a column."""
    header = ["", "utterances", "groups", *map(score_title, PRINTED_SCORES)]
    rows = [header]
    for column in dict.fromkeys(one.column for one in subgroups):
        here = [one for one in subgroups if one.column == column]
        small = [one for one in here if one.scores is None]
        for one in here:
            if one.scores is not None or len(small) == 1:
                rows.append([f"{column} {one.value}", str(one.n), str(one.groups), *_cells(one)])
        if len(small) > 1:
            title = f"{column}: {len(small)} values with {_TOO_FEW} each"
            rows.append([title, str(sum(one.n for one in small)), *[""] * (len(header) - 2)])
    return "\n".join(aligned(rows, right=(1, 2))) + "\n"


def as_dicts(subgroups: Sequence[Subgroup]) -> list[dict[str, Any]]:
    """Return subgroups as JSON holds them."""
    return [asdict(one) for one in subgroups]


def _scored(
    inside: Predictions, draws: int, seed: int
) -> tuple[int, Mapping[str, float] | None, Mapping[str, Sequence[float] | None] | None]:
    """Return the number of groups, the scores and their intervals."""
    num_groups = len(set(inside.groups))
    if len(inside.ids) < FEWEST_UTTERANCES:
        return num_groups, None, None
    scored = score(inside, draws=draws, seed=seed)
    return (
        num_groups,
        {name: scored[name] for name in PRINTED_SCORES},
        {name: scored["ci95"][name] for name in PRINTED_SCORES},
    )


def _value(utterance: Utterance, column: str) -> str:
    if column != LENGTH:
        return utterance.column(column) or UNKNOWN
    length_s = utterance.length_s
    if length_s is None:
        return UNKNOWN
    return next(name for name, end_s in LENGTHS.items() if length_s < end_s)


def _place(value: str) -> tuple[int, str]:
    return (list(LENGTHS).index(value) if value in LENGTHS else 0), value


def _cells(one: Subgroup) -> list[str]:
    if one.scores is None or one.ci95 is None:
        return [_TOO_FEW, *[""] * (len(PRINTED_SCORES) - 1)]
    scores = dict(one.scores) | {"ci95": one.ci95}
    return [score_cell(scores, name) for name in PRINTED_SCORES]
