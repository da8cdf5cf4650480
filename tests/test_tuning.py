"""Tuned encoders: exact batches, the rates, what moves, and what a run keeps of them."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from transformers import AutoModel, BertModel

from mersa import training
from mersa.batches import FeatureSet, num_frames, pad
from mersa.config import TrainSettings, make_config
from mersa.encoders.budget import Item
from mersa.encoders.mel import LogMel
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.errors import EncoderError
from mersa.networks import CrossAttentionFusion, MixedLayers, SelfAttentionFusion
from mersa.training import fit, predict
from mersa.tuning import (
    TunedEncoder,
    TunedNetwork,
    default_frames_at_once,
    parameter_groups,
    tunable,
    with_inputs,
)

sys.path.append(str(Path(__file__).parent / "encoders"))
folders = importlib.import_module("folders")

LABELS, OTHER = 3, 8
WORDS = ["i", "am", "so", "happy", "don't", "go", "now", "-", ".", ",", "not", "sadly", "leave"]
CPU = torch.device("cpu")
few = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def say(num_words, seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, num_words))


def sound(samples, seed):
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1 + 0.02).astype(np.float32)


def features(encoder, sizes, *, absent=()):
    """Utterances of these numbers of words or samples, the other modality as stored frames."""
    make = say if encoder.modality == "text" else sound
    contents = [make(size, seed) for seed, size in enumerate(sizes)]
    items = {
        str(row): Item(f"key {row}", lambda content=content: content, 0.0)
        for row, content in enumerate(contents)
        if row not in absent
    }
    random = np.random.default_rng(7)
    frames = tuple(
        torch.from_numpy(random.standard_normal((int(random.integers(1, 6)), OTHER))).float()
        for _ in sizes
    )
    labels = torch.tensor([row % LABELS for row in range(len(sizes))])
    nothing = (torch.zeros(1, 1),) * len(sizes)
    stored = (nothing, frames) if encoder.modality == "text" else (frames, nothing)
    ids = tuple(map(str, range(len(sizes))))
    sources = ((encoder, items), None) if encoder.modality == "text" else (None, (encoder, items))
    return with_inputs(FeatureSet(ids, *stored, labels), *sources), contents


def fusion(encoder, *, dropout=0.0):
    torch.manual_seed(0)
    widths = (encoder.width, OTHER) if encoder.modality == "text" else (OTHER, encoder.width)
    net = CrossAttentionFusion(
        *widths, LABELS, num_heads=2, dropout=dropout, fusion_width=10, hidden=(6,)
    )
    mixed = (encoder.num_layers, 1) if encoder.modality == "text" else (1, encoder.num_layers)
    return MixedLayers(net, *mixed) if encoder.num_layers > 1 else net


def tuned(encoder, *, dropout=0.0, **options):
    one = TunedEncoder(encoder, encoder.to_tune(**options))
    pair = (one, None) if encoder.modality == "text" else (None, one)
    return TunedNetwork(*pair, fusion(encoder, dropout=dropout))


def text_encoder(tmp_path, kind="bert", **more):
    return TextEncoder(str(folders.write_stirred_text(tmp_path / f"{kind}-text", kind)), **more)


def speech_encoder(tmp_path, kind="wav2vec2-base", **more):
    return SpeechEncoder(str(folders.write_stirred(tmp_path / kind, kind)), **more)


def loss_and_gradients(network, features, batches, *, packed):
    """Of the mean loss, added up over these batches."""
    network.zero_grad()
    total, count = 0.0, sum(map(len, batches))
    for rows in batches:
        batch = features.batch(rows, packed=packed)
        loss = F.cross_entropy(network(*batch.inputs()), batch.labels, reduction="sum") / count
        loss.backward()
        total += float(loss.detach())
    return total, {
        name: weight.grad.clone()
        for name, weight in network.named_parameters()
        if weight.requires_grad
    }


def check_gradients(found, wanted, *, share=1e-4, rounding=1e-6):
    """The largest difference over the largest reference, of each tensor.

    Gradients that cancel, as those of the biases of keys, are nothing but rounding: differences
    below some ten roundings of the largest gradient of all are let through.
    """
    assert found.keys() == wanted.keys()
    largest = max(float(one.abs().max()) for one in wanted.values())
    for name, one in wanted.items():
        allowed = max(share * float(one.abs().max()), rounding * largest)
        assert float((found[name] - one).abs().max()) <= allowed, name


def reference(encoder, folder, network, features, contents, absent):
    """Loss and gradients by transformers' own model and the padded path, one at a time."""
    model = AutoModel.from_pretrained(folder).eval()
    model.requires_grad_(True)
    net = network.network
    net.zero_grad()
    total = 0.0
    for row, content in enumerate(contents):
        if row in absent:
            frames = torch.zeros(1, encoder.width)
        elif encoder.modality == "text":
            ids = encoder._tokenizer(content, return_tensors="pt")["input_ids"]
            frames = model(ids).last_hidden_state[0]
        else:
            clip = torch.tensor((content - content.mean()) / np.sqrt(content.var() + 1e-7))
            frames = model(clip[None]).last_hidden_state[0]
        pair = (
            (frames, features.audio[row])
            if encoder.modality == "text"
            else (features.text[row], frames)
        )
        (text, text_mask), (audio, audio_mask) = (pad([one]) for one in pair)
        logits = net.padded(text, text_mask, audio, audio_mask)
        loss = F.cross_entropy(logits, features.labels[[row]], reduction="sum") / len(contents)
        loss.backward()
        total += float(loss.detach())
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    place = f"{encoder.modality}.model."
    of_model = {f"{place}{name}": weight.grad for name, weight in model.named_parameters()}
    of_network = {f"network.{name}": weight.grad for name, weight in net.named_parameters()}
    return total, {name: one for name, one in (of_model | of_network).items() if name in trained}


