"""Which test utterances train knows: by a column, by the sound, by a stretch of one recording."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mersa.folds import Fold, known_from_train
from mersa.manifest import Utterance, read_seconds

OVERLAP = 0.5
"""Utterances overlap if they share more than this part of the shorter one."""

_ENDLESS_S = 1e9  # the end of a recording whose length is not known


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Test utterances that share one thing with train.

    Attributes:
        name: What is shared.
        folds: Names of the folds.
        hits: Of each fold, the ids of the test utterances that share it, in sorted order.
        sizes: Of each fold, the number of its test utterances.
        example: A test utterance, a train utterance and their fold's name; None if none is shared.
    """

    name: str
    folds: tuple[str, ...]
    hits: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]
    example: tuple[str, str, str] | None

    @property
    def num_shared(self) -> int:
        """Test utterances that share it, summed over the folds."""
        return sum(map(len, self.hits))

    @property
    def num_test(self) -> int:
        """All test utterances, summed over the folds."""
        return sum(self.sizes)

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each fold, 0 to 1."""
        return tuple(len(hit) / size for hit, size in zip(self.hits, self.sizes, strict=True))

    @property
    def worst_fold(self) -> str:
        """The name of the fold that shares most; empty where none shares anything."""
        worst = max(range(len(self.folds)), key=self.shares.__getitem__)
        return self.folds[worst] if self.num_shared else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        return {
            "num_shared": self.num_shared,
            "num_test": self.num_test,
            "share": self.num_shared / self.num_test,
            "worst_share": max(self.shares),
            "worst_fold": self.worst_fold,
            "example": list(self.example[:2]) if self.example else None,
        }


def by_key(name: str, keys: Mapping[str, str], folds: Sequence[Fold]) -> Shared:
    """Find test utterances whose key a train utterance has too.

    Args:
        name: What the key is.
        keys: The key of each utterance by id; absent or empty where it has none.
        folds: The cuts.
    """
    return _shared(name, folds, [known_from_train(keys, fold) or {} for fold in folds])


def by_partner(name: str, partners: Mapping[str, Collection[str]], folds: Sequence[Fold]) -> Shared:
    """Find test utterances that have a partner in train.

    Args:
        name: What makes partners.
        partners: The ids of an utterance's partners, by its id; absent where it has none.
        folds: The cuts.
    """
    known = []
    for fold in folds:
        in_train = {
            id_: [other for other in partners.get(id_, ()) if fold.parts.get(other) == "train"]
            for id_, part in fold.parts.items()
            if part == "test"
        }
        known.append({id_: others[0] for id_, others in in_train.items() if others})
    return _shared(name, folds, known)


def overlapping(utterances: Iterable[Utterance]) -> dict[str, list[str]]:
    """Find utterances of one recording that share more than half of the shorter one's time.

    The recording is `origin`, from `origin_start_s` to `origin_end_s`; else the audio file, from
    `start_s` to `end_s`, of which an absent one is the file's beginning or end.

    Returns:
        The ids that an utterance overlaps, in sorted order, by its id.

    Raises:
        ManifestError: If a time of `origin` is not a number.
    """
    stretches = sorted(filter(None, map(_stretch, utterances)))
    found: dict[str, list[str]] = defaultdict(list)
    for _, group in groupby(stretches, key=lambda stretch: stretch[0]):
        of_one = list(group)
        for place, (_, start_s, end_s, id_) in enumerate(of_one):
            for _, other_start_s, other_end_s, other in of_one[place + 1 :]:
                if other_start_s >= end_s:
                    break
                shorter_s = min(end_s - start_s, other_end_s - other_start_s)
                # The smallest excess leaves out halves that are exact but for their rounding.
                if min(end_s, other_end_s) - other_start_s > OVERLAP * shorter_s + 1e-6:
                    found[id_].append(other)
                    found[other].append(id_)
    return {id_: sorted(others) for id_, others in found.items()}


def _shared(name: str, folds: Sequence[Fold], known: Sequence[Mapping[str, str]]) -> Shared:
    """Sum up, of each fold, which test utterances are known by which train utterance."""
    examples = (
        (*pair, fold.name) for fold, one in zip(folds, known, strict=True) for pair in one.items()
    )
    return Shared(
        name=name,
        folds=tuple(fold.name for fold in folds),
        hits=tuple(map(tuple, known)),
        sizes=tuple(Counter(fold.parts.values())["test"] for fold in folds),
        example=next(examples, None),
    )


def _stretch(utterance: Utterance) -> tuple[tuple[str, str], float, float, str] | None:
    """Return recording, start, end and id; None where there is no recording."""
    start_s, end_s = (
        read_seconds(utterance.column(column), column, repr(utterance.id))
        for column in ("origin_start_s", "origin_end_s")
    )
    if utterance.column("origin") and start_s is not None and end_s is not None:
        recording = ("origin", utterance.column("origin"))
    elif utterance.audio:
        recording = ("audio", utterance.audio)
        start_s = utterance.start_s or 0.0
        end_s = _ENDLESS_S if utterance.end_s is None else utterance.end_s
    else:
        return None
    return recording, start_s, end_s, utterance.id
