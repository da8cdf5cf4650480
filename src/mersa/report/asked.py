"""The paper's claims as pairs of rows, and what keeps one from being told in a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mersa.bootstrap import FEWEST_GROUPS
from mersa.report.rows import Entry, other_settings

Factor = Literal["text", "audio", "network"]


@dataclass(frozen=True)
class Claim:
    """What the paper says of pairs of rows.

    Attributes:
        name: What files call it.
        says: The claim as a sentence.
        pairs: Lines of a table; the second is said to score above the first.
        factor: What has to differ within each pair for the claim to be tested at all.
    """

    name: str
    says: str
    pairs: tuple[tuple[int, int], ...]
    factor: Factor


CLAIMS: tuple[Claim, ...] = (
    Claim("alignment", "Self-alignment of the text encoder helps", ((3, 5), (4, 7)), "text"),
    Claim("cross-attention", "Cross-attention helps", ((5, 6), (7, 8)), "network"),
    Claim("wav2vec", "Wav2Vec is better than VGGish", ((1, 2), (3, 4), (5, 7), (6, 8)), "audio"),
    Claim(
        "above-server", "MERSA is better than SERVER", ((1, 5), (1, 6), (2, 7), (2, 8)), "network"
    ),
    Claim(
        "above-3m-ser", "MERSA is better than 3M-SER", ((3, 5), (3, 6), (4, 7), (4, 8)), "network"
    ),
)


@dataclass(frozen=True)
class Asked:
    """A claim in a table, before it is answered.

    Attributes:
        claim: The claim.
        table: The table.
        entries: What was run of the table, by row.
        pairs: The pairs of rows that were run.
        not_run: The pairs that were not.
    """

    claim: Claim
    table: str
    entries: Mapping[str, Entry]
    pairs: tuple[tuple[str, str], ...]
    not_run: tuple[tuple[str, str], ...]

    @property
    def run(self) -> list[Entry]:
        """The entries that the pairs are made of."""
        return [self.entries[row] for row in row_weights(self.pairs)]

    def hindrance(self) -> str:
        """Say why the claim cannot be told whatever the numbers are; empty if it can."""
        if not self.pairs:
            return "no pair of its rows was run"
        leaking = [one.row.id for one in self.run if one.leak]
        if leaking:
            return f"the aligned encoder of {_rows(leaking)} saw utterances beyond the train part"
        shuffled = [one.row.id for one in self.run if one.config.data.shuffle != "none"]
        if shuffled:
            return f"{_rows(shuffled)} had words or sound shuffled, which is a control"
        alike = [f"{one} and {two}" for one, two in self.pairs if not self._differ(one, two)]
        if alike:
            what = {
                "text": "read one and the same text encoder, so that nothing was aligned",
                "audio": "hear one and the same audio encoder",
                "network": "are one and the same network over one and the same text encoder",
            }[self.claim.factor]
            return f"{_and(alike)} {what}"
        groups = len(set(self.run[0].answers[0].groups))
        if groups < FEWEST_GROUPS:
            return f"too few groups ({groups}; at least {FEWEST_GROUPS} are needed)"
        if len(self.run[0].seeds) < 2:
            return "one seed each, so how much training again changes is not known"
        return ""

    def cautions(self) -> list[str]:
        """Say what else has to be known to read the numbers."""
        said = []
        if self.pairs and self.not_run:
            lacking = _and([f"{one} and {two}" for one, two in self.not_run])
            num = len(self.pairs) + len(self.not_run)
            said.append(f"over {len(self.pairs)} of {num} pairs; not run: {lacking}")
        plain = [one.row.id for one in self.run if one.row.aligned and not one.aligned]
        if plain:
            said.append(f"no self-alignment is on record for {_rows(plain)}")
        others: dict[str, list[str]] = {}
        for one, two in self.pairs:
            names = self._also(self.entries[one], self.entries[two])
            if names:
                others.setdefault(_and(names), []).append(f"{one} and {two}")
        for what, pairs in others.items():
            said.append(f"{', '.join(pairs)} differ also in {what}")
        return said

    def _differ(self, one: str, two: str) -> bool:
        """Tell whether a pair differs in what the claim is about."""
        first, second = self.entries[one], self.entries[two]
        if self.claim.factor == "network":
            if _network(first) != _network(second):
                return True
            return first.encoders.get("text") != second.encoders.get("text")
        return first.encoders.get(self.claim.factor) != second.encoders.get(self.claim.factor)

    def _also(self, first: Entry, second: Entry) -> list[str]:
        """Name the settings beyond the rows' in which a pair differs."""
        ones, others = other_settings(first), other_settings(second)
        meant = (
            *(["audio."] if first.row.audio != second.row.audio else []),
            *(["text."] if first.row.aligned != second.row.aligned else []),
        )
        names = [
            name
            for name in sorted({*ones, *others})
            if ones.get(name) != others.get(name) and not name.startswith(meant)
        ]
        if "audio." not in meant and first.encoders.get("audio") != second.encoders.get("audio"):
            names.append("the audio encoder")
        return names


def ask(claim: Claim, table: str, entries: Mapping[str, Entry]) -> Asked:
    """Ask a claim of the entries of a table, by row."""
    pairs = [(f"{table}.{one}", f"{table}.{two}") for one, two in claim.pairs]
    run = tuple(pair for pair in pairs if pair[0] in entries and pair[1] in entries)
    return Asked(claim, table, entries, run, tuple(pair for pair in pairs if pair not in run))


def row_weights(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return what each row is multiplied by, so that the sum is the mean over the pairs."""
    weights: dict[str, float] = {}
    for one, two in pairs:
        weights[one] = weights.get(one, 0.0) - 1 / len(pairs)
        weights[two] = weights.get(two, 0.0) + 1 / len(pairs)
    return weights


def _network(entry: Entry) -> str:
    """Return the network of a system; MERSA is 3M-SER over another text encoder."""
    system = entry.config.network.system
    return "3m-ser" if system == "mersa" else system


def _rows(rows: Sequence[str]) -> str:
    return f"{'row' if len(rows) == 1 else 'rows'} {_and(rows)}"


def _and(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