@pytest.fixture(params=folders.TEXT_SHAPES, scope="module")
def text_kind(request, tmp_path_factory):
    return text_encoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(params=folders.SPEECH_SHAPES, scope="module")
def speech_kind(request, tmp_path_factory):
    return speech_encoder(tmp_path_factory.mktemp(request.param), request.param)


@few
@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=5), packed=st.booleans())
def test_loss_and_gradients_of_texts_are_those_of_one_at_a_time(text_kind, sizes, packed):
    check_exact(text_kind, sizes, packed=packed)


@few
@given(sizes=st.lists(st.integers(400, 5_000), min_size=2, max_size=4), packed=st.booleans())
def test_loss_and_gradients_of_clips_are_those_of_one_at_a_time(speech_kind, sizes, packed):
    check_exact(speech_kind, sizes, packed=packed)


def check_exact(encoder, sizes, *, packed, absent=()):
    inputs, contents = features(encoder, sizes, absent=absent)
    network = tuned(encoder).eval()

    loss, gradients = loss_and_gradients(network, inputs, [range(len(sizes))], packed=packed)

    wanted = reference(encoder, encoder.folder, network, inputs, contents, absent)
    assert loss == pytest.approx(wanted[0], rel=1e-4)
    check_gradients(gradients, wanted[1])


def test_an_utterance_without_words_is_one_zero_frame(tmp_path):
    check_exact(text_encoder(tmp_path), [4, 9, 2], packed=True, absent=(1,))


def test_an_utterance_without_sound_is_one_zero_frame(tmp_path):
    check_exact(speech_encoder(tmp_path), [900, 3_000, 700], packed=False, absent=(0,))


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_without_any_words_runs_no_encoder(tmp_path, packed):
    encoder = text_encoder(tmp_path)
    inputs, _ = features(encoder, [4, 5], absent=(0, 1))
    network = tuned(encoder)

    batch = inputs.batch([0, 1], packed=packed)
    network(*batch.inputs()).sum().backward()

    assert all(weight.grad is None for weight in network.text.parameters())


