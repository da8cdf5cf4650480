import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from mersa import networks
from mersa.errors import ConfigError, ShapeError
from mersa.networks import (
    Attention,
    CrossAttentionFusion,
    LayerMix,
    MixedLayers,
    SelfAttentionFusion,
    Server,
    SingleModality,
    num_trainable,
    pool,
)

TEXT_WIDTH, AUDIO_WIDTH, NUM_LABELS = 24, 16, 5
TEXT_LAYERS, AUDIO_LAYERS = 3, 2
TEXT_LENGTHS, AUDIO_LENGTHS = (4, 6, 1), (7, 1, 9)
TRUTH = torch.tensor([3, 0, 4])
SMALL = {"num_heads": 4, "fusion_width": 12, "hidden": (10, 6)}


def fused(kind, **settings):
    return lambda dropout: kind(
        TEXT_WIDTH, AUDIO_WIDTH, NUM_LABELS, dropout=dropout, **SMALL, **settings
    )


def single(modality, width, **settings):
    return lambda dropout: SingleModality(
        modality, width, NUM_LABELS, dropout=dropout, **SMALL, **settings
    )


def mixed(dropout):
    network = CrossAttentionFusion(
        TEXT_WIDTH // TEXT_LAYERS, AUDIO_WIDTH // AUDIO_LAYERS, NUM_LABELS, dropout=dropout, **SMALL
    )
    return MixedLayers(network, TEXT_LAYERS, AUDIO_LAYERS)


SYSTEMS = {
    "server": lambda dropout: Server(TEXT_WIDTH, AUDIO_WIDTH, NUM_LABELS, dropout=dropout),
    "self": fused(SelfAttentionFusion),
    "self mean": fused(SelfAttentionFusion, pooling="mean"),
    "cross": fused(CrossAttentionFusion),
    "cross mean": fused(CrossAttentionFusion, pooling="mean"),
    "cross max": fused(CrossAttentionFusion, pooling="max"),
    "cross min": fused(CrossAttentionFusion, pooling="min"),
    "text": single("text", TEXT_WIDTH),
    "text first": single("text", TEXT_WIDTH, pooling="first"),
    "audio": single("audio", AUDIO_WIDTH),
    "audio max": single("audio", AUDIO_WIDTH, pooling="max"),
    "mixed layers": mixed,
}
NO_DROPOUT, HARDLY_ANY = 0.0, 1e-9  # the second takes the path with dropout, and drops nothing


@pytest.fixture(params=SYSTEMS)
def build(request):
    def seeded(dropout=NO_DROPOUT):
        torch.manual_seed(0)
        network = SYSTEMS[request.param](dropout)
        for name, weight in network.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                weight.data *= 3  # as they start, attention is nearly even and its gradient noise
        return network

    return seeded


def utterances():
    """Frames of three utterances, one (L, D) each."""
    generator = torch.Generator().manual_seed(1)
    return (
        [torch.randn(length, TEXT_WIDTH, generator=generator) for length in TEXT_LENGTHS],
        [torch.randn(length, AUDIO_WIDTH, generator=generator) for length in AUDIO_LENGTHS],
    )


def padded(frames, filling):
    longest = max(map(len, frames)) + 2
    batch = torch.full((len(frames), longest, frames[0].shape[1]), filling)
    mask = torch.zeros(len(frames), longest, dtype=torch.bool)
    for row, one in enumerate(frames):
        batch[row, : len(one)] = one
        mask[row, : len(one)] = True
    return batch, mask


def batch(filling=0.0):
    text, audio = utterances()
    return *padded(text, filling), *padded(audio, filling)


def one_by_one():
    """Yield the inputs of each utterance without any padding."""
    for text, audio in zip(*utterances(), strict=True):
        yield (
            text[None],
            torch.ones(1, len(text), dtype=torch.bool),
            audio[None],
            torch.ones(1, len(audio), dtype=torch.bool),
        )


