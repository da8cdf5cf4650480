"""The page itself: what a person sends, presses and reads."""

import asyncio
import os
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from mersa.demo import answer
from mersa.demo.envelope import Envelope
from mersa.demo.judge import Judge
from mersa.demo.limits import PageLimits
from mersa.demo.texts import CAUTION, IN_SHORT, NOTHING_KEPT
from mersa.errors import ConfigError, MersaError
from mersa.recognize.prediction import Prediction
from mersa.recognize.settings import make_segmentation
from mersa.recognize.words import SUFFIXES
from mersa.serve.limits import MEGABYTE

CUTS = {
    "automatic: up to 20 s as a whole, else by speech": "auto",
    "as a whole (at most 5 minutes)": "whole",
    "by stretches of speech": "speech",
    "by windows of 6 s": "windows",
    "by the times of the words' file": "words",
}
"""What a person may choose, and its name in `mersa predict --segments`."""


def make_page(judge: Judge, *, card: str = "", limits: PageLimits | None = None) -> gr.Blocks:
    """Make the page of a model.

    Args:
        judge: What answers, as `LocalJudge(recognizer)`.
        card: The model's card, Markdown.
        limits: What the page takes.

    Returns:
        What `mersa.demo.open` opens on a port or puts into an application. It must be made within
        `uploads_removed` of that module, which says where sent files lie.
    """
    limits = limits or PageLimits()
    reads_words, reads_sound = "text" in judge.modalities, "audio" in judge.modalities
    page: gr.Blocks = gr.Blocks(
        title="mersa",
        analytics_enabled=False,
        delete_cache=(min(60, limits.kept_s), limits.kept_s),
    )
    with page:
        gr.HTML(_heading(judge))
        with gr.Tab("Recording"), gr.Row():
            with gr.Column(scale=2):
                audio = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Recording",
                    editable=False,
                    buttons=[],  # one of them would share the recording on another site
                    visible=reads_sound,
                    elem_id="recording",
                )
                text = gr.Textbox(
                    label="Its words, if you know them",
                    lines=3,
                    max_length=limits.text_chars,
                    placeholder="They may be left out."
                    if not judge.hears
                    else f"They may be left out; {judge.hears} then hears them.",
                    visible=reads_words,
                    elem_id="words",
                )
                with gr.Accordion("More", open=False):
                    words = gr.File(
                        label="A file of its words, in place of the text above",
                        file_types=list(SUFFIXES),
                        visible=reads_words,
                        height=110,
                        elem_id="words-file",
                    )
                    cut = gr.Radio(
                        list(CUTS), value=next(iter(CUTS)), label="Segments", elem_id="segments"
                    )
                    channels = gr.Checkbox(
                        label="Each channel is a speaker", visible=reads_sound, elem_id="channels"
                    )
                press = gr.Button("Recognise", variant="primary", elem_id="press")
            with gr.Column(scale=3):
                told = gr.HTML('<p class="quiet">The answer comes here.</p>', elem_id="told")
                gr.HTML(f'<p class="quiet">{escape(CAUTION)}</p>')
                with gr.Column(visible=False) as more:
                    scores = gr.Label(
                        label="Scores", show_label=True, show_heading=False, elem_id="scores"
                    )
                    timeline = gr.HTML(elem_id="timeline")
                    segments = gr.HTML(elem_id="segments-table")
                    with gr.Accordion("Attention over words", open=False):
                        attention = gr.HTML(elem_id="attention")
                    files = gr.File(
                        label="The answer as files",
                        file_count="multiple",
                        interactive=False,
                        elem_id="files",
                    )
        with gr.Tab("Model"):
            gr.Markdown(card or "This model has no card.", elem_id="card")
        with gr.Tab("Responsible use"):
            gr.Markdown(
                f"{IN_SHORT}\n{NOTHING_KEPT.format(minutes=round(limits.kept_s / 60))}",
                elem_id="responsible",
            )

        async def answered(
            audio: str | None,
            text: str,
            words: str | None,
            cut: str,
            channels: bool,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  how Gradio hands it over
        ) -> list[Any]:
            asked = _Asked(audio, text.strip() or None, words, CUTS.get(cut, cut), channels)
            try:
                return await _answer(judge, asked, limits, progress)
            except MersaError as error:
                raise gr.Error(
                    escape(_without_folders(str(error), audio, words)),
                    duration=None,
                    print_exception=False,
                ) from None

        press.click(
            answered,
            [audio, text, words, cut, channels],
            [told, more, scores, timeline, segments, attention, files],
            api_name="judge",
            api_visibility="private",
            concurrency_limit=judge.at_once,
        )
    page.queue(api_open=False, max_size=limits.waiting, default_concurrency_limit=1)
    return page


@dataclass(frozen=True)
class _Asked:
    """What a person sent."""

    audio: str | None
    text: str | None
    words: str | None
    by: str
    channels: bool


async def _answer(
    judge: Judge, asked: _Asked, limits: PageLimits, progress: gr.Progress
) -> list[Any]:
    """Return a value for each of the page's parts.

    Raises:
        MersaError: If what was sent cannot be judged.
    """
    _check(asked, limits)
    path = Path(asked.audio) if asked.audio else None
    outline = await asyncio.to_thread(judge.outline, path) if path else None
    prediction = await judge.predict(
        path,
        lambda seconds: progress(None, desc=f"{seconds:.0f} s are judged"),
        text=asked.text,
        words=Path(asked.words) if asked.words else None,
        segmentation=make_segmentation(asked.by, channels=asked.channels),
    )
    if prediction.label is None:
        gr.Warning("; ".join(map(escape, prediction.notes)), title="No answer")
    return await asyncio.to_thread(_parts, judge, prediction, path, outline)


def _check(asked: _Asked, limits: PageLimits) -> None:
    if not (asked.audio or asked.text or asked.words):
        raise ConfigError("nothing was sent; give a recording, or words")
    if asked.text and len(asked.text) > limits.text_chars:
        raise ConfigError(
            f"the words have {len(asked.text)} characters, but at most {limits.text_chars} are "
            "taken; shorten them"
        )
    if asked.words and Path(asked.words).stat().st_size > limits.words_mb * MEGABYTE:
        raise ConfigError(
            f"{asked.words} is larger than {limits.words_mb:g} MB, the most of a file of words; "
            "shorten it"
        )


def _parts(
    judge: Judge, prediction: Prediction, path: Path | None, outline: Envelope | None
) -> list[Any]:
    """Turn an answer into what the page shows."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
    return [
        answer.summary(prediction),
        gr.Column(visible=prediction.label is not None),
        prediction.scores or None,
        answer.timeline(prediction, outline, judge.labels),
        answer.table(prediction),
        judge.attention(prediction, path),
        answer.write_files(prediction, path.name if path else "words", folder, judge.labels),
    ]


def _without_folders(message: str, *paths: str | None) -> str:
    """Call sent files by their names, since their folders are Gradio's."""
    for path in paths:
        if path:
            message = message.replace(path, Path(path).name)
    return message


def _heading(judge: Judge) -> str:
    read = {"text": "words", "audio": "sound"}
    reads = " and ".join(read[name] for name in judge.modalities)
    return (
        "<h1>Emotion in a recording</h1>"
        f'<p class="quiet">This model tells {escape(", ".join(judge.labels))} from {reads}.</p>'
    )
