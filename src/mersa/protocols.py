"""How a corpus is cut into train, validation and test.

A protocol gives one fold or several; in each, every utterance has one part. Validation is always
there: where the corpus brings none, it is cut out of train by whole groups, never out of test.
Everything is drawn from utterances in sorted order, so a seed gives one cut on every machine.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mersa.errors import ProtocolError
from mersa.manifest import PARTS, Utterance, read_table

PROTOCOLS = ("official", "speaker", "paper", "column:NAME", "file:PATH")

MOST_SPEAKER_FOLDS = 5
MOST_DRAWS = 200
"""How many random cuts of validation are tried for one in which both sides hold every emotion."""


@dataclass(frozen=True)
class Fold:
    """One cut of a corpus.

    Attributes:
        name: `fold-1`, ... or empty where the protocol gives one fold alone.
        parts: Part of every utterance that belongs to one, by id, in sorted order.
    """

    name: str
    parts: Mapping[str, str]

    def sha256(self) -> str:
        """Return the digest that artefacts fitted on this cut are stamped with."""
        lines = "".join(f"{id_},{part}\n" for id_, part in sorted(self.parts.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


def cut(
    utterances: Sequence[Utterance],
    protocol: str,
    *,
    seed: int = 0,
    validation_share: float = 0.1,
    validation_group: str = "auto",
) -> list[Fold]:
    """Cut labelled utterances into folds.

    * `official`: the parts that the manifest gives.
    * `speaker`: up to five folds; each speaker is tested once, and never heard in training.
    * `paper`: 8:1:1 at random over utterances, stratified by emotion. It shares speakers,
      dialogues and sentences between the parts.
    * `column:NAME`: a fold for each value of a column; its utterances are the test part.
    * `file:PATH`: a table with the columns `id` and `part`; ids that it leaves out are not used.

    Args:
        utterances: What is left after unlabelled and left-out emotions are gone.
        protocol: One of the above.
        seed: Of every random draw.
        validation_share: Share of the train groups (or utterances) that becomes validation.
        validation_group: `speaker`, `dialogue`, `session` or `utterance`: what stays whole when
            validation is cut; `auto` takes the widest of speaker, dialogue and utterance of which
            train holds at least three.

    Raises:
        ProtocolError: If the protocol does not exist, the manifest lacks what it needs, or a part
            comes out empty.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    if not ordered:
        raise ProtocolError(
            "no labelled utterance is left to cut into parts; choose data.labels that the manifest "
            "holds"
        )
    kind, _, argument = protocol.partition(":")
    if protocol == "official":
        folds = [_official(ordered)]
    elif protocol == "paper":
        folds = [_paper(ordered, seed)]
    elif kind == "file" and argument:
        folds = [_from_file(ordered, Path(argument))]
    elif kind == "column" and argument:
        folds = _by_column(ordered, argument)
    elif protocol == "speaker":
        folds = _by_speaker(ordered, seed)
    else:
        raise ProtocolError(
            f"protocol {protocol!r} does not exist; choose one of {', '.join(PROTOCOLS)}"
        )
    return [
        _checked(_with_validation(fold, ordered, seed, validation_share, validation_group))
        for fold in folds
    ]


def leaks(utterances: Sequence[Utterance], fold: Fold) -> dict[str, float]:
    """Return the share of test utterances whose speaker, dialogue or text is also in train.

    Texts are compared in lower case without punctuation. A column that is empty throughout is left
    out.
    """
    by_id = {utterance.id: utterance for utterance in utterances}
    train = [by_id[id_] for id_, part in fold.parts.items() if part == "train"]
    test = [by_id[id_] for id_, part in fold.parts.items() if part == "test"]
    shares = {}
    for name in ("speaker", "dialogue", "text"):
        seen = {_key(utterance, name) for utterance in train} - {""}
        if seen:
            shares[name] = sum(_key(utterance, name) in seen for utterance in test) / len(test)
    return shares


def _official(ordered: Sequence[Utterance]) -> Fold:
    parts = {utterance.id: utterance.part for utterance in ordered if utterance.part}
    if not parts:
        raise ProtocolError(
            "protocol 'official' needs the column 'part', but it is empty; fill it with "
            f"{', '.join(PARTS)}, or choose --protocol speaker"
        )
    return Fold("", parts)


def _paper(ordered: Sequence[Utterance], seed: int) -> Fold:
    from sklearn.model_selection import train_test_split

    emotions = [utterance.emotion for utterance in ordered]
    rarest, count = min(Counter(emotions).items(), key=lambda item: item[1])
    if count < 10:
        raise ProtocolError(
            f"emotion {rarest!r} has {count} utterances, but protocol 'paper' cuts each emotion "
            "8:1:1 and needs 10; leave it out of data.labels or choose another protocol"
        )
    ids = np.array([utterance.id for utterance in ordered])
    train, rest, _, rest_emotions = train_test_split(
        ids, emotions, test_size=0.2, random_state=seed, stratify=emotions
    )
    validation, test = train_test_split(
        rest, test_size=0.5, random_state=seed, stratify=rest_emotions
    )
    part_of = dict.fromkeys(train, "train")
    part_of |= dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
    return Fold("", {str(id_): part_of[id_] for id_ in ids})


