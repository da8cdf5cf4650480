"""Any table of utterances, or a Hugging Face `audiofolder`, as a manifest."""

import difflib
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from mersa.emotions import SPELLING_TO_WORD, WORDS, to_word
from mersa.errors import ManifestError
from mersa.manifest import (
    COLUMNS,
    PART_NAMES,
    Manifest,
    make_manifest,
    make_utterance,
    read_table,
)

_LOGGER = logging.getLogger(__name__)

GUESSES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "key", "utt_id"),
    "audio": ("audio", "path", "file", "file_name", "filename", "wav"),
    "start_s": ("start_s", "start"),
    "end_s": ("end_s", "end"),
    "text": ("text", "transcription", "transcript", "sentence", "utterance"),
    "emotion": ("emotion", "label", "labels"),
    "speaker": ("speaker", "speaker_id", "spk"),
    "dialogue": ("dialogue", "dialogue_id", "dialog"),
    "session": ("session",),
    "part": ("part", "split"),
    "language": ("language",),
    "duration_s": ("duration_s", "duration"),
}
"""Columns of a table that are taken for mersa's; the first that is there wins, in any case."""

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SUFFIXES = tuple(
    f".{kind}"
    for kind in (
        *("wav", "flac", "ogg", "opus", "oga", "mp3", "m4a", "aac"),
        *("aif", "aiff", "wma", "webm", "mp4", "mkv", "mov", "avi"),
    )
)


def read(
    file: Path,
    *,
    columns: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    root: Path | None = None,
    language: str = "",
) -> Manifest:
    """Read a CSV, TSV, JSON lines or Parquet table, or an `audiofolder`, into a manifest.

    A folder is read as Hugging Face datasets does: from `metadata.csv`, `.jsonl` or `.parquet` in
    it or in each of its split folders; without these, ROOT/LABEL/FILE or ROOT/SPLIT/LABEL/FILE
    name emotion and part. An id that no column gives is the audio path without its suffix, or the
    row number where there is no audio. Every column that is not used is kept as an extra; one
    that has the name of a column in use is kept as `source_NAME`.

    Args:
        file: The table or folder.
        columns: The table's column for a column of mersa's, in place of a guess of `GUESSES`; an
            empty one leaves that column out. A name that is none of mersa's renames an extra.
        mapping: Translations of emotion names, before those of `mersa.emotions`.
        root: The folder that holds all recordings and that paths start from; the table's own
            folder if absent.
        language: BCP 47 tag for rows that name none.

    Returns:
        The manifest; its folder is `root`.

    Raises:
        ManifestError: If a named column is absent, neither audio nor text is found, an emotion is
            not known, or a recording is missing or lies outside `root`.
    """
    if not file.exists():
        raise ManifestError(f"{file} does not exist; give a table or a folder of recordings")
    folder = root or (file if file.is_dir() else file.parent)
    if not folder.is_dir():
        raise ManifestError(f"{folder} is not a folder; give --root DIR that holds all recordings")
    columns = columns or {}
    if file.is_dir():
        columns = {"audio": "file_name", **columns}
        rows = _folder_rows(file, folder)
    else:
        _refuse_embedded_audio(file)
        rows = read_table(file)
    if not rows:
        raise ManifestError(f"{file} holds no rows; give at least one utterance")
    sources = _sources(file, list(rows[0]), columns)
    rows = [_renamed(row, sources) for row in rows]
    _translate_emotions(file, rows, sources, mapping or {})
    _locate(file, rows, folder)
    if "id" not in sources:
        for row, identifier in zip(rows, _ids(rows), strict=True):
            row["id"] = identifier
    if sources.get("dialogue", "").lower() != "dialogue" and "dialogue" not in columns:
        _drop_repeated_dialogues(file, rows, sources)
    try:
        return make_manifest(
            (
                make_utterance(row | {"language": row.get("language", "") or language}, number)
                for number, row in enumerate(rows, start=1)
            ),
            folder,
        )
    except ManifestError as error:
        raise ManifestError(f"{file}: {error}") from None


