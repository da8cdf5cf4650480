"""From run folders to a report in every format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mersa.errors import RunError
from mersa.files import is_in_a_file, write_json, write_text
from mersa.report.content import read_content
from mersa.report.examples import read_examples
from mersa.report.formats import claims_csv, rows_csv, to_latex, to_markdown
from mersa.report.page import to_html
from mersa.report.sheets import sheets

EXAMPLES = 8
"""Utterances of each table whose attention is shown: right and wrong for four emotions."""


def report(
    folders: Sequence[Path],
    out: Path,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    examples: int = EXAMPLES,
    figures: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Write a report of evaluated runs: Markdown, LaTeX, CSV, JSON and one HTML page.

    Nothing is written before all of it has been made, and each file appears whole.

    Args:
        folders: Run folders; those of the paper's rows are grouped by table, whatever their order.
        out: Folder of the report; files of an earlier one are replaced.
        title: What the report is called.
        notes: Sentences that stand at its top.
        examples: At most so many utterances of each table are shown with attention.
        figures: Pictures (PNG) that the page shows before those of the rows, by what they say.

    Returns:
        What `report.json` holds.

    Raises:
        RunError: If there are no runs, one is unfinished, not evaluated or cannot be set beside the
            others, or no report can stand in `out`.
    """
    if not folders:
        raise RunError("no runs were given, but a report is of runs; name some")
    try:
        (title or "").encode()
    except UnicodeEncodeError:
        raise RunError("the title is no text of Unicode; give another --title") from None
    _check_out(out)
    content, tables = read_content(folders, title=title, notes=notes)
    content["examples"] = read_examples(tables, most=examples)
    told = sheets(content)
    files = {
        "report.md": to_markdown(content, told),
        "report.tex": to_latex(content, told),
        "report.html": to_html(content, told, tables, figures=figures),
    }
    if content["tables"]:
        files |= {"rows.csv": rows_csv(content), "claims.csv": claims_csv(content)}
    for name, text in files.items():
        write_text(out / name, text)
    write_json(out / "report.json", content)
    return content


def _check_out(out: Path) -> None:
    if is_in_a_file(out):
        raise RunError(
            f"{out} is or lies below a file, but a report is a folder; choose another --out"
        )
    if (out / "config.toml").exists() or (out / "metrics.json").exists():
        raise RunError(
            f"{out} is a run folder, which a report must not mix with; choose another --out"
        )
