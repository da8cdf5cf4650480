"""From a manifest and settings to aligned encoders, one for each fold of a protocol."""

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from mersa import __version__, build, launch, parallel
from mersa.alignment import artefact, folder
from mersa.alignment.embedding import Embedder, embed
from mersa.alignment.fit import Fit, fit
from mersa.alignment.sampling import Examples, check_batches, choose_examples
from mersa.alignment.settings import AlignConfig
from mersa.emotions import LabelSet, label_set
from mersa.encoders.cache import FeatureCache
from mersa.encoders.text import TextEncoder
from mersa.errors import AlignmentError, ConfigError
from mersa.files import one_process
from mersa.folds import Fold
from mersa.manifest import Utterance, read_manifest
from mersa.progress import Progress
from mersa.protocols import choose, cut
from mersa.selection import Selection, check_fold, counts_text, data_sha256, learnable, select

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
        cache: Where frames lie; not needed for text.
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
        again=again,
    )


def _align(
    *,
    manifest_path: Path,
    config: AlignConfig,
    out: Path,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    first = parallel.is_first(fabric)
    manifest = read_manifest(manifest_path)
    labels = label_set(config.data.labels, [utterance.emotion for utterance in manifest])
    selection = select(manifest, labels, min_duration_s=config.data.min_duration_s, whole=True)
    if selection.left_out:
        progress.say(f"left out: {counts_text(selection.left_out)}")
    if config.data.protocol == "auto":
        protocol = choose(selection.utterances)
        config = config.model_copy(
            update={"data": config.data.model_copy(update={"protocol": protocol})}
        )
        progress.say(f"protocol {protocol}, chosen by the columns of the manifest")
    folds = cut(
        selection.utterances,
        config.data.protocol,
        seed=config.data.seed,
        folds=config.data.folds,
        validation_share=config.data.validation_share,
        validation_group=config.data.validation_group,
    )
    for fold in folds:
        check_fold(fold, selection)
    leaves = [out / fold.name for fold in folds]
    busy = AlignmentError(
        f"another process aligns into {out}; wait for it, or choose another --out"
    )
    with one_process(out, busy) if first else nullcontext():
        if first:
            folder.check_place(out, leaves, config, again=again)
        told = []
        for leaf, fold in zip(leaves, folds, strict=True):
            known = artefact.Cut(labels, data_sha256(selection.utterances), fold)
            if parallel.gather(fabric, folder.is_finished(leaf))[0] and not again:
                facts = artefact.read(leaf)
                artefact.check(leaf, facts, known)
                if first:
                    folder.tidy(leaf)
                progress.say(f"{leaf}: finished before; --again aligns it anew")
            else:
                facts = _align_leaf(leaf, config, selection, known, again, fabric, progress)
            told.append({"folder": str(leaf), **facts})
    return {"folder": str(out), "folds": told}


def _align_leaf(
    leaf: Path,
    config: AlignConfig,
    selection: Selection,
    known: artefact.Cut,
    again: bool,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, Any]:
    fold, settings = known.fold, config.align
    seen = learnable(selection.utterances, fold, Path())
    learnt: tuple[Utterance, ...] = seen.part("train")
    if settings.parts == "all":
        learnt = tuple(one for one in selection.utterances if one.id in fold.parts)
    examples = choose_examples(learnt, known.labels, settings.conflicts)
    _tell(str(leaf), examples, progress)
    check_batches(examples, known.labels, settings)
    encoder, base = _base(config, known, str(fabric.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, lacking = encoder.load()
        trained = model.requires_grad_(True)
        for name, weight in trained.named_parameters():
            if name.startswith("pooler.") or ".pooler." in name:
                weight.requires_grad_(False)  # stands behind the frames that are aligned
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
        embedder = Embedder(model, settings.pooling)
        if parallel.is_first(fabric):
            folder.begin(leaf, config, again=again)
        measure = _Measure(
            encoder, seen.part("train"), seen.part("validation"), known.labels, config
        )
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


class _Measure:
    """Balanced accuracy of the validation part by its nearest train texts."""

    def __init__(
        self,
        encoder: TextEncoder,
        train: tuple[Utterance, ...],
        validation: tuple[Utterance, ...],
        labels: LabelSet,
        config: AlignConfig,
    ) -> None:
        self._encoder = encoder
        self._parts = [[one for one in part if one.text.strip()] for part in (train, validation)]
        self._labels = labels
        self._neighbours = min(config.align.neighbours, len(self._parts[0]))

    def __call__(self, embedder: Embedder) -> float:
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.neighbors import KNeighborsClassifier

        train, validation = (
            embed(embedder, self._encoder, [one.text for one in part]) for part in self._parts
        )
        train_y, validation_y = (
            [self._labels.index(one.emotion) for one in part] for part in self._parts
        )
        voters = KNeighborsClassifier(self._neighbours, metric="cosine").fit(train, train_y)
        return float(balanced_accuracy_score(validation_y, voters.predict(validation)))


def _base(
    config: AlignConfig, known: artefact.Cut, device: str
) -> tuple[TextEncoder, dict[str, Any]]:
    """Return the encoder to begin from, and what is told of it."""
    if config.text.name == "tiny":
        raise ConfigError(
            "text.name is 'tiny', which has no weights to align; give a Hugging Face encoder, or a "
            "folder with one"
        )
    name, aligned = config.text.name, None
    before = artefact.find(name, known.fold)
    if before is not None:
        aligned = artefact.read(before)
        artefact.check(before, aligned, known)
        name = str(before)
    encoder = TextEncoder(
        name, revision=config.text.revision, max_tokens=config.text.max_tokens, device=device
    )
    base = {"name": name, "revision": encoder.commit, "fingerprint": encoder.fingerprint}
    return encoder, base | ({"leak": aligned["leak"]} if aligned else {})


def _facts(
    config: AlignConfig,
    known: artefact.Cut,
    examples: Examples,
    base: Mapping[str, Any],
    result: Fit,
) -> dict[str, Any]:
    fold: Fold = known.fold
    return {
        "modality": "text",
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
                "name": f"balanced accuracy by {config.align.neighbours} nearest train texts",
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
    conflicts = examples.facts["conflicts"]
    progress.say(
        f"{name}: {examples.facts['texts']} texts to align on "
        f"({counts_text(examples.facts['by_label'])}); {conflicts['texts']} texts stand under "
        f"several labels ({conflicts['utterances']} utterances), rule {conflicts['rule']}: "
        f"{conflicts['left_out']} left out"
    )
