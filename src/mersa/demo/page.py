"""The page itself: what a person sends, presses and reads.

It asks nothing of any other machine: fonts are the system's, pictures come inside the page, and
Gradio's calls home, its share link, its page of an API and the browser's history of runs are off.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mersa.audio import read_audio
from mersa.demo import answer
from mersa.demo.envelope import read_envelope
from mersa.demo.look import STYLE
from mersa.demo.texts import CAUTION, IN_SHORT, NOTHING_KEPT
from mersa.errors import ConfigError, MersaError, MissingExtraError
from mersa.recognize.prediction import Prediction
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.settings import make_segmentation
from mersa.recognize.transcribe import Transcriber

try:
    import gradio as gr
except ImportError:
    raise MissingExtraError("demo", "the web page") from None

if TYPE_CHECKING:
    from fastapi import FastAPI

CUTS = {
    "automatic: up to 20 s as a whole, else by speech": "auto",
    "as a whole (at most 5 minutes)": "whole",
    "by stretches of speech": "speech",
    "by windows of 6 s": "windows",
    "by the times of the words' file": "words",
}
"""What a person may choose, and its name in `mersa predict --segments`."""

WORD_FILES = [".txt", ".srt", ".vtt", ".json"]


@dataclass(frozen=True)
class Limits:
    """What the page takes, and how long it keeps it.

    Attributes:
        longest_s: Seconds of a recording.
        largest_mb: Megabytes of a file.
        waiting: People whose recordings wait for their turn; one is judged at a time.
        kept_s: Seconds after which what was sent is removed.
    """

    longest_s: float = 3600.0
    largest_mb: int = 200
    waiting: int = 20
    kept_s: int = 900


def make_page(
    recognizer: Recognizer,
    *,
    card: str = "",
    transcriber: Transcriber | None = None,
    limits: Limits | None = None,
) -> gr.Blocks:
    """Make the page of a model.

    Args:
        recognizer: The model.
        card: Its model card, Markdown.
        transcriber: Hears the words where none are given; None: nobody does.
        limits: What the page takes.

    Returns:
        What `launch_page` opens, or `mount_page` puts into an application. It must be made within
        `uploads_removed`, which says where sent files lie.
    """
    limits = limits or Limits()
    reads_words, reads_sound = ("text" in recognizer.modalities, "audio" in recognizer.modalities)
    page: gr.Blocks = gr.Blocks(
        title="mersa",
        analytics_enabled=False,
        delete_cache=(min(60, limits.kept_s), limits.kept_s),
    )
    with page:
        gr.HTML(_heading(recognizer))
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
                    max_length=20_000,
                    placeholder="They may be left out."
                    if transcriber is None
                    else f"They may be left out; {transcriber.name} then hears them.",
                    visible=reads_words,
                    elem_id="words",
                )
                with gr.Accordion("More", open=False):
                    words = gr.File(
                        label="A file of its words, in place of the text above",
                        file_types=WORD_FILES,
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

        def judge(
            audio: str | None,
            text: str,
            words: str | None,
            cut: str,
            channels: bool,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  how Gradio hands it over
        ) -> list[Any]:
            asked = _Asked(audio, text.strip() or None, words, CUTS.get(cut, cut), channels)
            try:
                return _answer(recognizer, asked, transcriber, limits, progress)
            except MersaError as error:
                raise gr.Error(
                    escape(_without_folders(str(error), audio, words)),
                    duration=None,
                    print_exception=False,
                ) from None

        press.click(
            judge,
            [audio, text, words, cut, channels],
            [told, more, scores, timeline, segments, attention, files],
            api_name="judge",
            api_visibility="private",
            concurrency_limit=1,
            concurrency_id="judge",
        )
    page.queue(api_open=False, max_size=limits.waiting, default_concurrency_limit=1)
    return page


def launch_page(
    page: gr.Blocks, *, host: str, port: int, limits: Limits | None = None, block: bool = True
) -> str:
    """Open a page for this machine, or whoever reaches `host`, and return its address.

    Args:
        page: From `make_page`.
        host: Address to listen at.
        port: Of it.
        limits: What the page takes.
        block: Whether to wait until somebody stops it.

    Raises:
        ConfigError: If the address cannot be used.
    """
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            **_settings(limits or Limits()),
        )
    except OSError:
        raise ConfigError(
            f"{host}:{port} cannot be listened at, since it is taken or no address of this "
            "machine; choose another --port"
        ) from None
    if block:
        page.block_thread()
    return url


def mount_page(app: "FastAPI", page: gr.Blocks, path: str, limits: Limits | None = None) -> None:
    """Put a page into an application, below a path; whoever may reach it is the application's."""
    gr.mount_gradio_app(app, page, path, **_settings(limits or Limits()))


