"""Published classifiers of Hugging Face as a model of emotions, alone or fused late.

    hf:AUDIO   hf:+TEXT   hf:AUDIO+TEXT        each a folder or an id, an id with @REVISION or not

A folder with `checkpoint.json`, which `mersa evaluate hf:... --out` writes, names the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from yaml import YAMLError  # type: ignore[import-untyped]

from mersa.card import last_name
from mersa.emotions import LabelSet
from mersa.encoders.classifier import (
    SpeechClassifier,
    TextClassifier,
    classifier_in,
    load_classifier,
)
from mersa.encoders.hub import readme_of
from mersa.encoders.huggingface import quiet
from mersa.errors import ConfigError, EncoderError, RunError
from mersa.files import write_json, write_text, write_whole_folder
from mersa.progress import Progress, Silent
from mersa.recognize.checkpoint_card import checkpoint_card
from mersa.recognize.fusion import EVEN, check_weight, fuse
from mersa.recognize.labelling import LabelTable, check_mapping, common_labels, label_table
from mersa.recognize.scoring import Probabilities, Spoken, encoded
from mersa.runs import CHECKPOINT, PREFIX, read_json

SCHEMA = 1
"""Version of `checkpoint.json`."""


@dataclass(frozen=True)
class Half:
    """One of the two classifiers.

    Attributes:
        classifier: Gives logits.
        table: What its labels count as.
        revision: As it was asked for; None for none.
    """

    classifier: SpeechClassifier | TextClassifier
    table: LabelTable
    revision: str | None = None

    def probabilities(self, logits: Sequence[torch.Tensor], labels: LabelSet) -> Probabilities:
        """Return the probability of each word, (N, C), for N frames of logits, (1, K) each."""
        return self.table.probabilities(torch.cat(list(logits)).numpy(), labels)


class CheckpointScorer:
    """Scores by published classifiers, each as it is; both answer by a weighted mean.

    Attributes:
        halves: By modality, `audio` before `text`.
        weight: Of the sound, where there are both.

    Args:
        halves: The attribute, at least one.
        labels: What is told apart.
        weight: The attribute.
    """

    def __init__(
        self, halves: Mapping[str, Half], labels: LabelSet, *, weight: float = EVEN
    ) -> None:
        self.halves = dict(halves)
        self.weight = check_weight(weight)
        self._labels = labels

    @property
    def name(self) -> str:
        """What tables call it, as `hf:AUDIO+TEXT`; of folders the last name alone."""
        names = {
            modality: last_name(half.classifier.name) for modality, half in self.halves.items()
        }
        return PREFIX + names.get("audio", "") + (f"+{names['text']}" if "text" in names else "")

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        return self._labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        return tuple(name for name in ("text", "audio") if name in self.halves)

    def score(self, utterances: Sequence[Spoken]) -> Probabilities:
        """Return probabilities, (N, C); see the protocol `Scorer`."""
        texts = [one.text.strip() or None for one in utterances]
        sounds = [one.audio for one in utterances]
        frames: dict[str, tuple[torch.Tensor, ...]] = {}
        audio, text = self.halves.get("audio"), self.halves.get("text")
        return fuse(
            audio.probabilities(encoded(audio.classifier, sounds, frames), self.labels)
            if audio
            else None,
            text.probabilities(encoded(text.classifier, texts, frames), self.labels)
            if text
            else None,
            [one is not None for one in sounds],
            [one is not None for one in texts],
            self.weight,
        )

    def load(self) -> None:
        """Load the weights now.

        Raises:
            EncoderError: If they do not fit.
        """
        for half in self.halves.values():
            half.classifier.load()

    def told(self) -> list[str]:
        """Return what the labels of each checkpoint count as, and the weight of two."""
        fused = f"weight of the sound {self.weight:g}, of the words {1 - self.weight:g}"
        return self.labels_told() + ([fused] if len(self.halves) == 2 else [])

    def card(self) -> str:
        """Return the page of what they are."""
        return checkpoint_card(self.facts())

    def labels_told(self) -> list[str]:
        """Return what the labels of each checkpoint count as, one line each."""
        return [
            f"labels of {half.classifier.name} ({modality}): {half.table.text(self.labels)}"
            for modality, half in self.halves.items()
        ]

    def facts(self) -> dict[str, Any]:
        """Return what `checkpoint.json` holds: all that decides the answers."""
        halves = {
            modality: {
                "name": _lasting(half.classifier.name),
                "revision": half.classifier.commit or half.revision,
                "fingerprint": half.classifier.fingerprint,
                "licence": licence_of(half),
                "multi_label": half.table.multi_label,
                "labels": dict(zip(half.table.names, half.table.words, strict=True)),
                "counted_as": half.table.as_dict(self.labels),
            }
            for modality, half in self.halves.items()
        }
        return {
            "schema": SCHEMA,
            "name": self.name,
            **halves,
            "label_set": self.labels.name,
            "labels": list(self.labels.labels),
            "merges": dict(self.labels.merges),
            "weight": self.weight if len(self.halves) == 2 else None,
        }


def load_checkpoint(
    name: str | Path,
    *,
    labels: str | None = None,
    mapping: Mapping[str, str] | None = None,
    weight: float | None = None,
    device: str = "cpu",
) -> CheckpointScorer:
    """Load `hf:...`, or the folder that names it.

    Args:
        name: As in the module's first lines.
        labels: A label set, as `iemocap-4`, or words with commas between them; by default the words
            that all of its classifiers have.
        mapping: Meanings of labels that come before the known ones.
        weight: Of the sound.
        device: Where it runs, as torch names it.

    Raises:
        ConfigError: If the name, the labels, the mapping or the weight do not fit.
        EncoderError: If a checkpoint cannot be had, or is no classifier that mersa can run.
        RunError: If the folder is broken, or names other weights than are found.
    """
    if not str(name).startswith(PREFIX):
        if labels is not None or mapping or weight is not None:
            raise ConfigError(
                f"{name} has its labels and its weight already; give labels, mapping and weight "
                f"with {PREFIX}... alone"
            )
        return _load_folder(Path(name), device)
    halves = _open(str(name), mapping or {}, device)
    tables = {half.classifier.name: half.table for half in halves.values()}
    check_mapping(tables, mapping or {})
    if weight is not None and len(halves) < 2:
        raise ConfigError(f"{name} is one classifier, which has no weight; leave the weight out")
    return CheckpointScorer(
        halves, common_labels(tables, labels), weight=EVEN if weight is None else weight
    )


def save_checkpoint(scorer: CheckpointScorer, folder: Path) -> None:
    """Write the file by which `load_checkpoint(folder)` gives the same answers."""
    write_json(folder / CHECKPOINT, scorer.facts())


def bundle_checkpoint(folder: Path, *, progress: Progress | None = None) -> list[str]:
    """Copy the checkpoints that a folder names into it, so that it works offline anywhere.

    Returns:
        The folders that were copied to now.
    """
    progress = progress or Silent()
    copied = []
    for modality, half in _load_folder(folder, "cpu").halves.items():
        inside = folder / "encoders" / modality
        if inside.is_dir():
            continue
        with write_whole_folder(inside) as partial:
            half.classifier.save(partial)
            readme = readme_of(half.classifier.name, half.classifier.folder)
            if readme:  # which states the licence
                write_text(partial / "README.md", readme)
        copied.append(str(inside))
        progress.say(f"copied {half.classifier.name} to {inside}")
    progress.say(f"{folder} holds all that it needs to answer, offline and on other machines")
    return copied


def licence_of(half: Half) -> str | None:
    """Return the licence that a checkpoint's README.md states, None if it states none."""
    from huggingface_hub import ModelCard

    text = readme_of(half.classifier.name, half.classifier.folder)
    try:
        with quiet():
            stated = ModelCard(text).data.get("license")
    except (ValueError, YAMLError):
        return None
    return None if stated is None else str(stated)


