"""Pieces of a recording that are judged each by itself, cut out of a stream as it goes by."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.errors import AudioError
from mersa.recognize.activity import SpeechDetector, SpeechFinder
from mersa.recognize.settings import Segmentation, Turn
from mersa.recognize.stream import Stream

LONGEST_S = 300.0
"""Seconds of the longest piece that is judged as a whole."""

_SLACK_S = 0.1  # a turn may end so much after the recording, as its times are rounded


@dataclass(frozen=True)
class Piece:
    """A piece of a recording; times in seconds from the recording's start.

    Attributes:
        start_s: Where it begins.
        end_s: Where it ends.
        audio: Its sound, mono float32 at 16 kHz, (n,); None if the recording was not read.
        speaker: Who speaks, if turns say so.
        channel: Of the recording, where each channel is a speaker.
    """

    start_s: float
    end_s: float
    audio: FloatArray | None
    speaker: str | None = None
    channel: int | None = None


class Cutter(Protocol):
    """Takes one channel of a recording block by block and gives the pieces that are complete."""

    def push(self, samples: FloatArray) -> Iterator[Piece]:
        """Take the next samples, (n,)."""
        ...

    def finish(self) -> Iterator[Piece]:
        """End the recording and give the pieces that are left."""
        ...


def cut(stream: Stream, segmentation: Segmentation) -> Iterator[Piece]:
    """Cut a recording by speech, windows or turns; pieces come in the order in which they end.

    Raises:
        AudioError: If the recording cannot be read, or turns do not fit it.
    """
    if not segmentation.channels:
        cutter = _cutter(segmentation, None)
        for samples in stream.mono():
            yield from cutter.push(samples)
        yield from cutter.finish()
        return
    cutters: list[Cutter] = []
    for block in stream.channels():
        if not cutters:
            _check_channels(segmentation.turns, block.shape[1], stream.name)
            cutters = [_cutter(segmentation, channel) for channel in range(block.shape[1])]
        for cutter, samples in zip(cutters, block.T, strict=True):
            yield from cutter.push(np.ascontiguousarray(samples))
    for cutter in cutters:
        yield from cutter.finish()


def has_speech(waveform: FloatArray, segmentation: Segmentation) -> bool:
    """Tell whether voice activity finds anything in a recording."""
    cutter = SpeechCutter(segmentation)
    return any(True for _ in (*cutter.push(waveform), *cutter.finish()))


def _cutter(segmentation: Segmentation, channel: int | None) -> Cutter:
    if segmentation.by == "turns":
        turns = [turn for turn in segmentation.turns if turn.channel in (None, channel)]
        return TurnCutter(turns, channel)
    if segmentation.by == "windows":
        windows = segmentation.windows
        return WindowCutter(windows.length_s, windows.step_s, channel)
    return SpeechCutter(segmentation, channel)


class SpeechCutter:
    """Cuts out what voice activity finds."""

    def __init__(self, segmentation: Segmentation, channel: int | None = None) -> None:
        self._detector = SpeechDetector()
        self._finder = SpeechFinder(segmentation.speech, segmentation.longest_s)
        self._tape = _Tape()
        self._channel = channel

    def push(self, samples: FloatArray) -> Iterator[Piece]:
        """Take the next samples, (n,)."""
        self._tape.add(samples)
        for start, end in self._finder.push(*self._detector(samples)):
            yield self._tape.piece(start, end, None, self._channel)
        self._tape.forget(self._finder.needed_from)

    def finish(self) -> Iterator[Piece]:
        """End the recording and give the speech that goes on."""
        spans = [
            *self._finder.push(*self._detector.finish()),
            *self._finder.finish(self._tape.end),
        ]
        for start, end in spans:
            yield self._tape.piece(start, min(end, self._tape.end), None, self._channel)


class WindowCutter:
    """Cuts out overlapping windows; the last one ends with the recording, so no sound is left."""

    def __init__(self, length_s: float, step_s: float, channel: int | None = None) -> None:
        self._length, self._step = round(length_s * SAMPLE_RATE), round(step_s * SAMPLE_RATE)
        self._tape = _Tape()
        self._start = 0
        self._channel = channel

    def push(self, samples: FloatArray) -> Iterator[Piece]:
        """Take the next samples, (n,)."""
        self._tape.add(samples)
        while self._start + self._length <= self._tape.end:
            yield self._tape.piece(self._start, self._start + self._length, None, self._channel)
            self._start += self._step
            self._tape.forget(self._start)

    def finish(self) -> Iterator[Piece]:
        """End the recording and give what no window holds yet."""
        before = self._start - self._step + self._length if self._start else 0
        if before < self._tape.end:
            yield self._tape.piece(self._start, self._tape.end, None, self._channel)


class TurnCutter:
    """Cuts out given turns; they may overlap.

    Raises:
        AudioError: If a turn is empty or longer than is judged, or lies beyond the recording.
    """

    def __init__(self, turns: Sequence[Turn], channel: int | None = None) -> None:
        for turn in turns:
            _check_turn(turn)
        self._waiting = deque(sorted(turns, key=lambda turn: (turn.start_s, turn.end_s)))
        self._open: list[Turn] = []
        self._tape = _Tape()
        self._channel = channel

    def push(self, samples: FloatArray) -> Iterator[Piece]:
        """Take the next samples, (n,)."""
        self._tape.add(samples)
        while self._waiting and _sample(self._waiting[0].start_s) < self._tape.end:
            self._open.append(self._waiting.popleft())
        for turn in [one for one in self._open if _sample(one.end_s) <= self._tape.end]:
            self._open.remove(turn)
            yield self._piece(turn)
        starts = [_sample(turn.start_s) for turn in self._open]
        self._tape.forget(min(starts, default=self._tape.end))

    def finish(self) -> Iterator[Piece]:
        """End the recording and give the turns that end with it."""
        length_s = self._tape.end / SAMPLE_RATE
        for turn in (*self._open, *self._waiting):
            if turn.end_s > length_s + _SLACK_S or turn in self._waiting:
                raise AudioError(
                    f"the turn from {turn.start_s:g} to {turn.end_s:g} s does not lie in the "
                    f"recording, which is {length_s:.3f} s long; correct the times or give the "
                    "recording that they belong to"
                )
            yield self._piece(turn)

    def _piece(self, turn: Turn) -> Piece:
        end = min(_sample(turn.end_s), self._tape.end)
        channel = self._channel if turn.channel is None else turn.channel
        return self._tape.piece(_sample(turn.start_s), end, turn.speaker, channel)


class _Tape:
    """The latest samples of a stream, from the first that can still be asked for."""

    def __init__(self) -> None:
        self._samples = np.zeros(0, dtype=np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        """How many samples the stream has had."""
        return self._first + len(self._samples)

    def add(self, samples: FloatArray) -> None:
        self._samples = np.concatenate([self._samples, samples])

    def forget(self, before: int) -> None:
        """Drop the samples before this one."""
        before = min(before, self.end)
        if before > self._first:
            self._samples = self._samples[before - self._first :]
            self._first = before

    def piece(self, start: int, end: int, speaker: str | None, channel: int | None) -> Piece:
        samples = self._samples[start - self._first : end - self._first].copy()
        return Piece(start / SAMPLE_RATE, end / SAMPLE_RATE, samples, speaker, channel)


def _sample(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _check_turn(turn: Turn) -> None:
    span = f"the turn from {turn.start_s:g} to {turn.end_s:g} s"
    if _sample(turn.end_s) <= _sample(turn.start_s):
        raise AudioError(f"{span} is empty, but a turn ends after its start; correct the times")
    if turn.end_s - turn.start_s > LONGEST_S:
        raise AudioError(
            f"{span} is judged as a whole, and at most {LONGEST_S:.0f} s are taken; cut it into "
            "utterances"
        )


def _check_channels(turns: Sequence[Turn], count: int, name: str) -> None:
    for turn in turns:
        if turn.channel is not None and turn.channel >= count:
            raise AudioError(
                f"the turn from {turn.start_s:g} to {turn.end_s:g} s names channel {turn.channel}, "
                f"but {name} has {count} channels, counted from 0; correct it"
            )
