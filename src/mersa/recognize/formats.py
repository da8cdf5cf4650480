"""Answers as text: JSON lines, CSV, subtitles, Audacity labels, and as Hugging Face gives them."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from mersa.recognize.prediction import Prediction, Segment

Answer = tuple[str, Prediction]
"""The name of a recording and its answer."""


def to_jsonl(answers: Sequence[Answer]) -> str:
    """One JSON object a recording."""
    return "".join(
        json.dumps({"audio": name} | prediction.as_dict(), ensure_ascii=False) + "\n"
        for name, prediction in answers
    )


def to_csv(
    answers: Sequence[Answer], *, labels: Sequence[str] | None = None, header: bool = True
) -> str:
    """One row a segment, with a column for each emotion's probability.

    A recording without segments has one row, blank but for its name.

    Args:
        answers: Recordings and their answers.
        labels: The emotions; by default those of the first answer that has any.
        header: Whether the names of the columns come first.
    """
    if labels is None:
        labels = next((list(one.scores) for _, one in answers if one.scores), [])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        first = ("audio", "start_s", "end_s", "label", "confidence")
        writer.writerow([*first, *labels, "speaker", "channel", "text"])
    for name, prediction in answers:
        for segment in prediction.segments:
            scores = [f"{segment.scores[label]:.6f}" for label in labels]
            times = [f"{segment.start_s:.3f}", f"{segment.end_s:.3f}"]
            channel = "" if segment.channel is None else segment.channel
            last = (segment.speaker or "", channel, segment.text)
            writer.writerow(
                [name, *times, segment.label, f"{segment.confidence:.6f}", *scores, *last]
            )
        if not prediction.segments:
            writer.writerow([name, *[""] * (7 + len(labels))])
    return buffer.getvalue()


def to_srt(answers: Sequence[Answer]) -> str:
    """SubRip subtitles: who, the label and its confidence, and below them the words."""
    return "\n".join(
        f"{number}\n{_clock(one.start_s, ',')} --> {_clock(one.end_s, ',')}\n{_caption(one)}\n"
        for number, one in enumerate(_segments(answers), start=1)
    )


def to_vtt(answers: Sequence[Answer]) -> str:
    """WebVTT subtitles, as `to_srt`."""
    cues = [
        f"{_clock(one.start_s, '.')} --> {_clock(one.end_s, '.')}\n"
        f"{escape(_caption(one), quote=False)}\n"
        for one in _segments(answers)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def to_audacity(answers: Sequence[Answer]) -> str:
    """Label track of Audacity: start, end and label with tabs between them."""
    return "".join(
        f"{one.start_s:.6f}\t{one.end_s:.6f}\t{_who(one)}{one.label}\n"
        for one in _segments(answers)
    )


def to_hf(answers: Sequence[Answer]) -> str:
    """What Hugging Face's pipelines return, one JSON line a recording, the likeliest label first.

    It is a list of objects with `label` and `score` of the whole recording; empty without speech.
    """
    return "".join(
        json.dumps(
            [
                {"label": label, "score": score}
                for label, score in sorted(
                    prediction.scores.items(), key=lambda item: item[1], reverse=True
                )
            ],
            ensure_ascii=False,
        )
        + "\n"
        for _, prediction in answers
    )


@dataclass(frozen=True)
class Format:
    """One way of writing answers.

    Attributes:
        write: Gives the text of some answers.
        suffix: Of a file of one recording.
        several: Whether one file can hold several recordings.
    """

    write: Callable[[Sequence[Answer]], str]
    suffix: str
    several: bool

    def __call__(self, answers: Sequence[Answer]) -> str:
        """Give the text of some answers."""
        return self.write(answers)


FORMATS = {
    "jsonl": Format(to_jsonl, ".json", several=True),
    "csv": Format(to_csv, ".csv", several=True),
    "srt": Format(to_srt, ".srt", several=False),
    "vtt": Format(to_vtt, ".vtt", several=False),
    "audacity": Format(to_audacity, ".txt", several=False),
    "hf": Format(to_hf, ".hf.json", several=True),
}


def to_text(
    answers: Sequence[Answer], form: str, labels: Sequence[str], *, header: bool = True
) -> str:
    """Write answers in the format of a name, CSV with a column for each of the labels.

    Args:
        answers: Recordings and their answers.
        form: One of `FORMATS`.
        labels: The emotions that the model tells apart.
        header: Whether CSV begins with the names of the columns.
    """
    if form == "csv":
        return to_csv(answers, labels=labels, header=header)
    return FORMATS[form](answers)


def _segments(answers: Sequence[Answer]) -> list[Segment]:
    return [segment for _, prediction in answers for segment in prediction.segments]


def _caption(segment: Segment) -> str:
    first = f"{_who(segment)}{segment.label} ({segment.confidence:.0%})"
    words = " ".join(segment.text.split())  # a blank line would end the caption
    return f"{first}\n{words}" if words else first


def _who(segment: Segment) -> str:
    if segment.speaker:
        return f"{' '.join(segment.speaker.split())}: "
    return "" if segment.channel is None else f"channel {segment.channel}: "


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
