"""An emulated IEMOCAP_full_release: the published layout and counts, with words of its own.

Names of dialogues, labels a session and shapes of lines are as published; who says what, when and
how it is rated is drawn here. What stands beside the files that a reader needs is there as well:
ratings in subfolders, Anvil files, macOS leftovers, turns without a label, stray lines.
"""

import io
import os
import random
import wave
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_PLAYS = ("script01_1", "script01_2", "script01_3", "script02_1", "script02_2")
_PLAYS += ("script03_1", "script03_2")
_EIGHT = tuple(f"impro0{number}" for number in range(1, 9))
_CUT = ("impro01", "impro02", "impro03", "impro04", "impro05a", "impro05b")
_CUT += ("impro06", "impro07", "impro08a", "impro08b")
_SCENES = {
    "Ses01F": _EIGHT[:7],
    "Ses01M": _EIGHT[:7],
    "Ses03M": _CUT,
    "Ses05M": (*_EIGHT, "script01_1b"),
}

DIALOGUES = tuple(
    f"Ses0{session}{letter}_{scene}"
    for session in range(1, 6)
    for letter in "FM"
    for scene in sorted((*_SCENES.get(f"Ses0{session}{letter}", _EIGHT), *_PLAYS))
)
"""All 151 names."""

_LABELS = ("neu", "hap", "sad", "ang", "exc", "fru", "sur", "fea", "dis", "oth", "xxx")
_FULL = {
    # The first six are published by session; of the others only session 5 and the sums.
    "1": (384, 135, 194, 229, 143, 280, 24, 7, 0, 1, 422),
    "2": (362, 117, 197, 137, 210, 325, 19, 6, 1, 0, 437),
    "3": (320, 135, 305, 240, 151, 382, 22, 8, 0, 1, 572),
    "4": (258, 65, 143, 327, 238, 481, 24, 9, 1, 1, 556),
    "5": (384, 143, 245, 170, 299, 381, 18, 10, 0, 0, 520),
}
_FEW = {
    "1": (5, 1, 2, 3, 2, 4, 1, 0, 0, 1, 6),
    "2": (4, 2, 3, 1, 3, 2, 0, 1, 0, 0, 5),
    "3": (3, 1, 4, 2, 1, 5, 0, 0, 1, 0, 4),
    "4": (2, 2, 1, 4, 4, 6, 0, 0, 0, 0, 3),
    "5": (6, 3, 2, 2, 5, 3, 0, 0, 0, 0, 2),
}
COUNTS = {session: dict(zip(_LABELS, row, strict=True)) for session, row in _FULL.items()}
"""Utterances by session and label, 10,039 in all."""

FEW = {session: dict(zip(_LABELS, row, strict=True)) for session, row in _FEW.items()}
"""A small release of 112 utterances; goes with `SHORT`."""

SHORT = tuple(
    name
    for name in DIALOGUES
    if name[5] == "M" and name[7:] in ("impro01", "impro05a", "impro05b", "script01_1b")
) + tuple(f"Ses0{session}F_{scene}" for session in "12345" for scene in ("impro02", "script01_1"))
"""The 18 dialogues of a small release: each kind of name, both letters in each session."""

