"""From a manifest and settings to aligned encoders, one for each fold of a protocol."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from mersa import __version__, build, launch, parallel
from mersa.alignment import artefact, folder, geometry, project, tune
from mersa.alignment.embedding import Tokenizes, embed
from mersa.alignment.fit import AlignState, fit
from mersa.alignment.settings import AlignConfig
from mersa.alignment.subject import Leaf, Subject
from mersa.config import located
from mersa.cutting import cut_corpus
from mersa.emotions import LabelSet
from mersa.encoders.cache import FeatureCache
from mersa.errors import AlignmentError, ConfigError
from mersa.files import one_process
from mersa.folds import Fold
from mersa.manifest import Utterance, read_manifest
from mersa.progress import Progress
from mersa.selection import (
    LEARNABLE,
    Learnable,
    Selection,
    data_sha256,
    learnable,
)

_VERSIONED = ("torch", "transformers", "pytorch-metric-learning", "lightning-fabric")


def align(
    manifest_path: Path,
    config: AlignConfig,
    out: Path,
    *,
    cache: FeatureCache | None = None,
    device: str = "auto",
    devices: int | None = None,
    again: bool = False,
    allow_leak: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Align an encoder under a protocol: every fold, resumable, the test part unread.

    Args:
        manifest_path: The manifest.
        config: All settings.
        out: The folder of the aligned encoder, or of `fold-1/ ...`; what is finished in it is not
            done again.
        cache: Where frames lie; a projection needs it.
        device: `auto`, `cpu` or `cuda[:n]`.
        devices: How many processes share each batch; None: one, or those that torchrun started.
        again: Align anew even where it is finished or differs.
        allow_leak: Let `align.parts = "all"` through, and stamp it.
        progress: What is told of it.

    Returns:
        `folder`, and under `folds` what the `alignment.json` of each fold holds, its `folder` too.

    Raises:
        AlignmentError: If all parts are asked for without `allow_leak`, a class has too few texts,
            or `out` holds something else.
    """
    _check_leak(config, allow_leak)
    return launch.in_processes(
        _align,
        devices,
        build.device(device),
        progress,
        manifest_path=manifest_path,
        config=config,
        out=out,
        cache=cache,
        again=again,
    )


