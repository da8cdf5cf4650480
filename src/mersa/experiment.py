"""From a manifest and settings to a trained run folder, scored on validation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from mersa import build, figures, launch, parallel, runs, weights
from mersa.alignment import artefact
from mersa.answers import write_calibration, write_predictions
from mersa.batches import FeatureSet, audio_items, text_items, with_live_dropout
from mersa.calibration import fit_temperature, score_confident, tempered
from mersa.config import Config, located
from mersa.cutting import cut_corpus
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder
from mersa.encoders.cache import FeatureCache
from mersa.encoding import features_of
from mersa.errors import ConfigError
from mersa.evaluation import predictions_of
from mersa.folds import Fold, leaks
from mersa.manifest import Utterance, read_manifest
from mersa.margins import margins_of
from mersa.networks import num_trainable
from mersa.paper import ROWS, find_row, row_changes
from mersa.pooling import summarise
from mersa.progress import Progress
from mersa.selection import (
    Learnable,
    Selection,
    data_sha256,
    learnable,
)
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
        features_of(
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
        weights.save_encoder(leaf, "text", ready.text, whole=config.text.name == "tiny")
    if ready.audio and "audio" not in config.tuned and first:
        weights.save_encoder(leaf, "audio", ready.audio, whole=False)
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
    raw = predictions_of(ready.validated, "validation", probabilities, labels)
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
    sound = audio_items(seen.manifest, seen.part("train")) if config.uses_audio else {}
    margins = margins_of(sound)
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
            weights.save_tuned(leaf, modality, config, encoder, learnt_from)
        network = network.network
    weights.save_network(leaf, network)
    answered, calibration = raw, None
    if config.train.temperature:
        calibration = fit_temperature(raw.probabilities, raw.truth)
        write_calibration(leaf, calibration, parts_sha256=seen.fold.sha256())
        answered = tempered(raw, calibration.temperature)
        if calibration.note:
            progress.say(calibration.note)
    runs.write_history(leaf, result.history)
    write_predictions(leaf, answered)
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
        **({"calibration": asdict(calibration)} if calibration else {}),
        **({"margins": asdict(margins)} if margins else {}),
        "files_sha256": weights.seals(leaf),
        "parts": {"validation": score_confident(answered, raw if calibration else None)},
    }
    figures.coverage(answered, leaf / "figures" / "coverage.png")
    runs.finish(leaf, metrics)
    runs.tidy(leaf)
    best = metrics["parts"]["validation"]
    progress.say(
        f"{name}: best epoch {result.best_epoch + 1} of {len(result.history)}, validation "
        f"macro F1 {best['macro_f1']:.3f}"
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
