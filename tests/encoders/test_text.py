import logging

import folders
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from mersa.encoders.layout import TEXT_TYPES
from mersa.encoders.text import TextEncoder, fold_typography
from mersa.errors import EncoderError, ShapeError

KINDS = {
    "bert": (folders.write_bert, 16, 3),
    "minilm": (folders.write_minilm, 18, 4),
    "roberta": (folders.write_roberta, 24, 2),
    "distilbert": (folders.write_distilbert, 20, 2),
    "mpnet": (folders.write_mpnet, 16, 2),
}
TEXTS = ["so", "i am so happy now", "", "i don't go"]


@pytest.fixture(params=KINDS, scope="module")
def model(request, tmp_path_factory):
    write, width, layers = KINDS[request.param]
    return write(tmp_path_factory.mktemp(request.param)), width, layers


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folders.write_bert(tmp_path_factory.mktemp("bert"))


def frames_of(encoder, texts):
    return encoder.encode(texts).split()


def largest_difference(ours, theirs):
    return max(
        np.abs(one - other).max() / np.abs(other).max()
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("layer", [-1, 1, "mix"])
def test_a_batch_gives_what_one_text_at_a_time_gives(model, layer):
    encoder = TextEncoder(str(model[0]), layer=layer)

    together = frames_of(encoder, TEXTS)

    alone = [frames_of(encoder, [text])[0] for text in TEXTS]
    assert [len(frames) for frames in together] == [len(frames) for frames in alone]
    assert len({len(frames) for frames in alone}) > 2
    assert largest_difference(together, alone) < 1e-5


@pytest.mark.parametrize("kind", TEXT_TYPES)
def test_padding_changes_nothing_whatever_the_lengths(kind, tmp_path):
    encoder = TextEncoder(str(folders.write_stirred_text(tmp_path, kind)), layer="mix")

    @given(counts=st.lists(st.integers(0, 40), min_size=2, max_size=5))
    @settings(max_examples=12, deadline=None)
    def check(counts):
        words = folders.WORDS.split()[5:]
        texts = [" ".join(words[(7 * n) % len(words)] for n in range(count)) for count in counts]
        together = frames_of(encoder, texts)
        alone = [frames_of(encoder, [text])[0] for text in texts]
        assert [len(frames) for frames in together] == [len(frames) for frames in alone]
        assert largest_difference(together, alone) < 1e-4

    check()


def test_tokens_are_counted_as_they_are_encoded(model):
    encoder = TextEncoder(str(model[0]))
    texts = [*TEXTS, "so " * 60, "don\u2019t"]

    assert encoder.count_tokens(texts) == encoder.encode(texts).lengths.tolist()


@pytest.mark.parametrize("text", [*TEXTS, "so " * 60, "don\u2019t go, unhappily!"])
def test_every_frame_belongs_to_a_word(model, text):
    encoder = TextEncoder(str(model[0]))

    words = encoder.words(text)

    assert sum(num for _, num in words) == encoder.encode([text]).lengths[0]
    told = "".join(word for word, _ in words[1:-1])
    assert "".join(fold_typography(text).split()).startswith(told)
    assert len(told) > 0 or not text


def test_pieces_of_a_word_are_one_word(bert):
    encoder = TextEncoder(str(bert))
    pieces = {word: len(encoder._tokenizer.tokenize(word)) for word in ("so", "sadly")}

    assert encoder.words("so sadly") == [
        ("[CLS]", 1),
        ("so", pieces["so"]),
        ("sadly", pieces["sadly"]),
        ("[SEP]", 1),
    ]
    assert pieces["sadly"] > 1 == pieces["so"]
    assert TextEncoder(str(bert), output="pooler").words("so what ") == [("so what", 1)]


def test_a_pooled_batch_gives_what_one_text_at_a_time_gives(model):
    encoder = TextEncoder(str(model[0]), output="pooler")

    together = encoder.encode(TEXTS)

    alone = [frames_of(encoder, [text])[0] for text in TEXTS]
    assert together.frames.shape == (4, 1, model[1])
    assert together.lengths.tolist() == [1, 1, 1, 1]
    assert largest_difference(together.split(), alone) < 1e-5


def test_rows_beyond_the_length_are_zero(model):
    encoded = TextEncoder(str(model[0])).encode(TEXTS)

    beyond = [row[length:] for row, length in zip(encoded.frames, encoded.lengths, strict=True)]

    assert sum(len(rows) for rows in beyond) > 0
    assert all((rows == 0).all() for rows in beyond)
    assert encoded.frames.dtype == np.float32
    assert encoded.lengths.dtype == np.int64


def test_width_and_layers_come_from_the_config(model):
    folder, width, layers = model

    plain, mix = TextEncoder(str(folder)), TextEncoder(str(folder), layer="mix")

    assert (plain.width, plain.num_layers) == (width, 1)
    assert (mix.width, mix.num_layers) == (width, layers + 1)
    assert mix.encode(["so"]).frames.shape[2] == width * (layers + 1)
    assert (plain.modality, plain.frames_per_second, plain.equal_lengths) == ("text", None, False)


def test_frames_are_those_of_transformers(bert):
    tokens = AutoTokenizer.from_pretrained(bert)("i am sad", return_tensors="pt")
    with torch.inference_mode():
        answer = AutoModel.from_pretrained(bert).eval()(**tokens, output_hidden_states=True)
    hidden = [state[0].numpy() for state in answer.hidden_states]

    def encode(**settings):
        return frames_of(TextEncoder(str(bert), **settings), ["i am sad"])[0]

    np.testing.assert_allclose(encode(), hidden[3], atol=1e-6)
    np.testing.assert_allclose(encode(layer=1), hidden[1], atol=1e-6)
    np.testing.assert_allclose(encode(layer=-3), hidden[1], atol=1e-6)
    np.testing.assert_allclose(encode(layer="mix"), np.concatenate(hidden, axis=1), atol=1e-6)
    np.testing.assert_allclose(encode(output="pooler"), answer.pooler_output.numpy(), atol=1e-6)


def test_the_pooler_is_the_mean_where_the_checkpoint_has_none(tmp_path):
    folder = str(folders.write_roberta(tmp_path))

    pooled = frames_of(TextEncoder(folder, output="pooler"), ["i am so", "so"])

    frames = frames_of(TextEncoder(folder), ["i am so", "so"])
    means = [one.mean(axis=0, keepdims=True) for one in frames]
    assert largest_difference(pooled, means) < 1e-5


def test_typographic_marks_are_folded():
    curly = "don\u2019t \u201cgo\u201d now\u2014not\u2026 don\x92t"

    assert fold_typography(curly) == "don't \"go\" now-not... don't"


def test_a_curly_apostrophe_reads_as_the_straight_one(bert):
    encoder = TextEncoder(str(bert))

    curly, straight = frames_of(encoder, ["i don\u2019t", "i don't"])

    np.testing.assert_array_equal(curly, straight)


def test_long_texts_are_cut_with_one_warning(bert, caplog):
    encoder = TextEncoder(str(bert))
    long = "so " * 40

    with caplog.at_level(logging.WARNING):
        encoded = encoder.encode([long, "so", long])
        encoder.encode([long])

    assert encoded.lengths.tolist() == [32, 3, 32]
    assert [record.getMessage() for record in caplog.records] == [
        f"2 of 3 texts are longer than the 32 tokens that {bert} takes and were cut; later cuts "
        "are not reported"
    ]


def test_roberta_keeps_two_positions_for_itself(tmp_path):
    encoder = TextEncoder(str(folders.write_roberta(tmp_path)))

    encoded = encoder.encode(["so " * 60])

    assert encoder.max_tokens == 32
    assert encoded.lengths.tolist() == [32]


def test_max_tokens_cuts_earlier(bert):
    encoder = TextEncoder(str(bert), max_tokens=4)

    assert encoder.encode(["i am so happy now"]).lengths.tolist() == [4]


def test_a_saved_encoder_is_the_same_encoder(model, tmp_path):
    encoder = TextEncoder(str(model[0]), layer="mix", max_tokens=9)

    encoder.save(tmp_path / "copy")

    again = TextEncoder(str(tmp_path / "copy"), layer="mix", max_tokens=9)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode(TEXTS).frames, encoder.encode(TEXTS).frames)


