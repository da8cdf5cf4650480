"""Processes that do work; one that dies is replaced, and what it held is done once more.

Each process is tended by a thread of the server: it takes the jobs that wait, as many as may be
done together, hands them over by a pipe and waits for their results. Files travel as open
descriptors, so nothing in them is copied and no process needs a path.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, BinaryIO, Protocol

from mersa.errors import MersaError, RunError
from mersa.serve.limits import Refused
from mersa.serve.queue import Job, Options, Queue, Room, late, refuse, stopping

logger = logging.getLogger(__name__)

_AGAIN_S = 1.0
"""Pause before a process is made anew that could not begin."""

_TOLD_PLACES = 6
"""Innermost calls that a fault is told with."""

_END_S = 5.0
"""How long an idle process has to end."""

Item = tuple[BinaryIO | None, Options]


class Work(Protocol):
    """What a process does; made in it, once.

    Attributes:
        facts: What the server is told when it is ready.
    """

    facts: Any

    def __call__(self, items: Sequence[Item]) -> Sequence[Any]:
        """Return one result for each item; a `MersaError` where the item itself is wrong."""
        ...


@dataclass(frozen=True)
class Fault:
    """A failure that is ours: its kind and place, without what it says, which may hold words."""

    told: str


class Pool:
    """Processes of one kind of work, and the queue before them.

    Args:
        make: Makes the work, in each process; it must be picklable, as a function of a module is.
        num_processes: How many.
        room: How much may wait.
        name: What logs call it.
    """

    def __init__(
        self, make: Callable[[], Work], num_processes: int, room: Room, *, name: str
    ) -> None:
        self._make = make
        self.name = name
        self.queue = Queue(room)
        self._patience_s = room.patience_s
        self._facts: Future[Any] = Future()
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        self._processes: dict[int, BaseProcess] = {}
        self._num_ready = 0
        self.num_deaths = 0
        self._threads = [
            threading.Thread(target=self._tend, name=f"{name}-{number}", daemon=True)
            for number in range(num_processes)
        ]

    @property
    def num_ready(self) -> int:
        """How many processes wait for work or do it."""
        return self._num_ready

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that were begun and have not ended."""
        return list(self._processes)

    def start(self) -> Any:
        """Begin the processes; return the facts of the first that is ready.

        Raises:
            MersaError: If the work cannot be made.
        """
        for thread in self._threads:
            thread.start()
        return self._facts.result()

    def close(self) -> None:
        """Refuse what waits, let what is being done end, and end the processes."""
        self._is_closed.set()
        self.queue.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def kill(self) -> None:
        """End the processes at once, and what they do."""
        self._is_closed.set()
        with self._lock:
            for process in self._processes.values():
                process.kill()

    def _tend(self) -> None:
        """Keep one process at work until the pool is closed."""
        while not self._is_closed.is_set():
            process, connection = self._begin()
            try:
                if self._is_ready(process, connection):
                    self._count(1)
                    try:
                        while (batch := self.queue.take()) and self._do(process, connection, batch):
                            pass
                    finally:
                        self._count(-1)
                elif not self._is_closed.is_set():
                    self._is_closed.wait(_AGAIN_S)
            finally:
                self._end(process, connection)

    def _begin(self) -> tuple[BaseProcess, "Connection[Any, Any]"]:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_main, args=(theirs, self._make), name=self.name)
        process.start()
        theirs.close()  # so that its death is the end of the pipe
        with self._lock:
            self._processes[process.pid or 0] = process
        return process, ours

    def _is_ready(self, process: BaseProcess, connection: "Connection[Any, Any]") -> bool:
        """Wait until a process has made its work."""
        try:
            facts = connection.recv()
        except (OSError, EOFError):
            process.join(_END_S)
            facts = RunError(
                f"the {self.name} process ended while it began ({_cause(process)}); give it more "
                "memory, or start fewer workers"
            )
        is_ready = not isinstance(facts, Exception)
        if not is_ready and self._facts.done() and not self._is_closed.is_set():
            logger.error("%s process cannot begin: %s", self.name, facts)
        with suppress(Exception):  # the first one that is ready has told
            if is_ready:
                self._facts.set_result(facts)
            else:
                self._facts.set_exception(facts)
        return is_ready

    def _do(
        self, process: BaseProcess, connection: "Connection[Any, Any]", batch: list[Job]
    ) -> bool:
        """Have jobs done; return False if the process is lost."""
        try:
            connection.send([(job.handle is not None, job.options) for job in batch])
            for job in batch:
                if job.handle is not None:
                    send_handle(connection, job.handle, process.pid or 0)
            left_s = max(0.0, batch[0].deadline - time.monotonic())
            is_late = not connection.poll(min(left_s, self._patience_s))
            if is_late:
                process.kill()
                process.join()
            results = connection.recv()
        except (OSError, EOFError):
            self._lose(process, batch)
            return False
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                job.result.set_exception(result)
            else:
                job.result.set_result(result)
        return not is_late

    def _lose(self, process: BaseProcess, batch: list[Job]) -> None:
        process.join(_END_S)
        self.num_deaths += 1
        logger.error(
            "%s process ended at work (%s); another one is begun", self.name, _cause(process)
        )
        now = time.monotonic()
        again = []
        for job in batch:
            if self._is_closed.is_set():
                refuse(job, stopping())
            elif job.deadline < now:
                refuse(job, late())
            elif job.is_again:
                refuse(
                    job,
                    Refused(
                        503,
                        "the process that worked on this recording ended twice; ask again later, "
                        "or convert the recording to WAV",
                        retry=True,
                    ),
                )
            else:
                again.append(job)
        self.queue.put_back(again)

    def _end(self, process: BaseProcess, connection: "Connection[Any, Any]") -> None:
        connection.close()
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()
        with self._lock:
            self._processes.pop(process.pid or 0, None)
        process.close()

    def _count(self, change: int) -> None:
        with self._lock:
            self._num_ready += change


def _cause(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None:
        return "no longer reached"
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _main(connection: "Connection[Any, Any]", make: Callable[[], Work]) -> None:
    """Be a process of a pool; it ends when the server closes the pipe, or has gone."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)  # the server tells when to end
    try:
        work = make()
    except (MersaError, OSError) as error:
        connection.send(error)
        return
    with suppress(OSError, EOFError):
        connection.send(work.facts)
        while True:
            asked = connection.recv()
            with ExitStack() as stack:
                items: list[Item] = []
                for has_file, options in asked:
                    file = None
                    if has_file:
                        file = stack.enter_context(os.fdopen(recv_handle(connection), "rb"))
                    items.append((file, options))
                results = work(items)
            connection.send(results)


def fault_of(error: Exception) -> Fault:
    """Describe a failure of ours by its kind and its place."""
    places = traceback.extract_tb(error.__traceback__)[-_TOLD_PLACES:]
    lines = [f"{place.filename}:{place.lineno} in {place.name}" for place in places]
    return Fault("\n  ".join([type(error).__name__, *lines]))