def _align(
    *,
    manifest_path: Path,
    config: AlignConfig,
    out: Path,
    cache: FeatureCache | None,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    first = parallel.is_first(fabric)
    manifest = read_manifest(manifest_path)
    corpus = cut_corpus(manifest, config.data, progress)
    selection, folds = corpus.selection, corpus.folds
    config = located(config.model_copy(update={"data": corpus.data}))
    digest = data_sha256(selection.utterances)
    leaves = [out / fold.name for fold in folds]
    busy = AlignmentError(
        f"another process aligns into {out}; wait for it, or choose another --out"
    )
    with one_process(out, busy) if first else nullcontext():
        if first:
            folder.check_place(out, leaves, config, again=again)
            folder.check_base(out, getattr(config, config.align.modality).name)
        told = []
        for place, fold in zip(leaves, folds, strict=True):
            cut = artefact.Cut(selection.labels, digest, fold)
            if parallel.gather(fabric, folder.is_finished(place))[0] and not again:
                facts = artefact.read(place)
                artefact.check(place, facts, cut)
                if first:
                    folder.tidy(place)
                progress.say(f"{place}: finished before; --again aligns it anew")
            else:
                seen = learnable(selection.utterances, fold, manifest.folder)
                learnt = _learnt(config, selection, seen, fold)
                leaf = Leaf(place, config, seen, learnt, cut, fabric, progress)
                facts = _align_leaf(leaf, cache, again=again)
            told.append({"folder": str(place), **facts})
        if again and first:
            folder.clear_others(out, leaves)
    return {"folder": str(out), "folds": told}


def _learnt(
    config: AlignConfig, selection: Selection, seen: Learnable, fold: Fold
) -> Sequence[Utterance]:
    """Return what is learnt from: the train part, or all parts where a leak is let through."""
    if config.align.parts == "all":
        return tuple(one for one in selection.utterances if one.id in fold.parts)
    return seen.part("train")


def _align_leaf(leaf: Leaf, cache: FeatureCache | None, *, again: bool) -> dict[str, Any]:
    settings = leaf.config.align
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.how == "projection":
            if cache is None:
                raise ConfigError(
                    "a projection learns from frames, but no cache was given for them; give one"
                )
            subject = project.projection_subject(leaf, cache)
        elif settings.modality == "text":
            subject = tune.text_subject(leaf)
        else:
            subject = tune.audio_subject(leaf)
        return _fitted(leaf, subject, again=again)


def _fitted(leaf: Leaf, subject: Subject, *, again: bool) -> dict[str, Any]:
    """Align what was made ready, and write it; return what is told of it."""
    parts = [
        [
            (key, one.emotion)
            for one in leaf.seen.part(part)
            if (key := subject.key(one)) is not None
        ]
        for part in LEARNABLE
    ]

    settings = leaf.config.align
    judge = _Judge(parts, leaf.labels, settings.neighbours, subject.at_once)
    if parallel.is_first(leaf.fabric):
        folder.begin(leaf.folder, leaf.config, again=again)
    result = fit(
        subject.embedder,
        subject.source,
        subject.examples,
        settings,
        fabric=leaf.fabric,
        measure=lambda embedder: judge(embedder, subject.source),
        measure_before=partial(judge, *subject.plain) if subject.plain else None,
        at_once=subject.at_once,
        state=leaf.folder / folder.STATE,
        name=str(leaf.folder),
        progress=leaf.progress,
    )
    facts = _facts(leaf.config, leaf.cut, subject, result)
    if parallel.is_first(leaf.fabric):
        facts = folder.finish(leaf.folder, subject.save, facts)
    return parallel.gather(leaf.fabric, facts)[0]


class _Judge:
    """Balanced accuracy of the validation part by its nearest train utterances."""

    def __init__(
        self,
        parts: Sequence[Sequence[tuple[str, str]]],
        labels: LabelSet,
        neighbours: int,
        at_once: int | None,
    ) -> None:
        for name, part in zip(LEARNABLE, parts, strict=True):
            if not part:
                raise AlignmentError(
                    f"no utterance of the {name} part has what the encoder reads, but the space is "
                    "judged by the neighbours of validation in train; choose another protocol"
                )
        self._keys = [[key for key, _ in part] for part in parts]
        self._labels = [np.array([labels.index(emotion) for _, emotion in part]) for part in parts]
        self._neighbours = min(neighbours, len(parts[0]))
        self._num_labels = len(labels.labels)
        self._at_once = at_once

    def __call__(self, embedder: nn.Module, source: Tokenizes) -> float:
        train, validation = (
            geometry.unit(embed(embedder, source, keys, at_once=self._at_once))
            for keys in self._keys
        )
        if not (np.isfinite(train).all() and np.isfinite(validation).all()):
            return float("nan")
        train_labels, truth = self._labels
        answers = geometry.vote(
            train, train_labels, validation, self._num_labels, count=self._neighbours
        )
        # Balanced over the labels that the validation part has, which may lack one.
        return float(np.mean([(answers == label)[truth == label].mean() for label in set(truth)]))


def _facts(
    config: AlignConfig, cut: artefact.Cut, subject: Subject, result: AlignState
) -> dict[str, Any]:
    fold = cut.fold
    return {
        "modality": config.align.modality,
        "how": config.align.how,
        "leak": config.align.parts == "all" or bool(subject.base["leak"]),
        "parts": artefact.parts_seen(subject.base, config.align.parts),
        "labels": list(cut.labels.labels),
        "protocol": config.data.protocol,
        "fold": fold.name,
        "parts_sha256": fold.sha256(),
        "data_sha256": cut.data_sha256,
        "base": dict(subject.base),
        "preset": config.align.preset,
        "pooling": config.align.pooling,
        "seed": config.align.seed,
        "examples": dict(subject.examples.facts),
        "measures": {
            "validation": {
                "name": f"balanced accuracy by {config.align.neighbours} nearest train utterances",
                "before": result.before,
                "after": result.best_score,
            }
        },
        "best_epoch": result.best_epoch,
        "history": result.history,
        "settings": config.model_dump(mode="json"),
        "versions": {"mersa": __version__} | {name: metadata.version(name) for name in _VERSIONED},
    }


def _check_leak(config: AlignConfig, allow_leak: bool) -> None:
    if config.align.parts == "all" and not allow_leak:
        raise AlignmentError(
            "align.parts is 'all', so the encoder would learn the labels of validation and test, "
            "and every score read with it would be inflated; align on the train part, or show the "
            "leak with --allow-leak, which stamps it into all that is made from it"
        )
