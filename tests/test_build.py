import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mersa import build
from mersa.config import AudioSettings, TextSettings, apply_assignments, make_config
from mersa.encoders.mel import LogMel
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.encoders.tiny import TinyText
from mersa.encoders.vggish import VGGish
from mersa.errors import ConfigError, EncoderError
from mersa.networks import (
    CrossAttentionFusion,
    MixedLayers,
    SelfAttentionFusion,
    Server,
    SingleModality,
)

sys.path.append(str(Path(__file__).parent / "encoders"))
folders = importlib.import_module("folders")

SAMPLES = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folders.write_bert(tmp_path_factory.mktemp("bert"))  # 16 wide, 3 layers


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    return folders.write_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))  # 24 wide, 3 layers


def text(name="tiny", **more):
    return TextSettings(name=str(name), **more)


def audio(name="mel", **more):
    return AudioSettings(name=str(name), **more)


def test_tiny_learns_the_words_of_train():
    encoder = build.text_encoder(text(), train_texts=["I see the house", "I see"])

    assert isinstance(encoder, TinyText)
    assert encoder.vocabulary == TinyText.learn(["I see the house", "I see"]).vocabulary


def test_tiny_gives_one_vector_where_it_is_asked_for():
    encoder = build.text_encoder(text(output="pooler"), train_texts=["I see the house"])

    assert encoder.encode(["I see the house"]).split()[0].shape == (1, encoder.width)


def test_a_folder_of_words_is_a_text_encoder(bert):
    encoder = build.text_encoder(text(bert))

    assert isinstance(encoder, TextEncoder)
    assert (encoder.width, encoder.num_layers) == (16, 1)


def test_the_settings_of_words_reach_the_encoder(bert):
    plain = build.text_encoder(text(bert))
    settings = [
        {"layer": 1},
        {"layer": "mix"},
        {"output": "pooler"},
        {"max_tokens": 5},
        {"precision": "bf16"},
    ]

    others = [build.text_encoder(text(bert, **one)) for one in settings]

    fingerprints = {plain.fingerprint, *(one.fingerprint for one in others)}
    assert len(fingerprints) == 1 + len(settings)
    assert [one.num_layers for one in others] == [1, 4, 1, 1, 1]
    assert others[3].max_tokens == 5


def test_mel_takes_its_peak():
    plain, level = build.audio_encoder(audio()), build.audio_encoder(audio(peak=0.5))

    assert isinstance(plain, LogMel)
    assert plain.fingerprint == LogMel().fingerprint
    assert level.fingerprint == LogMel(peak=0.5).fingerprint != plain.fingerprint


def test_a_folder_of_sound_is_a_speech_encoder(wav2vec2):
    encoder = build.audio_encoder(audio(wav2vec2))

    assert isinstance(encoder, SpeechEncoder)
    assert (encoder.width, encoder.num_layers) == (24, 1)


def test_the_settings_of_sound_reach_the_encoder(wav2vec2):
    plain = build.audio_encoder(audio(wav2vec2))
    settings = [
        {"layer": 1},
        {"layer": "mix"},
        {"peak": 0.5},
        {"normalize": False},
        {"precision": "bf16"},
    ]

    others = [build.audio_encoder(audio(wav2vec2, **one)) for one in settings]

    fingerprints = {plain.fingerprint, *(one.fingerprint for one in others)}
    assert len(fingerprints) == 1 + len(settings)
    assert [one.num_layers for one in others] == [1, 4, 1, 1, 1]


@pytest.mark.parametrize("name", ["vggish", "vggish:weights/here"])
def test_vggish_is_built_without_its_weights(name):
    encoder = build.audio_encoder(audio(name))

    assert isinstance(encoder, VGGish)
    assert (encoder.name, encoder.width, encoder.num_layers) == (name, 128, 1)


def test_vggish_of_a_folder_without_weights_is_told(tmp_path):
    encoder = build.audio_encoder(audio(f"vggish:{tmp_path}", pca=True, short_clips="zero"))

    with pytest.raises(EncoderError, match=str(tmp_path)):
        encoder.encode([SAMPLES])


