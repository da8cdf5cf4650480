"""The loop: fit on train, choose the epoch on validation, never see test.

Every epoch draws its order and its dropout from the seed and the epoch's number alone. So a run
that was killed goes on from its last stored epoch to the very end that it would have had.

Several processes take shares of the same batches and add up their gradients before each step, so
that their weights stay the same. Dropout alone differs from one process: each draws its own.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mersa import parallel
from mersa.batches import FeatureSet, epoch_rows, num_frames, parts_of_batch, sorted_batches
from mersa.bootstrap import Array
from mersa.checkpoint import Stateful, load_state, store_state
from mersa.config import TrainSettings
from mersa.errors import ConfigError, RunError
from mersa.evaluation import log_loss, quick_scores
from mersa.memory import memory_kept
from mersa.modality_dropout import with_modalities_taken
from mersa.own import OwnNetwork
from mersa.progress import OnProgress
from mersa.tuning import default_frames_at_once, parameter_groups

STORE_EVERY_S = 5.0
"""Seconds between two stored states; a shorter run that is killed begins anew."""

EVALUATION_BATCH = 64

_log = logging.getLogger(__name__)


@dataclass
class Fit:
    """Where a fit stands.

    Attributes:
        best: Weights of the best epoch so far, by name.
        best_epoch: Its number, from 0; -1 before the first.
        best_score: Its validation score; larger is better.
        history: One row an epoch: `epoch, learning_rate, train_loss, padding_share` (of the
            frames that were computed with), `validation_loss` and the validation scores.
    """

    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    best_score: float = -math.inf
    history: list[dict[str, float]] = field(default_factory=list)


@memory_kept()
def fit(
    network: nn.Module,
    train: FeatureSet,
    validation: FeatureSet | None,
    settings: TrainSettings,
    *,
    fabric: Fabric,
    epochs: int | None = None,
    state: Path | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Fit:
    """Fit a network, and leave it with the weights of its best validation epoch.

    Args:
        network: Freshly made from `settings.seed`; of a `TunedNetwork` the encoders are trained
            too, with a rate of their own.
        train: What is learnt from.
        validation: What chooses the epoch; None keeps the last one.
        settings: The loop's settings.
        epochs: Stop after so many, with the rates of `settings.epochs`; None: no sooner than
            the settings say.
        fabric: Device, precision and processes; each of several calls this with the same network.
        state: File of the stored state; a fit goes on from it if it is there.
        on_progress: Called after each epoch.

    Raises:
        ConfigError: If the loss stops being a number.
        RunError: If the stored state does not fit the network.
    """
    num_labels = _num_labels(network)
    optimizer = torch.optim.AdamW(
        parameter_groups(network, encoder_learning_rate=settings.encoder_learning_rate),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over the weights; three times as fast on a CPU
    )
    scheduler = LambdaLR(optimizer, lambda epoch: rate_factor(epoch, settings))
    weights = _class_weights(train.labels, num_labels) if settings.class_weights else None
    model, stepper = fabric.setup(network, optimizer)
    parts: dict[str, Stateful] = {
        "network": network,
        "optimizer": optimizer,
        "scheduler": scheduler,
    }
    # After the set-up, so that what is loaded lands on the device of the weights.
    result = Fit()
    if state and parallel.gather(fabric, state.exists())[0]:
        result = load_state(state, parts, Fit, of="fit")
    if weights is not None:
        weights = weights.to(fabric.device)
    stored_at = time.monotonic()
    budget = _Budget(settings.frames_at_once or default_frames_at_once(network, fabric.device))
    for epoch in range(len(result.history), epochs or settings.epochs):
        if validation is not None and epoch - result.best_epoch > settings.patience:
            break
        torch.manual_seed(_epoch_seed(settings.seed, epoch, fabric.global_rank))
        rate = optimizer.param_groups[0]["lr"]
        seen = _seen_in(train, settings, epoch)
        with _flushing_denormals(), products_in(settings.precision):
            train_loss, padding_share = _train_epoch(
                model, stepper, seen, settings, epoch, weights, fabric, budget
            )
        _check_finite("training", train_loss, epoch, settings)
        scheduler.step()
        row: dict[str, float] = {
            "epoch": epoch,
            "learning_rate": rate,
            "train_loss": train_loss,
            "padding_share": padding_share,
        }
        score = float(epoch)
        if validation is not None:
            row |= _validate(network, validation, fabric, budget)
            _check_finite("validation", row["validation_loss"], epoch, settings)
            score = row[f"validation_{settings.monitor}"]
            score = -score if settings.monitor == "loss" else score
        result.history.append(row)
        if score > result.best_score:
            result.best_score, result.best_epoch = score, epoch
            result.best = {
                name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()
            }
        on_progress(epoch + 1, epochs or settings.epochs)
        waited = time.monotonic() - stored_at > STORE_EVERY_S
        if state and waited and parallel.is_first(fabric):
            store_state(state, parts, result)
            stored_at = time.monotonic()
    network.load_state_dict(result.best)
    return result


@torch.inference_mode()
def predict(
    network: nn.Module,
    features: FeatureSet,
    *,
    device: torch.device,
    frames_at_once: int | None = None,
    fabric: Fabric | None = None,
) -> Array:
    """Return the probability of each label for each utterance, (N, C), in the set's order.

    Args:
        network: On the device.
        features: What is answered for.
        device: Where to answer.
        frames_at_once: Most frames that are held at once; None: what suits the network.
        fabric: Of several processes each takes its share of the batches, and all get all answers.
    """
    network.eval()
    rows: dict[int, Any] = {}
    budget = frames_at_once or default_frames_at_once(network, device)
    packed = device.type == "cpu"
    for batch in sorted_batches(
        features, EVALUATION_BATCH, packed=packed, budget=budget, fabric=fabric
    ):
        logits = network(*batch.to(device).inputs())
        if not logits.isfinite().all():
            raise RunError(
                "the network answers with no finite numbers; its weights or frames are damaged, so "
                "train anew with a lower train.learning_rate"
            )
        for row, probabilities in zip(
            batch.rows, logits.double().softmax(-1).cpu().numpy(), strict=True
        ):
            rows[row] = probabilities
    answered = {row: one for some in parallel.gather(fabric, rows) for row, one in some.items()}
    return np.stack([answered[row] for row in range(len(features))])


def rate_factor(epoch: int, settings: TrainSettings) -> float:
    """Return what the learning rate is multiplied by in an epoch, from 0."""
    if settings.schedule == "step":
        return float(settings.step_factor ** (epoch // settings.step_epochs))
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / settings.epochs)))
    return 1.0


@dataclass
class _Budget:
    """How many frames are held at once; None: those of a whole batch. It only ever shrinks."""

    frames: int | None


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: FeatureSet,
    settings: TrainSettings,
    epoch: int,
    weights: Tensor | None,
    fabric: Fabric,
    budget: _Budget,
) -> tuple[float, float]:
    """Take one pass over train; return the mean loss of its utterances and the padding's share."""
    model.train()
    total = torch.zeros((), device=fabric.device)  # read once, since reading waits for the device
    packed = fabric.device.type == "cpu"
    real = held = 0
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for rows in epoch_rows(train, settings.batch_size, seed=_epoch_seed(settings.seed, epoch)):
        losses, parts = _add_gradients(
            model, optimizer, train, rows, settings, weights, fabric, budget
        )
        total += losses
        parallel.sum_gradients(fabric, parameters)
        if settings.clip_norm:
            fabric.clip_gradients(  # what is not finite shows in the loss, and is told there
                model, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        real += sum(train.length(row) for part in parts for row in part)
        held += sum(num_frames(train, part, packed=packed) for part in parts)
    loss, all_real, all_held = parallel.sum_numbers(fabric, (total, real, held))
    return loss / len(train), 1 - all_real / all_held


def _add_gradients(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: FeatureSet,
    rows: list[int],
    settings: TrainSettings,
    weights: Tensor | None,
    fabric: Fabric,
    budget: _Budget,
) -> tuple[Tensor, list[list[int]]]:
    """Add up what this process's share of a batch adds to the gradients of the batch's mean loss.

    Where memory runs out it begins anew with smaller parts.

    Returns:
        The sum of the share's losses, and its parts.
    """
    packed = fabric.device.type == "cpu"
    while True:
        parts = list(
            parts_of_batch(train, parallel.share(fabric, rows), budget.frames, packed=packed)
        )
        total = torch.zeros((), device=fabric.device)
        try:
            for part in parts:
                batch = train.batch(part, packed=packed).to(fabric.device)
                losses = F.cross_entropy(
                    model(*batch.inputs()),
                    batch.labels,
                    weight=weights,
                    label_smoothing=settings.label_smoothing,
                    # "mean" would divide by the weights of the batch, which takes them away again
                    # from a batch of one label.
                    reduction="none",
                ).sum()
                fabric.backward(losses / len(rows))
                total += losses.detach()
            return total, parts
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            # In the next turn, so that what the traceback holds is free by then.
            _halve(budget, train, parts, packed=packed)
        optimizer.zero_grad(set_to_none=True)


def _is_out_of_memory(error: BaseException) -> bool:
    told = str(error)  # a CPU's allocator has no error of its own
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in told


def _halve(budget: _Budget, train: FeatureSet, parts: list[list[int]], *, packed: bool) -> None:
    """Halve the frames that are held at once, and say so.

    Raises:
        RunError: If one utterance alone does not fit.
    """
    largest = max(parts, key=lambda part: num_frames(train, part, packed=packed))
    frames = num_frames(train, largest, packed=packed)
    if len(largest) == 1:
        raise RunError(
            f"utterance {train.ids[largest[0]]!r} of {frames} frames does not fit in memory by "
            "itself; cut it with start_s and end_s, or train on a machine with more"
        )
    budget.frames = frames // 2
    _log.warning("out of memory with %d frames at once; going on with %d", frames, budget.frames)


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Take the products of float32 matrices in `float32` or `bf16`; results are float32.

    A processor without bfloat16 products goes on in float32, and a GPU takes TF32.
    """
    before = torch.get_float32_matmul_precision()
    if precision == "bf16":
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _flushing_denormals() -> Iterator[None]:
    """Take numbers too small for a float32's full precision as 0; a CPU is slow with them."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _validate(
    network: nn.Module, validation: FeatureSet, fabric: Fabric, budget: _Budget
) -> dict[str, float]:
    probabilities = predict(
        network, validation, device=fabric.device, frames_at_once=budget.frames, fabric=fabric
    )
    scores = {"loss": log_loss(probabilities, validation.labels.numpy())}
    if math.isfinite(scores["loss"]):
        scores |= quick_scores(validation.labels.numpy(), probabilities)
    return {f"validation_{name}": value for name, value in scores.items()}


