"""IEMOCAP, acted dialogues of two: the full release as a manifest.

IEMOCAP is given out by the University of Southern California under a licence of its own, and mersa
holds none of it. Layout and numbers were seen in public preparation code and label lists alone
(tpnam0901/3m-ser, 4M-MER and MemoCMT, s3prl, SpeechBrain, emo-box/EmoBox, nkululeko; the numbers of
oth and dis in tae898/multimodal-datasets). This reader has not been run on the real release; the
tests read one that is emulated from those sources.

Three folders of each session are read. `dialog/EmoEvaluation/DIALOGUE.txt` has the labels; its
subfolders Attribute, Categorical and Self-evaluation are left alone::

    [6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]
    C-E2:<TAB>Neutral;<TAB>()
    C-F1:<TAB>Neutral;<TAB>(curious)
    A-E3:<TAB>val 3; act 2; dom  2;<TAB>()

`dialog/transcriptions/DIALOGUE.txt` has the words, joined by the name, since its times may differ
by 0.0001 s; turns such as `_FXX0` and lines such as `M: sorry` have no label and are left out::

    Ses01F_impro01_F000 [006.2901-008.2357]: Hello there.

`sentences/wav/DIALOGUE/UTTERANCE.wav` has the recordings. The letter after the session is who wears
the markers; the letter before the number is who speaks.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mersa.corpora.release import check_folder, compare_counts, warn_or_refuse
from mersa.emotions import to_word
from mersa.errors import CorpusError
from mersa.manifest import Manifest, Utterance, make_manifest

_LOGGER = logging.getLogger(__name__)

COUNTS = {
    "ang": 1103,
    "hap": 595,
    "sad": 1084,
    "neu": 1708,
    "exc": 1041,
    "fru": 1849,
    "sur": 107,
    "fea": 40,
    "dis": 2,
    "oth": 3,
    "xxx": 2507,
}
"""Utterances of each published label that must come out, 10,039 in all.

The raters of an `xxx` have no majority; `oth` is an emotion without a name. Both stay unlabelled.
The paper's Table I has the numbers of neu and fru, and of ang and sad, the wrong way round.
"""

SESSION_COUNTS: Mapping[str, Mapping[str, int]] = {
    "1": {"ang": 229, "hap": 135, "sad": 194, "neu": 384, "exc": 143, "fru": 280},
    "2": {"ang": 137, "hap": 117, "sad": 197, "neu": 362, "exc": 210, "fru": 325},
    "3": {"ang": 240, "hap": 135, "sad": 305, "neu": 320, "exc": 151, "fru": 382},
    "4": {"ang": 327, "hap": 65, "sad": 143, "neu": 258, "exc": 238, "fru": 481},
    "5": {"ang": 170, "hap": 143, "sad": 245, "neu": 384, "exc": 299, "fru": 381},
}
"""The same by session for the six labels of `iemocap-6`.