def test_an_onnx_file_is_an_encoder(tmp_path):
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "small.onnx")

    encoder = build.audio_encoder(audio(f"onnx:{path}"))
    level = build.audio_encoder(audio(f"onnx:{path}", peak=0.5))

    assert (encoder.name, encoder.width) == (f"onnx:{path}", 1)
    assert np.abs(encoder.encode([SAMPLES]).split()[0]).max() == pytest.approx(abs(SAMPLES).max())
    assert np.abs(level.encode([SAMPLES]).split()[0]).max() == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["onnx:", "onnx"])
def test_onnx_without_a_file_is_refused(name):
    with pytest.raises(ConfigError, match=r"audio\.name 'onnx:' names no file; write onnx:FILE"):
        build.audio_encoder(audio(name))


@pytest.mark.parametrize("layer", [0, 2, "mix"])
def test_a_layer_of_an_encoder_that_has_one_is_refused(layer, tmp_path):
    with pytest.raises(
        ConfigError, match=rf"text\.layer is {layer!r}, but tiny has one layer; leave text\.layer a"
    ):
        build.text_encoder(text(layer=layer), train_texts=["so"])
    for name in ("mel", "vggish", f"vggish:{tmp_path}", "onnx:small.onnx"):
        kind = name.partition(":")[0]
        with pytest.raises(
            ConfigError, match=rf"audio\.layer is {layer!r}, but {kind} has one layer; leave audio"
        ):
            build.audio_encoder(audio(name, layer=layer))


def test_what_was_saved_comes_before_the_name(bert, wav2vec2, tmp_path):
    learnt = build.text_encoder(text(), train_texts=["I see the house"])
    made = {
        "tiny": (learnt, text()),
        "bert": (build.text_encoder(text(bert)), text("gone/away", revision="5eed")),
        "wav2vec2": (build.audio_encoder(audio(wav2vec2)), audio("gone/away", revision="5eed")),
    }

    for name, (encoder, settings) in made.items():
        encoder.save(tmp_path / name)
        load = build.text_encoder if encoder.modality == "text" else build.audio_encoder
        assert load(settings, saved=tmp_path / name).fingerprint == encoder.fingerprint


def test_an_onnx_file_that_was_saved_comes_before_the_name(tmp_path):
    pytest.importorskip("onnxruntime")
    path = write_onnx(tmp_path / "small.onnx")
    encoder = build.audio_encoder(audio(f"onnx:{path}"))
    fingerprint = encoder.fingerprint
    encoder.save(tmp_path / "saved")
    path.unlink()

    found = build.audio_encoder(audio(f"onnx:{path}"), saved=tmp_path / "saved")

    assert found.fingerprint == fingerprint


SYSTEMS = {
    "server": Server,
    "3m-ser": SelfAttentionFusion,
    "mersa": SelfAttentionFusion,
    "mersa-cross": CrossAttentionFusion,
    "text": SingleModality,
    "audio": SingleModality,
}


def built(system, text_encoder, audio_encoder, num_labels=5, **network):
    config = make_config({"network": {"system": system, "num_heads": 2, **network}})
    return build.network(config, text_encoder, audio_encoder, num_labels)


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_is_its_network(system, bert, wav2vec2):
    words = None if system == "audio" else build.text_encoder(text(bert))
    sound = None if system == "text" else build.audio_encoder(audio(wav2vec2))
    net = built(system, words, sound).eval()

    read = torch.randn(3, 7, 16) if words else torch.zeros(3, 1, 1)
    heard = torch.randn(3, 11, 24) if sound else torch.zeros(3, 1, 1)
    masks = [torch.ones(frames.shape[:2], dtype=torch.bool) for frames in (read, heard)]
    logits = net(read, masks[0], heard, masks[1])

    assert type(net) is SYSTEMS[system]
    assert logits.shape == (3, 5)


