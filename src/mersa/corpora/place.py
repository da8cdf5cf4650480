"""Putting a corpus' manifest into a folder of the user's, and counting what it holds."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mersa.emotions import WORDS
from mersa.errors import ManifestError
from mersa.files import write_whole
from mersa.manifest import (
    COLUMNS,
    PARTS,
    Manifest,
    Utterance,
    make_manifest,
    read_table,
    write_manifest,
)
from mersa.tables import aligned


def place(manifest: Manifest, out: Path, *, copy: bool = False) -> Manifest:
    """Write `out/manifest.csv`, with the recordings below `out`.

    `out/audio` becomes a symbolic link to the manifest's folder; copies whose paths begin with
    `audio/` keep them. Where that folder is `out` or
    lies below it, nothing is linked or copied, since the recordings are below `out` already.
    Placing again changes nothing.

    Args:
        manifest: What a corpus reader returned; its folder is the root of the corpus.
        out: The folder to write into; made if it does not exist.
        copy: Copy the recordings that the manifest names instead of linking their folder. This
            also happens where the system refuses links.

    Returns:
        The manifest as written, whose folder is `out`.

    Raises:
        ManifestError: If `out` is a file or holds another table `manifest.csv`, if `out/audio` is
            something else than the corpus, or if a recording that is to be copied is missing.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ManifestError(
            f"{out} is or lies below a file, but a folder was expected; choose another --out"
        ) from None
    target = out / "manifest.csv"
    _refuse_other_table(target)
    prefix = _bring_recordings(manifest, out, copy)
    placed = make_manifest(
        (
            replace(utterance, audio=f"{prefix}{utterance.audio}") if utterance.audio else utterance
            for utterance in manifest
        ),
        out,
    )
    write_manifest(placed, target)
    return placed


@dataclass(frozen=True, kw_only=True)
class CountRow:
    """What one part holds.

    Attributes:
        part: `train`, `validation`, `test`, `no part`, or `all`.
        counts: Utterances of each emotion, in the order of the table's columns.
        unlabelled: Utterances without an emotion.
        utterances: All utterances of the part.
        seconds: Length of those whose length is known, in seconds.
        timed: How many those are.
    """

    part: str
    counts: tuple[int, ...]
    unlabelled: int
    utterances: int
    seconds: float
    timed: int


@dataclass(frozen=True)
class CountTable:
    """Utterances by part and emotion; the last row counts all parts."""

    emotions: tuple[str, ...]
    rows: tuple[CountRow, ...]

    def text(self) -> str:
        """Return an aligned table for the terminal.

        Hours are `-` where no length is known, and begin with `>` where some are not.
        """
        header = ("part", *self.emotions, "unlabelled", "utterances", "hours")
        cells = [header]
        for row in self.rows:
            numbers = (*row.counts, row.unlabelled, row.utterances)
            cells.append((row.part, *(f"{number:,}" for number in numbers), _hours(row)))
        return "\n".join(aligned(cells, right=range(1, len(header))))

    def by_part(self) -> dict[str, dict[str, int]]:
        """Return the counts by emotion, for each part and for `all`."""
        return {row.part: dict(zip(self.emotions, row.counts, strict=True)) for row in self.rows}

    def as_dict(self) -> dict[str, object]:
        """Return the same counts for JSON; `seconds` is null where no length is known."""
        return {
            "emotions": list(self.emotions),
            "rows": [
                {
                    "part": row.part,
                    "counts": dict(zip(self.emotions, row.counts, strict=True)),
                    "unlabelled": row.unlabelled,
                    "utterances": row.utterances,
                    "seconds": round(row.seconds, 3) if row.timed else None,
                    "timed": row.timed,
                }
                for row in self.rows
            ],
        }


def count_table(manifest: Manifest) -> CountTable:
    """Count utterances and hours of each part and emotion.

    Emotions stand in the order of `mersa.emotions.WORDS`, then words of the corpus' own, sorted.
    Parts stand in the order of use; a manifest without parts gives the row `all` alone.
    """
    found = {utterance.emotion for utterance in manifest if utterance.emotion}
    emotions = (
        *(word for word in WORDS if word in found),
        *sorted(found.difference(WORDS)),
    )
    parts = {utterance.part for utterance in manifest}
    rows = [
        _count(part or "no part", (row for row in manifest if row.part == part), emotions)
        for part in (*PARTS, "")
        if part in parts and parts != {""}
    ]
    return CountTable(emotions, (*rows, _count("all", manifest, emotions)))


