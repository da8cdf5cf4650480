import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mersa import packed
from mersa.networks import Attention
from mersa.packed import Packed, Sizes, attend, kept, narrow, pack, read, spread, widen

WIDTH, HEADS, OUT = 12, 4, 5
QUERIES, KEYS, MORE_KEYS = (3, 1, 2), (2, 6, 1), (1, 2, 4)
ORDERS = ("projected", "few queries", "few keys")


def exact(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[None, 0.4], ids=["", "dropout"])
def keep_of(request):
    """What weights are multiplied by, drawn anew for each `Sizes`."""
    torch.manual_seed(0)
    if request.param is None:
        return lambda sizes: None
    return lambda sizes: kept(
        sum(sizes.weights), request.param, torch.empty(0, dtype=torch.float64)
    )


@pytest.fixture(params=["one by one", "at once"])
def way(request, monkeypatch):
    monkeypatch.setattr(packed, "AT_ONCE", 0 if request.param == "one by one" else 10**9)


def test_gradients_with_all_projected_are_those_of_the_function(keep_of):
    sizes = Sizes(QUERIES, KEYS, HEADS)
    keep = keep_of(sizes)

    assert torch.autograd.gradcheck(
        lambda *given: attend(*given, sizes, keep), (exact(6, 8), exact(9, 8), exact(9, 8))
    )


@pytest.mark.usefixtures("way")
def test_gradients_with_few_queries_are_those_of_the_function(keep_of):
    sizes = Sizes(QUERIES, tuple(map(sum, zip(KEYS, MORE_KEYS, strict=True))), HEADS)
    keep = keep_of(sizes)

    def run(rows, keys, other_rows, shift, other_keys):
        first, second = Packed(keys, KEYS), Packed(other_keys, MORE_KEYS)
        segments = [(rows, None, first), (other_rows, shift, second)]
        return tuple(one for pair in read(segments, sizes, keep) for one in pair)

    given = exact(6, HEADS, 7), exact(9, 7), exact(6, HEADS, 3), exact(6, HEADS), exact(7, 3)
    assert torch.autograd.gradcheck(run, given)


def test_gradients_with_few_keys_are_those_of_the_function(keep_of):
    sizes = Sizes(QUERIES, KEYS, HEADS)
    keep = keep_of(sizes)

    given = exact(9, HEADS, 7), exact(9, HEADS), exact(6, 7), exact(9, HEADS, OUT)
    assert torch.autograd.gradcheck(lambda *given: spread(*given, sizes, keep), given)


def test_gradients_of_products_by_head_are_those_of_the_function():
    assert torch.autograd.gradcheck(lambda *given: widen(*given, HEADS), (exact(6, 8), exact(8, 5)))
    assert torch.autograd.gradcheck(narrow, (exact(6, HEADS, 5), exact(8, 5)))


def test_one_product_with_all_keys_reads_what_each_utterance_reads(keep_of, monkeypatch):
    sizes = Sizes(QUERIES, KEYS, HEADS)
    keep = keep_of(sizes)
    segments = [(exact(6, HEADS, 7), exact(6, HEADS), Packed(exact(9, 7), KEYS))]

    answers = []
    for threshold in (0, 10**9):
        monkeypatch.setattr(packed, "AT_ONCE", threshold)
        answers.append(read(segments, sizes, keep)[0])

    torch.testing.assert_close(answers[0], answers[1])


@pytest.fixture
def attention():
    torch.manual_seed(1)
    one, linear = Attention(WIDTH, num_heads=HEADS, dropout=0.4), nn.Linear(WIDTH, OUT)
    for weight in (*one.parameters(), *linear.parameters()):
        nn.init.normal_(weight, std=0.5)
    return one.double(), linear.double()


def frames():
    torch.manual_seed(2)
    return Packed(exact(6, WIDTH), QUERIES), Packed(exact(9, WIDTH), KEYS)


def norm():
    return torch.rand(WIDTH, dtype=torch.float64) + 0.5, torch.randn(WIDTH, dtype=torch.float64)


def force(monkeypatch, order):
    monkeypatch.setattr(Attention, "_cheapest", lambda *_: order)


