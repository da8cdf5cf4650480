"""A public archive -> a file on this disk, and what is inside it -> a folder.

Both can be broken off at any moment: the same call goes on where the last one ended, and neither
the archive nor a folder of it stands under its name before it is whole.
"""

import gzip
import hashlib
import http.client
import json
import re
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from mersa.errors import CorpusError, StorageError
from mersa.files import one_process, write_whole
from mersa.progress import OnProgress, Progress, Silent

Confirm = Callable[[str], bool]
"""Asked with what is about to be fetched; False stops before anything is."""

GZIP = b"\x1f\x8b"
"""The first bytes of a gzip file."""

_BLOCK = 1 << 20
_PIECE = 1 << 16  # what a connection that breaks can lose
_PATIENCE_S = 60  # without a byte
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_NEVER = {401, 403, 404, 410, 451}
_AGAIN = "give the same command again"


def fetch(
    url: str,
    file: Path,
    *,
    sha256: str = "",
    begins: bytes = b"",
    notice: str = "",
    copies: int = 1,
    progress: Progress | None = None,
    confirm: Confirm | None = None,
) -> Path:
    """Fetch a file over HTTP, and go on with what an earlier call left of it.

    It grows under the name `FILE.partial`, with what the server says of it in
    `FILE.partial.json`, and is renamed when its length is right and so is its digest, where one is
    known. A file that the server has changed in between is fetched anew. The comparison is made
    here, by the digest, else ETag, else Last-Modified, with the length, for some servers
    answer any `If-Range` with the whole file. Proxies are those of HTTP_PROXY, HTTPS_PROXY and
    NO_PROXY; certificates those of the system, or of SSL_CERT_FILE.

    Args:
        url: Where it is, by http or https.
        file: Where to put it; returned at once if it is there.
        sha256: Its digest in hex; empty for the one that the server states, if any. Only
            `X-Linked-Etag`, by which the Hugging Face Hub states it, is taken for one; an ETag of
            64 hex digits may be a digest of another kind.
        begins: The bytes that it begins with.
        notice: What to say beside its size, as its licence.
        copies: How many times its size must be free, as 2 if it is then unpacked beside itself.
        progress: What is told of it; counts are megabytes.
        confirm: Asked before the transfer; None only tells.

    Returns:
        The file.

    Raises:
        CorpusError: If the server cannot be reached, refuses, breaks off, or gives another file
            than expected; or if `confirm` answers False, or another process fetches it.
        StorageError: If the disk has not enough room.
    """
    progress = progress or Silent()
    if file.is_file():
        progress.say(f"{file} is there already")
        return file
    if not url.startswith(("http://", "https://")):
        raise CorpusError(f"{url} is no address by http or https; give one as https://host/file")
    sha256 = sha256.lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise CorpusError(f"sha256 {sha256!r} is no digest; give 64 hex digits, or leave it out")
    file.parent.mkdir(parents=True, exist_ok=True)
    busy = CorpusError(f"another process fetches {file}; wait for it")
    with one_process(file, busy):
        remote = _look(url, file)
        return _fetch(remote, file, sha256, begins, notice, copies, progress, confirm)


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: Progress | None = None,
) -> None:
    """Unpack a `.tar.gz`, and every `.tar.gz` inside it to where it would have stood.

    What an archive holds appears in its folder only when it is whole and its checksum is right; a
    folder that is there already is added to. Hidden files of macOS (`._*`) are left out, and so
    is everything that the filter `data` of `tarfile` refuses.

    Args:
        archive: What to unpack.
        folder: Where to.
        wanted: Asked with the file name of each inner archive; False leaves it out.
        progress: What is told of it; counts are megabytes of the archive.

    Raises:
        CorpusError: If an archive is damaged, or a path in it leaves the folder.
        StorageError: If the disk has not enough room.
    """
    if not hasattr(tarfile, "data_filter"):
        raise CorpusError(
            "this Python cannot unpack archives safely; use Python 3.11.4 or later, or unpack it "
            f"by hand: tar -xzf {archive} -C {folder}"
        )
    report = (progress or Silent()).task(f"unpack {archive.name} (MB)")
    total = archive.stat().st_size
    with archive.open("rb") as file:

        def tell() -> None:
            _megabytes(report, file.tell(), total)

        _unpack(file, archive, archive.name, folder, wanted, tell)
    report(1, 1)