def gradients(network):
    """Gradients by name, save those of keys' biases: they move all scores of a query alike, so
    what they get is rounding around zero."""
    return {
        name: weight.grad.clone()
        for name, weight in network.named_parameters()
        if weight.grad is not None and not name.endswith("key.bias")
    }


def difference(got, wanted):
    return ((got - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: Server(768, 128, 4), 115_140),
        (lambda: Server(768, 768, 4), 213_572),
        (lambda: SelfAttentionFusion(768, 128, 4), 2_552_644),
        (lambda: SelfAttentionFusion(768, 768, 4), 5_425_604),
        (lambda: SelfAttentionFusion(768, 768, 4, fusion_width=None), 5_960_004),
        (lambda: SelfAttentionFusion(768, 768, 4, fusion_width=None, hidden=(128, 64)), 6_017_476),
        (lambda: CrossAttentionFusion(768, 128, 4), 2_552_644 + 165_632),
        (lambda: CrossAttentionFusion(768, 768, 4), 5_425_604 + 5_908_992),
    ],
)
def test_trainable_parameters_are_those_of_the_lineage(network, count):
    assert num_trainable(network()) == count


def test_frozen_parameters_are_not_counted():
    layer = nn.Linear(7, 3)
    layer.bias.requires_grad_(False)

    assert num_trainable(layer) == 21


@pytest.fixture(params=["at rest", "in training"])
def attention(request):
    torch.manual_seed(2)
    one = Attention(24, num_heads=4, dropout=HARDLY_ANY)
    for weight in one.parameters():
        nn.init.normal_(weight, std=0.3)
    return one.eval() if request.param == "at rest" else one.train()


def masked_sequences():
    torch.manual_seed(3)
    queries, keys = torch.randn(3, 5, 24), torch.randn(3, 7, 24)
    mask = torch.arange(7) < torch.tensor([7, 2, 4])[:, None]
    return queries, keys, mask


def test_attention_is_that_of_torch(attention):
    theirs = nn.MultiheadAttention(24, 4, batch_first=True)
    projections = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([one.weight for one in projections]))
        theirs.in_proj_bias.copy_(torch.cat([one.bias for one in projections]))
        theirs.out_proj.weight.copy_(attention.output.weight)
        theirs.out_proj.bias.copy_(attention.output.bias)
    queries, keys, mask = masked_sequences()

    ours = attention(queries, keys, mask)

    wanted, _ = theirs(queries, keys, keys, key_padding_mask=~mask)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_attention_is_equation_two(attention):
    queries, keys, mask = masked_sequences()

    ours = attention(queries, keys, mask)

    torch.testing.assert_close(
        ours, by_equation_two(attention, queries, keys, mask), rtol=1e-4, atol=1e-5
    )


def by_equation_two(attention, queries, keys, mask):
    """Eq. (2) with loops over rows, heads, queries and keys."""
    size = queries.shape[-1] // attention.num_heads
    rows = []
    for row in range(len(queries)):
        projected = attention.query(queries[row]), attention.key(keys[row])
        values = attention.value(keys[row])
        heads = []
        for head in range(attention.num_heads):
            part = slice(head * size, (head + 1) * size)
            query, key = (one[:, part] for one in projected)
            answers = []
            for q in query:
                shares = {
                    k: math.exp((q @ key[k]).item() / math.sqrt(size))
                    for k in range(len(key))
                    if mask[row, k]
                }
                total = sum(shares.values())
                answers.append(sum(share / total * values[k, part] for k, share in shares.items()))
            heads.append(torch.stack(answers))
        rows.append(attention.output(torch.cat(heads, dim=1)))
    return torch.stack(rows)


def by_equation_in_block(block, queries, keys, mask):
    return block.norm(block.linear(by_equation_two(block.attention, queries, keys, mask)))


