"""Many recordings, one after the other: a bad one is told and the rest go on."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from mersa.audio import SAMPLE_RATE, Source, read_audio
from mersa.decoding import declared_s
from mersa.errors import AudioError, MersaError
from mersa.progress import Progress, Silent
from mersa.recognize.inputs import STANDARD_INPUT, Recording
from mersa.recognize.judging import OnSeconds
from mersa.recognize.prediction import Prediction
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.settings import Segmentation
from mersa.recognize.transcribe import Transcriber
from mersa.recognize.turns import read_turns
from mersa.recognize.words import find_words

_SHOWN_S = 120.0
"""Seconds of a recording whose progress is shown."""

_IN_MEMORY = 32 << 20  # bytes of standard input that are not put on disk


@dataclass(frozen=True)
class PredictOptions:
    """How recordings are to be judged.

    Attributes:
        segmentation: How each is cut.
        turns: A file of times to judge, in place of it.
        text: The words of the one recording.
        words: A file of words, or a folder that has them by the recordings' names.
        transcriber: Hears words where none are given.
        abstain: Share of errors that labels are withheld for, as of `Recognizer.predict`.
    """

    segmentation: Segmentation
    turns: Path | None = None
    text: str | None = None
    words: Path | None = None
    transcriber: Transcriber | None = None
    abstain: float | None = None


def predict_many(
    recognizer: Recognizer,
    recordings: Sequence[Recording],
    options: PredictOptions,
    *,
    progress: Progress | None = None,
) -> Iterator[tuple[Recording, Prediction | MersaError]]:
    """Judge recordings in order; a user's mistake comes in the answer's place."""
    progress = progress or Silent()
    advance = progress.task("judging recordings")
    for number, recording in enumerate(recordings, start=1):
        try:
            on_seconds = _seconds_of(recording, progress)
            yield recording, predict_one(recognizer, recording, options, on_seconds=on_seconds)
        except MersaError as error:
            yield recording, error
        advance(number, len(recordings))


def predict_one(
    recognizer: Recognizer,
    recording: Recording,
    options: PredictOptions,
    *,
    on_seconds: OnSeconds | None = None,
) -> Prediction:
    """Judge one recording.

    Raises:
        MersaError: As `Recognizer.predict`, or if its words or times cannot be read.
    """
    segmentation = options.segmentation
    if options.turns:
        stem = recording.path.stem if recording.path else ""
        turns = read_turns(options.turns, stem)
        channels = segmentation.channels or any(turn.channel is not None for turn in turns)
        segmentation = _with(segmentation, by="turns", turns=tuple(turns), channels=channels)
    text = options.text if options.text is not None else recording.text
    words = None
    if options.words and text is None:
        words = find_words(recording.path or Path(recording.name), options.words)
    with ExitStack() as stack:
        audio: Any = recording.path
        rate = None
        if recording.name == STANDARD_INPUT:
            audio = _standard_input(stack)
        elif audio is not None and (recording.start_s, recording.end_s) != (None, None):
            audio = read_audio(audio, start_s=recording.start_s, end_s=recording.end_s)
            rate = SAMPLE_RATE
        return recognizer.predict(
            cast(Source | None, audio),
            text,
            sampling_rate=rate,
            segmentation=segmentation,
            words=words,
            transcriber=options.transcriber,
            abstain=options.abstain,
            on_seconds=on_seconds,
        )


def _seconds_of(recording: Recording, progress: Progress) -> OnSeconds | None:
    """Show how far a recording of some length is, where it says how long it is."""
    total = declared_s(recording.path) if recording.path and recording.path.is_file() else None
    if not total or total < _SHOWN_S:
        return None
    advance = progress.task(f"seconds of {recording.name}")
    return lambda seconds: advance(min(round(seconds), round(total)), round(total))


def _with(segmentation: Segmentation, **changes: Any) -> Segmentation:
    return Segmentation.model_validate(segmentation.model_dump() | changes)


def _standard_input(stack: ExitStack) -> BinaryIO:
    """Return all of standard input as a file, on disk if it is long."""
    if sys.stdin is None:
        raise AudioError("standard input is closed, but - reads a recording from it; pipe one in")
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  the stack closes it
    file = stack.enter_context(spool)
    shutil.copyfileobj(sys.stdin.buffer, file)
    file.seek(0)
    if not file.read(1):
        raise AudioError("standard input is empty, but a recording was expected; pipe one in")
    file.seek(0)
    return cast(BinaryIO, file)
