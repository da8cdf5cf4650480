"""A report as plain text, Markdown, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mersa.evaluation import PRINTED_SCORES
from mersa.report.sheets import Sheet
from mersa.tables import aligned

_SHORT = 14  # characters of a column of words that need not wrap
_PROSE = 120  # characters of a cell from which rows are many lines high
_ROWS, _ROWS_OF_PROSE = 9, 4  # that fit a page
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_text(sheets: Sequence[Sheet]) -> str:
    """Align tables for a terminal."""
    parts = [
        "\n".join([sheet.title, *aligned([sheet.header, *sheet.rows]), *sheet.notes])
        for sheet in sheets
    ]
    return "\n\n".join(parts) + "\n"


def to_markdown(content: Mapping[str, Any], sheets: Sequence[Sheet]) -> str:
    """Write a report as Markdown."""
    lines = [f"# {content['title']}", ""]
    for note in content["notes"]:
        lines += [note, ""]
    for sheet in sheets:
        lines += [f"## {sheet.title}", ""]
        for row in (sheet.header, ("---",) * len(sheet.header), *sheet.rows):
            cells = (cell.replace("|", r"\|") for cell in row)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        for note in sheet.notes:
            lines += [note, ""]
    return "\n".join(lines).rstrip() + "\n"


def rows_csv(content: Mapping[str, Any]) -> str:
    """Write one line a row of the paper, run or not, numbers unrounded."""
    columns = ["table", "row", "model", "method", "printed_accuracy", "printed_f1", "run"]
    for name in PRINTED_SCORES:
        columns += [name, f"{name}_low", f"{name}_high", f"{name}_sd"]
    for name in ("accuracy", "macro_f1", "weighted_f1"):
        columns += [f"{name}_less_printed"]
    columns += ["n", "groups", "seeds", "protocol", "corpus", "labels", "leak", "differs"]
    lines = []
    for table in content["tables"]:
        for row in table["rows"]:
            line: dict[str, object] = {
                "table": table["table"],
                "row": row["row"],
                "model": row["model"],
                "method": row["method"],
                "printed_accuracy": row["printed"]["accuracy"],
                "printed_f1": row["printed"]["f1"],
            }
            lines.append(line | (_ours(table, row) if row["runs"] else {}))
    return _csv(columns, lines)


def claims_csv(content: Mapping[str, Any]) -> str:
    """Write one line for each claim, table and score, numbers unrounded."""
    columns = ["claim", "table", "answer", "why", "score", "pairs", "difference", "low", "high"]
    columns += ["p", "p_holm", "p_within", "answer_of_score", "seeds", "n", "groups", "margin"]
    columns += ["printed_difference", "printed_standard_error", "cautions"]
    lines = [
        {
            "claim": one["claim"],
            "table": one["table"],
            "answer": one["verdict"],
            "why": one["why"],
            "pairs": " ".join(f"{second}-{first}" for first, second in one["pairs"]),
            **{name: one[name] for name in ("seeds", "n", "groups", "margin")},
            "printed_difference": one["printed"]["mean_accuracy"],
            "printed_standard_error": one["printed"]["standard_error"],
            "cautions": "; ".join(one["cautions"]),
            "score": measure.get("name", ""),
            "difference": measure.get("value"),
            **{name: measure.get(name) for name in ("low", "high", "p", "p_holm", "p_within")},
            "answer_of_score": measure.get("verdict", ""),
        }
        for one in content["claims"]
        for measure in one["measures"] or [{}]
    ]
    return _csv(columns, lines)


def to_latex(content: Mapping[str, Any], sheets: Sequence[Sheet]) -> str:
    r"""Write every table for `\input` into a paper; booktabs, tabularx and pdflscape are needed."""
    lines = [
        f"% {content['title']}; made by mersa {content['mersa']}".replace("\n", " "),
        r"% \usepackage{booktabs,tabularx,pdflscape}",
    ]
    for sheet in sheets:
        for part in _parted(sheet):
            lines += ["", *_latex_table(part)]
    return "\n".join(lines) + "\n"


def latex_escape(text: str) -> str:
    """Return text as LaTeX prints it as it stands."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r'"([^"]*)"', r"``\1''", escaped)


def _parted(sheet: Sheet) -> list[Sheet]:
    """Part a sheet into such as fit a page, the notes beneath the last."""
    longest = max(len(cell) for row in sheet.rows for cell in row)
    most = _ROWS_OF_PROSE if longest > _PROSE else _ROWS
    starts = range(0, len(sheet.rows), most)
    return [
        replace(
            sheet,
            name=f"{sheet.name}-{number}" if number > 1 else sheet.name,
            title=f"{sheet.title} (continued)" if number > 1 else sheet.title,
            rows=sheet.rows[start : start + most],
            notes=sheet.notes if number == len(starts) else (),
        )
        for number, start in enumerate(starts, start=1)
    ]


def _latex_table(sheet: Sheet) -> list[str]:
    wide = len(sheet.header) > 6
    long = {
        place
        for place in sheet.words
        if max(len(row[place]) for row in (sheet.header, *sheet.rows)) > _SHORT
    }
    columns = range(len(sheet.header))
    kinds = "".join(r">{\raggedright\arraybackslash}X" if i in long else "l" for i in columns)
    heads = [name if i in long else _stacked(name.split()) for i, name in enumerate(sheet.header)]
    rows = [
        " & ".join(
            latex_escape(cell) if place in sheet.words else _stacked(_at_bracket(cell))
            for place, cell in enumerate(row)
        )
        for row in sheet.rows
    ]
    begin, end = (r"{tabularx}{\linewidth}", "{tabularx}") if long else ("{tabular}",) * 2
    return [
        *([r"\begin{landscape}"] if wide else []),
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{latex_escape(sheet.title)}.}}",
        rf"\label{{tab:mersa-{sheet.name}}}",
        rf"\begin{begin}{{{kinds}}}",
        r"\toprule",
        rf"{' & '.join(heads)} \\",
        r"\midrule",
        *(rf"{row} \\" for row in rows),
        r"\bottomrule",
        rf"\end{end}",
        *(rf"\par\smallskip\raggedright {latex_escape(note)}" for note in sheet.notes),
        r"\end{table}",
        *([r"\end{landscape}"] if wide else []),
    ]


