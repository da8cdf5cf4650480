"""Late fusion: the weighted mean of what sound and words say, and the weight that validation asks.

Shapes: N utterances, C labels.
"""

from collections.abc import Sequence

import numpy as np

from mersa.errors import ConfigError
from mersa.evaluation import IntArray, log_loss
from mersa.recognize.scoring import Probabilities

EVEN = 0.5
"""The weight of the sound where none was given or fitted."""

GRID = tuple(step / 100 for step in range(101))
"""The weights that are tried."""


def check_weight(weight: float) -> float:
    """Return the weight of the sound.

    Raises:
        ConfigError: If it is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ConfigError(
            f"the weight of the sound is {weight}, but it lies between 0 (words alone) and 1 "
            "(sound alone); give one as 0.5"
        )
    return weight


def fuse(
    audio: Probabilities | None,
    text: Probabilities | None,
    has_audio: Sequence[bool],
    has_text: Sequence[bool],
    weight: float,
) -> Probabilities:
    """Return the mean of two answers, (N, C).

    An utterance that lacks one is judged by the other; where nothing is there that is read, every
    label has the same probability.

    Args:
        audio: What the sound says, (N, C); None where it is not read.
        text: What the words say, likewise.
        has_audio: Which utterances have sound, N.
        has_text: Which have words, N.
        weight: Of the sound; the words have the rest.
    """
    heard = np.zeros(len(has_audio)) if audio is None else np.array(has_audio, dtype=np.float64)
    read = np.zeros(len(has_text)) if text is None else np.array(has_text, dtype=np.float64)
    both = (heard * read)[:, None]  # (N, 1)
    share = both * weight + (1 - both) * heard[:, None]
    rest = both * (1 - weight) + (1 - both) * read[:, None]
    some = audio if audio is not None else text
    if some is None:
        raise ConfigError("there is neither sound nor text to fuse; give one of them")
    even = np.full_like(some, 1 / some.shape[1]) * (1 - share - rest)
    mean: Probabilities = even
    if audio is not None:
        mean = mean + share * audio
    if text is not None:
        mean = mean + rest * text
    return mean


def fit_weight(
    audio: Probabilities,
    text: Probabilities,
    has_audio: Sequence[bool],
    has_text: Sequence[bool],
    truth: IntArray,
) -> float:
    """Return the weight of `GRID` with the least log loss; of equal ones that nearest to one half.

    The loss is convex in the weight, so that a grid misses nothing but the digits beyond its own.

    Args:
        audio: What the sound says of validation utterances, (N, C).
        text: What the words say.
        has_audio: Which have sound.
        has_text: Which have words.
        truth: Label index of each, (N,).
    """
    losses = {
        weight: log_loss(fuse(audio, text, has_audio, has_text, weight), truth) for weight in GRID
    }
    return min(GRID, key=lambda weight: (round(losses[weight], 9), abs(weight - EVEN)))
