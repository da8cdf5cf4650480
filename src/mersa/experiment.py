"""From a manifest and settings to a trained and scored run folder.

`train` writes validation scores; `evaluate` is the only function that reads the test part.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from mersa import build, figures, launch, parallel, runs
from mersa.alignment import artefact
from mersa.batches import (
    FeatureSet,
    audio_items,
    encode,
    load_features,
    text_items,
    with_live_dropout,
)
from mersa.card import model_card
from mersa.config import AudioSettings, Config, TextSettings, located
from mersa.cutting import cut_corpus
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache
from mersa.errors import ConfigError, ManifestError, RunError
from mersa.evaluation import Predictions, concatenate, score
from mersa.files import write_json, write_text
from mersa.folds import Fold, leaks
from mersa.manifest import Manifest, Utterance, read_manifest
from mersa.networks import num_trainable
from mersa.paper import ROWS, find_row, row_changes
from mersa.pooling import places, summarise
from mersa.progress import Progress, Silent
from mersa.selection import (
    Learnable,
    Selection,
    counts_text,
    data_sha256,
    learnable,
    select,
)
from mersa.subgroups import LENGTH, SUBGROUP_COLUMNS, as_dicts, by_subgroup
from mersa.training import fit, predict
from mersa.tuning import TunedNetwork, tunable, tuned_network, with_inputs


def train(
    manifest_path: Path,
    config: Config,
    out: Path,
    *,
    cache: FeatureCache,
    seeds: int = 1,
    device: str = "auto",
    devices: int | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train under a protocol: every fold and seed, resumable, test unread.

    Several processes share each step; the first of them writes and tells. A script that asks for
    `devices` does so below `if __name__ == "__main__":`, since each worker imports it.

    Args:
        manifest_path: The manifest.
        config: All settings.
        out: The run folder; what is finished in it is not done again.
        cache: Where frames lie.
        seeds: How many runs that differ in `train.seed` alone, counted from it.
        device: `auto`, `cpu` or `cuda[:n]`.
        devices: How many processes train together on this machine, each on a GPU or a share of the
            processor's cores; None: one, or those that torchrun started.
        again: Train anew even where a run is finished or differs.
        progress: What is told of it.

    Returns:
        What `out/metrics.json` holds.
    """
    return launch.in_processes(
        _train,
        devices,
        build.device(device),
        progress,
        manifest_path=manifest_path,
        config=config,
        out=out,
        cache=cache,
        seeds=seeds,
        again=again,
    )


