"""Emotion words, label sets, and the names that corpora use for them.

A manifest holds words; a network answers with indices. A label set is the ordered tuple between
the two: it fixes the order of the outputs, merges some words into others, and leaves the rest out.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mersa.errors import ConfigError, ManifestError

WORDS = (
    "anger",
    "happy",
    "sad",
    "neutral",
    "excited",
    "frustrated",
    "surprise",
    "fear",
    "disgust",
    "calm",
    "boredom",
    "contempt",
)
"""The emotion words of mersa, lower-case English, in the order that `labels = "all"` keeps."""

_SPELLINGS = {
    "anger": "ang angry angriness",
    "happy": "hap happiness joy joyful",
    "sad": "sadness",
    "neutral": "neu neutrality",
    "excited": "exc excitement",
    "frustrated": "fru frustration",
    "surprise": "sur surprised",
    "fear": "fea fearful anxiety",
    "disgust": "dis disgusted",
    "calm": "calmness",
    "boredom": "bored",
    "contempt": "contemptuous",
}
SPELLING_TO_WORD = {word: word for word in WORDS} | {
    spelling: word for word, spellings in _SPELLINGS.items() for spelling in spellings.split()
}
"""Names seen in published corpora, each with the word that mersa uses for it."""


def to_word(name: str, extra: Mapping[str, str] | None = None) -> str:
    """Translate a corpus' own name of an emotion into the word that mersa uses.

    Args:
        name: The name as the corpus writes it; case and outer blanks do not matter.
        extra: Translations that come before the known ones; case does not matter either. A word
            that is its own translation declares a new word; an empty one means unlabelled.

    Returns:
        The word, or the empty string for an empty name (unlabelled).

    Raises:
        ManifestError: If no mapping knows the name, or `extra` leads to an unknown word.
    """
    key = name.strip().lower()
    if not key:
        return ""
    given = {old.strip().lower(): new.strip().lower() for old, new in (extra or {}).items()}
    if key in given:
        word = given[key]
        if not word or given.get(word) == word:
            return word
        if word not in SPELLING_TO_WORD:
            raise ManifestError(
                f"--map {key}={word} leads to a word that is not known; use one of "
                f"{', '.join(WORDS)}, or add --map {word}={word} to make it a word of its own"
            )
        return SPELLING_TO_WORD[word]
    if key in SPELLING_TO_WORD:
        return SPELLING_TO_WORD[key]
    near = difflib.get_close_matches(key, SPELLING_TO_WORD, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    raise ManifestError(
        f"emotion {name!r} is not known{hint}; give --map {key}=WORD with one of "
        f"{', '.join(WORDS)}, or --map {key}={key} to keep it as a word of its own"
    )


@dataclass(frozen=True)
class LabelSet:
    """The ordered emotions that a network tells apart.

    Attributes:
        name: How settings and reports call it.
        labels: The words, in the order of the network's outputs.
        merges: Words that count as another one, as excited counts as happy.
    """

    name: str
    labels: tuple[str, ...]
    merges: Mapping[str, str] = field(default_factory=dict)

    def index(self, word: str) -> int | None:
        """Return the output index of a word, or None if this set leaves the word out."""
        word = self.merges.get(word, word)
        return self.labels.index(word) if word in self.labels else None


_EXCITED_IS_HAPPY = {"excited": "happy"}
LABEL_SETS = {
    label_set.name: label_set
    for label_set in (
        # The order of the first four is that of the paper's lineage
        # (tpnam0901/3m-ser:scripts/preprocess.py): anger 0, happy 1, sad 2, neutral 3.
        LabelSet("iemocap-4", ("anger", "happy", "sad", "neutral"), _EXCITED_IS_HAPPY),
        LabelSet("iemocap-6", ("anger", "happy", "sad", "neutral", "excited", "frustrated")),
        LabelSet("meld-4", ("anger", "happy", "sad", "neutral"), _EXCITED_IS_HAPPY),
        LabelSet("meld-7", ("anger", "happy", "sad", "neutral", "surprise", "fear", "disgust")),
    )
}


def label_set(name: str, words: Sequence[str] = ()) -> LabelSet:
    """Find a label set by name, or make one from a list.

    Args:
        name: `iemocap-4`, `iemocap-6`, `meld-4`, `meld-7`; `all` for every word that stands in
            `words`; or own words with commas between them, as `anger,calm,happy`.
        words: The words that a manifest holds; read only for `all`.

    Raises:
        ConfigError: If the name is none of these, or fewer than two different labels come out.
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if name == "all":
        found = {word for word in words if word}
        known = tuple(word for word in WORDS if word in found)
        labels = known + tuple(sorted(found.difference(WORDS)))
    elif "," in name:
        labels = tuple(part.strip().lower() for part in name.split(","))
    else:
        near = difflib.get_close_matches(name, [*LABEL_SETS, "all"], n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise ConfigError(
            f"label set {name!r} is not known{hint}; use one of {', '.join(LABEL_SETS)}, all, "
            "or own words with commas between them"
        )
    if len(labels) < 2 or len(set(labels)) < len(labels) or "" in labels:
        raise ConfigError(
            f"labels {name!r} give {', '.join(labels) or 'nothing'}, but a classifier needs at "
            "least two different emotions; name them with commas between them"
        )
    return LabelSet(name, labels)
