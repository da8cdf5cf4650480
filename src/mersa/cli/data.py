"""Verbs that make, check and encode data."""

import difflib
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
            help="The folder of the corpus; or the table: CSV, JSON lines, Parquet or an "
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
    from mersa.corpora import cremad, emodb, iemocap, meld, nemo, ravdess, table, toy
    from mersa.corpora.place import count_table, place
    from mersa.errors import CorpusError

    published = {
        "iemocap": iemocap.read,
        "meld": meld.read,
        "ravdess": ravdess.read,
        "emodb": emodb.read,
        "nemo": nemo.read,
        "cremad": cremad.read,
    }
    if corpus not in (*published, "toy", "table"):
        near = difflib.get_close_matches(corpus.lower().replace("-", ""), published, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise CorpusError(
            f"corpus {corpus!r} is not known{hint}; choose one of {', '.join(published)}, toy, or "
            "table for any table"
        )
    if corpus != "table" and (columns or mapping or recordings):
        raise CorpusError(
            f"--columns, --map and --root go with prepare table alone; {corpus} needs none"
        )
    if corpus not in published and strict is not None:
        raise CorpusError(f"prepare {corpus} has no release to differ from; leave --strict out")
    if download and corpus != "meld":
        raise CorpusError(
            f"--download fetches meld alone; get {corpus} from its publisher and name its folder"
        )
    if corpus == "toy":
        if root:
            raise CorpusError("prepare toy takes --out alone; leave the folder out")
        manifest = place(toy.read(), out, copy=True)
    elif root is None:
        named = "FILE" if corpus == "table" else "FOLDER"
        what = "the table" if corpus == "table" else "the folder of the corpus"
        raise CorpusError(
            f"prepare {corpus} needs {what}: mersa prepare {corpus} {named} --out DIR"
        )
    elif corpus == "table":
        found = table.read(
            root,
            columns=pairs(columns.split(",") if columns else [], "--columns"),
            mapping=pairs([pair for one in mapping or [] for pair in one.split(",")], "--map"),
            root=recordings,
        )
        manifest = place(found, out, copy=copy)
    else:
        with progress_bars(quiet) as progress:
            options: dict[str, Any] = {} if strict is None else {"strict": strict}
            if corpus == "meld":
                options["progress"] = progress
            if download:
                meld.download(root, progress=progress, confirm=None if yes else _confirm)
            manifest = place(published[corpus](root, **options), out, copy=copy)
    counts = count_table(manifest)
    beside = _paper_table(corpus, counts)
    if as_json:
        paper = {"paper": beside.as_dict()} if beside else {}
        print_json(counts.as_dict() | paper)
        return
    typer.echo(counts.text())
    typer.echo(_contents(manifest))
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
        int | None, typer.Option(min=2, help="Of speaker and script-disjoint.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the cut, as data.seed.")] = 0,
    sound: Annotated[
        bool, typer.Option("--sound/--no-sound", help="Read the recordings too.")
    ] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what train and test share, and what is wrong with the recordings.

    The exit code is 1 where the protocol promises otherwise.
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
            folds=folds,
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


def _confirm(question: str) -> bool:
    return typer.confirm(question, err=True)


def _paper_table(corpus: str, counts: Any) -> Any:
    """Return the paper's table of this corpus beside its counts, or None if it has none."""
    if corpus not in ("iemocap", "meld"):
        return None
    from mersa.paper import beside_table

    return beside_table(
        corpus,
        {row.part: dict(zip(counts.emotions, row.counts, strict=True)) for row in counts.rows},
    )


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
