"""The verbs of the command line; each calls one function that Python can call too.

Only what the help needs is imported at the top: `mersa --help` starts without torch.
"""

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mersa import __version__
from mersa.errors import MersaError

app = typer.Typer(
    name="mersa",
    help="Emotion recognition from speech and its words.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but results and errors.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda[:n].")]
Cache = Annotated[
    Path | None, typer.Option(help="Folder of encoded frames; default: the user's cache folder.")
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="auto (the default: official parts, else by session, speaker or dialogue), official, "
        "leave-one-session-out, speaker, leave-one-speaker-out, dialogue, script-disjoint, "
        "improvised, paper, column:NAME or file:PATH."
    ),
]


_INTERRUPTED = 130  # typer's exit code after Ctrl-C


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        app(prog_name="mersa")
    except MersaError as error:
        sys.stderr.write(f"mersa {verb}: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in {errno.ENOSPC, errno.EIO, errno.EFBIG}:
            raise
        name = "the output" if error.filename is None else str(error.filename)
        name = name if len(name) <= 200 else f"{name[:200]}..."
        sys.stderr.write(f"mersa {verb}: {name} cannot be used ({error.strerror}); name another\n")
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            sys.stderr.write("\nstopped; the same command goes on from here\n")
        raise


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mersa {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    pass


@app.command()
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
                columns=_pairs(columns.split(",") if columns else [], "--columns"),
                mapping=_pairs([pair for one in mapping or [] for pair in one.split(",")], "--map"),
                root=recordings,
            ),
            out,
            copy=copy,
        )
    else:
        raise CorpusError(f"corpus {corpus!r} is not known; choose toy or table")
    counts = count_table(manifest)
    if as_json:
        _print_json(counts.as_dict())
    else:
        typer.echo(counts.text())
        typer.echo(_contents(manifest))
        typer.echo(f"written: {out / 'manifest.csv'}")


@app.command()
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

    with _progress(quiet) as progress:
        counts = encode_manifest(
            manifest,
            text=config.text if text else None,
            audio=config.audio if audio else None,
            cache=_cache(cache),
            device=device,
            progress=progress,
        )
    if as_json:
        _print_json(counts)
    else:
        for modality, (encoded, total) in counts.items():
            typer.echo(f"{modality}: {total} clips in the cache, {encoded} of them encoded now")


@app.command()
def rows(as_json: Json = False) -> None:
    """List the paper's 24 rows and what each one builds."""
    from dataclasses import asdict

    from mersa.paper import ROWS

    if as_json:
        _print_json([asdict(row) | {"settings": row.settings()} for row in ROWS.values()])
        return
    typer.echo("row    labels     system       audio encoder           text encoder   as printed")
    for row in ROWS.values():
        text = "aligned BERT" if row.aligned else "BERT"
        typer.echo(
            f"{row.id:6} {row.labels:10} {row.system:12} {row.audio:23} {text:14} {row.model}, "
            f"{row.method}: accuracy {row.accuracy}, F1 {row.f1}"
        )


@app.command()
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
    with _progress(quiet) as progress:
        metrics = run_training(
            manifest,
            resolved,
            folder,
            cache=_cache(cache),
            seeds=seeds,
            device=device,
            again=again,
            progress=progress,
        )
    _print_scores(folder, metrics, "validation", as_json)
    if metrics["state"] == "trained" and not as_json and not quiet:
        typer.echo(f"the test part has not been read; read it once with: mersa evaluate {folder}")


@app.command()
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

    with _progress(quiet) as progress:
        metrics = run_evaluation(
            run, cache=_cache(cache), manifest_path=manifest, device=device, progress=progress
        )
    _print_scores(run, metrics, "test", as_json)


