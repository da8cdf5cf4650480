"""Fetching and unpacking, against a server on this machine that can misbehave."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mersa.corpora import download, meld_release
from mersa.corpora.download import GZIP, fetch, unpack
from mersa.errors import CorpusError, StorageError
from mersa.progress import OnProgress, Silent
from told import Told

CONTENT = GZIP + np.random.default_rng(11).bytes(700_001)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


class Server(ThreadingHTTPServer):
    """One file at every path below `/file`, and what is to go wrong with it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.linked = ""
        self.ranges = True
        self.length = True
        self.drop_after: int | None = None
        self.silent: threading.Event | None = None
        self.status = 0
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.tar.gz"

    def transfers(self) -> list[str]:
        """The ranges that were asked for, without the looks at the first byte."""
        return [stretch for _, stretch in self.asked if stretch != "bytes=0-0"]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        server, stretch = self.server, self.headers.get("Range", "")
        self.close_connection = True
        if server.linked and self.path == "/file.tar.gz":
            self.send_response(302)
            self.send_header("X-Linked-Etag", f'"{server.linked}"')
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        server.asked.append((self.path, stretch))
        if server.status:
            self.send_error(server.status)
            return
        body, total = server.content, len(server.content)
        if stretch and server.ranges:
            first, _, last = stretch.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last or total - 1)
            body = body[begin : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{total}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.drop_after])
        if server.silent and len(body) > 1:
            server.silent.wait(10)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.tar.gz"


def partial(file: Path) -> Path:
    return file.with_name("file.tar.gz.partial")


def broken_off(server: Server, file: Path, after: int = 300_000) -> None:
    """Leave what a connection leaves that breaks after this many bytes."""
    server.drop_after = after
    with pytest.raises(CorpusError, match="broke after"):
        fetch(server.url, file)
    server.drop_after = None
    server.asked.clear()


# Fetching


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server: Server, file: Path) -> None:
    assert fetch(server.url, file) == file

    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["file.tar.gz"]


def test_a_file_that_is_there_is_not_fetched(server: Server, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"mine")

    fetch(server.url, file)

    assert file.read_bytes() == b"mine"
    assert server.asked == []


def test_size_and_notice_are_told_before_anything_is_fetched(server: Server, file: Path) -> None:
    told = Told()

    fetch(server.url, file, notice="for research only", progress=told)

    assert told.sentences == [
        f"fetching {server.url} (0.70 MB) to {file}. for research only",
    ]
    assert told.counts[-1] == ("fetch file.tar.gz (MB)", 0, 0)


def test_without_agreement_nothing_is_fetched(server: Server, file: Path) -> None:
    asked = []

    def refuse(sentence: str) -> bool:
        asked.append(sentence)
        return False

    with pytest.raises(CorpusError, match="was not agreed to, so nothing was fetched; agree to it"):
        fetch(server.url, file, notice="for research only", confirm=refuse)

    assert "0.70 MB" in asked[0]
    assert asked[0].endswith("for research only")
    assert server.transfers() == []
    assert list(file.parent.iterdir()) == []


def test_with_agreement_it_is_fetched(server: Server, file: Path) -> None:
    fetch(server.url, file, confirm=lambda sentence: True)

    assert file.read_bytes() == CONTENT


def test_a_broken_connection_keeps_what_has_come(server: Server, file: Path) -> None:
    server.drop_after = 300_000

    message = r"broke after 0\.30 MB of 0\.70 MB \(.*same command again, which goes on from there"
    with pytest.raises(CorpusError, match=message):
        fetch(server.url, file)

    assert partial(file).read_bytes() == CONTENT[:300_000]
    assert not file.exists()


def test_the_same_call_goes_on_from_there(server: Server, file: Path) -> None:
    broken_off(server, file)
    told = Told()

    fetch(server.url, file, progress=told)

    assert file.read_bytes() == CONTENT
    assert server.transfers() == ["bytes=300000-"]
    assert "0.70 MB, of which 0.30 MB are here" in told.sentences[0]