def _folder_rows(file: Path, folder: Path) -> list[dict[str, str]]:
    """Read the rows of an `audiofolder`; their paths start from `folder`, as those of a table."""
    above = "" if file.resolve() == folder.resolve() else f"{file.resolve()}/"
    splits = [
        path.name
        for path in sorted(file.iterdir())
        if path.is_dir() and path.name.lower() in PART_NAMES
    ]
    rows = []
    for split in ("", *splits):
        for name in _METADATA:
            if (file / split / name).is_file():
                rows += _metadata_rows(file / split / name, split)
                break
    rows = rows or _label_rows(file)
    names = list(dict.fromkeys(name for row in rows for name in row))
    rows = [{name: row.get(name, "") for name in names} for row in rows]
    return [row | {"file_name": above + row["file_name"]} for row in rows]


def _metadata_rows(table: Path, split: str) -> list[dict[str, str]]:
    _refuse_embedded_audio(table)
    rows = read_table(table)
    if rows and "file_name" not in rows[0]:
        raise ManifestError(
            f"{table} has no column 'file_name' (found: {', '.join(rows[0])}), which an "
            "audiofolder needs; rename its column of paths, or give the table itself"
        )
    has_part = bool(rows) and any(name.lower() in GUESSES["part"] for name in rows[0])
    for row in rows:
        if split:
            row["file_name"] = f"{split}/{row['file_name']}"
        first = row["file_name"].split("/")[0].lower()
        if not has_part:
            row["part"] = PART_NAMES.get(first, "") if "/" in row["file_name"] else ""
    return rows


def _label_rows(folder: Path) -> list[dict[str, str]]:
    rows = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        hidden = any(name.startswith(".") for name in inner.parts)
        if hidden or path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        above = inner.parts[:-1]
        part = PART_NAMES.get(above[0].lower(), "") if above else ""
        labels = above[1:] if part else above
        label = labels[-1] if labels else ""
        rows.append({"file_name": inner.as_posix(), "part": part, "label": label})
    if not rows:
        raise ManifestError(
            f"{folder} holds neither {', '.join(_METADATA)} nor recordings; "
            "give a table, or a folder with one folder for each emotion"
        )
    return rows


def _refuse_embedded_audio(file: Path) -> None:
    if file.suffix.lower() != ".parquet" or not file.is_file() or not file.stat().st_size:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (OSError, pa.ArrowException):
        return  # read_table says what is wrong with it
    for field in schema:
        kind = field.type
        holds_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        if holds_bytes or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
            raise ManifestError(
                f"column {field.name!r} of {file} holds the recordings themselves, but paths are "
                "expected; write each recording to a file and give a table with the file names"
            )


