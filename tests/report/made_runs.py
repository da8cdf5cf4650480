"""Run folders of rows whose answers are made up, so that it is known what a report must say."""

import json
from pathlib import Path

import numpy as np

from mersa import runs
from mersa.answers import write_predictions
from mersa.config import apply_assignments, make_config, to_toml
from mersa.emotions import LABEL_SETS
from mersa.evaluation import Predictions, score
from mersa.manifest import write_table
from mersa.paper import find_row, row_changes
from mersa.pooling import summarise

GROUPS, SIZE = 40, 12
LABELS = LABEL_SETS["iemocap-4"].labels


def make_run(
    folder: Path,
    row: str,
    right: float = 0.6,
    *,
    seeds=(0, 1, 2),
    groups=GROUPS,
    training=0.0,
    settings=(),
    protocol="official",
    text="plain",
    audio="vggish",
    alignment=None,
    tested=True,
    first=0,
    prefix="u",
    labels=LABELS,
) -> Path:
    """Write a run that answers a share `right` of its utterances rightly.

    The same utterances are hard for all runs, so a higher share is right wherever a lower one is,
    but for noise of its own; `training` is the deviation of the share between seeds.
    """
    config = make_config(
        apply_assignments(find_row(row).settings(), [f"data.protocol={protocol}", *settings])
    )
    for number, seed in enumerate(seeds):
        place = folder / f"seed-{seed}" if len(seeds) > 1 else folder
        shift = training * (number - (len(seeds) - 1) / 2)
        answers = make_answers(right + shift, seed, groups, first, prefix, labels)
        _write_leaf(place, config, seed, answers, tested, (text, audio), alignment)
    summarise(folder)
    return folder


def aligned_from(base="google-bert/bert-base-uncased", *, leak=False):
    """What `metrics.json` says of a run whose text encoder is aligned."""
    return {"leak": leak, "text": {"leak": leak, "base": {"name": base}}}


def make_answers(right, seed, groups=GROUPS, first=0, prefix="u", labels=LABELS) -> Predictions:
    num = groups * SIZE
    world, own = np.random.default_rng(0), np.random.default_rng((seed, int(right * 1000)))
    truth = world.integers(0, len(labels), num)
    hard = world.permutation(num) / num  # the share of utterances that are easier
    knows = hard + own.normal(0, 0.02, num) < right
    answer = np.where(knows, truth, (truth + 1) % len(labels))
    probabilities = np.full((num, len(labels)), 0.1)
    probabilities[np.arange(num), answer] = 1 - 0.1 * (len(labels) - 1) + own.uniform(0, 0.2, num)
    probabilities /= probabilities.sum(1, keepdims=True)
    return Predictions(
        tuple(f"{prefix}{first + row:05d}" for row in range(num)),
        ("test",) * num,
        truth,
        probabilities,
        tuple(f"d{row // SIZE:03d}" for row in range(num)),
        tuple(labels),
    )


def _write_leaf(place, config, seed, answers, tested, encoders, alignment):
    place.mkdir(parents=True)
    config = make_config(
        {**config.model_dump(), "train": config.train.model_dump() | {"seed": seed}}
    )
    (place / "config.toml").write_text(to_toml(config))
    labels = {"name": config.data.labels, "labels": list(answers.labels)}
    (place / "labels.json").write_text(json.dumps(labels))
    manifest = str(place.parent / "nowhere" / "manifest.csv")
    (place / "environment.json").write_text(json.dumps({"manifest": manifest}))
    parts = [{"id": id_, "part": "test"} for id_ in answers.ids]
    write_table(parts, ("id", "part"), place / "parts.csv")
    (place / "model.safetensors").write_text("")
    history = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "validation_loss": 1.0,
            "validation_macro_f1": 0.5,
        }
        for epoch in (1, 2, 3)
    ]
    runs.write_history(place, history)
    (place / "encoders").mkdir()
    for modality, fingerprint in zip(("text", "audio"), encoders, strict=True):
        facts = {"name": fingerprint, "fingerprint": fingerprint}
        (place / "encoders" / f"{modality}.json").write_text(json.dumps(facts))
    write_predictions(place, answers)
    scores = score(answers, draws=200)
    metrics = {
        "state": "evaluated" if tested else "trained",
        "row": config.row,
        "row_changes": row_changes(config.row, config.model_dump()),
        "system": config.network.system,
        "protocol": config.data.protocol,
        "parts_sha256": "0",
        "seed": seed,
        "labels": list(answers.labels),
        "parts": {"validation": scores} | ({"test": scores} if tested else {}),
    }
    if alignment is not None:
        metrics["alignment"] = alignment
    (place / "metrics.json").write_text(json.dumps(metrics))
