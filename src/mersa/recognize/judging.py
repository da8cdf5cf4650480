"""Pieces of a recording to segments: their words, their scores, their order."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from mersa.audio import SAMPLE_RATE
from mersa.recognize.prediction import Segment
from mersa.recognize.scoring import Scorer, Spoken
from mersa.recognize.segments import Piece

_BATCH_S = 60.0
_BATCH_PIECES = 64

TextsOf = Callable[[Sequence[Piece]], list[str]]
"""Gives the words of pieces, one text each."""

OnSeconds = Callable[[float], None]
"""Called with the seconds of the recording that are judged."""


def judge(
    pieces: Iterable[Piece],
    scorer: Scorer,
    texts_of: TextsOf,
    *,
    on_seconds: OnSeconds | None = None,
) -> list[Segment]:
    """Score pieces as they come, a minute of sound at a time.

    Args:
        pieces: They are read once, and their sound is let go.
        scorer: The model.
        texts_of: Gives their words, empty where there are none.
        on_seconds: Told how far it is.

    Returns:
        One segment a piece, in the order of the pieces. A piece without anything that the model
        reads is left out: one without words, where it reads words alone.
    """
    segments: list[Segment] = []
    for batch in _batches(pieces):
        ready = [
            (piece, text)
            for piece, text in zip(batch, texts_of(batch), strict=True)
            if text or "audio" in scorer.modalities
        ]
        if ready:
            scored = scorer.score([Spoken(text, piece.audio) for piece, text in ready])
            labels = scorer.labels.labels
            for (piece, text), row in zip(ready, scored.tolist(), strict=True):
                scores = dict(zip(labels, row, strict=True))
                segments.append(segment(piece, text, scores))
        if on_seconds:
            on_seconds(batch[-1].end_s)
    return segments


def segment(piece: Piece, text: str, scores: dict[str, float]) -> Segment:
    """Return the answer for one piece: its most probable label."""
    label = max(scores, key=scores.__getitem__)
    return Segment(
        piece.start_s,
        piece.end_s,
        label,
        scores,
        scores[label],
        text,
        piece.speaker,
        piece.channel,
    )


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    seconds = 0.0
    for piece in pieces:
        batch.append(piece)
        seconds += 0.0 if piece.audio is None else len(piece.audio) / SAMPLE_RATE
        if seconds >= _BATCH_S or len(batch) >= _BATCH_PIECES:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch
