"""A report's content as tables of text cells, which every format then writes in its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mersa.bootstrap import FEWEST_GROUPS
from mersa.comparison import p_text, signed
from mersa.evaluation import PRINTED_SCORES, score_cell, score_title
from mersa.report.claims import MARGIN
from mersa.report.side_by_side import note as side_by_side_note

LEAK = "LEAK"
NOT_RUN = "not run"
STAND_INS = "with stand-ins"


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Attributes:
        name: What links and labels call it, as `table-iii`.
        title: What stands above it.
        header: Head of each column.
        rows: The cells, as many in each row.
        notes: Sentences beneath it.
        words: Numbers of the columns that hold words and may wrap; the others hold numbers.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: frozenset[int] = field(default=frozenset({0}))


def sheets(content: Mapping[str, Any]) -> list[Sheet]:
    """Return all tables of a report, in the order in which they stand."""
    told = [_beside(content["side_by_side"])] if content["side_by_side"] else []
    told += [_claims(content["claims"])] if content["claims"] else []
    told += [_measures(content["claims"])] if any(one["pairs"] for one in content["claims"]) else []
    told += [_corpus(one) for one in content["corpora"]]
    for table in content["tables"]:
        told += [_scores(table), _differences(table)]
    return told


def verdict_cell(answer: Mapping[str, Any]) -> str:
    """Write the answer to a claim, and what stands in the way of one or qualifies it."""
    if answer["why"]:
        return f"{answer['verdict']}: {answer['why']}"
    return f"{answer['verdict']}, {STAND_INS}" if answer["stand_ins"] else str(answer["verdict"])


def _beside(lines: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = [
        (
            line["system"] + (f" {LEAK}" if line.get("leak") else ""),
            line["run"],
            *(score_cell(line, name) for name in PRINTED_SCORES),
        )
        for line in lines
    ]
    return Sheet(
        "side-by-side",
        "Runs side by side",
        ("system", "run", *map(_title, PRINTED_SCORES)),
        tuple(rows),
        (side_by_side_note(lines),),
        frozenset({0, 1}),
    )


def _corpus(table: Mapping[str, Any]) -> Sheet:
    counts = table["counts"]
    words = list(table["printed"])
    columns = {"printed": table["printed"], **counts}
    rows = [(word, *(f"{held.get(word, 0):,}" for held in columns.values())) for word in words]
    sums = (f"{sum(held.get(word, 0) for word in words):,}" for held in columns.values())
    notes = [f"{note}." for note in table["notes"]]
    if not counts:
        notes = ["No run of this corpus is reported whose manifest is there, so none is counted."]
    elif table["counted"] != table["corpus"]:
        notes = [f"Counted is {table['counted']}, which is another corpus than {table['corpus']}."]
    return Sheet(
        table["table"].lower().replace(" ", "-"),
        f"The paper's {table['table']}: utterances of {table['corpus']} by emotion, as printed"
        + (f", beside {table['counted']}" if counts else ""),
        ("emotion", *columns),
        (*rows, ("sum", *sums)),
        tuple(notes),
    )


def _scores(table: Mapping[str, Any]) -> Sheet:
    header = ("row", "model", "method", "printed accuracy", "printed F1")
    blank = ("",) * len(PRINTED_SCORES)
    rows = [
        (
            *("", "always commonest", "", "", ""),
            *(f"{table['majority'][name]:.3f}" for name in PRINTED_SCORES),
        )
    ]
    for row in table["rows"]:
        first = (row["row"], row["model"], row["method"], *_printed(row))
        if not row["runs"]:
            rows.append((*first, NOT_RUN, *blank[1:]))
            continue
        mark = f" {LEAK}" if row["leak"] else ""
        cells = (_score(row, name) + mark for name in PRINTED_SCORES)
        rows.append((*first, *cells))
    seeds = table["seeds"]
    several = (
        f"Mean of {len(seeds)} seeds ({', '.join(map(str, seeds))}) ± their standard deviation; "
        "brackets: 95 % interval by bootstrap over groups and over training again."
        if len(seeds) > 1
        else f"One seed ({seeds[0]}); brackets: 95 % interval by bootstrap over groups, which "
        "knows nothing of training again."
    )
    if table["groups"] < FEWEST_GROUPS:
        several = f"No intervals, since they need at least {FEWEST_GROUPS} groups."
    notes = [
        f"Tested on {table['n']:,} utterances of {table['tested_on']} in {table['groups']:,} "
        "groups (dialogues, else speakers, else utterances), emotions "
        f"{', '.join(table['labels'])}, protocol {table['protocol']}.",
        several,
        *([f"Not run: {', '.join(table['not_run'])}."] if table["not_run"] else []),
        *(
            [f"{LEAK}: the aligned encoder saw utterances beyond the train part."]
            if any(row.get("leak") for row in table["rows"])
            else []
        ),
    ]
    return Sheet(
        f"table-{table['table'].lower()}",
        f"The paper's Table {table['table']}: printed and here",
        (*header, *map(_title, PRINTED_SCORES)),
        tuple(rows),
        tuple(notes),
        frozenset({0, 1, 2}),
    )


def _differences(table: Mapping[str, Any]) -> Sheet:
    rows = [
        (
            row["row"],
            *(_less(row["difference"][name]) for name in ("accuracy", "macro_f1", "weighted_f1")),
            ", ".join(map(str, row["seeds"])),
            row["protocol"],
            "; ".join(row["differs"]) or "nothing on record",
            ", ".join(f"{name}={value}" for name, value in row["other_settings"].items()),
        )
        for row in table["rows"]
        if row["runs"]
    ]
    return Sheet(
        f"table-{table['table'].lower()}-differences",
        f"The paper's Table {table['table']}: here less printed",
        (
            "row",
            "accuracy",
            "macro F1 less printed F1",
            "weighted F1 less printed F1",
            "seed",
            "protocol",
            "differs from the row in",
            "settings beyond the row's",
        ),
        tuple(rows),
        (
            "The paper does not say which F1 it prints, nor on how many utterances; its numbers "
            "are taken as exact, and intervals are those of the scores here.",
        ),
        frozenset({0, 4, 5, 6, 7}),
    )


def _claims(claims: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = []
    for one in claims:
        accuracy = one["measures"][0] if one["measures"] else None
        rows.append(
            (
                one["says"],
                one["table"],
                verdict_cell(one),
                signed(accuracy["value"], accuracy["low"], accuracy["high"]) if accuracy else "",
                p_text(accuracy["p_holm"]) if accuracy else "",
                _paper_says(one["printed"]),
                "; ".join([*([STAND_INS] if one["stand_ins"] else []), *one["cautions"]]),
            )
        )
    return Sheet(
        "claims",
        "The paper's claims",
        (
            "claim",
            "table",
            "answer",
            "difference in accuracy",
            "p (Holm)",
            "what the paper's own numbers say",
            "to be known",
        ),
        tuple(rows),
        (
            "A difference is the mean over the pairs of rows of the mean accuracy over seeds, with "
            "its 95 % interval by drawing whole groups and training again; p is corrected after "
            "Holm over all claims and tables that can be told.",
            f"It holds if the difference is above 0, it does not hold if it is below 0 or within "
            f"±{MARGIN:.2f} of 0, each at 5 % after correction; else it cannot be told.",
            "The paper has one run a row and does not say on how many utterances. Its standard "
            "error is that of the mean difference on a tenth of the utterances, if errors of two "
            "systems are unrelated; training again is not known.",
            *_stand_ins(claims),
        ),
        frozenset({0, 1, 2, 5, 6}),
    )


def _measures(claims: Sequence[Mapping[str, Any]]) -> Sheet:
    rows = [
        (
            one["says"],
            one["table"],
            _pairs(one["pairs"]),
            *(
                f"{signed(m['value'], m['low'], m['high'])}"
                + (f", {m['verdict']}" if not one["why"] else "")
                for m in one["measures"]
            ),
        )
        for one in claims
        if one["measures"]
    ]
    return Sheet(
        "claims-by-score",
        "The same by each score",
        ("claim", "table", "pairs of rows", *map(_title, PRINTED_SCORES)),
        tuple(rows),
        ("p values behind each word are corrected within their score.",),
        frozenset({0, 1, 2}),
    )


def _stand_ins(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for one in claims for name in one["stand_ins"])
    if not names:
        return []
    return [f"An answer {STAND_INS} is not of the paper's own systems, but of {', '.join(names)}."]


def _paper_says(printed: Mapping[str, Any]) -> str:
    steps = ", ".join(f"{step:+.3f}" for step in printed["accuracy"])
    f1 = ", ".join(f"{step:+.3f}" for step in printed["f1"])
    mean, error = printed["mean_accuracy"], printed["standard_error"]
    verdict = "above" if printed["beyond"] else "not above"
    return (
        f"accuracy {steps}, mean {mean:+.3f} ({verdict} 1.96 standard errors of {error:.3f} on "
        f"{printed['n']} utterances); F1 {f1}"
    )


def _title(name: str) -> str:
    return score_title(name).replace("f1", "F1")


def _score(row: Mapping[str, Any], name: str) -> str:
    value, bounds, deviation = row["scores"][name], row["ci95"][name], row["sd"][name]
    cell = f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"
    return cell if bounds is None else f"{cell} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _less(one: Mapping[str, Any]) -> str:
    return signed(one["value"], *(one["ci95"] or (None, None)))


def _printed(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{row['printed']['accuracy']:.3f}", f"{row['printed']['f1']:.3f}"


def _pairs(pairs: Sequence[Sequence[str]]) -> str:
    return ", ".join(f"{two} less {one}" for one, two in pairs)
