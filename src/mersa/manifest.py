"""The manifest: one table that says what was spoken, by whom, where, and with which emotion.

A corpus reader writes one, every later step reads it. CSV, JSON lines and Parquet hold the same
columns; columns beyond them are kept as extras.
"""

import csv
import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path, PurePosixPath

from mersa.errors import ManifestError, first_line
from mersa.files import write_whole


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One stretch of speech, its words and its emotion.

    Attributes:
        id: Unique in the whole manifest.
        audio: Path of the recording, relative to the manifest's folder; empty if there is none.
        start_s: Where the utterance begins in the recording, in seconds; None for its beginning.
        end_s: Where it ends; None for the recording's end.
        text: The words; empty if there are none.
        emotion: The emotion word; empty if unlabelled.
        speaker: Who speaks.
        dialogue: The conversation that the utterance belongs to.
        session: The recording session.
        part: `train`, `validation` or `test` as published; empty if the corpus has no parts.
        language: BCP 47 tag, as `en`.
        duration_s: Length in seconds; None if unknown.
        extras: Every further column, by name.
    """

    id: str
    audio: str = ""
    start_s: float | None = None
    end_s: float | None = None
    text: str = ""
    emotion: str = ""
    speaker: str = ""
    dialogue: str = ""
    session: str = ""
    part: str = ""
    language: str = ""
    duration_s: float | None = None
    extras: Mapping[str, str] = field(default_factory=dict)

    @property
    def length_s(self) -> float | None:
        """Its length in seconds, by `duration_s` or else by its times; None if unknown."""
        if self.duration_s is not None:
            return self.duration_s
        return None if self.end_s is None else self.end_s - (self.start_s or 0.0)

    @property
    def group(self) -> str:
        """What is drawn as one where uncertainty is told: dialogue, else speaker, else itself."""
        return self.dialogue or self.speaker or self.id

    def column(self, name: str) -> str:
        """Return one column by name, of the contract or an extra, as text ("" if absent)."""
        if name in COLUMNS:
            value = getattr(self, name)
            return "" if value is None else str(value)
        return self.extras.get(name, "")


COLUMNS = tuple(column.name for column in fields(Utterance) if column.name != "extras")
"""The columns of the contract, in the order in which they are written."""

PARTS = ("train", "validation", "test")
_LONGEST_CELL = 2**24  # characters; Python's own limit is 2**17
_VERBATIM = ("id", "audio", "text")
_SECONDS = ("start_s", "end_s", "duration_s")
_OWN = ("id", "text")  # what hardly two rows share
PART_NAMES = {part: part for part in PARTS} | {
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "eval": "test",
    "testing": "test",
}
"""Names of parts seen in published corpora, each with the one that mersa uses for it."""


@dataclass(frozen=True)
class Manifest:
    """Utterances in sorted order of id, and the folder that their audio paths start from."""

    utterances: tuple[Utterance, ...]
    folder: Path

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def audio_path(self, utterance: Utterance) -> Path | None:
        """Return the path of an utterance's recording, or None if it has none."""
        return self.folder / utterance.audio if utterance.audio else None

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the contract, then every extra, sorted."""
        extras = {name for utterance in self.utterances for name in utterance.extras}
        return COLUMNS + tuple(sorted(extras))


def make_manifest(utterances: Iterable[Utterance], folder: Path) -> Manifest:
    """Sort utterances by id and check them.

    Raises:
        ManifestError: If there are none, an id is empty or stands twice, an audio path leaves the
            folder, or times are not in order.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    if not ordered:
        raise ManifestError("the manifest holds no utterances; give it at least one row")
    for one, following in pairwise(ordered):
        if one.id == following.id:
            raise ManifestError(
                f"id {one.id!r} stands more than once, but ids are unique in a manifest; "
                "put the part or the file name into the id"
            )
    for utterance in ordered:
        _check(utterance)
    return Manifest(tuple(ordered), folder)


def make_utterance(row: Mapping[str, str], number: int) -> Utterance:
    """Turn one row of text cells into an utterance; further columns become extras.

    Blanks around a cell do not count, and all but ids, paths and words are brought to one form of
    Unicode (NFC), so that a speaker written in two forms is one.

    Args:
        row: Cells by column; a column of the contract that is absent is empty.
        number: The row's number in its table from 1, for messages.

    Raises:
        ManifestError: If a time is not a number or the part has an unknown name.
    """
    known: dict[str, str | float | None] = {}
    row = {name: cell if name in _VERBATIM else _plain(cell) for name, cell in row.items()}
    for name in COLUMNS:
        cell = row.get(name, "")
        if name in _SECONDS:
            known[name] = read_seconds(cell, name, str(number))
        else:
            # A corpus repeats its speakers, dialogues and emotions: each is held once.
            known[name] = cell.strip() if name in _OWN else sys.intern(cell.strip())
    part = str(known["part"]).lower()
    part = PART_NAMES.get(part, part)
    if part and part not in PARTS:
        raise ManifestError(
            f"row {number}: part {row['part']!r} is none of {', '.join(PARTS)}; "
            "leave the cell empty where a row belongs to no part"
        )
    known["part"] = part
    extras = {name: sys.intern(cell) for name, cell in row.items() if name not in COLUMNS}
    return Utterance(extras=extras, **known)  # type: ignore[arg-type]


def read_seconds(cell: str, column: str, row: str) -> float | None:
    """Return the number of seconds in a cell, None where it is empty.

    Args:
        cell: The text.
        column: Its column, for messages.
        row: Its row, for messages.

    Raises:
        ManifestError: If it is not a finite number.
    """
    if not cell.strip():
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ManifestError(
            f"row {row}: {column} is {cell!r}, but a number of seconds is needed; correct it or "
            "leave the cell empty"
        )
    return value


