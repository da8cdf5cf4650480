"""A server under load beside the same work in as many processes without one.

Clients ask one after the other, each at once again when it has its answer, with recordings of 1 to
20 s that are made of the clips of a manifest. Before and after, as many processes as the server has
judge the same files by `Recognizer.predict`. Rates are told by the wall's clock, which other work
on the machine moves, and by the processor's: seconds of sound for a second of all processes of the
server, decoding and HTTP among them, beside a second of those that judge without one. By default
the model is a small one trained here on the toy corpus, whose speech is synthetic.

python benchmarks/serve.py [--quick] [--clients 64] [--seconds 60] [--workers 1] [--model RUN]
    [--manifest FILE]
"""

import asyncio
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile as sf
from common import SAMPLE_RATE, arguments, finish, scratch, use_threads

FILES = 60
LONGEST_S = 20.0
BOUNDARY = "mersa-benchmark"
MEGABYTE = 2**20


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", clients=64, seconds=60, workers=1, model="", manifest="")
    clients, seconds = (4, 4) if asked.quick else (asked.clients, asked.seconds)
    with scratch() as folder:
        manifest = Path(asked.manifest) if asked.manifest else _toy(folder)
        model = asked.model or str(_train(manifest, folder / "run"))
        files = _recordings(folder / "recordings", manifest)
        before = _in_process(model, files, asked.workers, seconds / 2, asked.threads)
        loaded = _served(model, files, asked.workers, clients, seconds, asked.threads)
        after = _in_process(model, files, asked.workers, seconds / 2, asked.threads)
    alone = (before[0] + after[0]) / 2, (before[1] + after[1]) / 2
    latency = {f"p{share}": float(np.percentile(loaded.latencies, share)) for share in (50, 95, 99)}
    finish(
        "serve",
        [
            ("answers", f"{len(loaded.latencies)}, {loaded.num_errors} others"),
            (
                "seconds of sound a second",
                f"{loaded.rate:.1f}, in process {before[0]:.1f}, {after[0]:.1f}",
            ),
            (
                "for a second of a processor",
                f"{loaded.rate_by_processor:.1f}, in process {before[1]:.1f}, {after[1]:.1f}",
            ),
            ("latency", ", ".join(f"{name} {one:.2f} s" for name, one in latency.items())),
            ("memory of all processes", " ".join(f"{one:.0f}" for one in loaded.megabytes) + " MB"),
        ],
        sizes={
            "clients": clients,
            "workers": asked.workers,
            "model": asked.model or "mel, toy",
            "manifest": asked.manifest or "toy",
            "answers": len(loaded.latencies),
            "errors": loaded.num_errors,
            "megabytes": loaded.megabytes,
        },
        seconds={"asked for": seconds, **latency},
        ratios={
            "rate beside in process": loaded.rate / alone[0],
            "rate beside in process, processor": loaded.rate_by_processor / alone[1],
            "in process, after beside before": after[0] / before[0],
            "memory, last quarter beside the second": loaded.megabytes[3] / loaded.megabytes[1],
        },
        threads=asked.threads,
    )


