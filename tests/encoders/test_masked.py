import logging

import folders
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from mersa.encoders import masked
from mersa.encoders.speech import SpeechEncoder

NO_CHANCE = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"),
    0.0,
) | {"apply_spec_augment": False}
LENGTHS = st.lists(st.integers(400, 9_000), min_size=2, max_size=5)
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=folders.SPEECH_SHAPES, scope="module")
def folder(request, tmp_path_factory):
    return folders.write_stirred(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def encoder(folder):
    return SpeechEncoder(str(folder), layer="mix")


@pytest.fixture(params=[True, False], ids=["together", "one-by-one"])
def together(request, encoder):
    """Convolutions as on a GPU, over padded clips, and as on a CPU, clip by clip."""
    encoder._model.feature_extractor.together = request.param
    vars(encoder)["equal_lengths"] = False  # padded, whatever the probe says
    return request.param


def noise(samples, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(samples) * 0.1 + 0.02).astype(np.float32)


def clips_of(lengths):
    return [noise(samples, seed) for seed, samples in enumerate(lengths)]


def largest_difference(ours, theirs):
    return max(
        float(abs(one - other).max() / abs(other).max())
        for one, other in zip(ours, theirs, strict=True)
    )


def of_transformers(folder, clips):
    """All layers' frames of each clip by itself, by a model that was not touched."""
    model = AutoModel.from_pretrained(folder).eval()
    found = []
    for clip in clips:
        normal = torch.tensor((clip - clip.mean()) / np.sqrt(clip.var() + 1e-7))
        with torch.inference_mode():
            answer = model(normal[None], output_hidden_states=True)
        states = (*answer.hidden_states[:-1], answer.last_hidden_state)
        found.append(torch.cat(states, dim=2)[0].numpy())
    return found


def test_a_padded_batch_gives_what_transformers_gives_for_each_clip(folder, encoder, together):
    clips = clips_of([3_210, 7_777, 400, 7_777, 719])

    frames = encoder.encode(clips).split()

    assert largest_difference(frames, of_transformers(folder, clips)) < 1e-5


@pytest.mark.parametrize("together", [True, False])
def test_the_probe_finds_no_padding_that_shows(folder, together):
    encoder = SpeechEncoder(str(folder))
    encoder._model.feature_extractor.together = together

    assert not encoder.equal_lengths


@few
@given(lengths=LENGTHS)
def test_padding_changes_nothing_whatever_the_lengths(encoder, together, lengths):
    clips = clips_of(lengths)

    padded = encoder.encode(clips)

    alone = [encoder.encode([clip]).frames[0] for clip in clips]
    assert padded.lengths.tolist() == [len(frames) for frames in alone]
    assert largest_difference(padded.split(), alone) < 1e-4
    for frames, length in zip(padded.frames, padded.lengths, strict=True):
        assert (frames[length:] == 0).all()


def test_in_bf16_padding_changes_as_little_as_rounding_does(folder):
    clips = clips_of([3_210, 7_777, 400, 7_777, 719])
    rounded = SpeechEncoder(str(folder), layer="mix", precision="bf16")
    alone = [rounded.encode([clip]).split()[0] for clip in clips]
    exact = SpeechEncoder(str(folder), layer="mix").encode(clips).split()

    together = rounded.encode(clips).split()

    assert not rounded.equal_lengths
    assert largest_difference(together, alone) < 2 * largest_difference(alone, exact) < 0.1


def test_the_probe_leaves_a_model_in_bf16_as_it_was(folder):
    clip = clips_of([4_000])
    encoder = SpeechEncoder(str(folder), precision="bf16")
    before = encoder.encode(clip).frames

    assert not encoder.equal_lengths

    np.testing.assert_array_equal(encoder.encode(clip).frames, before)


def test_the_weights_tell_a_mistake_apart(folder):
    """Without mask and masked norm, padding shows: these models could fail the tests above."""
    clips = [torch.tensor(clip) for clip in clips_of([4_000, 9_000])]
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        padded = model(torch.nn.utils.rnn.pad_sequence(clips, batch_first=True))
        alone = model(clips[0][None]).last_hidden_state[0]

    assert largest_difference([padded.last_hidden_state[0, : len(alone)]], [alone]) > 0.05


@settings(few, max_examples=6)
@given(lengths=st.lists(st.integers(400, 5_000), min_size=2, max_size=4))
def test_loss_and_gradients_are_those_of_one_clip_at_a_time(folder, lengths):
    """Without dropout; every weight is trained, the convolutions' too.

    In double precision, since gradients that cancel, as those of the keys where there is but one
    frame, are nothing but rounding.
    """
    clips = [torch.tensor(clip).double() * 8 for clip in clips_of(lengths)]
    model = AutoModel.from_pretrained(folder).eval().double()
    expected = loss_and_gradients(model, [model(clip[None]).last_hidden_state[0] for clip in clips])

    for together in (True, False):
        model = AutoModel.from_pretrained(folder).eval().double()
        masked.take_clips(model, together=together)
        frames = masked.run_clips(model, clips).last_hidden_state
        loss, gradients = loss_and_gradients(model, real_frames(model, frames, clips))

        assert loss == pytest.approx(expected[0], rel=1e-6)
        assert gradients.keys() == expected[1].keys()
        largest = max(gradient.abs().max() for gradient in expected[1].values())
        for name, gradient in gradients.items():
            difference = (gradient - expected[1][name]).abs().max()
            assert difference <= 1e-6 * max(expected[1][name].abs().max(), 1e-6 * largest), name


def real_frames(model, frames, clips):
    kernels, strides = model.config.conv_kernel, model.config.conv_stride
    counts = [masked.conv_length(len(clip), kernels, strides) for clip in clips]
    return [one[:count] for one, count in zip(frames, counts, strict=True)]


def loss_and_gradients(model, frames):
    """A loss that is no plain sum, which the last norm would make constant."""
    slope = torch.linspace(-1, 2, frames[0].shape[1])
    loss = sum((one.tanh() * slope).mean(dim=0).pow(2).sum() for one in frames)
    loss.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return loss.item(), gradients


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable. is deprecated")
def test_gradients_survive_checkpointing(tmp_path):
    folder = folders.write_stirred(tmp_path, "wav2vec2-base")
    clips = [torch.tensor(clip) for clip in clips_of([5_000, 2_000])]
    gradients = []
    for checkpointing in (False, True):
        model = AutoModel.from_pretrained(folder, **NO_CHANCE)
        masked.take_clips(model, together=True)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        frames = masked.run_clips(model.train(), clips).last_hidden_state
        gradients.append(loss_and_gradients(model, real_frames(model, frames, clips))[1])

    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_the_names_of_the_weights_stay(folder):
    model = AutoModel.from_pretrained(folder)
    before = list(model.state_dict())

    masked.take_clips(model, together=True)

    assert list(model.state_dict()) == before


@pytest.fixture
def leaky(tmp_path):
    """A model with a part that mersa does not know: a mean over time, padding included."""
    folder = folders.write_stirred(tmp_path, "wavlm-large")
    encoder = SpeechEncoder(str(folder))

    def over_time(_module, _inputs, output):
        return output[0] - output[0].mean(dim=1, keepdim=True), output[1]

    encoder._model.feature_projection.register_forward_hook(over_time)
    return encoder


def test_a_model_that_padding_changes_runs_on_equal_lengths_and_says_so_once(leaky, caplog):
    clips = clips_of([4_000, 9_000, 6_000])

    with caplog.at_level(logging.WARNING):
        frames = leaky.encode(clips).split()
        leaky.encode(clips)

    assert leaky.equal_lengths
    (message,) = [record.getMessage() for record in caplog.records]
    assert "other frames in a padded batch than alone" in message
    assert "clips of one length run together and others apart" in message
    alone = [leaky.encode([clip]).split()[0] for clip in clips]
    assert largest_difference(frames, alone) < 1e-5


@pytest.mark.parametrize("wrong", ["no masked norm", "no mask"])
def test_the_probe_finds_a_broken_mask(tmp_path, wrong, monkeypatch):
    encoder = SpeechEncoder(str(folders.write_stirred(tmp_path, "wav2vec2-base")))
    encoder._model.feature_extractor.together = True
    if wrong == "no mask":
        monkeypatch.setattr(
            "mersa.encoders.speech.run_clips", lambda model, clips, **named: model(clips, **named)
        )
    else:
        monkeypatch.setattr(masked, "masked_group_norm", lambda norm, hidden, lengths: norm(hidden))

    assert encoder.equal_lengths


def test_one_clip_or_one_length_asks_for_no_probe(tmp_path):
    fresh = SpeechEncoder(str(folders.write_stirred(tmp_path, "hubert-base")))

    fresh.encode(clips_of([4_000]))
    fresh.encode(clips_of([4_000, 4_000]))

    assert "equal_lengths" not in vars(fresh)


def test_the_probe_leaves_the_mode_as_it_is(tmp_path):
    encoder = SpeechEncoder(str(folders.write_stirred(tmp_path, "wav2vec2-base")))

    with encoder.live_dropout():
        equal = encoder.equal_lengths
        assert encoder._model.training

    assert not equal


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_the_true_shape_of_wav2vec2_base_is_exact(tmp_path, together):
    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config())
    norm = model.feature_extractor.conv_layers[0].layer_norm
    with torch.no_grad():  # of the others' biases twelve layers would make all frames alike
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0.0, 0.3)
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    encoder = SpeechEncoder(str(tmp_path))
    encoder._model.feature_extractor.together = together
    clips = clips_of([9_280, 57_280, 120_003, 24_000])

    padded = encoder.encode(clips).split()

    assert not encoder.equal_lengths
    alone = [encoder.encode([clip]).split()[0] for clip in clips]
    assert all(frames.std(axis=0).mean() > 0.1 * frames.std() for frames in alone)
    assert largest_difference(padded, alone) < 1e-4
