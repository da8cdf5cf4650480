import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch

from mersa.batches import (
    FeatureSet,
    audio_items,
    encode,
    epoch_rows,
    load_features,
    num_frames,
    pad,
    parts_of_batch,
    sorted_batches,
    text_items,
)
from mersa.encoders.cache import FeatureCache
from mersa.encoders.mel import LogMel
from mersa.encoders.tiny import TinyText
from mersa.errors import AudioError
from mersa.manifest import Utterance, make_manifest
from mersa.progress import Silent

TEXT_WIDTH, AUDIO_WIDTH = 5, 3


def features(num=70):
    """Utterances whose frames hold their own number: +n for words, -n for sound."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 12, size=(num, 2)).tolist()
    return FeatureSet(
        tuple(f"u{n}" for n in range(num)),
        tuple(torch.full((long, TEXT_WIDTH), float(n)) for n, (long, _) in enumerate(lengths)),
        tuple(torch.full((long, AUDIO_WIDTH), -float(n)) for n, (_, long) in enumerate(lengths)),
        torch.arange(num) % 4,
    )


def test_frames_are_padded_with_zeros_and_masked():
    frames = [torch.full((2, 3), 7.0), torch.full((4, 3), 8.0), torch.full((1, 3), 9.0)]

    padded, mask = pad(frames)

    assert padded.shape == (3, 4, 3)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[True, True, False, False], [True] * 4, [True, False, False, False]]
    assert torch.equal(padded[0, :2], frames[0])
    assert torch.equal(padded[1], frames[1])
    assert not padded[~mask].any()


def test_a_batch_holds_the_rows_asked_for_in_their_order():
    made = features()

    batch = made.batch([9, 4, 17])

    assert batch.rows == (9, 4, 17)
    assert batch.labels.tolist() == [1, 0, 1]
    assert batch.text[:, 0].tolist() == [[n] * TEXT_WIDTH for n in (9, 4, 17)]
    assert batch.audio[:, 0].tolist() == [[-n] * AUDIO_WIDTH for n in (9, 4, 17)]
    assert batch.text_mask.sum(1).tolist() == [len(made.text[n]) for n in (9, 4, 17)]
    assert batch.audio_mask.sum(1).tolist() == [len(made.audio[n]) for n in (9, 4, 17)]
    assert batch.text_mask.shape == batch.text.shape[:2]
    assert batch.audio_mask.shape == batch.audio.shape[:2]


def test_a_batch_moves_whole():
    batch = features().batch([0, 1])

    moved = batch.to(torch.device("meta"))

    assert moved.rows == batch.rows
    assert {one.device.type for one in (*moved.inputs(), moved.labels)} == {"meta"}
    assert [one.shape for one in moved.inputs()] == [one.shape for one in batch.inputs()]


@pytest.mark.parametrize("batch_size", [1, 2, 8, 32, 100])
def test_an_epoch_gives_each_utterance_once(batch_size):
    made = features()

    batches = list(epoch_rows(made, batch_size, seed=1))

    assert sorted(row for rows in batches for row in rows) == list(range(70))
    assert all(len(rows) <= batch_size for rows in batches)
    assert len(batches) == -(-70 // batch_size)


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_threads_that_read_at_once_change_neither_order_nor_batches(threads):
    """There are no loader workers; whoever reads beside the training changes nothing."""
    made = features()
    wanted = [made.batch(rows) for rows in epoch_rows(made, 8, seed=3)]

    def read(_):
        return [made.batch(rows) for rows in epoch_rows(made, 8, seed=3)]

    with ThreadPoolExecutor(threads or 1) as pool:
        others = [pool.submit(read, number) for number in range(threads)]
        np.random.default_rng().random()
        torch.rand(3)
        found = read(0)

    for batches in (found, *(other.result() for other in others)):
        assert [batch.rows for batch in batches] == [batch.rows for batch in wanted]
        assert all(
            torch.equal(one.audio, other.audio) for one, other in zip(batches, wanted, strict=True)
        )


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_seed_alone_decides_the_order(batch_size):
    made = features()

    def rows(seed):
        torch.rand(3), np.random.random()  # other draws must not matter
        return list(epoch_rows(made, batch_size, seed=seed))

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    assert rows(1) != [list(batch.rows) for batch in sorted_batches(made, batch_size)]


def test_batches_of_like_length_hold_little_padding():
    made = features(num=400)

    def num_padded(batches):
        return sum(num_frames(made, rows, packed=False) for rows in batches) - real

    real = num_frames(made, range(400), packed=True)
    random = [range(start, start + 8) for start in range(0, 400, 8)]
    assert num_padded(epoch_rows(made, 8, seed=0)) < 0.9 * num_padded(random)


@pytest.mark.parametrize("packed", [True, False])
def test_frames_of_a_batch_are_those_that_it_holds(packed):
    made = features()

    batch = made.batch([9, 4, 17], packed=packed)

    held = sum(len(one) if packed else one.shape[0] * one.shape[1] for one in batch.inputs()[::2])
    assert num_frames(made, [9, 4, 17], packed=packed) == held


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 40, 150])
def test_parts_of_a_batch_keep_to_the_budget(budget, packed):
    made, rows = features(), list(range(5, 37))

    parts = list(parts_of_batch(made, rows, budget, packed=packed))

    held = [num_frames(made, part, packed=packed) for part in parts]
    assert sorted(row for part in parts for row in part) == rows
    assert all(one <= budget or len(part) == 1 for one, part in zip(held, parts, strict=True))
    assert len(parts) <= 2 * sum(held) / budget + 1 or budget == 1


def test_a_batch_without_a_budget_is_one_part():
    assert list(parts_of_batch(features(), [9, 4, 17], None, packed=True)) == [[9, 4, 17]]


def test_packed_frames_stand_one_after_the_other():
    made = features()

    batch = made.batch([9, 4], packed=True)

    assert torch.equal(batch.text, torch.cat([made.text[9], made.text[4]]))
    assert torch.equal(batch.audio, torch.cat([made.audio[9], made.audio[4]]))
    assert batch.text_mask.tolist() == [len(made.text[9]), len(made.text[4])]
    assert batch.audio_mask.tolist() == [len(made.audio[9]), len(made.audio[4])]


def test_sorted_batches_give_each_utterance_once_by_length():
    made = features()

    rows = [row for batch in sorted_batches(made, 8) for row in batch.rows]

    lengths = [len(made.text[row]) + len(made.audio[row]) for row in rows]
    assert sorted(rows) == list(range(70))
    assert lengths == sorted(lengths)


@pytest.mark.parametrize(("modality", "kept"), [("text", "audio"), ("audio", "text")])
def test_the_control_exchanges_one_modality_alone(modality, kept):
    made = features()

    shuffled = made.shuffled(modality, seed=4)

    assert shuffled.ids == made.ids
    assert torch.equal(shuffled.labels, made.labels)
    assert getattr(shuffled, kept) == getattr(made, kept)
    before = [id(one) for one in getattr(made, modality)]
    after = [id(one) for one in getattr(shuffled, modality)]
    assert sorted(after) == sorted(before)
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_the_control_is_repeated_by_its_seed():
    made = features()

    def order(seed):
        return [int(one[0, 0]) for one in made.shuffled("text", seed=seed).text]

    assert order(4) == order(4)
    assert order(4) != order(5)


def test_one_utterance_alone_keeps_what_it_has():
    made = features(num=1)

    assert made.shuffled("text", seed=0).text == made.text


@pytest.fixture
def manifest(tmp_path):
    """a and b share a recording; c has no sound, d no words, e neither."""
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "one.wav", random.normal(scale=0.1, size=16_000), 16_000)
    soundfile.write(tmp_path / "two.wav", random.normal(scale=0.1, size=24_000), 16_000)
    return make_manifest(
        [
            Utterance(id="a", audio="one.wav", text="well then", emotion="sad", end_s=0.5),
            Utterance(id="b", audio="one.wav", text="well then", emotion="anger", start_s=0.5),
            Utterance(id="c", text="one more word", emotion="sad", duration_s=2.0),
            Utterance(id="d", audio="two.wav", text="  ", emotion="fear"),
            Utterance(id="e", emotion=""),
        ],
        tmp_path,
    )


@pytest.fixture
def encoders():
    return TinyText(["well", "then", "one"], width=TEXT_WIDTH), LogMel(bands=4)


def load(manifest, encoders, cache, text=True, audio=True):
    words, sound = encoders
    return load_features(
        manifest.utterances,
        {"sad": 1, "anger": 0}.get,
        (words, text_items(manifest.utterances)) if text else None,
        (sound, audio_items(manifest, manifest.utterances)) if audio else None,
        cache,
    )


def test_items_are_described_by_their_content(manifest):
    words = text_items(manifest.utterances)
    sound = audio_items(manifest, manifest.utterances)

    assert set(words) == {"a", "b", "c"}
    assert words["a"].key == words["b"].key != words["c"].key
    assert set(sound) == {"a", "b", "d"}
    assert len({item.key for item in sound.values()}) == 3  # one recording, two stretches
    assert [len(sound[name].load()) for name in "abd"] == [8000, 8000, 24_000]


def test_a_copy_of_a_recording_is_the_same_content(manifest, tmp_path):
    (tmp_path / "copy.wav").write_bytes((tmp_path / "two.wav").read_bytes())
    copied = make_manifest([Utterance(id="z", audio="copy.wav")], tmp_path)

    key = audio_items(copied, copied.utterances)["z"].key

    assert key == audio_items(manifest, manifest.utterances)["d"].key


def test_what_is_missing_is_one_zero_frame(manifest, encoders, tmp_path):
    made = load(manifest, encoders, FeatureCache(tmp_path / "cache"))

    assert made.ids == ("a", "b", "c", "d", "e")
    assert made.labels.tolist() == [1, 0, 1, -1, -1]
    for row in (3, 4):
        assert torch.equal(made.text[row], torch.zeros(1, TEXT_WIDTH))
    for row in (2, 4):
        assert torch.equal(made.audio[row], torch.zeros(1, 8))
    batch = made.batch(range(5))
    assert batch.text_mask[:, 0].all()
    assert batch.audio_mask[:, 0].all()
    assert batch.text_mask.sum(1).tolist() == [3, 3, 4, 1, 1]


def test_frames_are_those_of_the_encoders(manifest, encoders, tmp_path):
    words, sound = encoders

    made = load(manifest, encoders, FeatureCache(tmp_path / "cache"))

    assert np.array_equal(made.text[2].numpy(), words.encode(["one more word"]).split()[0])
    waveform, _ = soundfile.read(tmp_path / "two.wav", dtype="float32")
    assert np.allclose(made.audio[3].numpy(), sound.encode([waveform]).split()[0], atol=1e-5)


@pytest.mark.parametrize("absent", ["text", "audio"])
def test_a_modality_that_is_not_read_needs_no_encoder(manifest, encoders, tmp_path, absent):
    cache = FeatureCache(tmp_path / "cache")

    made = load(manifest, encoders, cache, **{absent: False})

    assert all(torch.equal(one, torch.zeros(1, 1)) for one in getattr(made, absent))


def test_encoding_fills_the_cache_once(manifest, encoders, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    words, items = encoders[0], text_items(manifest.utterances)

    first = encode(words, items, cache, Silent())
    again = encode(words, items, cache, Silent())

    assert (first, again) == (2, 0)  # a and b say the same


def test_a_missing_recording_is_told_with_its_utterance(tmp_path):
    manifest = make_manifest([Utterance(id="lost", audio="no.wav")], tmp_path)

    with pytest.raises(AudioError, match=r"utterance 'lost': .*no\.wav"):
        audio_items(manifest, manifest.utterances)


def test_a_broken_recording_is_told_with_its_utterance(tmp_path):
    (tmp_path / "bad.wav").write_bytes(hashlib.sha256(b"").digest() * 9)
    manifest = make_manifest([Utterance(id="torn", audio="bad.wav")], tmp_path)

    with pytest.raises(AudioError, match=r"utterance 'torn': .*bad\.wav"):
        audio_items(manifest, manifest.utterances)["torn"].load()
