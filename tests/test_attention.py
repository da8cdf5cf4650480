from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mersa.attention import NO_WORDS, attend, fused_part, shares
from mersa.audio import SAMPLE_RATE
from mersa.config import make_config
from mersa.encoders.mel import LogMel
from mersa.encoders.tiny import TinyText
from mersa.errors import ConfigError
from mersa.networks import (
    Attention,
    CrossAttentionFusion,
    MixedLayers,
    SelfAttentionFusion,
    Server,
)
from mersa.weights import Run

TEXT, AUDIO = (5, 16), (7, 8)  # frames and width


def network(kind, **more):
    torch.manual_seed(0)
    return kind(TEXT[1], AUDIO[1], 4, num_heads=2, fusion_width=12, hidden=(8,), **more).eval()


@pytest.fixture
def frames():
    random = torch.Generator().manual_seed(1)
    return torch.randn(TEXT, generator=random), torch.randn(AUDIO, generator=random)


def by_torch(attention: Attention, queries, keys):
    """Weights of torch's own attention with the same parameters, mean over heads, (Lq, Lk)."""
    width = attention.query.in_features
    other = nn.MultiheadAttention(width, attention.num_heads, batch_first=True).eval()
    three = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([one.weight for one in three]))
        other.in_proj_bias.copy_(torch.cat([one.bias for one in three]))
        return other(queries[None], keys[None], keys[None], need_weights=True)[1][0]


def real(frames):
    return torch.ones(1, len(frames), dtype=torch.bool)


def test_the_summary_reads_what_torchs_own_attention_says(frames):
    text, audio = frames
    mersa = network(SelfAttentionFusion)

    found = shares(mersa, text, audio)

    with torch.no_grad():
        words = mersa.words(text[None], text[None], real(text))[0]
        both = torch.cat([words, mersa.sound(audio)])
        expected = by_torch(mersa.fusion.block.attention, both, both)[0]
        among = by_torch(mersa.words.attention, text, text)
    np.testing.assert_allclose(found.fused, expected, atol=1e-6)
    np.testing.assert_allclose(found.traced[:5], expected[:5] @ among, atol=1e-6)
    np.testing.assert_allclose(found.traced[5:], expected[5:], atol=1e-6)
    assert found.text_asks_audio is None


def test_cross_attention_is_followed_back_to_the_other_modality(frames):
    text, audio = frames
    mersa = network(CrossAttentionFusion)

    found = shares(mersa, text, audio)

    with torch.no_grad():
        words = mersa.words(text[None], text[None], real(text))
        sound = mersa.sound(audio)[None]
        asks = by_torch(mersa.text_asks_audio.attention, words[0], sound[0])
        answers = by_torch(mersa.audio_asks_text.attention, sound[0], words[0])
        heard = mersa.text_asks_audio(words, sound, real(audio))[0]
        read = mersa.audio_asks_text(sound, words, real(text))[0]
        both = torch.cat([heard, read])
        fused = by_torch(mersa.fusion.block.attention, both, both)[0]
        among = by_torch(mersa.words.attention, text, text)
    np.testing.assert_allclose(found.text_asks_audio, asks, atol=1e-6)
    np.testing.assert_allclose(found.audio_asks_text, answers, atol=1e-6)
    np.testing.assert_allclose(found.fused, fused, atol=1e-6)
    # Sound is reached through the words that asked for it, words through the moments.
    np.testing.assert_allclose(found.traced[5:], fused[:5] @ asks, atol=1e-6)
    np.testing.assert_allclose(found.traced[:5], fused[5:] @ answers @ among, atol=1e-6)


@pytest.mark.parametrize("kind", [SelfAttentionFusion, CrossAttentionFusion])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_shares_sum_to_one(kind, pooling, frames):
    found = shares(network(kind, pooling=pooling), *frames)

    assert found.fused.sum() == pytest.approx(1, abs=1e-5)
    assert found.traced.sum() == pytest.approx(1, abs=1e-5)
    assert len(found.fused) == len(found.traced) == TEXT[0] + AUDIO[0]


def test_a_mean_over_frames_reads_what_all_of_them_read(frames):
    text, audio = frames
    mersa = network(SelfAttentionFusion, pooling="mean")

    found = shares(mersa, text, audio)

    with torch.no_grad():
        words = mersa.words(text[None], text[None], real(text))[0]
        both = torch.cat([words, mersa.sound(audio)])
        expected = by_torch(mersa.fusion.block.attention, both, both).mean(0)
    np.testing.assert_allclose(found.fused, expected, atol=1e-6)


