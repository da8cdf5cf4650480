"""What every test shares: one thread, no network, a toy corpus and a run trained on it."""

import io
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mersa.config import apply_assignments, make_config
from mersa.corpora import toy
from mersa.corpora.place import place
from mersa.encoders.cache import FeatureCache
from mersa.manifest import read_table, write_table
from mersa.paper import find_row

SMALL = ("s1_d01", "s1_d02", "s1_d03", "s2_d01", "s2_d02", "s1_d07", "s2_d04", "s4_d01", "s4_d02")
"""Dialogues of `small_corpus`: five of train, two of validation, two of test."""

QUICK = (
    "data.labels=iemocap-4",
    "text.name=tiny",
    "audio.name=mel",
    "network.fusion_width=16",
    "network.hidden=[8]",
    "train.batch_size=16",
)
"""Settings of a network that trains in a moment; with two epochs beside them."""


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Fail at once where a test reaches for anything but this machine."""

    def refuse(address: object) -> None:
        # Not an OSError, which mersa would take for a network that is down.
        pytest.fail(f"a test reached for the network: {address}", pytrace=True)

    def guarded(connect: Callable) -> Callable:
        def call(self: socket.socket, address: object, *more: object) -> object:
            if self.family != getattr(socket, "AF_UNIX", None) and not _is_here(address[0]):
                refuse(address)
            return connect(self, address, *more)

        return call

    def look_up(host: object, *more: object, **named: object) -> object:
        if not _is_here(host):
            refuse(host)
        return getaddrinfo(host, *more, **named)

    getaddrinfo = socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", look_up)
        yield


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared toy corpus: a folder with manifest.csv; shared, to be read and not written."""
    folder = tmp_path_factory.mktemp("toy")
    place(toy.read(), folder, copy=True)
    return folder


@pytest.fixture(scope="session")
def small_corpus(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 72 toy utterances in nine dialogues; shared, to be read and not written."""
    return _few(toy_corpus, tmp_path_factory.mktemp("small"))


@pytest.fixture
def own_corpus(toy_corpus: Path, tmp_path: Path) -> Path:
    """A manifest of the same 72 utterances, recordings and all, that a test may spoil."""
    manifest = _few(toy_corpus, tmp_path / "corpus", link=False)
    for row in read_table(manifest):
        target = manifest.parent / row["audio"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((toy_corpus / row["audio"]).read_bytes())
    return manifest


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames that all tests share; whatever is there is whole."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(cache_folder: Path) -> FeatureCache:
    return FeatureCache(cache_folder)


@pytest.fixture(scope="session")
def toy_run(toy_corpus: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of row III.6 on the toy corpus, three epochs; shared, to be read and not written."""
    from mersa.experiment import train

    torch.set_num_threads(1)
    nested = apply_assignments(
        find_row("III.6").settings(),
        ["text.name=tiny", "audio.name=mel", "data.labels=iemocap-6", "train.epochs=3"],
    )
    folder = tmp_path_factory.mktemp("runs") / "toy"
    manifest = toy_corpus / "manifest.csv"
    train(manifest, make_config(nested), folder, cache=FeatureCache(cache_folder), device="cpu")
    return folder


@pytest.fixture(scope="session")
def quick() -> Callable:
    """Give the settings of a run that takes a moment, as `quick("train.seed=1")`."""

    def settings(*assignments: str) -> object:
        return make_config(apply_assignments({}, [*QUICK, "train.epochs=2", *assignments]))

    return settings


@pytest.fixture(scope="session")
def small_run(
    small_corpus: Path,
    cache_folder: Path,
    quick: Callable,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A quick run on the small corpus; shared, to be read and not written."""
    from mersa.experiment import train

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "small"
    train(small_corpus, quick(), folder, cache=FeatureCache(cache_folder), device="cpu")
    return folder


@pytest.fixture
def mersa(
    cache_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Run the command line in this process, as `mersa("train", manifest, "--out", out)`.

    Frames go to the shared cache. A fault of ours is not caught.
    """
    from mersa.cli import main

    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: cache_folder.parent / "user")

    def run(*words: object, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "argv", ["mersa", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def quick_words(cache_folder: Path) -> list[str]:
    """The options of a `mersa train` that takes a moment."""
    settings = [*QUICK, "train.epochs=2"]
    options = [word for setting in settings for word in ("--set", setting)]
    return [*options, "--cache", str(cache_folder), "--device", "cpu"]


def _few(toy_corpus: Path, folder: Path, *, link: bool = True) -> Path:
    rows = [row for row in read_table(toy_corpus / "manifest.csv") if row["dialogue"] in SMALL]
    write_table(rows, rows[0], folder / "manifest.csv")
    if link:
        (folder / "audio").symlink_to(toy_corpus / "audio", target_is_directory=True)
    return folder / "manifest.csv"


def _is_here(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