@pytest.mark.parametrize("make", [text_encoder, speech_encoder])
def test_all_layers_mixed_are_trained_too(make, tmp_path):
    encoder = make(tmp_path, layer="mix")
    inputs, _ = features(encoder, [900, 3_000, 700] if make is speech_encoder else [4, 9, 2])
    network = tuned(encoder).eval()

    together = loss_and_gradients(network, inputs, [[0, 1, 2]], packed=True)

    one_by_one = loss_and_gradients(network, inputs, [[0], [1], [2]], packed=True)
    assert together[0] == pytest.approx(one_by_one[0], rel=1e-4)
    check_gradients(together[1], one_by_one[1])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        *((text_encoder, kind) for kind in ("bert", "deberta-v2", "distilbert", "roberta")),
        *((speech_encoder, kind) for kind in ("wav2vec2-base", "hubert-large", "wavlm-base")),
    ],
)
@pytest.mark.parametrize("layer", [-1, "mix"])
def test_layers_computed_again_give_the_same_gradients(make, kind, layer, tmp_path):
    encoder = make(tmp_path, kind, layer=layer)
    inputs, _ = features(encoder, [900, 3_000] if make is speech_encoder else [4, 9])
    found = []
    for checkpointing in (False, True):
        network = tuned(encoder, checkpointing=checkpointing, dropout=0.3).train()
        runs = count_layer_runs(network)
        torch.manual_seed(3)  # dropout is drawn again as it was
        found.append(loss_and_gradients(network, inputs, [[0, 1]], packed=True))
        found[-1] += (sum(runs),)

    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    check_gradients(found[1][1], found[0][1], share=1e-5)
    assert found[1][2] > found[0][2], "layers are not computed again"


def count_layer_runs(network):
    """Count the runs of what lies inside a transformer's layers: their last norms."""
    runs = []
    encoder = next(one for _, one in network.encoders())
    for name, module in encoder.named_modules():
        if isinstance(module, torch.nn.LayerNorm) and (".layer." in name or ".layers." in name):
            module.register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.mark.parametrize("make", [text_encoder, speech_encoder])
@pytest.mark.parametrize("budget", [1, 30])
def test_parts_of_a_batch_add_up_to_the_same_steps(make, budget, tmp_path):
    encoder = make(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    weights = []
    for frames_at_once in (None, budget):
        network = without_dropout(tuned(encoder))
        options = TrainSettings(
            epochs=2, batch_size=4, frames_at_once=frames_at_once, encoder_learning_rate=1e-3
        )
        run(network, inputs, options)
        weights.append(network.state_dict())

    for name, one in weights[0].items():
        if not name.endswith(("key.bias", "k_proj.bias")):  # whose gradients are rounding
            torch.testing.assert_close(weights[1][name], one, rtol=1e-3, atol=2e-4, msg=name)


def spread(encoder, count=8):
    """Sizes of utterances, of 1 to 16 words or 1 to 12 frames."""
    random = np.random.default_rng(1)
    most = (1, 16) if encoder.modality == "text" else (400, 4_000)
    return [int(random.integers(*most)) for _ in range(count)]


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name, value in (("hidden_dropout", 0.0), ("attention_dropout", 0.0)):
        for module in network.modules():
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, value)
    for module in network.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return network


def run(network, inputs, options, *, validation=None, **more):
    fabric = Fabric(accelerator="cpu", devices=1)
    return fit(network, inputs, validation or inputs, options, fabric=fabric, **more)


@pytest.mark.parametrize("make", [text_encoder, speech_encoder])
def test_what_is_frozen_does_not_move_and_the_rest_does(make, tmp_path):
    encoder = make(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    network = tuned(encoder)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}

    run(network, inputs, TrainSettings(epochs=2, batch_size=4, encoder_learning_rate=1e-3))

    moved = {name for name, one in network.named_parameters() if not torch.equal(one, before[name])}
    still = before.keys() - moved
    assert {name for name in still if not name.endswith("attention.key.bias")} == frozen
    if make is text_encoder:
        assert frozen == {"text.model.pooler.dense.weight", "text.model.pooler.dense.bias"}
    else:
        assert all(".feature_extractor." in name or "masked_spec" in name for name in frozen)
        assert len(frozen) == 10  # seven convolutions, a norm of two, the embedding of masks


def test_layers_above_the_chosen_one_stay_frozen(tmp_path):
    network = tuned(text_encoder(tmp_path, layer=1))

    trained = {name for name, one in network.text.named_parameters() if one.requires_grad}

    assert any("layer.0" in name for name in trained)
    assert not any("layer.1" in name for name in trained)


