"""Which texts are learnt from, and how they are drawn into batches."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mersa.alignment.settings import AlignSettings, Conflicts
from mersa.emotions import LabelSet
from mersa.errors import AlignmentError
from mersa.folds import normalise_text
from mersa.manifest import Utterance


@dataclass(frozen=True)
class Examples:
    """What a fit learns from.

    Attributes:
        texts: What names each in its source: its words, or the id of its recording.
        labels: Index of each one's emotion.
        facts: How many there are, by emotion, and of words what became of texts under several
            labels: `conflicts` has `texts`, `utterances`, `rule` and `left_out`.
        noun: What one of them is: a text, or a recording.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    facts: Mapping[str, Any]
    noun: str = "text"


def choose_examples(utterances: Sequence[Utterance], labels: LabelSet, rule: Conflicts) -> Examples:
    """Take the utterances that have words, and treat texts under several labels by a rule.

    Texts are one if they are after `folds.normalise_text`, or else as they are written.

    Args:
        utterances: Of the parts that are learnt from.
        labels: Gives the index of each emotion.
        rule: `keep` keeps all; `majority` keeps of such a text the utterances of its commonest
            label, and none where labels tie; `drop` keeps none.
    """
    rows = [
        (normalise_text(words) or words, label, words)
        for one in utterances
        if (words := one.text.strip()) and (label := labels.index(one.emotion)) is not None
    ]
    held: dict[str, Counter[int]] = defaultdict(Counter)
    for key, label, _ in rows:
        held[key][label] += 1
    torn = {key for key, counts in held.items() if len(counts) > 1}
    kept = [
        (text, label)
        for key, label, text in rows
        if key not in torn or _keeps(held[key], label, rule)
    ]
    counts = Counter(label for _, label in kept)
    facts = {
        "texts": len(kept),
        "by_label": {name: counts[index] for index, name in enumerate(labels.labels)},
        "without_words": len(utterances) - len(rows),
        "conflicts": {
            "rule": rule,
            "texts": len(torn),
            "utterances": sum(held[key].total() for key in torn),
            "left_out": len(rows) - len(kept),
        },
    }
    return Examples(tuple(text for text, _ in kept), tuple(label for _, label in kept), facts)


def check_batches(examples: Examples, settings: AlignSettings) -> None:
    """See that every class can fill its place in a batch.

    Raises:
        AlignmentError: If one has too few texts; the message names it and the count.
    """
    wanted = settings.per_class or 2
    for name, count in examples.facts["by_label"].items():
        if settings.balanced and count < wanted:
            raise AlignmentError(
                f"class {name!r} has {count} {examples.noun}{'' if count == 1 else 's'} to align "
                f"on, but a balanced batch takes {wanted} of each class; leave it out of "
                "data.labels"
                + (
                    f", or set align.per_class to at most {count}"
                    if count > 1
                    else ", or bring more of it"
                )
            )
    if len(examples.texts) < 2:
        raise AlignmentError(
            f"there is {len(examples.texts)} {examples.noun} to align on, but a pair takes "
            "two; bring more"
        )


def per_class(examples: Examples, settings: AlignSettings) -> int:
    """Return M, how many texts of each class a balanced batch takes.

    Where `align.per_class` is unset: the batch size over the classes, but no more than the
    smallest class has, and at least two.
    """
    counts = Counter(examples.labels)
    if settings.per_class:
        return settings.per_class
    most = min(counts.values())
    if settings.per_class_cap:
        most = min(most, settings.per_class_cap)
    return max(2, min(settings.batch_size // len(counts), most))


def epoch_batches(examples: Examples, settings: AlignSettings, *, seed: int) -> list[list[int]]:
    """Draw the batches of one epoch, rows of the examples.

    A balanced batch holds M different texts of each of its classes: all classes where the batch
    size allows it, else as many as fit, in turn. Each class goes through its texts in random order
    and begins anew when fewer than M are left; an epoch has as many batches as would hold all
    texts once. (The library's `MPerClassSampler` draws each batch anew, so that within an epoch
    some texts never come, and its random state is one of the whole process.)

    Args:
        examples: What is drawn from.
        settings: `balanced`, `batch_size`, `per_class`, `per_class_cap`.
        seed: Of this epoch.
    """
    draw = np.random.default_rng(seed)
    rows = _capped(examples.labels, settings.per_class_cap, draw)
    if not settings.balanced:
        order = [int(row) for row in draw.permutation(sorted(chain(*rows.values())))]
        size = min(settings.batch_size, len(order))
        return [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    each = per_class(examples, settings)
    streams = {label: _groups(some, each, draw) for label, some in rows.items()}
    at_once = min(len(streams), max(2, settings.batch_size // each))
    turns = _groups(sorted(streams), at_once, draw)
    total = sum(map(len, rows.values()))
    return [
        [row for label in next(turns) for row in next(streams[label])]
        for _ in range(max(1, round(total / (at_once * each))))
    ]


def _keeps(counts: Counter[int], label: int, rule: Conflicts) -> bool:
    if rule != "majority":
        return rule == "keep"
    most = max(counts.values())
    return counts[label] == most and list(counts.values()).count(most) == 1


def _capped(
    labels: Sequence[int], cap: int | None, draw: np.random.Generator
) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows[label].append(row)
    return {
        label: some if cap is None or len(some) <= cap else draw.permutation(some)[:cap].tolist()
        for label, some in sorted(rows.items())
    }


def _groups(things: Sequence[int], size: int, draw: np.random.Generator) -> Iterator[list[int]]:
    """Give groups of different things for ever, all of them in turn but for a rest."""
    while True:
        order = draw.permutation(things).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]
