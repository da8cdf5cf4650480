"""An answer as the page shows it: words, table, picture, files."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mersa.demo.envelope import Envelope
from mersa.demo.timeline import draw_timeline
from mersa.recognize.formats import FORMATS, to_text
from mersa.recognize.prediction import Prediction, Segment
from mersa.report.pictures import as_data_uri

DOWNLOADS = ("jsonl", "csv", "srt", "vtt", "audacity")
"""Formats that the page offers, as `mersa predict --format` names them."""

_COLUMNS = ("from", "to", "emotion", "confidence", "who", "words")


def summary(prediction: Prediction) -> str:
    """Say the answer and what it rests on, as HTML."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in prediction.notes)
    notes = f"<ul>{notes}</ul>" if notes else ""
    if prediction.label is None:
        return f'<p class="told">No answer</p>{notes}'
    num = len(prediction.segments)
    read = {"text": "the words", "audio": "the sound"}
    heard = " and ".join(read[name] for name in prediction.modalities)
    cut = "as a whole" if prediction.segmentation == "whole" else f"in {num} segments"
    if num == 1 and prediction.segmentation != "whole":
        cut = "in one segment"
    return (
        f'<p class="told"><strong>{escape(prediction.label)}</strong> '
        f"with a confidence of {percent(prediction.confidence)}</p>"
        f"<p>Judged {cut}, from {heard}.</p>{notes}"
    )


def table(prediction: Prediction) -> str:
    """Show one row a segment, as HTML."""
    if not prediction.segments:
        return ""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(f"<tr>{_row(one)}</tr>" for one in prediction.segments)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="rows"><table>{inside}</table></div>'


def clock(seconds: float) -> str:
    """Say a time as minutes and seconds, `1:02.50`."""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest / 100:05.2f}"


def percent(share: float) -> str:
    """Say a share of 1, `78 %`."""
    return f"{share:.0%}".replace("%", "\N{NO-BREAK SPACE}%")


def timeline(prediction: Prediction, envelope: Envelope | None, labels: Sequence[str]) -> str:
    """Show every emotion over time as HTML, or say why not; without an outline those alone."""
    if not (prediction.segments and prediction.segments[-1].end_s):
        return "<p>No timeline: there is no sound that was judged.</p>"
    says = ", ".join(
        f"{clock(one.start_s)} to {clock(one.end_s)} {one.label}"
        for one in prediction.segments[:20]
    )
    says += ", and so on" if len(prediction.segments) > 20 else ""
    drawn = as_data_uri(draw_timeline(envelope, prediction.segments, labels))
    return figure(
        drawn,
        f"Emotions over time: {says}",
        "The stronger the shade, the more probable in this stretch; outlined: its emotion.",
    )


def write_files(
    prediction: Prediction, name: str, folder: Path, labels: Sequence[str]
) -> list[str]:
    """Write the answer in every format that the page offers, and return the paths.

    Args:
        prediction: The answer.
        name: What the answer calls the recording; its stem names the files.
        folder: Where to.
        labels: All emotions.
    """
    paths = []
    for form in DOWNLOADS:
        content = to_text([(name, prediction)], form, labels)
        path = folder / f"{Path(name).stem}{FORMATS[form].suffix}"
        path.write_text(content, encoding="utf-8")
        paths.append(str(path))
    return paths


def _row(segment: Segment) -> str:
    channel = "" if segment.channel is None else f"channel {segment.channel}"
    cells = (
        clock(segment.start_s),
        clock(segment.end_s),
        segment.label,
        percent(segment.confidence),
        segment.speaker or channel,
        segment.text,
    )
    return "".join(f"<td>{escape(cell)}</td>" for cell in cells)


def figure(source: str, says: str, below: str) -> str:
    """Show a picture as HTML.

    Args:
        source: Its address.
        says: What it shows, for who cannot see it.
        below: What stands under it; empty: nothing.
    """
    caption = f"<figcaption>{escape(below)}</figcaption>" if below else ""
    return (
        f'<figure><div class="wide"><img alt="{escape(says)}" src="{source}"></div>'
        f"{caption}</figure>"
    )