def contents(manifest: Manifest) -> str:
    """Tell in one line what a manifest has besides emotions, so that a wrong column shows."""
    speakers = len({one.speaker for one in manifest} - {""})
    dialogues = len({one.dialogue for one in manifest} - {""})
    words = sum(bool(one.text.strip()) for one in manifest)
    sound = sum(bool(one.audio) for one in manifest)
    extras = sorted({name for one in manifest for name in one.extras})
    return (
        f"with words {words}, with sound {sound}, speakers {speakers}, dialogues {dialogues}; "
        f"other columns kept: {', '.join(extras) or 'none'}"
    )


def _refuse_other_table(target: Path) -> None:
    # A corpus may keep a table of its own under this name; `prepare` must not write over it.
    if not target.exists():
        return
    rows = read_table(target)
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise ManifestError(
            f"{target} is there already and is not a manifest of mersa, so it is not written over; "
            "choose another --out"
        )


def _bring_recordings(manifest: Manifest, out: Path, copy: bool) -> str:
    """Link or copy the recordings, and return what their paths then begin with."""
    names = sorted({utterance.audio for utterance in manifest if utterance.audio})
    root, here = manifest.folder.resolve(), out.resolve()
    if not names or root == here:
        return ""
    if root.is_relative_to(here):
        return f"{root.relative_to(here).as_posix()}/"
    if copy and all(name.startswith("audio/") for name in names):
        _copy(names, root, out)
        return ""
    audio = out / "audio"
    if audio.is_symlink() and audio.resolve() != root:
        raise ManifestError(
            f"{audio} points to {audio.resolve()}, but this corpus is at {root}; "
            "remove that link or choose another --out"
        )
    if copy or (not os.path.lexists(audio) and not _link(audio, root)):
        _copy(names, root, audio)
    elif not audio.is_symlink() and not _holds(names, root, audio):
        raise ManifestError(
            f"{audio} is there already, but does not hold the recordings of {root}; "
            "give --copy to copy them into it, or choose another --out"
        )
    return "audio/"


def _link(audio: Path, root: Path) -> bool:
    try:
        audio.symlink_to(root, target_is_directory=True)
    except (OSError, NotImplementedError):  # as Windows does without developer mode
        return False
    return True


def _copy(names: Sequence[str], root: Path, audio: Path) -> None:
    if audio.parent.resolve().is_relative_to(root):
        raise ManifestError(
            f"{audio} lies inside the corpus {root}, where copies would count as further "
            "recordings; choose an --out outside of it"
        )
    if audio.exists() and not audio.is_dir():
        raise ManifestError(f"{audio} is a file, but a folder was expected; choose another --out")
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise ManifestError(
            f"{len(missing)} of {len(names)} recordings are missing in {root}, as "
            f"{', '.join(missing[:3])}; bring them there and prepare again"
        )
    if audio.is_symlink():
        audio.unlink()  # ours, to the same corpus
    for name in names:
        if not _same_size(root / name, audio / name):
            with write_whole(audio / name) as partial:
                shutil.copyfile(root / name, partial)


def _holds(names: Sequence[str], root: Path, audio: Path) -> bool:
    return all(_same_size(root / name, audio / name) for name in names)


def _same_size(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.stat().st_size == other.stat().st_size


def _count(part: str, utterances: Iterable[Utterance], emotions: Sequence[str]) -> CountRow:
    kept = list(utterances)
    counts = Counter(utterance.emotion for utterance in kept)
    lengths = [one.length_s for one in kept if one.length_s is not None]
    return CountRow(
        part=part,
        counts=tuple(counts[emotion] for emotion in emotions),
        unlabelled=counts[""],
        utterances=len(kept),
        seconds=sum(lengths),
        timed=len(lengths),
    )


def _hours(row: CountRow) -> str:
    if not row.timed:
        return "-"
    return f"{'' if row.timed == row.utterances else '>'}{row.seconds / 3600:.2f}"
