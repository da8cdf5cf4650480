"""From a manifest and settings to aligned encoders, one for each fold of a protocol."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from mersa import __version__, build, launch, parallel
from mersa.alignment import artefact, folder, geometry, project
from mersa.alignment.embedding import Embedder, Tokenizes, embed
from mersa.alignment.fit import AlignState, fit
from mersa.alignment.sampling import Examples, check_batches, choose_examples
from mersa.alignment.settings import AlignConfig
from mersa.cutting import cut_corpus
from mersa.emotions import LabelSet
from mersa.encoders.cache import FeatureCache
from mersa.encoders.text import TextEncoder
from mersa.errors import AlignmentError, ConfigError
from mersa.files import one_process
from mersa.folds import Fold
from mersa.manifest import Manifest, Utterance, read_manifest
from mersa.progress import Progress
from mersa.selection import (
    LEARNABLE,
    Learnable,
    Selection,
    counts_text,
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
    config = config.model_copy(update={"data": corpus.data})
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
        for leaf, fold in zip(leaves, folds, strict=True):
            known = artefact.Cut(selection.labels, digest, fold)
            if parallel.gather(fabric, folder.is_finished(leaf))[0] and not again:
                facts = artefact.read(leaf)
                artefact.check(leaf, facts, known)
                if first:
                    folder.tidy(leaf)
                progress.say(f"{leaf}: finished before; --again aligns it anew")
            else:
                facts = _align_leaf(
                    leaf, config, manifest, selection, known, cache, again, fabric, progress
                )
            told.append({"folder": str(leaf), **facts})
        if again and first:
            folder.clear_others(out, leaves)
    return {"folder": str(out), "folds": told}


def _align_leaf(
    leaf: Path,
    config: AlignConfig,
    manifest: Manifest,
    selection: Selection,
    known: artefact.Cut,
    cache: FeatureCache | None,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    fold, settings = known.fold, config.align
    seen = learnable(selection.utterances, fold, manifest.folder)
    learnt: tuple[Utterance, ...] = seen.part("train")
    if settings.parts == "all":
        learnt = tuple(one for one in selection.utterances if one.id in fold.parts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.how == "projection":
            if cache is None:
                raise ConfigError(
                    "a projection learns from frames, but no cache was given for them; give one"
                )
            return _project(leaf, config, seen, learnt, known, cache, again, fabric, progress)
        return _tune(leaf, config, seen, learnt, known, again, fabric, progress)


def _tune(
    leaf: Path,
    config: AlignConfig,
    seen: Learnable,
    learnt: Sequence[Utterance],
    known: artefact.Cut,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    """Align the weights of an encoder of words."""
    settings = config.align
    examples = choose_examples(learnt, known.labels, settings.conflicts)
    _tell(str(leaf), examples, progress)
    check_batches(examples, known.labels, settings)
    encoder, base = _base(config, known, str(fabric.device))
    model, lacking = encoder.load()
    trained = model.requires_grad_(True)
    for name, weight in trained.named_parameters():
        if name.startswith("pooler.") or ".pooler." in name:
            weight.requires_grad_(False)  # stands behind the frames that are aligned
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    embedder = Embedder(model, settings.pooling)
    parts = [
        [(one.text, one.emotion) for one in seen.part(part) if one.text.strip()]
        for part in LEARNABLE
    ]
    measure = _Measure(encoder, parts, known.labels, settings.neighbours)
    if parallel.is_first(fabric):
        folder.begin(leaf, config, again=again)
    result = fit(
        embedder,
        encoder,
        examples,
        settings,
        fabric=fabric,
        measure=measure,
        state=leaf / folder.STATE,
        name=str(leaf),
        progress=progress,
    )
    facts = _facts(config, known, examples, base, result)
    if parallel.is_first(fabric):
        facts = folder.finish(leaf, embedder, lacking, encoder, facts)
    return parallel.gather(fabric, facts)[0]


def _project(
    leaf: Path,
    config: AlignConfig,
    seen: Learnable,
    learnt: Sequence[Utterance],
    known: artefact.Cut,
    cache: FeatureCache,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    """Align by a projection of the frames of a frozen encoder, of words or sound."""
    settings = config.align
    wanted = {one.id: one for part in (learnt, seen.manifest) for one in part}
    corpus = tuple(wanted.values())
    held = project.corpus_encoder(config, seen.manifest, corpus, known, str(fabric.device))
    examples = project.clips(held, learnt, known.labels, settings.conflicts)
    _tell(str(leaf), examples, progress)
    check_batches(examples, known.labels, settings)
    frames = project.frames_of(held, corpus, cache, progress, fabric=fabric)
    projection = project.new_projection(config, held, [frames[text] for text in examples.texts])
    projector = project.Projector(projection, settings.pooling)
    source = project.Frames(frames, width=projection.sizes[2], device=str(fabric.device))
    plain = project.Projector(nn.Identity(), settings.pooling)
    raw = project.Frames(frames, width=projection.sizes[0], device=str(fabric.device))
    parts = [
        [(held.key(one), one.emotion) for one in seen.part(part) if held.key(one) in frames]
        for part in LEARNABLE
    ]
    measure = _Measure(source, parts, known.labels, settings.neighbours)
    if parallel.is_first(fabric):
        folder.begin(leaf, config, again=again)
    result = fit(
        projector,
        source,
        examples,
        settings,
        fabric=fabric,
        measure=measure,
        state=leaf / folder.STATE,
        name=str(leaf),
        progress=progress,
    )
    # A new projection is another space than the encoder's own.
    result.before = _Measure(raw, parts, known.labels, settings.neighbours)(plain)
    base = {
        "name": held.encoder.name,
        "revision": getattr(held.encoder, "commit", None),
        "fingerprint": held.encoder.fingerprint,
        "leak": held.leak,
    }
    facts = _facts(config, known, examples, base, result)
    if parallel.is_first(fabric):
        facts = folder.finish_projection(leaf, projection, held, facts)
    return parallel.gather(fabric, facts)[0]


class _Measure:
    """Balanced accuracy of the validation part by its nearest train utterances."""

    def __init__(
        self,
        source: Tokenizes,
        parts: Sequence[Sequence[tuple[str, str]]],
        labels: LabelSet,
        neighbours: int,
    ) -> None:
        for name, part in zip(LEARNABLE, parts, strict=True):
            if not part:
                raise AlignmentError(
                    f"no utterance of the {name} part has what the encoder reads, but the space is "
                    "judged by the neighbours of validation in train; choose another protocol"
                )
        self._source = source
        self._keys = [[key for key, _ in part] for part in parts]
        self._labels = [np.array([labels.index(emotion) for _, emotion in part]) for part in parts]
        self._neighbours = min(neighbours, len(parts[0]))
        self._num_labels = len(labels.labels)

    def __call__(self, embedder: nn.Module) -> float:
        train, validation = (
            geometry.unit(embed(embedder, self._source, keys)) for keys in self._keys
        )
        if not (np.isfinite(train).all() and np.isfinite(validation).all()):
            return float("nan")
        train_labels, truth = self._labels
        answers = geometry.vote(
            train, train_labels, validation, self._num_labels, count=self._neighbours
        )
        # Balanced over the labels that the validation part has, which may lack one.
        return float(np.mean([(answers == label)[truth == label].mean() for label in set(truth)]))


def _base(
    config: AlignConfig, known: artefact.Cut, device: str
) -> tuple[TextEncoder, dict[str, Any]]:
    """Return the encoder to begin from, and what is told of it."""
    if config.text.name == "tiny":
        raise ConfigError(
            "text.name is 'tiny', which has no weights to align; give a Hugging Face encoder, or a "
            "folder with one"
        )
    name = config.text.name
    leak: dict[str, Any] = {}
    before = artefact.fitting(name, known)
    if before is not None:
        place, facts = before
        name, leak = str(place), {"leak": facts["leak"]}
    encoder = TextEncoder(
        name, revision=config.text.revision, max_tokens=config.text.max_tokens, device=device
    )
    base = {"name": name, "revision": encoder.commit, "fingerprint": encoder.fingerprint}
    return encoder, base | leak


def _facts(
    config: AlignConfig,
    known: artefact.Cut,
    examples: Examples,
    base: Mapping[str, Any],
    result: AlignState,
) -> dict[str, Any]:
    fold: Fold = known.fold
    return {
        "modality": config.align.modality,
        "how": config.align.how,
        "leak": config.align.parts == "all" or bool(base.get("leak")),
        "parts": config.align.parts,
        "labels": list(known.labels.labels),
        "protocol": config.data.protocol,
        "fold": fold.name,
        "parts_sha256": fold.sha256(),
        "data_sha256": known.data_sha256,
        "base": dict(base),
        "preset": config.align.preset,
        "pooling": config.align.pooling,
        "seed": config.align.seed,
        "examples": dict(examples.facts),
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


def _tell(name: str, examples: Examples, progress: Progress) -> None:
    noun = "recordings" if "without_sound" in examples.facts else "texts"
    told = (
        f"{name}: {examples.facts['texts']} {noun} to align on "
        f"({counts_text(examples.facts['by_label'])})"
    )
    conflicts = examples.facts.get("conflicts")
    if conflicts:
        told += (
            f"; {conflicts['texts']} texts stand under several labels "
            f"({conflicts['utterances']} utterances), rule {conflicts['rule']}: "
            f"{conflicts['left_out']} left out"
        )
    progress.say(told)