@app.command()
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
        _print_json(lines)
    else:
        typer.echo(to_text(lines), nl=False)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, or an id on the Hugging Face Hub.")],
    path: Annotated[
        list[str] | None, typer.Argument(help="Recordings; - reads standard input.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="The words; goes with one recording, or with none.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="jsonl, csv, srt or audacity.")] = "jsonl",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Tell the emotions of recordings.

    Each recording is judged as a whole. A bad one is reported and the rest go on. A run of several
    folds or seeds answers by the mean of their probabilities.
    """
    from mersa.errors import ConfigError

    paths = path or []
    if text is not None and len(paths) > 1:
        raise ConfigError(f"--text goes with one recording, but {len(paths)} were given")
    if text is None and not paths:
        raise ConfigError("nothing to judge; name a recording, or give --text")

    from mersa.recognize.formats import FORMATS
    from mersa.recognize.recognizer import Recognizer

    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is not known; choose one of {', '.join(FORMATS)}")
    if form in ("srt", "audacity") and len(paths) != 1:
        raise ConfigError(
            f"format {form} is a file for one recording, but {len(paths)} were given; "
            "give one at a time, or choose jsonl or csv"
        )
    recognizer = Recognizer.from_pretrained(model, device=device)
    answers, failures = [], []
    for name in paths or [""]:
        try:
            source = _standard_input() if name == "-" else Path(name) if name else None
            prediction = recognizer.predict(source, text)
        except MersaError as error:
            sys.stderr.write(f"mersa predict: {_named(name, error)}\n")
            failures.append(name)
            continue
        if form == "jsonl":
            typer.echo(FORMATS[form]([(name, prediction)]), nl=False)
        else:
            answers.append((name, prediction))
    if answers:
        typer.echo(FORMATS[form](answers), nl=False)
    if failures:
        if len(paths) < 2:
            raise typer.Exit(2)
        sys.stderr.write(f"failed: {len(failures)} of {len(paths)}: {', '.join(failures)}\n")
        raise typer.Exit(1)
    if not quiet and text is None and "text" in recognizer.modalities:
        sys.stderr.write("no words were given, so the sound alone was judged; give --text\n")


@app.command()
def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder.")], quiet: Quiet = False
) -> None:
    """Copy the encoders into a run: it then works offline anywhere."""
    from mersa.experiment import bundle as bundle_run

    with _progress(quiet) as progress:
        bundle_run(run, progress=progress)


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


def _print_scores(folder: Path, metrics: dict[str, Any], part: str, as_json: bool) -> None:
    from mersa.evaluation import score_cell
    from mersa.report import COLUMNS

    if as_json:
        _print_json(metrics)
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


def _standard_input() -> bytes:
    from mersa.errors import AudioError

    if sys.stdin is None:
        raise AudioError("standard input is closed, but - reads a recording from it; pipe one in")
    return sys.stdin.buffer.read()


def _named(name: str, error: MersaError) -> str:
    """Put the recording's name before a message that does not hold it."""
    return str(error) if not name or name in str(error) else f"{name!r}: {error}"


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _progress(quiet: bool) -> Any:
    import logging
    from contextlib import nullcontext

    if not quiet:  # what the package logs, as that weights are being fetched
        logging.basicConfig(format="%(message)s")
        logging.getLogger("mersa").setLevel(logging.INFO)

    from mersa.progress import Bars, Silent

    return nullcontext(Silent()) if quiet else Bars()


def _cache(folder: Path | None) -> Any:
    from platformdirs import user_cache_path

    from mersa.encoders.cache import FeatureCache
    from mersa.errors import ConfigError

    place = folder or user_cache_path("mersa") / "features"
    if any(path.exists() and not path.is_dir() for path in (place, *place.parents)):
        raise ConfigError(
            f"{place} is or lies below a file, but the cache is a folder; choose another --cache"
        )
    return FeatureCache(place)


def _pairs(words: Sequence[str], option: str) -> dict[str, str]:
    from mersa.errors import ConfigError

    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise ConfigError(f"{option} {word!r} is not a pair; write it as name=value")
        pairs[name.strip()] = value.strip()
    return pairs


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = {**merged[name], **value}
        else:
            merged[name] = value
    return merged
