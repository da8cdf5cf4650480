import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mersa.encoders.base import Encoder
from mersa.encoders.tiny import MAX_WORDS, TinyText, to_words
from mersa.errors import ConfigError, EncoderError

TEXTS = ["I don't know.", "You KNOW it, don't you?", "It is 5 o'clock!"]
WORDS = ("5", "don't", "i", "is", "it", "know", "o'clock", "you")


def test_it_is_an_encoder():
    encoder: Encoder = TinyText.learn(TEXTS, width=17)

    assert (encoder.width, encoder.num_layers, encoder.modality) == (17, 1, "text")
    assert encoder.frames_per_second is None
    assert not encoder.equal_lengths


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t SHOUT", ["don't", "shout"]),
        ("'tis the dogs' 'bone'", ["tis", "the", "dogs", "bone"]),
        ("well-known_thing... 42%", ["well", "known", "thing", "42"]),
        ("Fu\N{COMBINING DIAERESIS}r Grüße", ["für", "grüße"]),
        (" \t\n...?!", []),
    ],
)
def test_words_are_lower_case_letters_digits_and_inner_apostrophes(text, words):
    assert to_words(text) == words


def test_the_vocabulary_is_that_of_the_training_texts():
    assert TinyText.learn(TEXTS).vocabulary == WORDS


def test_rare_words_are_left_out_by_min_count():
    assert TinyText.learn(TEXTS, min_count=2).vocabulary == ("don't", "it", "know", "you")


def test_frames_are_cls_and_then_each_word():
    encoder = TinyText.learn(TEXTS, width=5)

    (frames,) = encoder.encode(["it IS; it?"]).split()
    (turned,) = encoder.encode(["is it"]).split()

    assert frames.shape == (4, 5)
    assert frames.dtype == np.float32
    assert np.array_equal(frames, turned[[0, 2, 1, 2]])
    assert len(np.unique(turned, axis=0)) == 3


@pytest.mark.parametrize("output", ["frames", "pooler"])
@pytest.mark.parametrize("text", ["it IS; it?", "", "purple " * 600])
def test_every_frame_belongs_to_a_word(output, text):
    encoder = TinyText.learn(TEXTS, width=5, output=output)

    words = encoder.words(text)

    assert sum(num for _, num in words) == encoder.encode([text]).lengths[0]


def test_words_are_told_as_they_are_read():
    encoder = TinyText.learn(TEXTS, width=5)

    assert encoder.words("it IS; it?") == [("[CLS]", 1), ("it", 1), ("is", 1), ("it", 1)]


def test_unknown_words_share_one_vector():
    encoder = TinyText.learn(TEXTS)

    (frames,) = encoder.encode(["purple know unheard"]).split()

    assert np.array_equal(frames[1], frames[3])
    assert not np.array_equal(frames[1], frames[2])
    assert not np.array_equal(frames[1], frames[0])


def test_the_pooler_is_the_mean_over_the_words_without_cls():
    words = TinyText.learn(TEXTS, width=5).encode(["it is you"])
    pooled = TinyText.learn(TEXTS, width=5, output="pooler").encode(["it is you", "know"])

    assert pooled.frames.shape == (2, 1, 5)
    assert pooled.frames[0, 0] == pytest.approx(words.frames[0, 1:].mean(axis=0))
    assert pooled.frames.dtype == np.float32


@pytest.mark.parametrize("output", ["frames", "pooler"])
@pytest.mark.parametrize("text", ["", "  ", "?!"])
def test_a_text_without_words_gives_cls_alone(output, text):
    (frames,) = TinyText.learn(TEXTS, output=output).encode([text]).split()

    (cls_and_word,) = TinyText.learn(TEXTS).encode(["it"]).split()
    assert np.array_equal(frames, cls_and_word[:1])


def test_two_vocabularies_agree_on_shared_words():
    one = TinyText.learn(["we know"]).encode(["know elsewhere"])
    other = TinyText.learn(["they know what they know"]).encode(["know elsewhere"])

    assert np.array_equal(one.frames, other.frames)


def test_vectors_have_unit_scale_and_are_unrelated():
    vectors = np.stack(list(TinyText(map(str, range(300)), width=200)._vectors.values()))

    assert vectors.mean() == pytest.approx(0, abs=0.02)
    assert vectors.std() == pytest.approx(1, abs=0.02)
    assert np.abs(np.corrcoef(vectors) - np.eye(302)).max() < 0.4