def _open(name: str, mapping: Mapping[str, str], device: str) -> dict[str, Half]:
    first, second = _names(name)
    halves: dict[str, Half] = {}
    for asked, expected in ((first, "audio"), (second, "text")):
        if not asked:
            continue
        id_, revision = _with_revision(asked)
        classifier = load_classifier(id_, revision=revision, device=device)
        modality = classifier.modality
        if second and modality != expected:
            right = f"{second}+{first}" if first else second
            raise ConfigError(
                f"{name} gives {id_!r} as classifier of {expected}, but by its config.json it "
                f"reads {modality}; sound stands before the + and words behind it, as in "
                f"{PREFIX}{right}"
            )
        table = label_table(
            classifier.label_names, multi_label=classifier.multi_label, mapping=mapping
        )
        halves[modality] = Half(classifier, table, revision)
    return halves


def _names(name: str) -> tuple[str, str]:
    """Cut `hf:AUDIO+TEXT` in two; what is alone stands first, or second behind a +."""
    rest = name.removeprefix(PREFIX)
    if rest and Path(rest).is_dir():
        return rest, ""
    first, _, second = rest.partition("+")
    if not (first or second) or "+" in second:
        raise ConfigError(
            f"{name!r} names no checkpoints; write {PREFIX}AUDIO, {PREFIX}+TEXT or "
            f"{PREFIX}AUDIO+TEXT with ids of the Hugging Face Hub or folders without a + in them"
        )
    return first, second


def _with_revision(name: str) -> tuple[str, str | None]:
    if Path(name).expanduser().is_dir():
        return name, None
    id_, at, revision = name.rpartition("@")
    return (id_, revision) if at else (name, None)


def _lasting(name: str) -> str:
    """Return a name that means the same from any working folder."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _load_folder(folder: Path, device: str) -> CheckpointScorer:
    facts = read_json(folder / CHECKPOINT, remedy="write it anew with: mersa evaluate hf:... --out")
    try:
        halves: dict[str, Half] = {
            modality: _stored_half(facts[modality], modality, folder, device)
            for modality in ("audio", "text")
            if modality in facts
        }
        labels = LabelSet(facts["label_set"], tuple(facts["labels"]), facts["merges"])
        weight = EVEN if facts["weight"] is None else float(facts["weight"])
        return CheckpointScorer(halves, labels, weight=weight)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{folder / CHECKPOINT} is not what mersa evaluate writes ({error!r}); write it anew"
        ) from None


def _stored_half(facts: Mapping[str, Any], modality: str, folder: Path, device: str) -> Half:
    name, inside = facts["name"], folder / "encoders" / modality
    if inside.is_dir():
        classifier = classifier_in(inside, name, device=device)
    else:
        revision = None if Path(name).is_dir() else facts["revision"]
        classifier = load_classifier(name, revision=revision, device=device)
    if classifier.fingerprint != facts["fingerprint"]:
        raise EncoderError(
            f"checkpoint {name!r} has other weights than when {folder} was written "
            f"(fingerprint {classifier.fingerprint[:12]}, expected {facts['fingerprint'][:12]}); "
            "bring back the weights, or write the folder anew"
        )
    table = LabelTable(
        classifier.label_names,
        tuple(facts["labels"][name] for name in classifier.label_names),
        classifier.multi_label,
    )
    return Half(classifier, table, facts["revision"])
