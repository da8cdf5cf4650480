"""Answers as text: JSON lines, CSV, subtitles, Audacity labels."""

import csv
import io
import json
from collections.abc import Callable, Sequence

from mersa.recognize.prediction import Prediction

Answer = tuple[str, Prediction]
"""The name of a recording and its answer."""


def to_jsonl(answers: Sequence[Answer]) -> str:
    """One JSON object a recording."""
    return "".join(
        json.dumps({"audio": name} | prediction.as_dict(), ensure_ascii=False) + "\n"
        for name, prediction in answers
    )


def to_csv(answers: Sequence[Answer]) -> str:
    """One row a segment, with a column for each emotion's probability."""
    labels = list(answers[0][1].scores) if answers else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["audio", "start_s", "end_s", "label", "confidence", *labels])
    for name, prediction in answers:
        for segment in prediction.segments:
            scores = [f"{segment.scores[label]:.6f}" for label in labels]
            times = [f"{segment.start_s:.3f}", f"{segment.end_s:.3f}"]
            writer.writerow([name, *times, segment.label, f"{segment.confidence:.6f}", *scores])
    return buffer.getvalue()


def to_srt(answers: Sequence[Answer]) -> str:
    """SubRip subtitles; the label and its confidence are the caption."""
    segments = [segment for _, prediction in answers for segment in prediction.segments]
    return "\n".join(
        f"{number}\n{_clock(segment.start_s)} --> {_clock(segment.end_s)}\n"
        f"{segment.label} ({segment.confidence:.0%})\n"
        for number, segment in enumerate(segments, start=1)
    )


def to_audacity(answers: Sequence[Answer]) -> str:
    """Label track of Audacity: start, end and label with tabs between them."""
    return "".join(
        f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{segment.label}\n"
        for _, prediction in answers
        for segment in prediction.segments
    )


FORMATS: dict[str, Callable[[Sequence[Answer]], str]] = {
    "jsonl": to_jsonl,
    "csv": to_csv,
    "srt": to_srt,
    "audacity": to_audacity,
}


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d},{rest % 1000:03d}"
