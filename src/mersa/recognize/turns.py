"""Times of what is to be judged, read from a table, a JSON list or a diarization."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mersa.errors import ConfigError
from mersa.manifest import read_table
from mersa.recognize.settings import Turn

SUFFIXES = (".csv", ".json", ".rttm")


def read_turns(path: Path, recording: str = "") -> list[Turn]:
    """Read stretches to judge, in seconds.

    A CSV file or a JSON list has `start` and `end` (or `start_s` and `end_s`) and, where known,
    `speaker` and `channel` (counted from 0). An RTTM file has one `SPEAKER` line a turn; of a file
    that tells of several recordings those of `recording` are taken.

    Args:
        path: The file.
        recording: Name of the recording without its suffix, as RTTM has it.

    Raises:
        ConfigError: If the file cannot be read or holds no turns, or a time is missing.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(
            f"{path} is no file of times that is known; give one of {', '.join(SUFFIXES)}"
        )
    if kind == ".csv":
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; name a file of times")
        rows: list[Mapping[str, Any]] = list(read_table(path))
    else:
        try:
            content = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}); name a file of times") from None
        rows = _rttm(content, path, recording) if kind == ".rttm" else _json(content, path)
    if not rows:
        raise ConfigError(f"{path} holds no turns; give at least one with start and end")
    return [_turn(row, f"{path}, turn {number}") for number, row in enumerate(rows, start=1)]


def _json(content: str, path: Path) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); write it again") from None
    if isinstance(document, Mapping):
        document = document.get("segments")
    if not isinstance(document, list) or not all(isinstance(one, Mapping) for one in document):
        raise ConfigError(f"{path} is no list of turns; give objects with start and end")
    return document


def _rttm(content: str, path: Path, recording: str) -> list[Mapping[str, Any]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, length, speaker = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError):
            raise ConfigError(
                f"{path}, line {number} is no turn of RTTM; it needs a start, a length and a "
                "speaker as fields 4, 5 and 8"
            ) from None
        rows.setdefault(fields[1], []).append(
            {"start": start, "end": start + length, "speaker": speaker}
        )
    if len(rows) < 2:
        return next(iter(rows.values()), [])
    if recording not in rows:
        raise ConfigError(
            f"{path} tells of {len(rows)} recordings, but not of {recording!r}; name the recording "
            f"as there, as {min(rows)!r}"
        )
    return rows[recording]


def _turn(row: Mapping[str, Any], where: str) -> Turn:
    values = {}
    for field, names in (
        ("start_s", ("start_s", "start")),
        ("end_s", ("end_s", "end")),
        ("speaker", ("speaker",)),
        ("channel", ("channel",)),
    ):
        found = next((row[name] for name in names if row.get(name) not in (None, "")), None)
        if found is None and field in ("start_s", "end_s"):
            raise ConfigError(
                f"{where} has no {names[-1]}, but seconds were expected; it has "
                f"{', '.join(map(str, row)) or 'nothing'}"
            )
        values[field] = str(found) if field == "speaker" and found is not None else found
    try:
        return Turn(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{where} has {name} {first['input']!r}, but {first['msg'][0].lower()}"
            f"{first['msg'][1:]}; correct it"
        ) from None
