"""Words with times: read from files beside a recording, and dealt out to its segments."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mersa.errors import ConfigError
from mersa.recognize.settings import Turn

SUFFIXES = (".json", ".vtt", ".srt", ".txt")
"""Files of words that are looked for beside a recording; the first one that is there is taken."""

_ARROW = re.compile(r"^\s*([0-9:.,]+)\s*-->\s*([0-9:.,]+)")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-9]{1,2}):([0-9]{1,2}(?:[.,][0-9]+)?)")
_VOICE = re.compile(r"<v(?:\.[^ >]*)? ([^>]+)>")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")


@dataclass(frozen=True)
class Word:
    """One word and when it is said, in seconds from the recording's start."""

    start_s: float
    end_s: float
    text: str
    speaker: str | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Words:
    """What is said in a recording.

    Attributes:
        text: All of it.
        source: Where it comes from, as `given` or a file's name.
        timed: Its words in order of their middles; empty if their times are not known.
        cues: The stretches that the source itself has, as subtitles do.
    """

    text: str
    source: str
    timed: tuple[Word, ...] = ()
    cues: tuple[Turn, ...] = ()

    def within(
        self,
        start_s: float,
        end_s: float,
        speaker: str | None = None,
        channel: int | None = None,
    ) -> list[Word]:
        """Return the words whose middle lies in a stretch.

        Those that are known to be of another speaker or channel are left out.
        """
        first = bisect_left(self.timed, start_s, key=_middle)
        last = bisect_left(self.timed, end_s, key=_middle)
        return [
            word
            for word in self.timed[first:last]
            if (speaker is None or word.speaker in (None, speaker))
            and (channel is None or word.channel in (None, channel))
        ]


def untimed(text: str, source: str = "given") -> Words:
    """Return words whose times are not known."""
    return Words(text.strip(), source)


def in_time(words: Sequence[Word], source: str, cues: Sequence[Turn] = ()) -> Words:
    """Return words whose times are known."""
    ordered = tuple(sorted(words, key=_middle))
    return Words(join(ordered), source, ordered, tuple(cues))


def join(words: Sequence[Word]) -> str:
    """Return words as one text."""
    return " ".join(text for word in words if (text := word.text.strip()))


def find_words(recording: Path, place: Path) -> Path | None:
    """Return the file of words of a recording: `place` itself, or one of its name in that folder.

    Raises:
        ConfigError: If there is no such place.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise ConfigError(f"{place} does not exist; name a file of words or a folder of them")
    for suffix in SUFFIXES:
        for name in (recording.name + suffix, recording.stem + suffix):
            if (place / name).is_file():
                return place / name
    return None


def read_words(path: Path) -> Words:
    """Read a .txt, .srt, .vtt or .json file of words.

    JSON is a list of objects with `start`, `end`, `text` and, where known, `words` (each with
    `start`, `end` and `word`) and `speaker`; or an object that has such a list as `segments`, as
    Whisper's programs write it; or one with `text` alone. Where a stretch has no times for its
    words, they are spread over it by their letters.

    Raises:
        ConfigError: If the file cannot be read, or its times are missing or out of order.
    """
    content = _content(path)
    kind = path.suffix.lower()
    if kind == ".txt":
        return untimed(content, path.name)
    if kind in (".srt", ".vtt"):
        stretches: list[Mapping[str, Any]] = list(_subtitles(content))
    elif kind == ".json":
        document = _json(content, path)
        if isinstance(document, Mapping) and "segments" not in document:
            return untimed(_text_of(document, path), path.name)
        stretches = _listed(document, path)
    else:
        raise ConfigError(
            f"{path} is no file of words that is known; give one of {', '.join(SUFFIXES)}"
        )
    if not stretches:
        raise ConfigError(
            f"{path} holds no words with times; give subtitles, or a .txt file of words without"
        )
    timed, cues = [], []
    for number, one in enumerate(stretches, start=1):
        cue = _cue(one, f"{path}, stretch {number}")
        words = [
            _word(word, cue.speaker, f"{path}, stretch {number}") for word in one.get("words") or ()
        ]
        cues.append(cue)
        timed += words or _spread(str(one.get("text") or ""), cue)
    return in_time(timed, path.name, cues)


def _middle(word: Word) -> float:
    return (word.start_s + word.end_s) / 2


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); name a file of words"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None


def _json(content: str, path: Path) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); write it again") from None


def _subtitles(content: str) -> Iterator[Mapping[str, Any]]:
    """Give the cues of SubRip or WebVTT."""
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.splitlines()
        place = next((n for n, line in enumerate(lines) if _ARROW.match(line)), None)
        if place is None:
            continue
        arrow = _ARROW.match(lines[place])
        body = "\n".join(lines[place + 1 :])
        voice = _VOICE.search(body)
        yield {
            "start": arrow and arrow[1],
            "end": arrow and arrow[2],
            "text": " ".join(_MARKUP.sub("", body).split()),
            "speaker": voice and voice[1].strip(),
        }


def _listed(document: Any, path: Path) -> list[Mapping[str, Any]]:
    stretches = document["segments"] if isinstance(document, Mapping) else document
    if not isinstance(stretches, list) or not all(isinstance(o, Mapping) for o in stretches):
        raise ConfigError(
            f"{path} is no list of stretches; give objects with start, end and text, or an object "
            "with such a list as segments"
        )
    return stretches


def _text_of(document: Mapping[str, Any], path: Path) -> str:
    text = document.get("text")
    if not isinstance(text, str):
        raise ConfigError(
            f"{path} has neither segments nor text; give objects with start, end and text"
        )
    return text


def _cue(one: Mapping[str, Any], where: str) -> Turn:
    start, end = _times(one, where)
    speaker = one.get("speaker")
    # A cue of no length is possible in subtitles; it is given a moment.
    return Turn(
        start_s=start,
        end_s=max(end, start + 0.001),
        speaker=None if speaker in (None, "") else str(speaker),
    )


def _word(one: Any, speaker: str | None, where: str) -> Word:
    if not isinstance(one, Mapping):
        raise ConfigError(f"{where}: word {one!r} is no object with start, end and word")
    text = one.get("word", one.get("text"))
    if not isinstance(text, str):
        raise ConfigError(f"{where}: a word has no text; give each start, end and word")
    start, end = _times(one, where)
    return Word(start, end, text.strip(), speaker)


def _times(one: Mapping[str, Any], where: str) -> tuple[float, float]:
    start, end = (
        _seconds(next((one[name] for name in names if one.get(name) is not None), None))
        for names in (("start", "start_s"), ("end", "end_s"))
    )
    if start is None or end is None or not 0 <= start <= end < float("inf"):
        raise ConfigError(
            f"{where} has start {one.get('start', one.get('start_s'))!r} and end "
            f"{one.get('end', one.get('end_s'))!r}, but seconds in order were expected; correct it"
        )
    return start, end


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    if clock := _CLOCK.fullmatch(value.strip()):
        hours, minutes, seconds = clock[1] or "0", clock[2], clock[3].replace(",", ".")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        return float(value)
    except ValueError:
        return None


def _spread(text: str, cue: Turn) -> list[Word]:
    """Give each word of a stretch a share of its time by its letters."""
    texts = text.split()
    total = sum(map(len, texts))
    words, letters = [], 0
    for one in texts:
        start = cue.start_s + (cue.end_s - cue.start_s) * letters / total
        letters += len(one)
        end = cue.start_s + (cue.end_s - cue.start_s) * letters / total
        words.append(Word(start, end, one, cue.speaker))
    return words