def _sources(file: Path, found: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Return the table's column for each target, contract and extras alike."""
    for target, source in columns.items():
        if source and source not in found:
            near = difflib.get_close_matches(source, found, n=1, cutoff=0.5)
            hint = f"nearest: {near[0]}; " if near else ""
            raise ManifestError(
                f"{file} has no column {source!r} ({hint}found: {', '.join(found)}); "
                f"give --columns {target}=COLUMN with one of them"
            )
    sources = {target: source for target, source in columns.items() if source}
    renamed = {source for target, source in sources.items() if target not in COLUMNS}
    for target, names in GUESSES.items():
        if target in columns:
            continue
        lowered = {name.lower(): name for name in reversed(found) if name not in renamed}
        guess = next((lowered[name] for name in names if name in lowered), None)
        if guess is not None:
            sources[target] = guess
    if "audio" not in sources and "text" not in sources:
        raise ManifestError(
            f"{file} has no column that is known to hold audio paths or text "
            f"(found: {', '.join(found)}); give --columns audio=COLUMN or --columns text=COLUMN"
        )
    used = set(sources.values())
    for name in found:
        if name not in used:
            sources[f"source_{name}" if name in COLUMNS or name in sources else name] = name
    return sources


def _renamed(row: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    return {target: row[source] for target, source in sources.items()}


def _translate_emotions(
    file: Path,
    rows: Sequence[dict[str, str]],
    sources: Mapping[str, str],
    mapping: Mapping[str, str],
) -> None:
    if "emotion" not in sources:
        return
    # A column of class numbers with gaps comes out of Parquet as 3.0.
    names = [re.sub(r"^(-?\d+)\.0$", r"\1", row["emotion"].strip()) for row in rows]
    words: dict[str, str] = {}
    unknown = Counter[str]()
    for name, count in Counter(names).items():
        try:
            words[name] = to_word(name, mapping)
        except ManifestError:
            unknown[name.lower()] += count
    if unknown:
        raise ManifestError(_unknown_emotions(file, sources["emotion"], unknown, mapping))
    for row, name in zip(rows, names, strict=True):
        row["emotion"] = words[name]


def _unknown_emotions(
    file: Path, column: str, unknown: Mapping[str, int], mapping: Mapping[str, str]
) -> str:
    ordered = sorted(unknown)
    if all(re.fullmatch(r"-?\d+", name) for name in ordered):
        numbers = sorted(ordered, key=int)
        return (
            f"column {column!r} of {file} holds class numbers ({', '.join(numbers)}), but emotions "
            "are words; say what each number means, as in "
            f"{' '.join(f'--map {name}=WORD' for name in numbers)} with WORD one of "
            f"{', '.join(WORDS)}"
        )
    seen = [f"{name!r} ({unknown[name]}x{_nearest(name)})" for name in ordered]
    wrong = next((name for name in ordered if name in {key.strip().lower() for key in mapping}), "")
    lead = f" (--map {wrong}={mapping.get(wrong, '')} leads to no known word)" if wrong else ""
    return (
        f"{len(ordered)} names in column {column!r} of {file} are no known emotions: "
        f"{', '.join(seen)}{lead}; give --map {ordered[0]}=WORD and so on, with WORD one of "
        f"{', '.join(WORDS)}, or --map {ordered[0]}={ordered[0]} to keep it as a word of its own"
    )


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, SPELLING_TO_WORD, n=1)
    return f", nearest: {near[0]}" if near else ""


def _locate(file: Path, rows: Iterable[dict[str, str]], folder: Path) -> None:
    """Make every audio path relative to `folder`, and see that the recordings are there."""
    located: dict[str, str] = {}
    for row in rows:
        name = row.get("audio", "").strip()
        if name and name not in located:
            located[name] = _relative(file, name, folder)
        row["audio"] = located.get(name, "")
    wanted = sorted(set(located.values()))
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise ManifestError(
            f"{len(missing)} of the {len(wanted)} recordings that {file} names are missing in "
            f"{folder}, as {', '.join(missing[:3])}; give --root DIR that the paths start from"
        )


def _relative(file: Path, name: str, folder: Path) -> str:
    if "\\" in name and not (folder / name).is_file():
        name = name.replace("\\", "/")
    if os.name == "nt" or not PureWindowsPath(name).drive:
        # Lexical first: a link below the folder may lead anywhere, as that of a placed manifest.
        path = Path(os.path.normpath(folder.absolute() / name))
        for base in (Path(os.path.normpath(folder.absolute())), folder.resolve()):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
    raise ManifestError(
        f"audio {name!r} of {file} leaves its folder {folder}; "
        "give --root DIR that holds all recordings"
    )


def _ids(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Derive ids from audio paths, or from row numbers where there is no audio."""
    digits = len(str(len(rows)))
    wanted = [
        row["audio"][: -len(Path(row["audio"]).suffix) or None]
        if row["audio"]
        else str(number).zfill(digits)
        for number, row in enumerate(rows, start=1)
    ]
    totals, seen, taken = Counter(wanted), Counter[str](), set(wanted)
    ids = []
    for name in wanted:
        if totals[name] == 1:
            ids.append(name)
            continue
        width = len(str(totals[name]))
        while True:
            seen[name] += 1
            unique = f"{name}-{str(seen[name]).zfill(width)}"
            if unique not in taken:
                break
        taken.add(unique)
        ids.append(unique)
    return ids


def _drop_repeated_dialogues(
    file: Path, rows: Sequence[dict[str, str]], sources: Mapping[str, str]
) -> None:
    # Numbers that start again in each part, as MELD's, would join strangers to one dialogue.
    if "dialogue" not in sources:
        return
    parts = defaultdict(set)
    for row in rows:
        if row["dialogue"].strip():
            parts[row["dialogue"].strip()].add(row.get("part", ""))
    repeated = sum(len(found) > 1 for found in parts.values())
    if not repeated:
        return
    column = sources["dialogue"]
    _LOGGER.warning(
        "column %r of %s has %d values that stand in several parts, so it is kept as an extra "
        "and not taken for the dialogue; name the right column with --columns dialogue=COLUMN",
        column,
        file,
        repeated,
    )
    for row in rows:
        row[column] = row.pop("dialogue")
