import logging
import resource
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mersa import frames
from mersa.batches import epoch_rows, load_features, sorted_batches
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache
from mersa.errors import StorageError
from mersa.frames import StoredFrames, cached_frames
from mersa.manifest import Utterance

WIDTH, NUM = 6, 23


class Noise:
    """An encoder whose frames are drawn from what it is given: text that names a number."""

    name, modality, width, num_layers = "noise", "text", WIDTH, 1
    fingerprint = "f" * 64
    device, frames_per_second, equal_lengths = "cpu", None, False

    def __init__(self, frames_each=None):
        self.frames_each = frames_each
        self.calls = 0

    def encode(self, batch):
        self.calls += 1
        random = np.random.default_rng(int(batch[0]))
        length = self.frames_each or int(random.integers(1, 9))
        made = random.standard_normal((length, self.width), dtype=np.float32)
        return SimpleNamespace(split=lambda: [made])


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(frames, "free_bytes", lambda: 100)


def items(num=NUM, encoder=None, cache=None):
    made = {f"u{n}": Item(f"{n:064x}", lambda n=n: str(n), 1) for n in range(num)}
    if encoder:
        for item in made.values():
            cache.put(encoder, item.key, encoder.encode([item.load()]).split()[0])
    return made


def feature_set(cache, encoder=None):
    """Words by `Noise`, none for the last utterance; sound by another one of another width."""
    encoder = encoder or Noise()
    sound = Noise()
    sound.fingerprint, sound.width, sound.modality = "e" * 64, 4, "audio"
    wanted = items(encoder=encoder, cache=cache)
    heard = items(encoder=sound, cache=cache)
    del wanted[f"u{NUM - 1}"]
    utterances = [Utterance(id=f"u{n}", emotion="happy") for n in range(NUM)]
    return load_features(utterances, lambda _: 1, (encoder, wanted), (sound, heard), cache)


def same(one, other):
    return one.rows == other.rows and all(
        torch.equal(a, b)
        for a, b in zip((*one.inputs(), one.labels), (*other.inputs(), other.labels), strict=True)
    )


def both(cache, monkeypatch):
    held = feature_set(cache)
    monkeypatch.setattr(frames, "free_bytes", lambda: 100)
    stored = feature_set(cache)
    assert isinstance(held.text, tuple)
    assert isinstance(stored.text, StoredFrames)
    assert isinstance(stored.audio, StoredFrames)
    return held, stored


