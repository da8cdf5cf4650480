"""Words through BERT-base: batches, and bf16, against one text at a time.

python benchmarks/encode_text.py [--quick] [--threads 1] [--texts 128] [--repeats 3]
"""

import statistics
from collections.abc import Sequence

from common import (
    arguments,
    clock_of,
    draw_words,
    finish,
    in_turn,
    into_nothing,
    make_texts,
    ratio,
    scratch,
    use_threads,
    write_bert,
)

from mersa.encoders.cache import encode_missing, text_item
from mersa.encoders.text import TextEncoder


def main() -> None:
    """Measure and print."""
    asked = arguments(__doc__ or "", texts=128, repeats=3)
    use_threads(asked.threads)
    count, repeats = (9, 1) if asked.quick else (asked.texts, asked.repeats)
    words = draw_words(count)
    texts = make_texts(words)
    with scratch() as folder:
        write_bert(folder / "bert", quick=asked.quick)
        exact = TextEncoder(str(folder / "bert"), device=asked.device)
        rounded = TextEncoder(str(folder / "bert"), precision="bf16", device=asked.device)
        seconds = in_turn(
            {
                "one at a time": lambda: _one_at_a_time(exact, texts),
                "batches": lambda: _batches(exact, texts),
                "bf16, one at a time": lambda: _one_at_a_time(rounded, texts),
                "bf16, batches": lambda: _batches(rounded, texts),
            },
            repeats=repeats,
            clock=clock_of(asked),
        )
    single = seconds["one at a time"]
    ratios = {name: ratio(single, taken) for name, taken in seconds.items()}
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    finish(
        "encode_text",
        [
            (name, f"{1000 * medians[name] / count:8.2f} ms a text {ratios[name]:7.2f} x")
            for name in seconds
        ],
        sizes={
            "model": "bert-base" if not asked.quick else "tiny",
            "texts": count,
            "mean_words": statistics.mean(words),
            "repeats": repeats,
        },
        seconds=medians,
        ratios=ratios,
        threads=asked.threads,
        device=asked.device,
    )


def _one_at_a_time(encoder: TextEncoder, texts: Sequence[str]) -> None:
    for text in texts:
        encoder.encode([text])


def _batches(encoder: TextEncoder, texts: Sequence[str]) -> None:
    """Encode as `mersa encode` does, in its batches."""
    items = {str(number): text_item(text) for number, text in enumerate(texts)}
    encode_missing(encoder, items, into_nothing())


if __name__ == "__main__":
    main()