def _check_finite(part: str, loss: float, epoch: int, settings: TrainSettings) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the {part} loss of epoch {epoch + 1} is {loss}, but a finite number is needed to go "
            f"on; lower train.learning_rate (it is {settings.learning_rate})"
        )


def _seen_in(train: FeatureSet, settings: TrainSettings, epoch: int) -> FeatureSet:
    """Return what an epoch shows of train: all, or less by modality dropout, in any process."""
    if not settings.modality_dropout:
        return train
    seed = (settings.seed, epoch, 0, 1)  # no process's dropout is drawn from this
    return with_modalities_taken(train, settings.modality_dropout, seed=seed)


def _epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of an epoch: of its order and, with the process's rank, of its dropout."""
    drawn = np.random.SeedSequence([seed, epoch, rank] if rank else [seed, epoch])
    return int(drawn.generate_state(1)[0])


def _num_labels(network: nn.Module) -> int:
    for module in network.modules():
        if isinstance(module, OwnNetwork):
            return module.num_labels
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    return last.out_features


def _class_weights(labels: Tensor, num_labels: int) -> Tensor:
    """Weigh each label by the inverse of its count, so that the weights' mean over rows is 1."""
    counts = torch.bincount(labels, minlength=num_labels).clamp(min=1)
    return len(labels) / (num_labels * counts.float())
