"""What the test of two processes runs, in one process and in each of two workers."""

from pathlib import Path

import torch
from lightning_fabric import Fabric

from mersa import parallel
from mersa.alignment.embedding import Embedder
from mersa.alignment.fit import fit
from mersa.alignment.sampling import Examples
from mersa.alignment.settings import make_align_config
from mersa.encoders.text import TextEncoder

TEXTS = (
    "i am so happy",
    "so happy now",
    "not happy",
    "sad",
    "so sad , i go",
    "i don't leave",
    "go",
)
EXAMPLES = Examples(TEXTS, (0, 0, 0, 1, 1, 1, 1), {})


def fitted(fabric, folder, miner):
    """Fit without dropout, and give all that can be compared."""
    settings = make_align_config(
        {"align": {"epochs": 2, "batch_size": 6, "miner": miner, "learning_rate": 1e-3}}
    ).align
    encoder = TextEncoder(str(folder))
    model = encoder.load()[0].requires_grad_(True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    embedder = Embedder(model, "mean")
    steps = []
    add_up = parallel.sum_gradients

    def recorded(fabric, parameters, failure=None):
        parameters = list(parameters)
        add_up(fabric, parameters, failure)
        steps.append([None if one.grad is None else one.grad.numpy().copy() for one in parameters])

    parallel.sum_gradients = recorded
    try:
        result = fit(
            embedder, encoder, EXAMPLES, settings, fabric=fabric, measure=lambda embedder: 0.5
        )
    finally:
        parallel.sum_gradients = add_up
    return {"steps": steps, "losses": [row["loss"] for row in result.history]}


def shared(*, folder: Path, progress):
    """Be one of the workers."""
    fabric = parallel.join("cpu")
    with parallel.together(fabric):
        return {
            miner: parallel.gather(fabric, fitted(fabric, folder, miner))
            for miner in ("none", "multi-similarity", "triplet")
        }


def alone(folder, miner):
    return fitted(Fabric(accelerator="cpu", devices=1), folder, miner)
