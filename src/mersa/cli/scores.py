"""How verbs print scores."""

from pathlib import Path
from typing import Any

import typer


def print_scores(folder: Path | str, metrics: dict[str, Any], part: str) -> None:
    """Print what was scored on one part, as `metrics.json` holds it."""
    from mersa.evaluation import PRINTED_SCORES, score_cell, score_title

    scores = metrics["parts"][part]
    groups = f"{scores['groups']} group{'' if scores['groups'] == 1 else 's'}"
    title = f"{folder}: {part}, {scores['n']} utterances in {groups}"
    if "[" in score_cell(scores, PRINTED_SCORES[0]):
        title += "; brackets hold 95 % intervals"
    typer.echo(title)
    for name in PRINTED_SCORES:
        commonest = scores["majority"][name]
        typer.echo(
            f"  {score_title(name):18} {score_cell(scores, name):30} "
            f"(always commonest: {commonest:.3f})"
        )
    line = f"  {score_title('ece'):18} {score_cell(scores, 'ece'):30}"
    if "ece_without_temperature" in scores:
        line += f" (without temperature: {score_cell(scores, 'ece_without_temperature')})"
    typer.echo(line.rstrip())
    if "mean_of_folds" in scores:
        means = (
            f"{score_title(name)} {score_cell(scores['mean_of_folds'], name)}"
            for name in PRINTED_SCORES
        )
        typer.echo(f"  mean of {scores['mean_of_folds']['runs']} folds: {', '.join(means)}")
    if "recall" in scores:
        recalls = (
            f"{label} {'-' if recall is None else f'{recall:.3f}'}"
            for label, recall in scores["recall"].items()
        )
        typer.echo(f"  recall: {', '.join(recalls)}")


def print_robustness(rows: list[dict[str, Any]]) -> None:
    """Print the scores of the conditions of `mersa.robustness`."""
    from mersa.card import WORD_ERROR
    from mersa.evaluation import PRINTED_SCORES, score_cell, score_title
    from mersa.tables import aligned

    table = [["test part with", *map(score_title, PRINTED_SCORES)]]
    table += [
        [row["condition"], *(score_cell(row, name) for name in PRINTED_SCORES)] for row in rows
    ]
    typer.echo("\n" + "\n".join(aligned(table)))
    typer.echo(WORD_ERROR)
