"""Labels withheld where they would be wrong too often.

The model's validation answers tell from which confidence on at most a given share is wrong
(`mersa.selective`). Below it the label is `UNCERTAIN`; scores and confidence stay as they are.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from mersa.errors import ConfigError
from mersa.recognize.prediction import UNCERTAIN, Prediction
from mersa.recognize.scoring import Scorer
from mersa.selective import FEWEST_ANSWERED, RiskCurve

ONE_ALONE = "that confidence was found with words and sound; with one alone more may be wrong"


@runtime_checkable
class KnowsItsErrors(Protocol):
    """A scorer whose errors on a validation part are known."""

    def risk_curve(self) -> RiskCurve:
        """Return coverage and risk of its validation answers."""
        ...


@dataclass(frozen=True)
class Threshold:
    """From which confidence on labels are given.

    Attributes:
        confidence: The lowest; above 1 where no label is given at all.
        note: What the reader must know of it, one sentence.
        modalities: What the model read where the confidence was found; empty where none was.
    """

    confidence: float
    note: str
    modalities: tuple[str, ...] = ()


def threshold_for(scorer: Scorer, risk: float) -> Threshold:
    """Find the lowest confidence from which on at most `risk` of the validation answers is wrong.

    Raises:
        ConfigError: If the risk is no share, the scorer's errors are not known, or it has a label
            of the reserved name.
    """
    if not 0 <= risk < 1:
        raise ConfigError(
            f"abstain is {risk!r}, but a share of errors of at least 0 and below 1 was expected; "
            "give 0.2 for one error in five answers"
        )
    if UNCERTAIN in scorer.labels.labels:
        raise ConfigError(
            f"this model has a label {UNCERTAIN!r}, which is the word for a withheld one; leave "
            "abstain out, or train with another name for the label"
        )
    curve = scorer.risk_curve() if isinstance(scorer, KnowsItsErrors) else None
    if curve is None or not curve.n:
        raise ConfigError(
            "abstain takes its threshold from validation answers, but this model brings none; "
            "leave abstain out, or use a run that mersa train made"
        )
    confidence = curve.threshold(risk)
    if confidence is None:
        return Threshold(
            math.inf,
            f"every label is withheld: at no confidence were at most {risk:.0%} of at least "
            f"{FEWEST_ANSWERED} answered validation utterances wrong",
        )
    return Threshold(
        confidence,
        f"labels below the confidence {confidence:.3f} are withheld; from it on at most {risk:.0%} "
        "of the answered validation utterances were wrong",
        scorer.modalities,
    )


def withheld(prediction: Prediction, threshold: Threshold) -> Prediction:
    """Withhold the labels, of segments and of the whole, that lie below a threshold.

    Each is judged by its own confidence, that of a segment after smoothing.
    """
    label = prediction.label
    if label is not None and prediction.confidence < threshold.confidence:
        label = UNCERTAIN
    segments = tuple(
        replace(one, label=UNCERTAIN) if one.confidence < threshold.confidence else one
        for one in prediction.segments
    )
    notes = [*prediction.notes, threshold.note]
    if segments and set(threshold.modalities) - set(prediction.modalities):
        notes.append(ONE_ALONE)
    return replace(prediction, label=label, segments=segments, notes=tuple(notes))
