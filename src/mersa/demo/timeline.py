"""The picture of an answer: the recording above, and below it every emotion over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mersa.demo.envelope import Envelope
from mersa.recognize.prediction import Segment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MANY = 300  # from so many segments on they are drawn as one image, which keeps the picture small


def draw_timeline(
    envelope: Envelope | None, segments: Sequence[Segment], labels: Sequence[str]
) -> "Figure":
    """Draw the recording's outline, and under it a row for each emotion.

    A stretch is the darker the more probable the emotion is in it; the one that it is given has a
    black outline. Where each channel is a speaker, a row has a lane for each, channel 0 on top.

    Args:
        envelope: Of the recording; None: its outline is left out.
        segments: Its stretches, at least one.
        labels: All emotions, top row first.
    """
    from matplotlib.figure import Figure

    height = 0.3 * len(labels)
    if envelope is None:
        figure = Figure(figsize=(8.0, 0.7 + height), layout="constrained")
        below = figure.subplots()
    else:
        figure = Figure(figsize=(8.0, 1.6 + height), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, height))
        _draw_outline(above, envelope)
    _draw_rows(below, segments, labels)
    below.set(xlim=(0, envelope.seconds if envelope else max(one.end_s for one in segments)))
    below.set_xlabel("seconds", fontsize=9)
    below.tick_params(labelsize=9)
    return figure


def _draw_outline(axes: "Axes", envelope: Envelope) -> None:
    times = np.linspace(0, envelope.seconds, len(envelope.low))
    axes.fill_between(times, envelope.low, envelope.high, color="0.45", linewidth=0)
    axes.set_yticks([])
    axes.set_ylabel("sound", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_rows(axes: "Axes", segments: Sequence[Segment], labels: Sequence[str]) -> None:
    channels: list[int | None] = [
        *sorted({c for one in segments if (c := one.channel) is not None})
    ]
    channels = channels or [None]
    height = 0.86 / len(channels)
    for row, label in enumerate(labels):
        for lane, channel in enumerate(channels):
            here = [one for one in segments if channel in (None, one.channel)]
            bottom = row - 0.43 + lane * height
            spans = [(one.start_s, one.end_s - one.start_s) for one in here]
            shades = [f"{1 - one.scores[label]:.3f}" for one in here]
            axes.broken_barh(
                spans, (bottom, height), facecolors=shades, rasterized=len(segments) > _MANY
            )
            given = [span for span, one in zip(spans, here, strict=True) if one.label == label]
            axes.broken_barh(
                given,
                (bottom, height),
                facecolors="none",
                edgecolors="black",
                linewidth=1.2 if len(segments) <= _MANY else 0.4,
                rasterized=len(segments) > _MANY,
            )
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_facecolor("0.97")
