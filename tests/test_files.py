import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mersa.errors import MersaError, StorageError
from mersa.files import one_process, write_whole, write_whole_folder

LIMITED = """
import resource, signal, sys
from pathlib import Path
from mersa.errors import StorageError
from mersa.files import write_whole

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
path = Path(sys.argv[1])
try:
    {action}
except StorageError as error:
    print(error)
"""
WRITE = "with write_whole(path) as partial: partial.write_bytes(bytes(30_000))"
PUT = """
    import numpy as np
    from mersa.encoders.cache import FeatureCache
    from mersa.encoders.tiny import TinyText
    encoder = TinyText(["one"])
    FeatureCache(path.parent).put(encoder, "key", np.zeros((50, 128), np.float32))
"""


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_folder(path, error):
    with write_whole_folder(path) as partial:
        partial.mkdir()
        raise error


def test_a_block_that_succeeds_puts_the_file_in_place(tmp_path):
    path = tmp_path / "deep" / "er" / "table.csv"

    with write_whole(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
        assert partial.name.endswith(".partial")
        assert partial.parent == path.parent

    assert path.read_text() == "whole"
    assert listing(path.parent) == ["table.csv"]


def fail(path, error):
    with write_whole(path) as partial:
        partial.write_text("ha")
        raise error


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="middle"):
        fail(tmp_path / "table.csv", ValueError("in the middle"))

    assert listing(tmp_path) == []


def test_a_block_that_fails_leaves_the_older_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("older")

    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt())

    assert path.read_text() == "older"
    assert listing(tmp_path) == ["table.csv"]


def test_a_newer_file_takes_the_place_of_the_older(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("older")

    with write_whole(path) as partial:
        partial.write_text("newer")

    assert path.read_text() == "newer"


def test_a_folder_takes_the_place_of_the_older_whole(tmp_path):
    older = tmp_path / "encoder"
    older.mkdir()
    (older / "left").touch()

    with write_whole_folder(older) as partial:
        partial.mkdir()
        (partial / "weights").write_text("newer")
        before = listing(older)

    assert before == ["left"]
    assert listing(older) == ["weights"]
    assert listing(tmp_path) == ["encoder"]


def test_a_block_that_fails_leaves_the_older_folder(tmp_path):
    older = tmp_path / "encoder"
    older.mkdir()
    (older / "left").touch()

    with pytest.raises(ValueError, match="middle"):
        fail_folder(older, ValueError("in the middle"))

    assert listing(older) == ["left"]
    assert listing(tmp_path) == ["encoder"]


def test_of_two_writers_the_later_wins_whole(tmp_path):
    path = tmp_path / "table.csv"

    with write_whole(path) as one:
        one.write_text("one, and longer")
        with write_whole(path) as two:
            two.write_text("two")
        assert path.read_text() == "two"

    assert path.read_text() == "one, and longer"
    assert listing(tmp_path) == ["table.csv"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path, umask, mode):
    path = tmp_path / "table.csv"
    before = os.umask(umask)

    try:
        with write_whole(path) as partial:
            partial.write_text("whole")
        after = os.umask(umask)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert after == umask


@pytest.mark.parametrize("action", [WRITE, PUT], ids=["a file", "frames"])
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path, action):
    pytest.importorskip("resource", reason="limits on file sizes are of POSIX")
    path = tmp_path / "new" / "table.csv"

    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(action=action), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )

    sentence = done.stdout
    assert sentence.count("\n") == 1, done.stderr
    assert sentence.startswith(str(path.parent))
    assert "cannot be written whole (File too large; " in sentence
    assert "MB are free on its disk); free some space there" in sentence
    assert "another folder with --cache or --out" in sentence
    assert [one for one in path.parent.rglob("*") if one.is_file()] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_every_kind_of_full_is_told_with_its_path(tmp_path, code):
    path = tmp_path / "table.csv"

    with pytest.raises(StorageError, match=rf"table\.csv .*{os.strerror(code)}.*--out") as caught:
        fail(path, OSError(code, os.strerror(code)))

    assert isinstance(caught.value, MersaError)
    assert isinstance(caught.value, OSError)
    assert listing(tmp_path) == []


def test_another_fault_of_the_disk_keeps_its_kind(tmp_path):
    with pytest.raises(PermissionError):
        fail(tmp_path / "table.csv", PermissionError(errno.EACCES, "Permission denied"))


def test_a_full_device_is_told(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")

    with (
        pytest.raises(StorageError, match=r"table\.csv .*No space left on device"),
        write_whole(tmp_path / "table.csv"),
    ):
        full.write_bytes(b"x")


def test_a_path_is_kept_to_one_process_until_the_block_ends(tmp_path):
    path, busy = tmp_path / "not there yet", StorageError("somebody is at it")

    with one_process(path, busy):
        assert not path.exists()
        with pytest.raises(StorageError, match="somebody is at it"), one_process(path, busy):
            pass
        with one_process(tmp_path / "another", busy):
            pass
    with one_process(tmp_path / "sub" / ".." / "not there yet", busy):
        pass


def test_a_block_that_fails_frees_its_path(tmp_path):
    busy = StorageError("busy")
    with pytest.raises(KeyError, match="mine"), one_process(tmp_path, busy):
        raise KeyError("mine")

    with one_process(tmp_path, busy):
        pass
