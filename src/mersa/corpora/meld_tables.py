"""The tables of MELD: bytes in either encoding -> one record a row."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mersa.emotions import to_word
from mersa.errors import CorpusError, ManifestError

Key = tuple[int, int]
"""Numbers of dialogue and utterance, unique in one part."""

_COLUMNS = (
    *("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)
# Windows-1252 punctuation that was stored as control characters; five codes mean nothing.
_PUNCTUATION = enumerate(bytes(range(0x80, 0xA0)).decode("cp1252", "replace"), start=0x80)
_MEANT = {code: meant for code, meant in _PUNCTUATION if meant != "\ufffd"} | {0xA0: " "}
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table.

    Attributes:
        part: `train`, `dev` or `test`, as the release calls them.
        key: Numbers of dialogue and utterance.
        text: The words.
        speaker: Who says them.
        emotion: The word that mersa uses.
        sentiment: `positive`, `negative` or `neutral`.
        season: Number of the season.
        episode: Number of the episode in it.
        start_s: Where it begins in the episode, in seconds.
        end_s: Where it ends.
    """

    part: str
    key: Key
    text: str
    speaker: str
    emotion: str
    sentiment: str
    season: int
    episode: int
    start_s: float
    end_s: float

    @property
    def id(self) -> str:
        """A name that sorts into the order of the dialogue."""
        return f"{self.dialogue}_utt{self.key[1]:02d}"

    @property
    def dialogue(self) -> str:
        """A name of the dialogue that no other part has."""
        return f"{self.part}_dia{self.key[0]:04d}"

    @property
    def times_s(self) -> float:
        """What its times say of its length."""
        return self.end_s - self.start_s


def read_table(file: Path, part: str) -> list[Line]:
    """Read the table of a part, in UTF-8, in Windows-1252, or in the older mixture of both.

    Raises:
        CorpusError: If a column is missing, a cell is not what its column holds, or two rows have
            the same numbers; the message names row and column.
    """
    names, *rows = _cells(file)
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise CorpusError(
            f"{file} has no column {missing[0]!r} (found: {', '.join(names)}); take the table as "
            "it was published"
        )
    lines: list[Line] = []
    seen: dict[Key, int] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise CorpusError(
                f"{file}: row {number} has {len(row)} cells, but the header has {len(names)}; "
                "take the table as it was published"
            )
        line = _line(dict(zip(names, row, strict=True)), part, f"{file}: row {number}")
        if line.key in seen:
            raise CorpusError(
                f"{file}: row {number} has the Dialogue_ID {line.key[0]} and Utterance_ID "
                f"{line.key[1]} of row {seen[line.key]}, but these are unique in a part; take the "
                "table as it was published"
            )
        seen[line.key] = number
        lines.append(line)
    return lines


def _cells(file: Path) -> list[list[str]]:
    """Read the header and the rows that are not blank."""
    content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{file} is neither UTF-8 nor Windows-1252 (byte 0x{content[error.start]:02x} at "
                f"{error.start}); take the table as it was published"
            ) from None
    try:
        rows = [row for row in csv.reader(io.StringIO(text.translate(_MEANT), newline="")) if row]
    except csv.Error as error:
        raise CorpusError(
            f"{file} is not a CSV table ({error}); take the table as it was published"
        ) from None
    if not rows:
        raise CorpusError(f"{file} is empty; take the table as it was published")
    return rows


def _line(row: Mapping[str, str], part: str, where: str) -> Line:
    try:
        emotion = to_word(row["Emotion"])
    except ManifestError:
        raise CorpusError(
            f"{where}, column 'Emotion': {row['Emotion']!r} is no emotion of MELD; use one of "
            "neutral, joy, surprise, anger, sadness, disgust, fear"
        ) from None
    return Line(
        part=part,
        key=(_number(row, "Dialogue_ID", where), _number(row, "Utterance_ID", where)),
        text=row["Utterance"].strip(),
        speaker=row["Speaker"].strip(),
        emotion=emotion,
        sentiment=row["Sentiment"].strip(),
        season=_number(row, "Season", where),
        episode=_number(row, "Episode", where),
        start_s=_seconds(row, "StartTime", where),
        end_s=_seconds(row, "EndTime", where),
    )


def _number(row: Mapping[str, str], column: str, where: str) -> int:
    cell = row[column].strip()
    if not (cell.isascii() and cell.isdigit()):
        raise CorpusError(
            f"{where}, column {column!r}: {row[column]!r} is no whole number; take the table as it "
            "was published"
        )
    return int(cell)


def _seconds(row: Mapping[str, str], column: str, where: str) -> float:
    found = _TIME.fullmatch(row[column].strip())
    if found is None:
        raise CorpusError(
            f"{where}, column {column!r}: {row[column]!r} is no time; write it as 00:16:16,059"
        )
    hours, minutes, seconds = (int(found[group]) for group in (1, 2, 3))
    return hours * 3600 + minutes * 60 + seconds + float(f"0.{found[4]}")