@pytest.mark.parametrize("kind", [SelfAttentionFusion, CrossAttentionFusion])
def test_fusion_is_the_paper_s(kind):
    torch.manual_seed(4)
    network = fused(kind)(NO_DROPOUT).eval()
    text, text_mask, audio, audio_mask = batch()

    logits = network(text, text_mask, audio, audio_mask)

    words = by_equation_in_block(network.words, text, text, text_mask)
    sound = F.layer_norm(audio, (AUDIO_WIDTH,), network.sound.weight, network.sound.bias)
    if kind is CrossAttentionFusion:
        words, sound = (
            by_equation_in_block(network.text_asks_audio, words, sound, audio_mask),  # Eq. (3)
            by_equation_in_block(network.audio_asks_text, sound, words, text_mask),  # Eq. (4)
        )
    both, mask = torch.cat([words, sound], 1), torch.cat([text_mask, audio_mask], 1)
    first = by_equation_in_block(network.fusion.block, both, both, mask)[:, 0]
    torch.testing.assert_close(logits, network.fusion.head(first), rtol=1e-4, atol=1e-5)


def test_cross_attention_is_one_equation_with_the_modalities_swapped():
    torch.manual_seed(5)
    network = CrossAttentionFusion(16, 16, NUM_LABELS, pooling="mean", dropout=0, **SMALL).eval()
    asked = {}
    for name in ("text_asks_audio", "audio_asks_text"):
        block = getattr(network, name)
        block.register_forward_hook(lambda _, given, out, name=name: asked.update({name: given}))
    text, audio = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    text_mask = torch.tensor([[True, True, True], [True, False, False]])
    audio_mask = torch.tensor([[True] * 5, [True, True, False, False, False]])

    network.padded(text, text_mask, audio, audio_mask)

    queries, keys, mask = asked["text_asks_audio"]
    swapped_queries, swapped_keys, swapped_mask = asked["audio_asks_text"]
    assert torch.equal(queries, swapped_keys)
    assert torch.equal(keys, swapped_queries)
    assert torch.equal(mask, audio_mask)
    assert torch.equal(swapped_mask, text_mask)


