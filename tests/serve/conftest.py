"""A real server in a process of its own, on a port that is free."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from servers import WAIT_S, Server


@pytest.fixture(scope="session")
def start(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """Run a server for a block, as `with start("--workers", 2, MERSA_TOKEN="x") as server`."""

    @contextmanager
    def run(*words: object, **environment: str) -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("server")
        log = folder.with_suffix(".log")
        known = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", **environment}
        asked = ["serve", small_run, "--port", 0, "--device", "cpu", *words]
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "mersa", *map(str, asked)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=known,
            )
        try:
            line = process.stdout.readline()
            assert line.startswith("listening at "), log.read_text()
            yield Server(line.split()[-1], process, folder, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(WAIT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.stdout.close()

    return run


@pytest.fixture(scope="session")
def server(start: Callable[..., object]) -> Iterator[Server]:
    """One server for all tests that leave it as it is."""
    with start() as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def clips(toy_corpus: Path) -> list[Path]:
    return sorted((toy_corpus / "audio").rglob("*.ogg"))[:8]