def test_a_connection_may_break_many_times(server: Server, file: Path) -> None:
    for _ in range(7):
        server.drop_after = 100_000
        with pytest.raises(CorpusError, match="broke after"):
            fetch(server.url, file)
    server.drop_after = None

    fetch(server.url, file)

    assert file.read_bytes() == CONTENT


class Killed(BaseException):
    """What ends a program at any moment."""


@pytest.mark.parametrize("piece", [1, 4, 9])
def test_a_program_that_is_ended_goes_on_from_there(piece: int, server: Server, file: Path) -> None:
    class Ends(Silent):
        def task(self, name: str) -> OnProgress:
            seen = []

            def count(done: int, total: int) -> None:
                seen.append(done)
                if len(seen) == piece:
                    raise Killed

            return count

    with pytest.raises(Killed):
        fetch(server.url, file, progress=Ends())
    held = partial(file).stat().st_size
    server.asked.clear()

    fetch(server.url, file)

    assert 0 < held < len(CONTENT)
    assert server.transfers() == [f"bytes={held}-"]
    assert file.read_bytes() == CONTENT


def test_a_program_that_is_ended_before_renaming_fetches_nothing_again(
    server: Server, file: Path
) -> None:
    class Ends(Silent):
        def task(self, name: str) -> OnProgress:
            if name.startswith("check"):
                raise Killed
            return lambda done, total: None

    with pytest.raises(Killed):
        fetch(server.url, file, sha256=DIGEST, progress=Ends())
    server.asked.clear()

    fetch(server.url, file, sha256=DIGEST)

    assert server.transfers() == []
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("changed", ["tag", "length", "digest"])
def test_a_file_that_has_changed_is_fetched_anew(changed: str, server: Server, file: Path) -> None:
    broken_off(server, file)
    server.content = GZIP + bytes(len(CONTENT) - (20 if changed == "length" else 2))
    if changed == "tag":
        server.etag = '"two"'
    if changed == "digest":
        server.linked = hashlib.sha256(server.content).hexdigest()
    told = Told()

    fetch(server.url, file, progress=told)

    assert file.read_bytes() == server.content
    assert server.transfers() == [""]
    assert "fetched anew, and not from 0.30 MB on: the file there has changed" in told.sentences[0]


def test_a_partial_file_that_is_too_long_is_fetched_anew(server: Server, file: Path) -> None:
    broken_off(server, file)
    partial(file).write_bytes(CONTENT + b"more")

    fetch(server.url, file)

    assert file.read_bytes() == CONTENT


