"""Memory: what encoding 100,000 rows by `mel` and `tiny` takes more than encoding 10,000.

Each number of rows runs in a process of its own, which tells its largest resident set. The rows
are stretches of 0.3 s of one recording, each with words of its own and the columns of IEMOCAP.

And what an epoch's batches take with frames of the width of wav2vec2-base in memory, and read from
the cache each time, as a training does that they would take too much memory of.

python benchmarks/memory.py [--quick] [--rows 100000] [--fewer 10000] [--clips 2000]
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from common import (
    SAMPLE_RATE,
    arguments,
    draw_seconds,
    draw_words,
    finish,
    make_texts,
    make_waveforms,
    scratch,
    use_threads,
)

RECORDING_S = 60.0
STRETCH_S = 0.3
WIDTH, FRAMES_A_SECOND = 768, 50
BATCH = 32
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        _encode(Path(sys.argv[2]), Path(sys.argv[3]), threads=int(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--epoch"]:
        _epoch(Path(sys.argv[2]), int(sys.argv[3]), where=sys.argv[4])
        return
    asked = arguments(__doc__ or "", rows=100_000, fewer=10_000, clips=2000)
    fewer, rows = (50, 150) if asked.quick else (asked.fewer, asked.rows)
    epochs = _epochs(40 if asked.quick else asked.clips)
    told = {count: _in_a_process(count, asked.threads) for count in (fewer, rows)}
    stages = list(told[rows]["megabytes"])
    grown = {
        stage: told[rows]["megabytes"][stage] - told[fewer]["megabytes"][stage] for stage in stages
    }
    finish(
        "memory",
        [
            (
                stage,
                f"{told[fewer]['megabytes'][stage]:7.0f} MB, {told[rows]['megabytes'][stage]:7.0f} "
                f"MB: {grown[stage]:+7.1f} MB",
            )
            for stage in stages
        ]
        + [
            (
                f"frames {where}, {one['frames']:.0f} MB",
                f"{one['grown']:+7.0f} MB, {one['seconds']:.2f} s an epoch of batches",
            )
            for where, one in epochs.items()
        ],
        sizes={
            "frames": epochs,
            "fewer": fewer,
            "rows": rows,
            "megabytes": told[rows]["megabytes"],
            "megabytes_of_fewer": told[fewer]["megabytes"],
            "grown_megabytes": grown,
        },
        seconds={str(count): facts["seconds"] for count, facts in told.items()},
        ratios={"largest": told[rows]["megabytes"]["all"] / told[fewer]["megabytes"]["all"]},
        threads=asked.threads,
    )


def _epochs(clips: int) -> dict[str, dict[str, float]]:
    """Take the batches of two epochs with frames in memory and on disk, each in its process."""
    told = {}
    with scratch() as folder:
        for where in ("in memory", "on disk"):
            words = [sys.executable, __file__, "--epoch", str(folder), str(clips), where]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            told[where] = json.loads(done.stdout.splitlines()[-1])
    return told


def _epoch(folder: Path, clips: int, *, where: str) -> None:
    """Read what the first call has written, and tell how far the largest resident set grew."""
    from types import SimpleNamespace

    import numpy as np
    import torch

    from mersa import frames
    from mersa.batches import FeatureSet, epoch_rows
    from mersa.encoders.budget import Item
    from mersa.encoders.cache import FeatureCache

    encoder = SimpleNamespace(
        name="noise", modality="audio", width=WIDTH, num_layers=1, fingerprint="0" * 64
    )
    lengths = [round(one * FRAMES_A_SECOND) for one in draw_seconds(clips)]
    items = {str(n): Item(f"{n:064x}", str, length) for n, length in enumerate(lengths)}
    cache = FeatureCache(folder)
    random = np.random.default_rng(0)
    for item, length in zip(items.values(), lengths, strict=True):
        if not cache.path(encoder, item.key).exists():
            made = random.standard_normal((length, WIDTH), dtype=np.float32)
            cache.put(encoder, item.key, made)
    if where == "on disk":
        frames.IN_MEMORY_SHARE = 0.0
    before, start = _largest(), time.perf_counter()
    held = frames.cached_frames(list(items), encoder, items, cache)
    features = FeatureSet(tuple(items), held, held, torch.zeros(clips, dtype=torch.int64))
    loaded = time.perf_counter()
    for epoch in range(2):
        for rows in epoch_rows(features, BATCH, seed=epoch):
            torch.cat([features.audio[row] for row in rows])
    facts = {
        "frames": 4 * WIDTH * sum(lengths) / MEGABYTE,
        "grown": _largest() - before,
        "loading_s": loaded - start,
        "seconds": (time.perf_counter() - loaded) / 2,
    }
    print(json.dumps(facts))


def _in_a_process(count: int, threads: int) -> dict[str, dict[str, float]]:
    """Encode so many rows; tell the largest resident set so far after each stage."""
    with scratch() as folder:
        manifest = folder / "manifest.csv"
        _make(manifest, count)
        words = [sys.executable, __file__, "--child", str(manifest), str(folder / "cache")]
        done = subprocess.run([*words, str(threads)], check=True, capture_output=True, text=True)
    facts: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _make(path: Path, count: int) -> None:
    """Write a recording and a manifest of many stretches of it."""
    import csv

    import soundfile as sf

    sf.write(path.parent / "recording.wav", make_waveforms([RECORDING_S])[0], SAMPLE_RATE)
    step_s = (RECORDING_S - STRETCH_S) / count
    columns = ["id", "audio", "start_s", "end_s", "text", "emotion", "speaker", "dialogue"]
    extras = ["gender", "style", "valence", "activation", "dominance", "origin"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "session", "duration_s", *extras])
        for number, words in enumerate(draw_words(count)):
            start_s = number * step_s
            dialogue = f"Ses{number % 5}_impro{number % 151:03}"
            own = f"{make_texts([words], seed=number)[0]} {number}"
            row = [f"{dialogue}_{number:06}", "recording.wav", start_s, start_s + STRETCH_S, own]
            row += ["happy", f"speaker {number % 10}", dialogue, number % 5, STRETCH_S]
            writer.writerow([*row, "female", "improvised", 2.5, 3.5, 3.0, f"{dialogue}.wav"])


def _encode(path: Path, cache: Path, *, threads: int) -> None:
    """Encode a manifest as `mersa encode` does, and its words by `tiny` besides."""
    from mersa.batches import encode, text_items
    from mersa.config import AudioSettings
    from mersa.encoders.cache import FeatureCache
    from mersa.encoders.tiny import TinyText
    from mersa.encoding import encode_manifest
    from mersa.manifest import read_manifest
    from mersa.progress import Silent

    use_threads(threads)
    start = time.perf_counter()
    megabytes = {"before": _largest()}
    store = FeatureCache(cache)
    encode_manifest(path, text=None, audio=AudioSettings(name="mel"), cache=store, device="cpu")
    megabytes["sound"] = _largest()
    manifest = read_manifest(path)
    # The vocabulary of a train part: the words that occur more than once.
    tiny = TinyText.learn((one.text for one in manifest), min_count=2)
    encode(tiny, text_items(manifest.utterances), store, Silent())
    megabytes["all"] = _largest()
    print(json.dumps({"megabytes": megabytes, "seconds": time.perf_counter() - start}))


def _largest() -> float:
    """Return the largest resident set of this process so far, in MB."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (MEGABYTE if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
