"""How many answers are wrong among the surest ones: the coverage-risk curve.

Answers are given from a threshold of confidence on, and withheld below it. Coverage is the share of
utterances that are answered, (selective) risk the share of errors among them (El-Yaniv and Wiener
2010, "On the Foundations of Noise-free Selective Classification"; Geifman and El-Yaniv 2017,
"Selective Classification for Deep Neural Networks"). The area under the curve (AURC; Geifman, Uziel
and El-Yaniv 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers") is the mean of
the risks at all coverages: a confidence that tells nothing has the error rate as its AURC.

Shapes: N utterances, K different confidences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mersa.bootstrap import Array
from mersa.evaluation import Predictions

FEWEST_ANSWERED = 10
"""Answers from which a risk is told; the one or two surest are often right by chance."""

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of utterances at which tables give the risk."""


@dataclass(frozen=True)
class RiskCurve:
    """Coverage and risk from each confidence on, the highest first.

    Attributes:
        confidence: (K,); who answers from here on is at least so sure.
        coverage: Share of the utterances that are answered, (K,).
        risk: Share of errors among them, (K,).
        n: Utterances.
    """

    confidence: Array
    coverage: Array
    risk: Array
    n: int

    @property
    def aurc(self) -> float:
        """The area under the curve; each utterance counts the risk at which it is answered."""
        steps = np.diff(self.coverage, prepend=0.0)
        return float((steps * self.risk).sum())

    def threshold(self, risk: float) -> float | None:
        """Return the confidence of the largest coverage whose risk is at most `risk`.

        None if there is none with `FEWEST_ANSWERED` answers or more.
        """
        answered = np.round(self.coverage * self.n)
        reached = np.flatnonzero((self.risk <= risk) & (answered >= FEWEST_ANSWERED))
        return float(self.confidence[reached[-1]]) if len(reached) else None


def risk_curve(predictions: Predictions) -> RiskCurve:
    """Return the curve of answers; utterances of equal confidence are answered together."""
    confidence = predictions.probabilities.max(1)
    wrong = predictions.probabilities.argmax(1) != predictions.truth
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(wrong[order])
    last = np.diff(confidence[order], append=-1.0) != 0  # of those that are equally sure
    answered = np.flatnonzero(last) + 1
    return RiskCurve(
        confidence[order][last],
        answered / max(1, len(order)),
        errors[last] / answered,
        len(order),
    )


def as_dict(curve: RiskCurve) -> dict[str, Any]:
    """Return the area, and at each of `COVERAGES` or just above it the risk and the confidence."""
    rows = []
    for wanted in COVERAGES:
        place = int(np.searchsorted(curve.coverage, wanted - 1e-9))
        rows.append(
            {
                "coverage": float(curve.coverage[place]),
                "risk": float(curve.risk[place]),
                "confidence": float(curve.confidence[place]),
            }
        )
    return {"aurc": curve.aurc, "curve": rows}


def from_dict(held: Mapping[str, Any], n: int) -> RiskCurve:
    """Return the curve at the coverages that `as_dict` kept, of n utterances."""
    rows = sorted(held["curve"], key=lambda row: float(row["coverage"]))
    confidence, coverage, risk = (
        np.array([row[name] for row in rows]) for name in ("confidence", "coverage", "risk")
    )
    return RiskCurve(confidence, coverage, risk, n)


def to_markdown(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Write the curves of parts, as `as_dict` gives them, as the lines of one table."""
    heads = " | ".join(f"{part}: errors among them | confidence from" for part in parts)
    lines = [f"| answered, the surest first | {heads} |", f"| --- {'| --- ' * (2 * len(parts))}|"]
    for place, wanted in enumerate(COVERAGES):
        rows = [one["curve"][place] for one in parts.values()]
        cells = " | ".join(f"{row['risk']:.3f} | {row['confidence']:.3f}" for row in rows)
        lines.append(f"| {wanted:.0%} | {cells} |")
    cells = " | ".join(f"{one['aurc']:.3f} | " for one in parts.values())
    return [*lines, f"| area under the curve (AURC) | {cells}|"]
