"""The verb that judges recordings."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mersa.cli.options import (
    CheckpointLabels,
    CheckpointMap,
    CheckpointWeight,
    Device,
    Json,
    Model,
    Quiet,
    mapping_of,
    print_json,
    progress_bars,
)
from mersa.errors import MersaError

if TYPE_CHECKING:
    from mersa.recognize.many import PredictOptions
    from mersa.recognize.recognizer import Recognizer
    from mersa.recognize.settings import Segmentation


def predict(
    model: Model,
    path: Annotated[
        list[str] | None,
        typer.Argument(
            help="Recordings, folders of them, patterns, manifests; - reads standard input."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="The words; goes with one recording, or with none.")
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            help="A file of words (.txt, .srt, .vtt, .json), or a folder that has one for each "
            "recording by its name."
        ),
    ] = None,
    transcribe: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Hear the words by this model of faster-whisper, as small."
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the words to hear, as en; default: heard.")
    ] = None,
    segments: Annotated[
        str,
        typer.Option(
            help="auto (a short recording whole, else by speech), whole, speech, windows, words "
            "(by the times of --words), or a file of times (.csv, .json, .rttm)."
        ),
    ] = "auto",
    channels: Annotated[
        bool, typer.Option("--channels", help="Each channel is a speaker of its own.")
    ] = False,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="How segments are found and smoothed, as speech.pad_s=0.2."),
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option(
            metavar="RISK",
            help="Say 'uncertain' below the confidence from which on at most this share of the "
            "answered validation utterances was wrong, as 0.2.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="jsonl, csv, srt, vtt, audacity or hf; default: by the end of --out, else jsonl.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for one file a recording; those that it has are left as they are. "
            "With an end as .csv: one file for all."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Judge anew what --out already holds.")
    ] = False,
    labels: CheckpointLabels = None,
    mapping: CheckpointMap = None,
    weight: CheckpointWeight = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell the emotions of recordings, short or long.

    A bad one is reported and the rest go on. A run of several folds or seeds answers by the mean of
    their probabilities.
    """
    from mersa.errors import ConfigError
    from mersa.recognize.inputs import Recording, find_recordings

    names = path or []
    if text is not None and words is not None:
        raise ConfigError("--text and --words are both given, but they are the same; give one")
    if not (names or text is not None or words is not None):
        raise ConfigError("nothing to judge; name a recording, or give --text")
    if language is not None and transcribe is None:
        raise ConfigError("--language goes with --transcribe, which is not given; leave it out")
    recordings = find_recordings(names) if names else [Recording("", None, Path("words"))]
    one_file = words is not None and not words.is_dir()
    for option, given in (("--text", text is not None), ("--words FILE", one_file)):
        if given and len(recordings) != 1:
            raise ConfigError(f"{option} goes with one recording, but {len(recordings)} were given")
    segmentation, turns = _segmentation(segments, assignments or [], channels)
    form = form or _format_of(out)
    _check_format(form, len(recordings) if names else 0, out)
    if as_json and out is None and form != "jsonl":
        raise ConfigError(f"--json and --format {form} both say what is printed; give one of them")
    read = [*map(Path, names), words, turns, *(one.path for one in recordings)]
    _check_file(out, [one for one in read if one is not None], again=again)

    from mersa.recognize.many import PredictOptions
    from mersa.recognize.recognizer import Recognizer
    from mersa.recognize.transcribe import FasterWhisper

    meant: dict[str, Any] = {
        "labels": labels,
        "mapping": mapping_of(mapping),
        "weight": weight,
    }
    recognizer = Recognizer.from_pretrained(model, device=device, **meant)
    if abstain is not None:
        recognizer.threshold(abstain)  # what does not go with the model is told once
    if not quiet:
        for line in recognizer.told():
            sys.stderr.write(f"{line}\n")
    transcriber = None
    if transcribe is not None:
        transcriber = FasterWhisper(transcribe, language=language, device=device)
    options = PredictOptions(segmentation, turns, text, words, transcriber, abstain)
    facts = {
        "model": str(Path(model).resolve()) if Path(model).exists() else model,
        "segments": str(turns) if turns else segmentation.model_dump(),
        "words": [text, words and str(words), transcribe, language],
    } | ({} if abstain is None else {"abstain": abstain})
    facts |= {name: value for name, value in meant.items() if value not in (None, {})}
    sink = _Sink(form, out, recognizer, facts, again=again, held=as_json)
    left = sink.left(recordings)
    if len(left) < len(recordings) and not quiet:
        done = len(recordings) - len(left)
        sys.stderr.write(f"{done} of {len(recordings)} were judged before; --again judges anew\n")
    failures = _judge(recognizer, left, options, sink, quiet)
    sink.finish()
    if as_json:
        answers = {"out": str(out)} if out else {"answers": sink.held}
        print_json(
            {
                "model": model,
                "labels": list(recognizer.labels.labels),
                "told": recognizer.told(),
                "judged": len(left) - len(failures),
                "judged_before": len(recordings) - len(left),
                "failed": failures,
                **answers,
            }
        )
    if failures and len(recordings) == 1:
        raise typer.Exit(2)
    if failures:
        listed = ", ".join(failures)
        sys.stderr.write(f"failed: {len(failures)} of {len(recordings)}: {listed}\n")
        raise typer.Exit(1)


