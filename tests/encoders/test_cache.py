import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mersa.encoders.base import Encoded
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, encode_missing, load_frames, text_item
from mersa.encoders.mel import LogMel
from mersa.encoders.tiny import TinyText

WORDS = [f"word{number}" for number in range(7)]
NUM_SLOW = 40

SLOW = """
import sys, time
from pathlib import Path
import numpy as np
from mersa.encoders.base import Encoded
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, encode_missing

class Slow:
    '''Clip n is 300,000 times n: files of more than a megabyte, a few milliseconds each.'''
    name, modality, width, num_layers, frames_per_second = "slow", "audio", 3000, 1, 1.0
    fingerprint, equal_lengths = "f" * 64, False

    def encode(self, batch):
        (clip,) = batch
        time.sleep(0.01)
        return Encoded(np.full((1, 100, 3000), clip[0], np.float32), np.array([100]))

items = {
    str(n): Item(f"key{n}", lambda n=n: np.array([n], np.float32), n % 5) for n in range(40)
}
if __name__ == "__main__":
    print(encode_missing(Slow(), items, FeatureCache(Path(sys.argv[1])), budget=0), flush=True)
"""


class Counted:
    """An encoder that counts its clips, and fails once after as many as it is told."""

    def __init__(self, encoder, fail_after=None):
        self.encoder = encoder
        self.fail_after = fail_after
        self.batches = []

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def encode(self, batch):
        if self.fail_after is not None and len(self.batches) == self.fail_after:
            self.fail_after = None
            raise MemoryError("in the middle")
        self.batches.append(list(batch))
        return self.encoder.encode(batch)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def words():
    return Counted(TinyText(WORDS, width=6))


def text_items(num):
    """Texts of 1 to 7 words, by utterance; every one differs."""
    return {f"u{n}": text_item(" ".join(WORDS[: n % 7 + 1]) + f" {n:03}") for n in range(num)}


def sound_items(num):
    random = np.random.default_rng(0)
    clips = [random.normal(size=1600 + 160 * n).astype(np.float32) for n in range(num)]
    return {f"u{n}": Item(f"key{n}", lambda c=c: c, len(c)) for n, c in enumerate(clips)}


