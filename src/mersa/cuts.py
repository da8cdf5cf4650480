"""The ways of taking a test part out of a corpus, one function a protocol.

Each takes labelled utterances in sorted order and gives folds of train and test; `protocols` adds
the validation part. Groups are named by a column, and stay whole.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mersa.errors import ProtocolError
from mersa.folds import Fold, natural_key, normalise_text
from mersa.manifest import PARTS, Utterance, read_table

MOST_FOLDS = 5
"""Folds of a grouped protocol, unless there are fewer groups or `data.folds` asks for others."""

MOST_ONE_OUT = 1_000
FEWEST_SPEAKERS = 3
FEWEST_DIALOGUES = 10
"""One for the test part, one for validation, eight for train."""


def official(ordered: Sequence[Utterance]) -> Fold:
    """Take the parts that the manifest gives."""
    parts = {utterance.id: utterance.part for utterance in ordered if utterance.part}
    if not parts:
        raise ProtocolError(
            "protocol 'official' needs the column 'part', but it is empty; fill it with "
            f"{', '.join(PARTS)}, or choose --protocol speaker"
        )
    return Fold("", parts)


def paper(ordered: Sequence[Utterance], seed: int) -> Fold:
    """Cut 8:1:1 at random over utterances, stratified by emotion."""
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


def from_file(ordered: Sequence[Utterance], path: Path) -> Fold:
    """Take the parts that a table of ids gives."""
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


def one_out(ordered: Sequence[Utterance], column: str, protocol: str) -> list[Fold]:
    """Make a fold for each value of a column; its utterances are the test part."""
    names = sorted({utterance.column(column) for utterance in ordered} - {""}, key=natural_key)
    if len(names) < 2:
        columns = sorted({name for utterance in ordered for name in utterance.extras})
        raise ProtocolError(
            f"protocol {protocol!r} needs at least two values in the column {column!r}, but "
            f"{len(names)} stand there; fill the column (the manifest's extra columns are "
            f"{', '.join(columns) or 'none'}), or choose another protocol"
        )
    if len(names) > MOST_ONE_OUT:
        raise ProtocolError(
            f"protocol {protocol!r} would make {len(names):,} folds, one for each {column}, and a "
            f"training for each; choose one that makes at most {MOST_ONE_OUT:,}, such as speaker"
        )
    return [
        _fold(
            number,
            ordered,
            lambda utterance: utterance.column(column),
            {name},
            f"{column} {name}",
        )
        for number, name in enumerate(names, start=1)
    ]


def by_session(ordered: Sequence[Utterance]) -> list[Fold]:
    """Make a fold for each session, whose speakers are heard in no other."""
    shared = sharing_speakers(ordered)
    if shared:
        raise ProtocolError(
            f"protocol 'leave-one-session-out' keeps speakers apart, but {len(shared)} of them "
            f"stand in several sessions, as {min(shared)!r}; choose --protocol speaker, or "
            "column:session to leave sessions out all the same"
        )
    return one_out(ordered, "session", "leave-one-session-out")


def sharing_speakers(utterances: Sequence[Utterance]) -> set[str]:
    """Return the speakers that stand in more than one session."""
    homes = {(one.speaker, one.session) for one in utterances if one.speaker and one.session}
    counts = Counter(speaker for speaker, _ in homes)
    return {speaker for speaker, count in counts.items() if count > 1}


def by_speaker(
    ordered: Sequence[Utterance], seed: int, folds: int | None, protocol: str = "speaker"
) -> list[Fold]:
    """Test each speaker once, several together."""
    return _grouped(
        ordered, protocol, "speaker", lambda one: one.speaker, seed, folds, FEWEST_SPEAKERS
    )


def by_dialogue(ordered: Sequence[Utterance], seed: int) -> Fold:
    """Cut 8:1:1 by whole dialogues, keeping the shares of the emotions close."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    held = [utterance for utterance in ordered if utterance.dialogue]
    dialogues = [utterance.dialogue for utterance in held]
    if len(set(dialogues)) < FEWEST_DIALOGUES:
        raise ProtocolError(
            f"protocol 'dialogue' cuts 8:1:1 and needs at least {FEWEST_DIALOGUES} groups by the "
            f"column 'dialogue', but {len(set(dialogues))} stand there; fill the column or choose "
            "another protocol"
        )
    splitter = StratifiedGroupKFold(FEWEST_DIALOGUES, shuffle=True, random_state=seed)
    emotions = [utterance.emotion for utterance in held]
    if max(Counter(emotions).values()) < FEWEST_DIALOGUES:  # nothing to share out evenly
        splitter = GroupKFold(FEWEST_DIALOGUES, shuffle=True, random_state=seed)
    with _few_of_a_class():
        tenths = [test for _, test in splitter.split(held, emotions, groups=dialogues)]
    part_of = dict.fromkeys(range(len(held)), "train")
    part_of |= dict.fromkeys(tenths[0].tolist(), "test")
    part_of |= dict.fromkeys(tenths[1].tolist(), "validation")
    return Fold("", {utterance.id: part_of[index] for index, utterance in enumerate(held)})


