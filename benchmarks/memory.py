"""Memory: what encoding 100,000 rows by `mel` and `tiny` takes more than encoding 10,000.

Each number of rows runs in a process of its own, which tells its largest resident set. The rows
are stretches of 0.3 s of one recording, each with words of its own and the columns of IEMOCAP.

python benchmarks/memory.py [--quick] [--rows 100000] [--fewer 10000]
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
    draw_words,
    finish,
    make_texts,
    make_waveforms,
    scratch,
    use_threads,
)

RECORDING_S = 60.0
STRETCH_S = 0.3
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        _encode(Path(sys.argv[2]), Path(sys.argv[3]), threads=int(sys.argv[4]))
        return
    asked = arguments(__doc__ or "", rows=100_000, fewer=10_000)
    fewer, rows = (50, 150) if asked.quick else (asked.fewer, asked.rows)
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
        ],
        sizes={
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
    from mersa.experiment import encode_manifest
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