@pytest.mark.parametrize("packed", [True, False])
def test_batches_are_the_same_from_disk_as_from_memory(cache, monkeypatch, packed):
    held, stored = both(cache, monkeypatch)

    for rows in epoch_rows(held, 4, seed=5):
        assert same(held.batch(rows, packed=packed), stored.batch(rows, packed=packed))
    assert list(epoch_rows(held, 4, seed=5)) == list(epoch_rows(stored, 4, seed=5))
    for one, other in zip(sorted_batches(held, 7), sorted_batches(stored, 7), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_shuffled_frames_are_the_same_from_disk(cache, monkeypatch, modality):
    held, stored = (one.shuffled(modality, 3) for one in both(cache, monkeypatch))

    assert isinstance(getattr(stored, modality), StoredFrames)
    assert same(held.batch(range(NUM)), stored.batch(range(NUM)))


def test_frames_in_memory_and_on_disk_are_joined_unread(cache, monkeypatch):
    held, stored = both(cache, monkeypatch)
    rows = range(2 * NUM)
    wanted = held.joined(held).batch(rows)

    for one, other in ((held, stored), (stored, held), (stored, stored)):
        joined = one.joined(other)
        assert isinstance(joined.text, StoredFrames)
        assert same(joined.batch(rows), wanted)
    assert len(joined.text[2:5]) == 3


def test_what_fits_is_held_and_what_does_not_is_told(cache, monkeypatch, caplog):
    encoder = Noise(frames_each=5)
    wanted = items(encoder=encoder, cache=cache)
    size = sum(cache.path(encoder, item.key).stat().st_size for item in wanted.values())
    found = []

    with caplog.at_level(logging.WARNING):
        for free in (2 * size, 2 * size - 2):
            monkeypatch.setattr(frames, "free_bytes", lambda free=free: free)
            found.append(cached_frames(list(wanted), encoder, wanted, cache))
            found.append(caplog.text)

    assert isinstance(found[0], tuple)
    assert found[1] == ""
    assert isinstance(found[2], StoredFrames)
    assert (
        "the text frames take 0.0 GB, more than 50 % of the 0.0 GB of memory that are free, so"
        in (found[3])
    )


class Doubled:
    """Frames that follow from those of `Noise`: each twice as wide."""

    name, modality, width, num_layers = "doubled", "text", 2 * WIDTH, 1
    fingerprint = "d" * 64
    device, frames_per_second, equal_lengths = "cpu", None, False

    def __init__(self):
        self.base = Noise()

    def encode(self, batch):
        raise AssertionError("the frames of the base are in the cache")

    def derive(self, given):
        return np.concatenate([given, 2 * given], axis=1)

    def save(self, folder):
        raise NotImplementedError


@pytest.mark.parametrize("free", [10**9, 100])
def test_frames_that_follow_from_others_are_made_from_what_is_stored(cache, monkeypatch, free):
    encoder = Doubled()
    wanted = items(encoder=encoder.base, cache=cache)
    monkeypatch.setattr(frames, "free_bytes", lambda: free)

    found = cached_frames(list(wanted), encoder, wanted, cache)

    assert isinstance(found, StoredFrames) == (free == 100)
    for row, item in enumerate(wanted.values()):
        stored = cache.get(encoder.base, item.key)
        assert np.array_equal(found[row].numpy(), encoder.derive(stored))
        assert frames.num_frames_of(found, row) == len(stored)


@pytest.mark.usefixtures("little_memory")
def test_frames_that_are_not_whole_are_encoded_again(cache):
    encoder = Noise()
    wanted = items(encoder=encoder, cache=cache)
    paths = [cache.path(encoder, wanted[f"u{n}"].key) for n in range(4)]
    kept = [np.load(path) for path in paths]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-3])
    paths[2].write_bytes(b"no frames")
    paths[3].write_bytes(paths[3].read_bytes()[:20])
    before = encoder.calls

    found = cached_frames(list(wanted), encoder, wanted, cache)

    assert isinstance(found, StoredFrames)
    assert encoder.calls == before + 4
    for number, one in enumerate(kept):
        np.testing.assert_array_equal(found[number].numpy(), one)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("change", ["gone", "short"])
def test_frames_that_went_away_while_training_are_told(cache, change):
    encoder = Noise(frames_each=3)
    wanted = items(encoder=encoder, cache=cache)
    found = cached_frames(list(wanted), encoder, wanted, cache)
    path = cache.path(encoder, wanted["u7"].key)
    path.unlink() if change == "gone" else path.write_bytes(path.read_bytes()[:-8])
    wrong = "cannot be read" if change == "gone" else "holds 16 numbers, but 18 were there"

    with pytest.raises(StorageError, match=f"{path}.* {wrong}.* leave the cache alone"):
        found[7]


@pytest.mark.usefixtures("little_memory")
def test_an_epoch_from_disk_holds_one_batch_at_a_time(cache):
    """40 utterances of 240 kB, four a batch."""
    encoder, each = Noise(frames_each=10_000), 10_000 * WIDTH * 4
    wanted = items(40, encoder, cache)
    utterances = [Utterance(id=id_, emotion="happy") for id_ in wanted]
    made = load_features(utterances, lambda _: 0, (encoder, wanted), None, cache)

    tracemalloc.start()
    for rows in epoch_rows(made, 4, seed=0):
        assert len(made.batch(rows, packed=True).text) == 4 * 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert each < peak < 8 * each


@pytest.mark.usefixtures("little_memory")
def test_no_file_stays_open(cache):
    """With fewer files allowed than utterances are read."""
    made = feature_set(cache)
    listing = Path("/proc/self/fd")
    opened = len(list(listing.iterdir())) if listing.is_dir() else 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 8, hard))
    try:
        kept = [made.text[row] for row in range(NUM)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert len(kept) == NUM > 8
