"""How a corpus is cut into train, validation and test.

A protocol gives one fold or several; in each, every utterance has one part. Validation is always
there: where the corpus brings none, it is cut out of train by whole groups, never out of test.
Everything is drawn from utterances in sorted order, so a seed gives one cut on every machine.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mersa import cuts
from mersa.errors import ProtocolError
from mersa.folds import Fold
from mersa.manifest import PARTS, Utterance

FEWEST_SESSIONS = 3
"""With fewer, `auto` does not leave sessions out, since train would be one session."""

MOST_DRAWS = 200
"""How many random cuts of validation are tried for one in which both sides hold every emotion."""


@dataclass(frozen=True)
class Protocol:
    """A way of cutting.

    Attributes:
        summary: What it does.
        argument: What stands after a colon, as `NAME` in `column:NAME`; empty if nothing does.
        folds: Whether `data.folds` sets how many folds it makes.
        keeps_apart: What train and test may not share: columns of `folds.SHARED`, `time` (stretches
            of one recording that overlap) and `sound` (the same recording twice).
    """

    summary: str
    keeps_apart: tuple[str, ...] = ()
    argument: str = ""
    folds: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    "auto": Protocol(
        "official if the corpus has parts, else by session, else by speaker, else by dialogue"
    ),
    "official": Protocol("the parts that the corpus publishes"),
    "leave-one-session-out": Protocol(
        "one fold per session, whose speakers are heard in no other",
        ("session", "speaker", "time", "sound"),
    ),
    "speaker": Protocol(
        "up to five folds; each speaker is tested once", ("speaker", "sound"), folds=True
    ),
    "leave-one-speaker-out": Protocol("one fold per speaker", ("speaker", "sound")),
    "dialogue": Protocol("8:1:1 by whole dialogues", ("dialogue", "time", "sound")),
    "script-disjoint": Protocol(
        "up to five folds by script; train holds no script and no words of test",
        ("script", "text", "sound"),
        folds=True,
    ),
    "improvised": Protocol(
        "improvised utterances alone, one fold per session, else by speaker",
        ("speaker", "sound"),
        folds=True,
    ),
    "paper": Protocol(
        "8:1:1 at random over utterances, stratified by emotion; it shares all there is"
    ),
    "column": Protocol("one fold per value of a column", ("sound",), argument="NAME"),
    "file": Protocol("parts by id, from a table with the columns id and part", argument="PATH"),
}
"""Every protocol by name, without its argument."""

USAGES = tuple(
    f"{name}:{one.argument}" if one.argument else name for name, one in PROTOCOLS.items()
)
"""How each is written."""


def cut(
    utterances: Sequence[Utterance],
    protocol: str,
    *,
    seed: int = 0,
    folds: int | None = None,
    validation_share: float = 0.1,
    validation_group: str = "auto",
) -> list[Fold]:
    """Cut labelled utterances into folds.

    Args:
        utterances: What is left after unlabelled and left-out emotions are gone.
        protocol: One of `USAGES`.
        seed: Of every random draw.
        folds: How many folds `speaker`, `script-disjoint` and `improvised` by speaker make; at
            most five if absent.
        validation_share: Share of the train groups (or utterances) that becomes validation.
        validation_group: `speaker`, `dialogue`, `session` or `utterance`: what stays whole when
            validation is cut; `auto` takes the widest of speaker, dialogue and utterance of which
            train holds at least three, and for `script-disjoint` the script.

    Raises:
        ProtocolError: If the protocol does not exist, the manifest lacks what it needs, there are
            fewer groups than folds, or a part comes out empty.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    if not ordered:
        raise ProtocolError(
            "no labelled utterance is left to cut into parts; choose data.labels that the manifest "
            "holds"
        )
    protocol = choose(ordered) if protocol == "auto" else protocol
    named = find_protocol(protocol)
    if folds and not named.folds:
        reading = ", ".join(name for name, one in PROTOCOLS.items() if one.folds)
        raise ProtocolError(
            f"data.folds={folds} is not read by protocol {protocol!r}, but by {reading} alone; "
            "leave it out"
        )
    kind, _, argument = protocol.partition(":")
    ways: Mapping[str, Callable[[], list[Fold]]] = {
        "official": lambda: [cuts.official(ordered)],
        "leave-one-session-out": lambda: cuts.by_session(ordered),
        "speaker": lambda: cuts.by_speaker(ordered, seed, folds),
        "leave-one-speaker-out": lambda: cuts.one_out(ordered, "speaker", protocol),
        "dialogue": lambda: [cuts.by_dialogue(ordered, seed)],
        "script-disjoint": lambda: cuts.script_disjoint(ordered, seed, folds),
        "improvised": lambda: cuts.improvised(ordered, seed, folds),
        "paper": lambda: [cuts.paper(ordered, seed)],
        "column": lambda: cuts.one_out(ordered, argument, protocol),
        "file": lambda: [cuts.from_file(ordered, Path(argument))],
    }
    by_script = protocol == "script-disjoint" and validation_group == "auto"
    return [
        _checked(
            _with_validation(fold, ordered, seed, validation_share, validation_group, by_script)
        )
        for fold in ways[kind]()
    ]