def test_vectors_stay_the_same_over_versions():
    frames = TinyText(["know"], width=3).encode(["know"]).frames

    assert frames[0, 1] == pytest.approx([-0.5207312, 1.0337565, 1.4465047], abs=1e-6)


def test_a_batch_gives_what_one_at_a_time_gives():
    encoder = TinyText.learn(TEXTS)

    together = encoder.encode(TEXTS).split()

    assert [len(frames) for frames in together] == [4, 6, 5]
    for text, frames in zip(TEXTS, together, strict=True):
        assert np.array_equal(frames, encoder.encode([text]).frames[0])


def test_every_setting_changes_the_fingerprint():
    choices = [{}, {"width": 64}, {"seed": 1}, {"output": "pooler"}, {"min_count": 2}]

    fingerprints = {TinyText.learn(TEXTS, **choice).fingerprint for choice in choices}

    assert len(fingerprints) == len(choices)
    assert TinyText.learn(TEXTS[::-1]).fingerprint == TinyText.learn(TEXTS).fingerprint


def test_another_seed_gives_other_vectors():
    one, other = (TinyText.learn(TEXTS, seed=seed).encode(["it"]).frames for seed in (0, 1))

    assert not np.isclose(one, other).any()


def test_save_and_load_give_the_same_encoder(tmp_path):
    encoder = TinyText.learn(TEXTS, width=7, seed=3, output="pooler")

    encoder.save(tmp_path / "text")
    again = TinyText.load(tmp_path / "text")

    assert again.fingerprint == encoder.fingerprint
    assert np.array_equal(again.encode(TEXTS).frames, encoder.encode(TEXTS).frames)
    vocabulary = (tmp_path / "text" / "vocabulary.txt").read_bytes().decode()
    assert vocabulary == "".join(f"{word}\n" for word in WORDS)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1))
def test_any_vocabulary_survives_save_and_load(tmp_path_factory, text):
    encoder = TinyText.learn(["a", text], width=1)
    folder = tmp_path_factory.mktemp("text")

    encoder.save(folder)

    assert TinyText.load(folder).vocabulary == encoder.vocabulary


@pytest.mark.parametrize("texts", [[], ["", " ?! "]])
def test_training_texts_without_words_are_refused(texts):
    with pytest.raises(EncoderError, match=rf"in {len(texts)} training texts .* give texts with"):
        TinyText.learn(texts)


def test_a_min_count_that_leaves_nothing_is_refused():
    with pytest.raises(EncoderError, match=r"none of the 8 words .* 9 times, .* smaller min_count"):
        TinyText.learn(TEXTS, min_count=9)


@pytest.mark.parametrize("name", ["vocabulary.txt", "config.json"])
@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_a_folder_with_a_missing_or_unreadable_file_is_refused(tmp_path, name, content):
    TinyText.learn(TEXTS).save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(EncoderError, match=rf"{tmp_path.name}.* save the encoder again"):
        TinyText.load(tmp_path)


@pytest.mark.parametrize("content", ["", "b\na\n", "a\na\n", "a\nb", "a b\n", "A\n", "a\n\n"])
def test_a_changed_vocabulary_is_refused(tmp_path, content):
    TinyText.learn(TEXTS).save(tmp_path)
    (tmp_path / "vocabulary.txt").write_text(content)

    with pytest.raises(EncoderError, match=r"vocabulary\.txt.* was cut .* save the encoder again"):
        TinyText.load(tmp_path)


def test_an_unknown_setting_in_the_folder_is_refused(tmp_path):
    TinyText.learn(TEXTS).save(tmp_path)
    (tmp_path / "config.json").write_text('{"depth": 3}')

    with pytest.raises(EncoderError, match=r"depth.* save the encoder again"):
        TinyText.load(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"width": 0}, "width is 0, .* use 128"),
        ({"min_count": 0}, "min_count is 0, .* use 1"),
        ({"output": "mean"}, "output is 'mean', .* frames or pooler"),
    ],
)
def test_an_impossible_setting_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        TinyText.learn(TEXTS, **setting)


def test_words_beyond_the_most_are_not_read():
    encoder = TinyText(["so", "happy"])

    frames = encoder.encode(["so " * MAX_WORDS + "happy"]).frames

    assert frames.shape[1] == 1 + MAX_WORDS
    assert np.array_equal(frames[0, 1], frames[0, -1])