def _judge(
    recognizer: "Recognizer",
    recordings: list[Any],
    options: "PredictOptions",
    sink: "_Sink",
    quiet: bool,
) -> list[str]:
    """Judge recordings and write each answer as it comes; return the names of those that failed."""
    from mersa.recognize.many import predict_many

    failures: list[str] = []
    notes: dict[str, list[str]] = {}
    with progress_bars(quiet) as progress:
        answers = predict_many(recognizer, recordings, options, progress=progress)
        for recording, answer in answers:
            if isinstance(answer, MersaError):
                told = f"mersa predict: {_named(recording.name, answer)}"
                if quiet:
                    sys.stderr.write(f"{told}\n")
                else:
                    progress.say(told)
                failures.append(recording.name)
            else:
                sink.write(recording, answer)
                for note in answer.notes:
                    notes.setdefault(note, []).append(recording.name)
    if not quiet:
        for note, names in notes.items():
            some = f"{len(names)} of {len(recordings)} recordings: " if len(recordings) > 1 else ""
            sys.stderr.write(f"{some}{note}\n")
    return failures


class _Sink:
    """Where answers go: standard output, one file for all, or a folder."""

    def __init__(
        self,
        form: str,
        out: Path | None,
        recognizer: "Recognizer",
        facts: dict[str, Any],
        *,
        again: bool,
        held: bool,
    ) -> None:
        from mersa.recognize.outputs import AnswerFolder

        self.held: list[dict[str, Any]] | None = [] if held and out is None else None

        self._form, self._out = form, out
        self._labels = recognizer.labels.labels
        self._texts: list[str] = []
        self._is_first = True
        self._folder = None
        if out is not None and not out.suffix:
            self._folder = AnswerFolder(out, form, facts, again=again)

    def left(self, recordings: list[Any]) -> list[Any]:
        return self._folder.left(recordings) if self._folder else recordings

    def write(self, recording: Any, answer: Any) -> None:
        from mersa.recognize.formats import to_text

        if self._folder:
            self._folder.write(recording, answer)
            return
        if self.held is not None:
            self.held.append({"audio": recording.name} | answer.as_dict())
            return
        answers = [(recording.name, answer)]
        content = to_text(answers, self._form, self._labels, header=self._is_first)
        self._is_first = False
        if self._out is None:
            typer.echo(content, nl=False)
        else:
            self._texts.append(content)

    def finish(self) -> None:
        """Put one file for all in its place, if that was asked for and there is any answer."""
        from mersa.files import write_text

        if self._out is not None and not self._folder and self._texts:
            write_text(self._out, "".join(self._texts))


def _segmentation(
    segments: str, assignments: list[str], channels: bool
) -> tuple["Segmentation", Path | None]:
    """Return the settings, and the file of times if `segments` names one."""
    from mersa.recognize.settings import KINDS, make_segmentation
    from mersa.recognize.turns import SUFFIXES

    is_file = segments not in KINDS and Path(segments).suffix.lower() in SUFFIXES
    by = "auto" if is_file else segments
    turns = Path(segments) if is_file else None
    return make_segmentation(by, assignments, channels=channels), turns


def _format_of(out: Path | None) -> str:
    """Return the format that the end of one file for all tells; JSON lines where it tells none."""
    from mersa.recognize.formats import FORMATS

    end = out.suffix.lower().removeprefix(".") if out else ""
    return end if end in FORMATS else "jsonl"


def _check_format(form: str, count: int, out: Path | None) -> None:
    from mersa.errors import ConfigError
    from mersa.recognize.formats import FORMATS

    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is not known; choose one of {', '.join(FORMATS)}")
    if not FORMATS[form].several and count != 1 and (out is None or out.suffix):
        raise ConfigError(
            f"format {form} is a file for one recording, but {count} were given; "
            "give one at a time, choose jsonl or csv, or name a folder with --out"
        )


def _check_file(out: Path | None, read: list[Path], *, again: bool) -> None:
    """See that one file for all replaces nothing that is read, and other files by --again alone."""
    from mersa.errors import ConfigError

    if out is None or not out.suffix or not out.is_file():
        return
    if any(one.exists() and out.samefile(one) for one in read):
        raise ConfigError(f"--out {out} is read here, so it cannot take the answers; name another")
    if not again:
        raise ConfigError(f"{out} is there already; name another --out, or replace it by --again")


def _named(name: str, error: MersaError) -> str:
    """Put the recording's name before a message that does not hold it."""
    return str(error) if not name or name in str(error) else f"{name!r}: {error}"
