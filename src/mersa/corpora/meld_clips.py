"""The clips of MELD: which one belongs to a row, how long it is, and what is wrong with it."""

import itertools
import logging
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mersa.corpora.meld_release import CLIP_FOLDERS, clip_folder
from mersa.corpora.meld_tables import Key, Line
from mersa.corpora.release import refusal, some
from mersa.progress import Progress


class FaultKind(StrEnum):
    """What can be wrong with a clip; all but `SHORT` make it of no use."""

    NO_CLIP = "no clip"
    UNDECODABLE = "does not decode"
    CUT_WRONGLY = "cut wrongly"
    SHORT = "short"


@dataclass(frozen=True)
class Fault:
    """What is wrong with one clip.

    Attributes:
        kind: What it is.
        says: How the column `fault` tells it.
    """

    kind: FaultKind
    says: str


FAULTS = {
    "train_dia0125_utt03": FaultKind.UNDECODABLE,
    "dev_dia0110_utt07": FaultKind.NO_CLIP,
    "test_dia0038_utt04": FaultKind.CUT_WRONGLY,
    "test_dia0220_utt00": FaultKind.CUT_WRONGLY,
}
"""Utterances whose clip is of no use in the release itself."""

LONGEST_S = 60.0
"""No utterance is longer; the longest whose clip is right has 41 s."""

_SHORT_S = 0.1
_LONG_S, _LONG_RATIO = 20.0, 3.0
_WARNINGS = {
    FaultKind.NO_CLIP: "rows without a clip, whose audio is empty",
    FaultKind.UNDECODABLE: "rows whose clip does not decode, so audio is empty",
    FaultKind.CUT_WRONGLY: "rows whose clip was cut wrongly, so audio is empty",
    FaultKind.SHORT: f"rows whose clip is under {_SHORT_S} s, but kept",
}
_CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)\.(mp4|flac|wav)")
_SUFFIXES = ("mp4", "flac", "wav")  # the first that is there is taken
_NAMED = 8

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clips:
    """The clips of all parts; what has an id is in the order of the tables.

    Attributes:
        audio: Path relative to the root, by id; clips that are of no use are left out.
        length_s: Length in seconds, by id, of those that decode; NaN where it is not stated.
        fault: What is wrong, or None, by id; rows of a part without a folder have no entry.
        rowless: Paths of clips that no row names.
        absent: Names of the folders of clips that are not there.
    """

    audio: Mapping[str, str]
    length_s: Mapping[str, float]
    fault: Mapping[str, Fault | None]
    rowless: Sequence[str]
    absent: Sequence[str]


def find_clips(root: Path, lines: Sequence[Line], progress: Progress) -> Clips:
    """Look for the clip of every row, open it, and decode the first of its sound."""
    folders = {part: clip_folder(root, part) for part in CLIP_FOLDERS}
    found = {part: _clips(folder, part) for part, folder in folders.items() if folder}
    audio: dict[str, str] = {}
    length_s: dict[str, float] = {}
    fault: dict[str, Fault | None] = {}
    rows = [line for line in lines if line.part in found]
    probe, report = _probe(), progress.task("clips of MELD")
    for number, line in enumerate(rows, start=1):
        path = found[line.part].get(line.key)
        length = probe(path) if path else None
        if length is not None:
            length_s[line.id] = length
        fault[line.id] = wrong = _fault(line, path, length)
        if path and (wrong is None or wrong.kind is FaultKind.SHORT):
            audio[line.id] = path.relative_to(root).as_posix()
        report(number, len(rows))
    named = {(line.part, line.key) for line in rows}
    return Clips(
        audio=audio,
        length_s=length_s,
        fault=fault,
        rowless=[
            path.relative_to(root).as_posix()
            for part, clips in found.items()
            for key, path in sorted(clips.items())
            if (part, key) not in named
        ],
        absent=[CLIP_FOLDERS[part] for part, folder in folders.items() if folder is None],
    )


def report_clips(root: Path, clips: Clips, *, strict: bool) -> None:
    """Warn of every kind of fault, with its number and names.

    Raises:
        CorpusError: If a folder is missing, or a clip is of no use beyond `FAULTS`, and `strict` is
            set; a folder without any clips is read for its words in both cases.
    """
    if len(clips.absent) == len(CLIP_FOLDERS):
        _LOGGER.warning(
            "MELD at %s has no clips (%s), so its words are read alone and audio is empty",
            root,
            ", ".join(clips.absent),
        )
        return
    useless = [name for name in clips.fault if name not in clips.audio and name not in FAULTS]
    if strict and (clips.absent or useless):
        raise refusal(
            f"MELD at {root} lacks {len(clips.absent)} folders of clips, and {len(useless)} clips "
            f"are missing or of no use beyond the {len(FAULTS)} of its release "
            f"({some([*clips.absent, *useless], most=_NAMED)})",
            "unpack it again",
        )
    told = {
        words: [name for name, fault in clips.fault.items() if fault and fault.kind is kind]
        for kind, words in _WARNINGS.items()
    }
    told["clips that belong to no row, left out"] = list(clips.rowless)
    told["folders of clips that are missing, so audio is empty"] = list(clips.absent)
    for words, names in told.items():
        if names:
            listed = some(names, most=_NAMED)
            _LOGGER.warning("MELD at %s, %s: %d (%s)", root, words, len(names), listed)


def _clips(folder: Path, part: str) -> dict[Key, Path]:
    """Return the clip of each pair of numbers."""
    found = defaultdict(list)
    for path in folder.iterdir():
        match = _CLIP.fullmatch(path.name)
        if match and not (match[1] and part != "test"):
            rank = (not match[1], _SUFFIXES.index(match[4]))
            found[int(match[2]), int(match[3])].append((rank, path))
    return {key: min(choices)[1] for key, choices in found.items()}


def _fault(line: Line, path: Path | None, length_s: float | None) -> Fault | None:
    if path is None:
        return Fault(FaultKind.NO_CLIP, "no clip")
    if length_s is None:
        return Fault(FaultKind.UNDECODABLE, "does not decode")
    if length_s > min(LONGEST_S, max(_LONG_S, _LONG_RATIO * line.times_s)):
        says = f"clip of {length_s:.1f} s for times of {line.times_s:.1f} s"
        return Fault(FaultKind.CUT_WRONGLY, says)
    return Fault(FaultKind.SHORT, f"clip of {length_s:.3f} s") if length_s < _SHORT_S else None


def _probe() -> Callable[[Path], float | None]:
    """Return what gives the length of a clip in seconds; None where no sound can be decoded."""
    import av

    # Opening a file decodes pictures too, two thirds of its time, unless no decoder of them may.
    sound = ",".join(name for name in sorted(av.codecs_available) if _decodes_sound(name))
    options = {"protocol_whitelist": "none", "codec_whitelist": sound}

    def probe(path: Path) -> float | None:
        container: Any
        try:
            with path.open("rb") as file:
                nameless: Any = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
                with av.open(nameless, metadata_errors="replace", options=options) as container:
                    stream = container.streams.audio[0]
                    if not list(itertools.islice(container.decode(stream), 1)):
                        return None
                    if stream.duration is not None:
                        return float(stream.duration * stream.time_base)
                    length = container.duration
                    return math.nan if length is None else length / av.time_base
        except (av.FFmpegError, OSError, ValueError, EOFError, IndexError):
            return None

    return probe


def _decodes_sound(name: str) -> bool:
    import av

    try:
        return bool(av.Codec(name, "r").type == "audio")
    except ValueError:  # it encodes only
        return False