@contextmanager
def uploads_removed() -> Iterator[Path]:
    """Give a folder for what people send, and remove it at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="mersa-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio knows no other way
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


@dataclass(frozen=True)
class _Asked:
    """What a person sent."""

    audio: str | None
    text: str | None
    words: str | None
    by: str
    channels: bool


def _answer(
    recognizer: Recognizer,
    asked: _Asked,
    transcriber: Transcriber | None,
    limits: Limits,
    progress: gr.Progress,
) -> list[Any]:
    """Return a value for each of the page's parts.

    Raises:
        MersaError: If what was sent cannot be judged.
    """
    if not (asked.audio or asked.text or asked.words):
        raise ConfigError("nothing was sent; give a recording, or words")
    path = Path(asked.audio) if asked.audio else None
    labels = recognizer.labels.labels
    envelope = read_envelope(path, longest_s=limits.longest_s) if path else None
    total_s = envelope.seconds if envelope else 0.0
    prediction = recognizer.predict(
        path,
        asked.text,
        segmentation=make_segmentation(asked.by, channels=asked.channels),
        words=Path(asked.words) if asked.words else None,
        transcriber=transcriber,
        on_seconds=lambda seconds: _show(progress, seconds, total_s),
    )
    if prediction.label is None:
        gr.Warning("; ".join(map(escape, prediction.notes)), title="No answer")
    folder = Path(tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"]))
    name = path.name if path else "words"
    return [
        answer.summary(prediction),
        gr.Column(visible=prediction.label is not None),
        prediction.scores or None,
        answer.timeline(prediction, envelope, labels),
        answer.table(prediction),
        answer.attention(recognizer, prediction, _short_waveform(path, prediction)),
        answer.write_files(prediction, name, folder, labels),
    ]


def _short_waveform(path: Path | None, prediction: Prediction) -> Any:
    """Read a recording that was judged as a whole; None for others, which have no attention."""
    if path is None or prediction.segmentation != "whole" or "audio" not in prediction.modalities:
        return None
    return read_audio(path)


def _show(progress: gr.Progress, seconds: float, total_s: float) -> None:
    progress((min(round(seconds), round(total_s)), round(total_s)), desc="judging", unit="s")


def _without_folders(message: str, *paths: str | None) -> str:
    """Call sent files by their names, since their folders are Gradio's."""
    for path in paths:
        if path:
            message = message.replace(path, Path(path).name)
    return message


def _heading(recognizer: Recognizer) -> str:
    read = {"text": "words", "audio": "sound"}
    reads = " and ".join(read[name] for name in recognizer.modalities)
    return (
        "<h1>Emotion in a recording</h1>"
        f'<p class="quiet">This model tells {escape(", ".join(recognizer.labels.labels))} '
        f"from {reads}.</p>"
    )


def _settings(limits: Limits) -> dict[str, Any]:
    """Return what opening and mounting have in common."""
    return {
        "theme": gr.themes.Default(
            primary_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        "css": STYLE,
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "max_file_size": f"{limits.largest_mb}mb",
        "ssr_mode": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
    }
