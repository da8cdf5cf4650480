"""Scores of a run on what it never saw: its own test part, or another corpus.

`evaluate` is the only function that reads the test part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mersa import build, figures, runs
from mersa.calibration import score_confident
from mersa.encoders.cache import FeatureCache
from mersa.encoding import features_of
from mersa.errors import ManifestError, RunError
from mersa.evaluation import Predictions, concatenate, predictions_of, score
from mersa.files import write_json
from mersa.manifest import Manifest, Utterance, read_manifest
from mersa.pooling import places, summarise
from mersa.progress import Progress, Silent
from mersa.selection import counts_text, data_sha256, select
from mersa.subgroups import LENGTH, SUBGROUP_COLUMNS, as_dicts, by_subgroup
from mersa.weights import Run, answer, load_run


def evaluate(
    folder: Path,
    *,
    cache: FeatureCache,
    manifest_path: Path | None = None,
    by: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a run on its own test part, or on another corpus.

    Beside the answers, `subgroups.json` gets the scores of subgroups, and `figures/` the pictures
    of calibration and confusion.

    Args:
        folder: The run.
        cache: Where frames lie.
        by: Columns of subgroups beyond `SUBGROUP_COLUMNS`.
        manifest_path: A manifest that holds all utterances of the run is taken as its corpus at
            another place; any other one is another corpus, and is scored whole: emotions that the
            run does not know are left out and counted, folds and seeds answer together.
        device: `auto`, `cpu` or `cuda[:n]`.
        progress: What is told of it.

    Returns:
        What is in the run's `metrics.json`; or, for another corpus, what was written to
        `evaluations/` inside the run.

    Raises:
        RunError: If the run is unfinished, or its corpus is gone or has other labels.
        ManifestError: If no utterance has a column of `by`.
    """
    progress = progress or Silent()
    leaves = runs.members(folder)
    runs.check_finished(folder)
    stored = Path(runs.read_json(leaves[0] / "environment.json")["manifest"])
    if manifest_path is None and not stored.is_file():
        raise RunError(
            f"the manifest of {folder}, {stored}, is not there any more; name it: mersa evaluate "
            f"{folder} MANIFEST"
        )
    manifest = read_manifest(manifest_path or stored)
    _check_columns(by, manifest)
    columns = tuple(dict.fromkeys((*SUBGROUP_COLUMNS, *by)))
    by_id = {utterance.id: utterance for utterance in manifest}
    if not set(runs.read_parts(leaves[0])) <= set(by_id):
        if manifest_path is None:
            raise RunError(f"{stored} lacks utterances of {folder}; it was changed since training")
        return _evaluate_elsewhere(
            folder, manifest, manifest_path, columns, cache, device, progress
        )
    _check_unchanged(leaves[0], manifest, manifest_path or stored)
    for leaf in leaves:
        run = load_run(leaf, device=build.device(device))
        ids = [id_ for id_, part in runs.read_parts(leaf).items() if part == "test"]
        utterances = [by_id[id_] for id_ in ids]
        tested = _answers(run, manifest, utterances, cache, device, progress)
        kept = runs.read_predictions(leaf).part("validation")
        both = concatenate([kept, tested])
        runs.write_predictions(leaf, both)
        metrics = runs.read_metrics(leaf)
        metrics["state"] = "evaluated"
        metrics["parts"]["test"] = score_confident(tested, runs.raw_predictions(leaf, tested))
        figures.coverage(both, leaf / "figures" / "coverage.png")
        runs.finish(leaf, metrics)
    summary = summarise(folder)
    for place in places(folder):
        answered = runs.read_predictions(place).part("test")
        _tell_more(place, answered, by_id, columns)
    return summary


def _answers(
    run: Run,
    manifest: Manifest,
    utterances: Sequence[Utterance],
    cache: FeatureCache,
    device: str,
    progress: Progress,
) -> Predictions:
    """Answer for test utterances."""
    features = features_of(utterances, manifest, run.labels, run.text, run.audio, cache, progress)
    if run.config.data.shuffle != "none":
        features = features.shuffled(run.config.data.shuffle, run.config.data.seed)
    probabilities = answer(run, features, device=torch.device(build.device(device)))
    return predictions_of(utterances, "test", probabilities, run.labels)


def _evaluate_elsewhere(
    folder: Path,
    manifest: Manifest,
    manifest_path: Path,
    columns: Sequence[str],
    cache: FeatureCache,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    leaves = runs.members(folder)
    learnt = {
        id_ for leaf in leaves for id_, part in runs.read_parts(leaf).items() if part != "test"
    }
    known = learnt.intersection(one.id for one in manifest)
    if known:
        raise RunError(
            f"{manifest_path} holds {len(known)} utterances that {folder} was trained or chosen "
            f"on, as {min(known)!r}; leave them out, or give the run's whole corpus"
        )
    selection = select(manifest, runs.load_labels(leaves[0]))
    several = [
        _answers(
            load_run(leaf, device=build.device(device)),
            manifest,
            selection.utterances,
            cache,
            device,
            progress,
        )
        for leaf in leaves
    ]
    mean = np.mean([one.probabilities for one in several], axis=0)
    answered = predictions_of(selection.utterances, "test", mean, selection.labels)
    first = runs.read_metrics(leaves[0])
    resolved = manifest_path.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    place = folder / "evaluations" / f"{resolved.parent.name}-{digest}"
    metrics = {
        "state": "evaluated",
        "manifest": str(manifest_path),
        "place": place.relative_to(folder).as_posix(),
        "left_out": dict(selection.left_out),
        "models": len(leaves),
        **{name: first[name] for name in ("row", "system", "protocol", "labels")},
        "leak": first.get("leak", []),
        "parts": {"test": score(answered)},
    }
    runs.write_predictions(place, answered)
    _tell_more(place, answered, {one.id: one for one in manifest}, columns)
    write_json(place / "metrics.json", metrics)
    progress.say(f"left out: {counts_text(selection.left_out) or 'nothing'}; written to {place}")
    return metrics


def _check_unchanged(leaf: Path, manifest: Manifest, path: Path) -> None:
    """See that a run's own corpus still says what it said in training."""
    minimum = runs.load_config(leaf).data.min_duration_s
    selection = select(manifest, runs.load_labels(leaf), min_duration_s=minimum)
    digest = runs.read_json(leaf / "environment.json").get("data_sha256")
    if data_sha256(selection.utterances) != digest:
        raise RunError(
            f"{path} has other words, emotions, recordings or times under the ids of {leaf} than "
            "it had in training; score another corpus under ids of its own, or train again"
        )


def _check_columns(by: Sequence[str], manifest: Manifest) -> None:
    for column in by:
        if column != LENGTH and not any(one.column(column) for one in manifest):
            filled = [name for name in manifest.columns() if any(u.column(name) for u in manifest)]
            raise ManifestError(
                f"no utterance has anything in a column {column!r}; subgroups can go by {LENGTH}, "
                f"{', '.join(filled)}"
            )


def _tell_more(
    place: Path,
    answered: Predictions,
    by_id: Mapping[str, Utterance],
    columns: Sequence[str],
) -> None:
    """Write scores by subgroup and the figures of a test part."""
    groups = as_dicts(by_subgroup(answered, by_id, columns))
    write_json(place / "subgroups.json", {"subgroups": groups})
    figures.reliability(answered, place / "figures" / "reliability.png")
    figures.confusion(answered, place / "figures" / "confusion.png")