def test_a_program_that_is_ended_before_it_begins_anew_mixes_nothing(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, file)
    server.content, server.etag = GZIP + bytes(len(CONTENT) - 2), '"two"'

    def end(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(download, "_transfer", end)
        with pytest.raises(Killed):
            fetch(server.url, file)

    fetch(server.url, file)

    assert file.read_bytes() == server.content


def test_a_partial_file_of_unknown_origin_is_fetched_anew(server: Server, file: Path) -> None:
    broken_off(server, file)
    file.with_name("file.tar.gz.partial.json").write_text("{")

    fetch(server.url, file)

    assert server.transfers() == [""]
    assert file.read_bytes() == CONTENT


def test_a_file_that_changes_between_look_and_transfer_is_refused(
    server: Server, file: Path
) -> None:
    broken_off(server, file)

    def change(sentence: str) -> bool:
        server.etag = '"two"'
        return True

    with pytest.raises(CorpusError, match=r"changed while it was fetched; .*which begins anew"):
        fetch(server.url, file, confirm=change)

    assert partial(file).read_bytes() == CONTENT[:300_000]


@pytest.mark.parametrize("etag", ['"one"', ""])
def test_a_server_that_refuses_ranges_gives_the_whole_file(
    etag: str, server: Server, file: Path
) -> None:
    server.ranges, server.etag = False, etag

    fetch(server.url, file)

    assert file.read_bytes() == CONTENT


def test_a_server_that_refuses_ranges_begins_anew_and_says_so(server: Server, file: Path) -> None:
    server.ranges = False
    server.drop_after = 300_000
    with pytest.raises(CorpusError, match=r"broke after 0\.30 MB of .*again, which begins anew"):
        fetch(server.url, file)
    server.drop_after = None
    told = Told()

    fetch(server.url, file, progress=told)

    assert file.read_bytes() == CONTENT
    assert "the server cannot go on in the middle of a file" in told.sentences[0]


def test_a_server_that_refuses_ranges_suddenly_does_no_harm(server: Server, file: Path) -> None:
    broken_off(server, file)

    def refuse_ranges(sentence: str) -> bool:
        server.ranges = False
        return True

    fetch(server.url, file, confirm=refuse_ranges)

    assert file.read_bytes() == CONTENT


def test_a_length_that_is_not_stated_is_borne(server: Server, file: Path) -> None:
    server.ranges = server.length = False
    file.parent.mkdir()
    partial(file).write_bytes(b"half")
    file.with_name("file.tar.gz.partial.json").write_text('{"size": null, "tag": "\\"one\\""}')
    told = Told()

    fetch(server.url, file, progress=told)

    assert file.read_bytes() == CONTENT
    assert "the server does not state its length" in told.sentences[0]
    assert "(an unstated size)" in told.sentences[1]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            404,
            r"not given out \(404 Not Found\); fetch the archive by hand, put it at .*file.tar.gz",
        ),
        (403, r"not given out \(403 Forbidden\); fetch the archive by hand"),
        (
            500,
            r"not given out \(500 .*\); give the same command again later, what has come is kept",
        ),
        (503, r"not given out \(503 .*\); give the same command again later"),
    ],
)
def test_a_refusal_is_one_sentence_and_loses_nothing(
    status: int, message: str, server: Server, file: Path
) -> None:
    broken_off(server, file)
    server.status = status

    with pytest.raises(CorpusError, match=message) as refused:
        fetch(server.url, file)

    assert "\n" not in str(refused.value)
    assert ".partial" not in str(refused.value)
    assert partial(file).read_bytes() == CONTENT[:300_000]


def test_a_server_that_is_not_there_is_one_sentence(file: Path) -> None:
    with Server() as gone:
        url = gone.url

    with pytest.raises(CorpusError, match=r"cannot be reached \(.*\); connect to the network, set"):
        fetch(url, file)


def test_a_page_instead_of_an_archive_is_refused(server: Server, file: Path) -> None:
    server.content = b"<!DOCTYPE html><title>Log in</title>"

    with pytest.raises(CorpusError, match=r"begins with b'<!DOCTYPE ht', which is not the archive"):
        fetch(server.url, file, begins=GZIP)

    assert not file.exists()


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://127.0.0.1/file", "meld.tar.gz"])
def test_an_address_of_another_kind_is_refused(url: str, file: Path) -> None:
    with pytest.raises(CorpusError, match="is no address by http or https; give one as"):
        fetch(url, file)


def test_a_digest_that_is_given_is_checked(server: Server, file: Path) -> None:
    fetch(server.url, file, sha256=DIGEST.upper())

    assert file.read_bytes() == CONTENT


def test_a_file_with_another_digest_is_refused(server: Server, file: Path) -> None:
    with pytest.raises(CorpusError, match=f"has the sha256 {DIGEST}, but {'0' * 64} .*; delete it"):
        fetch(server.url, file, sha256="0" * 64)

    assert not file.exists()


def test_a_digest_of_another_length_is_refused(server: Server, file: Path) -> None:
    with pytest.raises(CorpusError, match="'abc' is no digest; give 64 hex digits"):
        fetch(server.url, file, sha256="abc")


def test_the_digest_that_a_redirection_states_is_checked(server: Server, file: Path) -> None:
    server.linked = "1" * 64

    with pytest.raises(CorpusError, match=f"has the sha256 {DIGEST}, but {'1' * 64} was expected"):
        fetch(server.url, file)

    assert {path for path, _ in server.asked} == {"/elsewhere"}