def test_the_head_of_server_is_linear():
    network = Server(TEXT_WIDTH, 128, NUM_LABELS).eval()
    text, audio = torch.randn(2, 1, TEXT_WIDTH), torch.randn(2, 3, 128)
    mask = torch.tensor([[True, True, True], [True, True, False]])

    logits = network(text, torch.ones(2, 1, dtype=torch.bool), audio, mask)

    heard = torch.stack([audio[0].sum(0), audio[1, :2].sum(0)])
    both = torch.cat([network.text(text[:, 0]), heard], 1)
    inner, outer = network.head[1], network.head[2]
    weight, bias = outer.weight @ inner.weight, outer.weight @ inner.bias + outer.bias
    torch.testing.assert_close(logits, both @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_the_head_of_the_others_has_leaky_hidden_layers():
    head = networks.Head(3, (7, 5), NUM_LABELS, dropout=0.5).eval()
    frames = torch.randn(2, 3)

    hidden = frames
    for layer in (head[1], head[3]):
        outcome = layer(hidden)
        hidden = torch.where(outcome > 0, outcome, 0.01 * outcome)

    torch.testing.assert_close(head(frames), head[5](hidden))


ORDERS = {"": None, "projected": "projected", "few queries": "few queries", "few keys": "few keys"}


@pytest.fixture(params=ORDERS)
def order(request, monkeypatch):
    """Have packed attention take its products in one order; the empty name leaves the choice."""
    if request.param:
        monkeypatch.setattr(Attention, "_cheapest", lambda *_: request.param)


@pytest.mark.parametrize("dropout", [NO_DROPOUT, HARDLY_ANY], ids=["", "path with dropout"])
@pytest.mark.usefixtures("order")
def test_padding_changes_nothing(build, dropout):
    network = build(dropout).train()
    alone = [network(*inputs) for inputs in one_by_one()]
    wanted_loss = sum(
        F.cross_entropy(one, truth[None]) for one, truth in zip(alone, TRUTH, strict=True)
    )
    wanted_loss.backward()
    wanted = gradients(network)
    network.zero_grad()

    logits = network(*batch(filling=50.0))
    loss = F.cross_entropy(logits, TRUTH, reduction="sum")
    loss.backward()

    assert logits.shape == (3, NUM_LABELS)
    assert difference(logits, torch.cat(alone)) < 1e-4
    assert difference(loss, wanted_loss) < 1e-4
    got = gradients(network)
    assert got.keys() == wanted.keys()
    assert max(difference(got[name], wanted[name]) for name in wanted) < 1e-4


@pytest.mark.usefixtures("order")
def test_padded_and_packed_frames_give_the_same(build):
    network = build().train()
    if isinstance(network, MixedLayers):  # which mixes what comes and hands it on
        network = network.network
        inputs = [
            one[..., : one.shape[-1] // parts]
            for one, parts in zip(batch(), (3, 1, 2, 1), strict=True)
        ]
    else:
        inputs = list(batch(filling=50.0))
    wanted = network.padded(*inputs)
    F.cross_entropy(wanted, TRUTH).backward()
    wanted_gradients = gradients(network)
    network.zero_grad()
    text, text_mask, audio, audio_mask = inputs

    logits = network(text[text_mask], text_mask.sum(1), audio[audio_mask], audio_mask.sum(1))
    F.cross_entropy(logits, TRUTH).backward()

    assert difference(logits, wanted) < 1e-5
    found = gradients(network)
    assert found.keys() == wanted_gradients.keys()
    assert max(difference(found[name], wanted_gradients[name]) for name in found) < 1e-4


def test_attention_tells_its_weights(attention):
    queries, keys, mask = masked_sequences()
    attention.eval()

    weights = attention.weights(queries, keys, mask)  # (B, H, Lq, Lk)

    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 5))
    assert not weights.masked_select(~mask[:, None, None, :]).any()
    values = attention.value(keys).view(3, 7, 4, 6).transpose(1, 2)
    answers = attention.output((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(queries, keys, mask), answers, rtol=1e-4, atol=1e-5)


def test_order_in_the_batch_changes_nothing(build):
    network = build().eval()
    order = [2, 0, 1]

    reordered = network(*(one[order] for one in batch()))

    torch.testing.assert_close(reordered, network(*batch())[order], rtol=1e-5, atol=1e-6)


def test_utterances_get_different_answers(build):
    logits = build().eval()(*batch())

    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert (logits[0] - logits[2]).abs().max() > 1e-3


def test_one_step_lowers_the_loss(build):
    network = build().train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = F.cross_entropy(network(*batch()), TRUTH)

    before.backward()
    optimizer.step()

    assert F.cross_entropy(network(*batch()), TRUTH) < before


def test_every_parameter_is_learnt(build):
    network = build().train()

    F.cross_entropy(network(*batch()), TRUTH).backward()

    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    idle += [name for name, gradient in gradients(network).items() if not gradient.any()]
    assert idle == []


def test_saved_and_loaded_answers_are_identical(build):
    network = build().eval()
    other = build().eval()
    for weight in other.parameters():
        nn.init.normal_(weight)
    assert not torch.equal(other(*batch()), network(*batch()))

    other.load_state_dict(load(save(network.state_dict())))

    assert torch.equal(other(*batch()), network(*batch()))


@pytest.mark.parametrize("absent", ["text", "audio"])
def test_a_missing_modality_is_one_zero_frame(build, absent):
    network = build().train()
    text, audio = utterances()
    frames = text if absent == "text" else audio
    frames[1] = torch.zeros(1, frames[1].shape[1])
    inputs = (*padded(text, 0.0), *padded(audio, 0.0))

    logits = network(*inputs)
    F.cross_entropy(logits, TRUTH).backward()

    assert logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(network).values())
    alone = network(
        text[1][None],
        inputs[1][1:2, : len(text[1])],
        audio[1][None],
        inputs[3][1:2, : len(audio[1])],
    )
    assert difference(logits[1:2], alone) < 1e-4


