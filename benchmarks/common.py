"""What the benchmarks share: encoders of the real shape, lengths as in IEMOCAP-4, clocks, the end.

Weights are random and nothing is downloaded. Times are of two or more sides taken in turn, so that
what else the machine does meets them alike; encoders on one thread are timed by the processor's
clock, which other work moves less, everything else by the wall's.
"""

import argparse
import json
import os
import platform
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mersa.encoders.base import Encoder
from mersa.encoders.cache import FeatureCache

FloatArray = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
# The 5,531 utterances of IEMOCAP-4: 11.5 words in the mean, 8 in the median, at most 98; 4.55 s,
# 3.58 s and 0.58 to 34.1 s. A log-normal law with these medians and means gives 11.2 s as the 95 %
# quantile, where 11.1 s was counted.
_WORDS = {"median": 8.0, "mean": 11.5, "least": 1.0, "most": 98.0}
_SECONDS = {"median": 3.58, "mean": 4.55, "least": 0.58, "most": 34.1}


def arguments(description: str, **values: int | str) -> argparse.Namespace:
    """Read the command line: `--quick`, `--threads`, and numbers or texts by name and default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="tiny models and sizes: a trial")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", default="cpu", help="of encoders and networks")
    for name, default in values.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads."""
    import torch

    torch.set_num_threads(threads)


def draw_words(count: int, *, seed: int = 0) -> list[int]:
    """Draw numbers of words as in IEMOCAP-4."""
    return [max(1, round(words)) for words in _draw(count, seed=seed, **_WORDS)]


def draw_seconds(count: int, *, seed: int = 0) -> list[float]:
    """Draw lengths of clips as in IEMOCAP-4."""
    return _draw(count, seed=seed, **_SECONDS)


def draw_seconds_by_share(count: int) -> list[float]:
    """Take lengths of clips as in IEMOCAP-4, each of which stands for the same share of the sound.

    Weighed by length, a log-normal law is one whose median is larger by the square of its spread.
    """
    law = _SECONDS | {"median": _SECONDS["mean"] ** 2 / _SECONDS["median"]}
    law["mean"] *= law["median"] / _SECONDS["median"]
    return sorted(_draw(count, seed=0, **law))


def make_texts(words: Sequence[int], *, seed: int = 0) -> list[str]:
    """Write texts of so many words, each word one piece of the vocabulary of `write_bert`."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(_VOCABULARY, number)) + " ." for number in words]


def make_waveforms(seconds: Sequence[float], *, seed: int = 0) -> list[FloatArray]:
    """Draw noise of so many seconds at 16 kHz."""
    random = np.random.default_rng(seed)
    return [
        0.1 * random.standard_normal(round(one * SAMPLE_RATE), dtype=np.float32) for one in seconds
    ]


def into_nothing() -> FeatureCache:
    """Return a cache that holds and keeps nothing, so that no disk is measured."""
    return _Nothing(Path(os.devnull))


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder that goes away at the end."""
    with tempfile.TemporaryDirectory(prefix="mersa-benchmark-") as folder:
        yield Path(folder)


def write_bert(folder: Path, *, quick: bool = False) -> Path:
    """Write bert-base: 12 layers, 768 wide, a vocabulary of 30,522 entries."""
    from transformers import BertConfig, BertModel

    sizes: dict[str, Any] = {}
    if quick:
        sizes = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "vocab_size": 600,
        }
    config = BertConfig(**sizes)
    _write_model(folder, lambda: BertModel(config))
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *_VOCABULARY]
    entries += [f"[unused{number}]" for number in range(config.vocab_size - len(entries))]
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer | {"model_max_length": 512}), encoding="utf-8"
    )
    return folder


def write_wav2vec2(folder: Path, *, quick: bool = False) -> Path:
    """Write wav2vec2-base, whose preprocessor normalises each clip."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    sizes: dict[str, Any] = {}
    if quick:
        sizes = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "conv_dim": (16,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        }
    _write_model(folder, lambda: Wav2Vec2Model(Wav2Vec2Config(**sizes)))
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_vggish(folder: Path) -> Path:
    """Write VGGish as its encoder saves it; it has one size."""
    import torch
    from safetensors.torch import save_file

    from mersa.encoders.vggish import Network

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_file(Network().state_dict(), folder / "model.safetensors")
    return folder


def clock_of(asked: argparse.Namespace) -> Callable[[], float]:
    """Return the clock that an encoder is timed by."""
    alone = asked.device == "cpu" and asked.threads == 1
    return time.process_time if alone else time.perf_counter


def in_turn(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each side, one after the other, `repeats` times; seconds by name of the side.

    Args:
        sides: What is timed; each runs once untimed before.
        repeats: Times a side.
        clock: What the time is read from.
    """
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        # Every other round goes backwards, so that no side always follows the same other one.
        names = list(sides) if repeat % 2 == 0 else list(reversed(sides))
        for name in names:
            start = clock()
            sides[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times longer one side took: the median over the rounds."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def finish(
    name: str,
    rows: Sequence[tuple[str, str]],
    *,
    sizes: Mapping[str, Any],
    seconds: Mapping[str, float],
    ratios: Mapping[str, float],
    threads: int,
    device: str = "cpu",
) -> None:
    """Print the table, and as the last line everything as JSON."""
    facts = machine()
    print(f"{name}: {facts['cpu']}, {facts['cores']} cores, {threads} threads, {date.today()}")
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"  {label:{width}}  {value}")
    print(
        json.dumps(
            {
                "benchmark": name,
                "date": date.today().isoformat(),
                "command": " ".join(["python", *sys.argv]),
                "machine": facts,
                "threads": threads,
                "device": device,
                "sizes": dict(sizes),
                "seconds": {key: round(value, 6) for key, value in seconds.items()},
                "ratios": {key: round(value, 3) for key, value in ratios.items()},
            }
        )
    )


def machine() -> dict[str, Any]:
    """Tell what the benchmark runs on."""
    cpu = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = [line for line in listing.read_text().splitlines() if line.startswith("model name")]
        cpu = lines[0].partition(":")[2].strip() if lines else cpu
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_at_the_end": load,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


class _Nothing(FeatureCache):
    def put(self, encoder: Encoder, key: str, frames: FloatArray) -> None:
        pass


def _draw(
    count: int, *, median: float, mean: float, least: float, most: float, seed: int
) -> list[float]:
    """Take the quantiles of a log-normal law, cut off at both ends, in an order of the seed.

    Quantiles rather than draws: the mean of a few lengths is then already that of all.
    """
    normal = statistics.NormalDist(0.0, (2 * np.log(mean / median)) ** 0.5)
    order = np.random.default_rng(seed).permutation(count)
    places = (order + 0.5) / count
    drawn = [median * float(np.exp(normal.inv_cdf(float(place)))) for place in places]
    return [min(max(one, least), most) for one in drawn]


def _write_model(folder: Path, build: Callable[[], Any]) -> None:
    import torch

    from mersa.encoders.huggingface import quiet

    torch.manual_seed(0)
    with quiet():
        build().save_pretrained(folder)


_VOCABULARY = [one + other for one in string.ascii_lowercase[:20] for other in "aeiouy"]
"""Words of two letters."""
