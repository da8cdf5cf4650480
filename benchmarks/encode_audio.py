"""Sound through VGGish and wav2vec2-base: batches, and bf16, against one clip at a time.

python benchmarks/encode_audio.py [--quick] [--threads 1] [--groups 8] [--repeats 3]

`mersa encode` sorts a corpus by length, so its batches are full of clips of nearly one length. Here
each group is such a batch, and the lengths of the groups are chosen so that each stands for the
same share of IEMOCAP-4's sound. Compared is the time for a second of sound, over all groups.
"""

import statistics
from collections.abc import Callable, Sequence

from common import (
    SAMPLE_RATE,
    FloatArray,
    arguments,
    clock_of,
    draw_seconds_by_share,
    finish,
    in_turn,
    into_nothing,
    make_waveforms,
    ratio,
    scratch,
    use_threads,
    write_vggish,
    write_wav2vec2,
)

from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item, default_budget
from mersa.encoders.cache import encode_missing
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.vggish import VGGish

SPREAD = 0.02
"""By how much of its length the clips of a group differ."""
ALONE = 3
"""Most clips of a group that are encoded one at a time; the others would take as long."""


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", groups=8, repeats=3)
    use_threads(asked.threads)
    lengths = [0.6, 1.1, 2.0] if asked.quick else draw_seconds_by_share(asked.groups)
    repeats = 1 if asked.quick else asked.repeats
    taken: dict[str, list[list[float]]] = {}  # by side, group and round: seconds a second of sound
    with scratch() as folder:
        write_vggish(folder / "vggish")
        path = str(write_wav2vec2(folder / "wav2vec2", quick=asked.quick))
        encoders = {
            "vggish": VGGish(folder / "vggish", device=asked.device),
            "wav2vec2": SpeechEncoder(path, device=asked.device),
            "wav2vec2, bf16": SpeechEncoder(path, precision="bf16", device=asked.device),
        }
        budget = 2.0 if asked.quick else default_budget(encoders["vggish"])
        for number, length in enumerate(lengths):
            clips = _group(length, budget, seed=number)
            alone = clips[:ALONE]
            sides: dict[str, tuple[Callable[[], object], float]] = {}
            for name, encoder in encoders.items():
                single, batch = f"{name}, one at a time", f"{name}, default batches"
                sides[single] = _one_at_a_time(encoder, alone), _seconds(alone)
                sides[batch] = _default(encoder, clips), _seconds(clips)
            seconds = in_turn(
                {side: run for side, (run, _) in sides.items()},
                repeats=repeats,
                clock=clock_of(asked),
            )
            for side, (_, sound) in sides.items():
                taken.setdefault(side, []).append([one / sound for one in seconds[side]])
    rounds = {
        side: [statistics.mean(one) for one in zip(*t, strict=True)] for side, t in taken.items()
    }
    medians = {side: statistics.median(one) for side, one in rounds.items()}
    ratios = {
        side: ratio(rounds[f"{side.partition(',')[0]}, one at a time"], one)
        for side, one in rounds.items()
    }
    by_group = {
        side: [round(statistics.median(one), 5) for one in groups] for side, groups in taken.items()
    }
    finish(
        "encode_audio",
        [
            (side, f"{1000 * medians[side]:8.1f} ms a second of sound {ratios[side]:7.2f} x")
            for side in medians
        ],
        sizes={
            "models": "vggish, wav2vec2-base" if not asked.quick else "vggish, tiny",
            "groups_s": [round(length, 2) for length in lengths],
            "batch_s": budget,
            "seconds_by_group": by_group,
            "repeats": repeats,
        },
        seconds=medians,
        ratios=ratios,
        threads=asked.threads,
        device=asked.device,
    )


def _group(length: float, budget: float, *, seed: int) -> list[FloatArray]:
    """Draw as many clips of nearly one length as a batch holds."""
    count = max(1, int(budget / length))
    return make_waveforms([length * (1 - SPREAD * n / count) for n in range(count)], seed=seed)


def _seconds(waveforms: Sequence[FloatArray]) -> float:
    return sum(map(len, waveforms)) / SAMPLE_RATE


def _one_at_a_time(encoder: Encoder, waveforms: Sequence[FloatArray]) -> Callable[[], None]:
    def run() -> None:
        for waveform in waveforms:
            encoder.encode([waveform])

    return run


def _default(encoder: Encoder, waveforms: Sequence[FloatArray]) -> Callable[[], None]:
    """Encode as `mersa encode` does, in its batches."""
    items = {
        str(number): Item(
            str(number), lambda waveform=waveform: waveform, len(waveform) / SAMPLE_RATE
        )
        for number, waveform in enumerate(waveforms)
    }
    return lambda: encode_missing(encoder, items, into_nothing())


if __name__ == "__main__":
    main()
