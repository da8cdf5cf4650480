"""The folder of MELD: where its tables and clips lie, and how to come by them."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from mersa.corpora.download import GZIP, Confirm, fetch, unpack
from mersa.errors import CorpusError
from mersa.progress import Progress, Silent

URL = (
    "https://huggingface.co/datasets/declare-lab/MELD/resolve/"
    "9abc51ee7903424ffb971297608aa6d3d0de3bfa/MELD.Raw.tar.gz"
)
"""The publisher's archive of tables and clips, 10,878,146,150 bytes, at a fixed commit.

The first place of publication has one of the same size:
https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz
"""

SHA256 = "a56b4407d574195cbce470d86f9c9d72fcfea59b0e34502ecd4babee4a5c613e"
"""Digest of the archive at `URL`, from its Git LFS pointer."""

LICENCE = (
    "MELD is published under GPL-3.0; what is said and shown in it belongs to the owners of the "
    "series Friends, so use it for research only and do not pass the clips on"
)
"""What is said before anything is fetched."""

ARCHIVE = "MELD.Raw.tar.gz"
"""What the archive is called where it lies."""

CLIP_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
"""The folder of clips of each part, by the name that the release gives the part."""

REMEDY = "name the folder that holds train_sent_emo.csv, or the one with MELD.Raw in it"
"""What to name instead of a folder that is none of MELD."""


def download(
    root: Path,
    *,
    url: str = URL,
    sha256: str | None = None,
    progress: Progress | None = None,
    confirm: Confirm | None = None,
) -> None:
    """Fetch the public archive into a folder and unpack it and the archives in it.

    The same call goes on with whatever an earlier one left: a part of the archive, the archive, or
    some of its parts unpacked. It needs about 22 GB; the archive is not needed afterwards.

    Args:
        root: The folder; made if it does not exist.
        url: Where `MELD.Raw.tar.gz` is.
        sha256: Its digest in hex; None for that of `URL`, and at any other address for the one
            that the server states.
        progress: What is told of it.
        confirm: Asked with address, size and licence before anything is fetched; None only tells.

    Raises:
        CorpusError: If it cannot be fetched or is damaged, or `confirm` answers False.
        StorageError: If the disk has not enough room.
    """
    progress = progress or Silent()
    if sha256 is None:
        sha256 = SHA256 if url == URL else ""
    root.mkdir(parents=True, exist_ok=True)
    if not _lacks(root):
        progress.say(f"{root} holds the tables and the clips of MELD already")
        return
    for part in CLIP_FOLDERS:  # of an archive that was unpacked by hand, and not to its end
        packed = _packed(root, part)
        if packed and clip_folder(root, part) is None:
            unpack(packed, packed.parent, progress=progress)
    if not _lacks(root):
        return
    archive = fetch(
        url,
        root / ARCHIVE,
        sha256=sha256,
        begins=GZIP,
        notice=LICENCE,
        copies=2,
        progress=progress,
        confirm=confirm,
    )
    unpack(
        archive,
        root,
        wanted=lambda name: clip_folder(root, name.removesuffix(".tar.gz")) is None,
        progress=progress,
    )
    if lacks := _lacks(root):
        raise CorpusError(
            f"{archive} is unpacked, but has no {', '.join(lacks)}, so it is not the archive of "
            f"MELD; delete it and fetch {URL}"
        )
    progress.say(f"MELD is unpacked in {root}; {archive} is not needed any longer")


def refuse_packed(root: Path) -> None:
    """Refuse a folder in which the archive, or one inside it, waits to be unpacked.

    Raises:
        CorpusError: If there is one, or if the archive is fetched in part only.
    """
    packed = [
        file
        for part in CLIP_FOLDERS
        if clip_folder(root, part) is None and (file := _packed(root, part))
    ]
    lacks = _lacks(root)
    if lacks and not packed and (root / ARCHIVE).is_file():
        packed = [root / ARCHIVE]
    again = f"mersa prepare meld {shlex.quote(str(root))} --download"
    if packed:
        commands = " && ".join(
            f"tar -xzf {shlex.quote(str(file))} -C {shlex.quote(str(file.parent))}"
            for file in packed
        )
        raise CorpusError(
            f"MELD at {root} is not unpacked to its end: {', '.join(file.name for file in packed)} "
            f"is there, but not {', '.join(lacks)}; unpack with {commands}, or with {again}, or "
            "name a folder with the three tables alone to read words without sound"
        )
    if len(lacks) == 2 * len(CLIP_FOLDERS) and (root / f"{ARCHIVE}.partial").is_file():
        raise CorpusError(f"MELD at {root} is not fetched to its end; go on with {again}")


def table(root: Path, part: str) -> Path:
    """Return the table of a part.

    Raises:
        CorpusError: If it is nowhere.
    """
    file = _find_table(root, part)
    if file is None:
        others = [other for other in CLIP_FOLDERS if _find_table(root, other)]
        has = f" beside that of {' and '.join(others)}" if others else ""
        raise CorpusError(
            f"MELD at {root} has no {part}_sent_emo.csv{has}; bring it there from "
            f"github.com/declare-lab/MELD (data/MELD), or {REMEDY}"
        )
    return file


def clip_folder(root: Path, part: str) -> Path | None:
    """Return the folder of a part's clips; None if it is nowhere, or there is no such part."""
    if part not in CLIP_FOLDERS:
        return None
    folders = (base / CLIP_FOLDERS[part] for base in _bases(root, part))
    return next((folder for folder in folders if folder.is_dir()), None)


def _bases(root: Path, part: str) -> Iterator[Path]:
    """Give the folders where things of a part have been seen."""
    for base in (root, root / "data" / "MELD", root / "MELD.Raw"):
        yield base
        yield base / part


def _find_table(root: Path, part: str) -> Path | None:
    files = (base / f"{part}_sent_emo.csv" for base in _bases(root, part))
    return next((file for file in files if file.is_file()), None)


def _packed(root: Path, part: str) -> Path | None:
    files = (base / f"{part}.tar.gz" for base in _bases(root, part))
    return next((file for file in files if file.is_file()), None)


def _lacks(root: Path) -> list[str]:
    """Name the tables and folders of clips that are not there."""
    tables = [f"{part}_sent_emo.csv" for part in CLIP_FOLDERS if _find_table(root, part) is None]
    return tables + [CLIP_FOLDERS[part] for part in CLIP_FOLDERS if clip_folder(root, part) is None]
