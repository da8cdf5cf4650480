"""Coverage, risk and thresholds against plain loops."""

import numpy as np
import pytest

from mersa.evaluation import Predictions
from mersa.selective import FEWEST_ANSWERED, as_dict, risk_curve, to_markdown


def answered(n=200, seed=0, decimals=2):
    """Answers that are right more often where they are surer; many are equally sure."""
    random = np.random.default_rng(seed)
    sure = np.round(random.uniform(0.4, 1.0, n), decimals)
    right = random.random(n) < sure
    probabilities = np.stack([sure, (1 - sure) / 2, (1 - sure) / 2], axis=1)
    ids = tuple(map(str, range(n)))
    truth = np.where(right, 0, 1)
    return Predictions(ids, ("validation",) * n, truth, probabilities, ids, ("a", "b", "c"))


def from_on(predictions, threshold):
    """Return how many answers are at least so sure, and the share of errors among them."""
    confidence, answer = predictions.probabilities.max(1), predictions.probabilities.argmax(1)
    several = [
        answer[row] != predictions.truth[row]
        for row in range(len(answer))
        if confidence[row] >= threshold
    ]
    return len(several), sum(several) / len(several)


def test_each_point_is_what_a_loop_counts():
    predictions = answered()

    curve = risk_curve(predictions)

    assert len(curve.confidence) == len(set(predictions.probabilities.max(1)))
    for confidence, coverage, risk in zip(
        curve.confidence, curve.coverage, curve.risk, strict=True
    ):
        assert (coverage * curve.n, risk) == pytest.approx(from_on(predictions, confidence))


@pytest.mark.parametrize("risk", [0.05, 0.1, 0.2, 0.25, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_the_lowest_that_a_loop_finds(risk, seed):
    predictions = answered(seed=seed)
    best = None
    for threshold in sorted(set(predictions.probabilities.max(1))):
        count, errors = from_on(predictions, threshold)
        if errors <= risk and count >= FEWEST_ANSWERED:
            best = threshold
            break

    found = risk_curve(predictions).threshold(risk)

    assert found == best


def test_a_risk_that_is_never_reached_has_no_threshold():
    predictions = answered(50)
    wrong = Predictions(
        predictions.ids,
        predictions.parts,
        np.full(50, 2),
        predictions.probabilities,
        predictions.groups,
        predictions.labels,
    )

    assert risk_curve(wrong).threshold(0.5) is None
    assert risk_curve(wrong).threshold(1.0) == pytest.approx(wrong.probabilities.max(1).min())


def test_few_answers_tell_no_risk():
    predictions = answered(FEWEST_ANSWERED - 1)

    assert risk_curve(predictions).threshold(1.0) is None


def test_the_area_is_the_mean_of_the_risks():
    predictions = answered()
    confidence = predictions.probabilities.max(1)

    area = risk_curve(predictions).aurc

    assert area == pytest.approx(np.mean([from_on(predictions, one)[1] for one in confidence]))


def test_a_confidence_that_tells_nothing_has_the_error_rate_as_its_area():
    predictions = answered()
    same = np.tile([0.5, 0.3, 0.2], (200, 1))
    flat = Predictions(
        predictions.ids,
        predictions.parts,
        predictions.truth,
        same,
        predictions.groups,
        predictions.labels,
    )

    assert risk_curve(flat).aurc == pytest.approx((predictions.truth != 0).mean())


def test_the_table_gives_risks_at_round_coverages():
    told = as_dict(risk_curve(answered(decimals=6)))

    lines = to_markdown({"validation": told})

    assert [row["coverage"] for row in told["curve"]][:3] == pytest.approx([1.0, 0.9, 0.8])
    first = told["curve"][0]
    assert lines[2] == f"| 100% | {first['risk']:.3f} | {first['confidence']:.3f} |"
    assert lines[-1].startswith(f"| area under the curve (AURC) | {told['aurc']:.3f} |")
