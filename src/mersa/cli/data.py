"""Verbs that make, check and encode data."""

from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import (
    Cache,
    Device,
    Devices,
    Json,
    Protocol,
    Quiet,
    feature_cache,
    mapping_of,
    pairs,
    print_json,
    progress_bars,
)


def prepare(
    corpus: Annotated[
        str,
        typer.Argument(
            help="iemocap, meld, ravdess, emodb, nemo or cremad, as published; toy, which comes "
            "with mersa; or table for any table of recordings."
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Argument(
            help="The folder of the corpus; or the table: CSV, TSV, JSON lines, Parquet or an "
            "audiofolder."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for manifest.csv.")] = Path("prepared"),
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--no-strict",
            help="Refuse a corpus that differs from its release, or warn; default: refuse for "
            "iemocap, warn for the others.",
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Fetch the corpus into its folder first, resumable (meld alone)."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Download without asking.")] = False,
    columns: Annotated[
        str,
        typer.Option(
            help="Columns of a table, as emotion=label,audio=file; likewise text, speaker, "
            "dialogue, session, part, id, start_s, end_s, duration_s, language."
        ),
    ] = "",
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="Own emotion names, as rage=anger,joy=happy.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option("--root", help="Folder that a table's audio paths start from.")
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the recordings instead of linking their folder.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a manifest of a corpus, and print what it holds."""
    from mersa.corpora.catalogue import prepare as run_prepare
    from mersa.corpora.place import contents, count_table
    from mersa.paper_tables import PRINTED, beside_table

    with progress_bars(quiet) as progress:
        manifest = run_prepare(
            corpus,
            root,
            out,
            strict=strict,
            download=download,
            confirm=None if yes else _confirm,
            columns=pairs(columns.split(",") if columns else [], "--columns"),
            mapping=mapping_of(mapping),
            recordings=recordings,
            copy=copy,
            progress=progress,
        )
    counts = count_table(manifest)
    beside = beside_table(corpus, counts.by_part()) if corpus in PRINTED else None
    if as_json:
        paper = {"paper": beside.as_dict()} if beside else {}
        print_json(counts.as_dict() | paper)
        return
    typer.echo(counts.text())
    typer.echo(contents(manifest))
    if beside:
        typer.echo(f"\n{beside.text()}\n")
    typer.echo(f"written: {out / 'manifest.csv'}")


def audit(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    protocol: Protocol = None,
    labels: Annotated[
        str, typer.Option(help="The label set that is cut, as iemocap-4; all: every emotion.")
    ] = "all",
    folds: Annotated[
        int | None, typer.Option(min=2, help="Of speaker, script-disjoint and improvised.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the cut, as data.seed.")] = 0,
    sound: Annotated[
        bool, typer.Option("--sound/--no-sound", help="Read the recordings too.")
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what train and test share, and what is wrong with the recordings.

    The exit code is 1 if a promise of the protocol is broken.
    """
    from mersa.audit.audit import audit as run_audit
    from mersa.emotions import label_set
    from mersa.manifest import read_manifest

    held = read_manifest(manifest)
    chosen = label_set(labels, [utterance.emotion for utterance in held])
    with progress_bars(quiet) as progress:
        found = run_audit(
            held,
            protocol or "auto",
            labels=chosen,
            seed=seed,
            num_folds=folds,
            sound=sound,
            progress=progress,
        )
    if as_json:
        print_json(found.as_dict())
    else:
        typer.echo(found.text())
    if found.broken:
        raise typer.Exit(1)


def encode(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    text: Annotated[str | None, typer.Option(help="Text encoder: a name or a folder.")] = None,
    audio: Annotated[str | None, typer.Option(help="Audio encoder: a name or a folder.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as audio.peak=0.5.")
    ] = None,
    device: Device = "auto",
    devices: Devices = None,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the frames of a manifest into the cache, once each."""
    from mersa.config import apply_assignments, make_config
    from mersa.errors import ConfigError

    assignments = list(settings or [])
    assignments += [f"text.name={text}"] if text else []
    assignments += [f"audio.name={audio}"] if audio else []
    if not (text or audio):
        raise ConfigError("nothing to encode with; give --text E, --audio E or both")
    config = make_config(apply_assignments({}, assignments))

    from mersa.encoding import encode_manifest

    with progress_bars(quiet) as progress:
        counts = encode_manifest(
            manifest,
            text=config.text if text else None,
            audio=config.audio if audio else None,
            cache=feature_cache(cache),
            device=device,
            devices=devices,
            progress=progress,
        )
    if as_json:
        print_json(counts)
    else:
        for modality, (encoded, total) in counts.items():
            typer.echo(f"{modality}: {total} clips in the cache, {encoded} of them encoded now")


def _confirm(question: str) -> bool:
    return typer.confirm(question, err=True)