def script_disjoint(ordered: Sequence[Utterance], seed: int, folds: int | None) -> list[Fold]:
    """Test each script once; train loses what has a script or the words of a test utterance.

    An utterance without a script is grouped by its words.
    """
    cuts = _grouped(ordered, "script-disjoint", "script", script_key, seed, folds, 2)
    by_id = {utterance.id: utterance for utterance in ordered}
    disjoint = []
    for fold in cuts:
        words = {
            normalise_text(by_id[id_].text) for id_, part in fold.parts.items() if part == "test"
        } - {""}
        kept = {
            id_: part
            for id_, part in fold.parts.items()
            if part == "test" or normalise_text(by_id[id_].text) not in words
        }
        disjoint.append(Fold(fold.name, kept, fold.held_out))
    return disjoint


def script_key(utterance: Utterance) -> str:
    """Return what `script_disjoint` groups by: the script, else the words."""
    return utterance.column("script") or normalise_text(utterance.text)


def improvised(ordered: Sequence[Utterance], seed: int, folds: int | None) -> list[Fold]:
    """Keep improvised utterances alone, and leave one session out; by speaker without sessions."""
    kept = [utterance for utterance in ordered if utterance.column("style") == "improvised"]
    if not kept:
        raise ProtocolError(
            "protocol 'improvised' keeps the utterances whose column 'style' is 'improvised', but "
            "there are none; fill the column or choose another protocol"
        )
    if len({utterance.session for utterance in kept} - {""}) >= 2 and not sharing_speakers(kept):
        return one_out(kept, "session", "improvised")
    return by_speaker(kept, seed, folds, "improvised")


def _grouped(
    ordered: Sequence[Utterance],
    protocol: str,
    column: str,
    key: Callable[[Utterance], str],
    seed: int,
    folds: int | None,
    least: int,
) -> list[Fold]:
    """Deal whole groups into folds; utterances without a group belong to none."""
    from sklearn.model_selection import GroupKFold

    held = [utterance for utterance in ordered if key(utterance)]
    groups = [key(utterance) for utterance in held]
    num_groups = len(set(groups))
    needed = max(least, folds or 0)
    if num_groups < needed:
        raise ProtocolError(
            f"protocol {protocol!r} needs at least {needed} groups by the column {column!r}"
            f"{f' for data.folds={folds}' if folds else ''}, but {num_groups} stand there; fill "
            f"the column{', ask for fewer folds' if folds else ''} or choose another protocol"
        )
    splitter = GroupKFold(folds or min(MOST_FOLDS, num_groups), shuffle=True, random_state=seed)
    made = []
    for number, (_, test) in enumerate(splitter.split(held, groups=groups), start=1):
        tested = {groups[index] for index in test.tolist()}
        made.append(_fold(number, held, key, tested, f"{len(tested)} of {num_groups} {column}s"))
    return made


def _fold(
    number: int,
    utterances: Sequence[Utterance],
    key: Callable[[Utterance], str],
    tested: set[str],
    held_out: str,
) -> Fold:
    parts = {
        utterance.id: "test" if key(utterance) in tested else "train"
        for utterance in utterances
        if key(utterance)
    }
    return Fold(f"fold-{number}", parts, held_out)


@contextmanager
def _few_of_a_class() -> Iterator[None]:
    """Keep scikit-learn from warning of an emotion with fewer utterances than tenths."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        yield