def stored(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def test_frames_are_stored_as_the_encoder_gives_them(cache, words):
    items = text_items(80)

    count = encode_missing(words, items, cache)

    assert count == 80
    assert len(stored(cache)) == 80
    assert all(path.suffix == ".npy" for path in stored(cache))
    for item in items.values():
        frames = cache.get(words, item.key)
        assert frames.dtype == np.float32
        assert np.array_equal(frames, words.encoder.encode([item.load()]).split()[0])


def test_a_second_encode_does_nothing(cache, words):
    items = text_items(40)
    encode_missing(words, items, cache)
    before = {path: path.stat().st_mtime_ns for path in stored(cache)}
    words.batches.clear()

    count = encode_missing(words, items, cache)

    assert count == 0
    assert words.batches == []
    assert {path: path.stat().st_mtime_ns for path in stored(cache)} == before


def test_the_same_content_is_encoded_once(cache, words):
    items = {"a": text_item("word1"), "b": text_item("word2"), "c": text_item("word1")}

    count = encode_missing(words, items, cache)

    assert count == 2
    assert sorted(words.batches[0]) == ["word1", "word2"]


def test_batches_are_of_like_length_and_the_budget_bounds_them(cache, words):
    encode_missing(words, text_items(80), cache, budget=20)

    tokens = [[len(text.split()) + 1 for text in batch] for batch in words.batches]
    assert [min(batch) for batch in tokens] == sorted(min(batch) for batch in tokens)
    assert all(max(batch) * len(batch) <= 20 for batch in tokens)
    assert all(max(batch) <= 1.25 * min(batch) for batch in tokens)
    assert 16 <= len(tokens) < 40


def test_a_log_line_says_how_much_was_padding(cache, words, caplog):
    items = {text: text_item(text) for text in ("a b c", "a b c d", "a b c d e")}  # and a mark

    with caplog.at_level(logging.INFO, logger="mersa.encoders.cache"):
        encode_missing(words, items, cache, budget=100)

    (message,) = [record.getMessage() for record in caplog.records]
    assert "3 inputs encoded in 2 batches, of which 6.2 % was padding" in message


def test_progress_counts_what_is_there(cache, words):
    told = []
    items = text_items(50)
    encode_missing(words, dict(list(items.items())[:10]), cache)

    encode_missing(
        words, items, cache, budget=0, on_progress=lambda done, total: told.append((done, total))
    )

    assert told == [(done, 50) for done in range(10, 51)]


def test_other_settings_are_another_key(cache):
    items = text_items(3)
    one, two = TinyText(WORDS, width=6), TinyText(WORDS, width=6, seed=1)
    encode_missing(one, items, cache)

    count = encode_missing(two, items, cache)

    assert count == 3
    for item in items.values():
        assert cache.path(one, item.key) != cache.path(two, item.key)
        assert not np.array_equal(cache.get(one, item.key), cache.get(two, item.key))


def test_other_content_is_another_key(cache, words):
    keys = [text_item(text).key for text in ("one", "one ", "One", "")]

    assert len({cache.path(words, key) for key in keys}) == 4


def test_the_name_of_an_utterance_is_not_in_the_key(cache, words):
    encode_missing(words, {"a": text_item("word1")}, cache)

    assert encode_missing(words, {"b": text_item("word1")}, cache) == 0


def test_what_was_done_before_a_failure_is_kept(cache):
    items = sound_items(6)
    mel = Counted(LogMel(bands=4), fail_after=4)

    with pytest.raises(MemoryError, match="in the middle"):
        encode_missing(mel, items, cache, budget=0)

    assert len(stored(cache)) == 4
    assert encode_missing(mel, items, cache, budget=0) == 2
    assert len(mel.batches) == 6


def test_a_failure_while_writing_leaves_no_half(cache, words, monkeypatch):
    item = text_item("word1")

    def torn(path, content):
        with path.open("wb") as file:
            file.write(bytes(content)[:20])
        raise OSError("pulled out")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", torn)
        with pytest.raises(OSError, match="pulled out"):
            encode_missing(words, {"a": item}, cache)

    assert stored(cache) == []
    assert encode_missing(words, {"a": item}, cache) == 1


@pytest.mark.parametrize("keep", [0, 5, 90, 140])
def test_a_truncated_file_is_encoded_again(cache, words, keep):
    item = text_item("word1 word2")
    whole = load_frames(words, item, cache)
    path = cache.path(words, item.key)
    content = path.read_bytes()
    assert len(content) > 140
    path.write_bytes(content[:keep])

    assert cache.get(words, item.key) is None
    frames = load_frames(words, item, cache)

    assert np.array_equal(frames, whole)
    assert path.read_bytes() == content
    assert len(words.batches) == 2


def test_a_file_that_is_no_array_is_encoded_again(cache, words):
    item = text_item("word1 word2")
    whole = load_frames(words, item, cache)
    cache.path(words, item.key).write_bytes(b"<html>not found</html>" * 30)

    assert np.array_equal(load_frames(words, item, cache), whole)


def test_a_pickle_is_not_loaded(cache, words):
    item = text_item("word1")
    path = cache.path(words, item.key)
    path.parent.mkdir(parents=True)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert cache.get(words, item.key) is None


def test_frames_are_loaded_from_the_cache(cache, words):
    item = text_item("word1")
    first = load_frames(words, item, cache)

    again = load_frames(words, item, cache)

    assert np.array_equal(first, again)
    assert len(words.batches) == 1


@pytest.fixture
def slow(tmp_path):
    """Run the slow encoder in a process of its own; return its script's path too."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    started = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


class SlowFrames:
    """What the slow encoder gives, to look its frames up and to fill what is missing."""

    name, modality, width, num_layers, frames_per_second = "slow", "audio", 3000, 1, 1.0
    fingerprint, equal_lengths = "f" * 64, False

    def encode(self, batch):
        (clip,) = batch
        return Encoded(np.full((1, 100, 3000), clip[0], np.float32), np.array([100]))


SLOW_ITEMS = {
    str(n): Item(f"key{n}", lambda n=n: np.array([n], np.float32), n % 5) for n in range(NUM_SLOW)
}


def wrong(cache, numbers=range(NUM_SLOW)):
    """Numbers of the clips whose frames are not whole in the cache."""
    frames = {number: cache.get(SlowFrames(), f"key{number}") for number in numbers}
    return [
        number
        for number, one in frames.items()
        if one is None or one.shape != (100, 3000) or not (one == number).all()
    ]


def arrays(cache):
    return list(cache.folder.rglob("*.npy"))


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_process_leaves_whole_files_alone_and_is_resumed(cache, slow):
    process = slow(cache.folder)
    while len(arrays(cache)) < 5 and process.poll() is None:
        time.sleep(0.002)

    process.send_signal(signal.SIGKILL)
    process.wait()

    there = [n for n in range(NUM_SLOW) if cache.path(SlowFrames(), f"key{n}").exists()]
    assert 5 <= len(there) < NUM_SLOW
    assert wrong(cache, there) == []
    assert encode_missing(SlowFrames(), SLOW_ITEMS, cache, budget=0) == NUM_SLOW - len(there)
    assert wrong(cache) == []


def test_two_processes_may_fill_one_cache_at_once(cache, slow):
    processes = [slow(cache.folder), slow(cache.folder)]

    counts = [int(process.communicate()[0]) for process in processes]

    assert sum(counts) >= NUM_SLOW
    assert len(arrays(cache)) == NUM_SLOW
    assert stored(cache) == sorted(arrays(cache))
    assert wrong(cache) == []