def _train(
    *,
    manifest_path: Path,
    config: Config,
    out: Path,
    cache: FeatureCache,
    seeds: int,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    first = parallel.is_first(fabric)
    if config.row:
        config = config.model_copy(update={"row": find_row(config.row).id})
    manifest = read_manifest(manifest_path)
    corpus = cut_corpus(manifest, config.data, progress)
    selection, folds, labels = corpus.selection, corpus.folds, corpus.selection.labels
    config = located(config.model_copy(update={"data": corpus.data}))
    digest = data_sha256(selection.utterances)
    leaves = []
    alignments = {}
    for number in range(seeds):
        seed = config.train.seed + number
        seeded = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
        for fold in folds:
            leaf = out / (f"seed-{seed}" if seeds > 1 else "") / fold.name
            bound, alignments[leaf] = artefact.bind(seeded, artefact.Cut(labels, digest, fold))
            leaves.append((leaf, bound, fold))
    with runs.lock(out) if first else nullcontext():
        if first:
            runs.check_place(out, [leaf for leaf, _, _ in leaves], again=again)
        if not again:
            for leaf, seeded, fold in leaves:
                runs.check_same(leaf, seeded, fold.parts, data_sha256=digest)
        if parallel.several(fabric):
            count = fabric.world_size
            progress.say(f"{count} processes share each step; each draws its own dropout")
        leaked = {fold.name: leaks(selection.utterances, fold) for fold in folds}
        _tell(config, selection, folds, list(leaked.values()), progress)
        for number, (leaf, seeded, fold) in enumerate(leaves, start=1):
            name = f"{number}/{len(leaves)} {leaf}" if len(leaves) > 1 else str(leaf)
            if parallel.gather(fabric, runs.is_finished(leaf))[0] and not again:
                if first:
                    runs.tidy(leaf)
                progress.say(f"{name}: finished before; --again trains it anew")
                continue
            # What a user's mistake can stop comes first, so that it leaves the folder as it was.
            seen = learnable(selection.utterances, fold, manifest.folder)
            ready = _prepare(seeded, labels, seen, cache, fabric, progress)
            if again and number == 1 and first:
                runs.clear(out)
            if first:
                runs.begin(leaf, seeded, labels, fold.parts, manifest_path, data_sha256=digest)
            facts = {
                "held_out": fold.held_out,
                "leaks": leaked[fold.name],
                "alignment": alignments[leaf],
                "leak": artefact.leaks_told(alignments[leaf]),
            }
            for sentence in facts["leak"]:
                progress.say(f"LEAK: {sentence}")
            _train_leaf(leaf, seeded, labels, seen, ready, facts, fabric, name, progress)
            del ready  # before the next one's frames are loaded
        return parallel.gather(fabric, summarise(out) if first else {})[0]


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
        run = runs.load_run(leaf, device=build.device(device))
        ids = [id_ for id_, part in runs.read_parts(leaf).items() if part == "test"]
        utterances = [by_id[id_] for id_ in ids]
        tested = _answers(run, manifest, utterances, cache, device, progress)
        kept = runs.read_predictions(leaf).part("validation")
        both = concatenate([kept, tested])
        runs.write_predictions(leaf, both)
        metrics = runs.read_metrics(leaf)
        metrics["state"] = "evaluated"
        metrics["parts"]["test"] = score(tested)
        _finish(leaf, metrics)
    summary = summarise(folder)
    for place in places(folder):
        answered = runs.read_predictions(place).part("test")
        _tell_more(place, answered, by_id, columns)
    return summary


def encode_manifest(
    manifest_path: Path,
    *,
    text: TextSettings | None,
    audio: AudioSettings | None,
    cache: FeatureCache,
    device: str = "auto",
    devices: int | None = None,
    progress: Progress | None = None,
) -> dict[str, tuple[int, int]]:
    """Put the frames of a whole manifest into the cache; of several processes each encodes a share.

    `devices` is as in `train`.

    Returns:
        For each modality how many different clips were encoded now, and how many there are.

    Raises:
        ConfigError: If the text encoder learns its vocabulary, which only a train part can give.
    """
    return launch.in_processes(
        _encode_manifest,
        devices,
        build.device(device),
        progress,
        manifest_path=manifest_path,
        text=text,
        audio=audio,
        cache=cache,
    )


def _encode_manifest(
    *,
    manifest_path: Path,
    text: TextSettings | None,
    audio: AudioSettings | None,
    cache: FeatureCache,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, tuple[int, int]]:
    device = str(fabric.device)
    manifest = read_manifest(manifest_path)
    jobs: list[tuple[Encoder, Mapping[str, Item]]] = []
    if text:
        if text.name == "tiny":
            raise ConfigError(
                "text encoder 'tiny' learns its vocabulary from a train part, so it cannot encode "
                "before training; mersa train does it"
            )
        jobs.append((build.text_encoder(text, device=device), text_items(manifest.utterances)))
    if audio:
        items = audio_items(manifest, manifest.utterances)
        jobs.append((build.audio_encoder(audio, device=device), items))
    return {
        encoder.modality: (
            encode(encoder, items, cache, progress, fabric=fabric),
            len({item.key for item in items.values()}),
        )
        for encoder, items in jobs
    }


def bundle(folder: Path, *, progress: Progress | None = None) -> None:
    """Copy the encoders into a run, so that it works offline on another machine.

    What all folds and seeds share is copied once, above them.
    """
    progress = progress or Silent()
    members = [runs.load_run(leaf) for leaf in runs.members(folder)]
    for modality in ("text", "audio"):
        encoders = {run.folder: run.text if modality == "text" else run.audio for run in members}
        shared = len({one.fingerprint for one in encoders.values() if one}) == 1
        for leaf, encoder in encoders.items():
            if encoder is None or runs.bundled(leaf, modality):
                continue
            inside = (folder if shared else leaf) / "encoders" / modality
            partial = inside.with_name(f"{modality}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            encoder.save(partial)
            partial.rename(inside)
            progress.say(f"copied {encoder.name} to {inside}")
    progress.say(f"{folder} is whole")


@dataclass(frozen=True)
class _Ready:
    """What a leaf is trained from."""

    text: Encoder | None
    audio: Encoder | None
    train: FeatureSet
    validation: FeatureSet
    validated: Sequence[Utterance]
    network: nn.Module


def _prepare(
    config: Config,
    labels: LabelSet,
    seen: Learnable,
    cache: FeatureCache,
    fabric: Fabric,
    progress: Progress,
) -> _Ready:
    """Build the encoders and the network, and encode train and validation."""
    train_set, validation = seen.part("train"), seen.part("validation")
    text: Encoder | None = None
    audio: Encoder | None = None
    device = str(fabric.device)
    train_texts = [one.text for one in train_set if one.text.strip()]
    if config.uses_text and not train_texts:
        raise ConfigError(
            "no utterance of the train part has words, but this system reads them; name the "
            "column of the words when preparing, or choose network.system=audio"
        )
    if config.uses_audio and not any(one.audio for one in train_set):
        raise ConfigError(
            "no utterance of the train part has sound, but this system reads it; name the "
            "column of the recordings when preparing, or choose network.system=text"
        )
    if config.uses_text:
        text = build.text_encoder(config.text, train_texts=train_texts, device=device)
    if config.uses_audio:
        audio = build.audio_encoder(config.audio, device=device)
    network = _network(config, text, audio, labels)
    cached_text = None if "text" in config.tuned else text
    cached_audio = None if "audio" in config.tuned else audio
    features = [
        _features(
            part,
            seen.manifest,
            labels,
            cached_text,
            cached_audio,
            cache,
            progress,
            fabric=fabric,
        )
        for part in (train_set, validation)
    ]
    if config.tuned:
        progress.say(f"tuned: {' and '.join(config.tuned)}; encoders run in each training step")
        features = [
            with_inputs(
                one,
                (tunable(text), text_items(part)) if "text" in config.tuned else None,
                (tunable(audio), audio_items(seen.manifest, part))
                if "audio" in config.tuned
                else None,
                on_progress=progress.task(f"reading {name}"),
            )
            for name, one, part in zip(
                ("train", "validation"), features, (train_set, validation), strict=True
            )
        ]
    if config.data.shuffle != "none":
        features = [one.shuffled(config.data.shuffle, config.data.seed) for one in features]
    live_text = text if config.text.live_dropout else None
    live_audio = audio if config.audio.live_dropout else None
    if live_text or live_audio:
        progress.say("live_dropout: encoders run in each training step, and the cache is not used")
        features[0] = with_live_dropout(
            features[0],
            (live_text, text_items(train_set)) if live_text else None,
            (live_audio, audio_items(seen.manifest, train_set)) if live_audio else None,
        )
    return _Ready(text, audio, features[0], features[1], validation, network)


def _network(
    config: Config, text: Encoder | None, audio: Encoder | None, labels: LabelSet
) -> nn.Module:
    """Build the network that the seed alone decides, before tuned encoders as they come."""
    torch.manual_seed(config.train.seed)
    network = build.network(config, text, audio, len(labels.labels))
    return tuned_network(config, text, audio, network)


def _train_leaf(
    leaf: Path,
    config: Config,
    labels: LabelSet,
    seen: Learnable,
    ready: _Ready,
    facts: Mapping[str, Any],
    fabric: Fabric,
    name: str,
    progress: Progress,
) -> None:
    first = parallel.is_first(fabric)
    if ready.text and "text" not in config.tuned and first:
        runs.save_encoder(leaf, "text", ready.text, whole=config.text.name == "tiny")
    if ready.audio and "audio" not in config.tuned and first:
        runs.save_encoder(leaf, "audio", ready.audio, whole=False)
    network = ready.network
    state = leaf / runs.STATE
    result = fit(
        network,
        ready.train,
        ready.validation,
        config.train,
        fabric=fabric,
        state=state,
        on_progress=progress.task(f"training {name}"),
    )
    probabilities = predict(network, ready.validation, device=fabric.device, fabric=fabric)
    answered = _predictions(ready.validated, "validation", probabilities, labels)
    if config.train.refit:
        network = _network(config, ready.text, ready.audio, labels)
        fit(
            network,
            ready.train.joined(ready.validation),
            None,
            config.train,
            fabric=fabric,
            epochs=result.best_epoch + 1,
            state=leaf / runs.REFIT_STATE,
            on_progress=progress.task(f"training {name} anew, validation included"),
        )
    if not first:
        return
    trainable = num_trainable(network)
    if isinstance(network, TunedNetwork):
        for modality, encoder in network.encoders():
            told = facts["alignment"].get(modality, {})
            learnt_from = {
                "modality": modality,
                "how": artefact.TUNED_IN_RUN,
                "leak": bool(told.get("leak")),
                "parts": artefact.parts_seen(
                    told, artefact.REFIT if config.train.refit else "train"
                ),
                "labels": list(labels.labels),
                "protocol": config.data.protocol,
                "base": {"name": getattr(config, modality).name},
                "data_sha256": runs.read_json(leaf / "environment.json")["data_sha256"],
                "parts_sha256": seen.fold.sha256(),
            }
            runs.save_tuned(leaf, modality, config, encoder, learnt_from)
        network = network.network
    runs.save_network(leaf, network)
    runs.write_history(leaf, result.history)
    runs.write_predictions(leaf, answered)
    metrics = {
        "state": "trained",
        "row": config.row,
        "row_changes": row_changes(config.row, config.model_dump()) if config.row else [],
        "system": config.network.system,
        "protocol": config.data.protocol,
        "parts_sha256": seen.fold.sha256(),
        "seed": config.train.seed,
        "processes": fabric.world_size,  # since each draws its own dropout
        "labels": list(labels.labels),
        "refit": config.train.refit,
        "trainable_parameters": trainable,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "counts": dict(Counter(seen.fold.parts.values())),
        **facts,
        "files_sha256": runs.seals(leaf),
        "parts": {"validation": score(answered)},
    }
    _finish(leaf, metrics)
    runs.tidy(leaf)
    best = metrics["parts"]["validation"]
    progress.say(
        f"{name}: best epoch {result.best_epoch + 1} of {len(result.history)}, validation "
        f"macro F1 {best['macro_f1']:.3f}"
    )


def _features(
    utterances: Sequence[Utterance],
    manifest: Manifest,
    labels: LabelSet,
    text: Encoder | None,
    audio: Encoder | None,
    cache: FeatureCache,
    progress: Progress,
    *,
    fabric: Fabric | None = None,
) -> FeatureSet:
    words = (text, text_items(utterances)) if text else None
    sound = (audio, audio_items(manifest, utterances)) if audio else None
    for source in (words, sound):
        if source:
            encode(*source, cache, progress, fabric=fabric)
    return load_features(utterances, labels.index, words, sound, cache)


def _answers(
    run: runs.Run,
    manifest: Manifest,
    utterances: Sequence[Utterance],
    cache: FeatureCache,
    device: str,
    progress: Progress,
) -> Predictions:
    """Answer for test utterances."""
    features = _features(utterances, manifest, run.labels, run.text, run.audio, cache, progress)
    if run.config.data.shuffle != "none":
        features = features.shuffled(run.config.data.shuffle, run.config.data.seed)
    probabilities = predict(run.network, features, device=torch.device(build.device(device)))
    return _predictions(utterances, "test", probabilities, run.labels)


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
            runs.load_run(leaf, device=build.device(device)),
            manifest,
            selection.utterances,
            cache,
            device,
            progress,
        )
        for leaf in leaves
    ]
    mean = np.mean([one.probabilities for one in several], axis=0)
    answered = _predictions(selection.utterances, "test", mean, selection.labels)
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


