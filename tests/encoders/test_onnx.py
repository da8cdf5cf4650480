import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import soundfile  # noqa: E402
import soxr  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from mersa.encoders.onnx import OnnxEncoder  # noqa: E402
from mersa.errors import (  # noqa: E402
    ConfigError,
    EncoderError,
    MissingExtraError,
    ShapeError,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
MN04 = DATA / "pretrained" / "efficientat_mn04"
KERNEL = np.random.default_rng(3).standard_normal((5, 1, 40)).astype(np.float32)


def write_model(path, *, metadata=None, batch="B", samples="T", width=5, inputs=1, rank=3):
    """A convolution of 5 filters, 40 samples long, one step each 20, as frames (B, N, 5).

    The mean over time is added to every frame, so that padding would change them all.
    """
    names = ["waveform", "second"][:inputs]
    nodes = [
        helper.make_node("Unsqueeze", [names[-1], "axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "kernel"], ["maps"], strides=[20]),
        helper.make_node("ReduceMean", ["maps", "time"], ["mean"], keepdims=1),
        helper.make_node("Add", ["maps", "mean"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["frames", "axis"], ["embedding"], keepdims=0),
        helper.make_node("Neg", ["frames"], ["minus"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("time", TensorProto.INT64, [1], [2]),
        helper.make_tensor("kernel", TensorProto.FLOAT, KERNEL.shape, KERNEL.ravel()),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 5])]
    if rank == 3:
        outputs += [
            helper.make_tensor_value_info("frames", TensorProto.FLOAT, [batch, "N", width]),
            helper.make_tensor_value_info("minus", TensorProto.FLOAT, [batch, "N", width]),
        ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, [batch, samples]) for one in names],
        outputs,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"min_samples": "40"} | (metadata or {}))
    onnx.save(model, path)
    return path


def by_hand(clip):
    maps = np.stack([np.correlate(clip, filter_[0], mode="valid")[::20] for filter_ in KERNEL], 1)
    return maps + maps.mean(axis=0)


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * 0.1


CLIPS = [noise(samples, seed) for seed, samples in enumerate((333, 515, 120, 515))]


@pytest.fixture
def path(tmp_path):
    return write_model(tmp_path / "small.onnx")


def test_frames_are_those_of_the_model(path):
    encoder = OnnxEncoder(path)

    frames = encoder.encode(CLIPS).split()

    for one, clip in zip(frames, CLIPS, strict=True):
        np.testing.assert_allclose(one, by_hand(clip), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", ["B", 1])
def test_a_batch_gives_what_one_clip_at_a_time_gives(tmp_path, batch):
    encoder = OnnxEncoder(write_model(tmp_path / "small.onnx", batch=batch))

    together = encoder.encode(CLIPS).split()

    alone = [encoder.encode([clip]).split()[0] for clip in CLIPS]
    assert [len(frames) for frames in together] == [15, 24, 5, 24]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_file_says_what_it_is(path):
    encoder = OnnxEncoder(path)

    assert encoder.name == f"onnx:{path}"
    assert (encoder.modality, encoder.width, encoder.num_layers) == ("audio", 5, 1)
    assert encoder.equal_lengths


@pytest.mark.parametrize("metadata", [{}, {"frame_rate_hz": "800"}])
def test_the_frame_rate_is_stated_or_measured(tmp_path, metadata):
    path = write_model(tmp_path / "small.onnx", metadata=metadata)

    assert OnnxEncoder(path).frames_per_second == 800.0


def test_the_width_is_measured_where_the_file_leaves_it_open(tmp_path):
    assert OnnxEncoder(write_model(tmp_path / "small.onnx", width="D")).width == 5


@pytest.mark.parametrize("samples", [0, 1, 39, 40])
def test_the_shortest_clips_give_one_finite_frame(path, samples):
    encoded = OnnxEncoder(path, peak=0.5).encode([noise(samples)])

    assert encoded.lengths.tolist() == [1]
    assert np.isfinite(encoded.frames).all()


def test_a_model_of_another_rate_hears_its_own_rate(tmp_path):
    path = write_model(tmp_path / "small.onnx", metadata={"sampling_rate": "32000"})

    encoder = OnnxEncoder(path)

    frames = encoder.encode([CLIPS[0]]).split()[0]
    expected = by_hand(soxr.resample(CLIPS[0], 16_000, 32_000))
    np.testing.assert_allclose(frames, expected, rtol=1e-4, atol=1e-5)
    assert encoder.frames_per_second == 1600.0


def test_an_output_is_chosen_by_name(path):
    first, named = OnnxEncoder(path), OnnxEncoder(path, output="minus")

    np.testing.assert_array_equal(named.encode(CLIPS).frames, -first.encode(CLIPS).frames)


def test_the_peak_takes_the_level_away(path):
    encoder = OnnxEncoder(path, peak=0.5)

    loud, faint = encoder.encode([CLIPS[0], CLIPS[0] / 8]).split()

    np.testing.assert_allclose(faint, loud, rtol=1e-4, atol=1e-5)
    largest = np.abs(CLIPS[0]).max()
    np.testing.assert_allclose(loud, by_hand(CLIPS[0] / largest / 2), rtol=1e-4, atol=1e-5)


def test_a_saved_encoder_is_the_same_encoder(path, tmp_path):
    encoder = OnnxEncoder(path, peak=0.5)

    encoder.save(tmp_path / "copy")

    again = OnnxEncoder(tmp_path / "copy" / "model.onnx", peak=0.5)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode(CLIPS).frames, encoder.encode(CLIPS).frames)


@pytest.mark.parametrize("settings", [{"peak": 0.5}, {"output": "minus"}])
def test_the_fingerprint_covers_every_setting(path, settings):
    assert OnnxEncoder(path, **settings).fingerprint != OnnxEncoder(path).fingerprint


def test_the_fingerprint_covers_the_file_and_not_the_threads(path, tmp_path):
    other = write_model(tmp_path / "other.onnx", metadata={"licence": "MIT"})

    assert OnnxEncoder(other).fingerprint != OnnxEncoder(path).fingerprint
    assert OnnxEncoder(path, threads=2).fingerprint == OnnxEncoder(path).fingerprint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EncoderError, match=r"nothing.onnx' does not exist; give the path"):
        OnnxEncoder(tmp_path / "nothing.onnx")


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("no model")

    with pytest.raises(EncoderError, match=r"text.onnx cannot be read as an ONNX model .*export"):
        OnnxEncoder(path)


