"""Scores above the folds and seeds of a run.

Folds are pooled before they are scored: each utterance is tested once, and all answers together are
one test part. Validation parts of different folds overlap, so of them only the mean is given.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mersa import runs
from mersa.evaluation import SCORES, concatenate, score


def summarise(folder: Path) -> dict[str, Any]:
    """Write and return the scores of a run, pooled over its folds, averaged over its seeds."""
    if (folder / "config.toml").is_file():
        return runs.read_json(folder / "metrics.json")
    leaves = runs.members(folder)
    seeds = sorted({leaf.parent for leaf in leaves})
    if seeds != [folder]:  # seeds that hold folds
        for seed in seeds:
            _pool(seed)
        return _mean_over_seeds(folder, seeds)
    if leaves[0].name.startswith("seed-"):
        return _mean_over_seeds(folder, leaves)
    return _pool(folder)


def _pool(folder: Path) -> dict[str, Any]:
    leaves = runs.members(folder)
    several = [runs.read_json(leaf / "metrics.json") for leaf in leaves]
    evaluated = all(one["state"] == "evaluated" for one in several)
    metrics = {
        **{
            name: several[0][name]
            for name in ("row", "row_changes", "system", "protocol", "seed", "labels")
        },
        "state": "evaluated" if evaluated else "trained",
        "folds": len(leaves),
        "parts_sha256": [one["parts_sha256"] for one in several],
        "parts": {"validation": _mean(several, "validation")},
    }
    if evaluated:
        pooled = concatenate([runs.read_predictions(leaf).part("test") for leaf in leaves])
        runs.write_predictions(folder, pooled)
        metrics["parts"]["test"] = score(pooled) | {"mean_of_folds": _mean(several, "test")}
    runs.write_json(folder / "metrics.json", metrics)
    return metrics


def _mean_over_seeds(folder: Path, inner: Sequence[Path]) -> dict[str, Any]:
    several = [runs.read_json(path / "metrics.json") for path in inner]
    parts = set.intersection(*(set(one["parts"]) for one in several))
    metrics = {
        **{
            name: several[0][name]
            for name in ("row", "row_changes", "system", "protocol", "labels", "parts_sha256")
        },
        "state": "evaluated" if "test" in parts else "trained",
        "seeds": [one["seed"] for one in several],
        "parts": {part: _mean(several, part) for part in sorted(parts)},
    }
    runs.write_json(folder / "metrics.json", metrics)
    return metrics


def _mean(several: Sequence[dict[str, Any]], part: str) -> dict[str, Any]:
    """Average the scores of a part over runs, their standard deviation beside them.

    `n`, `groups` and `majority` are means too, since folds differ in them.
    """
    scores = [one["parts"][part] for one in several]
    return {
        "n": round(float(np.mean([one["n"] for one in scores]))),
        "groups": round(float(np.mean([one["groups"] for one in scores]))),
        "runs": len(scores),
        **{name: float(np.mean([one[name] for one in scores])) for name in SCORES},
        "sd": {
            name: float(np.std([one[name] for one in scores], ddof=min(1, len(scores) - 1)))
            for name in SCORES
        },
        "majority": {
            name: float(np.mean([one["majority"][name] for one in scores]))
            for name in scores[0]["majority"]
        },
    }
