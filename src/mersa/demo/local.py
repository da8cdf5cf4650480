"""A model in this process that answers for the page."""

import asyncio
from html import escape
from pathlib import Path
from typing import Any

from mersa.attention import attend, fused_part
from mersa.audio import FloatArray, read_audio
from mersa.demo.answer import figure, percent
from mersa.demo.envelope import Envelope, read_envelope
from mersa.demo.texts import ATTENTION
from mersa.recognize.judging import OnSeconds
from mersa.recognize.prediction import Prediction
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.scoring import RunScorer
from mersa.recognize.transcribe import Transcriber
from mersa.report.pictures import as_data_uri, draw_attention


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
        return await asyncio.to_thread(
            self._recognizer.predict,
            audio,
            transcriber=self._transcriber,
            on_seconds=on_seconds,
            **options,
        )

    def outline(self, audio: Path) -> Envelope:
        """Give the outline of a recording; see the protocol."""
        return read_envelope(audio, longest_s=self._longest_s)

    def attention(self, prediction: Prediction, audio: Path | None) -> str:
        """Show the attention over words; see the protocol."""
        is_short = prediction.segmentation == "whole" and "audio" in prediction.modalities
        waveform = read_audio(audio) if audio and is_short else None
        return show_attention(self._recognizer, prediction, waveform)


def show_attention(
    recognizer: Recognizer, prediction: Prediction, waveform: FloatArray | None
) -> str:
    """Show the attention over words as HTML, or say why there is none.

    Args:
        recognizer: What answered.
        prediction: Its answer.
        waveform: The recording, mono float32 at 16 kHz; None if there is no sound.
    """
    scorer = recognizer.scorer
    run = scorer.members[0] if isinstance(scorer, RunScorer) else None
    if run is None or fused_part(run.network) is None:
        return "<p>Not shown: this model has no attention over words and sound together.</p>"
    if prediction.segmentation != "whole" or not prediction.segments:
        return "<p>Not shown: the recording was not judged as a whole.</p>"
    if not prediction.segments[0].text:
        return "<p>Not shown: the words are not known.</p>"
    shares = attend(run, prediction.segments[0].text, waveform).as_dict()
    largest = max(shares["traced_words"]) or 1.0
    words = " ".join(
        f'<span style="--share:{share / largest:.3f}" title="{share:.3f}">{escape(word)}</span>'
        for word, share in zip(shares["words"], shares["traced_words"], strict=True)
    )
    num = len(scorer.members) if isinstance(scorer, RunScorer) else 1
    first = f" Of the first of {num} networks that answer together." if num > 1 else ""
    on_words, on_sound = sum(shares["traced_words"]), sum(shares["traced_sound"])
    picture = as_data_uri(draw_attention(shares, title="Attention over words and sound"))
    return (
        f'<p class="words">{words}</p><p>Share of the words {percent(on_words)}, of the sound '
        f"{percent(on_sound)}. {escape(ATTENTION)}{first}</p>"
        + figure(picture, "Attention over words and sound", "")
    )
