"""Verbs that make, check and encode data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    Device,
    Json,
    Quiet,
    feature_cache,
    pairs,
    print_json,
    progress_bars,
)


def prepare(
    corpus: Annotated[str, typer.Argument(help="toy, or table for any table of recordings.")],
    root: Annotated[
        Path | None, typer.Argument(help="The table: CSV, JSON lines, Parquet or an audiofolder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for manifest.csv.")] = Path("prepared"),
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
) -> None:
    """Make a manifest of a corpus, and print what it holds."""
    from mersa.corpora import table, toy
    from mersa.corpora.place import count_table, place
    from mersa.errors import CorpusError

    if corpus == "toy":
        if root or columns or mapping or recordings:
            raise CorpusError("prepare toy takes --out alone; leave the other options out")
        manifest = place(toy.read(), out, copy=True)
    elif corpus == "table":
        if root is None:
            raise CorpusError("prepare table needs the table: mersa prepare table FILE --out DIR")
        manifest = place(
            table.read(
                root,
                columns=pairs(columns.split(",") if columns else [], "--columns"),
                mapping=pairs([pair for one in mapping or [] for pair in one.split(",")], "--map"),
                root=recordings,
            ),
            out,
            copy=copy,
        )
    else:
        raise CorpusError(f"corpus {corpus!r} is not known; choose toy or table")
    counts = count_table(manifest)
    if as_json:
        print_json(counts.as_dict())
    else:
        typer.echo(counts.text())
        typer.echo(_contents(manifest))
        typer.echo(f"written: {out / 'manifest.csv'}")


def encode(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    text: Annotated[str | None, typer.Option(help="Text encoder: a name or a folder.")] = None,
    audio: Annotated[str | None, typer.Option(help="Audio encoder: a name or a folder.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as audio.peak=0.5.")
    ] = None,
    device: Device = "auto",
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

    from mersa.experiment import encode_manifest

    with progress_bars(quiet) as progress:
        counts = encode_manifest(
            manifest,
            text=config.text if text else None,
            audio=config.audio if audio else None,
            cache=feature_cache(cache),
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(counts)
    else:
        for modality, (encoded, total) in counts.items():
            typer.echo(f"{modality}: {total} clips in the cache, {encoded} of them encoded now")


def _contents(manifest: Any) -> str:
    """Tell in one line what a manifest has besides emotions, so that a wrong column shows."""
    speakers = len({one.speaker for one in manifest} - {""})
    dialogues = len({one.dialogue for one in manifest} - {""})
    words = sum(bool(one.text.strip()) for one in manifest)
    sound = sum(bool(one.audio) for one in manifest)
    extras = sorted({name for one in manifest for name in one.extras})
    return (
        f"with words {words}, with sound {sound}, speakers {speakers}, dialogues {dialogues}; "
        f"other columns kept: {', '.join(extras) or 'none'}"
    )