def test_stacked_layers_are_mixed_first(frames):
    text, audio = frames
    mersa = network(SelfAttentionFusion)

    found = shares(MixedLayers(mersa, 2, 1).eval(), torch.cat([text, text], dim=1), audio)

    np.testing.assert_allclose(found.fused, shares(mersa, text, audio).fused, atol=1e-6)


def test_a_system_without_such_attention_is_refused(frames):
    server = Server(TEXT[1], 128, 4)

    assert fused_part(server) is None
    with pytest.raises(ConfigError, match=r"Server has no attention .* choose 3m-ser, mersa or"):
        shares(server, *frames)


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    text, audio = TinyText({"so", "stupid"}, width=16), LogMel(bands=4)
    config = make_config({"network": {"system": "mersa-cross"}})
    return Run(tmp_path, config, None, text, audio, network(CrossAttentionFusion))


def test_words_and_seconds_stand_at_the_frames(run):
    waveform = np.random.default_rng(0).normal(0, 0.1, int(0.5 * SAMPLE_RATE)).astype(np.float32)

    found = attend(run, "So, you're stupid!", waveform)

    assert found.words == ("[CLS]", "so", "you're", "stupid")
    assert len(found.starts_s) == len(run.audio.encode([waveform]).frames[0])
    assert found.starts_s[:2] == pytest.approx([0.0, 0.08])
    assert found.ends_s[-1] == pytest.approx(0.5)
    assert found.starts_s[1:] == pytest.approx(found.ends_s[:-1])
    assert found.text_asks_audio.shape == (4, len(found.starts_s))
    assert found.text_asks_audio.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    assert found.audio_asks_text.sum(1) == pytest.approx(np.ones(len(found.starts_s)), abs=1e-5)
    assert found.traced_words.sum() + found.traced_sound.sum() == pytest.approx(1, abs=1e-5)


class Pieces(TinyText):
    """Cuts each word into a frame a letter, as word pieces do."""

    def encode(self, batch):
        return super().encode([" ".join(" ".join(text.split()).replace(" ", "")) for text in batch])

    def words(self, text):
        return [("[CLS]", 1), *((word, len(word)) for word in text.split())]


def test_pieces_of_a_word_are_joined(run):
    pieces = replace(run, text=Pieces({"a"}, width=16))

    found = attend(pieces, "ab cde", np.full(8000, 0.1, np.float32))

    frames = torch.from_numpy(pieces.text.encode(["ab cde"]).frames[0])
    sound = torch.from_numpy(run.audio.encode([np.full(8000, 0.1, np.float32)]).frames[0])
    plain = shares(run.network, frames, sound)
    assert found.words == ("[CLS]", "ab", "cde")
    assert found.fused_words == pytest.approx(
        [plain.fused[0], plain.fused[1:3].sum(), plain.fused[3:6].sum()], abs=1e-6
    )
    assert found.text_asks_audio[2] == pytest.approx(plain.text_asks_audio[3:6].mean(0), abs=1e-6)
    assert found.audio_asks_text[:, 1] == pytest.approx(
        plain.audio_asks_text[:, 1:3].sum(1), abs=1e-6
    )


def test_what_is_missing_is_one_frame(run):
    no_words = attend(run, " ", np.full(8000, 0.1, np.float32))
    no_sound = attend(run, "so", None)

    assert no_words.words == (NO_WORDS,)
    assert len(no_words.fused_words) == 1
    assert (no_sound.starts_s.tolist(), no_sound.ends_s.tolist()) == ([0.0], [0.0])
    assert len(no_sound.fused_sound) == 1


def test_frames_are_numbered_where_no_encoder_tells_its_words(run):
    silent = replace(run, text=Untold({"so"}, width=16))

    assert attend(silent, "so what", np.zeros(8000, np.float32)).words == ("1", "2", "3")


class Untold(TinyText):
    words = None


def test_a_run_of_another_system_is_refused(run):
    server = replace(
        run,
        config=make_config({"network": {"system": "server"}}),
        network=Server(16, 8, 4),
    )

    with pytest.raises(ConfigError, match=r"is of the system 'server', which has no attention"):
        attend(server, "so", None)
