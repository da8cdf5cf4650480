"""What is said of a recording: a label and scores, as a whole and for each stretch of it."""

from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 1
"""Version of `Prediction.as_dict`; fields are added under one version, and never change meaning."""

UNCERTAIN = "uncertain"
"""The word in place of a label that is withheld; see `Recognizer.predict` with `abstain`."""

NO_SPEECH = "no speech was found"
WITHOUT_WORDS = "no words were known, so the sound alone was judged"
WITHOUT_SOUND = "no sound was given, so the words alone were judged"


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording and its answer; times in seconds from the recording's start.

    Attributes:
        start_s: Where it begins.
        end_s: Where it ends.
        label: Its emotion; after smoothing this need not be the most probable one. `UNCERTAIN`
            where it is withheld.
        scores: Probability of each emotion from this stretch alone; they sum to 1.
        confidence: The probability of `label`, or of the one that is withheld.
        text: The words that fall into it, as far as they are known.
        speaker: Who speaks, where speaker turns or words say so.
        channel: Of the recording, from 0, where each channel is a speaker.
    """

    start_s: float
    end_s: float
    label: str
    scores: dict[str, float]
    confidence: float
    text: str = ""
    speaker: str | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one recording.

    Attributes:
        label: The emotion of the largest score; `UNCERTAIN` where it is withheld, None if there is
            nothing to judge.
        scores: Mean of the segments' probabilities, weighted by their length; empty if there are
            none.
        confidence: The score of `label`, or of the one that is withheld; 0 if there is none.
        segments: The stretches that were judged, in order.
        modalities: What was read: `text`, `audio` or both.
        segmentation: How they were found: `whole`, `speech`, `windows`, `words` or `turns`.
        words: Where the words come from: `none`, `given`, a file's name, or a transcriber's name.
        notes: What else the reader must know, one sentence each.
    """

    label: str | None
    scores: dict[str, float]
    confidence: float
    segments: tuple[Segment, ...]
    modalities: tuple[str, ...]
    segmentation: str = "whole"
    words: str = "none"
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain values, for JSON; docs/recognize.md describes them."""
        return {"schema": SCHEMA, **asdict(self)}
