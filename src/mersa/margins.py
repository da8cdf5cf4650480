"""How much sound stands before and after the speech in training clips.

A model that learnt clips with silence at both ends expects it, so what is cut from a long recording
is given as much (`mersa.recognize`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.budget import Item
from mersa.recognize.activity import SpeechDetector, SpeechFinder
from mersa.recognize.settings import SpeechSettings

CLIPS = 200
"""Clips that are listened to, at most."""

FEWEST_CLIPS = 10
"""Clips with speech from which margins are told."""

BOUNDS_S = (0.03, 1.0)
"""Least (silero-vad's own) and most sound that is kept on a side; more would be the next speech."""

_LONGEST_S = 300.0
_SETTINGS = SpeechSettings(pad_s=0.0, min_silence_s=0.1)  # silero-vad's own; a short end counts

Sides = tuple[float, float]

_known: dict[str, Sides | None] = {}  # by content, since folds and seeds hear the same clips


@dataclass(frozen=True)
class Margins:
    """Median seconds of sound around the speech of clips.

    Attributes:
        before_s: Before the first speech.
        after_s: After the last.
        pad_s: Mean of the two within `BOUNDS_S`, to keep on both sides of speech.
        clips: How many clips with speech they come from.
    """

    before_s: float
    after_s: float
    pad_s: float
    clips: int


def margins_of(items: Mapping[str, Item]) -> Margins | None:
    """Listen to some clips by voice activity; None where too few of them hold speech.

    Args:
        items: The sound of utterances by id. Which ones are heard depends on the ids alone.
    """
    chosen = sorted(items, key=lambda id_: hashlib.sha256(id_.encode()).digest())[:CLIPS]
    heard = [sides for sides in (_sides_of(items[id_]) for id_ in chosen) if sides]
    if len(heard) < FEWEST_CLIPS:
        return None
    before_s, after_s = np.median(heard, axis=0).tolist()
    pad_s = float(np.clip((before_s + after_s) / 2, *BOUNDS_S))
    return Margins(before_s, after_s, pad_s, len(heard))


def sides(waveform: FloatArray) -> Sides | None:
    """Return the seconds before the first and after the last speech; None without speech.

    Args:
        waveform: Mono float32 at 16 kHz, (n,).
    """
    detector, finder = SpeechDetector(), SpeechFinder(_SETTINGS, _LONGEST_S)
    stretches = [*finder.push(*detector(waveform)), *finder.push(*detector.finish())]
    stretches += finder.finish(len(waveform))
    if not stretches:
        return None
    after = max(0, len(waveform) - stretches[-1][1])
    return stretches[0][0] / SAMPLE_RATE, after / SAMPLE_RATE


def _sides_of(item: Item) -> Sides | None:
    if item.key not in _known:
        _known[item.key] = sides(np.asarray(item.load(), dtype=np.float32))
    return _known[item.key]
