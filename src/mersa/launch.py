"""Start several processes on this machine that do one piece of work, and wait for them.

They are workers of this process, made anew (`spawn`): the caller stays one process, gets one result
and is told one error, in a script, a notebook or the command line. Under torchrun nothing is
started here.
"""

import logging
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes

from mersa import parallel
from mersa.errors import ConfigError, MersaError, RunError
from mersa.parallel import leave, started
from mersa.progress import OnProgress, Progress, Silent

T = TypeVar("T")

_GRACE_S = 5.0
"""How long the others have to end by themselves once one has died."""


def num_to_start(devices: int | None, device: str) -> int:
    """Return how many workers are to be started; 0 if this process does the work itself.

    Args:
        devices: How many processes were asked for; None: one, or as many as torchrun started.
        device: `cpu` or `cuda[:n]`.

    Raises:
        ConfigError: If they cannot be had.
    """
    if devices is not None and devices < 1:
        raise ConfigError(f"devices is {devices}, but at least one process is needed; give 1")
    if started():
        there = int(os.environ["WORLD_SIZE"])
        if devices not in (None, there):
            raise ConfigError(
                f"devices is {devices}, but {there} processes were started; leave --devices out, "
                "since torchrun has the number"
            )
        return 0
    if devices in (None, 1):
        return 0
    kind, _, index = device.partition(":")
    if index:
        raise ConfigError(
            f"device {device!r} is one GPU, but devices is {devices}; name it as {kind}"
        )
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices is {devices}, but torch sees {torch.cuda.device_count()} GPUs; give as many, "
            "or choose --device cpu"
        )
    most = max(2, os.cpu_count() or 1)  # two can be tried out anywhere
    if kind == "cpu" and devices > most:
        raise ConfigError(
            f"devices is {devices}, but {most} processes are the most for the "
            f"{os.cpu_count()} cores of this machine; give at most {most}"
        )
    return devices


def in_processes(
    work: Callable[..., T],
    devices: int | None,
    device: str,
    progress: Progress | None,
    **arguments: Any,
) -> T:
    """Do work in this process, alone or as one of several, or start workers that do it.

    Args:
        work: Of a module; takes `fabric` and `progress` beside the arguments.
        devices: As in `num_to_start`.
        device: `cpu` or `cuda[:n]`.
        progress: What the first process tells.
        arguments: What the work is called with, by name.
    """
    progress = progress or Silent()
    count = num_to_start(devices, device)
    if count:
        named = {"work": work, "devices": None, "device": device, **arguments}
        result: T = launch(in_processes, count, progress=progress, arguments=named)
        return result
    fabric = parallel.join(device)
    with parallel.together(fabric):
        return work(
            fabric=fabric, progress=progress if parallel.is_first(fabric) else Silent(), **arguments
        )


def launch(
    function: Callable[..., Any],
    num_processes: int,
    *,
    progress: Progress,
    arguments: Mapping[str, Any],
) -> Any:
    """Call a function in several workers, and return what the first of them returns.

    Args:
        function: Of a module; takes `progress` beside the arguments, and calls `parallel.join`.
        num_processes: Workers to start.
        progress: Is told what the first worker tells.
        arguments: What the function is called with, by name.

    Raises:
        MersaError: What the workers agreed on, or a RunError if one of them was killed.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            "the script that asks for several devices is run again by each of them; put what it "
            "does below: if __name__ == '__main__':"
        )
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, torch.get_num_threads() // num_processes)
    environment = {
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is here, on a port that none can take
        "OMP_NUM_THREADS": str(threads),
    }
    level = logging.getLogger("mersa").level
    context = start_processes(  # type: ignore[no-untyped-call]
        _work,
        (environment, sender, level, function, arguments),
        nprocs=num_processes,
        join=False,
    )
    sender.close()
    heard = _Heard(progress)
    try:
        while not context.join(timeout=0.1, grace_period=_GRACE_S):
            heard.listen(receiver)
        heard.listen(receiver)
    except ProcessExitedException as error:
        raise RunError(
            f"process {error.error_index + 1} of {num_processes} was ended ({_cause(error)}); what "
            "is stored stays, so give the same command again to go on"
        ) from None
    finally:
        _end(context)
    if isinstance(heard.outcome, Exception):
        raise heard.outcome
    return heard.outcome


def _work(
    rank: int,
    environment: Mapping[str, str],
    sender: "Connection[Any, Any]",
    level: int,
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
) -> None:
    """Be one of the workers; the first one tells, and hands over the result."""
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    if level:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("mersa").setLevel(level if rank == 0 else logging.WARNING)
    progress: Progress = Silent() if rank else _Telling(sender)
    outcome: Any
    try:
        outcome = function(progress=progress, **arguments)
    except (MersaError, OSError) as error:
        outcome = error
    if rank == 0:
        _tell(sender, "outcome", outcome)
    leave()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # taking the interpreter apart takes seconds, in which the caller would wait


def _tell(sender: "Connection[Any, Any]", *what: Any) -> None:
    sender.send_bytes(pickle.dumps(what))  # whole, since the worker may end before it is read


class _Telling:
    """Tells the process that started this one."""

    def __init__(self, sender: "Connection[Any, Any]") -> None:
        self._sender = sender
        self._num_tasks = 0

    def say(self, sentence: str) -> None:
        _tell(self._sender, "say", sentence)

    def task(self, name: str) -> OnProgress:
        number, self._num_tasks = self._num_tasks, self._num_tasks + 1
        _tell(self._sender, "task", name)
        return lambda done, total: _tell(self._sender, "count", number, done, total)


class _Heard:
    """Passes on what the first worker tells, and keeps its outcome."""

    def __init__(self, progress: Progress) -> None:
        self.outcome: Any = None
        self._progress = progress
        self._tasks: list[OnProgress] = []

    def listen(self, receiver: "Connection[Any, Any]") -> None:
        try:
            while receiver.poll():
                self._take(*pickle.loads(receiver.recv_bytes()))
        except EOFError:  # the worker ended; how, tells its exit code
            return

    def _take(self, kind: str, *what: Any) -> None:
        if kind == "say":
            self._progress.say(*what)
        elif kind == "task":
            self._tasks.append(self._progress.task(*what))
        elif kind == "count":
            number, done, total = what
            self._tasks[number](done, total)
        else:
            (self.outcome,) = what


def _cause(error: ProcessExitedException) -> str:
    if error.signal_name == "SIGKILL":
        return "SIGKILL, as where memory runs out"
    return error.signal_name or f"exit code {error.exit_code}"


def _end(context: ProcessContext) -> None:
    """Leave no worker behind, however this process ends."""
    for process in context.processes:
        if process.is_alive():
            process.terminate()
    for process in context.processes:
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