def test_a_redirection_keeps_the_range(server: Server, file: Path) -> None:
    server.linked = DIGEST
    broken_off(server, file)

    fetch(server.url, file)

    assert server.transfers() == ["bytes=300000-"]
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("linked", ["", "d41d8cd98f00b204e9800998ecf8427e"])
def test_a_tag_that_is_no_digest_is_not_taken_for_one(
    linked: str, server: Server, file: Path
) -> None:
    server.etag, server.linked = f'"{"2" * 64}"', linked

    fetch(server.url, file)

    assert file.read_bytes() == CONTENT


def test_a_digest_that_the_server_contradicts_is_refused_at_once(
    server: Server, file: Path
) -> None:
    server.linked = "1" * 64

    with pytest.raises(CorpusError, match=f"has the sha256 {'1' * 64}, but {DIGEST} was expected"):
        fetch(server.url, file, sha256=DIGEST)

    assert server.transfers() == []


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = types.SimpleNamespace(free=1_400_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)

    with pytest.raises(
        StorageError, match=r"needs 1\.40 MB of free disk, but .* has 1\.40 MB; free"
    ):
        fetch(server.url, file, copies=2)

    assert server.transfers() == []


def test_what_has_come_needs_no_room_again(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(server, file)
    free = types.SimpleNamespace(free=1_100_010)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)

    fetch(server.url, file, copies=2)

    assert file.read_bytes() == CONTENT


