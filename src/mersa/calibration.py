"""One temperature for the probabilities of a network, fitted on its validation part.

Logits are divided by a temperature T, the same for every utterance and label, that makes the log
loss on validation smallest (Guo et al. 2017, "On Calibration of Modern Neural Networks", Sec. 4.2).
T above 1 makes a network less sure and T below 1 surer; the order of its labels stays. Since
softmax forgets what is added to all logits, logarithms of probabilities serve as logits.

Shapes: N utterances, C labels.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from mersa import selective
from mersa.bootstrap import Array
from mersa.evaluation import IntArray, Predictions, score

BOUNDS = (0.1, 10.0)
"""Lowest and highest temperature; what lies beyond is a validation part that tells nothing."""

FEWEST_UTTERANCES = 20
"""Of a validation part that a temperature is fitted on; a choice of ours."""

_AT_BOUND = 1e-3  # of log T, which the search approaches and never touches


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it comes from.

    Attributes:
        temperature: What logits are divided by.
        n: Utterances of the validation part.
        loss_before: Mean log loss of the validation part as the network answers.
        loss_after: The same with the temperature.
        note: One sentence where none could be fitted or it stopped at a bound; else empty.
    """

    temperature: float
    n: int
    loss_before: float
    loss_after: float
    note: str = ""


def fit_temperature(probabilities: Array, truth: IntArray) -> Calibration:
    """Fit the temperature of answers (N, C) whose true labels are known, (N,).

    It stays 1 where the part is too small, holds one label alone, or every answer is right, since
    then no finite temperature is the best one or it tells nothing; `note` says so.
    """
    logits = _logits(probabilities)
    before = _loss(logits, truth, 1.0)
    note = _degenerate(probabilities, truth)
    if note:
        return Calibration(1.0, len(truth), before, before, f"{note}, so the temperature stays 1")
    bounds = np.log(BOUNDS)
    found = minimize_scalar(
        lambda log_t: _loss(logits, truth, float(np.exp(log_t))),
        bounds=tuple(bounds),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.exp(found.x))
    if np.abs(bounds - found.x).min() < _AT_BOUND:
        note = (
            f"the temperature stopped at {temperature:.3g}, the bound of {BOUNDS[0]} to "
            f"{BOUNDS[1]}; the validation part says little of calibration"
        )
    return Calibration(temperature, len(truth), before, float(found.fun), note)


def with_temperature(probabilities: Array, temperature: float) -> Array:
    """Return what the probabilities become with their logits divided by a temperature, (N, C).

    A temperature of 1 gives the very same numbers.
    """
    if temperature == 1.0:
        return probabilities
    logits = _logits(probabilities) / temperature
    result: Array = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return result


def tempered(predictions: Predictions, temperature: float) -> Predictions:
    """Return answers with a temperature; its inverse gives back those without."""
    probabilities = with_temperature(predictions.probabilities, temperature)
    return replace(predictions, probabilities=probabilities)


def score_confident(answered: Predictions, raw: Predictions | None) -> dict[str, Any]:
    """Score answers as `score` does, and how far their confidence can be trusted.

    Args:
        answered: With temperature.
        raw: The same without; None where there is no temperature.

    Returns:
        What `score` returns; `selective`, the coverage-risk curve; and `ece_without_temperature`,
        with its interval, if there is a temperature.
    """
    scores = score(answered) | {"selective": selective.as_dict(selective.risk_curve(answered))}
    if raw is None:
        return scores
    before = score(raw)
    scores["ece_without_temperature"] = before["ece"]
    scores["ci95"]["ece_without_temperature"] = before["ci95"]["ece"]
    return scores


def _degenerate(probabilities: Array, truth: IntArray) -> str:
    if len(truth) < FEWEST_UTTERANCES:
        return f"validation has {len(truth)} utterances, fewer than {FEWEST_UTTERANCES}"
    if len(np.unique(truth)) < 2:
        return "validation holds one emotion alone"
    if (probabilities.argmax(1) == truth).all():
        return "every validation answer is right"
    return ""


def _logits(probabilities: Array) -> Array:
    logits: Array = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logits


def _loss(logits: Array, truth: IntArray, temperature: float) -> float:
    """Return the mean log loss of logits, (N, C), divided by a temperature."""
    scaled = logits / temperature
    return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(truth)), truth]).mean())
