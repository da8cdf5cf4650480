"""One cut of a corpus, and what its sides share."""

import hashlib
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
    by_id = {utterance.id: utterance for utterance in utterances}
    train = [by_id[id_] for id_, part in fold.parts.items() if part == "train"]
    test = [by_id[id_] for id_, part in fold.parts.items() if part == "test"]
    shares = {}
    for name in SHARED:
        seen = {shared_key(utterance, name) for utterance in train} - {""}
        if seen:
            shares[name] = sum(shared_key(utterance, name) in seen for utterance in test) / len(
                test
            )
    return shares


def _is_mark(character: str) -> bool:
    """Tell the vowel signs and accents that belong to the letter before them."""
    return unicodedata.category(character).startswith("M")