def _at_bracket(cell: str) -> list[str]:
    """Part a score from its interval, so that the interval can stand beneath it."""
    value, bracket, rest = cell.partition(" [")
    bounds, comma, verdict = rest.partition("], ")
    return [
        value,
        *([f"[{bounds}{comma.rstrip()}"] if bracket else []),
        *([verdict] if comma else []),
    ]


def _stacked(lines: Sequence[str]) -> str:
    """Set lines one above the other in a cell."""
    told = [latex_escape(line) for line in lines]
    if len(told) < 2:
        return "".join(told)
    # A bracket after a line break would be read as the break's own argument.
    body = r" \\{} ".join(told)
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{body}\end{{tabular}}"


def _ours(table: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, object]:
    line: dict[str, object] = {
        "run": " ".join(row["runs"]),
        "n": row["n"],
        "groups": row["groups"],
        "seeds": " ".join(map(str, row["seeds"])),
        "protocol": row["protocol"],
        "corpus": table["tested_on"],
        "labels": " ".join(table["labels"]),
        "leak": bool(row["leak"]),
        "differs": "; ".join(row["differs"]),
    }
    for name in PRINTED_SCORES:
        low, high = row["ci95"][name] or (None, None)
        line |= {name: row["scores"][name], f"{name}_low": low, f"{name}_high": high}
        line[f"{name}_sd"] = row["sd"][name]
    for name, one in row["difference"].items():
        line[f"{name}_less_printed"] = one["value"]
    return line


def _csv(columns: Sequence[str], lines: Sequence[Mapping[str, object]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()
