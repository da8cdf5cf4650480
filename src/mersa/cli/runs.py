"""Verbs that train, compare and report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    ConfigFile,
    Device,
    Devices,
    Json,
    Protocol,
    Quiet,
    ShowSettings,
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
    config: ConfigFile = None,
    protocol: Protocol = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as train.epochs=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of different seeds.")] = 1,
    device: Device = "auto",
    devices: Devices = None,
    cache: Cache = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew in place of a run.")] = False,
    show: ShowSettings = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a system; killed, the same command goes on."""
    from mersa.config import apply_assignments, make_config, merged, read_config, to_toml
    from mersa.errors import ConfigError
    from mersa.paper import find_row

    nested: dict[str, Any] = find_row(row).settings() if row else {}
    if config:
        nested = merged(nested, read_config(config))
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

    from mersa.cli.scores import print_scores
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
            devices=devices,
            again=again,
            progress=progress,
        )
    if as_json:
        print_json(metrics)
        return
    print_scores(folder, metrics, "validation")
    if metrics["state"] == "trained" and not quiet:
        typer.echo(f"the test part has not been read; read it once with: mersa evaluate {folder}")


def compare(
    run: Annotated[
        list[Path], typer.Argument(help="Evaluated run folders; the first is compared.")
    ],
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 10_000,
    as_json: Json = False,
) -> None:
    """Tell which differences between runs hold.

    Every further run is compared with the first on the same test utterances: a paired bootstrap
    over whole groups for each score, McNemar's test, and over several seeds a paired t test.
    """
    from mersa.comparison import as_dict, compare_all, to_text
    from mersa.pooling import answers_on_test, title

    answers = {folder: answers_on_test(folder) for folder in run}
    comparisons = compare_all({title(one): given for one, given in answers.items()}, draws=draws)
    if as_json:
        print_json([as_dict(one) for one in comparisons])
    else:
        typer.echo(to_text(comparisons), nl=False)


def report(
    run: Annotated[list[Path], typer.Argument(help="Evaluated run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report as HTML, Markdown, LaTeX, CSV and JSON."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="What the report is called.")] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Utterances of each table shown with attention, at most.")
    ] = 8,
    as_json: Json = False,
) -> None:
    """Tell the test scores of runs: the paper's tables and claims, or runs beside each other.

    Runs that are all rows of the paper are told by table, beside what is printed, and the paper's
    claims are tested on them. Other runs stand beside each other.
    """
    from mersa.report import report as write_report
    from mersa.report.content import read_content
    from mersa.report.formats import to_text
    from mersa.report.sheets import sheets
    from mersa.report.side_by_side import to_text as beside_each_other

    content = (
        write_report(run, out, title=title, examples=examples)
        if out
        else read_content(run, title=title)[0]
    )
    if as_json:
        print_json(content)
    elif content["side_by_side"]:
        typer.echo(beside_each_other(content["side_by_side"]), nl=False)
    else:
        typer.echo(to_text(sheets(content)), nl=False)
