"""Time of one epoch of rows III.3 and III.8, against the lineage's way and against arithmetic.

    python benchmarks/train_epoch.py [--rows 5531] [--steps 50] [--repeats 3] [--precision float32]

Compared are an epoch of mersa with cached frames at the default batch, and the same graph one
utterance at a time, padded path, with both encoders run anew in each step in eval mode without
gradients (`--steps` steps, extrapolated to the rows). Encoders have the true shapes and random
weights: nothing is downloaded. Lengths are drawn as in IEMOCAP-4: 4.55 s and 11.5 words on average.

The floor is the number of operations that torch counts in the batched epoch, forward and backward,
over the rate of matrix products measured between its repeats. Times are processor time of this one
thread, so that a busy machine blurs them less; wall time stands beside them.
"""

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from mersa import build, training
from mersa.batches import FeatureSet
from mersa.config import Config, apply_assignments, make_config
from mersa.encoders import vggish
from mersa.encoders.base import Encoder
from mersa.encoders.huggingface import quiet
from mersa.paper import ROWS

ROWS_OF_IEMOCAP_4 = 5531
EPOCHS = 200
SECONDS, WORDS = 4.55, 11.5
NUM_WORDS = 30_000
ENCODED = 64
"""Utterances that are encoded to time the encoding; the frames of the others are random."""


@dataclass(frozen=True)
class Corpus:
    """Lengths of utterances as in IEMOCAP-4."""

    seconds: np.ndarray
    words: np.ndarray

    def text(self, row: int) -> str:
        """Give whole words of the vocabulary, so that each is one token."""
        random = np.random.default_rng([1, row])
        return " ".join(f"w{n}" for n in random.integers(0, NUM_WORDS, self.words[row]))

    def sound(self, row: int) -> np.ndarray:
        """Give noise at 16 kHz."""
        random = np.random.default_rng([2, row])
        return 0.1 * random.standard_normal(round(16_000 * self.seconds[row]), dtype=np.float32)


