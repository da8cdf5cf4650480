import hashlib
import http.server
import importlib.util
import logging
import math
import os
import socket
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mersa.encoders import vggish
from mersa.encoders.base import Encoder
from mersa.encoders.vggish import Network, VGGish, quantise, to_examples
from mersa.errors import ConfigError, EncoderError

SILENCE = math.log(0.01)
EXAMPLE = 15_600  # samples of one example: 96 windows
HIDDEN = 48


def shapes(*, hidden):
    """The tensors of the published file, whose `hidden` is 4096."""
    weights = {
        "features.0": (64, 1, 3, 3),
        "features.3": (128, 64, 3, 3),
        "features.6": (256, 128, 3, 3),
        "features.8": (256, 256, 3, 3),
        "features.11": (512, 256, 3, 3),
        "features.13": (512, 512, 3, 3),
        "embeddings.0": (hidden, 12288),
        "embeddings.2": (hidden, hidden),
        "embeddings.4": (128, hidden),
    }
    named = {f"{key}.weight": shape for key, shape in weights.items()}
    return named | {f"{key}.bias": shape[:1] for key, shape in weights.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with random weights in the published format, whose names are theirs.

    The two wide layers are narrow in these tests, for the sake of time; all else is as published.
    """
    folder = tmp_path_factory.mktemp("published")
    random = torch.Generator().manual_seed(0)
    weights = {}
    for key, shape in shapes(hidden=HIDDEN).items():
        deviation = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[key] = torch.randn(shape, generator=random) * deviation
    pca = {
        "pca_eigen_vectors": torch.randn(128, 128, generator=random).numpy() / 8,
        "pca_means": torch.rand(128, 1, generator=random, dtype=torch.float64).numpy(),
    }
    # The published files are older than the zip format.
    names = [
        save_by_hash(weights, folder, "vggish"),
        save_by_hash(pca, folder, "vggish_pca_params"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vggish, "_HIDDEN", HIDDEN)
        patch.setattr(vggish, "WEIGHTS_FILE", names[0])
        patch.setattr(vggish, "PCA_FILE", names[1])
        yield folder


@pytest.fixture(scope="module")
def encoder(published):
    return VGGish(published)


@pytest.fixture(scope="module")
def saved(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    VGGish(published, pca=True, short_clips="zero", peak=0.5).save(folder)
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for what is fetched, and no proxy between us and this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "torch" / "hub" / "checkpoints"


def save_by_hash(tensors, folder, stem):
    path = folder / "partial"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    name = f"{stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    path.rename(folder / name)
    return name


def noise(num_samples, *, level=0.1, seed=0):
    samples = np.random.default_rng(seed).standard_normal(num_samples) * level
    return samples.astype(np.float32)


def tone(num_samples):
    return np.sin(2 * np.pi * 1000 / 16_000 * np.arange(num_samples)).astype(np.float32)


class Serve:
    """A release on this machine."""

    def __init__(self, folder):
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        handler.func.log_message = lambda *_: None
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self.url

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def port_of_nobody():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# The front end


def log_mel_by_loops(waveform, window):
    """One window of the published front end, read aloud."""
    piece = [
        float(waveform[window * 160 + n]) * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400))
        for n in range(400)
    ]
    magnitudes = []
    for k in range(257):
        turns = [2 * math.pi * k * n / 512 for n in range(400)]
        real = sum(x * math.cos(turn) for x, turn in zip(piece, turns, strict=True))
        imaginary = sum(x * math.sin(turn) for x, turn in zip(piece, turns, strict=True))
        magnitudes.append(math.hypot(real, imaginary))

    def mel(hertz):
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(125) + i * (mel(7500) - mel(125)) / 65 for i in range(66)]
    bands = []
    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        total = 0.0
        for k in range(1, 257):
            place = mel(k * 31.25)
            if low < place < high:
                weight = min((place - low) / (centre - low), (high - place) / (high - centre))
                total += weight * magnitudes[k]
        bands.append(math.log(total + 0.01))
    return np.array(bands)


@pytest.mark.parametrize("sound", [noise, tone])
@pytest.mark.parametrize("window", [0, 95])
def test_the_front_end_equals_plain_loops(sound, window):
    waveform = sound(EXAMPLE)

    examples = to_examples(waveform)

    assert examples.shape == (1, 96, 64)
    assert examples[0, window] == pytest.approx(log_mel_by_loops(waveform, window), abs=1e-4)


def published_module(name):
    """One file of the published port; its package needs more than is installed."""
    package = importlib.util.find_spec("torchvggish")
    if package is None:
        pytest.skip("torchvggish is not installed; pip install --no-deps torchvggish==0.2")
    path = Path(package.submodule_search_locations[0]) / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"published_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("sound", [noise, tone, np.zeros])
def test_the_front_end_equals_the_published_port(sound):
    mel_features = published_module("mel_features")
    waveform = sound(3 * EXAMPLE + 777).astype(np.float32)

    examples = to_examples(waveform)

    log_mel = mel_features.log_mel_spectrogram(
        waveform.astype(np.float64),
        audio_sample_rate=16_000,
        log_offset=0.01,
        num_mel_bins=64,
        lower_edge_hertz=125,
        upper_edge_hertz=7500,
    )
    expected = mel_features.frame(log_mel, 96, 96)
    assert examples.shape == expected.shape == (3, 96, 64)
    assert np.abs(examples - expected).max() < 1e-4


@pytest.mark.parametrize("short_clips", ["silence", "zero"])
@pytest.mark.parametrize("num_samples", [1, 399, 400, 15_599, 15_600, 30_959, 30_960, 47_000])
def test_the_tail_is_dropped_but_one_example_is_always_there(num_samples, short_clips):
    examples = to_examples(noise(num_samples), short_clips=short_clips)

    num_windows = 1 + (num_samples - 400) // 160
    assert examples.shape == (max(1, num_windows // 96), 96, 64)
    assert examples.dtype == np.float32


@pytest.mark.parametrize(("num_samples", "num_heard"), [(1, 1), (399, 3), (400, 3), (5_000, 32)])
def test_short_clips_are_filled_up_with_silence(num_samples, num_heard):
    waveform = noise(num_samples, level=0.3)
    waveform[-1] = 1.0

    (example,) = to_examples(waveform)

    padded = np.concatenate([waveform, np.zeros(EXAMPLE - num_samples, dtype=np.float32)])
    assert np.array_equal(example, to_examples(padded)[0])
    assert example[num_heard:] == pytest.approx(SILENCE)
    assert num_samples == 1 or (example[:num_heard].max(axis=1) > SILENCE + 0.01).all()


@pytest.mark.parametrize(("num_samples", "num_windows"), [(1, 1), (399, 1), (560, 2), (5_000, 29)])
def test_short_clips_are_filled_up_with_zero_as_in_the_lineage(num_samples, num_windows):
    waveform = noise(num_samples, level=0.3)

    (example,) = to_examples(waveform, short_clips="zero")

    assert not example[num_windows:].any()
    (with_silence,) = to_examples(waveform, short_clips="silence")
    assert np.array_equal(example[:num_windows], with_silence[:num_windows])


def test_digital_silence_is_the_logarithm_of_the_offset():
    assert to_examples(np.zeros(EXAMPLE, dtype=np.float32)) == pytest.approx(SILENCE)


# The network


def test_the_network_has_the_published_number_of_parameters_and_names(monkeypatch):
    monkeypatch.setattr(vggish, "_HIDDEN", 4096)

    with torch.device("meta"):
        network = Network()

    found = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert found == shapes(hidden=4096)
    assert sum(one.numel() for one in network.parameters()) == 72_141_184


def test_frames_equal_those_of_the_published_network(tmp_path, monkeypatch):
    monkeypatch.setattr(vggish, "_HIDDEN", 4096)
    network = published_module("torchvggish")._vgg(postprocess=False)
    tensors = {key: math.sqrt(6) * tensor for key, tensor in network.state_dict().items()}
    network.load_state_dict(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    waveform = noise(3 * EXAMPLE)

    frames = VGGish(tmp_path).encode([waveform]).frames[0]

    with torch.no_grad():
        expected = network(torch.from_numpy(to_examples(waveform))[:, None]).numpy()
    assert frames.shape == (3, 128)
    assert np.abs(frames - expected).max() < 1e-5 * np.abs(expected).max()
    assert frames.min() == 0  # the last layer has a ReLU too
    assert len(np.unique(frames.round(4), axis=0)) == 3


def test_post_processing_equals_the_published_one():
    port = published_module("torchvggish")
    postprocessor = port.Postprocessor.__new__(port.Postprocessor)
    postprocessor._pca_matrix = torch.randn(128, 128)
    postprocessor._pca_means = torch.rand(128, 1)
    frames = torch.rand(5, 128)

    quantised = quantise(
        frames,
        pca_eigen_vectors=postprocessor._pca_matrix,
        pca_means=postprocessor._pca_means,
    )

    assert torch.equal(quantised, postprocessor.postprocess(frames))


def test_post_processing_equals_plain_loops():
    eigen_vectors, means = torch.randn(128, 128).double() / 8, torch.rand(128, 1).double()
    frames = torch.rand(2, 128).double()

    quantised = quantise(frames, pca_eigen_vectors=eigen_vectors, pca_means=means)

    for row, frame in zip(quantised.tolist(), frames.tolist(), strict=True):
        centred = [value - mean for value, (mean,) in zip(frame, means.tolist(), strict=True)]
        for found, direction in zip(row, eigen_vectors.tolist(), strict=True):
            white = sum(a * b for a, b in zip(direction, centred, strict=True))
            assert found == round((min(max(white, -2), 2) + 2) * 255 / 4)


# The encoder


def test_it_is_an_encoder(published):
    encoder: Encoder = VGGish(published)

    assert (encoder.width, encoder.num_layers, encoder.modality) == (128, 1, "audio")
    assert encoder.frames_per_second == pytest.approx(1 / 0.96)
    assert not encoder.equal_lengths
    assert encoder.name == f"vggish:{published}"
    assert VGGish().name == "vggish"


def test_a_batch_gives_what_one_at_a_time_gives(encoder, monkeypatch):
    monkeypatch.setattr(vggish, "_MAPS_AT_ONCE", {"cpu": 4})
    monkeypatch.setattr(vggish, "_VECTORS_AT_ONCE", 7)
    waveforms = [noise(n, seed=n) for n in (2 * EXAMPLE, 1, 5 * EXAMPLE, 300, EXAMPLE)]

    together = encoder.encode(waveforms)

    assert together.lengths.tolist() == [2, 1, 5, 1, 1]
    assert together.frames.dtype == np.float32
    for waveform, frames in zip(waveforms, together.split(), strict=True):
        alone = encoder.encode([waveform]).frames[0]
        assert np.abs(frames - alone).max() < 1e-5 * np.abs(alone).max()


@given(lengths=st.lists(st.integers(0, 3 * EXAMPLE), min_size=2, max_size=3))
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_padding_changes_nothing_whatever_the_lengths(encoder, lengths):
    waveforms = [noise(n, seed=seed) for seed, n in enumerate(lengths)]

    together = encoder.encode(waveforms).split()

    for waveform, frames in zip(waveforms, together, strict=True):
        alone = encoder.encode([waveform]).frames[0]
        assert np.abs(frames - alone).max() < 1e-5 * np.abs(alone).max()


@pytest.mark.parametrize("num_samples", [1, EXAMPLE])
def test_digital_silence_gives_finite_frames(encoder, num_samples):
    encoded = encoder.encode([np.zeros(num_samples, dtype=np.float32)])

    assert encoded.frames.shape == (1, 1, 128)
    assert np.isfinite(encoded.frames).all()


@pytest.mark.parametrize("num_examples", [1, 2])
def test_post_processed_frames_are_whole_numbers_to_255(published, num_examples):
    encoded = VGGish(published, pca=True).encode([noise(num_examples * EXAMPLE)])

    assert encoded.frames.shape == (1, num_examples, 128)
    assert encoded.frames.dtype == np.float32
    assert np.array_equal(encoded.frames, encoded.frames.round())
    assert encoded.frames.min() >= 0
    assert encoded.frames.max() <= 255
    assert len(np.unique(encoded.frames)) > 10


def test_a_louder_clip_gives_other_frames_unless_a_peak_is_set(published, encoder):
    quiet = noise(EXAMPLE, level=0.01)

    as_recorded = encoder.encode([quiet, 10 * quiet]).frames
    levelled = VGGish(published, peak=0.5).encode([quiet, 10 * quiet]).frames

    assert np.abs(as_recorded[1] - as_recorded[0]).max() > 0.1
    assert levelled[1] == pytest.approx(levelled[0], abs=1e-3)


def test_the_setting_for_short_clips_is_used(published, encoder):
    clip = [noise(5_000)]

    zero = VGGish(published, short_clips="zero").encode(clip).frames

    assert np.abs(zero - encoder.encode(clip).frames).max() > 0.1


# Fingerprint, saving and loading


def test_every_setting_changes_the_fingerprint(published):
    settings = [{}, {"pca": True}, {"short_clips": "zero"}, {"peak": 0.5}]

    fingerprints = {VGGish(published, **setting).fingerprint for setting in settings}

    assert len(fingerprints) == len(settings)


@pytest.mark.parametrize("changed", ["model", "pca"])
def test_other_weights_change_the_fingerprint(saved, tmp_path, changed):
    for name in ("model", "pca"):
        tensors = load_file(saved / f"{name}.safetensors")
        if name == changed:
            first = tensors[min(tensors)]
            first[(0,) * first.ndim] += 1
        save_file(tensors, tmp_path / f"{name}.safetensors")

    assert VGGish(tmp_path, pca=True).fingerprint != VGGish(saved, pca=True).fingerprint


def test_the_fingerprint_needs_no_network(published):
    encoder = VGGish(published)

    assert encoder.fingerprint
    assert "_network" not in vars(encoder)


def test_save_and_load_give_the_same_encoder(published, saved):
    encoder = VGGish(published, pca=True, short_clips="zero", peak=0.5)

    again = VGGish.load(saved)

    assert again.fingerprint == encoder.fingerprint
    waveforms = [noise(EXAMPLE), noise(5_000)]
    assert np.array_equal(again.encode(waveforms).frames, encoder.encode(waveforms).frames)


def test_the_post_processing_is_not_needed_where_it_is_off(saved, encoder, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")

    assert VGGish(tmp_path).fingerprint == encoder.fingerprint


# Fetching


def test_weights_are_fetched_once(published, encoder, hub, monkeypatch):
    with Serve(published) as url:
        monkeypatch.setattr(vggish, "RELEASE", url)
        fetched = VGGish().fingerprint
    monkeypatch.setattr(vggish, "RELEASE", "http://127.0.0.1:1")

    assert VGGish().fingerprint == fetched == encoder.fingerprint
    assert list(hub.iterdir()) == [hub / vggish.WEIGHTS_FILE]


def test_fetching_is_logged(published, hub, monkeypatch, caplog):
    with Serve(published) as url, caplog.at_level(logging.INFO):
        monkeypatch.setattr(vggish, "RELEASE", url)
        vggish._fetch(vggish.PCA_FILE)

    assert f"fetching {url}/{vggish.PCA_FILE}" in caplog.text


def test_a_file_that_is_not_the_published_one_is_refused_and_not_kept(hub, tmp_path, monkeypatch):
    (tmp_path / "vggish-10086976.pth").write_bytes(b"half a file")
    monkeypatch.setattr(vggish, "WEIGHTS_FILE", "vggish-10086976.pth")
    found = hashlib.sha256(b"half a file").hexdigest()[:8]

    with Serve(tmp_path) as url:
        monkeypatch.setattr(vggish, "RELEASE", url)
        with pytest.raises(EncoderError, match=rf"begins with {found}, not with 10086976; .*again"):
            _ = VGGish().fingerprint

    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("reason", ["refused", "404"])
def test_weights_that_cannot_be_fetched_are_explained(hub, tmp_path, monkeypatch, reason):
    with Serve(tmp_path) as url:
        if reason == "refused":
            url = f"http://127.0.0.1:{port_of_nobody()}"
        monkeypatch.setattr(vggish, "RELEASE", url)
        monkeypatch.setattr(vggish, "WEIGHTS_FILE", "vggish-10086976.pth")

        with pytest.raises(EncoderError, match=rf"cannot be fetched \(.*{reason}.*\)") as error:
            VGGish().encode([noise(EXAMPLE)])

    message = str(error.value)
    assert f"download {url}/vggish-10086976.pth and {url}/{vggish.PCA_FILE}" in message
    assert message.endswith("put them into one folder, and use vggish:FOLDER")


# Refusals


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(
        EncoderError,
        match=rf"{tmp_path.name}' holds neither .*\.pth nor model\.safetensors; download https://",
    ):
        _ = VGGish(tmp_path).fingerprint


def test_a_folder_without_post_processing_is_refused_where_it_is_asked_for(saved, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(saved / "model.safetensors")

    with pytest.raises(
        EncoderError, match=r"holds neither vggish_pca_params.*\.pth nor pca\.safetensors; download"
    ):
        _ = VGGish(tmp_path, pca=True).fingerprint


def test_a_damaged_published_file_in_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(vggish, "WEIGHTS_FILE", "vggish-10086976.pth")
    (tmp_path / "vggish-10086976.pth").write_bytes(b"half a file")

    with pytest.raises(EncoderError, match=r"not with 10086976; remove the file and download"):
        _ = VGGish(tmp_path).fingerprint


def test_a_damaged_saved_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"half a file")

    with pytest.raises(EncoderError, match=r"cannot be read as weights .* save the encoder again"):
        _ = VGGish(tmp_path).fingerprint


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_code_inside_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vggish, "WEIGHTS_FILE", save_by_hash({"a": Harm()}, tmp_path, "vggish"))

    with pytest.raises(EncoderError, match=r"cannot be read as weights .*; download .* again"):
        _ = VGGish(tmp_path).fingerprint

    assert not (tmp_path / "harm").exists()


def test_weights_of_another_network_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(vggish, "_HIDDEN", HIDDEN)
    tensors = {key: torch.zeros(shape) for key, shape in shapes(hidden=HIDDEN).items()}
    del tensors["features.3.weight"]
    tensors |= {"features.0.bias": torch.zeros(32), "head.weight": torch.zeros(3, 128)}
    save_file(tensors, tmp_path / "model.safetensors")

    with pytest.raises(EncoderError, match="does not hold VGGish's weights") as error:
        VGGish(tmp_path).encode([noise(EXAMPLE)])

    message = str(error.value)
    assert "features.3.weight is missing" in message
    assert "head.weight is unknown" in message
    assert "features.0.bias is (32,) instead of (64,)" in message
    assert "; give a folder with the published files (" in message


@pytest.mark.parametrize("content", [None, b"\xff", b"[]", b'{"colours": 3}'])
def test_a_folder_without_settings_is_not_loaded(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)

    with pytest.raises(EncoderError, match=rf"{tmp_path.name}' holds no saved .* save the encoder"):
        VGGish.load(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"short_clips": "loud"}, "short_clips is 'loud', .* silence or zero"),
        ({"peak": 0}, r"peak is 0, .* give one as 0\.5"),
    ],
)
def test_an_impossible_setting_is_refused_at_once(setting, message):
    with pytest.raises(ConfigError, match=message):
        VGGish(**setting)