def _finish(leaf: Path, metrics: Mapping[str, Any]) -> None:
    write_text(leaf / "README.md", model_card(runs.load_config(leaf), metrics))
    write_json(leaf / "metrics.json", metrics)


def _predictions(
    utterances: Sequence[Utterance], part: str, probabilities: Any, labels: LabelSet
) -> Predictions:
    truth = [labels.index(one.emotion) for one in utterances]
    return Predictions(
        tuple(one.id for one in utterances),
        (part,) * len(utterances),
        np.array(truth, dtype=np.int64),
        probabilities,
        tuple(one.group for one in utterances),
        labels.labels,
    )


def _tell(
    config: Config,
    selection: Selection,
    folds: Sequence[Fold],
    leaked: Sequence[Mapping[str, float]],
    progress: Progress,
) -> None:
    if (
        config.row
        and ROWS[config.row].aligned
        and config.text.name == ROWS[config.row].settings()["text"]["name"]
    ):
        progress.say(
            f"row {config.row} asks for a self-aligned text encoder, but text.name is plain "
            f"{config.text.name}; give the aligned folder with --set text.name=FOLDER"
        )
    counts = Counter(part for fold in folds for part in fold.parts.values())
    shares = {name: float(np.mean([one.get(name, 0.0) for one in leaked])) for name in leaked[0]}
    shared = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share)
    several = f"{len(folds)} folds, added up" if len(folds) > 1 else "1 fold"
    apart = sum(len(selection.utterances) - len(fold.parts) for fold in folds)
    progress.say(
        f"{several}: train {counts['train']}, validation {counts['validation']}, "
        f"test {counts['test']}"
        + (f", left out by the protocol {apart}" if apart else "")
        + (f"; test utterances whose ... is also in train: {shared}" if shared else "")
    )
