"""What train and test share under a protocol, and what is wrong with the recordings.

Nothing is learnt or scored: the manifest is cut as for a training, its parts are compared, and the
recordings are heard once.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mersa.audit.balance import Balance, balance
from mersa.audit.hearing import listen
from mersa.audit.overlaps import Shared, by_key, by_partner, overlapping
from mersa.audit.soundcheck import Recordings, check
from mersa.audit.twins import LONG_WORDS, DialogueTwins, TextTwins, dialogue_twins, text_twins
from mersa.emotions import LabelSet, label_set
from mersa.folds import SHARED, Fold, shared_key
from mersa.manifest import PARTS, Manifest, Utterance
from mersa.progress import Progress
from mersa.protocols import PROTOCOLS, choose, cut, keeps_apart
from mersa.selection import counts_text, select

_SAYS = {
    "text": "text, case and punctuation aside",
    "long_text": f"text of {LONG_WORDS} words or more",
    "time": "time in one recording, over half of the shorter",
    "sound": "sound, silence at its ends aside",
    "same_samples": "sound, to the sample",
}
_PROMISE = {"long_text": "text", "same_samples": "sound"}
_REMEDY = {
    "time": "keep one of each two, or choose a protocol that keeps both on one side",
    "sound": "keep one of each two in the manifest",
}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Attributes:
        protocol: How the parts were cut.
        chosen: Whether `auto` chose it.
        seed: Of the cut.
        labels: The label set.
        left_out: Utterances that it cannot use, by reason.
        folds: The cuts.
        shared: What test shares with train: columns, then time and sound.
        untold: What could not be compared, each with the reason.
        texts: What shared texts tell of the labels.
        dialogues: Test dialogues that repeat a train dialogue.
        balance: How many utterances of each label the parts hold.
        recordings: What is wrong with them.
    """

    protocol: str
    chosen: bool
    seed: int
    labels: LabelSet
    left_out: Mapping[str, int]
    folds: tuple[Fold, ...]
    shared: tuple[Shared, ...]
    untold: Mapping[str, str]
    texts: TextTwins
    dialogues: DialogueTwins
    balance: Balance
    recordings: Recordings

    @property
    def promised(self) -> tuple[str, ...]:
        """What the protocol keeps apart."""
        return keeps_apart(self.protocol)

    @property
    def broken(self) -> tuple[str, ...]:
        """One sentence for each promise of the protocol that does not hold."""
        return tuple(
            self._breach(one) for one in self.shared if one.name in self.promised and one.shared
        )

    def text(self) -> str:
        """Return tables and sentences for the terminal."""
        blocks = (
            self._head(),
            [
                *_aligned(self._shared_rows(), left=(0, 4)),
                *self.texts.lines(),
                *self.dialogues.lines(),
                *self._untold_lines(),
            ],
            [*_aligned(self.balance.rows(), left=(0,)), *self.balance.lines()],
            self.recordings.lines(),
        )
        return "\n\n".join("\n".join(lines) for lines in blocks)

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON, with the counts of each fold and the ids of each finding."""
        return {
            "protocol": self.protocol,
            "chosen": self.chosen,
            "seed": self.seed,
            "promised": list(self.promised),
            "broken": list(self.broken),
            "labels": list(self.labels.labels),
            "left_out": dict(self.left_out),
            "shared": {one.name: one.as_dict() for one in self.shared},
            "untold": dict(self.untold),
            "texts": asdict(self.texts),
            "dialogues": {
                "shared": self.dialogues.count,
                "of": self.dialogues.of,
                "pairs": [list(pair) for pairs in self.dialogues.pairs for pair in pairs],
            },
            "balance": self.balance.as_dict(),
            "recordings": self.recordings.as_dict(),
            "folds": [
                {
                    "name": fold.name,
                    "held_out": fold.held_out,
                    "parts": dict(Counter(fold.parts.values())),
                    "parts_sha256": fold.sha256(),
                    "shared": {one.name: len(one.hits[number]) for one in self.shared},
                }
                for number, fold in enumerate(self.folds)
            ],
        }

    def _head(self) -> list[str]:
        kind = self.protocol.partition(":")[0]
        summary = next(one.summary for name, one in PROTOCOLS.items() if name.startswith(kind))
        sizes = Counter(part for fold in self.folds for part in fold.parts.values())
        folds = f" of {len(self.folds)} folds, added up" if len(self.folds) > 1 else ""
        chosen = " (chosen by the manifest's columns)" if self.chosen else ""
        out = f"; left out: {counts_text(self.left_out)}" if self.left_out else ""
        held = [one.name for one in self.shared if one.name in self.promised and not one.shared]
        lines = [
            f"protocol {self.protocol}{chosen}: {summary}",
            f"utterances{folds}: {', '.join(f'{part} {sizes[part]:,}' for part in PARTS)}{out}",
        ]
        lines += [f"BROKEN: {sentence}" for sentence in self.broken]
        if held:
            lines.append(f"kept apart, as promised: {', '.join(held)}")
        elif not self.promised:
            lines.append("the protocol promises nothing about what train and test share")
        return lines

    def _untold_lines(self) -> list[str]:
        names: dict[str, list[str]] = defaultdict(list)
        for name, reason in self.untold.items():
            names[reason].append(name)
        return [f"not compared, {reason}: {', '.join(which)}" for reason, which in names.items()]

    def _shared_rows(self) -> list[list[str]]:
        many = len(self.folds) > 1
        rows = [["test utterances that train knows by", "number", "share", "worst fold", ""]]
        for one in self.shared:
            promised = _PROMISE.get(one.name, one.name) in self.promised
            rows.append(
                [
                    _says(one.name),
                    f"{one.shared:,}",
                    f"{one.shared / one.of:.1%}",
                    f"{max(one.shares):.1%} {one.worst_fold}" if one.shared else "",
                    ("BROKEN" if one.shared else "kept apart") if promised else "",
                ]
            )
        return rows if many else [[*row[:3], "", row[4]] for row in rows]

    def _breach(self, one: Shared) -> str:
        test, train, fold = one.example or ("", "", "")
        remedy = _REMEDY.get(one.name, f"mend the column {one.name!r} or choose another protocol")
        return (
            f"protocol {self.protocol!r} keeps {one.name} apart, but {one.shared:,} of {one.of:,} "
            f"test utterances share it with train (as {test!r} with {train!r}"
            f"{f' in {fold}' if fold else ''}); {remedy}"
        )


def audit(
    manifest: Manifest,
    protocol: str,
    *,
    labels: LabelSet | None = None,
    seed: int = 0,
    folds: int | None = None,
    sound: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Cut a manifest and tell what its test parts share with train.

    Args:
        manifest: All utterances; those without a label of the set are left out and counted.
        protocol: A name of `mersa.protocols.PROTOCOLS`.
        labels: The label set; every emotion of the manifest if absent.
        seed: Of the cut.
        folds: How many folds `speaker` and `script-disjoint` make.
        sound: Read the recordings too; one that cannot be read is named, and the others go on.
        progress: Counts the recordings.

    Raises:
        ManifestError: If no utterance has one of the labels, or a time of `origin` is not a number.
        ProtocolError: If the protocol cannot cut the manifest.
    """
    labels = labels or label_set("all", [one.emotion for one in manifest])
    selection = select(manifest, labels)
    used = selection.utterances
    named = choose(used) if protocol == "auto" else protocol
    cuts = tuple(cut(used, named, seed=seed, folds=folds))
    label_of = {one.id: labels.labels[labels.index(one.emotion) or 0] for one in used}
    texts = {one.id: shared_key(one, "text") for one in used}
    shared, untold = _columns(used, cuts, keeps_apart(named))
    shared.append(by_partner("time", overlapping(used), cuts))
    heard = listen(manifest, used, progress=progress) if sound else None
    if heard and heard.sounds:
        for name, attribute in (("sound", "core"), ("same_samples", "digest")):
            keys = {id_: getattr(one, attribute) for id_, one in heard.sounds.items()}
            shared.append(by_key(name, keys, cuts))
    else:
        untold["sound"] = f"since no recording {'could be' if heard else 'was'} read"
    return Audit(
        protocol=named,
        chosen=protocol == "auto",
        seed=seed,
        labels=labels,
        left_out=selection.left_out,
        folds=cuts,
        shared=tuple(shared),
        untold=untold,
        texts=text_twins(texts, label_of, cuts, by_key("text", texts, cuts)),
        dialogues=dialogue_twins(manifest, cuts),
        balance=balance(labels.labels, label_of, cuts),
        recordings=check(used, label_of, heard),
    )


def _columns(
    used: Sequence[Utterance], cuts: Sequence[Fold], promised: Sequence[str]
) -> tuple[list[Shared], dict[str, str]]:
    """Compare by column; those that are empty throughout train come back with the reason."""
    own = [name for name in promised if name not in (*SHARED, "time", "sound")]
    shared, untold = [], {}
    for name in (*own, *SHARED):
        keys = {one.id: shared_key(one, name) for one in used}
        if not any(
            keys[id_] for fold in cuts for id_, part in fold.parts.items() if part == "train"
        ):
            untold[name] = "since train has no such column"
            continue
        shared.append(by_key(name, keys, cuts))
        if name == "text":
            long = {
                id_: text if len(text.split()) >= LONG_WORDS else "" for id_, text in keys.items()
            }
            shared.append(by_key("long_text", long, cuts))
    return shared, untold


def _says(name: str) -> str:
    return _SAYS.get(name, name)


def _aligned(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Return lines whose columns stand under each other, to the right but for those of `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
