"""The verb that rebuilds the paper."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    Device,
    Devices,
    Json,
    Protocol,
    Quiet,
    feature_cache,
    pairs,
    print_json,
    progress_bars,
)


def reproduce(
    target: Annotated[
        list[str],
        typer.Argument(help="table1 to table5, figure2, figure3, a row (III.6), all."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for all that comes out.")] = Path("reproduced"),
    iemocap: Annotated[Path | None, typer.Option(help="Folder of IEMOCAP_full_release.")] = None,
    meld: Annotated[Path | None, typer.Option(help="Folder of MELD, clips included.")] = None,
    protocol: Protocol = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings of each row.")] = 1,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Rehearse on the synthetic corpus that comes with mersa, with small random "
            "encoders: every row in minutes, offline.",
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting for all rows, as train.epochs=3, align.epochs=1."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="Another encoder or folder, as bert=FOLDER; also vggish, wav2vec2."),
    ] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--no-strict", help="As of mersa prepare."),
    ] = None,
    device: Device = "auto",
    devices: Devices = None,
    cache: Cache = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the steps, and which are finished, and end.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild the paper's tables and figures; killed, the same command goes on.

    --protocol paper cuts as the paper says, at random over utterances; by default nobody who is
    tested was heard in training where the corpus allows it.
    """
    from mersa.reproduce.reproduce import make_request, preview
    from mersa.reproduce.reproduce import reproduce as run_reproduction

    folders = {"iemocap": iemocap, "meld": meld}
    request = make_request(
        target,
        folders={name: folder for name, folder in folders.items() if folder},
        protocol=protocol or "auto",
        seeds=seeds,
        quick=quick,
        settings=settings or [],
        encoders=pairs(encoder or [], "--encoder"),
        strict=strict,
    )
    with progress_bars(quiet) as progress:
        # Which batches held what, for each encoder anew, would hide what is running.
        logging.getLogger("mersa.encoders.cache").setLevel(logging.WARNING)
        if dry_run:
            found = preview(request, out, progress=progress)
        else:
            found = run_reproduction(
                request,
                out,
                cache=feature_cache(cache),
                device=device,
                devices=devices,
                progress=progress,
            )
    if as_json:
        print_json(found)
    elif dry_run:
        _print_plan(found)
    else:
        _print_summary(found)


def _print_plan(found: dict[str, Any]) -> None:
    from mersa.reproduce.ledger import Estimate

    for step in found["steps"]:
        typer.echo(f"{'finished' if step['finished'] else 'to do':8}  {step['name']}")
    for target, why in found["not_run"].items():
        typer.echo(f"not run   {target}, {why}")
    num = sum(not step["finished"] for step in found["steps"])
    if num:
        left = Estimate(**found["left"]).text()
        typer.echo(f"{num} steps to do, {left}; --json tells the command of each")
    else:
        typer.echo("all steps are finished")


def _print_summary(found: dict[str, Any]) -> None:
    from mersa.paper import ROWS
    from mersa.reproduce.ledger import duration
    from mersa.tables import aligned

    head = (
        "row",
        "model",
        "method",
        "accuracy",
        "printed",
        "weighted F1",
        "macro F1",
        "printed F1",
    )
    lines = [head]
    for name, scores in found["rows"].items():
        row = ROWS[name]
        numbers = (
            scores["accuracy"],
            row.accuracy,
            scores["weighted_f1"],
            scores["macro_f1"],
            row.f1,
        )
        lines.append((name, row.model, row.method, *(f"{one:.3f}" for one in numbers)))
    if found["rows"]:
        typer.echo("\n".join(aligned(lines, right=range(3, 8))))
    for target, why in found["not_run"].items():
        typer.echo(f"not run: {target}, {why}")
    if found["quick"]:
        typer.echo(
            "a rehearsal on a synthetic corpus with random encoders: it shows that rows run, and "
            "nothing beside the printed numbers is evidence"
        )
    typer.echo(
        f"{len(found['ran'])} steps in {duration(found['seconds'])} "
        f"({duration(found['cpu_seconds'])} of processor time), {len(found['finished'])} finished "
        f"before"
    )
    pages = ", ".join(str(Path(found["out"]) / name) for name in found["report"])
    typer.echo(f"written: {pages}")