def main() -> None:
    """Print a table, and the same as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS_OF_IEMOCAP_4, help="utterances an epoch")
    parser.add_argument("--rows-iii8", type=int, default=1024, help="the same for III.8, scaled up")
    parser.add_argument("--steps", type=int, default=50, help="steps at batch 1")
    parser.add_argument("--repeats", type=int, default=3, help="epochs; the median counts")
    parser.add_argument("--precision", default="float32", choices=("float32", "bf16"))
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    facts: dict[str, object] = {
        "machine": _machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": arguments.precision,
        "load_before": os.getloadavg()[0],
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    with tempfile.TemporaryDirectory() as folder, quiet():
        _write_encoders(Path(folder))
        for row, rows in (("III.3", arguments.rows), ("III.8", arguments.rows_iii8)):
            found = _measure(row, rows, Path(folder), arguments)
            _show(row, found)
            name = row.lower().replace(".", "")
            facts |= {f"{key}_{name}": round(value, 4) for key, value in found.items()}
    facts["load_after"] = os.getloadavg()[0]
    print(json.dumps(facts))


def _measure(name: str, rows: int, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    corpus = _draw(rows)
    audio = f"vggish:{folder / 'vggish'}" if ROWS[name].audio == "vggish" else folder / "wav2vec2"
    settings = [f"text.name={folder / 'bert'}", f"audio.name={audio}"]
    settings.append(f"train.precision={arguments.precision}")
    config = make_config(apply_assignments(ROWS[name].settings(), settings))
    text = build.text_encoder(config.text)
    sound = build.audio_encoder(config.audio)
    chosen = np.random.default_rng(3).permutation(rows)
    with _timed() as encoding:
        for row in chosen[:ENCODED].tolist():
            text.encode([corpus.text(row)])
            sound.encode([corpus.sound(row)])
    encode_s = encoding[0] / corpus.seconds[chosen[:ENCODED]].sum() * SECONDS
    alone_s, network_alone_s = _alone(config, text, sound, corpus, chosen, arguments.steps)
    epochs, walls, rates, operations = _epochs(config, text, sound, corpus, arguments.repeats)
    epoch_s, rate = float(np.median(epochs)) / rows, float(np.median(rates))
    floor_s = operations / rate / rows
    all_rows = ROWS_OF_IEMOCAP_4
    return {
        "speedup": alone_s / epoch_s,
        "speedup_200_epochs": EPOCHS * alone_s / (encode_s + EPOCHS * epoch_s),
        "times_floor": epoch_s / floor_s,
        "epoch_s": epoch_s * all_rows,
        "epoch_wall_s": float(np.median(walls)) / rows * all_rows,
        "floor_s": floor_s * all_rows,
        "alone_epoch_s": alone_s * all_rows,
        "alone_network_s": network_alone_s * all_rows,
        "encoding_s": encode_s * all_rows,
        "giga_operations_an_utterance": operations / rows / 1e9,
        "giga_operations_a_second": rate / 1e9,
        "rows": rows,
        "batch": config.train.batch_size,
    }


def _alone(
    config: Config,
    text: Encoder,
    sound: Encoder,
    corpus: Corpus,
    order: np.ndarray,
    steps: int,
) -> tuple[float, float]:
    """Return seconds a step of batch 1, all and without the encoders, for the mean length."""
    network = build.network(config, text, sound, 4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.0)
    network.train()
    total = within = 0.0
    warm_up = 3
    for number, row in enumerate(order[: steps + warm_up].tolist()):
        words, waveform = corpus.text(row), corpus.sound(row)
        with _timed() as whole:
            frames = [
                torch.from_numpy(encoder.encode([item]).split()[0])[None]
                for encoder, item in ((text, words), (sound, waveform))
            ]
            masks = [torch.ones(1, one.shape[1], dtype=torch.bool) for one in frames]
            with _timed() as inner:
                logits = network.padded(frames[0], masks[0], frames[1], masks[1])
                functional.cross_entropy(logits, torch.tensor([row % 4])).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        if number >= warm_up:
            total, within = total + whole[0], within + inner[0]
    mean = corpus.seconds[order[warm_up : steps + warm_up]].mean() / SECONDS
    return total / steps / mean, within / steps


def _epochs(
    config: Config, text: Encoder, sound: Encoder, corpus: Corpus, repeats: int
) -> tuple[list[float], list[float], list[float], int]:
    """Return processor seconds and wall seconds of epochs, rates between them, and operations."""
    features = _random_frames(corpus, text, sound)
    network = build.network(config, text, sound, 4)
    settings = config.train.model_copy(update={"epochs": 1})
    fabric = Fabric(accelerator="cpu", devices=1)
    walls: list[float] = []
    seconds: list[float] = []
    rates: list[float] = []
    few = replace(
        features,
        ids=features.ids[:96],
        text=features.text[:96],
        audio=features.audio[:96],
        labels=features.labels[:96],
    )
    training.fit(network, few, None, settings, fabric=fabric)  # first calls are slow
    for number in range(repeats + 1):
        counting = number == repeats
        counter = FlopCounterMode(display=False)
        rates.append(_rate(config.train.precision))
        wall = time.perf_counter()
        with counter if counting else nullcontext(), _timed() as epoch:
            training.fit(network, features, None, settings, fabric=fabric)
        if not counting:  # counting takes time
            seconds.append(epoch[0])
            walls.append(time.perf_counter() - wall)
    return seconds, walls, rates, counter.get_total_flops()


def _rate(precision: str) -> float:
    """Measure operations a second of products as large as those of the network's projections."""
    left = [torch.randn(432, 768) for _ in range(16)]
    right = [torch.randn(768, 768) for _ in range(16)]
    times = []
    with training.products_in(precision):
        for _ in range(5):
            with _timed() as pass_:
                for one, other in zip(left, right, strict=True):
                    one @ other
            times.append(pass_[0])
    return 16 * 2 * 432 * 768 * 768 / float(np.median(times))