def test_a_disk_that_fills_up_keeps_what_has_come(server: Server, file: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"takes no more .*; free some space there and give"):
            fetch(server.url, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    held = partial(file).stat().st_size
    server.asked.clear()

    fetch(server.url, file)

    assert 200_000 < held <= 300_000
    assert server.transfers() == [f"bytes={held}-"]
    assert file.read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_left(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_PATIENCE_S", 0.2)
    server.drop_after, server.silent = 300_000, threading.Event()

    with pytest.raises(
        CorpusError, match=r"broke after 0\.\d\d MB of 0\.70 MB \(.*timed out\); give"
    ):
        fetch(server.url, file)

    server.silent.set()
    assert partial(file).stat().st_size > 200_000


def test_two_processes_do_not_fetch_one_file(server: Server, file: Path) -> None:
    def again(sentence: str) -> bool:
        with pytest.raises(CorpusError, match=r"another process fetches .*; wait for it"):
            fetch(server.url, file)
        return True

    fetch(server.url, file, confirm=again)

    assert file.read_bytes() == CONTENT


def test_a_proxy_is_asked_where_one_is_set(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    fetch("http://mersa.invalid/file", file)

    assert {path for path, _ in server.asked} == {"http://mersa.invalid/file"}
    assert file.read_bytes() == CONTENT


# Unpacking


def packed(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A .tar.gz with these files and symbolic links."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return whole.getvalue()


def release() -> bytes:
    """An archive as that of MELD: tables, and one archive of clips for each part."""
    inner = {
        f"MELD.Raw/{part}.tar.gz": packed(
            {
                f"{folder}/dia0_utt0.mp4": f"{part} film".encode(),
                f"{folder}/._dia0_utt0.mp4": b"macOS",
                **({"train_sent_emo.csv": b"train table"} if part == "train" else {}),
            }
        )
        for part, folder in FOLDERS.items()
    }
    tables = {f"MELD.Raw/{part}_sent_emo.csv": f"{part} table".encode() for part in ("dev", "test")}
    return packed({"MELD.Raw/README.txt": b"read me", **inner, **tables})


WHOLE = sorted(
    [
        "MELD.Raw/README.txt",
        *(f"MELD.Raw/{part}_sent_emo.csv" for part in FOLDERS),
        *(f"MELD.Raw/{folder}/dia0_utt0.mp4" for folder in FOLDERS.values()),
    ]
)


def files_of(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "MELD.Raw.tar.gz"
    path.write_bytes(release())
    return path


def test_archives_inside_an_archive_are_unpacked_too(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "out")

    assert files_of(tmp_path / "out") == WHOLE
    assert (tmp_path / "out/MELD.Raw/dev_splits_complete/dia0_utt0.mp4").read_bytes() == b"dev film"


def test_an_inner_archive_that_is_not_wanted_is_left_out(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path / "out", wanted=lambda name: name != "dev.tar.gz")

    assert files_of(tmp_path / "out") == [name for name in WHOLE if "dev_splits" not in name]


def test_a_folder_that_is_there_is_added_to(archive: Path, tmp_path: Path) -> None:
    mine = tmp_path / "MELD.Raw" / "train_splits" / "mine.wav"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")

    unpack(archive, tmp_path)

    assert mine.read_bytes() == b"mine"
    assert (mine.parent / "dia0_utt0.mp4").read_bytes() == b"train film"


def test_a_program_that_is_ended_leaves_whole_folders(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def end(name: str) -> bool:
        if name == "dev.tar.gz":
            raise Killed
        return True

    with pytest.raises(Killed):
        unpack(archive, out, wanted=end)

    assert files_of(out) == ["MELD.Raw/train_sent_emo.csv", "MELD.Raw/train_splits/dia0_utt0.mp4"]


def test_what_a_killed_program_left_aside_is_removed(archive: Path, tmp_path: Path) -> None:
    aside = tmp_path / "out" / ".MELD.Raw.tar.gz.unpacking"
    (aside / "MELD.Raw").mkdir(parents=True)
    (aside / "MELD.Raw" / "half.csv").touch()

    unpack(archive, tmp_path / "out")

    assert files_of(tmp_path / "out") == WHOLE


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
def test_an_archive_that_is_cut_short_is_named(keep: float, archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep)])

    with pytest.raises(CorpusError, match=r"MELD.Raw.tar.gz is damaged.*; delete it and give the"):
        unpack(archive, tmp_path / "out")

    assert not list((tmp_path / "out").rglob("*.unpacking"))


def test_an_inner_archive_that_is_damaged_is_named_and_not_unpacked(tmp_path: Path) -> None:
    good = packed({"train_splits/dia0_utt0.mp4": bytes(50_000)})
    bad = packed({"dev_splits_complete/dia0_utt0.mp4": np.random.default_rng(5).bytes(50_000)})
    bad = bad[:25_000] + bytes([bad[25_000] ^ 1]) + bad[25_001:]  # its checksum is wrong
    archive = tmp_path / "MELD.Raw.tar.gz"
    archive.write_bytes(packed({"MELD.Raw/train.tar.gz": good, "MELD.Raw/dev.tar.gz": bad}))

    with pytest.raises(CorpusError, match=r"MELD.Raw.tar.gz is damaged at dev.tar.gz \(.*; delete"):
        unpack(archive, tmp_path / "out")

    assert files_of(tmp_path / "out") == ["MELD.Raw/train_splits/dia0_utt0.mp4"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "MELD.Raw.tar.gz"
    archive.write_bytes(b"<!DOCTYPE html>")

    with pytest.raises(CorpusError, match=r"is damaged .*; delete it and give the same command"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "links"),
    [
        ({"../evil.csv": b"x"}, {}),
        ({"a/../../evil.csv": b"x"}, {}),
        ({"../evil/train.tar.gz": packed({"film": b"x"})}, {}),
        ({}, {"link": "../../evil"}),
        ({"MELD.Raw/train.tar.gz": packed({"../../../evil.csv": b"x"})}, {}),
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(
    files: dict[str, bytes], links: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(packed(files, links))

    with pytest.raises(CorpusError, match=r"leaves its folder .* not unpacked; fetch it from its"):
        unpack(archive, tmp_path / "in" / "out")

    assert not list(tmp_path.rglob("evil*"))


def test_a_disk_without_room_for_an_inner_archive_is_told(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = types.SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)

    with pytest.raises(
        StorageError, match=r"train.tar.gz needs \d+ bytes of free disk, but .* 100"
    ):
        unpack(archive, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_told(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "MELD.Raw").mkdir(parents=True)
    (out / "MELD.Raw" / "train_splits").write_text("a file where a folder goes")

    with pytest.raises(StorageError, match=r"train.tar.gz cannot be unpacked .*; see to the disk"):
        unpack(archive, out)


def test_an_old_python_is_told(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter")

    with pytest.raises(CorpusError, match=r"use Python 3.11.4 or later, or unpack it by hand: tar"):
        unpack(archive, tmp_path / "out")


# MELD, from the address to the folder


@pytest.fixture
def meld_server(server: Server) -> Server:
    server.content = release()
    return server


def test_meld_is_fetched_and_unpacked(meld_server: Server, tmp_path: Path) -> None:
    told = Told()

    meld_release.download(tmp_path / "MELD", url=meld_server.url, progress=told)

    assert files_of(tmp_path / "MELD") == sorted(["MELD.Raw.tar.gz", *WHOLE])
    assert meld_release.LICENCE in told.sentences[0]
    assert "is not needed any longer" in told.sentences[-1]


def test_meld_that_is_there_is_not_fetched(meld_server: Server, tmp_path: Path) -> None:
    meld_release.download(tmp_path, url=meld_server.url)
    (tmp_path / "MELD.Raw.tar.gz").unlink()
    meld_server.asked.clear()
    told = Told()

    meld_release.download(tmp_path, url=meld_server.url, progress=told)

    assert meld_server.asked == []
    assert "holds the tables and the clips of MELD already" in told.sentences[0]


def test_meld_goes_on_after_every_break(meld_server: Server, tmp_path: Path) -> None:
    meld_server.drop_after = 200
    for _ in range(len(meld_server.content) // 200):
        with pytest.raises(CorpusError, match="broke after"):
            meld_release.download(tmp_path, url=meld_server.url)

    meld_release.download(tmp_path, url=meld_server.url)

    assert files_of(tmp_path) == sorted(["MELD.Raw.tar.gz", *WHOLE])


def test_parts_that_are_unpacked_are_not_unpacked_again(
    meld_server: Server, tmp_path: Path
) -> None:
    meld_release.download(tmp_path, url=meld_server.url)
    shutil.rmtree(tmp_path / "MELD.Raw" / "dev_splits_complete")
    mine = tmp_path / "MELD.Raw" / "train_splits" / "dia0_utt0.mp4"
    mine.write_bytes(b"changed by me")
    meld_server.asked.clear()

    meld_release.download(tmp_path, url=meld_server.url)

    assert files_of(tmp_path) == sorted(["MELD.Raw.tar.gz", *WHOLE])
    assert mine.read_bytes() == b"changed by me"
    assert meld_server.asked == []


def test_meld_that_was_unpacked_by_hand_in_part_is_not_fetched(
    meld_server: Server, archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    archive.unlink()

    meld_release.download(tmp_path, url=meld_server.url)

    assert meld_server.asked == []
    inner = [f"MELD.Raw/{part}.tar.gz" for part in FOLDERS]
    assert files_of(tmp_path) == sorted([*WHOLE, *inner])


def test_another_archive_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = packed({"MELD.Features/text.pkl": b"features"})

    with pytest.raises(
        CorpusError, match=r"has no train_sent_emo.csv, .* not the archive of MELD;"
    ):
        meld_release.download(tmp_path, url=server.url)


def test_meld_without_agreement_is_not_fetched(meld_server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="was not agreed to"):
        meld_release.download(tmp_path, url=meld_server.url, confirm=lambda sentence: False)

    assert files_of(tmp_path) == []


def test_the_digest_of_meld_goes_with_its_address_alone(
    meld_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meld_release, "URL", meld_server.url)

    with pytest.raises(CorpusError, match=f"but {meld_release.SHA256} was expected"):
        meld_release.download(tmp_path, url=meld_server.url)


def test_gzip_begins_as_it_is_said_to() -> None:
    assert gzip.compress(b"anything").startswith(GZIP)


def test_what_is_kept_beside_a_partial_file_says_which_file_it_is(
    server: Server, file: Path
) -> None:
    broken_off(server, file)

    state = json.loads(file.with_name("file.tar.gz.partial.json").read_text())

    assert state == {"size": len(CONTENT), "tag": '"one"'}
