import math

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner, TripletMarginMiner

from mersa.alignment.loss import EPSILON, TRIPLET_MARGIN, AlignmentLoss
from mersa.errors import ShapeError

MIXED = [0, 0, 1, 1, 2, 0, 2]
SETS = {"mixed": MIXED, "one label": [3] * 7, "all different": list(range(7))}


def loss_by_loops(embeddings, labels, alpha, beta, base, keep=lambda i, k: True):
    """Eq. (1) read aloud: slow, obvious, no tensors."""
    unit = [[x / math.hypot(*row) for x in row] for row in embeddings.tolist()]
    total = 0.0
    for i, anchor in enumerate(unit):
        pull = push = 0.0
        for k, other in enumerate(unit):
            similarity = sum(a * b for a, b in zip(anchor, other, strict=True))
            if not keep(i, k) or k == i:
                continue
            if labels[k] == labels[i]:
                pull += math.exp(-alpha * (similarity - base))
            else:
                push += math.exp(beta * (similarity - base))
        total += math.log1p(pull) / alpha + math.log1p(push) / beta
    return total / len(unit)


def drawn(count=7, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, width, generator=generator)


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
@pytest.mark.parametrize("constants", [(2, 50, 0.5), (1, 60, 0.5), (2, 40, 0.7)])
def test_equals_equation_one(labels, constants):
    embeddings = drawn()
    alpha, beta, base = constants

    loss = AlignmentLoss(alpha=alpha, beta=beta, base=base)(embeddings, torch.tensor(labels))

    assert loss.item() == pytest.approx(loss_by_loops(embeddings, labels, *constants), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "miner"),
    [
        ("none", None),
        ("multi-similarity", MultiSimilarityMiner(epsilon=0.1)),
        ("triplet", TripletMarginMiner(margin=0.2, type_of_triplets="all")),
    ],
)
def test_equals_the_library(name, miner):
    embeddings, labels = drawn(), torch.tensor(MIXED)
    pairs = miner(embeddings, labels) if miner else None
    expected = MultiSimilarityLoss(alpha=2, beta=50, base=0.5)(embeddings, labels, pairs)

    loss = AlignmentLoss(alpha=2, beta=50, base=0.5, miner=name)(embeddings, labels)

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (EPSILON, TRIPLET_MARGIN) == (0.1, 0.2)


def test_the_miner_keeps_pairs_near_the_hardest_of_the_other_kind():
    embeddings, labels = drawn(), MIXED
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    cosine = (unit @ unit.T).tolist()

    def keep(i, k):
        """Wang et al. 2019, Eqs. (11) and (12)."""
        others = [j for j in range(7) if j != i]
        negatives = [cosine[i][j] for j in others if labels[j] != labels[i]]
        positives = [cosine[i][j] for j in others if labels[j] == labels[i]]
        if labels[i] == labels[k]:
            return cosine[i][k] < max(negatives) + 0.1
        return cosine[i][k] > min(positives) - 0.1

    mined = AlignmentLoss(alpha=2, beta=2, base=0.5, miner="multi-similarity")
    loss = mined(embeddings, torch.tensor(labels))

    expected = loss_by_loops(embeddings, labels, 2, 2, 0.5, keep)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert expected < loss_by_loops(embeddings, labels, 2, 2, 0.5)


@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
@pytest.mark.parametrize("miner", ["none", "multi-similarity", "triplet"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sharpness", [1.0, 60.0, 1000.0])
def test_overflows_at_no_constant_in_half_precision(labels, miner, dtype, sharpness):
    embeddings = (300 * drawn()).to(dtype).requires_grad_(True)
    loss = AlignmentLoss(alpha=sharpness, beta=sharpness, base=-1.0, miner=miner)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(embeddings, torch.tensor(labels))
    value.backward()

    assert value.dtype == torch.float32
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()


def test_autocast_changes_nothing():
    embeddings, labels = drawn(), torch.tensor(MIXED)
    loss = AlignmentLoss(alpha=2, beta=50, base=0.5)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        halved = loss(embeddings, labels)

    assert halved.item() == loss(embeddings, labels).item()


def test_an_anchor_without_positives_adds_its_push_only():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    loss = AlignmentLoss(alpha=2, beta=50, base=0.5)(embeddings, torch.tensor([0, 0, 1]))

    pull = math.log1p(math.exp(-2 * 0.5)) / 2
    near = math.log1p(math.exp(-50 * 0.5)) / 50
    alone = math.log1p(2 * math.exp(-50 * 0.5)) / 50
    assert loss.item() == pytest.approx((2 * (pull + near) + alone) / 3, rel=1e-6)


def test_an_error_names_both_shapes():
    with pytest.raises(ShapeError, match=r"got \(3, 4\) and \(2,\)"):
        AlignmentLoss(alpha=1, beta=60, base=0.5)(torch.ones(3, 4), torch.ones(2))