_CATEGORIES = {
    "neu": "Neutral",
    "hap": "Happiness",
    "sad": "Sadness",
    "ang": "Anger",
    "exc": "Excited",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
_COMMENTS = ("", "", "", "", "curious", "tense, tired", "mild; late", "half (not more)")
_SUBJECTS = ("The kettle", "My brother", "That letter", "The ferry", "Your coat", "The lamp")
_VERBS = ("was", "stayed", "comes", "went", "is")
_PLACES = ("under the stairs", "at the harbour", "behind the door", "in the attic", "by the river")
_FIRST = {
    # Words that stand at the beginning of the first dialogues of each session.
    0: "I told you: at nine: not at ten.",
    1: "[LAUGHTER] No. [BREATHING]",
    2: "[GARBAGE]",
    3: "We had cr\u00eapes at the caf\u00e9\u0085 or so.",
    4: "It\u2019s \u201cfine\u201d \u2026",
    5: "(sighs) Sorry, sorry: I mean it.",
}
_APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\xff[0.0 - 1.0]\n"
"""The beginning of an AppleDouble file, which is no text."""


@dataclass(frozen=True)
class Turn:
    """One labelled utterance as written; times are text as in the evaluations."""

    name: str
    label: str
    start_s: str
    end_s: str
    rating: tuple[str, str, str]
    raters: tuple[tuple[str, tuple[str, ...], str], ...]
    text: str

    @property
    def dialogue(self) -> str:
        return self.name[:-5]

    @property
    def session(self) -> str:
        return self.name[4]

    def evaluation(self) -> str:
        """The block of this utterance in its evaluation file."""
        lines = [
            f"[{self.start_s} - {self.end_s}]\t{self.name}\t{self.label}\t"
            f"[{', '.join(self.rating)}]"
        ]
        for rater, categories, comment in self.raters:
            named = "".join(f"{category}; " for category in categories).rstrip()
            lines.append(f"C-{rater}:\t{named}\t({comment})")
        lines.append("A-E3:\tval 3; act 2; dom  2;\t()")
        lines.append("A-F1:\tval 2; act 3; dom  ;\t()")
        return "\n".join(lines)


@dataclass(frozen=True)
class Release:
    """Where a release was written, and what is in it."""

    folder: Path
    turns: tuple[Turn, ...]


def write_release(
    root: Path,
    *,
    counts: Mapping[str, Mapping[str, int]] = COUNTS,
    dialogues: Collection[str] = DIALOGUES,
    recordings: bool = True,
) -> Release:
    """Write `root/IEMOCAP_full_release`.

    Args:
        root: Folder to write it into; made if absent.
        counts: Utterances by session and label; a session that is left out gets no folder.
        dialogues: Names of the dialogues; each of a session in `counts` gets its share.
        recordings: Write `sentences/wav`: one short recording of a tone at 16 kHz under all names,
            whose length is not that of the published times.
    """
    folder = root / "IEMOCAP_full_release"
    (folder / "Documentation").mkdir(parents=True)
    (folder / "README.txt").write_text("Emulated.\n")
    (folder / ".DS_Store").write_bytes(_APPLE)
    sound = folder / "Documentation" / "tone.wav"
    sound.write_bytes(tone())
    turns: list[Turn] = []
    for session, labels in counts.items():
        names = sorted(name for name in dialogues if name[4] == session)
        for name, own in zip(names, _deal(session, labels, len(names)), strict=True):
            spoken = _act(name, own, names.index(name))
            _write_dialogue(folder / f"Session{session}", name, spoken, names.index(name))
            if recordings:
                _write_recordings(folder / f"Session{session}", name, spoken, sound)
            turns += spoken
    return Release(folder, tuple(sorted(turns, key=lambda turn: turn.name)))


def write_small_release(root: Path, *, recordings: bool = True) -> Release:
    """Write a release of 112 utterances in 18 dialogues of all five sessions."""
    return write_release(root, counts=FEW, dialogues=SHORT, recordings=recordings)


def tone() -> bytes:
    """A WAV file of 1,234 samples, 16 kHz, mono, 16 bit."""
    samples = 3000 * np.sin(2 * np.pi * 220 * np.arange(1234) / 16_000)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _deal(session: str, labels: Mapping[str, int], num_dialogues: int) -> list[list[str]]:
    deck = [label for label, count in labels.items() for _ in range(count)]
    random.Random(session).shuffle(deck)
    return [deck[first::num_dialogues] for first in range(num_dialogues)]


def _act(dialogue: str, labels: list[str], number: int) -> list[Turn]:
    draw = random.Random(dialogue)
    spoken, clock_s = dict.fromkeys("FM", 0), draw.uniform(0.5, 8)
    turns = []
    for line, label in enumerate(labels):
        letter = draw.choice("FM") if line > 1 else "FM"[line]
        length_s = min(34.1, 0.58 + draw.expovariate(1 / 4))
        turns.append(
            Turn(
                name=f"{dialogue}_{letter}{spoken[letter]:03}",
                label=label,
                start_s=f"{clock_s:.4f}",
                end_s=f"{clock_s + length_s:.4f}",
                rating=tuple(f"{draw.randint(2, 10) / 2:.4f}" for _ in range(3)),
                raters=_rate(draw, label, letter),
                text=_say(draw, dialogue, line, number),
            )
        )
        spoken[letter] += 1
        clock_s += length_s + draw.uniform(-0.3, 2)
    return turns


def _rate(draw: random.Random, label: str, letter: str) -> tuple:
    """Two of three evaluators agree, none for xxx; the speaker reports too."""
    evaluators = sorted(draw.sample(["E1", "E2", "E3", "E4", "E5", "E6"], 3))
    others = draw.sample([name for key, name in _CATEGORIES.items() if key != label], 3)
    votes = [(name,) for name in others]
    if label != "xxx":
        votes[:2] = [(_CATEGORIES[label],)] * 2
    if draw.random() < 0.1:
        votes[2] = (others[2], others[0])
    return tuple(
        (rater, categories, draw.choice(_COMMENTS))
        for rater, categories in zip(
            (*evaluators, f"{letter}1"), (*votes, (others[1],)), strict=True
        )
    )


def _say(draw: random.Random, dialogue: str, line: int, number: int) -> str:
    if line == 0 and number in _FIRST:
        return _FIRST[number]
    if "script" in dialogue:  # the lines of a play recur in every session
        draw = random.Random(dialogue[7:17] + str(line))
    words = f"{draw.choice(_SUBJECTS)} {draw.choice(_VERBS)} {draw.choice(_PLACES)}"
    return words + draw.choice((".", "?", ", no?", " [LAUGHTER].", " after all."))


def _write_dialogue(session: Path, name: str, turns: list[Turn], number: int) -> None:
    dialog = session / "dialog"
    files = {
        f"EmoEvaluation/{name}.txt": _evaluation(turns),
        f"transcriptions/{name}.txt": _transcript(name, turns),
        f"EmoEvaluation/Attribute/{name}_e2_atr.txt": _lines(turns, ":act 4; :val 3; :dom 2;"),
        f"EmoEvaluation/Attribute/{name}_e2.anvil": '<?xml version="1.0"?>\n',
        f"EmoEvaluation/Categorical/{name}_e2_cat.txt": _lines(turns, ":Neutral state; ()"),
        f"EmoEvaluation/Categorical/{name}_e2.anvil": '<?xml version="1.0"?>\n',
        f"EmoEvaluation/Self-evaluation/{name}_f1_cat.txt": _lines(turns, ":Anger; ()"),
        f"EmoEvaluation/Self-evaluation/{name}_m1.anvil": '<?xml version="1.0"?>\n',
        f"lab/Ses_F/{name}.lab": "",
    }
    for path, content in files.items():
        target = dialog / path
        target.parent.mkdir(parents=True, exist_ok=True)
        latin = number == 3 and "transcriptions" in path
        target.write_bytes(content.encode("latin-1" if latin else "utf-8"))
    if number < 2:
        for folder in ("EmoEvaluation", "transcriptions"):
            (dialog / folder / f"._{name}.txt").write_bytes(_APPLE)
            (dialog / folder / ".DS_Store").write_bytes(_APPLE)


def _evaluation(turns: list[Turn]) -> str:
    blocks = [turn.evaluation() for turn in sorted(turns, key=lambda turn: float(turn.end_s))]
    return "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n" + "\n\n".join(blocks) + "\n"


def _transcript(name: str, turns: list[Turn]) -> str:
    lines = [f"{name}_FXX0 [000.0000-000.4000]: [BREATHING]"]
    for number, turn in enumerate(turns):
        start_s, end_s = float(turn.start_s), float(turn.end_s)
        if number % 5 == 1:  # as published: the same moment, rounded otherwise
            start_s, end_s = start_s + 0.0001, end_s - 0.0001
        lines.append(f"{turn.name} [{start_s:08.4f}-{end_s:08.4f}]: {turn.text}")
        if number == 2:
            lines.append("M: sorry" if len(turns) % 2 else "M: wait")
    lines.append(f"{name}_MXX1 [900.0000-900.4000]: [LAUGHTER]")
    return "\n".join(lines) + "\n"


def _lines(turns: list[Turn], rest: str) -> str:
    return "".join(f"{turn.name} {rest}\n" for turn in turns)


def _write_recordings(session: Path, name: str, turns: list[Turn], sound: Path) -> None:
    whole = session / "dialog" / "wav"
    own = session / "sentences" / "wav" / name
    aligned = session / "sentences" / "ForcedAlignment" / name
    for folder in (whole, own, aligned):
        folder.mkdir(parents=True, exist_ok=True)
    (own / f"._{turns[0].name}.wav" if turns else own / "._.wav").write_bytes(_APPLE)
    for target in (whole / f"{name}.wav", *(own / f"{turn.name}.wav" for turn in turns)):
        try:
            os.link(sound, target)
        except OSError:  # a file system without hard links, or with too few
            target.write_bytes(sound.read_bytes())
