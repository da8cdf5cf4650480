"""What a leaf of a run answered: `predictions.csv`, and the temperature that its answers have."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mersa.calibration import BOUNDS, Calibration, tempered
from mersa.errors import RunError
from mersa.evaluation import Predictions
from mersa.files import write_json
from mersa.manifest import read_table, write_table
from mersa.runs import WHOLE_AGAIN, load_labels, members, read_json


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write one row an utterance: id, part, truth, prediction, group, a probability a label."""
    columns = ["id", "part", "truth", "prediction", "group", *predictions.labels]
    labels = predictions.labels
    rows = [
        {
            "id": id_,
            "part": part,
            "truth": labels[truth],
            "prediction": labels[int(probabilities.argmax())],
            "group": group,
        }
        | {label: repr(float(p)) for label, p in zip(labels, probabilities, strict=True)}
        for id_, part, truth, probabilities, group in zip(
            predictions.ids,
            predictions.parts,
            predictions.truth,
            predictions.probabilities,
            predictions.groups,
            strict=True,
        )
    ]
    write_table(rows, columns, folder / "predictions.csv")


def read_predictions(folder: Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        RunError: If the file is missing or cut.
    """
    path = folder / "predictions.csv"
    labels = load_labels(members(folder)[0]).labels
    try:
        rows = read_table(path)
        probabilities = np.array([[float(row[label]) for label in labels] for row in rows])
        probabilities = probabilities.reshape(len(rows), len(labels))  # a published run has no rows
        _check_probabilities(rows, probabilities)
        return Predictions(
            tuple(row["id"] for row in rows),
            tuple(row["part"] for row in rows),
            np.array([_index(labels, row["truth"]) for row in rows], dtype=np.int64),
            probabilities,
            tuple(row["group"] for row in rows),
            labels,
        )
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); {WHOLE_AGAIN}") from None


def _index(labels: Sequence[str], truth: str) -> int:
    if truth not in labels:
        raise ValueError(f"{truth!r} is none of the labels of the run")
    return labels.index(truth)


def _check_probabilities(rows: Sequence[Mapping[str, str]], probabilities: Any) -> None:
    if not rows:
        return
    fair = (probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) < 1e-3)  # False for NaN
    if not fair.all():
        id_ = rows[int(fair.argmin())]["id"]
        raise ValueError(f"the probabilities of {id_!r} are not between 0 and 1 with the sum 1")


def write_calibration(folder: Path, calibration: Calibration, *, parts_sha256: str) -> None:
    """Keep the temperature of a leaf, and on which parts it was fitted."""
    facts = asdict(calibration) | {"part": "validation", "parts_sha256": parts_sha256}
    write_json(folder / "calibration.json", facts)


def read_temperature(folder: Path) -> float | None:
    """Return the temperature of a leaf; None if it was trained without one.

    Raises:
        RunError: If the file cannot be read, or holds no temperature.
    """
    path = folder / "calibration.json"
    if not path.is_file():
        return None
    temperature = read_json(path).get("temperature")
    low, high = BOUNDS
    if not isinstance(temperature, float) or not low <= temperature <= high:
        raise RunError(
            f"{path} gives the temperature {temperature!r}, but a number from {low} to {high} was "
            "expected; bring back the file that training wrote"
        )
    return temperature


def raw_predictions(folder: Path, answered: Predictions) -> Predictions | None:
    """Return the answers of a leaf without its temperature; None if it has none."""
    temperature = read_temperature(folder)
    return None if temperature is None else tempered(answered, 1 / temperature)
