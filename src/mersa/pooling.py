"""Scores above the folds and seeds of a run.

Folds are pooled before they are scored: each utterance is tested once, and all answers together are
one test part. Validation parts of different folds overlap, so of them only the mean is given.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mersa import figures, runs, selective
from mersa.answers import raw_predictions, read_predictions, write_predictions
from mersa.bootstrap import seed_interval
from mersa.calibration import score_confident
from mersa.card import summary_card
from mersa.errors import RunError
from mersa.evaluation import SCORES, Predictions, concatenate
from mersa.files import write_json, write_text
from mersa.selective import RiskCurve, risk_curve

_ROBUSTNESS = "robustness"


def summarise(folder: Path) -> dict[str, Any]:
    """Write and return the scores of a run, pooled over its folds, averaged over its seeds."""
    seeds = places(folder)
    for seed in seeds:
        if not (seed / "config.toml").is_file():
            _pool(seed)
    if seeds != [folder]:
        return _mean_over_seeds(folder, seeds)
    return runs.read_metrics(folder)


def places(folder: Path) -> list[Path]:
    """Return where the answers on a run's whole test part stand: one folder for each seed."""
    leaves = runs.members(folder)
    if leaves == [folder] or leaves[0].name.startswith("seed-"):
        return leaves
    return list(dict.fromkeys(leaf.parent for leaf in leaves))


def answers_on_test(folder: Path) -> list[Predictions]:
    """Return the answers of an evaluated run on its test part, one for each seed.

    Raises:
        RunError: If the run is unfinished, or its test part has not been read.
    """
    several = places(folder)
    runs.check_finished(folder)
    answers = []
    for place in several:
        if "test" not in runs.read_metrics(place)["parts"]:
            raise RunError(
                f"{folder} has no test scores yet; read its test part with: mersa evaluate {folder}"
            )
        answers.append(read_predictions(place).part("test"))
    return answers


def validation_answers(leaves: Sequence[Path]) -> Predictions:
    """Return the validation answers of folds and seeds, each utterance once.

    An utterance that several validate has the mean of their probabilities, as when they answer
    together; those that have learnt from it do not answer for it.
    """
    return _each_once([read_predictions(leaf).part("validation") for leaf in leaves])


def _each_once(several: Sequence[Predictions]) -> Predictions:
    together = concatenate(several)
    rows: dict[str, list[int]] = {}
    for row, id_ in enumerate(together.ids):
        rows.setdefault(id_, []).append(row)
    if not rows:
        return together
    means = [together.probabilities[same].mean(axis=0) for same in rows.values()]
    first = together.rows([same[0] for same in rows.values()])
    return replace(first, probabilities=np.stack(means))


def validation_curve(leaves: Sequence[Path]) -> RiskCurve:
    """Return coverage and risk of the validation answers.

    A published run keeps no answers; of it the curve is known at the coverages that its card tells.

    Args:
        leaves: All of one run.

    Raises:
        RunError: If answers are missing, or the card tells no curve.
    """
    kept = [read_predictions(leaf) for leaf in leaves]
    several = [one.part("validation") for one in kept]
    for leaf, validation in zip(leaves, several, strict=True):
        _check_all_there(leaf, validation)
    if any(one.ids for one in kept):
        return risk_curve(_each_once(several))
    folder = Path(os.path.commonpath(leaves))
    scores = runs.read_metrics(folder)["parts"].get("validation", {})
    try:
        return selective.from_dict(scores["selective"], scores["n"])
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{folder} holds neither validation answers nor the errors among the surest of them, "
            "from which abstain takes its threshold; leave abstain out, or train anew"
        ) from None


def _check_all_there(leaf: Path, validation: Predictions) -> None:
    """See that a leaf that keeps its validation answers has lost none of them."""
    found = len(validation.ids)
    expected = runs.read_metrics(leaf)["parts"].get("validation", {}).get("n", 0)
    if found and found != expected:
        raise RunError(
            f"{leaf / 'predictions.csv'} has {found} validation answers, but training wrote "
            f"{expected}; bring back the file that training wrote"
        )


def title(folder: Path) -> str:
    """Return how tables call a run: its folder, and LEAK where an encoder has seen its test part.

    Raises:
        RunError: If its `metrics.json` is missing, or is not what a training writes.
    """
    return f"{folder} (LEAK)" if runs.read_metrics(folder).get("leak") else str(folder)