@pytest.mark.parametrize(
    "settings", [{"layer": 1}, {"output": "pooler"}, {"max_tokens": 7}, {"precision": "bf16"}]
)
def test_the_fingerprint_covers_every_setting(bert, settings):
    assert TextEncoder(str(bert), **settings).fingerprint != TextEncoder(str(bert)).fingerprint


@pytest.mark.parametrize("output", ["frames", "pooler"])
def test_bf16_gives_nearly_the_same_frames_in_float32(model, output):
    exact = TextEncoder(str(model[0]), output=output).encode(TEXTS)

    rounded = TextEncoder(str(model[0]), output=output, precision="bf16").encode(TEXTS)

    assert rounded.frames.dtype == np.float32
    assert rounded.lengths.tolist() == exact.lengths.tolist()
    assert 1e-5 < largest_difference(rounded.split(), exact.split()) < 0.05


def test_an_unknown_precision_is_refused(bert):
    with pytest.raises(EncoderError, match=r"precision is 'half', .* 'float32' or 'bf16'; choose"):
        TextEncoder(str(bert), precision="half")


def test_the_fingerprint_knows_a_layer_by_both_its_numbers(bert):
    fingerprint = TextEncoder(str(bert), layer=3).fingerprint

    assert fingerprint == TextEncoder(str(bert), layer=-1).fingerprint


