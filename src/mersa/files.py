"""Files that appear whole or not at all, and paths that one process works on alone."""

import errno
import getpass
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mersa.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a full disk, a used-up quota and a file beyond the size limit report."""


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a partial path beside `path`, and put it in place only if the block succeeds.

    A process that is killed leaves at most a file whose name ends in `.partial`; a reader never
    sees half a file, and of two writers of one path the later one wins whole.

    Raises:
        StorageError: If the disk takes no more.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".partial", prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        partial = Path(name)
        try:
            yield partial
            partial.chmod(0o666 & ~_umask())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageError(
            f"{path} cannot be written whole ({error.strerror}; {_free(path):,.1f} MB are free on "
            "its disk); free some space there, or give another folder with --cache or --out"
        ) from error


@contextmanager
def write_whole_folder(path: Path) -> Iterator[Path]:
    """Give a partial path beside `path` for the block to make a folder at; as `write_whole`.

    What stood at `path` is replaced. A process that is killed leaves at most a folder whose name
    ends in `.partial`, which the next one removes.
    """
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with write_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def is_in_a_file(path: Path) -> bool:
    """Return True if no folder can stand at a path, since it is or lies below a file."""
    return any(one.exists() and not one.is_dir() for one in (path, *path.parents))


@contextmanager
def one_process(path: Path, busy: Exception) -> Iterator[None]:
    """Keep a file or folder to one process; the lock goes with the process, however it ends.

    Args:
        path: What is kept; it need not exist.
        busy: Raised if another process of this machine and user keeps it.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    held = FileLock(Path(tempfile.gettempdir()) / f"mersa-{getpass.getuser()}-{name}.lock")
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        held.release()


def _free(path: Path) -> float:
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free / 1e6


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
