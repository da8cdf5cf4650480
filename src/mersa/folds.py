"""One cut of a corpus, and what its sides share."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mersa.manifest import Utterance

SHARED = ("speaker", "session", "dialogue", "script", "episode", "text")
"""Columns by which test utterances may be known from train."""


@dataclass(frozen=True)
class Fold:
    """One cut of a corpus.

    Attributes:
        name: `fold-1`, ... or empty where the protocol gives one fold alone.
        parts: Part of every utterance that belongs to one, by id, in sorted order.
        held_out: What the test part is, as `session 1`; empty where no column tells.
    """

    name: str
    parts: Mapping[str, str]
    held_out: str = ""

    def sha256(self) -> str:
        """Return the digest that artefacts fitted on this cut are stamped with."""
        lines = "".join(f"{id_},{part}\n" for id_, part in sorted(self.parts.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def normalise_text(text: str) -> str:
    """Return words as texts are compared: in lower case, without punctuation but apostrophes.

    An apostrophe belongs to its word (`we'll` is not `well`), however it is written. What has
    neither letters nor digits is empty.
    """
    plain = unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")
    kept = "".join(c for c in plain if c.isalnum() or c.isspace() or c == "'" or _is_mark(c))
    return " ".join(word for word in kept.split() if any(map(str.isalnum, word)))


def shared_key(utterance: Utterance, name: str) -> str:
    """Return what an utterance has in one of `SHARED`; empty if nothing.

    An episode counts within its season.
    """
    if name == "text":
        return normalise_text(utterance.text)
    if name == "episode":
        episode = utterance.column("episode")
        return f"{utterance.column('season')}.{episode}" if episode else ""
    return utterance.column(name)


def leaks(utterances: Sequence[Utterance], fold: Fold) -> dict[str, float]:
    """Return the share of test utterances whose value of a column of `SHARED` is also in train.

    A column that is empty throughout train is left out.
    """
    num_test = sum(part == "test" for part in fold.parts.values())
    shares = {}
    for name in SHARED:
        known = known_from_train({one.id: shared_key(one, name) for one in utterances}, fold)
        if known is not None:
            shares[name] = len(known) / num_test
    return shares


def known_from_train(keys: Mapping[str, str], fold: Fold) -> dict[str, str] | None:
    """Find the test utterances whose key a train utterance has too.

    Args:
        keys: The key of each utterance by id; absent or empty where it has none.
        fold: The cut.

    Returns:
        By the id of each of them, in sorted order, that of the first such train utterance; None
        where none in train has a key at all.
    """
    first: dict[str, str] = {}
    for id_, part in fold.parts.items():
        if part == "train" and keys.get(id_):
            first.setdefault(keys[id_], id_)
    if not first:
        return None
    return {
        id_: first[keys[id_]]
        for id_, part in fold.parts.items()
        if part == "test" and keys.get(id_) in first
    }


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return what names are sorted by so that `utt2` comes before `utt10`, and `10` before `a`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def _is_mark(character: str) -> bool:
    """Tell the vowel signs and accents that belong to the letter before them."""
    return unicodedata.category(character).startswith("M")