@dataclass(frozen=True)
class _Remote:
    """What a server says of a file.

    Attributes:
        url: As it was given, before any redirection.
        size: In bytes; None if it is not said.
        sha256: Digest in hex, or empty.
        tag: ETag or else Last-Modified, or empty.
        ranges: Whether a part of it can be asked for.
    """

    url: str
    size: int | None
    sha256: str
    tag: str
    ranges: bool

    def identity(self) -> dict[str, object]:
        """Return what is equal as long as the file is the same one."""
        return {"size": self.size, "tag": self.sha256 or self.tag}


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps the digest that only the first answer states."""

    def __init__(self) -> None:
        self.linked = ""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Note the digest, and ask at the other address with the same headers."""
        self.linked = headers.get("X-Linked-Etag") or self.linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(
    remote: _Remote,
    file: Path,
    sha256: str,
    begins: bytes,
    notice: str,
    copies: int,
    progress: Progress,
    confirm: Confirm | None,
) -> Path:
    if sha256 and remote.sha256 and sha256 != remote.sha256:
        raise CorpusError(
            f"{remote.url} has the sha256 {remote.sha256}, but {sha256} was expected; give the "
            "address of the right file, or correct the digest"
        )
    partial = file.with_name(f"{file.name}.partial")
    state = file.with_name(f"{file.name}.partial.json")
    held = _held(remote, partial, state, progress)
    size = remote.size or 0
    _check_space(file.parent, size * copies - held, file)
    _ask(remote, file, held, notice, progress, confirm)
    if not held:
        partial.unlink(missing_ok=True)  # first, or it could be taken for one of the other state
        with write_whole(state) as written:
            written.write_text(json.dumps(remote.identity()), encoding="utf-8")
    if not held or held != remote.size:
        _transfer(remote, partial, held, begins, progress.task(f"fetch {file.name} (MB)"))
    expected = sha256 or remote.sha256
    if expected:
        _check_digest(partial, expected, progress.task(f"check {file.name} (MB)"))
    partial.replace(file)
    state.unlink(missing_ok=True)
    return file


def _held(remote: _Remote, partial: Path, state: Path, progress: Progress) -> int:
    """Return how many bytes of the very file are here and can be gone on with."""
    held = partial.stat().st_size if partial.is_file() else 0
    if not held:
        return 0
    try:
        before = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != remote.identity() or held > (remote.size or held):
        reason = "the file there has changed since"
    elif held < (remote.size or 0) and not remote.ranges:
        reason = "the server cannot go on in the middle of a file"
    elif remote.size is None:
        reason = "the server does not state its length"
    else:
        return held
    progress.say(f"{remote.url} is fetched anew, and not from {_size(held)} on: {reason}")
    return 0


def _ask(
    remote: _Remote,
    file: Path,
    held: int,
    notice: str,
    progress: Progress,
    confirm: Confirm | None,
) -> None:
    size = "an unstated size" if remote.size is None else _size(remote.size)
    here = f", of which {_size(held)} are here" if held else ""
    told = f"fetching {remote.url} ({size}{here}) to {file}"
    told = f"{told}. {notice}" if notice else told
    if confirm is None:
        progress.say(told)
    elif not confirm(told):
        raise CorpusError(
            f"{remote.url} was not agreed to, so nothing was fetched; agree to it, or put the "
            f"archive at {file} yourself"
        )


def _look(url: str, file: Path) -> _Remote:
    """Ask for the first byte: the answer states the length, and whether parts can be had."""
    with _opened(url, {"Range": "bytes=0-0"}, file) as (answer, linked):
        return _remote(url, answer, linked)


def _transfer(remote: _Remote, partial: Path, held: int, begins: bytes, report: OnProgress) -> None:
    """Append what is missing to the partial file."""
    headers = {"Range": f"bytes={held}-"} if held else {}
    with _opened(remote.url, headers, partial) as (answer, linked):
        given = _remote(remote.url, answer, linked)
        found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        start = int(found[1]) if found else 0
        if given.identity() != remote.identity() or start not in (0, held):
            raise CorpusError(
                f"{remote.url} has changed while it was fetched; {_AGAIN}, which begins anew"
            )
        held = start
        reason = ""
        with partial.open("ab" if held else "wb") as out:
            try:
                while block := answer.read(_PIECE):
                    if not held and not block.startswith(begins):
                        raise CorpusError(
                            f"{remote.url} gave a file that begins with {block[:12]!r}, which is "
                            "not the archive; look at it in a browser, or give another address"
                        )
                    _write(out, block, partial, held)
                    held += len(block)
                    _megabytes(report, held, remote.size or held)
            except StorageError:
                raise
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
    if reason or (remote.size is not None and held != remote.size):
        whole = "" if remote.size is None else f" of {_size(remote.size)}"
        on = "goes on from there" if remote.ranges else "begins anew"
        raise CorpusError(
            f"the connection to {remote.url} broke after {_size(held)}{whole} "
            f"({reason or 'it ended too early'}); {_AGAIN}, which {on}"
        )