@pytest.mark.parametrize("changes", [{"inputs": 2}, {"samples": 400}])
def test_other_inputs_are_named(tmp_path, changes):
    path = write_model(tmp_path / "small.onnx", **changes)

    with pytest.raises(EncoderError, match=r"takes waveform tensor\(float\).*\(clips, samples\)"):
        OnnxEncoder(path)


def test_a_model_without_frames_is_named(tmp_path):
    path = write_model(tmp_path / "small.onnx", rank=2)

    with pytest.raises(EncoderError, match=r"gives embedding .* name such an output, or export"):
        OnnxEncoder(path)


def test_an_output_that_is_not_there_is_named(path):
    with pytest.raises(
        EncoderError, match=r"is asked for 'embedding', but frames are .* name such"
    ):
        OnnxEncoder(path, output="embedding")


@pytest.mark.parametrize(
    ("key", "value"), [("sampling_rate", "fast"), ("min_samples", "-3"), ("frame_rate_hz", "nan")]
)
def test_metadata_that_is_no_number_is_named(tmp_path, key, value):
    path = write_model(tmp_path / "small.onnx", metadata={key: value})

    with pytest.raises(EncoderError, match=f"states {key} as '{value}', .*mend the metadata"):
        OnnxEncoder(path)


def test_a_clip_that_the_model_cannot_take_is_named(tmp_path):
    path = write_model(tmp_path / "small.onnx", metadata={"min_samples": "10"})

    with pytest.raises(EncoderError, match=r"fails on 1 clips of 10 samples .*min_samples"):
        OnnxEncoder(path).encode([noise(10)])


def test_no_threads_are_refused(path):
    with pytest.raises(EncoderError, match=r"threads is 0, .*give 1 or more"):
        OnnxEncoder(path, threads=0)


def test_a_peak_of_nothing_is_refused(path):
    with pytest.raises(ConfigError, match="peak is 0"):
        OnnxEncoder(path, peak=0)


def test_two_channels_are_refused(path):
    with pytest.raises(ShapeError, match=r"shape \(2, 900\), .*average the channels"):
        OnnxEncoder(path).encode([np.zeros((2, 900), np.float32)])


def test_a_missing_runtime_names_the_extra(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r"small.onnx needs .*pip install 'mersa\[onnx\]'"):
        OnnxEncoder(path)


@pytest.mark.corpus
@pytest.mark.skipif(not MN04.is_dir(), reason=f"{MN04} is absent")
def test_a_real_model_gives_its_published_numbers():
    reference = np.load(MN04 / "reference.npz")
    clips = [soundfile.read(DATA / name, dtype="float32")[0] for name in reference["source"]]
    encoder = OnnxEncoder(MN04 / "mn04_16khz.onnx", peak=0.5)

    frames = encoder.encode(clips).split()

    assert (encoder.width, encoder.frames_per_second) == (384, 3.125)
    for number, one in enumerate(frames):
        np.testing.assert_allclose(one.mean(axis=0), reference[f"embedding_{number}"], atol=2e-5)


@pytest.mark.corpus
@pytest.mark.skipif(not MN04.is_dir(), reason=f"{MN04} is absent")
def test_a_real_model_bears_the_shortest_clips_and_silence():
    encoder = OnnxEncoder(MN04 / "mn04_16khz.onnx", peak=0.5)

    encoded = encoder.encode([noise(257), noise(100), np.zeros(16_000, np.float32)])

    assert encoded.lengths.tolist() == [1, 1, 4]
    assert np.isfinite(encoded.frames).all()


@pytest.mark.corpus
@pytest.mark.skipif(not MN04.is_dir(), reason=f"{MN04} is absent")
def test_a_real_model_does_not_see_the_batch():
    encoder = OnnxEncoder(MN04 / "mn04_16khz.onnx", peak=0.5)
    clips = [noise(samples, seed) for seed, samples in enumerate((16_000, 21_000, 9_000, 16_000))]

    together = encoder.encode(clips).split()

    for one, clip in zip(together, clips, strict=True):
        alone = encoder.encode([clip]).split()[0]
        assert np.abs(one - alone).max() <= 1e-5 * np.abs(alone).max()