Those of `fru` follow from the published totals of the six: 1,365, 1,348, 1,533, 1,512 and 1,622.
"""

DIALOGUES = {"1": 28, "2": 30, "3": 32, "4": 30, "5": 31}
"""Dialogues of each session that must come out, 151 in all."""

_RELEASE = "IEMOCAP_full_release"
_EVALUATIONS = "dialog/EmoEvaluation"
_TRANSCRIPTS = "dialog/transcriptions"
_RECORDINGS = "sentences/wav"
_REMEDY = "unpack the whole archive again"

_DIALOGUE = re.compile(r"Ses0([1-5])[FM]_((?:impro|script)\d\d)[a-z]?(?:_\d[a-z]?)?")
_NAME = re.compile(rf"({_DIALOGUE.pattern})_([FM])\d{{3}}")
_NUMBER = r"(\d+(?:\.\d+)?)"
_TURN = re.compile(
    rf"\[\s*{_NUMBER}\s*-\s*{_NUMBER}\s*\]\s+(\S+)\s+(\S+)\s+"
    rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]"
)
_WORDS = {label: to_word(label, {"oth": "", "xxx": ""}) for label in COUNTS}


def read(root: Path, *, strict: bool = True) -> Manifest:
    """Read the full release into a manifest of all its 10,039 utterances.

    The id is the utterance's name, the session `1` to `5`, the speaker as `Ses01F`, the dialogue
    as `Ses01F_impro01`. An utterance labelled `oth` or `xxx` is kept without an emotion. Words
    stand as transcribed, with marks such as [LAUGHTER].

    Extras: `label`, the three letters as published; `style`; `script`, the play or the scenario,
    as `script01` for script01_1 and script01_1b, `impro05` for impro05a; `gender`; `valence`,
    `activation` and `dominance`; `votes`, as `E2:Neutral;E4:Anger+Other (tense);F1:Neutral`, where
    F1 and M1 report on themselves; `origin`, `origin_start_s` and `origin_end_s`, the place in
    the recording of the dialogue.

    Args:
        root: The folder `IEMOCAP_full_release`, or the one that contains it.
        strict: Make an error of whatever the release holds and this folder does not; otherwise it
            is a warning, and what is missing stays empty.

    Returns:
        The manifest; its folder is `IEMOCAP_full_release`.

    Raises:
        CorpusError: If the folder is not there or holds no session; if an evaluation has a
            malformed line, an unknown label or an utterance for the second time; if `strict` is
            set and a session, folder, dialogue, transcript or recording is missing or a count
            differs.
    """
    home = _find_home(root)
    sessions = _sessions_with("", "utterances", home, DIALOGUES, strict)
    evaluated = _sessions_with(_EVALUATIONS, "labels", home, sessions, strict)
    transcribed = _sessions_with(_TRANSCRIPTS, "words", home, sessions, strict)
    recorded = _sessions_with(_RECORDINGS, "recordings", home, sessions, strict)

    turns = _read_turns(home, evaluated)
    texts = _read_transcripts(home, transcribed)
    audio = _find_recordings(home, turns)
    unlabelled = {
        path.stem
        for session in evaluated
        for path in _files(home, session, _TRANSCRIPTS)
        if not (home / f"Session{session}" / _EVALUATIONS / path.name).is_file()
    }
    wordless = [turn.id for turn in turns if turn.session in transcribed and turn.id not in texts]
    silent = [turn.id for turn in turns if turn.session in recorded and turn.id not in audio]
    _tell_missing(home, unlabelled, "evaluation of {} dialogues that it transcribes", strict)
    _tell_missing(home, wordless, "transcript of {} utterances", strict)
    _tell_missing(home, silent, "recording of {} utterances", strict)
    _compare(home, turns, evaluated, strict)
    return make_manifest(
        (
            replace(turn, text=texts.get(turn.id, ""), audio=audio.get(turn.id, ""))
            for turn in turns
        ),
        home,
    )


def _find_home(root: Path) -> Path:
    check_folder(root, "IEMOCAP", f"name the folder {_RELEASE}, or the one that contains it")
    for home in (root, root / _RELEASE):
        if any((home / f"Session{session}").is_dir() for session in DIALOGUES):
            return home
    found = sorted(path.name for path in root.iterdir())
    raise CorpusError(
        f"{root} holds none of Session1 to Session5 (found: {', '.join(found[:5]) or 'nothing'}); "
        f"unpack IEMOCAP and name the folder {_RELEASE}, or the one that contains it"
    )


def _sessions_with(
    folder: str, what: str, home: Path, sessions: Iterable[str], strict: bool
) -> list[str]:
    """Return the sessions that hold something in a folder of theirs, and tell which do not."""
    paths = {session: home / f"Session{session}" / folder for session in sessions}
    present = [
        session
        for session, path in paths.items()
        if path.is_dir() and (not folder or any(map(_is_of_dialogue, path.iterdir())))
    ]
    absent = [
        paths[session].relative_to(home).as_posix() for session in paths if session not in present
    ]
    if absent:
        warn_or_refuse(
            f"IEMOCAP at {home} has no {what} of {len(absent)} of its sessions, since "
            f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing or empty",
            _REMEDY,
            strict=strict,
        )
    return present


def _read_turns(home: Path, sessions: Iterable[str]) -> list[Utterance]:
    """Read all evaluations; the utterances have neither words nor recordings."""
    places: dict[str, str] = {}
    turns = []
    for session in sessions:
        for path in _files(home, session, _EVALUATIONS):
            for place, turn in _read_evaluation(path, session):
                if turn.id in places:
                    raise CorpusError(
                        f"{place} evaluates {turn.id} again after {places[turn.id]}, but an "
                        "utterance stands once; unpack the archive again"
                    )
                places[turn.id] = place
                turns.append(turn)
    if not turns:
        raise CorpusError(
            f"IEMOCAP at {home} holds no evaluated utterance, but files such as Session1/"
            f"{_EVALUATIONS}/Ses01F_impro01.txt list them; unpack the whole archive again"
        )
    return turns


def _read_evaluation(path: Path, session: str) -> Iterator[tuple[str, Utterance]]:
    blocks: list[tuple[str, str, list[str]]] = []
    for number, line in enumerate(_lines(path), start=1):
        if line.startswith("["):
            blocks.append((f"{path}: line {number}", line, []))
        elif line.startswith("C-") and blocks:
            blocks[-1][2].append(_vote(line))
    for place, line, votes in blocks:
        yield place, _turn(place, line, votes, session)


def _turn(place: str, line: str, votes: Iterable[str], session: str) -> Utterance:
    match = _TURN.fullmatch(line)
    name = match and _NAME.fullmatch(match[3])
    if not match or not name or name[2] != session or float(match[2]) <= float(match[1]):
        raise CorpusError(
            f"{place} is {line!r}, but an evaluation reads [START - END] NAME LABEL [VALENCE, "
            f"ACTIVATION, DOMINANCE] with a name of session {session}, as "
            f"Ses0{session}F_impro01_F000; unpack the archive again"
        )
    start_s, end_s, _, label, valence, activation, dominance = match.groups()
    if label not in _WORDS:
        raise CorpusError(
            f"{place} gives {name[0]} the label {label!r}, but IEMOCAP has {', '.join(_WORDS)}; "
            "unpack the archive again"
        )
    dialogue, _, script, letter = name.groups()
    return Utterance(
        id=name[0],
        emotion=_WORDS[label],
        speaker=f"Ses0{session}{letter}",
        dialogue=dialogue,
        session=session,
        language="en",
        duration_s=round(float(end_s) - float(start_s), 4),
        extras={
            "label": label,
            "style": "scripted" if script.startswith("script") else "improvised",
            "script": script,
            "gender": "female" if letter == "F" else "male",
            "votes": ";".join(votes),
            "valence": valence,
            "activation": activation,
            "dominance": dominance,
            "origin": dialogue,
            "origin_start_s": start_s,
            "origin_end_s": end_s,
        },
    )


def _vote(line: str) -> str:
    """Shorten `C-E2:<TAB>Neutral; Other;<TAB>(curious)` to `E2:Neutral+Other (curious)`."""
    rater, _, rest = line.removeprefix("C-").partition(":")
    categories, _, comment = rest.partition("(")
    named = "+".join(part.strip() for part in categories.split(";") if part.strip())
    comment = comment.strip().removesuffix(")").replace(";", ",").strip()
    return f"{rater.strip()}:{named}" + (f" ({comment})" if comment else "")


def _read_transcripts(home: Path, sessions: Iterable[str]) -> dict[str, str]:
    """Return the words by the utterance's name, without those that have none."""
    texts: dict[str, str] = {}
    again = []
    for session in sessions:
        for path in _files(home, session, _TRANSCRIPTS):
            for line in _lines(path):
                head, _, text = line.partition(":")
                name, text = head.partition("[")[0].strip(), text.strip()
                if text and _NAME.fullmatch(name) and texts.setdefault(name, text) != text:
                    again.append(name)
    if again:
        _LOGGER.warning(
            "IEMOCAP at %s has two different transcripts of %d utterances (first: %s); those that "
            "come first are kept",
            home,
            len(again),
            min(again),
        )
    return texts