def plain(attention, linear, queries, keys, keeps=None):
    """Eq. (2) for one utterance at a time, its weights multiplied by `keeps`, (H, Lq, Lk) each."""
    answers = []
    queries, keys = queries.written_out(), keys.written_out()
    for number, (query, key) in enumerate(
        zip(queries.frames.split(queries.lengths), keys.frames.split(keys.lengths), strict=True)
    ):
        mask = torch.ones(1, len(key), dtype=torch.bool)
        weights = attention.weights(query[None], key[None], mask)[0]  # (H, Lq, Lk)
        if keeps:
            weights = weights * keeps[number]
        value = attention.value(key).view(len(key), HEADS, -1).transpose(0, 1)
        attended = (weights @ value).transpose(0, 1).flatten(1)
        answers.append(linear(attention.output(attended)))
    return torch.cat(answers)


def gradients(outcome, attention, linear, *more):
    """Gradients of a function of the outcome in which every entry weighs differently."""
    weighed = torch.linspace(-1, 1, outcome.numel(), dtype=outcome.dtype).view_as(outcome)
    names = [name for name, _ in attention.named_parameters()]
    found = torch.autograd.grad(
        (outcome * weighed).sum(), [*attention.parameters(), *linear.parameters(), *more]
    )
    biases_of_keys = names.index("key.bias")  # zero, save for rounding
    return [one for number, one in enumerate(found) if number != biases_of_keys]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("normed", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.usefixtures("way")
def test_every_order_gives_equation_two_and_its_gradients(attention, order, normed, monkeypatch):
    force(monkeypatch, order)
    attention, linear = attention[0].eval(), attention[1]
    sides = list(frames())
    for side in normed:
        sides[side] = Packed(sides[side].frames, sides[side].lengths, *norm())
    leaves = [side.frames for side in sides]
    wanted = plain(attention, linear, *sides)

    found = attention.packed(sides[0], [sides[1]], linear)

    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        gradients(found, attention, linear, *leaves), gradients(wanted, attention, linear, *leaves)
    )


LAYOUTS = {"projected": (0, 2, 1), "few queries": (1, 0, 2), "few keys": (2, 0, 1)}
"""Order of (head, query, key) in which each order of products draws what dropout leaves."""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.usefixtures("way")
def test_the_same_weights_dropped_give_the_same_in_every_order(attention, order, monkeypatch):
    force(monkeypatch, order)
    attention, linear = attention[0].train(), attention[1]
    queries, keys = frames()
    torch.manual_seed(3)
    keeps = [
        (torch.rand(HEADS, q, k) < 0.6).double() / 0.6 for q, k in zip(QUERIES, KEYS, strict=True)
    ]
    keys = Packed(keys.frames, keys.lengths, *norm())
    wanted = plain(attention, linear, queries, keys, keeps)
    drawn = torch.cat([one.permute(LAYOUTS[order]).flatten() for one in keeps])
    monkeypatch.setattr(Attention, "_kept", lambda *_: drawn)

    found = attention.packed(queries, [keys], linear)

    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        gradients(found, attention, linear, keys.frames),
        gradients(wanted, attention, linear, keys.frames),
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.usefixtures("way")
def test_two_sequences_are_read_as_one(attention, order, monkeypatch):
    force(monkeypatch, order)
    attention, linear = attention[0].eval(), attention[1]
    queries, keys = frames()
    keys = Packed(keys.frames, keys.lengths, *norm())
    more = Packed(exact(7, WIDTH), MORE_KEYS, *norm())
    wanted = plain(attention, linear, queries, keys.joined(more))

    found = attention.packed(queries, [keys, more], linear)

    torch.testing.assert_close(found, wanted)
    leaves = queries.frames, keys.frames, more.frames
    torch.testing.assert_close(
        gradients(found, attention, linear, *leaves), gradients(wanted, attention, linear, *leaves)
    )


@pytest.mark.parametrize("order", ORDERS)
def test_dropout_keeps_the_mean_in_every_order(attention, order, monkeypatch):
    force(monkeypatch, order)
    attention, linear = attention
    queries, keys = frames()
    wanted = plain(attention, linear, queries, keys)
    torch.manual_seed(4)

    with torch.no_grad():
        drawn = torch.stack(
            [attention.train().packed(queries, [keys], linear) for _ in range(4000)]
        )

    error = drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - wanted).abs() < 5 * error).all()
    assert (drawn.std(0) > 0).all()


