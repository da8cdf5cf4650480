import resource
import sys
from pathlib import Path

import pytest
import torch

from mersa import memory
from mersa.memory import free_bytes, memory_kept

GLIBC = pytest.mark.skipif(memory._glibc() is None, reason="the allocator is not glibc's")
SIZE = 2**26  # of 4 bytes each: 256 MB, beyond what glibc keeps by itself


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Let the system tell this much."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)

    def tell(available=None, most=None, current=None):
        files = {"memory.max": most, "memory.current": current}
        if available is not None:
            files["meminfo"] = f"MemTotal: 99 kB\nMemAvailable:    {available} kB\nHugePages: 0"
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).write_text(f"{content}\n")

    return tell


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({"available": 7}, 7 * 1024),
        ({"available": 7, "most": "max", "current": 5}, 7 * 1024),
        ({"available": 7, "most": 6000, "current": 2000}, 4000),
        ({"available": 7, "most": 60_000, "current": 2000}, 7 * 1024),
        ({"available": 7, "most": 2000, "current": 2001}, 0),
        ({"most": 6000, "current": 2000}, 4000),
    ],
)
def test_free_is_what_machine_and_container_leave(told, facts, wanted):
    told(**facts)

    assert free_bytes() == wanted


def test_where_nothing_is_told_half_of_the_machine_is_free(told):
    assert free_bytes() > 2**26


def faults(run):
    """Count how often a page had to be found or cleared."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def fill():
    torch.empty(SIZE).fill_(1)


def steps(num):
    """Allocate as training steps do: blocks of 4 to 32 MB, all free at the end of each."""
    for _ in range(num):
        held = [torch.empty(size).fill_(1) for size in (2**20, 2**22, 3 * 2**21, 2**23, 2**22)]
        held += [torch.empty_like(one).fill_(2) for one in held]


@GLIBC
def test_memory_that_a_step_freed_serves_the_next_one():
    steps(1)
    plain = faults(lambda: steps(4))

    with memory_kept():
        steps(3)
        kept = faults(lambda: steps(4))

    assert kept < plain / 4


@GLIBC
def test_memory_is_given_back_at_the_end():
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    before = resident()
    with memory_kept():
        fill()
        kept = resident()

    assert kept - before > 2 * SIZE
    assert resident() - before < 2 * SIZE


def test_other_libraries_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    memory._glibc.cache_clear()
    try:
        with memory_kept():
            fill()
        assert memory._glibc() is None
    finally:
        memory._glibc.cache_clear()