def _random_frames(corpus: Corpus, text: Encoder, sound: Encoder) -> FeatureSet:
    generator = torch.Generator().manual_seed(4)

    def frames(lengths: list[int], width: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(length, width, generator=generator) for length in lengths)

    heard = [max(1, length) for length in _audio_lengths(corpus, sound)]
    return FeatureSet(
        tuple(map(str, range(len(corpus.words)))),
        frames((corpus.words + 2).tolist(), text.width),
        frames(heard, sound.width),
        torch.from_numpy(np.random.default_rng(5).integers(0, 4, len(corpus.words))),
    )


def _audio_lengths(corpus: Corpus, sound: Encoder) -> list[int]:
    if sound.width == 128:  # VGGish: one frame for each 0.96 s
        return (corpus.seconds / 0.96).astype(int).tolist()
    return ((16_000 * corpus.seconds - 400) / 320 + 1).astype(int).tolist()


def _draw(rows: int) -> Corpus:
    """Draw seconds (median 3.58 before they are scaled) and words that follow them."""
    random = np.random.default_rng(0)
    spread = math.sqrt(2 * math.log(SECONDS / 3.58))
    seconds = np.clip(3.58 * np.exp(spread * random.standard_normal(rows)), 0.58, 34.1)
    seconds *= SECONDS / seconds.mean()
    words = seconds * np.exp(0.3 * random.standard_normal(rows))
    words = np.maximum(1, np.rint(words * WORDS / words.mean())).astype(int)
    return Corpus(seconds, words)


def _write_encoders(folder: Path) -> None:
    """Write BERT-base, wav2vec2-base and VGGish in their true shapes, with random weights."""
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder / "bert")
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(NUM_WORDS))]
    entries += [f"[unused{n}]" for n in range(30_522 - len(entries))]
    (folder / "bert" / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    (folder / "bert" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 512}), encoding="utf-8"
    )
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "wav2vec2")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "wav2vec2")
    (folder / "vggish").mkdir()
    save_file(vggish.Network().state_dict(), folder / "vggish" / "model.safetensors")


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Give a list that holds the processor seconds of the block when it is left."""
    seconds: list[float] = []
    start = time.process_time()
    yield seconds
    seconds.append(time.process_time() - start)


def _show(row: str, found: dict[str, float]) -> None:
    lines: list[tuple[str, Callable[[], str]]] = [
        (
            "one utterance at a time, encoders in each step, s",
            lambda: f"{found['alone_epoch_s']:.0f}",
        ),
        ("  of it the network and its optimiser, s", lambda: f"{found['alone_network_s']:.0f}"),
        ("mersa, cached frames, default batch, s", lambda: f"{found['epoch_s']:.2f}"),
        ("  wall time, s", lambda: f"{found['epoch_wall_s']:.2f}"),
        ("times faster", lambda: f"{found['speedup']:.1f}"),
        ("encoding once, s", lambda: f"{found['encoding_s']:.0f}"),
        (
            "200 epochs with encoding once, times faster",
            lambda: f"{found['speedup_200_epochs']:.1f}",
        ),
        ("floor of arithmetic, s", lambda: f"{found['floor_s']:.2f}"),
        (
            "  of 1e9 operations an utterance",
            lambda: f"{found['giga_operations_an_utterance']:.3f}",
        ),
        ("  at 1e9 operations a second", lambda: f"{found['giga_operations_a_second']:.0f}"),
        ("times the floor", lambda: f"{found['times_floor']:.2f}"),
    ]
    print(f"\n{row}, an epoch of {ROWS_OF_IEMOCAP_4} rows (measured on {found['rows']:.0f})")
    for label, value in lines:
        print(f"  {label:<52} {value():>9}")


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((one.partition(": ")[2] for one in lines if one.startswith("model name")), "")


if __name__ == "__main__":
    main()
