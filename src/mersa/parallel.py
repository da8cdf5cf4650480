"""Processes that share one piece of work: how they join, agree, add up and fail together.

Each process runs the same function and takes its share. Whenever they meet they first ask whether
one of them met with a user's mistake (`_meet`). So whatever the others wait for, they hear of it
there, and all end with the same error. All functions here take the `Fabric` that `join` gives;
where it is None, or one process works alone, they do nothing.
"""

import atexit
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

from mersa.errors import ConfigError, MersaError, RunError

LONGEST_WAIT = timedelta(hours=2)
"""How long a process waits for the slowest one; one that has died is noticed at once."""

BUCKET_NUMBERS = 2**24
"""Numbers that are added up over processes at a time, 64 MB in float32."""

T = TypeVar("T")


def started() -> bool:
    """Return True if this is one of several processes that torchrun or `launch` started."""
    return {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys()


def join(device: str) -> Fabric:
    """Meet the other processes, and return what runs on this one's device.

    Args:
        device: `cpu`, or `cuda[:n]`; of several processes each takes the GPU of its local rank.

    Raises:
        ConfigError: If there are fewer GPUs than processes.
    """
    kind, _, index = device.partition(":")
    if not started():
        return Fabric(accelerator=kind, devices=[int(index)] if index else 1)
    world = int(os.environ["WORLD_SIZE"])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    if kind == "cuda" and torch.cuda.device_count() < here:
        raise ConfigError(
            f"{here} processes take a GPU each, but torch sees {torch.cuda.device_count()}; start "
            "as many as there are, or choose --device cpu"
        )
    # Objects and flags go over gloo on every device, so that they wait for no GPU.
    strategy = _Unwrapped(
        cluster_environment=TorchElasticEnvironment(),
        process_group_backend="gloo" if kind == "cpu" else f"cpu:gloo,{kind}:nccl",
        timeout=LONGEST_WAIT,
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=world // here, strategy=strategy)
    fabric.launch()
    atexit.register(leave)
    return fabric


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def is_first(fabric: Fabric | None) -> bool:
    """Return True in the one process that writes and tells."""
    return fabric is None or bool(fabric.is_global_zero)


def several(fabric: Fabric | None) -> bool:
    """Return True if others work on the same."""
    return fabric is not None and fabric.world_size > 1


def share(fabric: Fabric | None, things: Sequence[T]) -> Sequence[T]:
    """Return what this process does of a sequence that all know: every n-th, by rank.

    Of a sequence sorted by length all get like shares; some get none of a short one.
    """
    return things if fabric is None else things[fabric.global_rank :: fabric.world_size]


def gather(fabric: Fabric | None, value: T) -> list[T]:
    """Return the values of all processes, by rank; each waits for the last."""
    if not several(fabric):
        return [value]
    _meet()
    return _objects(value)


@contextmanager
def together(fabric: Fabric | None) -> Iterator[None]:
    """Let a user's mistake in one process end the block in all, with the same error.

    Raises:
        RunError: If another process is gone.
    """
    if not several(fabric):
        yield
        return
    try:
        yield
        _meet()
    except _ToldError as told:
        raise told.failure from None
    except (MersaError, OSError) as failure:
        with suppress(_ToldError):
            _meet(failure)
        raise


def sum_gradients(fabric: Fabric | None, parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in place, so that all hold the same.

    A parameter without a gradient counts as 0, and stays without one if it has none anywhere.

    Args:
        fabric: The processes.
        parameters: The same in all, in the same order.
    """
    if not several(fabric):
        return
    _meet()
    parameters = list(parameters)
    held = torch.tensor([one.grad is not None for one in parameters]).int()
    _sum(held)
    with torch.no_grad():
        wanted = [one for one, count in zip(parameters, held.tolist(), strict=True) if count]
        for bucket in _buckets(wanted):
            grads = [torch.zeros_like(one) if one.grad is None else one.grad for one in bucket]
            flat = torch.cat([grad.flatten() for grad in grads])
            _sum(flat)
            summed = torch.split(flat, [grad.numel() for grad in grads])
            for one, grad, new in zip(bucket, grads, summed, strict=True):
                one.grad = grad.copy_(new.view_as(grad))


def sum_numbers(fabric: Fabric | None, numbers: Sequence[float | Tensor]) -> list[float]:
    """Add up each of some numbers over all processes."""
    mine = [float(number) for number in numbers]
    return [sum(column) for column in zip(*gather(fabric, mine), strict=True)]


def gather_rows(fabric: Fabric | None, rows: Tensor) -> Tensor:
    """Put the rows of all processes one after the other, by rank.

    Gradients flow to this process's own rows alone. So if each process computes the same loss from
    all rows, and `sum_gradients` follows, the sum is the gradient of that loss: nothing is to be
    divided by the number of processes.

    Args:
        fabric: The processes.
        rows: (N, ...); N may differ between processes, and may be 0.

    Returns:
        (sum of all N, ...).
    """
    if fabric is None or not several(fabric):
        return rows
    counts = gather(fabric, len(rows))
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows.detach()
    held = [torch.empty_like(padded) for _ in counts]
    with _reaching_the_others():
        distributed.all_gather(held, padded)
    all_rows = [one[:count] for one, count in zip(held, counts, strict=True)]
    all_rows[fabric.global_rank] = rows
    return torch.cat(all_rows)


class _Unwrapped(DDPStrategy):
    """Fabric's processes without its wrapper, which averages by process and not by utterance."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        return module


class _ToldError(Exception):
    """An error that all processes know of; `together` raises what it holds."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


def _meet(failure: Exception | None = None) -> None:
    """Wait for the others, and raise what went wrong in the first process where anything did."""
    failed = torch.tensor([failure is not None]).int()
    _sum(failed)
    if failed:
        told = next(one for one in _objects(failure) if one is not None)
        raise _ToldError(told)


def _objects(value: T) -> list[T]:
    """Return the values of all processes, by rank."""
    values = [value] * distributed.get_world_size()
    with _reaching_the_others():
        distributed.all_gather_object(values, value)
    return values


def _sum(tensor: Tensor) -> None:
    with _reaching_the_others():
        distributed.all_reduce(tensor)


@contextmanager
def _reaching_the_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what torch raises if a process is gone, or says nothing
        raise _ToldError(
            RunError(
                "another process of this command is gone or hangs; see what it said, and give the "
                "same command again to go on"
            )
        ) from error


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Group parameters of one type, so that not all gradients are copied at once."""
    bucket: list[nn.Parameter] = []
    for one in parameters:
        held = sum(other.numel() for other in bucket)
        if bucket and (held + one.numel() > BUCKET_NUMBERS or bucket[0].dtype != one.dtype):
            yield bucket
            bucket = []
        bucket.append(one)
    if bucket:
        yield bucket
