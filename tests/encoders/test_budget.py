import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mersa.encoders.base import pad
from mersa.encoders.budget import Batches, Item, default_budget
from mersa.encoders.cache import text_item
from mersa.encoders.mel import LogMel
from mersa.encoders.tiny import TinyText


class Sums:
    """Frames of one value, the sum of a clip; memory for so many seconds at a time."""

    name, modality = "sums", "audio"

    def __init__(self, *, memory=np.inf, error=MemoryError, equal_lengths=False):
        self.memory = memory
        self.error = error
        self.equal_lengths = equal_lengths
        self.batches = []

    def encode(self, batch):
        if len(batch) * max(map(len, batch)) / 16_000 > self.memory:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        self.batches.append([len(clip) for clip in batch])
        return pad([np.full((2, 1), clip.sum(), np.float32) for clip in batch])


def items_of(lengths, *, known=True):
    clips = [np.full(samples, 1 / (n + 1), np.float32) for n, samples in enumerate(lengths)]
    return [
        Item(f"key{n:03}", lambda c=c: c, len(c) / 16_000 if known else 0.0)
        for n, c in enumerate(clips)
    ]


def run(encoder, items, **options):
    """The frames by key, in the order in which they came."""
    batches = Batches(encoder, items, **options)
    return {
        item.key: frames
        for some, encoded in batches
        for item, frames in zip(some, encoded, strict=True)
    }


LENGTHS = st.lists(st.integers(0, 40_000), min_size=1, max_size=30)


@given(lengths=LENGTHS, budget=st.floats(0, 20), known=st.booleans())
@settings(deadline=None)
def test_every_batch_keeps_to_the_budget_and_to_one_length(lengths, budget, known):
    encoder = Sums()

    found = run(encoder, items_of(lengths, known=known), budget=budget)

    assert len(found) == len(lengths)
    for batch in encoder.batches:
        seconds = [max(1, samples) / 16_000 for samples in batch]
        assert len(batch) == 1 or len(batch) * max(seconds) <= budget
        assert max(seconds) <= 1.1 * min(seconds)


@given(lengths=LENGTHS, budget=st.floats(0, 20))
@settings(deadline=None)
def test_order_and_frames_do_not_depend_on_the_budget(lengths, budget):
    items = items_of(lengths)

    one, many = run(Sums(), items, budget=0), run(Sums(), items, budget=budget)

    assert list(one) == list(many)
    assert all(np.array_equal(one[key], many[key]) for key in one)


@given(lengths=LENGTHS)
@settings(deadline=None)
def test_an_encoder_of_equal_lengths_gets_one_length_at_a_time(lengths):
    encoder = Sums(equal_lengths=True)

    run(encoder, items_of(lengths), budget=1e9)

    assert all(len({max(1, samples) for samples in batch}) == 1 for batch in encoder.batches)
    assert len(encoder.batches) == len({max(1, samples) for samples in lengths})


def out_of_memory(message):
    return torch.OutOfMemoryError(f"CUDA out of memory, {message}")


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, out_of_memory])
def test_out_of_memory_halves_the_budget_and_goes_on(error, caplog):
    encoder = Sums(memory=3.2, error=error)
    items = items_of([16_000] * 10 + [16_500] * 3)
    batches = Batches(encoder, items, budget=100)

    with caplog.at_level(logging.WARNING):
        found = {i.key: f for some, frames in batches for i, f in zip(some, frames, strict=True)}

    free = run(Sums(), items, budget=100)
    assert list(found) == list(free)
    assert all(np.array_equal(found[key], free[key]) for key in free)
    assert [len(batch) for batch in encoder.batches] == [3, 3, 3, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"memory ran out on {clips} inputs at once; sums goes on with batches of at most {seconds} "
        "seconds"
        for clips, seconds in ((13, 6.7), (6, 3))
    ]
    assert batches.budget == 3


def test_a_single_clip_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError, match="can't allocate"):
        run(Sums(memory=1.0), items_of([8_000, 32_000]))


def test_another_fault_of_the_encoder_is_not_hidden():
    encoder = Sums(memory=0.0, error=lambda _: RuntimeError("shapes do not match"))

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(encoder, items_of([8_000, 8_000]))


def test_the_padding_share_is_counted():
    batches = Batches(Sums(), items_of([1_000, 950, 2_000]), budget=10)

    assert [len(some) for some, _ in batches] == [2, 1]
    assert batches.padding_share == pytest.approx(50 / 4_000)


def test_texts_are_sorted_by_tokens_where_the_encoder_counts_them():
    class Counting(TinyText):
        def count_tokens(self, texts):
            return [30 - len(text) for text in texts]

    items = [text_item("word " * number) for number in (3, 1, 2)]

    found = run(Counting(["word"]), items)

    assert list(found) == [items[0].key, items[2].key, items[1].key]


def test_a_cpu_gets_small_batches():
    assert default_budget(LogMel()) == 24
    assert default_budget(TinyText(["word"])) == 512


@pytest.mark.parametrize(("free_gb", "seconds"), [(2.4, 30), (140, 480)])
def test_a_gpu_gets_what_its_free_memory_holds(free_gb, seconds, monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free_gb * 1e9, 2e11))
    encoder = Sums()
    encoder.device = torch.device("cuda", 0)

    assert default_budget(encoder) == pytest.approx(seconds)
