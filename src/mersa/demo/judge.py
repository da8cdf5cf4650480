"""What answers for the page: a model in this process, or whatever else keeps the protocol."""

import asyncio
from pathlib import Path
from typing import Any, Protocol

from mersa.audio import read_audio
from mersa.demo import answer
from mersa.demo.envelope import read_envelope
from mersa.recognize.judging import OnSeconds
from mersa.recognize.prediction import Prediction
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.transcribe import Transcriber


class Judge(Protocol):
    """Tells the emotions of what a person sends."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that it tells apart."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        ...

    @property
    def hears(self) -> str:
        """The name of what hears words where none are given; empty if nothing does."""
        ...

    @property
    def at_once(self) -> int:
        """How many recordings it may be asked for at a time."""
        ...

    async def predict(
        self, audio: Path | None, on_seconds: OnSeconds, **options: Any
    ) -> Prediction:
        """Judge one recording.

        Args:
            audio: The recording; None if words alone were sent.
            on_seconds: Told how many seconds of it are judged, if that is known.
            options: `text`, `words` and `segmentation`, as `Recognizer.predict` takes them.

        Raises:
            MersaError: If it cannot be judged.
        """
        ...

    def attention(self, prediction: Prediction, audio: Path | None) -> str:
        """Show the attention over words as HTML, or say why there is none."""
        ...


class LocalJudge:
    """Judges in this process, one recording at a time.

    Args:
        recognizer: The model.
        transcriber: Hears the words where none are given.
        longest_s: Seconds of the longest recording that is taken.
    """

    at_once = 1

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        transcriber: Transcriber | None = None,
        longest_s: float = 3600.0,
    ) -> None:
        self._recognizer = recognizer
        self._transcriber = transcriber
        self._longest_s = longest_s
        self.labels = recognizer.labels.labels
        self.modalities = recognizer.modalities
        self.hears = transcriber.name if transcriber else ""

    async def predict(
        self, audio: Path | None, on_seconds: OnSeconds, **options: Any
    ) -> Prediction:
        """Judge one recording; see the protocol."""
        if audio is not None:
            await asyncio.to_thread(read_envelope, audio, longest_s=self._longest_s)
        return await asyncio.to_thread(
            self._recognizer.predict,
            audio,
            transcriber=self._transcriber,
            on_seconds=on_seconds,
            **options,
        )

    def attention(self, prediction: Prediction, audio: Path | None) -> str:
        """Show the attention over words; see the protocol."""
        is_short = prediction.segmentation == "whole" and "audio" in prediction.modalities
        waveform = read_audio(audio) if audio and is_short else None
        return answer.attention(self._recognizer, prediction, waveform)
