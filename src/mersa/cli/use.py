"""Verbs that use a trained run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import Device, Quiet, progress_bars
from mersa.errors import MersaError


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


def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder.")], quiet: Quiet = False
) -> None:
    """Copy the encoders into a run: it then works offline anywhere."""
    from mersa.experiment import bundle as bundle_run

    with progress_bars(quiet) as progress:
        bundle_run(run, progress=progress)


def _standard_input() -> bytes:
    from mersa.errors import AudioError

    if sys.stdin is None:
        raise AudioError("standard input is closed, but - reads a recording from it; pipe one in")
    return sys.stdin.buffer.read()


def _named(name: str, error: MersaError) -> str:
    """Put the recording's name before a message that does not hold it."""
    return str(error) if not name or name in str(error) else f"{name!r}: {error}"
