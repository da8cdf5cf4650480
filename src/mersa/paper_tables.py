"""The paper's tables of its corpora, beside what a corpus holds.

Source: Le et al., "MERSA: Multimodal Emotion Recognition with Self-Align Embedding", ICOIN 2024.
Numbers stand here as printed, errors included; `docs/paper.md` lists the errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mersa.tables import aligned

TABLE_I: Mapping[str, int] = {
    "neutral": 1849,
    "frustrated": 1708,
    "sad": 1103,
    "anger": 1084,
    "excited": 1041,
    "happy": 595,
}
"""IEMOCAP as printed. Neutral and frustrated are exchanged, and so are sad and anger."""

TABLE_II: Mapping[str, int] = {
    "neutral": 4710,
    "happy": 1743,
    "surprise": 1205,
    "anger": 1109,
    "sad": 683,
    "disgust": 271,
    "fear": 268,
}
"""MELD as printed (joy is `happy` here). These are the counts of the train part alone."""

PRINTED: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "iemocap": ("Table I", TABLE_I),
    "meld": ("Table II", TABLE_II),
}
"""Name and numbers of the table of each corpus that has one."""


@dataclass(frozen=True)
class CorpusTable:
    """One of the paper's tables of counts beside what a corpus holds.

    Attributes:
        name: `Table I` or `Table II`.
        printed: Utterances by emotion, as printed.
        counts: Utterances by emotion, for each column's name (a part, or `all`).
        notes: What is wrong in print, a sentence each.
    """

    name: str
    printed: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Return an aligned table, the notes beneath it."""
        lines = [("", "printed", *self.counts)]
        lines += [
            (
                emotion,
                f"{number:,}",
                *(f"{held.get(emotion, 0):,}" for held in self.counts.values()),
            )
            for emotion, number in self.printed.items()
        ]
        sums = [sum(held.get(word, 0) for word in self.printed) for held in self.counts.values()]
        lines.append(("sum", f"{sum(self.printed.values()):,}", *(f"{one:,}" for one in sums)))
        table = aligned(lines, right=range(1, len(lines[0])))
        return "\n".join([f"{self.name} of the paper beside the corpus", *table, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "table": self.name,
            "printed": dict(self.printed),
            "counts": {part: dict(held) for part, held in self.counts.items()},
            "notes": list(self.notes),
        }


def beside_table(corpus: str, counts: Mapping[str, Mapping[str, int]]) -> CorpusTable:
    """Put the paper's table of a corpus beside its counts, and name what is exchanged in print.

    Args:
        corpus: One of `PRINTED`.
        counts: Utterances by emotion word, for each part and for `all`.
    """
    name, printed = PRINTED[corpus]
    true = counts["all"]
    notes = [
        f"{one} and {other} are exchanged in print "
        f"({one} is {true[one]:,}, {other} {true[other]:,})"
        for one, other in combinations(printed, 2)
        if printed[one] != printed[other]
        and (printed[one], printed[other]) == (true.get(other), true.get(one))
    ]
    notes += [
        f"what is printed is the {part} part alone"
        for part, held in counts.items()
        if part != "all" and all(held.get(word) == number for word, number in printed.items())
    ]
    return CorpusTable(name, printed, counts, tuple(notes))
