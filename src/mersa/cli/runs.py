"""Verbs that train, score and report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    Device,
    Json,
    Protocol,
    Quiet,
    feature_cache,
    print_json,
    progress_bars,
)


def rows(as_json: Json = False) -> None:
    """List the paper's 24 rows and what each one builds."""
    from dataclasses import asdict

    from mersa.paper import ROWS

    if as_json:
        print_json([asdict(row) | {"settings": row.settings()} for row in ROWS.values()])
        return
    typer.echo("row    labels     system       audio encoder           text encoder   as printed")
    for row in ROWS.values():
        text = "aligned BERT" if row.aligned else "BERT"
        typer.echo(
            f"{row.id:6} {row.labels:10} {row.system:12} {row.audio:23} {text:14} {row.model}, "
            f"{row.method}: accuracy {row.accuracy}, F1 {row.f1}"
        )


def train(
    manifest: Annotated[Path | None, typer.Argument(help="A manifest.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/ and a name.")
    ] = None,
    row: Annotated[str | None, typer.Option(help="A row of the paper, as III.6.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")] = None,
    protocol: Protocol = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as train.epochs=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of different seeds.")] = 1,
    device: Device = "auto",
    cache: Cache = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew in place of a run.")] = False,
    show: Annotated[
        bool, typer.Option("--show-settings", help="Print all settings, commented, and end.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a system; killed, the same command goes on."""
    from mersa.config import apply_assignments, make_config, read_config, to_toml
    from mersa.errors import ConfigError
    from mersa.paper import find_row

    nested: dict[str, Any] = find_row(row).settings() if row else {}
    if config:
        nested = _merged(nested, read_config(config))
    assignments = list(settings or [])
    assignments += [f"data.protocol={protocol}"] if protocol else []
    assignments += [f"train.seed={seed}"] if seed is not None else []
    resolved = make_config(apply_assignments(nested, assignments))
    if show:
        typer.echo("# D1, D2, ... are departures from the paper's lineage: see docs/paper.md.\n")
        typer.echo(to_toml(resolved, comments=True))
        return
    if manifest is None:
        raise ConfigError("no manifest was given; make one with: mersa prepare CORPUS --out DIR")

    from mersa.experiment import train as run_training

    name = row.upper() if row else resolved.network.system
    kind = resolved.data.protocol.partition(":")[0]
    folder = out or Path("runs") / "-".join(
        [name, resolved.data.labels] + ([kind] if kind != "auto" else [])
    )
    with progress_bars(quiet) as progress:
        metrics = run_training(
            manifest,
            resolved,
            folder,
            cache=feature_cache(cache),
            seeds=seeds,
            device=device,
            again=again,
            progress=progress,
        )
    _print_scores(folder, metrics, "validation", as_json)
    if metrics["state"] == "trained" and not as_json and not quiet:
        typer.echo(f"the test part has not been read; read it once with: mersa evaluate {folder}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    manifest: Annotated[
        Path | None, typer.Argument(help="Another corpus, or the run's at another place.")
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a run on its test part, or on another corpus.

    Accuracy is what the field calls WA; balanced accuracy is its UA (or UAR).
    """
    from mersa.experiment import evaluate as run_evaluation

    with progress_bars(quiet) as progress:
        metrics = run_evaluation(
            run,
            cache=feature_cache(cache),
            manifest_path=manifest,
            device=device,
            progress=progress,
        )
    _print_scores(run, metrics, "test", as_json)


def report(
    run: Annotated[list[Path], typer.Argument(help="Evaluated run folders.")],
    out: Annotated[Path | None, typer.Option(help="Folder for report.md and report.json.")] = None,
    as_json: Json = False,
) -> None:
    """Print the test scores of runs beside each other."""
    from mersa.report import collect, to_markdown, to_text
    from mersa.runs import write_json, write_text

    lines = collect(run)
    if out:
        write_text(out / "report.md", to_markdown(lines))
        write_json(out / "report.json", lines)
    if as_json:
        print_json(lines)
    else:
        typer.echo(to_text(lines), nl=False)


def _print_scores(folder: Path, metrics: dict[str, Any], part: str, as_json: bool) -> None:
    from mersa.evaluation import score_cell
    from mersa.report import COLUMNS

    if as_json:
        print_json(metrics)
        return
    scores = metrics["parts"][part]
    typer.echo(f"{folder}: {part}, {scores['n']} utterances in {scores['groups']} groups")
    for name in COLUMNS:
        commonest = scores["majority"][name]
        typer.echo(
            f"  {name.replace('_', ' '):18} {score_cell(scores, name):24} "
            f"(always commonest: {commonest:.3f})"
        )
    if "recall" in scores:
        recalls = (
            f"{label} {'-' if recall is None else f'{recall:.3f}'}"
            for label, recall in scores["recall"].items()
        )
        typer.echo(f"  recall: {', '.join(recalls)}")


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = {**merged[name], **value}
        else:
            merged[name] = value
    return merged