def test_the_bias_of_keys_gets_the_gradient_zero(attention, monkeypatch):
    force(monkeypatch, "few queries")
    attention, linear = attention
    queries, keys = frames()

    attention.packed(queries, [keys], linear).sum().backward()

    assert torch.equal(attention.key.bias.grad, torch.zeros(WIDTH, dtype=torch.float64))


@pytest.mark.parametrize(
    ("lengths", "num_keys", "width", "out", "wanted"),
    [
        ((14, 9), (12, 15), 96, 24, "projected"),
        ((1, 1), (30, 50), 96, 24, "few queries"),
        ((3, 2), (200, 170), 96, 96, "few queries"),
        ((900, 700), (2, 3), 96, 24, "few keys"),
        ((90, 70), (60, 80), 24, 24, "projected"),
    ],
)
def test_the_order_taken_is_the_cheapest_that_torch_counts(lengths, num_keys, width, out, wanted):
    attention, linear = Attention(width, num_heads=4, dropout=0.0), nn.Linear(width, out)
    queries = Packed(torch.randn(sum(lengths), width), lengths)
    keys = Packed(torch.randn(sum(num_keys), width), num_keys)
    counted = {}
    for order in ORDERS:
        with pytest.MonkeyPatch.context() as patch, FlopCounterMode(display=False) as counter:
            patch.setattr(packed, "AT_ONCE", 0)
            force(patch, order)
            attention.packed(queries, [keys], linear)
        counted[order] = counter.get_total_flops()

    taken = attention._cheapest(Sizes(lengths, num_keys, 4), width, out)

    assert taken == min(counted, key=counted.__getitem__) == wanted


def test_packing_takes_the_real_frames_in_their_order():
    padded = torch.arange(24.0).view(2, 4, 3)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])

    found = pack(padded, mask)

    assert found.lengths == (3, 1)
    assert torch.equal(found.frames, torch.cat([padded[0, :3], padded[1, :1]]))


def test_first_frames_and_joined_frames_are_those_of_each_utterance():
    one = Packed(torch.arange(6.0)[:, None], (3, 1, 2))
    other = Packed(10 + torch.arange(4.0)[:, None], (1, 2, 1))

    joined = one.joined(other)

    assert one.first().frames[:, 0].tolist() == [0, 3, 4]
    assert one.first().lengths == (1, 1, 1)
    assert joined.lengths == (4, 3, 3)
    assert joined.frames[:, 0].tolist() == [0, 1, 2, 10, 3, 11, 12, 4, 5, 13]


@pytest.mark.parametrize("share", [0.5, 0.1, 0.25, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(share):
    torch.manual_seed(6)
    num = 1_000_000

    left = kept(num, share, torch.empty(0))

    sigma = math.sqrt(share * (1 - share) / num)
    assert left.shape == (num,)
    assert abs((left == 0).double().mean().item() - share) < 3 * sigma
    assert abs(left.double().mean().item() - 1) < 3 * sigma / (1 - share)
    assert left[left > 0].unique().tolist() == pytest.approx([1 / (1 - share)])


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5])
def test_draws_of_dropout_do_not_depend_on_each_other(share, lag):
    torch.manual_seed(7)
    num = 1_000_000

    left = (kept(num, share, torch.empty(0)) > 0).double()

    correlation = torch.corrcoef(torch.stack([left[lag:], left[:-lag]]))[0, 1].item()
    assert abs(correlation) < 4 / math.sqrt(num)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_each_of_four_values_of_one_draw_is_dropped_as_often(place):
    torch.manual_seed(8)

    left = (kept(1_000_000, 0.5, torch.empty(0)).view(-1, 4) > 0)[:, place].double()

    assert abs(left.mean().item() - 0.5) < 3 * 0.5 / math.sqrt(250_000)


def test_dropout_is_repeated_by_its_seed():
    torch.manual_seed(10)
    one = kept(999, 0.5, torch.empty(0))
    torch.manual_seed(10)

    assert torch.equal(kept(999, 0.5, torch.empty(0)), one)
