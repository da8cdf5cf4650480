"""Multi-similarity loss: what draws one emotion together and pushes the others apart.

Paper: Eq. (1), after Wang et al., CVPR 2019. Shapes: B embeddings in the batch, D their width.
"""

import warnings
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mersa.errors import ShapeError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of optional parts that are not installed
    from pytorch_metric_learning.losses import MultiSimilarityLoss
    from pytorch_metric_learning.miners import MultiSimilarityMiner, TripletMarginMiner

EPSILON = 0.1
"""By how much a mined pair may be easier than the hardest of the other kind (CVPR 2019, Eq. 11)."""

TRIPLET_MARGIN = 0.2
"""Source: cambridgeltl/sapbert:src/metric_learning.py."""


class AlignmentLoss:
    """Eq. (1) over the pairs that a miner leaves.

    With cosine similarity S, positives P_i and negatives N_i of anchor i, none its own pair::

        1/B * sum_i [ 1/alpha * log(1 + sum_{k in P_i} exp(-alpha * (S_ik - base)))
                    + 1/beta  * log(1 + sum_{k in N_i} exp( beta  * (S_ik - base))) ]

    An anchor without positives adds its push only, one without negatives its pull only; a batch in
    which the miner finds nothing has a loss of 0. All is computed in float32 by log-sum-exp,
    whatever the precision of the embeddings: exp(50 * 0.5) is beyond float16.

    Args:
        alpha: Sharpness of the pull.
        beta: Sharpness of the push.
        base: Similarity at which a pair's exponential is 1, lambda in the paper.
        miner: `multi-similarity` keeps the pairs that are within `EPSILON` of the anchor's hardest
            pair of the other kind; `triplet` those of triplets that violate `TRIPLET_MARGIN`;
            `none` keeps all.
    """

    def __init__(
        self,
        *,
        alpha: float,
        beta: float,
        base: float,
        miner: Literal["multi-similarity", "triplet", "none"] = "none",
    ) -> None:
        self._loss: Any = MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
        miners: dict[str, Any] = {
            "multi-similarity": lambda: MultiSimilarityMiner(epsilon=EPSILON),
            "triplet": lambda: TripletMarginMiner(margin=TRIPLET_MARGIN, type_of_triplets="all"),
            "none": lambda: None,
        }
        self._miner: Any = miners[miner]()

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the batch, a float32 scalar.

        Args:
            embeddings: One row a text, of any length and precision, (B, D).
            labels: Emotion index of each row, (B,).

        Raises:
            ShapeError: If the two do not describe the same B texts.
        """
        if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
            raise ShapeError(
                f"embeddings must be (B, D) and labels (B,), got {tuple(embeddings.shape)} and "
                f"{tuple(labels.shape)}"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            # Normalised here, since the squares of a long float16 vector overflow.
            unit = F.normalize(embeddings.float(), dim=-1)  # (B, D)
            pairs = self._miner(unit, labels) if self._miner else None
            loss: Tensor = self._loss(unit, labels, pairs)
        return loss