def _find_recordings(home: Path, turns: Iterable[Utterance]) -> dict[str, str]:
    """Return the recordings that are there, as paths below `home`, by the utterance's name."""
    listed: dict[str, set[str]] = {}
    found = {}
    for turn in turns:
        folder = f"Session{turn.session}/{_RECORDINGS}/{turn.dialogue}"
        if folder not in listed:
            path = home / folder
            listed[folder] = {
                file.name
                for file in (path.iterdir() if path.is_dir() else ())
                if file.is_file() and file.stat().st_size
            }
        if f"{turn.id}.wav" in listed[folder]:
            found[turn.id] = f"{folder}/{turn.id}.wav"
    return found


def _compare(home: Path, turns: Iterable[Utterance], sessions: Sequence[str], strict: bool) -> None:
    expected = dict(COUNTS) if len(sessions) == len(DIALOGUES) else {}
    for session in sessions:
        expected[f"dialogues of Session{session}"] = DIALOGUES[session]
        for label, count in SESSION_COUNTS[session].items():
            expected[f"{label} of Session{session}"] = count
    found = Counter[str]()
    for turn in turns:
        found.update([turn.extras["label"], f"{turn.extras['label']} of Session{turn.session}"])
    found.update(f"dialogues of Session{dialogue[4]}" for dialogue in {t.dialogue for t in turns})
    compare_counts(
        home, "IEMOCAP", {name: found[name] for name in expected}, expected, strict=strict
    )


def _tell_missing(home: Path, names: Collection[str], what: str, strict: bool) -> None:
    if names:
        count = what.format(f"{len(names):,}")
        message = f"IEMOCAP at {home} has no {count} (first: {min(names)})"
        warn_or_refuse(message, _REMEDY, strict=strict)


def _files(home: Path, session: str, folder: str) -> list[Path]:
    """List the files named for a dialogue, sorted; `._` files and subfolders are none."""
    path = home / f"Session{session}" / folder
    if not path.is_dir():
        return []
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix == ".txt" and _is_of_dialogue(file) and file.is_file()
    )


def _is_of_dialogue(path: Path) -> bool:
    return _DIALOGUE.fullmatch(path.stem) is not None


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # Not splitlines, which would also cut at the latin-1 byte 0x85.
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