@pytest.mark.parametrize(("system", "modality"), [("text", "text"), ("audio", "audio")])
def test_one_modality_alone_is_pooled_by_its_mean(system, modality, bert, wav2vec2):
    net = built(system, build.text_encoder(text(bert)), build.audio_encoder(audio(wav2vec2)))

    assert (net.modality, net.pooling) == (modality, "mean")
    assert net.block.attention.query.in_features == {"text": 16, "audio": 24}[modality]


@pytest.mark.parametrize("system", ["3m-ser", "mersa", "mersa-cross"])
def test_fused_modalities_are_pooled_by_the_first_frame(system, bert, wav2vec2):
    encoders = build.text_encoder(text(bert)), build.audio_encoder(audio(wav2vec2))

    assert built(system, *encoders).fusion.pooling == "first"
    assert built(system, *encoders, pooling="max").fusion.pooling == "max"


def test_a_fusion_width_of_none_is_that_of_the_sound(bert, wav2vec2):
    encoders = build.text_encoder(text(bert)), build.audio_encoder(audio(wav2vec2))

    wide, narrow = (built("3m-ser", *encoders, fusion_width=width) for width in (0, 10))

    assert wide.fusion.block.linear.out_features == 24
    assert narrow.fusion.block.linear.out_features == 10


@pytest.mark.parametrize("mixed", ["text", "audio"])
def test_layers_are_mixed_where_an_encoder_gives_several(mixed, bert, wav2vec2):
    net = built(
        "mersa-cross",
        build.text_encoder(text(bert, layer="mix" if mixed == "text" else -1)),
        build.audio_encoder(audio(wav2vec2, layer="mix" if mixed == "audio" else -1)),
    )

    assert isinstance(net, MixedLayers)
    assert isinstance(net.network, CrossAttentionFusion)
    other = "audio" if mixed == "text" else "text"
    assert getattr(net, f"{mixed}_mix").weights.shape == (4,)
    assert isinstance(getattr(net, f"{other}_mix"), torch.nn.Identity)


def write_onnx(path):
    """Write a model whose frames, one wide, are the loudest of each 400 samples."""
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Unsqueeze", ["waveform", "axis"], ["channel"]),
        make.make_node("Abs", ["channel"], ["loud"]),
        make.make_node("MaxPool", ["loud"], ["maps"], kernel_shape=[400], strides=[400]),
        make.make_node("Transpose", ["maps"], ["frames"], perm=[0, 2, 1]),
    ]
    graph = make.make_graph(
        nodes,
        "small",
        [make.make_tensor_value_info("waveform", kinds.FLOAT, ["B", "T"])],
        [make.make_tensor_value_info("frames", kinds.FLOAT, ["B", "N", 1])],
        [make.make_tensor("axis", kinds.INT64, [1], [1])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)
    make.set_model_props(model, {"min_samples": "400"})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["audio.name=mel", "audio.pca=true"],
            "audio.pca is True, but mel does not read it; leave",
        ),
        (["audio.name=vggish", "audio.normalize=false"], "audio.normalize is False, but vggish"),
        (["audio.name=w2v", "audio.short_clips=zero"], "audio.short_clips is 'zero', but an enc"),
        (["audio.name=mel", "audio.precision=bf16"], "audio.precision is 'bf16', but mel does not"),
        (["audio.name=vggish", "audio.precision=bf16"], "audio.precision is 'bf16', but vggish"),
        (["text.name=tiny", "text.max_tokens=9"], "text.max_tokens is 9, but tiny does not"),
        (["text.name=tiny", "text.precision=bf16"], "text.precision is 'bf16', but tiny does not"),
    ],
)
def test_a_setting_that_the_encoder_does_not_read_is_refused(settings, message):
    config = make_config(apply_assignments({}, settings))

    def make():
        if settings[0].startswith("text"):
            return build.text_encoder(config.text, train_texts=["so"])
        return build.audio_encoder(config.audio)

    with pytest.raises(ConfigError, match=message):
        make()
