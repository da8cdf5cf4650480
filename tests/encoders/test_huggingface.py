import json
import pickle

import folders
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mersa.encoders.huggingface import load_config, load_model
from mersa.encoders.layout import content_hash, copy_model, is_whole, read_config, weight_files
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.errors import EncoderError


@pytest.fixture
def bert(tmp_path):
    return folders.write_bert(tmp_path / "bert")


def change_weights(folder, change):
    """Pass the stored weights through a function, and store what it gives."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def as_pickle(folder, rename=lambda name: name):
    """Store the weights as torch.save does, as the oldest repositories hold them."""
    weights = load_file(folder / "model.safetensors")
    torch.save({rename(n): tensor for n, tensor in weights.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_loading_says_nothing(tmp_path, capfd):
    folder = folders.write_roberta(tmp_path)
    capfd.readouterr()

    load_model(folder)

    assert capfd.readouterr() == ("", "")


def test_a_model_is_frozen_and_in_eval_mode(bert):
    model, lacking = load_model(bert)

    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not lacking


def test_half_precision_weights_are_run_in_float32(bert):
    change_weights(bert, lambda weights: {name: one.half() for name, one in weights.items()})
    change_config(bert, dtype="float16")

    model, _ = load_model(bert)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_lacking_pooler_is_told(tmp_path):
    _, lacking = load_model(folders.write_roberta(tmp_path))

    assert lacking == {"pooler.dense.weight", "pooler.dense.bias"}


def test_missing_weights_are_named(bert):
    change_weights(
        bert, lambda weights: {n: one for n, one in weights.items() if ".layer.1.output" not in n}
    )

    with pytest.raises(
        EncoderError, match=r"4 weights .* missing \(encoder.layer.1.output.*\.\.\."
    ):
        load_model(bert)


def test_weights_left_over_are_named(bert):
    change_weights(bert, lambda weights: weights | {"bert.gate.weight": torch.ones(3)})

    with pytest.raises(EncoderError, match=r"1 weights .* left over \(.*gate.weight\), .*config"):
        load_model(bert)


def test_the_layer_weights_of_a_head_are_no_weights_of_the_encoder(tmp_path):
    """SUPERB's classifiers, as superb/wav2vec2-base-superb-er, read a weighted sum of layers."""
    folder = folders.write_wav2vec2(tmp_path)
    before, _ = load_model(folder)
    change_weights(folder, lambda weights: weights | {"layer_weights": torch.ones(3)})

    after, _ = load_model(folder)

    assert all(torch.equal(one, after.state_dict()[n]) for n, one in before.state_dict().items())


def test_weights_of_another_shape_are_named_with_both_shapes(bert):
    change_config(bert, intermediate_size=44)

    with pytest.raises(
        EncoderError,
        match=r"9 weights .*layer.0.intermediate.dense.bias is \(28,\) instead of \(44,\)",
    ):
        load_model(bert)


def test_weights_that_are_no_weights_are_named(bert):
    (bert / "model.safetensors").write_bytes(b"not weights at all")

    with pytest.raises(EncoderError, match=r"weights in .* cannot be loaded .*fetch the model"):
        load_model(bert)
    with pytest.raises(EncoderError, match=r"weights in .* cannot be read .*fetch the model"):
        content_hash(bert, {})


def test_a_pickle_with_code_is_refused_and_not_run(bert, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    (bert / "model.safetensors").unlink()
    (bert / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Trap()}, protocol=2))

    for use in (load_model, lambda folder: content_hash(folder, {})):
        with pytest.raises(EncoderError, match=r"pickled and hold more than .* not read; fetch"):
            use(bert)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "held", [[1, 2], torch.zeros(2), {1: torch.zeros(2)}], ids=["list", "tensor", "numbers"]
)
def test_a_pickle_that_is_no_table_of_weights_is_refused(bert, held):
    (bert / "model.safetensors").unlink()
    torch.save(held, bert / "pytorch_model.bin")

    with pytest.raises(EncoderError, match=r"weights in .* cannot be loaded .*fetch the model"):
        load_model(bert)


@pytest.mark.parametrize("held", ['["a"]', '{"a": 1}'])
def test_a_broken_index_of_weights_is_named(bert, held):
    (bert / "model.safetensors").unlink()
    (bert / "model.safetensors.index.json").write_text(f'{{"weight_map": {held}}}')

    with pytest.raises(EncoderError, match=r"index.json does not map weights to files; fetch"):
        load_model(bert)