def choose(utterances: Sequence[Utterance]) -> str:
    """Return the protocol that a corpus asks for by the columns that it has.

    Raises:
        ProtocolError: If it has neither parts nor enough sessions, speakers or dialogues.
    """
    if any(utterance.part for utterance in utterances):
        return "official"
    sessions = {utterance.session for utterance in utterances} - {""}
    speakers = {utterance.speaker for utterance in utterances} - {""}
    if len(sessions) >= FEWEST_SESSIONS and speakers and not cuts.sharing_speakers(utterances):
        return "leave-one-session-out"
    if len(speakers) >= cuts.FEWEST_SPEAKERS:
        return "speaker"
    dialogues = {utterance.dialogue for utterance in utterances} - {""}
    if len(dialogues) >= cuts.FEWEST_DIALOGUES:
        return "dialogue"
    raise ProtocolError(
        "no protocol fits that keeps speakers or dialogues apart: the manifest names no parts, "
        f"{len(speakers)} speakers ({cuts.FEWEST_SPEAKERS} are needed) and {len(dialogues)} "
        f"dialogues ({cuts.FEWEST_DIALOGUES} are needed); fill the column 'speaker' or 'part', or "
        "choose --protocol paper, which shares speakers between train and test"
    )


def find_protocol(protocol: str) -> Protocol:
    """Return a protocol by how it is written, as `speaker` or `column:session`.

    Raises:
        ProtocolError: If there is none.
    """
    kind, colon, argument = protocol.partition(":")
    found = PROTOCOLS.get(kind)
    if found is None or bool(found.argument) != bool(argument) or bool(colon) != bool(argument):
        raise ProtocolError(
            f"protocol {protocol!r} does not exist; choose one of {', '.join(USAGES)}"
        )
    return found


def keeps_apart(protocol: str) -> tuple[str, ...]:
    """Return what train and test may not share under a protocol (see `Protocol`)."""
    kind, _, argument = protocol.partition(":")
    promised = find_protocol(protocol).keeps_apart
    return (argument, *promised) if kind == "column" else promised


def _with_validation(
    fold: Fold,
    ordered: Sequence[Utterance],
    seed: int,
    share: float,
    group: str,
    by_script: bool,
) -> Fold:
    """Cut validation out of train by whole groups, if the fold has none."""
    if "validation" in fold.parts.values():
        return fold
    train = [utterance for utterance in ordered if fold.parts.get(utterance.id) == "train"]
    column = {"auto": _widest(train), "utterance": "id"}.get(group, group)
    group_of = {utterance.id: utterance.column(column) for utterance in train}
    scripts = {utterance.id: cuts.script_key(utterance) for utterance in train}
    if by_script and len(set(scripts.values())) >= 3:
        group_of = scripts
    groups = sorted(set(group_of.values()) - {""})
    if len(groups) < 2:
        raise ProtocolError(
            f"validation is cut out of train by {column!r}, but train{_of(fold)} has "
            f"{len(groups)} of them; choose another data.validation_group"
        )
    chosen = _draw(train, group_of, groups, share, seed)
    return Fold(
        fold.name,
        {
            id_: "validation" if part == "train" and id_ in chosen else part
            for id_, part in fold.parts.items()
        },
        fold.held_out,
    )


def _draw(
    train: Sequence[Utterance],
    group_of: Mapping[str, str],
    groups: Sequence[str],
    share: float,
    seed: int,
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
        inside = [utterance for utterance in train if group_of[utterance.id] in drawn]
        outside = [utterance for utterance in train if group_of[utterance.id] not in drawn]
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
