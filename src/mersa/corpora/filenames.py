"""Corpora whose file names say who speaks, what, and with which emotion.

Such a release is a folder of recordings at any depth. Hidden files, as the `._` ones of macOS, and
files that are no recordings are passed over; all others are read, or named in a message.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mersa.corpora.release import check_folder, compare_counts, some, warn_or_refuse
from mersa.errors import CorpusError
from mersa.manifest import Manifest, Utterance, make_manifest

_LOGGER = logging.getLogger(__name__)

SUFFIXES = (".wav", ".flac")
"""Kinds of recordings that are read: the releases' own, and what they are often kept as."""

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_LFS_POINTER = b"version https://git-lfs"

Meaning = TypeVar("Meaning")


@dataclass(frozen=True, kw_only=True)
class Release:
    """What was published under names of one pattern.

    Attributes:
        corpus: How messages call it.
        pattern: The whole file name without suffix; its named groups are the fields, and two files
            with the same fields are the same recording.
        example: A file name of the release.
        remedy: Which folder to name, as `name the folder that holds Actor_01 to Actor_24`.
        counts: Utterances by emotion.
        num_speakers: Speakers in all.
        faults: Ids of recordings that are damaged in the release itself, each with what is wrong;
            they count as found and are kept out of the manifest.
        left_out: Names the kind of a file that is counted and not read, as `song`, by its
            fields; empty for what is read.
        further_suffixes: Suffixes of files that may be of such a kind.
    """

    corpus: str
    pattern: re.Pattern[str]
    example: str
    remedy: str
    counts: Mapping[str, int]
    num_speakers: int
    faults: Mapping[str, str] = field(default_factory=dict)
    left_out: Callable[[Mapping[str, str]], str] = lambda fields: ""
    further_suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One file of a release.

    Attributes:
        corpus: How messages call the corpus.
        name: The file name without its suffix.
        audio: The path from the corpus' folder, with slashes.
        fields: What the name says, by the groups of the pattern; empty where a group is absent.
        duration_s: Length in seconds, by the header.
    """

    corpus: str
    name: str
    audio: str
    fields: Mapping[str, str]
    duration_s: float

    def look_up(self, name: str, meanings: Mapping[str, Meaning]) -> Meaning:
        """Return what a field means.

        Raises:
            CorpusError: If its code is none of the published ones.
        """
        code = self.fields[name]
        if code not in meanings:
            raise CorpusError(
                f"{self.audio} of {self.corpus} has the {name} {code!r}, but the release knows "
                f"{', '.join(meanings)}; rename the file or move it away"
            )
        return meanings[code]


def read_release(
    root: Path, release: Release, describe: Callable[[Recording], Utterance], *, strict: bool
) -> Manifest:
    """Read every recording below a folder.

    Args:
        root: The corpus' folder, or one above it.
        release: What was published.
        describe: Makes a recording's utterance.
        strict: Make what is incomplete or foreign an error instead of a warning.

    Returns:
        The manifest; its folder is `root`.

    Raises:
        CorpusError: If the folder is missing, packed or without such recordings, if a name holds
            an unknown code, or for whatever would be a warning if `strict` is set.
    """
    check_folder(root, release.corpus, release.remedy)
    files = _drop_second_copies(root, release, _find(root, release, strict))
    utterances = [describe(recording) for recording in _measure(root, release, files, strict)]
    found = Counter(utterance.emotion for utterance in utterances)
    found["speakers"] = len({utterance.speaker for utterance in utterances})
    expected = {**release.counts, "speakers": release.num_speakers}
    compare_counts(root, release.corpus, found, expected, strict=strict)
    for utterance in utterances:
        if utterance.id in release.faults:
            fault = release.faults[utterance.id]
            _LOGGER.warning(
                "%s at %s: %s is kept out, for %s", release.corpus, root, utterance.audio, fault
            )
    kept = [utterance for utterance in utterances if utterance.id not in release.faults]
    return make_manifest(kept, root)


@dataclass(frozen=True)
class _File:
    path: Path
    fields: Mapping[str, str]


def _find(root: Path, release: Release, strict: bool) -> list[_File]:
    """Return the files to read, in sorted order, and tell of the others."""
    kinds = (*SUFFIXES, *release.further_suffixes)
    paths = [path for path in _walk(root, set()) if path.suffix.lower() in kinds]
    named = [(path, release.pattern.fullmatch(path.stem)) for path in paths]
    files = [_File(path, match.groupdict(default="")) for path, match in named if match]
    foreign = [path for path, match in named if match is None]
    if not files:
        raise CorpusError(_nothing_found(root, release, foreign))
    if foreign:
        warn_or_refuse(
            f"{len(foreign):,} of {len(paths):,} recordings in {root} are not named as "
            f"{release.corpus} names them ({release.example}) and not read: "
            f"{some(path.relative_to(root).as_posix() for path in foreign)}",
            "rename them or move them away",
            strict=strict,
        )
    by_kind = Counter(release.left_out(file.fields) for file in files)
    kept = by_kind.pop("", 0)
    if by_kind:
        counted = " and ".join(
            f"{count:,} {kind} file{'s' if count > 1 else ''}"
            for kind, count in sorted(by_kind.items())
        )
        if not kept:
            raise CorpusError(
                f"{root} holds {counted} of {release.corpus}, which are not read, and nothing "
                f"else; {release.remedy}"
            )
        _LOGGER.warning("%s at %s: %s are not read", release.corpus, root, counted)
    return [file for file in files if not release.left_out(file.fields)]


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    # Links are followed, since corpora lie on other disks, but never twice to the same folder.
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        else:
            yield path


def _nothing_found(root: Path, release: Release, foreign: Sequence[Path]) -> str:
    packed = [path.name for path in _walk(root, set()) if path.suffix.lower() in _ARCHIVES]
    if packed:
        return f"{release.corpus} at {root} is still packed ({some(packed)}); unpack it there"
    seen = f" ({len(foreign):,} have other names: {some(path.name for path in foreign)})"
    return (
        f"{root} holds no recording that is named as {release.corpus} names them, as "
        f"{release.example}{seen if foreign else ''}; {release.remedy}"
    )


def _drop_second_copies(root: Path, release: Release, files: Iterable[_File]) -> list[_File]:
    first: dict[tuple[str, ...], _File] = {}
    copies = []
    for file in files:
        if first.setdefault(tuple(file.fields.values()), file) is not file:
            copies.append(file)
    if copies:
        taken = first[tuple(copies[0].fields.values())]
        _LOGGER.warning(
            "%s at %s holds recordings a second time (%s files, as %s beside %s); of each the "
            "first in sorted order is read",
            release.corpus,
            root,
            f"{len(copies):,}",
            copies[0].path.relative_to(root).as_posix(),
            taken.path.relative_to(root).as_posix(),
        )
    return list(first.values())


def _measure(root: Path, release: Release, files: Sequence[_File], strict: bool) -> list[Recording]:
    """Read the header of each file, and keep out those that do not open or hold nothing."""
    import soundfile

    recordings, broken = [], []
    for file in files:
        try:
            header = soundfile.info(file.path)
        except soundfile.SoundFileError:
            header = None
        if header is None or not header.frames:
            broken.append(file.path)
            continue
        recordings.append(
            Recording(
                corpus=release.corpus,
                name=file.path.stem,
                audio=file.path.relative_to(root).as_posix(),
                fields=file.fields,
                duration_s=round(header.frames / header.samplerate, 6),
            )
        )
    if broken:
        message = (
            f"{len(broken):,} of {len(files):,} recordings of {release.corpus} at {root} do not "
            "open or are empty and are kept out: "
            f"{some(path.relative_to(root).as_posix() for path in broken)}"
        )
        remedy = "bring them there again"
        if _is_pointer(broken[0]):
            remedy = "they are pointers of Git LFS, so fetch the sound with: git lfs pull"
        if not recordings:
            raise CorpusError(f"{message}; {remedy}")
        warn_or_refuse(message, remedy, strict=strict)
    return recordings


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError:
        return False
