"""The loop of self-alignment: draw batches, pull and push, keep the best space.

Every step draws its dropout, and every epoch its batches, from the seed and their numbers alone. So
a fit that was killed goes on from its last stored step to the very end that it would have had.
"""

import io
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from mersa.alignment.embedding import Embedder, by_length
from mersa.alignment.loss import AlignmentLoss
from mersa.alignment.sampling import Examples, epoch_batches
from mersa.alignment.settings import AlignSettings
from mersa.encoders.text import TextEncoder
from mersa.errors import ConfigError, RunError, first_line
from mersa.files import write_whole
from mersa.progress import Progress, Silent

STORE_EVERY_S = 60.0
"""Seconds between two stored states; a shorter fit that is killed begins anew."""


@dataclass
class Fit:
    """Where a fit stands.

    Attributes:
        before: Validation score of the encoder as it came.
        best: Weights of the best epoch so far, by name.
        best_epoch: Its number, from 0; -1 before the first.
        best_score: Its validation score; larger is better.
        history: One row an epoch: `epoch, learning_rate, loss, validation_neighbours`.
        step: Steps done of the epoch at hand.
        total: Sum of their losses.
    """

    before: float = math.nan
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    best_score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    total: float = 0.0


def fit(
    embedder: Embedder,
    encoder: TextEncoder,
    examples: Examples,
    settings: AlignSettings,
    *,
    fabric: Fabric,
    measure: Callable[[Embedder], float],
    state: Path | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> Fit:
    """Align an encoder, and leave it with the weights of its best epoch.

    With several processes each one runs its share of a batch, and the loss sees the vectors of all:
    the step is the one that a single process would take.

    Args:
        embedder: With the weights to begin from, on the device of `encoder`.
        encoder: Cuts texts into tokens.
        examples: What is learnt from.
        settings: The loop's settings.
        fabric: Device, precision and processes, launched.
        measure: Gives the validation score of the space; larger is better.
        state: File of the stored state; a fit goes on from it if it is there.
        name: What is aligned, for what is told.
        progress: What is told of it.

    Raises:
        ConfigError: If the loss stops being a number, or a batch cannot be shared by the processes.
        RunError: If the stored state does not fit.
    """
    progress = progress or Silent()
    trained = [one for one in embedder.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    loss = AlignmentLoss(
        alpha=settings.alpha, beta=settings.beta, base=settings.base, miner=settings.miner
    )
    lengths = encoder.count_tokens(examples.texts)
    model, stepper = fabric.setup(embedder, optimizer)
    result = Fit()
    if state and state.exists():
        result = _load_state(state, embedder, optimizer)
    else:
        result.before = measure(embedder)
        progress.say(f"{name}: before, validation {_told(result.before)}")
    stored_at = time.monotonic()
    for epoch in range(len(result.history), settings.epochs):
        if epoch - result.best_epoch > settings.patience:
            break
        batches = epoch_batches(examples, settings, seed=_seed(settings.seed, epoch))
        _check_shares(len(batches[0]), fabric.world_size)
        on_progress = progress.task(f"aligning {name}, epoch {epoch + 1}")
        model.train()
        for step in range(result.step, len(batches)):
            rate = settings.learning_rate * _rate_factor(
                settings, (epoch + step / len(batches)) / settings.epochs
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(_seed(settings.seed, epoch, step, fabric.global_rank))
            rows = batches[step][fabric.global_rank :: fabric.world_size]
            chunks = by_length([lengths[row] for row in rows], whole=fabric.device.type == "cuda")
            order = [rows[place] for chunk in chunks for place in chunk]
            vectors = model(
                [encoder.tokens([examples.texts[rows[i]] for i in chunk]) for chunk in chunks]
            )
            labels = torch.tensor([examples.labels[row] for row in order], device=fabric.device)
            value = loss(*gathered(vectors, labels, fabric))
            fabric.backward(value)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
            result.total += _finite(value, epoch, settings)
            result.step = step + 1
            on_progress(step + 1, len(batches))
            if state and time.monotonic() - stored_at > STORE_EVERY_S:
                _store_state(state, embedder, optimizer, result, fabric)
                stored_at = time.monotonic()
        score = measure(embedder)
        result.history.append(
            {
                "epoch": epoch,
                "learning_rate": rate,
                "loss": result.total / len(batches),
                "validation_neighbours": score,
            }
        )
        result.step, result.total = 0, 0.0
        progress.say(
            f"{name}: epoch {epoch + 1}, loss {result.history[-1]['loss']:.4f}, validation "
            f"{_told(score)}"
        )
        if score > result.best_score:
            result.best_score, result.best_epoch = score, epoch
            result.best = {
                name: tensor.detach().cpu().clone()
                for name, tensor in embedder.state_dict().items()
            }
    embedder.load_state_dict(result.best)
    return result


def gathered(vectors: Tensor, labels: Tensor, fabric: Fabric) -> tuple[Tensor, Tensor]:
    """Return the vectors and labels of all processes, (W * B, D) and (W * B,).

    Gradients flow back to every process; each one computes the same loss over all vectors, the
    gathering adds their gradients up and the averaging of weights' gradients divides by their
    number, so that the step is that of one process.
    """
    if fabric.world_size == 1:
        return vectors, labels
    every = fabric.all_gather(vectors, sync_grads=True)
    marks = fabric.all_gather(labels)
    return every.flatten(0, 1), marks.flatten()  # type: ignore[union-attr]


def _rate_factor(settings: AlignSettings, done: float) -> float:
    return 1.0 if settings.schedule == "constant" else 1.0 - done


def _check_shares(batch: int, processes: int) -> None:
    if batch % processes:
        raise ConfigError(
            f"a batch holds {batch} texts, which {processes} processes cannot share evenly; set "
            "align.batch_size and align.per_class so that they can, or give another --devices"
        )


def _finite(value: Tensor, epoch: int, settings: AlignSettings) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise ConfigError(
            f"the loss of epoch {epoch + 1} is {number}, but a finite number is needed to go on; "
            f"lower align.learning_rate (it is {settings.learning_rate})"
        )
    return number


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _told(score: float) -> str:
    return f"balanced accuracy by nearest neighbours {score:.3f}"


def _store_state(
    path: Path,
    embedder: Embedder,
    optimizer: torch.optim.Optimizer,
    result: Fit,
    fabric: Fabric,
) -> None:
    if fabric.global_rank:
        return
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError; plain writing does not
    torch.save(
        {
            "model": embedder.state_dict(),
            "optimizer": optimizer.state_dict(),
            "fit": vars(result),
        },
        buffer,
    )
    with write_whole(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def _load_state(path: Path, embedder: Embedder, optimizer: torch.optim.Optimizer) -> Fit:
    try:
        stored: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        embedder.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        return Fit(**stored["fit"])
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        EOFError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        raise RunError(
            f"{path} does not hold the state of this alignment ({first_line(error)}); remove it to "
            "begin anew"
        ) from None