def read_manifest(path: Path) -> Manifest:
    """Read a manifest from CSV, JSON lines (`.jsonl`) or Parquet.

    Raises:
        ManifestError: If the file is missing, not UTF-8, lacks the column `id`, or breaks a rule of
            `make_manifest`; the message names row or column.
    """
    utterances = []
    for number, row in enumerate(_rows(path), start=1):
        if number == 1:
            _check_columns(set(row), path)
        with _naming(path):
            utterances.append(make_utterance(row, number))
    with _naming(path):
        return make_manifest(utterances, path.parent)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest whole or not at all; the suffix chooses CSV, JSON lines or Parquet."""
    columns = manifest.columns()
    rows = [{name: utterance.column(name) for name in columns} for utterance in manifest]
    write_table(rows, columns, path)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read rows of text cells from CSV, TSV, JSON lines or Parquet; an absent value is "".

    Raises:
        ManifestError: If the file is missing, a folder, empty, of another kind or not UTF-8.
    """
    return list(_rows(path))


def write_table(rows: Iterable[Mapping[str, str]], columns: Iterable[str], path: Path) -> None:
    """Write rows of text cells whole or not at all; the suffix chooses the format."""
    rows, columns = list(rows), list(columns)
    suffix = path.suffix.lower()
    with write_whole(path) as partial:
        if suffix == ".csv":
            # Before Python 3.13 a lone carriage return is not quoted, and would end the row.
            returns = any("\r" in cell for row in rows for cell in row.values())
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(
                    file,
                    columns,
                    lineterminator="\n",
                    quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL,
                )
                writer.writeheader()
                writer.writerows(rows)
        elif suffix in {".jsonl", ".ndjson"}:
            with partial.open("w", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
        elif suffix == ".parquet":
            import pandas as pd

            pd.DataFrame(rows, columns=columns, dtype=str).to_parquet(partial, index=False)
        else:
            raise ManifestError(
                f"{path} ends in {suffix or 'nothing'}, but a table is written as .csv, .jsonl "
                "or .parquet"
            )


def _plain(cell: str) -> str:
    return unicodedata.normalize("NFC", cell).strip()


def _check(utterance: Utterance) -> None:
    if not utterance.id:
        raise ManifestError("an id is empty; give every row an id of its own")
    path = PurePosixPath(utterance.audio.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts or ("",))[0]:
        raise ManifestError(
            f"row {utterance.id!r}: audio {utterance.audio!r} leaves the manifest's folder; "
            "write paths relative to the manifest and below it"
        )
    if utterance.duration_s is not None and utterance.duration_s < 0:
        raise ManifestError(
            f"row {utterance.id!r}: duration_s is {utterance.duration_s}, but a length is 0 s or "
            "more; leave the cell empty if it is unknown"
        )
    start_s, end_s = utterance.start_s or 0.0, utterance.end_s
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise ManifestError(
            f"row {utterance.id!r}: start_s {utterance.start_s} and end_s {end_s} are not in "
            "order; an utterance starts at 0 s or later and ends after its start"
        )


def _check_columns(columns: set[str], path: Path) -> None:
    found = ", ".join(sorted(columns))
    if "id" not in columns:
        raise ManifestError(
            f"{path} has no column 'id' (found: {found}); a manifest has "
            f"{', '.join(COLUMNS)}; make one with: mersa prepare table {path} --out DIR"
        )
    if not columns & {"audio", "text"}:
        raise ManifestError(
            f"{path} has neither a column 'audio' nor a column 'text' "
            f"(found: {found}); give at least one of them"
        )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before a message about one of its rows."""
    try:
        yield
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Give the rows of a table; those of CSV one by one, so that no more than one is held."""
    if path.is_dir():
        raise ManifestError(f"{path} is a folder, but a table file was expected; name the file")
    if not path.exists():
        raise ManifestError(f"{path} does not exist; make it with: mersa prepare CORPUS --out DIR")
    if path.stat().st_size == 0:
        raise ManifestError(f"{path} is empty, but a table with a header was expected")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ManifestError(
            f"{path} ends in {suffix or 'nothing'}, but a table is one of {', '.join(_READERS)}"
        )
    try:
        yield from _READERS[suffix](path)
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 (it holds the byte 0x{error.object[error.start]:02x}); "
            "save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise ManifestError(f"{path} is not a CSV table ({error}); save it as CSV again") from None


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = list(reader.fieldnames or ())
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ManifestError(
                f"{path} has more than one column {twice!r}; give every column a name of its own"
            )
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise ManifestError(
                    f"{path}: row {number} does not have the {len(names)} cells "
                    "of the header; quote cells that hold a comma"
                )
            yield row


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
            except (ValueError, RecursionError) as error:
                raise ManifestError(
                    f"{path}: line {number} is not JSON ({error}); write one object a line"
                ) from None
            if not isinstance(row, dict):
                raise ManifestError(f"{path}: line {number} is not a JSON object; write one a line")
            rows.append({name: "" if cell is None else str(cell) for name, cell in row.items()})
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def _read_parquet(path: Path) -> list[dict[str, str]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{path} is not a Parquet file ({first_line(error)}); save it again"
        ) from None
    cells = frame.astype(object).where(frame.notna(), "")
    return [
        {str(name): str(cell) for name, cell in row.items()} for row in cells.to_dict("records")
    ]


_READERS: Mapping[str, Callable[[Path], Iterable[dict[str, str]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
