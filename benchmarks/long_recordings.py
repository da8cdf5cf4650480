"""Long recordings: memory and time of ten hours beside those of ten minutes.

Each recording is judged in a process of its own by voice activity, as `mersa predict` does; it is
made of the clips of a manifest, one after the other with silences, over and over. By default the
model is a small one trained here on the toy corpus, whose speech is synthetic.

python benchmarks/long_recordings.py [--quick] [--short 600] [--long 36000] [--model RUN]
    [--manifest FILE]
"""

import json
import resource
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile as sf
from common import SAMPLE_RATE, arguments, finish, scratch, use_threads

GAP_S = 0.5
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        _judge(sys.argv[2], sys.argv[3], threads=int(sys.argv[4]))
        return
    asked = arguments(__doc__ or "", short=600, long=36_000, model="", manifest="")
    short, long = (30, 90) if asked.quick else (asked.short, asked.long)
    told = {}
    with scratch() as folder:
        manifest = Path(asked.manifest) if asked.manifest else _toy(folder)
        model = asked.model or str(_train(manifest, folder / "run", quick=asked.quick))
        for seconds in (short, long):
            recording = folder / f"{seconds}.wav"
            _make(recording, manifest, seconds)
            words = [sys.executable, __file__, "--child", model, str(recording)]
            done = subprocess.run(
                [*words, str(asked.threads)], check=True, capture_output=True, text=True
            )
            told[seconds] = json.loads(done.stdout.splitlines()[-1])
            recording.unlink()
    finish(
        "long_recordings",
        [
            (
                f"{seconds / 60:g} min",
                f"{facts['megabytes']:6.0f} MB, {facts['processor']:8.1f} s of a processor, "
                f"{seconds / facts['processor']:5.0f} times real time, "
                f"{facts['segments']} segments",
            )
            for seconds, facts in told.items()
        ],
        sizes={
            "short": short,
            "long": long,
            "model": asked.model or "mel, toy",
            "manifest": asked.manifest or "toy",
            "megabytes": {str(seconds): facts["megabytes"] for seconds, facts in told.items()},
            "grown_megabytes": told[long]["megabytes"] - told[short]["megabytes"],
            "segments": {str(seconds): facts["segments"] for seconds, facts in told.items()},
        },
        seconds={
            f"{seconds} s, {clock}": facts[clock]
            for seconds, facts in told.items()
            for clock in ("processor", "wall")
        },
        ratios={
            "time a second of sound": (told[long]["processor"] / long)
            / (told[short]["processor"] / short),
            "memory": told[long]["megabytes"] / told[short]["megabytes"],
        },
        threads=asked.threads,
    )


def _toy(folder: Path) -> Path:
    from mersa.corpora import toy
    from mersa.corpora.place import place

    place(toy.read(), folder / "toy", copy=True)
    return folder / "toy" / "manifest.csv"


def _train(manifest: Path, run: Path, *, quick: bool) -> Path:
    """Train a small model of sound."""
    from mersa.config import apply_assignments, make_config
    from mersa.encoders.cache import FeatureCache
    from mersa.experiment import train

    settings = ["network.system=audio", "audio.name=mel", f"train.epochs={1 if quick else 5}"]
    if quick:
        settings += ["network.fusion_width=16", "network.hidden=[8]"]
    config = make_config(apply_assignments({}, settings))
    train(manifest, config, run, cache=FeatureCache(run.parent / "cache"), device="cpu")
    return run


def _make(path: Path, manifest_path: Path, seconds: int) -> None:
    """Join clips with silences to a recording of so many seconds."""
    from mersa.audio import read_audio
    from mersa.manifest import read_manifest

    manifest = read_manifest(manifest_path)
    left = seconds * SAMPLE_RATE
    gap = np.zeros(round(GAP_S * SAMPLE_RATE), dtype=np.float32)
    with sf.SoundFile(path, "w", SAMPLE_RATE, 1, subtype="PCM_16") as file:
        for utterance in cycle(manifest):
            audio = manifest.audio_path(utterance)
            if audio is None:
                continue
            samples = np.concatenate([read_audio(audio), gap])[:left]
            file.write(samples)
            left -= len(samples)
            if not left:
                return


def _judge(model: str, recording: str, *, threads: int) -> None:
    """Judge a recording; tell the largest resident set of this process and its time."""
    from mersa import Recognizer
    from mersa.recognize.settings import make_segmentation

    use_threads(threads)
    recognizer = Recognizer.from_pretrained(model, device="cpu")
    wall, processor = time.perf_counter(), time.process_time()
    prediction = recognizer.predict(recording, segmentation=make_segmentation("speech"))
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = {
        "processor": time.process_time() - processor,
        "wall": time.perf_counter() - wall,
        "megabytes": largest / (MEGABYTE if sys.platform == "darwin" else 1024),
        "segments": len(prediction.segments),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