def test_encoders_have_a_rate_of_their_own_and_one_schedule(tmp_path, monkeypatch):
    encoder = text_encoder(tmp_path)
    inputs, _ = features(encoder, [3, 4])
    rates = []
    step = torch.optim.AdamW.step

    def spied(self, *args, **named):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", spied)
    options = TrainSettings(
        epochs=3, learning_rate=1e-3, encoder_learning_rate=3e-5, schedule="step", step_epochs=2
    )
    result = run(tuned(encoder), inputs, options)

    assert rates == [pytest.approx(pair) for pair in ([1e-3, 3e-5], [1e-3, 3e-5], [1e-4, 3e-6])]
    assert result.history[0]["learning_rate"] == 1e-3


def test_each_weight_is_in_one_group(tmp_path):
    network = tuned(speech_encoder(tmp_path))

    groups = parameter_groups(network, encoder_learning_rate=1e-5)

    held = [id(weight) for group in groups for weight in group["params"]]
    trained = [id(weight) for weight in network.parameters() if weight.requires_grad]
    assert sorted(held) == sorted(trained)


@pytest.mark.parametrize("make", [text_encoder, speech_encoder])
def test_dropout_of_the_encoder_is_live_in_training_alone(make, tmp_path):
    encoder = make(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    network = tuned(encoder)
    batch = inputs.batch([0, 1, 2], packed=True).inputs()

    network.train()
    learning = [network(*batch) for _ in range(2)]
    network.eval()
    answering = [network(*batch) for _ in range(2)]

    assert not torch.equal(*learning)
    assert torch.equal(*answering)


def test_a_batch_norm_keeps_its_statistics(tmp_path):
    encoder = speech_encoder(tmp_path, "mhubert")
    inputs, _ = features(encoder, spread(encoder))
    network = tuned(encoder)
    before = {name: one.clone() for name, one in network.named_buffers()}

    run(network, inputs, TrainSettings(epochs=1))

    assert any("running_var" in name for name in before)
    assert all(torch.equal(one, before[name]) for name, one in network.named_buffers())


def test_no_layer_is_left_out_in_training(tmp_path):
    encoder = speech_encoder(tmp_path)
    assert encoder._config.layerdrop > 0, "this model would leave out layers"

    assert tuned(encoder).audio.model.config.layerdrop == 0


def augmented(tmp_path, **options):
    encoder = speech_encoder(tmp_path)
    encoder._config.mask_time_length, encoder._config.mask_time_prob = 3, 0.4
    network = without_dropout(tuned(encoder, **options))
    network.audio.model.config.mask_time_length = 3
    network.audio.model.config.mask_time_prob = 0.4
    inputs, _ = features(encoder, [4_000, 3_000, 700])
    return network, inputs.batch([0, 1, 2], packed=True).inputs()


def test_spec_augment_is_off_unless_asked_for(tmp_path):
    network, batch = augmented(tmp_path)

    network.train()

    assert torch.equal(network(*batch), network.eval()(*batch))
    assert not network.audio.model.masked_spec_embed.requires_grad


def test_spec_augment_masks_in_training_alone_and_by_the_seed_of_torch(tmp_path):
    network, batch = augmented(tmp_path, spec_augment=True)
    numpy_state = np.random.get_state()[1].copy()

    network.train()
    torch.manual_seed(1)
    one, two = network(*batch), network(*batch)
    torch.manual_seed(1)
    again = network(*batch)

    assert not torch.equal(one, two)
    assert torch.equal(one, again)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(network.eval()(*batch), augmented(tmp_path)[0].eval()(*batch))
    one.sum().backward()
    assert network.audio.model.masked_spec_embed.grad is not None


def test_clips_shorter_than_a_span_are_left_unmasked(tmp_path):
    network, _ = augmented(tmp_path, spec_augment=True)
    inputs, _ = features(network.audio.encoder, [400, 700])
    batch = inputs.batch([0, 1], packed=True).inputs()

    assert torch.equal(network.train()(*batch), network.eval()(*batch))
    assert network.audio.model.config.apply_spec_augment, "longer clips are masked thereafter"


def test_spec_augment_of_a_model_that_masks_nothing_is_refused(tmp_path):
    encoder = speech_encoder(tmp_path)
    encoder._config.mask_time_prob = 0.0

    with pytest.raises(EncoderError, match=r"spec_augment is on, but .* masks nothing .*leave"):
        encoder.to_tune(spec_augment=True)


def test_a_model_that_cannot_compute_its_layers_again_is_named(tmp_path):
    with pytest.raises(EncoderError, match=r"'mpnet' cannot compute its layers again; leave it"):
        text_encoder(tmp_path, "mpnet").to_tune(checkpointing=True)


def test_a_whisper_is_refused(tmp_path):
    encoder = SpeechEncoder(str(folders.write_whisper(tmp_path / "whisper")))

    with pytest.raises(EncoderError, match=r"is a Whisper, but .* can be tuned; choose one"):
        encoder.to_tune()


def test_an_encoder_without_a_model_to_tune_is_refused():
    with pytest.raises(EncoderError, match=r"encoder 'mel' cannot be tuned, .*leave its weights"):
        tunable(LogMel())


@pytest.mark.parametrize("output", ["frames", "pooler"])
@pytest.mark.parametrize("write", [folders.write_bert, folders.write_minilm])
def test_a_saved_encoder_gives_frozen_what_it_gave_in_training(write, output, tmp_path):
    encoder = TextEncoder(str(write(tmp_path / "model")), output=output)
    check_saved(encoder, TextEncoder, tmp_path, output=output)


def test_a_pooler_that_the_checkpoint_lacks_is_not_saved_either(tmp_path):
    encoder = TextEncoder(str(folders.write_roberta(tmp_path / "model")), output="pooler")
    assert any("pooler" in name for name in lacking(encoder)), "this model was to lack its pooler"

    check_saved(encoder, TextEncoder, tmp_path, output="pooler")


def lacking(encoder):
    encoder.load()[0]
    return encoder._lacking


@pytest.mark.parametrize("kind", folders.SPEECH_SHAPES)
def test_a_saved_speech_encoder_gives_frozen_what_it_gave_in_training(kind, tmp_path):
    check_saved(speech_encoder(tmp_path, kind), SpeechEncoder, tmp_path)


def check_saved(encoder, load, tmp_path, **settings):
    inputs, contents = features(encoder, spread(encoder))
    network = tuned(encoder)
    run(network, inputs, TrainSettings(epochs=2, batch_size=4, encoder_learning_rate=1e-2))
    one = dict(network.encoders())[encoder.modality].eval()
    with torch.inference_mode():
        wanted = encoder.frames_of(one.model, [encoder.read(content) for content in contents])

    one.save(tmp_path / "saved")

    loaded = load(str(tmp_path / "saved"), **settings)
    frames = loaded.encode(contents).split()
    for found, ours, first in zip(frames, wanted, encoder.encode(contents).split(), strict=True):
        np.testing.assert_allclose(found, ours.numpy(), atol=1e-5)
        assert np.abs(found - first).max() > 1e-2, "it was to have learnt"
    assert loaded.fingerprint != encoder.fingerprint


def test_a_saved_model_is_one_of_transformers(tmp_path):
    encoder = TextEncoder(str(folders.write_bert(tmp_path / "model")))
    TunedEncoder(encoder, encoder.to_tune()).save(tmp_path / "saved")

    model, report = BertModel.from_pretrained(tmp_path / "saved", output_loading_info=True)

    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.architectures == ["BertModel"]


def test_frames_of_parts_are_counted_with_the_padding_of_encoders(tmp_path):
    inputs, _ = features(text_encoder(tmp_path), [1, 9])

    length = max(len(frames) for frames in inputs.text)

    assert inputs.length(1) == len(inputs.text[1]) + len(inputs.audio[1])
    assert num_frames(inputs, [0, 1], packed=True) == 2 * length + 2 * max(map(len, inputs.audio))


def test_memory_that_runs_out_halves_the_frames_and_the_steps_stay(tmp_path, caplog, monkeypatch):
    encoder = text_encoder(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    frames_of = TextEncoder.frames_of

    def small(self, model, batch):
        if len(batch) * max(map(len, batch)) > 60:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return frames_of(self, model, batch)

    weights = []
    for most in (False, True):
        network = without_dropout(tuned(encoder))
        if most:
            monkeypatch.setattr(TextEncoder, "frames_of", small)
        # Validation holds single utterances, so that it fits in any case.
        run(network, inputs, TrainSettings(epochs=1), validation=features(encoder, [2])[0])
        weights.append(network.state_dict())

    assert any("out of memory with" in record.getMessage() for record in caplog.records)
    for name, one in weights[0].items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(weights[1][name], one, rtol=1e-3, atol=2e-4, msg=name)


def test_where_nothing_is_said_frames_are_bounded_by_what_is_tuned(tmp_path):
    words, clips = text_encoder(tmp_path), speech_encoder(tmp_path)
    network = fusion(words)

    both = TunedNetwork(
        TunedEncoder(words, words.to_tune()), TunedEncoder(clips, clips.to_tune()), network
    )

    assert default_frames_at_once(network, CPU) is None
    assert default_frames_at_once(tuned(words), CPU) == 4096
    assert default_frames_at_once(both, CPU) == 1200


def test_answers_do_not_depend_on_the_frames_held_at_once(tmp_path):
    encoder = speech_encoder(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    network = tuned(encoder)

    whole = predict(network, inputs, device=CPU)

    np.testing.assert_allclose(
        predict(network, inputs, device=CPU, frames_at_once=1), whole, atol=1e-5
    )


class Killed(BaseException):
    pass


def test_a_killed_fit_goes_on_to_the_same_end(tmp_path, monkeypatch):
    encoder = speech_encoder(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    options = TrainSettings(epochs=5, batch_size=4, encoder_learning_rate=1e-3)
    new = lambda: tuned(encoder, dropout=0.3, spec_augment=True)  # noqa: E731
    whole = new()
    expected = run(whole, inputs, options)

    def kill(done, total):
        if done == 3:
            raise Killed

    monkeypatch.setattr(training, "STORE_EVERY_S", -1.0)
    state = tmp_path / "resume.pt"
    with pytest.raises(Killed):
        run(new(), inputs, options, state=state, on_progress=kill)
    resumed = new()
    found = run(resumed, inputs, options, state=state)

    assert found.history == expected.history
    for name, one in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], one), name


def test_the_best_epoch_brings_its_encoder_back(tmp_path):
    encoder = text_encoder(tmp_path)
    inputs, _ = features(encoder, spread(encoder))
    # What is learnt from one set is wrong for the other, more so with each epoch.
    other = replace(inputs, labels=(inputs.labels + 1) % LABELS)
    options = TrainSettings(epochs=6, monitor="loss", encoder_learning_rate=1e-2)
    network = tuned(encoder)

    result = run(network, inputs, options, validation=other)

    assert result.best_epoch < 5, "the last epoch was not meant to be the best"
    probabilities = predict(network, other, device=CPU)
    loss = -np.log(probabilities[np.arange(len(other)), other.labels.numpy()]).mean()
    assert loss == pytest.approx(result.history[result.best_epoch]["validation_loss"], rel=1e-5)


def test_joined_and_shuffled_sets_read_what_their_rows_say(tmp_path):
    encoder = text_encoder(tmp_path)
    one, _ = features(encoder, [2, 5, 9])
    other, _ = features(encoder, [7, 3])

    joined = one.joined(other)
    shuffled = one.shuffled("text", 0)

    assert [len(joined.frames(row)[0]) for row in range(5)] == list(map(len, joined.text))
    assert torch.equal(joined.frames(4)[0], other.frames(1)[0])
    before = [one.frames(row) for row in range(3)]
    after = [shuffled.frames(row) for row in range(3)]
    assert [len(words) for words, _ in after] == list(map(len, shuffled.text))
    assert not any(torch.equal(a[0], b[0]) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a[1], b[1]) for a, b in zip(before, after, strict=True))


def test_a_network_without_tuned_encoders_has_one_rate():
    network = SelfAttentionFusion(4, OTHER, LABELS, num_heads=2, fusion_width=10)

    groups = parameter_groups(network, encoder_learning_rate=1.0)

    assert [set(group) for group in groups] == [{"params"}]
    assert make_config({}).tuned == ()