def _pool(folder: Path) -> dict[str, Any]:
    leaves = runs.members(folder)
    several = [runs.read_metrics(leaf) for leaf in leaves]
    evaluated = all(one["state"] == "evaluated" for one in several)
    metrics = {
        **{
            name: several[0][name]
            for name in ("row", "row_changes", "system", "protocol", "seed", "labels")
        },
        "state": "evaluated" if evaluated else "trained",
        "leak": _leak(several),
        "folds": len(leaves),
        "parts_sha256": [one["parts_sha256"] for one in several],
        "parts": {"validation": _mean(several, "validation")},
    }
    told = [validation_answers(leaves)]
    _put_curve(metrics, told[0])
    if evaluated:
        tested = {leaf: read_predictions(leaf).part("test") for leaf in leaves}
        pooled = concatenate(list(tested.values()))
        raw = [raw_predictions(leaf, one) for leaf, one in tested.items()]
        write_predictions(folder, pooled)
        scores = score_confident(pooled, _concatenated(raw))
        metrics["parts"]["test"] = scores | {"mean_of_folds": _mean(several, "test")}
        told.append(pooled)
    _draw_coverage(told, folder)
    metrics |= _robustness(folder, metrics)
    _write(folder, metrics, leaves)
    return metrics


def _put_curve(metrics: dict[str, Any], answered: Predictions) -> None:
    """Put the coverage and risk of the validation answers into scores."""
    if answered.ids and "validation" in metrics["parts"]:
        curve = risk_curve(answered)
        metrics["parts"]["validation"]["selective"] = selective.as_dict(curve)


def _draw_coverage(several: Sequence[Predictions], folder: Path) -> None:
    answered = concatenate(several)
    if answered.ids:
        figures.coverage(answered, folder / "figures" / "coverage.png")


def _concatenated(several: Sequence[Predictions | None]) -> Predictions | None:
    there = [one for one in several if one is not None]
    return concatenate(there) if len(there) == len(several) else None


def add_robustness(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put what `mersa.robustness` scored into what stands above folds or seeds, and its card."""
    seeds = places(folder)
    inner = runs.members(folder) if seeds == [folder] else seeds
    _write(folder, runs.read_metrics(folder) | {_ROBUSTNESS: rows}, inner)


def _write(folder: Path, metrics: dict[str, Any], inner: Sequence[Path]) -> None:
    config = runs.load_config(runs.members(folder)[0])
    names = [path.relative_to(folder).as_posix() for path in inner]
    write_text(folder / "README.md", summary_card(config, metrics, names))
    write_json(folder / "metrics.json", metrics)


def _mean_over_seeds(folder: Path, inner: Sequence[Path]) -> dict[str, Any]:
    several = [runs.read_metrics(path) for path in inner]
    parts = set.intersection(*(set(one["parts"]) for one in several))
    metrics = {
        **{
            name: several[0][name]
            for name in ("row", "row_changes", "system", "protocol", "labels", "parts_sha256")
        },
        "state": "evaluated" if "test" in parts else "trained",
        "leak": _leak(several),
        "seeds": [one["seed"] for one in several],
        "parts": {part: _mean_of_seeds(several, part) for part in sorted(parts, reverse=True)},
    }
    answered = validation_answers(runs.members(folder))
    _put_curve(metrics, answered)
    _draw_coverage([answered], folder)
    metrics |= _robustness(folder, metrics)
    _write(folder, metrics, inner)
    return metrics


def _robustness(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `add_robustness` put beside the scores of an evaluated run."""
    if metrics["state"] != "evaluated" or not (folder / "metrics.json").is_file():
        return {}
    before = runs.read_json(folder / "metrics.json")
    return {_ROBUSTNESS: before[_ROBUSTNESS]} if _ROBUSTNESS in before else {}


def _leak(several: Sequence[dict[str, Any]]) -> list[str]:
    """Return what any of the runs tells of encoders that have seen their test part."""
    return list(dict.fromkeys(sentence for one in several for sentence in one.get("leak", ())))


def _mean_of_seeds(several: Sequence[dict[str, Any]], part: str) -> dict[str, Any]:
    """Average the scores of a part over seeds; `ci95_seeds` is the t interval of each mean."""
    mean = _mean(several, part)
    if len(several) > 1:
        mean["ci95_seeds"] = {
            name: [max(low, 0.0), min(high, 1.0)]
            for name in mean["sd"]
            for _, low, high in [seed_interval([one["parts"][part][name] for one in several])]
        }
    return mean


def _mean(several: Sequence[dict[str, Any]], part: str) -> dict[str, Any]:
    """Average the scores of a part over runs, their standard deviation beside them.

    `n`, `groups` and `majority` are means too, since folds differ in them.
    """
    scores = [one["parts"][part] for one in several]
    also = "ece_without_temperature"
    names = [*SCORES, *([also] if all(also in one for one in scores) else [])]
    return {
        "n": round(float(np.mean([one["n"] for one in scores]))),
        "groups": round(float(np.mean([one["groups"] for one in scores]))),
        "runs": len(scores),
        **{name: float(np.mean([one[name] for one in scores])) for name in names},
        "sd": {
            name: float(np.std([one[name] for one in scores], ddof=min(1, len(scores) - 1)))
            for name in names
        },
        "majority": {
            name: float(np.mean([one["majority"][name] for one in scores]))
            for name in scores[0]["majority"]
        },
    }