def test_the_fingerprint_covers_the_vocabulary(bert, tmp_path):
    copy = folders.write_bert(tmp_path)
    plain = TextEncoder(str(copy)).fingerprint
    vocabulary = (copy / "vocab.txt").read_text()

    (copy / "vocab.txt").write_text(vocabulary.replace("happy\nsad", "sad\nhappy") + "extra\n")

    assert plain == TextEncoder(str(bert)).fingerprint
    assert TextEncoder(str(copy)).fingerprint != plain


def test_encoding_repeats_itself_and_leaves_the_random_state(tmp_path):
    folder = str(folders.write_roberta(tmp_path))  # its pooler is drawn at random
    state = torch.random.get_rng_state()
    encoder = TextEncoder(folder)

    first, second = encoder.encode(TEXTS), encoder.encode(TEXTS)

    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.frames, TextEncoder(folder).encode(TEXTS).frames)
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_empty_batch_is_refused(bert):
    with pytest.raises(ShapeError, match="no texts; give at least one"):
        TextEncoder(str(bert)).encode([])


def test_a_speech_model_is_refused(tmp_path):
    folder = folders.write_wav2vec2(tmp_path)

    with pytest.raises(EncoderError, match=r"type 'wav2vec2'.* bert.* give this one as audio"):
        TextEncoder(str(folder))


def test_a_missing_tokenizer_is_named(tmp_path):
    folder = folders.write_bert(tmp_path)
    (folder / "vocab.txt").unlink()

    with pytest.raises(EncoderError, match=r"no tokenizer in .*save the tokenizer beside"):
        TextEncoder(str(folder))


def test_a_broken_tokenizer_is_named(tmp_path):
    folder = folders.write_bert(tmp_path)
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(EncoderError, match=r"tokenizer in .* cannot be loaded .*save it again"):
        TextEncoder(str(folder))


def test_a_tokenizer_that_takes_no_text_is_named(tmp_path):
    folder = folders.write_bert(tmp_path)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": -5}')

    with pytest.raises(EncoderError, match=r"takes -5 tokens .* at least 3, .*; give the files"):
        TextEncoder(str(folder))


def test_a_tokenizer_of_another_model_is_named(tmp_path):
    folder = folders.write_bert(tmp_path)
    with (folder / "vocab.txt").open("a") as file:
        file.writelines(f"word{number}\n" for number in range(30))

    with pytest.raises(EncoderError, match=r"has \d\d tokens, but the model knows 40; save"):
        TextEncoder(str(folder)).encode(["so"])


@pytest.mark.parametrize("layer", [4, -5, True, "all", 1.5])
def test_a_layer_that_is_not_there_is_named(bert, layer):
    with pytest.raises(EncoderError, match=rf"layer is {layer!r}, .*0 \(embeddings\) to 3, .*mix"):
        TextEncoder(str(bert), layer=layer)


def test_the_pooler_of_an_inner_layer_is_refused(bert):
    with pytest.raises(EncoderError, match=r"layer is 1, .*pooler.* leave the layer at -1"):
        TextEncoder(str(bert), layer=1, output="pooler")


def test_an_unknown_output_is_named(bert):
    with pytest.raises(EncoderError, match="output is 'mean', but it is 'frames' or 'pooler'"):
        TextEncoder(str(bert), output="mean")


@pytest.mark.parametrize("max_tokens", [2, 33])
def test_max_tokens_that_the_model_cannot_take_are_named(bert, max_tokens):
    with pytest.raises(EncoderError, match=f"max_tokens is {max_tokens}, .*3 to 32.*choose"):
        TextEncoder(str(bert), max_tokens=max_tokens)