@pytest.mark.parametrize(
    "change", [{"pad_token_id": 9999}, {"hidden_act": "none"}, {"num_attention_heads": 0}]
)
def test_a_config_that_builds_no_model_is_told(bert, change):
    change_config(bert, **change)

    with pytest.raises(EncoderError, match=r"weights in .* cannot be loaded .*fetch the model"):
        load_model(bert)


def test_weights_with_the_names_of_2018_load(bert):
    """google-bert/bert-base-uncased calls the scales and shifts of its norms gamma and beta."""
    frames = TextEncoder(str(bert)).encode(["i am sad"]).frames

    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        )

    change_weights(bert, lambda weights: {old(n): one * 1.0 for n, one in weights.items()})

    np.testing.assert_array_equal(TextEncoder(str(bert)).encode(["i am sad"]).frames, frames)


def test_pickled_speech_weights_with_old_names_load(tmp_path):
    """facebook/wav2vec2-base names the two parts of its weight norm weight_g and weight_v."""
    folder = folders.write_wav2vec2(tmp_path / "wav2vec2")
    clip = np.sin(np.arange(2_000, dtype=np.float32))
    frames = SpeechEncoder(str(folder)).encode([clip]).frames

    as_pickle(
        folder,
        lambda name: name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ),
    )

    assert "weight_g" in " ".join(torch.load(folder / "pytorch_model.bin", weights_only=True))
    np.testing.assert_array_equal(SpeechEncoder(str(folder)).encode([clip]).frames, frames)


def test_the_hash_is_of_the_content_and_not_of_path_or_format(bert, tmp_path):
    safe = content_hash(bert, {"layer": 1})
    other = folders.write_bert(tmp_path / "elsewhere")
    as_pickle(other)

    assert content_hash(other, {"layer": 1}) == safe
    assert content_hash(bert, {"layer": 2}) != safe


def test_the_hash_covers_every_weight(bert):
    before = content_hash(bert, {})

    change_weights(bert, lambda weights: weights | {"cls.predictions.bias": torch.ones(40)})

    assert content_hash(bert, {}) != before


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "vocab.txt"])
def test_the_hash_covers_the_files_beside_the_weights(bert, file):
    before = content_hash(bert, {})

    (bert / file).write_text((bert / file).read_text() + "\n")

    assert content_hash(bert, {}) != before


def test_a_copy_holds_no_pickle_and_has_the_same_hash(bert, tmp_path):
    as_pickle(bert)

    copy_model(bert, tmp_path / "copy")

    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
    assert content_hash(tmp_path / "copy", {}) == content_hash(bert, {})
    load_model(tmp_path / "copy")


def test_shards_are_one_model(bert, tmp_path):
    whole = content_hash(bert, {})
    weights = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    index = {n: f"model-{1 + number % 2}.safetensors" for number, n in enumerate(weights)}
    for shard in set(index.values()):
        part = {n: one for n, one in weights.items() if index[n] == shard}
        save_file(part, bert / shard, metadata={"format": "pt"})
    (bert / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    )

    copy_model(bert, tmp_path / "copy")

    assert len(weight_files(bert)) == 2
    assert content_hash(bert, {}) == content_hash(tmp_path / "copy", {}) == whole
    load_model(bert)


def test_a_missing_shard_is_named(bert):
    (bert / "model.safetensors").unlink()
    (bert / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.bin"}}')

    with pytest.raises(EncoderError, match=r"names model-1.bin, but the folder lacks .*fetch"):
        weight_files(bert)
    assert not is_whole(bert)


def test_a_folder_without_weights_is_named(bert):
    (bert / "model.safetensors").unlink()

    with pytest.raises(EncoderError, match=r"neither model.safetensors nor .*save_pretrained"):
        load_model(bert)


def test_a_folder_without_config_is_named(tmp_path):
    with pytest.raises(EncoderError, match=r"has no config.json; give a folder that save_pretrai"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config.json is not JSON \(.*\); fetch the model again"),
        ("[]", "config.json is not a JSON object; fetch the model again"),
        ("{}", "config.json names no model_type; give the config.json that belongs"),
    ],
)
def test_a_broken_config_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)

    with pytest.raises(EncoderError, match=message):
        read_config(tmp_path)


def test_a_config_with_a_wrong_value_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}')

    with pytest.raises(EncoderError, match=r"config.json cannot be used \(.*\); give the config"):
        load_config(tmp_path)
