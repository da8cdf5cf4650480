"""Which utterances of a manifest a label set can use, and which of them a training may see."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mersa.emotions import WORDS, LabelSet
from mersa.errors import ManifestError, ProtocolError
from mersa.folds import Fold
from mersa.manifest import Manifest, Utterance

LEARNABLE = ("train", "validation")
"""The parts that a training sees."""


@dataclass(frozen=True)
class Selection:
    """The utterances that a label set can use, and how many were left out, by reason."""

    utterances: tuple[Utterance, ...]
    labels: LabelSet
    left_out: Mapping[str, int]


def select(
    manifest: Manifest, labels: LabelSet, *, min_duration_s: float = 0.0, whole: bool = False
) -> Selection:
    """Keep the utterances whose emotion stands in a label set.

    Args:
        manifest: All utterances.
        labels: What is told apart.
        min_duration_s: Shorter utterances are left out; all lengths must then be known.
        whole: Refuse a label that no utterance has.

    Raises:
        ManifestError: If an emotion is neither a known word nor one of the labels, a length is
            needed and unknown, a label has no utterance, or nothing is left.
    """
    known = {*WORDS, *labels.labels}
    kept, left_out = [], Counter[str]()
    for utterance in manifest:
        if utterance.emotion and utterance.emotion not in known:
            raise ManifestError(
                f"utterance {utterance.id!r} has the emotion {utterance.emotion!r}, which is no "
                f"known word ({', '.join(WORDS)}); translate it with: mersa prepare table ... "
                f"--map {utterance.emotion}=WORD, or name it in data.labels"
            )
        if not utterance.emotion:
            left_out["unlabelled"] += 1
        elif labels.index(utterance.emotion) is None:
            left_out[utterance.emotion] += 1
        elif min_duration_s and _known_length_s(utterance) < min_duration_s:
            left_out["too short"] += 1
        else:
            kept.append(utterance)
    if not kept:
        raise ManifestError(
            f"no utterance has one of the labels {', '.join(labels.labels)} "
            f"(left out: {counts_text(left_out)}); choose other data.labels"
        )
    found = {labels.index(utterance.emotion) for utterance in kept}
    for index, label in enumerate(labels.labels):
        if whole and index not in found:
            held = sorted({utterance.emotion for utterance in manifest} - {""})
            raise ManifestError(
                f"no utterance is {label!r}, but data.labels names it; the manifest holds "
                f"{', '.join(held)}, so choose other data.labels"
            )
    return Selection(tuple(kept), labels, left_out)


@dataclass(frozen=True)
class Learnable:
    """What may be learnt from and chosen by: the train and validation part of a fold.

    The test part is not in it, so nothing that is handed this can read it.

    Attributes:
        fold: The cut; of the test part it knows the ids.
        manifest: The utterances of train and validation, and no others.
    """

    fold: Fold
    manifest: Manifest

    def part(self, name: str) -> tuple[Utterance, ...]:
        """Return the utterances of `train` or `validation`.

        Raises:
            ProtocolError: If it is another part; the test part is read by `mersa evaluate` alone.
        """
        if name not in LEARNABLE:
            raise ProtocolError(
                f"the {name} part cannot be read before the training has ended, since it would "
                "then choose what it is to judge; read it once with: mersa evaluate RUN"
            )
        return tuple(one for one in self.manifest if self.fold.parts[one.id] == name)


def learnable(utterances: Iterable[Utterance], fold: Fold, folder: Path) -> Learnable:
    """Leave the test part of a fold out, and what belongs to no part.

    Args:
        utterances: Those of the selection.
        fold: The cut.
        folder: What audio paths start from.
    """
    kept = [one for one in utterances if fold.parts.get(one.id) in LEARNABLE]
    return Learnable(fold, Manifest(tuple(kept), folder))


def check_fold(fold: Fold, selection: Selection) -> None:
    """See that the train part holds every label, and at least two.

    Raises:
        ProtocolError: If it does not; the message names the label.
    """
    by_id = {one.id: one for one in selection.utterances}
    held = Counter(
        selection.labels.index(by_id[id_].emotion)
        for id_, part in fold.parts.items()
        if part == "train"
    )
    where = f" of {fold.name}" if fold.name else ""
    if len(held) < 2:
        only = selection.labels.labels[next(iter(held)) or 0]
        raise ProtocolError(
            f"the train part{where} holds one class only ({only!r}); a classifier needs at least "
            "two, so choose another protocol or other data.labels"
        )
    for index, label in enumerate(selection.labels.labels):
        if not held[index]:
            raise ProtocolError(
                f"the train part{where} holds no utterance of {label!r}; leave it out of "
                "data.labels or choose another protocol"
            )


def data_sha256(utterances: Sequence[Utterance]) -> str:
    """Return the digest of what is learnt from: ids, words, emotions, recordings and their times.

    The recordings' content is not read for it.
    """
    facts = [
        (one.id, one.text, one.emotion, one.audio, one.start_s, one.end_s) for one in utterances
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def counts_text(counts: Mapping[str, int]) -> str:
    """Write counts as `anger 3, happy 5`."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _known_length_s(utterance: Utterance) -> float:
    length_s = utterance.length_s
    if length_s is None:
        raise ManifestError(
            f"utterance {utterance.id!r} has no known length, but data.min_duration_s is set; fill "
            "the column duration_s, or leave data.min_duration_s at 0"
        )
    return length_s
