"""A server that a test has started, seen from outside."""

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

WAIT_S = 120


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        url: Where it listens.
        process: Its first process.
        folder: Its folder for temporary files.
        log: What it has written to standard error.
    """

    url: str
    process: subprocess.Popen
    folder: Path
    log: Path

    def client(self, **named: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=WAIT_S, trust_env=False, **named)

    def pids(self, kind: str = "") -> list[int]:
        """Return its processes; `judging` or `measuring`: those that load or lack torch."""
        pids = [self.process.pid, *children(self.process.pid)]
        if not kind:
            return pids
        workers = [one for one in pids[1:] if "spawn_main" in command(one)]
        return [one for one in workers if has_torch(one) == (kind == "judging")]

    def megabytes(self) -> float:
        """Return the resident memory of all its processes."""
        return sum(resident(pid) for pid in self.pids())

    def left(self) -> list[str]:
        """Return the files that it has in its folder."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)


def error_of(answer: httpx.Response) -> str:
    """Return the one sentence that an answer refuses with."""
    told = json.loads(answer.text)
    assert list(told) == ["error"]
    assert "\n" not in told["error"]
    assert "Traceback" not in told["error"]
    return told["error"]


def children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(one) for path in found for one in path.read_text().split()]
    except OSError:
        return []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def has_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def resident(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def is_there(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
