"""Encoders and networks of one's own: found by name, tried once, refused with a sentence."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from mersa import build
from mersa.config import AudioSettings, NetworkSettings, TextSettings, make_config
from mersa.encoders.base import Encoded, pad
from mersa.errors import ConfigError, EncoderError, ShapeError
from mersa.own import OwnNetwork, is_own, own_network
from mersa.training import _num_labels


class Steps:
    """A frame a hundredth of a second: mean and deviation of the samples."""

    name = "steps"
    modality = "audio"
    width = 2
    num_layers = 1
    frames_per_second = 100.0
    equal_lengths = False
    fingerprint = "0" * 64

    def __init__(self, *, saved=None, device="cpu"):
        self.saved = saved

    def encode(self, batch):
        windows = [one[: len(one) // 160 * 160].reshape(-1, 160) for one in batch]
        return pad([np.stack([one.mean(1), one.std(1)], 1).astype(np.float32) for one in windows])

    def save(self, folder):
        pass


class Wide(Steps):
    width = 3


class Double(Steps):
    def encode(self, batch):
        encoded = super().encode(batch)
        return Encoded(encoded.frames.astype(np.float64), encoded.lengths)


class Endless(Steps):
    def encode(self, batch):
        encoded = super().encode(batch)
        return Encoded(encoded.frames / 0, encoded.lengths)


class Long(Steps):
    def encode(self, batch):
        encoded = super().encode(batch)
        return Encoded(encoded.frames, encoded.lengths + 1)


class Listing(Steps):
    def encode(self, batch):
        return super().encode(batch).split()


class Leaky(Steps):
    """Takes the mean over the whole batch off, so that padding and neighbours change a clip."""

    def encode(self, batch):
        encoded = super().encode(batch)
        return Encoded(encoded.frames - encoded.frames.mean(), encoded.lengths)


class Equal(Leaky):
    equal_lengths = True

    def encode(self, batch):
        assert len({len(one) for one in batch}) == 1
        return Steps.encode(self, batch)


class Reader(Steps):
    modality = "text"


class Nameless:
    def __init__(self, *, saved, device):
        pass


class Asking(Steps):
    def __init__(self, path):
        pass


class Net(nn.Module):
    """Takes the mean of the real frames; its last linear layer is not its head."""

    def __init__(self, text_width, audio_width, num_labels, *, settings):
        super().__init__()
        self.head = nn.Linear(text_width + audio_width, num_labels)
        self.unused = nn.Linear(2, 77)

    def forward(self, text, text_mask, audio, audio_mask):
        words, sound = mean(text, text_mask), mean(audio, audio_mask)
        return self.head(torch.cat([words, sound], 1))


def mean(frames, mask):
    return (frames * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class Flat(Net):
    def forward(self, *inputs):
        return super().forward(*inputs).sum(1)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    """What this file defines, as a module of somebody else's package."""
    made = ModuleType("theirs")
    made.__dict__.update({name: one for name, one in globals().items() if isinstance(one, type)})
    made.number = 3
    monkeypatch.setitem(sys.modules, "theirs", made)


def audio(name, **more):
    return build.audio_encoder(AudioSettings(name=f"theirs:{name}", **more))


@pytest.mark.parametrize("name", ["theirs:Steps", "a_b.c1:D", "onnx_more:X"])
def test_a_module_and_a_name_are_of_ones_own(name):
    assert is_own(name)


@pytest.mark.parametrize(
    "name",
    ["mel", "C:Users", "facebook/wav2vec2-base", "onnx:a/b.onnx", "vggish:./here", "./a:b", "a:"],
)
def test_paths_and_hub_ids_are_not(name):
    assert not is_own(name)


@pytest.mark.parametrize("name", ["Steps", "Equal"])
def test_an_encoder_is_found_by_its_name(name, tmp_path):
    encoder = build.audio_encoder(AudioSettings(name=f"theirs:{name}"), saved=tmp_path)

    assert encoder.name == "steps"
    assert encoder.saved == tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere:Steps", r"audio.name is 'nowhere:Steps'.* cannot be imported .*PYTHONPATH"),
        ("theirs:Stairs", "the module has no such object"),
        ("theirs:number", "holds a int there"),
        ("builtins:int", r"cannot be called as int\(saved=..., device=...\): no signature"),
        ("theirs:Asking", r"cannot be called as Asking\(saved=..., device=...\).*path"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name, says):
    with pytest.raises(ConfigError, match=says):
        build.audio_encoder(AudioSettings(name=name))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Nameless", "lacks name, modality"),
        ("Reader", "reads 'text', but audio was expected; give it as text.name"),
        ("Wide", r"frames of shape \(2, 100, 2\) for 2 clips, but \(2, length, 3\)"),
        ("Double", "float64"),
        ("Endless", "not finite"),
        ("Long", "gave lengths"),
        ("Listing", "encodes to list"),
        ("Leaky", "other frames for a clip alone than beside a longer one"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_frames_that_break_the_protocol_are_refused(name, says):
    with pytest.raises(EncoderError, match=says):
        audio(name)


def test_settings_that_it_would_not_read_are_refused():
    with pytest.raises(ConfigError, match=r"audio.peak is 0\.5, but theirs:Steps does not read it"):
        audio("Steps", peak=0.5)


def test_an_encoder_of_sound_is_refused_for_words():
    with pytest.raises(EncoderError, match="reads 'audio', but text was expected"):
        build.text_encoder(TextSettings(name="theirs:Steps"))


def test_a_network_reads_packed_frames_as_padded_ones():
    network = own_network("theirs:Net", 4, 3, 5, NetworkSettings()).eval()
    text, sound = torch.randn(2, 6, 4), torch.randn(2, 7, 3)
    lengths, long = torch.tensor([6, 2]), torch.tensor([3, 7])
    masks = [torch.arange(one)[None] < two[:, None] for one, two in ((6, lengths), (7, long))]

    padded = network(text, masks[0], sound, masks[1])
    packed = network(text[masks[0]], lengths, sound[masks[1]], long)

    torch.testing.assert_close(packed, padded)


def test_a_network_is_found_by_the_settings():
    config = make_config({"network": {"system": "theirs:Net"}})

    network = build.network(config, None, None, 4)

    assert isinstance(network, OwnNetwork)
    assert network.training
    assert _num_labels(network) == 4


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"with \(2,\), but logits of shape \(2, 4\)"):
        own_network("theirs:Flat", 4, 3, 4, NetworkSettings())


def test_what_is_no_network_is_refused():
    with pytest.raises(ConfigError, match=r"cannot be called as Steps\(..., ..., ..., settings="):
        own_network("theirs:Steps", 4, 3, 4, NetworkSettings())


def test_a_network_that_does_not_read_two_modalities_is_refused():
    with pytest.raises(ConfigError, match=r"cannot be called as Identity\.forward\(..., ..., ...,"):
        own_network("torch.nn:Identity", 3, 5, 4, NetworkSettings())


def test_a_system_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match=r"network.system is 'mersaa'.*package.module:Name"):
        make_config({"network": {"system": "mersaa"}})
