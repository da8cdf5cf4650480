"""The loop of self-alignment: draw batches, pull and push, keep the best space.

Every step draws its dropout, and every epoch its batches, from the seed and their numbers alone. So
a fit that was killed goes on from its last stored step to the very end that it would have had.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mersa import parallel
from mersa.alignment.embedding import Tokenizes, by_length, in_parts
from mersa.alignment.loss import AlignmentLoss
from mersa.alignment.sampling import Examples, epoch_batches
from mersa.alignment.settings import AlignSettings
from mersa.checkpoint import Stateful, load_state, store_state
from mersa.errors import ConfigError
from mersa.progress import Progress, Silent

STORE_EVERY_S = 60.0
"""Seconds between two stored states; a shorter fit that is killed begins anew."""


@dataclass
class AlignState:
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
    embedder: nn.Module,
    source: Tokenizes,
    examples: Examples,
    settings: AlignSettings,
    *,
    fabric: Fabric,
    measure: Callable[[nn.Module], float],
    measure_before: Callable[[], float] | None = None,
    at_once: int | None = None,
    state: Path | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> AlignState:
    """Align an encoder, and leave it with the weights of its best epoch.

    Args:
        embedder: With the weights to begin from, on the device of `source`.
        source: Cuts texts into tokens, or finds what stands for them.
        examples: What is learnt from.
        settings: The loop's settings.
        fabric: Processes; each runs its share of a batch, and the first measures and stores.
        measure: Gives the validation score of the space; larger is better, NaN where there is none.
        measure_before: The same of the space to compare with; None: the embedder's own.
        at_once: Most tokens or frames whose gradients are held at once. A larger batch is taken in
            parts, each run twice, that make the same step. None: the whole batch.
        state: File of the stored state; a fit goes on from it if it is there.
        name: What is aligned, for what is told.
        progress: What is told of it.

    Raises:
        ConfigError: If vectors or the loss are no numbers, or a batch has fewer texts than
            processes.
        RunError: If the stored state does not fit.
    """
    progress = progress or Silent()
    optimizer = torch.optim.AdamW(
        [one for one in embedder.parameters() if one.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    step = _Step(embedder, source, examples, settings, fabric, at_once)

    def on_first(score: Callable[[], float]) -> float:
        return parallel.gather(fabric, score() if parallel.is_first(fabric) else 0.0)[0]

    def scored() -> float:
        score = on_first(lambda: measure(embedder))
        if math.isnan(score):  # the last loss was taken before its step moved the weights
            raise ConfigError(
                "the vectors of the encoder are no finite numbers; lower align.learning_rate (it "
                f"is {settings.learning_rate}) or align.weight_decay (it is "
                f"{settings.weight_decay})"
            )
        return score

    parts: dict[str, Stateful] = {"model": embedder, "optimizer": optimizer}
    result = AlignState()
    if state and parallel.gather(fabric, state.exists())[0]:
        result = load_state(state, parts, AlignState, of="alignment")
    else:
        result.before = on_first(measure_before or (lambda: measure(embedder)))
        if math.isnan(result.before):
            raise ConfigError(
                "the encoder gives vectors that are zero or no finite numbers before any step; "
                "check its weights, or align another encoder"
            )
        progress.say(f"{name}: before the first step, validation {_told(result.before)}")
    stored_at = time.monotonic()
    for epoch in range(len(result.history), settings.epochs):
        if epoch - result.best_epoch > settings.patience:
            break
        batches = epoch_batches(examples, settings, seed=_seed(settings.seed, epoch))
        on_progress = progress.task(f"aligning {name}, epoch {epoch + 1}")
        embedder.train()
        for number in range(result.step, len(batches)):
            rate = _rate(settings, (epoch + number / len(batches)) / settings.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(_seed(settings.seed, epoch, number, fabric.global_rank))
            result.total += _finite(step.add_gradients(batches[number]), epoch, settings)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            result.step = number + 1
            on_progress(number + 1, len(batches))
            if state and time.monotonic() - stored_at > STORE_EVERY_S:
                if parallel.is_first(fabric):
                    store_state(state, parts, result)
                stored_at = time.monotonic()
        row = {
            "epoch": epoch,
            "learning_rate": rate,
            "loss": result.total / len(batches),
            "validation_neighbours": scored(),
        }
        result.history.append(row)
        result.step, result.total = 0, 0.0
        progress.say(
            f"{name}: epoch {epoch + 1}, loss {row['loss']:.4f}, validation "
            f"{_told(row['validation_neighbours'])}"
        )
        if row["validation_neighbours"] > result.best_score:
            result.best_score, result.best_epoch = row["validation_neighbours"], epoch
            result.best = {
                key: tensor.detach().cpu().clone() for key, tensor in embedder.state_dict().items()
            }
    embedder.load_state_dict(result.best)
    return result


class _Step:
    """One step's loss and gradients, the same whatever the number of processes."""

    def __init__(
        self,
        embedder: nn.Module,
        source: Tokenizes,
        examples: Examples,
        settings: AlignSettings,
        fabric: Fabric,
        at_once: int | None,
    ) -> None:
        self._embedder = embedder
        self._at_once = at_once
        self._source = source
        self._examples = examples
        self._settings = settings
        self._fabric = fabric
        self._lengths = source.count_tokens(examples.texts)
        self._loss = AlignmentLoss(
            alpha=settings.alpha, beta=settings.beta, base=settings.base, miner=settings.miner
        )

    def add_gradients(self, batch: list[int]) -> float:
        """Add the gradients of a batch to those of the weights, and return its loss.

        Each process embeds its share and computes the loss over the vectors of all; gradients flow
        into its own share, and their sum over the processes is that of the whole batch.
        """
        rows = parallel.share(self._fabric, batch)
        if not rows or len(batch) < self._fabric.world_size:
            raise ConfigError(
                f"a batch holds {len(batch)} texts, fewer than the {self._fabric.world_size} "
                "processes that share it; raise align.batch_size, or give fewer --devices"
            )
        device = self._source.device
        lengths = [self._lengths[row] for row in rows]
        chunks = by_length(lengths, whole=device.type == "cuda", at_once=self._at_once)
        half = self._settings.precision == "bf16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            vectors = self._embedded(
                [
                    [[self._examples.texts[rows[place]] for place in chunk] for chunk in part]
                    for part in in_parts(chunks, lengths, self._at_once)
                ]
            )
        labels = [self._examples.labels[rows[place]] for chunk in chunks for place in chunk]
        loss = self._loss(
            parallel.gather_rows(self._fabric, vectors.float()),
            parallel.gather_rows(self._fabric, torch.tensor(labels, device=device)),
        )
        loss.backward()  # type: ignore[no-untyped-call]
        parallel.sum_gradients(self._fabric, self._embedder.parameters())
        return loss.item()

    def _embedded(self, parts: list[list[list[str]]]) -> Tensor:
        """Return the vectors of all texts, in their order.

        The loss needs those of the whole batch before any gradient is known. So of several parts
        only the vectors are kept, and each is run again, with the same dropout, for its gradients:
        Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".
        """
        read = [[self._source.tokens(some) for some in part] for part in parts]
        if len(read) == 1:
            whole: Tensor = self._embedder(read[0])
            return whole
        return torch.cat([checkpoint(self._embedder, one, use_reentrant=False) for one in read])


def _rate(settings: AlignSettings, done: float) -> float:
    """Return the learning rate after a share of all steps, from 0 to 1."""
    return settings.learning_rate * (1.0 if settings.schedule == "constant" else 1.0 - done)


def _finite(number: float, epoch: int, settings: AlignSettings) -> float:
    if not math.isfinite(number):
        raise ConfigError(
            f"the loss of epoch {epoch + 1} is {number}, but a finite number is needed to go on; "
            f"lower align.learning_rate (it is {settings.learning_rate}) or align.weight_decay (it "
            f"is {settings.weight_decay}), with --again"
        )
    return number


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _told(score: float) -> str:
    return f"balanced accuracy by nearest neighbours {score:.3f}"
