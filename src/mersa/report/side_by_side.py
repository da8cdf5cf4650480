"""Runs beside each other, as one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mersa import runs
from mersa.bootstrap import FEWEST_GROUPS
from mersa.errors import RunError
from mersa.evaluation import PRINTED_SCORES, score_cell, score_title
from mersa.tables import aligned


def collect(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the test scores of runs, and put always answering the commonest label above them.

    Returns:
        One dictionary a line: `run`, `system`, `n`, `groups`, the four scores, and
        `ci95`, or `sd` and `ci95_seeds`.

    Raises:
        RunError: If a run has not been evaluated, or the runs have different labels or test parts.
    """
    lines: list[dict[str, Any]] = []
    first: Mapping[str, Any] = {}
    for folder in folders:
        runs.check_finished(folder)
        metrics = runs.read_metrics(folder)
        test = metrics["parts"].get("test")
        if test is None:
            raise RunError(
                f"{folder} has no test scores yet; read its test part with: mersa evaluate {folder}"
            )
        if not lines:
            first = metrics
            lines.append(
                {
                    "run": "",
                    "system": "always commonest",
                    "n": test["n"],
                    "groups": test["groups"],
                    **test["majority"],
                }
            )
        if metrics["labels"] != first["labels"] or _test_part(folder) != _test_part(folders[0]):
            other = "labels" if metrics["labels"] != first["labels"] else "test utterances"
            raise RunError(
                f"{folder} has other {other} than {folders[0]} ({test['n']} utterances, "
                f"{len(metrics['labels'])} labels; {lines[0]['n']}, {len(first['labels'])}); "
                "report runs of one label set and one test part together"
            )
        lines.append(
            {
                "run": str(folder),
                "system": metrics["system"],
                "seeds": len(metrics.get("seeds", [0])),
                "leak": metrics.get("leak", []),
                **{name: test[name] for name in ("n", "groups", *PRINTED_SCORES)},
                **{name: test[name] for name in ("ci95", "sd", "ci95_seeds") if name in test},
            }
        )
    return lines


def to_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Align the lines for a terminal, each score with its interval.

    Runs of one system are told apart by their folders.
    """
    systems = [line["system"] for line in lines]
    header = ["system", *map(score_title, PRINTED_SCORES)]
    rows = [header]
    for line in lines:
        alone = systems.count(line["system"]) == 1
        name = line["system"] if alone else f"{line['system']}: {Path(line['run']).name}"
        name += " LEAK" if line.get("leak") else ""
        rows.append([name, *(score_cell(line, column) for column in PRINTED_SCORES)])
    return "\n".join([*aligned(rows), note(lines)]) + "\n"


def _test_part(folder: Path) -> set[str]:
    """Return the ids that the members of a run were tested on."""
    return {
        id_
        for leaf in runs.members(folder)
        for id_, part in runs.read_parts(leaf).items()
        if part == "test"
    }


def note(lines: Sequence[Mapping[str, Any]]) -> str:
    """Say what the numbers are of, and what their brackets hold."""
    seeds = max(line.get("seeds", 1) for line in lines)
    if seeds > 1:
        spread = (
            f"mean of {seeds} seeds ± their standard deviation, brackets: 95 % t interval of the "
            "mean over seeds, which knows of no other utterances"
        )
    elif lines[0]["groups"] < FEWEST_GROUPS:
        spread = f"no intervals, since they need at least {FEWEST_GROUPS} groups"
    else:
        spread = "95 % intervals by bootstrap over groups"
    told = dict.fromkeys(one for line in lines for one in line.get("leak", ()))
    leak = "".join(f" LEAK: {sentence}; such scores mean nothing." for sentence in told)
    return (
        f"{lines[0]['n']} test utterances in {lines[0]['groups']} groups (dialogues, else "
        f"speakers, else utterances); {spread}.{leak}"
    )
