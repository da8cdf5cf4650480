"""How many utterances of each label the parts hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mersa.folds import Fold
from mersa.manifest import PARTS


@dataclass(frozen=True)
class Balance:
    """Utterances of each part and label.

    Attributes:
        labels: In the order of the label set.
        counts: By part, then label, summed over the folds.
        lacking: Fold, part and label wherever a part has no utterance of a label.
    """

    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    lacking: tuple[tuple[str, str, str], ...]

    def ratio(self, part: str) -> float | None:
        """Return how many times commoner the commonest label is than the rarest; None if absent."""
        counts = [self.counts[part][label] for label in self.labels]
        return max(counts) / min(counts) if min(counts) else None

    def rows(self) -> list[list[str]]:
        """Return a table, a row for each label, with a header."""
        rows = [["label", *PARTS]]
        rows += [
            [label, *(_cell(counts, label) for counts in self.counts.values())]
            for label in self.labels
        ]
        ratios = [self.ratio(part) for part in PARTS]
        told = ["-" if ratio is None else f"{ratio:.1f}" for ratio in ratios]
        return [*rows, ["commonest to rarest", *told]]

    def lines(self) -> list[str]:
        """Return a sentence for each label that a part lacks."""
        said = []
        for part in PARTS:
            for label in self.labels:
                names = [name for name, *rest in self.lacking if rest == [part, label]]
                if names:
                    where = f" in {', '.join(names)}" if names[0] else ""
                    said.append(f"{part} has no {label}{where}")
        return said

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON; a ratio is null where a label is absent."""
        return {
            "counts": {part: dict(counts) for part, counts in self.counts.items()},
            "commonest_to_rarest": {part: self.ratio(part) for part in PARTS},
            "lacking": [
                {"fold": fold, "part": part, "label": label} for fold, part, label in self.lacking
            ],
        }


def balance(labels: Sequence[str], label_of: Mapping[str, str], folds: Sequence[Fold]) -> Balance:
    """Count the labels of each part.

    Args:
        labels: All of them, in order.
        label_of: Label of each utterance by id.
        folds: The cuts.
    """
    sums = {part: Counter(dict.fromkeys(labels, 0)) for part in PARTS}
    lacking = []
    for fold in folds:
        counts = Counter((part, label_of[id_]) for id_, part in fold.parts.items())
        for part in PARTS:
            for label in labels:
                sums[part][label] += counts[part, label]
                if not counts[part, label]:
                    lacking.append((fold.name, part, label))
    return Balance(tuple(labels), sums, tuple(lacking))


def _cell(counts: Mapping[str, int], label: str) -> str:
    return f"{counts[label]:,} {counts[label] / sum(counts.values()):6.1%}"