def _from_file(ordered: Sequence[Utterance], path: Path) -> Fold:
    if not path.is_file():
        raise ProtocolError(
            f"protocol 'file:{path}' names a file that is not there; name a table with the columns "
            "'id' and 'part'"
        )
    rows = read_table(path)
    if not rows or not {"id", "part"} <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no rows"
        raise ProtocolError(f"{path} has {found}, but the columns 'id' and 'part' are needed")
    known = {utterance.id for utterance in ordered}
    named = [row["id"] for row in rows]
    twice = next((id_ for id_, count in Counter(named).items() if count > 1), None)
    if twice is not None:
        raise ProtocolError(f"{path} names {twice!r} more than once; give each id one part")
    parts = {row["id"]: row["part"] for row in rows if row["part"]}
    if not parts:
        raise ProtocolError(
            f"{path} gives no utterance a part; write {', '.join(PARTS)} into its column 'part'"
        )
    wrong = sorted(set(parts.values()).difference(PARTS))
    if wrong:
        raise ProtocolError(f"{path} has part {wrong[0]!r}; parts are {', '.join(PARTS)}")
    if not known & set(parts):
        raise ProtocolError(
            f"{path} names no utterance of this manifest (its first id is {next(iter(parts))!r}, "
            f"the manifest's {ordered[0].id!r}); give the parts of this corpus"
        )
    return Fold("", {id_: parts[id_] for id_ in sorted(known & set(parts))})


def _by_column(ordered: Sequence[Utterance], column: str) -> list[Fold]:
    values = {utterance.id: utterance.column(column) for utterance in ordered}
    names = sorted(set(values.values()) - {""}, key=_natural)
    if len(names) < 2:
        known = sorted({name for utterance in ordered for name in utterance.extras})
        raise ProtocolError(
            f"protocol 'column:{column}' needs at least two values in the column {column!r}, but "
            f"{len(names)} stand there; the manifest's extra columns are "
            f"{', '.join(known) or 'none'}"
        )
    return [
        Fold(
            f"fold-{number}",
            {id_: "test" if value == name else "train" for id_, value in values.items() if value},
        )
        for number, name in enumerate(names, start=1)
    ]


def _by_speaker(ordered: Sequence[Utterance], seed: int) -> list[Fold]:
    from sklearn.model_selection import GroupKFold

    spoken = [utterance for utterance in ordered if utterance.speaker]
    speakers = [utterance.speaker for utterance in spoken]
    if len(set(speakers)) < 3:
        raise ProtocolError(
            f"protocol 'speaker' needs at least three speakers in the column 'speaker', but "
            f"{len(set(speakers))} stand there; fill the column or choose another protocol"
        )
    splitter = GroupKFold(
        min(MOST_SPEAKER_FOLDS, len(set(speakers))), shuffle=True, random_state=seed
    )
    folds = []
    for number, (_, test) in enumerate(splitter.split(spoken, groups=speakers), start=1):
        tested = set(test.tolist())
        parts = {
            utterance.id: "test" if index in tested else "train"
            for index, utterance in enumerate(spoken)
        }
        folds.append(Fold(f"fold-{number}", parts))
    return folds


def _with_validation(
    fold: Fold, ordered: Sequence[Utterance], seed: int, share: float, group: str
) -> Fold:
    """Cut validation out of train by whole groups, if the fold has none."""
    if "validation" in fold.parts.values():
        return fold
    train = [utterance for utterance in ordered if fold.parts.get(utterance.id) == "train"]
    column = _widest(train) if group == "auto" else "id" if group == "utterance" else group
    groups = sorted({utterance.column(column) for utterance in train} - {""})
    if len(groups) < 2:
        raise ProtocolError(
            f"validation is cut out of train by {column!r}, but train{_of(fold)} has "
            f"{len(groups)} of them; choose another data.validation_group"
        )
    chosen = _draw(train, column, groups, share, seed)
    return Fold(
        fold.name,
        {
            id_: "validation" if part == "train" and id_ in chosen else part
            for id_, part in fold.parts.items()
        },
    )


def _draw(
    train: Sequence[Utterance], column: str, groups: Sequence[str], share: float, seed: int
) -> set[str]:
    """Draw groups until both sides hold every emotion; return the drawn ids.

    Of the draws that miss emotions the one that misses fewest is taken.
    """
    random = np.random.default_rng(seed)
    num_drawn = max(1, round(share * len(groups)))
    emotions = {utterance.emotion for utterance in train}
    best: tuple[int, set[str]] | None = None
    for _ in range(MOST_DRAWS):
        drawn = set(random.choice(groups, size=num_drawn, replace=False).tolist())
        inside = [utterance for utterance in train if utterance.column(column) in drawn]
        outside = [utterance for utterance in train if utterance.column(column) not in drawn]
        missed = sum(
            len(emotions - {utterance.emotion for utterance in side}) for side in (inside, outside)
        )
        if best is None or missed < best[0]:
            best = (missed, {utterance.id for utterance in inside})
        if missed == 0:
            break
    return best[1] if best else set()


def _widest(train: Sequence[Utterance]) -> str:
    for column in ("speaker", "dialogue"):
        if len({utterance.column(column) for utterance in train} - {""}) >= 3:
            return column
    return "id"


def _checked(fold: Fold) -> Fold:
    counts = Counter(fold.parts.values())
    for part in PARTS:
        if not counts[part]:
            raise ProtocolError(
                f"the {part} part{_of(fold)} is empty; choose another protocol, or data.labels "
                "whose emotions stand in every part"
            )
    return fold


def _of(fold: Fold) -> str:
    return f" of {fold.name}" if fold.name else ""


def _key(utterance: Utterance, name: str) -> str:
    value = utterance.column(name)
    if name != "text":
        return value
    return " ".join("".join(c if c.isalnum() else " " for c in value.lower()).split())


def _natural(value: str) -> tuple[int, float, str]:
    """Sort numbers by size and before words."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
