"""Recordings that a person names: files, folders, patterns, manifests, standard input."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mersa.errors import ConfigError
from mersa.manifest import read_manifest

_MEDIA = """
    3gp aac aif aifc aiff amr au avi caf flac m4a m4v mkv mov mp3 mp4 mpeg mpg oga ogg opus ts w64
    wav webm wma
"""
MEDIA = frozenset(f".{kind}" for kind in _MEDIA.split())
"""Ends of the names that are taken for recordings in a folder."""

MANIFESTS = (".csv", ".jsonl", ".parquet")
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Recording:
    """Something to judge.

    Attributes:
        name: What answers call it: its path as given, or its id in a manifest.
        path: Its file; None for standard input and for words without sound.
        place: Where its answer goes below an output folder, without the format's suffix.
        text: Its words, if a manifest has them.
        start_s: Where it begins in its file; None for the beginning.
        end_s: Where it ends; None for the end.
    """

    name: str
    path: Path | None
    place: Path
    text: str | None = None
    start_s: float | None = None
    end_s: float | None = None


def find_recordings(names: Sequence[str]) -> list[Recording]:
    """Return the recordings that names stand for, in their order, sorted within each.

    A folder stands for the media files in it and below it, a name with `*`, `?` or `[` that is no
    file for what it matches, a manifest for its rows, and `-` for standard input. A file that does
    not exist is taken as it is: reading it tells.

    Raises:
        ConfigError: If a folder or pattern has none.
        ManifestError: If a manifest breaks its contract.
    """
    return [recording for name in names for recording in _stands_for(name)]


def _stands_for(name: str) -> Iterator[Recording]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield Recording(name, None, Path("standard-input"))
    elif path.is_dir():
        files = sorted(one for one in path.rglob("*") if _is_media(one))
        if not files:
            raise ConfigError(
                f"{path} holds no recordings (files named as {', '.join(sorted(MEDIA)[:6])} ...); "
                "name a folder that does"
            )
        for one in files:
            yield Recording(str(one), one, one.relative_to(path))
    elif not path.exists() and glob.has_magic(name):
        files = sorted(Path(one) for one in glob.glob(name, recursive=True))  # noqa: PTH207
        files = [one for one in files if one.is_file()]
        if not files:
            raise ConfigError(f"the pattern {name!r} matches no file; correct it")
        for one in files:
            yield Recording(str(one), one, Path(*one.parts[1:] if one.is_absolute() else one.parts))
    elif path.suffix.lower() in MANIFESTS:
        yield from _rows(path)
    else:
        yield Recording(name, path, Path(path.name))


def _rows(path: Path) -> Iterator[Recording]:
    manifest = read_manifest(path)
    for one in manifest:
        place = Path("".join(c if c.isalnum() or c in "-_. " else "_" for c in one.id))
        yield Recording(
            one.id,
            manifest.audio_path(one),
            place,
            one.text.strip() or None,
            one.start_s,
            one.end_s,
        )


def _is_media(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in MEDIA and path.is_file()
