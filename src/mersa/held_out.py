"""Scores of a run on what it never saw: its own test part, or another corpus.

`evaluate` is the only function that reads the test part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mersa import build, figures, runs
from mersa.answers import raw_predictions, read_predictions, write_predictions
from mersa.batches import FeatureSet
from mersa.calibration import score_confident
from mersa.encoders.cache import FeatureCache
from mersa.encoding import features_of
from mersa.errors import ManifestError, RunError
from mersa.evaluation import Predictions, concatenate, predictions_of, score
from mersa.files import write_json
from mersa.manifest import Manifest, Utterance, read_manifest
from mersa.pooling import add_robustness, places, summarise
from mersa.progress import Progress, Silent
from mersa.robustness import BOTH, answers, can_be_asked, mean_over_seeds, scored, vocabulary_of
from mersa.selection import counts_text, data_sha256, select
from mersa.subgroups import LENGTH, SUBGROUP_COLUMNS, as_dicts, by_subgroup
from mersa.weights import Run, answer, load_run


def evaluate(
    folder: Path,
    *,
    cache: FeatureCache,
    manifest_path: Path | None = None,
    by: Sequence[str] = (),
    robustness: bool = True,
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
        robustness: On its own test part, whether a run that reads words and sound is also scored
            without either, with wrong words and with those of other utterances.
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
    check_columns(by, manifest)
    columns = tuple(dict.fromkeys((*SUBGROUP_COLUMNS, *by)))
    by_id = {utterance.id: utterance for utterance in manifest}
    if not set(runs.read_parts(leaves[0])) <= set(by_id):
        if manifest_path is None:
            raise RunError(f"{stored} lacks utterances of {folder}; it was changed since training")
        return _evaluate_elsewhere(
            folder, manifest, manifest_path, columns, cache, device, progress
        )
    _check_unchanged(leaves[0], manifest, manifest_path or stored)
    conditions: dict[Path, Mapping[str, Predictions]] = {}
    cache.folder.mkdir(parents=True, exist_ok=True)
    # Wrong words are encoded for this alone, and seeds share them.
    with TemporaryDirectory(prefix="robustness-", dir=cache.folder) as scratch:
        for leaf in leaves:
            run = load_run(leaf, device=build.device(device))
            parts = runs.read_parts(leaf)
            utterances = [by_id[id_] for id_, part in parts.items() if part == "test"]
            features = _features(run, manifest, utterances, cache, progress)
            tested = _answers(run, features, utterances, device)
            if robustness and can_be_asked(run):
                train_texts = [by_id[id_].text for id_, part in parts.items() if part == "train"]
                conditions[leaf] = {BOTH: tested} | answers(
                    run,
                    features,
                    utterances,
                    vocabulary_of(train_texts),
                    FeatureCache(Path(scratch)),
                    device=torch.device(build.device(device)),
                    progress=progress,
                )
            _keep(leaf, tested, conditions.get(leaf))
    summary = summarise(folder)
    if conditions:
        summary = _keep_pooled(folder, conditions)
    for place in places(folder):
        answered = read_predictions(place).part("test")
        tell_more(place, answered, by_id, columns)
    return summary


def _keep(leaf: Path, tested: Predictions, conditions: Mapping[str, Predictions] | None) -> None:
    """Put the test answers of a leaf, and those under other conditions, into its folder."""
    both = concatenate([read_predictions(leaf).part("validation"), tested])
    write_predictions(leaf, both)
    metrics = runs.read_metrics(leaf)
    metrics["state"] = "evaluated"
    metrics["parts"]["test"] = score_confident(tested, raw_predictions(leaf, tested))
    figures.coverage(both, leaf / "figures" / "coverage.png")
    if conditions:
        metrics["robustness"] = scored(conditions)
        figures.robustness(metrics["robustness"], leaf / "figures" / "robustness.png")
    runs.finish(leaf, metrics)


def _keep_pooled(
    folder: Path, conditions: Mapping[Path, Mapping[str, Predictions]]
) -> dict[str, Any]:
    """Put the answers of folds, pooled, and the means over seeds above them; return the scores."""
    several = []
    for place in places(folder):
        inner = [conditions[leaf] for leaf in runs.members(place)]
        several.append(
            scored({name: concatenate([one[name] for one in inner]) for name in inner[0]})
        )
        if not (place / "config.toml").is_file():
            figures.robustness(several[-1], place / "figures" / "robustness.png")
            add_robustness(place, several[-1])
    if len(several) > 1:
        add_robustness(folder, mean_over_seeds(several))
    return runs.read_metrics(folder)


def _features(
    run: Run,
    manifest: Manifest,
    utterances: Sequence[Utterance],
    cache: FeatureCache,
    progress: Progress,
) -> FeatureSet:
    features = features_of(utterances, manifest, run.labels, run.text, run.audio, cache, progress)
    if run.config.data.shuffle != "none":
        features = features.shuffled(run.config.data.shuffle, run.config.data.seed)
    return features


def _answers(
    run: Run, features: FeatureSet, utterances: Sequence[Utterance], device: str
) -> Predictions:
    """Answer for test utterances."""
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
    utterances = selection.utterances
    several = []
    for leaf in leaves:
        run = load_run(leaf, device=build.device(device))
        features = _features(run, manifest, utterances, cache, progress)
        several.append(_answers(run, features, utterances, device).probabilities)
    mean = np.mean(several, axis=0)
    answered = predictions_of(utterances, "test", mean, selection.labels)
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
    write_predictions(place, answered)
    tell_more(place, answered, {one.id: one for one in manifest}, columns)
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


def check_columns(by: Sequence[str], manifest: Manifest) -> None:
    """Refuse a column of subgroups that no utterance has.

    Raises:
        ManifestError: If there is one.
    """
    for column in by:
        if column != LENGTH and not any(one.column(column) for one in manifest):
            filled = [name for name in manifest.columns() if any(u.column(name) for u in manifest)]
            raise ManifestError(
                f"no utterance has anything in a column {column!r}; subgroups can go by {LENGTH}, "
                f"{', '.join(filled)}"
            )


def tell_more(
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
