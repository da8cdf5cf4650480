"""The labels of a published checkpoint -> mersa's emotion words, and their probabilities.

Shapes: N utterances, K labels of the checkpoint, C words of the label set.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mersa.emotions import SPELLING_TO_WORD, WORDS, LabelSet, label_set, to_word
from mersa.encoders.classifier import has_generic_names
from mersa.errors import ConfigError
from mersa.recognize.scoring import Probabilities


@dataclass(frozen=True)
class LabelTable:
    """What each label of a checkpoint counts as.

    Attributes:
        names: K labels as the checkpoint has them.
        words: The word of each, or None where it counts as no emotion of mersa.
        multi_label: Whether each label has a probability of its own.
    """

    names: tuple[str, ...]
    words: tuple[str | None, ...]
    multi_label: bool = False

    def index(self, labels: LabelSet) -> list[int | None]:
        """Return the place of each label in a label set, merges of the set included."""
        return [None if word is None else labels.index(word) for word in self.words]

    def probabilities(self, logits: npt.NDArray[Any], labels: LabelSet) -> Probabilities:
        """Return the probability of each word of a label set, (N, C), for logits (N, K).

        Labels that count as none of them are left out and the others scaled to the sum 1; labels
        that count as one word are added up. Probabilities of a checkpoint whose labels have one
        each are scaled likewise.
        """
        places = self.index(labels)
        kept = [row for row, place in enumerate(places) if place is not None]
        scores = logits[:, kept].astype(np.float64)
        if self.multi_label:
            scores = -np.logaddexp(0.0, -scores)  # the logarithm of the sigmoid
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        found = np.zeros((len(logits), len(labels.labels)))
        for column, row in enumerate(kept):
            found[:, places[row]] += scores[:, column]
        return found

    def text(self, labels: LabelSet) -> str:
        """Return the table as one line: the labels of each word, and those that count as none."""
        places = self.index(labels)
        told = []
        for place, word in enumerate(labels.labels):
            names = [name for name, at in zip(self.names, places, strict=True) if at == place]
            told.append(f"{word} = {' + '.join(names) or 'nothing'}")
        left = [name for name, at in zip(self.names, places, strict=True) if at is None]
        return ", ".join(told) + (f"; left out: {', '.join(left)}" if left else "")

    def as_dict(self, labels: LabelSet) -> dict[str, str | None]:
        """Return the word of the label set that each label counts as."""
        return {
            name: None if place is None else labels.labels[place]
            for name, place in zip(self.names, self.index(labels), strict=True)
        }


def label_table(
    names: Sequence[str], *, multi_label: bool = False, mapping: Mapping[str, str] | None = None
) -> LabelTable:
    """Translate the labels of a checkpoint.

    Args:
        names: As the checkpoint has them.
        multi_label: Whether each has a probability of its own.
        mapping: Translations that come before the known ones.

    Raises:
        ManifestError: If `mapping` leads to an unknown word.
    """
    given = {name.strip().lower() for name in mapping or {}}
    words: list[str | None] = []
    for name in names:
        key = name.strip().lower()
        known = key in given or key in SPELLING_TO_WORD
        words.append(to_word(name, mapping) or None if known else None)
    return LabelTable(tuple(names), tuple(words), multi_label)


def check_mapping(tables: Mapping[str, LabelTable], mapping: Mapping[str, str]) -> None:
    """See that each translation is of a label that a checkpoint has.

    Args:
        tables: By the names of the checkpoints.
        mapping: The translations.

    Raises:
        ConfigError: If one is not, or if a checkpoint's labels are mere numbers without it.
    """
    names = {name.strip().lower() for table in tables.values() for name in table.names}
    for name, word in mapping.items():
        key = name.strip().lower()
        if key not in names and key != word.strip().lower():
            near = difflib.get_close_matches(key, names, n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise ConfigError(
                f"--map {name}={word} names a label that no checkpoint has{hint}; they have "
                f"{', '.join(sorted(names))}"
            )
    for name, table in tables.items():
        if has_generic_names(table.names) and not any(table.words):
            raise ConfigError(
                f"checkpoint {name!r} calls its labels {', '.join(table.names)}, which tells no "
                f"emotion; give their meaning as --map {table.names[0]}=anger,... if its publisher "
                "tells it, or choose another"
            )


def common_labels(tables: Mapping[str, LabelTable], asked: str | None = None) -> LabelSet:
    """Return the words that checkpoints answer with together.

    Args:
        tables: By the names of the checkpoints.
        asked: A label set by name, or words with commas between them; `all` or None: the words that
            all of the checkpoints have.

    Raises:
        ConfigError: If a checkpoint has fewer than two of the words.
    """
    found = [{word for word in table.words if word} for table in tables.values()]
    if asked in (None, "all"):
        words = set.intersection(*found)
        known = [word for word in WORDS if word in words]
        labels = LabelSet("all", tuple(known + sorted(words.difference(WORDS))))
    else:
        labels = label_set(str(asked))
    for name, table in tables.items():
        if len(set(table.index(labels)) - {None}) < 2:
            raise ConfigError(
                f"checkpoint {name!r} has the labels {', '.join(table.names)}, of which fewer than "
                f"two are among {', '.join(labels.labels) or 'the emotions'}; give their meaning "
                "as --map NAME=WORD, or choose other --labels or another checkpoint"
            )
    return labels
