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
from mersa.errors import ProtocolError
from mersa.folds import SHARED, Fold, known_from_train, shared_key
from mersa.manifest import PARTS, Manifest, Utterance
from mersa.progress import Progress
from mersa.protocols import choose, cut, find_protocol, keeps_apart
from mersa.selection import counts_text, select
from mersa.tables import aligned

_SAYS = {
    "text": "text, case and punctuation aside",
    "long_text": f"text of {LONG_WORDS} words or more",
    "time": "time in one recording, over half of the shorter",
    "sound": "sound, silence at its ends aside",
    "same_samples": "sound, to the sample",
}
_APART = {"time": "overlapping stretches of one recording"}
_PROMISE = {"long_text": "text", "same_samples": "sound"}
_OWN_NAMES = ("time", "sound", "long_text", "same_samples")  # of what is no column
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
        unused: Utterances with a label that the protocol gives to no part, added up over folds.
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
    unused: int
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
            self._breach(one) for one in self.shared if one.name in self.promised and one.num_shared
        )

    def text(self) -> str:
        """Return tables and sentences for the terminal."""
        blocks = (
            self._head(),
            [
                *aligned(self._shared_rows(), right=(1, 2, 3)),
                *self.texts.lines(),
                *self.dialogues.lines(),
                *self._untold_lines(),
            ],
            [*aligned(self.balance.rows(), right=(1, 2, 3)), *self.balance.lines()],
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
            "unused": self.unused,
            "shared": {one.name: one.as_dict() for one in self.shared},
            "untold": dict(self.untold),
            "texts": asdict(self.texts),
            "dialogues": {
                "num_shared": self.dialogues.num_shared,
                "num_test_dialogues": self.dialogues.num_test_dialogues,
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
        summary = find_protocol(self.protocol).summary
        sizes = Counter(part for fold in self.folds for part in fold.parts.values())
        folds = f" of {len(self.folds)} folds, added up" if len(self.folds) > 1 else ""
        chosen = " (chosen by the manifest's columns)" if self.chosen else ""
        out = f"; left out: {counts_text(self.left_out)}" if self.left_out else ""
        held = [
            _apart(one.name)
            for one in self.shared
            if one.name in self.promised and not one.num_shared
        ]
        lines = [
            f"protocol {self.protocol}{chosen}: {summary}",
            f"utterances{folds}: {', '.join(f'{part} {sizes[part]:,}' for part in PARTS)}{out}",
        ]
        if self.unused:
            lines.append(f"left out by the protocol{folds}: {self.unused:,}")
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
        rows = [["test utterances whose ... is also in train", "number", "share", "worst fold", ""]]
        for one in self.shared:
            promised = _PROMISE.get(one.name, one.name) in self.promised
            rows.append(
                [
                    _says(one.name),
                    f"{one.num_shared:,}",
                    f"{one.num_shared / one.num_test:.1%}",
                    f"{max(one.shares):.1%} {one.worst_fold}" if one.num_shared else "",
                    ("BROKEN" if one.num_shared else "kept apart") if promised else "",
                ]
            )
        return rows if many else [[*row[:3], "", row[4]] for row in rows]

    def _breach(self, one: Shared) -> str:
        test, train, fold = one.example or ("", "", "")
        them = "them" if one.name in _APART else "it"
        remedy = _REMEDY.get(one.name, f"mend the column {one.name!r} or choose another protocol")
        return (
            f"protocol {self.protocol!r} keeps {_apart(one.name)} apart, but "
            f"{one.num_shared:,} of {one.num_test:,} test utterances share {them} with train "
            f"(as {test!r} with {train!r}{f' in {fold}' if fold else ''}); {remedy}"
        )


def audit(
    manifest: Manifest,
    protocol: str,
    *,
    labels: LabelSet | None = None,
    seed: int = 0,
    num_folds: int | None = None,
    sound: bool = True,
    progress: Progress | None = None,
) -> Audit:
    """Cut a manifest and tell what its test parts share with train.

    Args:
        manifest: All utterances; those without a label of the set are left out and counted.
        protocol: One of `mersa.protocols.USAGES`.
        labels: The label set; every emotion of the manifest if absent.
        seed: Of the cut.
        num_folds: How many folds `speaker`, `script-disjoint` and `improvised` make.
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
    if named.partition(":")[2] in _OWN_NAMES:
        raise ProtocolError(
            f"protocol {named!r} goes by a column whose name the audit uses otherwise; give the "
            "column another name"
        )
    folds = tuple(cut(used, named, seed=seed, folds=num_folds))
    label_of = {one.id: labels.labels[labels.index(one.emotion) or 0] for one in used}
    texts = {one.id: shared_key(one, "text") for one in used}
    shared, untold = _columns(used, folds, keeps_apart(named))
    shared.append(by_partner("time", overlapping(used), folds))
    heard = listen(manifest, used, progress=progress) if sound else None
    if heard and heard.sounds:
        for name, attribute in (("sound", "core"), ("same_samples", "digest")):
            keys = {id_: getattr(one, attribute) for id_, one in heard.sounds.items()}
            shared.append(by_key(name, keys, folds))
    else:
        untold["sound"] = f"since no recording {'could be' if heard else 'was'} read"
    return Audit(
        protocol=named,
        chosen=protocol == "auto",
        seed=seed,
        labels=labels,
        left_out=selection.left_out,
        unused=sum(len(used) - len(fold.parts) for fold in folds),
        folds=folds,
        shared=tuple(shared),
        untold=untold,
        texts=text_twins(texts, label_of, folds, by_key("text", texts, folds)),
        dialogues=dialogue_twins(manifest, folds),
        balance=balance(labels.labels, label_of, folds),
        recordings=check(used, label_of, heard),
    )


def _columns(
    used: Sequence[Utterance], folds: Sequence[Fold], promised: Sequence[str]
) -> tuple[list[Shared], dict[str, str]]:
    """Compare by column; those that are empty throughout train come back with the reason."""
    own = [name for name in promised if name not in (*SHARED, "time", "sound")]
    shared, untold = [], {}
    for name in (*own, *SHARED):
        keys = {one.id: shared_key(one, name) for one in used}
        if all(known_from_train(keys, fold) is None for fold in folds):
            untold[name] = "since train has no such column"
            continue
        shared.append(by_key(name, keys, folds))
        if name == "text":
            long = {
                id_: text if len(text.split()) >= LONG_WORDS else "" for id_, text in keys.items()
            }
            shared.append(by_key("long_text", long, folds))
    return shared, untold


def _says(name: str) -> str:
    return _SAYS.get(name, name)


def _apart(name: str) -> str:
    return _APART.get(name, name)
