"""An aligned encoder beside the one that it was made from: measures, and Fig. 3 of the paper.

This reads the test part. Nothing may be chosen by what it tells of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mersa import build
from mersa.alignment import artefact
from mersa.alignment.embedding import Pooling
from mersa.alignment.picture import draw_spaces
from mersa.alignment.pooled import points, pooled_vectors
from mersa.alignment.settings import AlignConfig
from mersa.alignment.space import Comparison, Points, Space, compare, to_text
from mersa.batches import audio_items, encode, text_items
from mersa.bootstrap import DRAWS
from mersa.config import AudioSettings, TextSettings
from mersa.cutting import cut_folds
from mersa.emotions import label_set
from mersa.encoders.base import Derived, Encoder
from mersa.encoders.cache import FeatureCache
from mersa.errors import AlignmentError, ConfigError
from mersa.figures import save_png
from mersa.files import write_json, write_text
from mersa.folds import Fold, natural_key
from mersa.manifest import PARTS, Manifest, read_manifest
from mersa.progress import Progress, Silent
from mersa.selection import Selection, data_sha256, select

READ = ("validation", "test")
"""The parts that are measured if none are named."""


@dataclass(frozen=True)
class Study:
    """Two spaces of one corpus.

    Attributes:
        told: What was compared: `modality, before, after, labels, protocol, folds, pooling, leak`.
        labels: The emotion words.
        parts: The comparison on each part, all folds together.
        drawn: Points of each part in both spaces, of the first fold.
        fold: Its name; empty where there is one fold alone.
    """

    told: Mapping[str, Any]
    labels: tuple[str, ...]
    parts: Mapping[str, Comparison]
    drawn: Mapping[str, tuple[Points, Points]]
    fold: str

    def as_dict(self) -> dict[str, Any]:
        """Return what was compared and every measure."""
        return {**self.told, "parts": {name: one.as_dict() for name, one in self.parts.items()}}

    def text(self) -> str:
        """Return a table for each part."""
        tables = []
        for name, one in self.parts.items():
            columns = {"before": one.before, "after": one.after, "difference": one.difference}
            tables.append(f"{name}\n{to_text(columns)}")
        if self.told["leak"]:
            tables.append(
                "LEAK: the encoder was aligned on these parts, so no measure of it counts\n"
            )
        return "\n".join(tables)


def study(
    manifest_path: Path,
    aligned: Path,
    *,
    cache: FeatureCache,
    parts: Sequence[str] = READ,
    draws: int = DRAWS,
    device: str = "auto",
    progress: Progress | None = None,
) -> Study:
    """Measure an aligned encoder, of words or sound, and the one that it was made from.

    Args:
        manifest_path: The manifest that it was aligned on.
        aligned: A folder that `mersa align` made, of one fold or of several.
        cache: Where frames lie.
        parts: Which parts are measured, of `validation` and `test`.
        draws: Bootstrap draws.
        device: `auto`, `cpu` or `cuda[:n]`.
        progress: What is told of it.

    Raises:
        AlignmentError: If the folder is no aligned encoder, is unfinished, or was aligned on other
            data.
        ConfigError: If a part cannot be measured.
        RunError: As `space.measure`.
    """
    progress = progress or Silent()
    if not parts:
        raise ConfigError(f"no part was named; choose {' or '.join(PARTS[1:])}")
    for name in parts:
        if name not in PARTS[1:]:
            raise ConfigError(
                f"part {name!r} is not measured; choose {' or '.join(PARTS[1:])}, which are looked "
                "up in train"
            )
    leaves = _leaves(aligned)
    every = [artefact.read(leaf) for leaf in leaves]
    if any(facts.get("how") == artefact.TUNED_IN_RUN for facts in every):
        raise AlignmentError(f"{leaves[0]} was tuned in a run; name a folder that mersa align made")
    try:
        config = AlignConfig.model_validate(every[0]["settings"])
    except ValidationError:
        raise artefact.not_ours(leaves[0] / artefact.FACTS) from None
    manifest = read_manifest(manifest_path)
    labels = label_set(config.data.labels, [one.emotion for one in manifest])
    selection = select(manifest, labels, min_duration_s=config.data.min_duration_s)
    folds = {fold.name: fold for fold in cut_folds(selection.utterances, config.data)}
    digest = data_sha256(selection.utterances)
    pooling = config.align.pooling
    spaces: dict[str, tuple[list[Space], list[Space]]] = {name: ([], []) for name in parts}
    for leaf, facts in zip(leaves, every, strict=True):
        fold = folds.get(facts["fold"])
        if fold is None:
            raise AlignmentError(
                f"{leaf} was aligned for {facts['fold'] or 'one fold alone'}, which this manifest "
                "does not give; name the manifest that it was aligned on"
            )
        artefact.check(leaf, facts, artefact.Cut(labels, digest, fold))
        for place, encoder in enumerate(_encoders(leaf, facts, config, build.device(device))):
            progress.say(f"{leaf}: {'after' if place else 'before'}, {encoder.name}")
            held = _points(encoder, manifest, selection, fold, parts, cache, pooling, progress)
            for name in parts:
                spaces[name][place].append(Space(held["train"], held[name]))
    told = {
        "modality": every[0]["modality"],
        "before": every[0]["base"]["name"],
        "after": str(aligned),
        "labels": list(labels.labels),
        "protocol": every[0]["protocol"],
        "folds": len(leaves),
        "pooling": pooling,
        "leak": any(one["leak"] for one in every),
    }
    return Study(
        told,
        labels.labels,
        {name: compare(*both, draws=draws) for name, both in spaces.items()},
        {name: (both[0][0].part, both[1][0].part) for name, both in spaces.items()},
        every[0]["fold"] if len(leaves) > 1 else "",
    )


def write_study(found: Study, out: Path, *, seed: int = 0) -> list[Path]:
    """Write what a study found: `space.json`, `space.txt`, and Fig. 3 of each part; return them.

    Args:
        found: The study.
        out: Folder for the files.
        seed: Of the points that are drawn, and of the t-SNE.
    """
    written = [out / "space.json", out / "space.txt"]
    pictures = {}
    for part, (before, after) in found.drawn.items():
        pictures[out / f"figure3-{part}.png"] = draw_spaces(
            before,
            after,
            found.labels,
            measured=found.parts[part],
            part=part,
            fold=found.fold,
            titles=("Frozen encoder", "Self-aligned") if not found.told["leak"] else _LEAKED,
            seed=seed,
        )
    write_json(written[0], found.as_dict())
    write_text(written[1], found.text())
    for path, figure in pictures.items():
        save_png(figure, path)
    return [*written, *pictures]


_LEAKED = ("Frozen encoder", "Self-aligned on all parts (LEAK)")


def _leaves(aligned: Path) -> list[Path]:
    inner = sorted(aligned.glob("fold-*"), key=lambda one: natural_key(one.name))
    found = [one for one in (aligned, *inner) if artefact.is_aligned(one)]
    if not found:
        raise AlignmentError(
            f"{aligned} holds no aligned encoder; name a folder that mersa align made"
        )
    return found


def _encoders(
    leaf: Path, facts: Mapping[str, Any], config: AlignConfig, device: str
) -> tuple[Encoder, Encoder]:
    """Return the encoder before and after."""
    after: Encoder
    before: Encoder
    own = {"name": str(leaf), "revision": None}
    was = {"name": facts["base"]["name"]}
    projection = facts["how"] == "projection"
    if facts["modality"] == "audio":
        sound = AudioSettings() if projection else config.audio
        after = build.audio_encoder(sound.model_copy(update=own), device=device)
        if isinstance(after, Derived):
            return after.base, after
        before = build.audio_encoder(config.audio.model_copy(update=was), device=device)
    else:
        words = TextSettings() if projection else config.text
        after = build.text_encoder(words.model_copy(update=own), device=device)
        if isinstance(after, Derived):
            return after.base, after
        before = build.text_encoder(config.text.model_copy(update=was), device=device)
    if before.fingerprint != facts["base"]["fingerprint"]:
        raise AlignmentError(
            f"{before.name} has other weights than {leaf} was made from (fingerprint "
            f"{before.fingerprint[:12]}, expected {facts['base']['fingerprint'][:12]}); bring "
            "back those weights"
        )
    return before, after


def _points(
    encoder: Encoder,
    manifest: Manifest,
    selection: Selection,
    fold: Fold,
    parts: Sequence[str],
    cache: FeatureCache,
    pooling: Pooling,
    progress: Progress,
) -> dict[str, Points]:
    wanted = ("train", *parts)
    utterances = [one for one in selection.utterances if fold.parts.get(one.id) in wanted]
    text = encoder.modality == "text"
    items = text_items(utterances) if text else audio_items(manifest, utterances)
    encode(encoder, items, cache, progress)
    vectors = pooled_vectors(encoder, items, cache, pooling=pooling)
    label_of: Callable[[str], int | None] = selection.labels.index
    return {
        name: points([one for one in utterances if fold.parts[one.id] == name], vectors, label_of)
        for name in wanted
    }
