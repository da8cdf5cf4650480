"""Answers of neighbouring segments made to agree, and the answer that they give together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mersa.recognize.prediction import Segment
from mersa.recognize.settings import SmoothingSettings
from mersa.recognize.words import Words, join


def smooth(segments: Sequence[Segment], settings: SmoothingSettings) -> list[Segment]:
    """Let labels follow neighbours; scores stay those of each segment alone.

    Args:
        segments: In order of time.
        settings: Who is a neighbour, and what it weighs.

    Returns:
        The segments in the same order, with new labels and the confidences of these.
    """
    result = list(segments)
    for row in _rows(segments):
        before: str | None = None
        for place, index in enumerate(row):
            one = segments[index]
            left = _neighbour(segments, row, place - 1, index, settings)
            right = _neighbour(segments, row, place + 1, index, settings)
            means = _mean(one, [other for other in (left, right) if other], settings.weight)
            label = max(means, key=means.__getitem__)
            if left and before and means[label] - means[before] < settings.margin:
                label = before
            before = label
            result[index] = replace(one, label=label, confidence=one.scores[label])
    return result


def overall(segments: Sequence[Segment]) -> dict[str, float]:
    """Return the mean of the segments' scores, weighted by their length; none without segments."""
    if not segments:
        return {}
    lengths = np.array([one.end_s - one.start_s for one in segments])
    weights = (
        lengths / lengths.sum() if lengths.sum() else np.full(len(segments), 1 / len(segments))
    )
    scores = np.array([list(one.scores.values()) for one in segments])  # (N, C)
    return dict(zip(segments[0].scores, (weights @ scores).tolist(), strict=True))


def overlay(windows: Sequence[Segment], step_s: float, words: Words | None = None) -> list[Segment]:
    """Turn overlapping windows into stretches of `step_s` that follow each other without overlap.

    Each has the mean scores of the windows that cover its middle. Windows of several channels are
    laid over each other channel by channel.

    Args:
        windows: The answers for the windows, in order.
        step_s: From one window to the next.
        words: With times; what falls into a stretch becomes its text.
    """
    result = []
    for row in _rows(windows):
        ordered = [windows[index] for index in row]
        end_s = max(one.end_s for one in ordered)
        count = max(1, int(np.ceil(round((end_s - ordered[0].start_s) / step_s, 6))))
        first = 0
        for number in range(count):
            start = ordered[0].start_s + number * step_s
            stop = min(start + step_s, end_s)
            middle = (start + stop) / 2
            while ordered[first].end_s <= middle:
                first += 1
            over = []
            for one in ordered[first:]:
                if one.start_s > middle:
                    break
                over.append(one.scores)
            scores = {label: float(np.mean([one[label] for one in over])) for label in over[0]}
            label = max(scores, key=scores.__getitem__)
            channel = ordered[0].channel
            text = join(words.within(start, stop, channel=channel)) if words else ""
            result.append(Segment(start, stop, label, scores, scores[label], text, channel=channel))
    return sorted(result, key=order)


def order(segment: Segment) -> tuple[float, float, int]:
    """Return what segments are sorted by: time, then channel."""
    return segment.start_s, segment.end_s, segment.channel or 0


def _rows(segments: Sequence[Segment]) -> list[list[int]]:
    """Return the places of the segments of each speaker and channel, in order."""
    rows: dict[tuple[str | None, int | None], list[int]] = {}
    for index, one in enumerate(segments):
        rows.setdefault((one.speaker, one.channel), []).append(index)
    return list(rows.values())


def _neighbour(
    segments: Sequence[Segment],
    row: Sequence[int],
    place: int,
    index: int,
    settings: SmoothingSettings,
) -> Segment | None:
    if not 0 <= place < len(row):
        return None
    one, other = segments[index], segments[row[place]]
    gap_s = max(one.start_s, other.start_s) - min(one.end_s, other.end_s)
    return other if gap_s <= settings.gap_s else None


def _mean(one: Segment, neighbours: Sequence[Segment], weight: float) -> dict[str, float]:
    total = 1 + weight * len(neighbours)
    return {
        label: (score + weight * sum(other.scores[label] for other in neighbours)) / total
        for label, score in one.scores.items()
    }