def _write(out: BinaryIO, block: bytes, partial: Path, held: int) -> None:
    try:
        out.write(block)
        out.flush()
    except OSError as error:
        raise StorageError(
            f"{partial} takes no more than {_size(held)} ({error.strerror}); free some space "
            f"there and {_AGAIN}, which goes on from there"
        ) from None


@contextmanager
def _opened(
    url: str, headers: Mapping[str, str], file: Path
) -> Iterator[tuple[http.client.HTTPResponse, str]]:
    """Give the answer to a request, and the digest that a redirection stated."""
    redirects = _Redirects()
    request = urllib.request.Request(
        url, headers={"User-Agent": "mersa", "Accept-Encoding": "identity", **headers}
    )
    try:
        answer = urllib.request.build_opener(redirects).open(request, timeout=_PATIENCE_S)
    except urllib.error.HTTPError as error:
        error.close()
        told = f"{url} is not given out ({error.code} {error.reason})"
        if error.code in _NEVER:
            raise CorpusError(
                f"{told}; fetch the archive by hand, put it at "
                f"{file.with_name(file.name.removesuffix('.partial'))} and {_AGAIN}"
            ) from None
        raise CorpusError(f"{told}; {_AGAIN} later, what has come is kept") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CorpusError(
            f"{url} cannot be reached ({_reason(error)}); connect to the network, set HTTPS_PROXY "
            f"if it needs a proxy, and {_AGAIN}, what has come is kept"
        ) from None
    with answer:
        yield answer, redirects.linked


def _remote(url: str, answer: http.client.HTTPResponse, linked: str) -> _Remote:
    headers = answer.headers
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    length = headers.get("Content-Length", "")
    whole = int(length) if length.isdigit() and answer.status == 200 else None
    digest = (headers.get("X-Linked-Etag") or linked).strip('"').lower()
    return _Remote(
        url=url,
        size=int(found[2]) if found else whole,
        sha256=digest if _SHA256.fullmatch(digest) else "",
        tag=headers.get("ETag") or headers.get("Last-Modified") or "",
        ranges=found is not None,
    )


def _check_digest(partial: Path, expected: str, report: OnProgress) -> None:
    digest, total, done = hashlib.sha256(), partial.stat().st_size, 0
    with partial.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            _megabytes(report, done, total)
    if digest.hexdigest() != expected:
        raise CorpusError(
            f"{partial} has the sha256 {digest.hexdigest()}, but {expected} was expected; delete "
            f"it and {_AGAIN}, or correct the digest"
        )


def _unpack(
    file: IO[bytes],
    archive: Path,
    name: str,
    folder: Path,
    wanted: Callable[[str], bool],
    tell: Callable[[], None],
) -> None:
    """Unpack one archive beside its folder, and move what it holds into it at the end."""
    aside = folder / f".{name}.unpacking"
    if aside.exists():
        shutil.rmtree(aside)  # of a call that was killed
    aside.mkdir(parents=True)
    try:
        with gzip.open(file) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                tell()
                inner = PurePosixPath(member.name).name
                if inner.startswith("._"):
                    continue
                if member.isfile() and inner.endswith(".tar.gz"):
                    place = (folder / tarfile.data_filter(member, str(folder)).name).parent
                    held = tar.extractfile(member)
                    if held is not None and wanted(inner):
                        _check_space(folder, member.size, place / inner)
                        _unpack(held, archive, inner, place, wanted, tell)
                else:
                    tar.extract(member, aside, filter="data")
            while stream.read(_BLOCK):  # its checksum stands at the end
                pass
        _move(aside, folder)
    except tarfile.FilterError as error:
        raise CorpusError(
            f"{archive} holds a path that leaves its folder ({error}), so it is not unpacked; "
            "fetch it from its publisher"
        ) from None
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        inside = f" at {name}" if name != archive.name else ""
        raise CorpusError(
            f"{archive} is damaged{inside} ({error}); delete it and {_AGAIN}"
        ) from None
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"{name} cannot be unpacked to {folder} ({error.strerror or error}); see to the disk "
            f"and {_AGAIN}, which goes on with {name}"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move what a folder holds into another one: files first, then each folder at once."""
    for path in sorted(source.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        place = target / path.name
        if path.is_dir() and not path.is_symlink() and place.is_dir():
            _move(path, place)
        else:
            path.replace(place)


def _check_space(folder: Path, needed: int, what: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{what} needs {_size(needed)} of free disk, but {folder} has {_size(free)}; free some "
            "space there, or choose another folder"
        )


def _megabytes(report: OnProgress, done: int, total: int) -> None:
    report(done // 10**6, total // 10**6)


def _size(count: int) -> str:
    if count >= 10**8:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.2f} MB" if count >= 10**5 else f"{count:,} bytes"


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(reason).strip() or type(reason).__name__