def test_words_and_sound_alone_read_one_modality():
    text, text_mask, audio, audio_mask = batch()
    words = SYSTEMS["text"](NO_DROPOUT).eval()
    sound = SYSTEMS["audio"](NO_DROPOUT).eval()

    other_words = words(text, text_mask, torch.full_like(audio, 9.0), audio_mask)
    other_sound = sound(torch.full_like(text, 9.0), text_mask, audio, audio_mask)

    assert torch.equal(other_words, words(text, text_mask, audio, audio_mask))
    assert torch.equal(other_sound, sound(text, text_mask, audio, audio_mask))


def test_dropout_is_live_in_training_alone(build):
    network = build(0.5)

    assert not torch.equal(network.train()(*batch()), network.train()(*batch()))
    assert torch.equal(network.eval()(*batch()), network.eval()(*batch()))


def test_weights_start_as_those_of_torch():
    torch.manual_seed(11)
    ours = Attention(256, num_heads=8, dropout=0.0)
    theirs = nn.MultiheadAttention(256, 8)

    bound = math.sqrt(6 / (256 + 3 * 256))
    for projection in (ours.query, ours.key, ours.value):
        assert projection.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
        assert projection.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=1e-2)
    assert theirs.in_proj_weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert ours.output.weight.std().item() == pytest.approx(
        theirs.out_proj.weight.std().item(), rel=2e-2
    )
    for projection in (ours.query, ours.key, ours.value, ours.output):
        assert not projection.bias.any()


def test_heads_that_do_not_divide_the_width_are_told():
    with pytest.raises(
        ConfigError,
        match=r"width 24 cannot be shared by 7 heads; choose network\.num_heads that divides 24",
    ):
        SelfAttentionFusion(24, 16, NUM_LABELS, num_heads=7)


@pytest.mark.parametrize("pooling", ["first", "mean", "max", "min"])
def test_pooling_summarises_the_real_frames(pooling):
    frames = torch.randn(2, 5, 3) - 10
    frames[1, 2:] = 99.0
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    of = {
        "first": lambda real: real[0],
        "mean": lambda real: real.mean(0),
        "max": lambda real: real.max(0).values,
        "min": lambda real: real.min(0).values,
    }[pooling]

    pooled = pool(frames, mask, pooling)
    opposite = pool(-frames, mask, pooling)

    torch.testing.assert_close(pooled, torch.stack([of(frames[0]), of(frames[1, :2])]))
    torch.testing.assert_close(opposite, torch.stack([of(-frames[0]), of(-frames[1, :2])]))


def test_a_mask_that_does_not_fit_is_told():
    with pytest.raises(
        ShapeError, match=r"frames \(2, 5, 3\) and mask \(2, 4\) do not fit; a mask has one entry"
    ):
        pool(torch.zeros(2, 5, 3), torch.ones(2, 4, dtype=torch.bool), "mean")


def test_a_layer_mix_starts_as_the_plain_mean():
    layers = torch.randn(2, 5, 3, 7)  # (B, L, K, D)

    mixed = LayerMix(3)(layers.flatten(2))

    torch.testing.assert_close(mixed, layers.mean(2))


def test_a_layer_mix_weighs_by_the_softmax_of_its_weights():
    mix = LayerMix(3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, math.log(2), math.log(5)]))
    layers = torch.randn(2, 5, 3, 7)

    mixed = mix(layers.flatten(2))

    wanted = (layers[:, :, 0] + 2 * layers[:, :, 1] + 5 * layers[:, :, 2]) / 8
    torch.testing.assert_close(mixed, wanted)


def test_one_layer_is_not_mixed():
    network = MixedLayers(SYSTEMS["text"](NO_DROPOUT), 1, AUDIO_LAYERS)

    assert isinstance(network.text_mix, nn.Identity)
    assert isinstance(network.audio_mix, LayerMix)
