"""Every corpus that can be prepared, by name."""

import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from mersa.corpora import (
    cremad,
    emodb,
    iemocap,
    meld,
    meld_release,
    nemo,
    ravdess,
    table,
    toy,
)
from mersa.corpora.download import Confirm
from mersa.corpora.place import place
from mersa.errors import CorpusError
from mersa.manifest import Manifest
from mersa.progress import Progress


class Reader(Protocol):
    """Reads a published corpus from its folder."""

    def __call__(self, root: Path, *, strict: bool = ...) -> Manifest:
        """Return all of it, or raise CorpusError."""
        ...


READERS: Mapping[str, Reader] = {
    "iemocap": iemocap.read,
    "meld": meld.read,
    "ravdess": ravdess.read,
    "emodb": emodb.read,
    "nemo": nemo.read,
    "cremad": cremad.read,
}
"""The published corpora."""


def prepare(
    corpus: str,
    root: Path | None,
    out: Path,
    *,
    strict: bool | None = None,
    download: bool = False,
    confirm: Confirm | None = None,
    columns: Mapping[str, str] | None = None,
    mapping: Mapping[str, str] | None = None,
    recordings: Path | None = None,
    copy: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Read a corpus and place its manifest and recordings in a folder.

    Args:
        corpus: A name of `READERS`; `toy`, which comes with mersa; or `table` for any table.
        root: The folder of the corpus, or the table; None for `toy`.
        out: The folder to write into, as for `mersa.corpora.place.place`.
        strict: Refuse a corpus that differs from its release, or warn; None as its reader does by
            itself. For published corpora alone.
        download: Fetch the corpus into its folder first; for `meld` alone.
        confirm: Asked before anything is fetched; None only tells.
        columns: As of `mersa.corpora.table.read`; for `table` alone.
        mapping: The same.
        recordings: The `root` of `mersa.corpora.table.read`; for `table` alone.
        copy: Copy the recordings instead of linking their folder; those of `toy` always are.
        progress: What is told of a download and of the clips of MELD.

    Returns:
        The manifest as written, whose folder is `out`.

    Raises:
        CorpusError: If there is no such corpus, an argument does not belong to it, or it cannot be
            fetched or read.
        ManifestError: If a table cannot be read, or `out` holds something else.
    """
    _refuse(corpus, root, strict, download, bool(columns or mapping or recordings))
    if root is None:
        return place(toy.read(), out, copy=True)
    if corpus == "table":
        found = table.read(root, columns=columns, mapping=mapping, root=recordings)
        return place(found, out, copy=copy)
    if download:
        meld_release.download(root, progress=progress, confirm=confirm)
    read = partial(meld.read, progress=progress) if corpus == "meld" else READERS[corpus]
    found = read(root) if strict is None else read(root, strict=strict)
    return place(found, out, copy=copy)


def _refuse(
    corpus: str, root: Path | None, strict: bool | None, download: bool, of_table: bool
) -> None:
    """Refuse a name that is unknown, and what does not belong to the corpus."""
    if corpus not in (*READERS, "toy", "table"):
        near = difflib.get_close_matches(corpus.lower().replace("-", ""), READERS, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise CorpusError(
            f"corpus {corpus!r} is not known{hint}; choose one of {', '.join(READERS)}, toy, or "
            "table for any table"
        )
    if corpus != "table" and of_table:
        raise CorpusError(
            f"--columns, --map and --root go with prepare table alone; {corpus} needs none"
        )
    if corpus not in READERS and strict is not None:
        raise CorpusError(f"prepare {corpus} has no release to differ from; leave --strict out")
    if corpus != "meld" and download:
        raise CorpusError(
            f"--download fetches meld alone; get {corpus} from its publisher and name its folder"
        )
    if corpus == "toy" and root is not None:
        raise CorpusError("prepare toy takes --out alone; leave the folder out")
    if corpus != "toy" and root is None:
        named = "FILE" if corpus == "table" else "FOLDER"
        what = "the table" if corpus == "table" else "the folder of the corpus"
        raise CorpusError(
            f"prepare {corpus} needs {what}: mersa prepare {corpus} {named} --out DIR"
        )
