"""Sound through VGGish and wav2vec2-base: batches against one clip at a time.

python benchmarks/encode_audio.py [--quick] [--threads 1] [--clips 24] [--repeats 3]
"""

import statistics
from collections.abc import Callable, Sequence

from common import (
    SAMPLE_RATE,
    FloatArray,
    arguments,
    clock_of,
    draw_seconds,
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
from mersa.encoders.budget import Item
from mersa.encoders.cache import encode_missing
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.vggish import VGGish


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", clips=24, repeats=3)
    use_threads(asked.threads)
    lengths = [0.6, 1.1, 2.0] if asked.quick else draw_seconds(asked.clips)
    count, repeats = len(lengths), 1 if asked.quick else asked.repeats
    waveforms = make_waveforms(lengths)
    with scratch() as folder:
        write_vggish(folder / "vggish")
        write_wav2vec2(folder / "wav2vec2", quick=asked.quick)
        vggish = VGGish(folder / "vggish", device=asked.device)
        wav2vec2 = SpeechEncoder(str(folder / "wav2vec2"), device=asked.device)
        groups = {
            "vggish": {
                "vggish, one at a time": _one_at_a_time(vggish, waveforms),
                "vggish, one batch": lambda: vggish.encode(waveforms),
                "vggish, default batches": _default(vggish, waveforms),
            },
            "wav2vec2": {
                "wav2vec2, one at a time": _one_at_a_time(wav2vec2, waveforms),
                "wav2vec2, default batches": _default(wav2vec2, waveforms),
            },
        }
        medians: dict[str, float] = {}
        ratios: dict[str, float] = {}
        for name, sides in groups.items():
            seconds = in_turn(sides, repeats=repeats, clock=clock_of(asked))
            single = seconds[f"{name}, one at a time"]
            ratios |= {side: ratio(single, taken) for side, taken in seconds.items()}
            medians |= {side: statistics.median(taken) for side, taken in seconds.items()}
    finish(
        "encode_audio",
        [
            (side, f"{1000 * medians[side] / count:8.1f} ms a clip {ratios[side]:7.2f} x")
            for side in medians
        ],
        sizes={
            "models": "vggish, wav2vec2-base" if not asked.quick else "vggish, tiny",
            "clips": count,
            "mean_seconds": round(statistics.mean(lengths), 3),
            "repeats": repeats,
        },
        seconds=medians,
        ratios=ratios,
        threads=asked.threads,
        device=asked.device,
    )


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
