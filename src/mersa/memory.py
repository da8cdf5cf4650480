"""How much memory is free, and how to keep what was allocated for the next step."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

# Parameters of glibc's mallopt (malloc.h), and what is left set behind a block: the most that
# glibc's own rule comes to by itself, which any call of mallopt switches off.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MOST_MAPS = 65_536
_DYNAMIC_MAX = 32 * 2**20


def free_bytes() -> int:
    """Return how many bytes a process can take without pushing out others.

    What the system calls available, or what the control group of a container leaves, if that is
    less. Where neither is told (not Linux), half of the machine's memory.
    """
    free: list[int] = []
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        if "MemAvailable" in lines:
            free.append(int(lines["MemAvailable"].split()[0]) * 1024)
    try:
        most = (_CGROUP / "memory.max").read_text().strip()
        if most != "max":
            free.append(int(most) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no control group of the second version, or one without a limit
    if free:
        return max(0, min(free))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 2**32


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep large freed blocks for the next allocation, and give them back at the end.

    By itself glibc asks the system for each block of more than 32 MB and hands it back when it is
    freed, so that every step of a training finds its pages empty and has them cleared again. Other
    C libraries are left as they are.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _MOST_MAPS)
        library.mallopt(_MMAP_THRESHOLD, _DYNAMIC_MAX)
        library.mallopt(_TRIM_THRESHOLD, 2 * _DYNAMIC_MAX)
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    found = all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt"))
    return library if found else None
