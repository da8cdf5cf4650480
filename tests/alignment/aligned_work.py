"""What the test of two processes runs, in one process and in each of two workers."""

from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from mersa import parallel
from mersa.alignment.embedding import Embedder
from mersa.alignment.fit import fit
from mersa.alignment.sampling import Examples
from mersa.alignment.settings import make_align_config
from mersa.alignment.tune import Recordings, SoundEmbedder
from mersa.encoders.budget import Item
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.tuning import TunedEncoder

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


def of_words(folder):
    """An encoder of words, and what it reads the texts with."""
    encoder = TextEncoder(str(folder))
    return Embedder(encoder.load()[0].requires_grad_(True), "mean"), encoder


def of_sound(folder):
    """An encoder of sound, and noise of as many lengths as there are texts."""
    encoder = SpeechEncoder(str(folder))
    draw = np.random.default_rng(0)
    noises = {
        text: draw.standard_normal(1500 + 900 * row).astype(np.float32)
        for row, text in enumerate(TEXTS)
    }
    items = {
        text: Item(text, lambda noise=noise: noise, len(noise) / 16_000)
        for text, noise in noises.items()
    }
    embedder = SoundEmbedder(TunedEncoder(encoder, encoder.to_tune()), "mean")
    return embedder, Recordings(encoder, items, lambda done, total: None)


def fitted(fabric, folder, miner, at_once=None):
    """Fit without dropout, and give all that can be compared."""
    settings = make_align_config(
        {"align": {"epochs": 2, "batch_size": 6, "miner": miner, "learning_rate": 1e-3}}
    ).align
    embedder, encoder = (of_words if folder.name.startswith("bert") else of_sound)(folder)
    for module in embedder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):  # of attention
            module.dropout = 0.0
    steps = []
    add_up = parallel.sum_gradients

    def recorded(fabric, parameters):
        parameters = list(parameters)
        add_up(fabric, parameters)
        steps.append([None if one.grad is None else one.grad.numpy().copy() for one in parameters])

    parallel.sum_gradients = recorded
    try:
        result = fit(
            embedder,
            encoder,
            EXAMPLES,
            settings,
            fabric=fabric,
            measure=lambda embedder: 0.5,
            at_once=at_once,
        )
    finally:
        parallel.sum_gradients = add_up
    return {"steps": steps, "losses": [row["loss"] for row in result.history]}


def shared(*, words: Path, sound: Path, progress):
    """Be one of the workers; of sound each takes its share in parts."""
    fabric = parallel.join("cpu")
    with parallel.together(fabric):
        found = {
            miner: parallel.gather(fabric, fitted(fabric, words, miner))
            for miner in ("none", "multi-similarity", "triplet")
        }
        return {**found, "sound": parallel.gather(fabric, fitted(fabric, sound, "none", 12))}


def alone(folder, miner):
    return fitted(Fabric(accelerator="cpu", devices=1), folder, miner)
