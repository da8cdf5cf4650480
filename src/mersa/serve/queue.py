"""What waits for a process: in order, bounded, and taken by seconds of sound."""

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mersa.serve.limits import Refused

Options = Mapping[str, Any]


@dataclass(eq=False)
class Job:
    """One piece of work.

    Attributes:
        handle: Descriptor of its file, closed when its result is there; None if it has no file.
        options: What else it needs; goes through a pipe.
        seconds: How much sound it is.
        deadline: Of `time.monotonic`; later nobody waits for it.
        result: Is set once.
        is_again: Whether a process died or was ended while it held this.
    """

    handle: int | None
    options: Options
    seconds: float
    deadline: float
    result: "Future[Any]" = field(default_factory=Future)
    is_again: bool = False

    def __post_init__(self) -> None:
        if self.handle is not None:
            handle = self.handle
            self.result.add_done_callback(lambda _: os.close(handle))


@dataclass(frozen=True)
class Room:
    """How much may wait, and how much is done together.

    Attributes:
        waiting: Jobs that wait.
        waiting_s: Seconds of sound that wait.
        together: Jobs that one process does at a time.
        together_s: Seconds of sound that it does at a time; a longer job is done by itself.
        patience_s: How long that may take; then the process is taken to hang.
    """

    waiting: int
    waiting_s: float
    together: int = 1
    together_s: float = 0.0
    patience_s: float = float("inf")


class Queue:
    """Jobs that wait, in order; those nobody waits for any more are dropped."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def seconds(self) -> float:
        """How much sound waits."""
        return sum(job.seconds for job in tuple(self._jobs))

    def put(self, job: Job) -> None:
        """Let a job wait.

        Raises:
            Refused: If there is no room.
        """
        with self._changed:
            self._drop_late()
            if self._is_closed:
                raise stopping()
            full = len(self._jobs) >= self._room.waiting
            if full or (self._jobs and self.seconds + job.seconds > self._room.waiting_s):
                raise Refused(
                    503,
                    f"{len(self._jobs)} recordings of {self.seconds:.0f} s wait already, which is "
                    "all that the server takes; ask again later",
                    retry=True,
                )
            self._jobs.append(job)
            self._changed.notify()

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Let jobs whose process died go first, each by itself: one of them may be to blame."""
        with self._changed:
            for job in reversed(jobs):
                job.is_again = True
                if self._is_closed:
                    refuse(job, stopping())
                else:
                    self._jobs.appendleft(job)
            self._changed.notify_all()

    def take(self) -> list[Job]:
        """Wait for jobs and return what is to be done together; nothing once it is closed."""
        with self._changed:
            while not self._is_closed:
                batch = self._next()
                if batch:
                    return batch
                self._changed.wait()
            return []

    def close(self) -> None:
        """Refuse what waits, and what comes."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs:
                refuse(job, stopping())
            self._jobs.clear()
            self._changed.notify_all()

    def _next(self) -> list[Job]:
        self._drop_late()
        batch: list[Job] = []
        seconds = 0.0
        while self._jobs and len(batch) < self._room.together:
            job = self._jobs[0]
            alone = job.is_again or seconds + job.seconds > self._room.together_s
            if batch and alone:
                break
            self._jobs.popleft()
            if job.is_again or job.result.set_running_or_notify_cancel():
                batch.append(job)
                seconds += job.seconds
                if job.is_again:
                    break
        return batch

    def _drop_late(self) -> None:
        now = time.monotonic()
        for job in self._jobs:
            if job.deadline < now:
                refuse(job, late())
        self._jobs = deque(job for job in self._jobs if not job.result.done())


def refuse(job: Job, refusal: Exception) -> None:
    """End a job without its result, unless it was given up."""
    if job.is_again or job.result.running() or job.result.set_running_or_notify_cancel():
        job.result.set_exception(refusal)


def stopping() -> Refused:
    """Return what is told while the server stops."""
    return Refused(503, "the server stops; ask again later", retry=True)


def failed() -> Refused:
    """Return what is told of a fault of ours, whose own words may hold what was sent."""
    return Refused(500, "the server failed, which is a fault of its own; its log says where")


def late() -> Refused:
    """Return what is told once nobody waits any more."""
    return Refused(504, "no answer was found in time; ask again later, or send less", retry=True)