class Load:
    """What clients have seen.

    Attributes:
        latencies: Seconds of each answer.
        num_errors: Requests that were answered otherwise, or not at all.
        rate: Seconds of sound that were judged in a second.
        rate_by_processor: The same in a second of a processor, of all processes of the server.
        megabytes: Largest resident memory of the server's processes in each quarter of the time.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.num_errors = 0
        self.rate = 0.0
        self.rate_by_processor = 0.0
        self.megabytes = [0.0] * 4


def _served(
    model: str, files: list[Path], workers: int, clients: int, seconds: float, threads: int
) -> Load:
    words = ["serve", model, "--port", "0", "--workers", str(workers), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mersa", *words], stdout=subprocess.PIPE, text=True,
        env=_environment(threads),
    )  # fmt: skip
    try:
        address = (process.stdout or sys.stdin).readline().split("//")[-1].strip()
        return asyncio.run(_load(address, files, clients, seconds, process.pid))
    finally:
        process.terminate()
        if process.wait(60):
            raise SystemExit(f"the server ended with {process.returncode}")


async def _load(address: str, files: list[Path], clients: int, seconds: float, pid: int) -> Load:
    bodies = [_request(path) for path in files]
    lengths = [sf.info(path).duration for path in files]
    load, heard = Load(), 0.0
    host, _, port = address.rpartition(":")
    numbers = itertools.count()
    start, processor = time.perf_counter(), _processor_s(pid)

    async def client() -> None:
        nonlocal heard
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < start + seconds:
            number = next(numbers) % len(bodies)
            began = time.perf_counter()
            writer.write(bodies[number])
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split()[0])
            answer = json.loads(await reader.readexactly(size))
            if head.split()[1] == b"200" and answer["scores"] is not None:
                load.latencies.append(time.perf_counter() - began)
                heard += lengths[number]
            else:
                load.num_errors += 1
        writer.close()

    async def watch() -> None:
        while (passed := time.perf_counter() - start) < seconds:
            quarter = min(3, int(4 * passed / seconds))
            load.megabytes[quarter] = max(load.megabytes[quarter], _megabytes(pid))
            await asyncio.sleep(min(1.0, seconds / 16))

    outcomes = await asyncio.gather(
        *(client() for _ in range(clients)), watch(), return_exceptions=True
    )
    load.num_errors += sum(isinstance(one, BaseException) for one in outcomes)
    load.rate = heard / (time.perf_counter() - start)
    load.rate_by_processor = heard / (_processor_s(pid) - processor)
    return load


def _in_process(
    model: str, files: list[Path], workers: int, seconds: float, threads: int
) -> tuple[float, float]:
    """Return the seconds of sound that processes judge in a second, and in one of a processor."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(workers, _begin, (model, threads)) as pool:
        pool.map(_judge, [(files, 1.0)] * workers, chunksize=1)
        told = pool.map(_judge, [(files, seconds)] * workers, chunksize=1)
    return sum(one for one, _ in told), sum(one for _, one in told) / workers


def _begin(model: str, threads: int) -> None:
    global _recognizer
    from mersa import Recognizer

    use_threads(threads)
    _recognizer = Recognizer.from_pretrained(model, device="cpu")


def _judge(asked: tuple[list[Path], float]) -> tuple[float, float]:
    files, seconds = asked
    start, processor, heard = time.perf_counter(), time.process_time(), 0.0
    for path in itertools.cycle(files):
        _recognizer.predict(path)
        heard += sf.info(path).duration
        if time.perf_counter() > start + seconds:
            break
    passed, used = time.perf_counter() - start, time.process_time() - processor
    return heard / passed, heard / used


def _request(path: Path) -> bytes:
    part = 'Content-Disposition: form-data; name="audio"; filename="a.flac"'
    body = f"--{BOUNDARY}\r\n{part}\r\n\r\n".encode() + path.read_bytes()
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = (
        "POST /v1/recognize HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def _recordings(folder: Path, manifest: Path) -> list[Path]:
    """Write recordings of 1 to 20 s, made of the clips of a manifest one after the other."""
    from mersa.audio import read_audio
    from mersa.manifest import read_manifest

    folder.mkdir()
    known = read_manifest(manifest)
    clips = [path for one in known if (path := known.audio_path(one))][:: max(1, len(known) // 97)]
    sound = np.concatenate([read_audio(path) for path in clips])
    random = np.random.default_rng(0)
    paths = []
    for number, seconds in enumerate(random.uniform(1.0, LONGEST_S, FILES)):
        length = round(seconds * SAMPLE_RATE)
        first = int(random.integers(len(sound) - length))
        paths.append(folder / f"{number}.flac")
        sf.write(paths[-1], sound[first : first + length].clip(-1, 1), SAMPLE_RATE)
    return paths


def _megabytes(pid: int) -> float:
    """Return the resident memory of a process and those that it began (Linux)."""
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in _tree(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def _processor_s(pid: int) -> float:
    """Return the processor time of a process and those that it began (Linux)."""
    stats = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in _tree(pid))
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> list[int]:
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for path in paths for child in path.read_text().split())]


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def _toy(folder: Path) -> Path:
    from mersa.corpora import toy
    from mersa.corpora.place import place

    place(toy.read(), folder / "toy", copy=True)
    return folder / "toy" / "manifest.csv"


def _train(manifest: Path, out: Path) -> Path:
    from mersa.config import apply_assignments, make_config
    from mersa.encoders.cache import FeatureCache
    from mersa.experiment import train

    words = ["audio.name=mel", "network.system=audio", "data.labels=iemocap-6", "train.epochs=2"]
    config = make_config(apply_assignments({}, words))
    train(manifest, config, out, cache=FeatureCache(out.parent / "cache"), device="cpu")
    return out


if __name__ == "__main__":
    main()
