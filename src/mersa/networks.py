"""The paper's networks: frames of words and of sound in, one logit an emotion out.

Every network has one signature, `forward(text, text_mask, audio, audio_mask) -> logits`, so that
one can stand in for another. Masks are True where a frame is real. An absent modality is one real
frame of zeros (`mersa.encoders.base.missing`), so no row is without a real frame. No network has
residual connections, positions or a softmax at the end; the lineage has none.

Shapes: B utterances, Lt text frames, La audio frames, L either, D width, H heads, E emotions.
Source: the paper, Sec. IV; tpnam0901/3m-ser:src/models/networks.py for what the paper leaves out.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mersa.errors import ConfigError, ShapeError

Pooling = Literal["first", "mean", "max", "min"]

BRANCH_WIDTH = 128
"""Width that SERVER gives to each branch, and 3M-SER to its fused frames."""


class Attention(nn.Module):
    """Multi-head scaled dot-product attention with masked keys. Paper: Eq. (2).

    With Q, K, V the projected queries, keys and values of one head and d the width of that head::

        Head = softmax(Q K^T / sqrt(d)) V

    The same class is self-attention (queries and keys from one sequence) and cross-attention
    (Eqs. (3) and (4)). Parameters and their initial distribution are those of
    `torch.nn.MultiheadAttention`.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(
                f"attention of width {width} cannot be shared by {num_heads} heads; choose "
                f"network.num_heads that divides {width}"
            )
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        for projection in (self.query, self.key, self.value):
            # torch.nn.MultiheadAttention draws the three as one (3 D, D) matrix.
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2))
        for projection in (self.query, self.key, self.value, self.output):
            nn.init.zeros_(projection.bias)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Let each query read from the real keys, (B, Lq, D), (B, Lk, D), (B, Lk) to (B, Lq, D)."""
        query, key, value = (  # (B, H, L, D / H) each
            self._heads(self.query(queries)),
            self._heads(self.key(keys)),
            self._heads(self.value(keys)),
        )
        takes_part = key_mask[:, None, None, :]
        if self.training and self.dropout and queries.device.type == "cpu":
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            weights = scores.masked_fill(~takes_part, -math.inf).softmax(-1)  # (B, H, Lq, Lk)
            attended = _dropout(weights, self.dropout) @ value
        else:
            attended = F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=takes_part,
                dropout_p=self.dropout if self.training else 0.0,
            )
        return self.output(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, frames: Tensor) -> Tensor:
        """Part the width into heads, (B, L, D) to (B, H, L, D / H)."""
        return frames.reshape(*frames.shape[:2], self.num_heads, -1).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention, then a linear map to another width, then LayerNorm. Paper: Sec. IV-B."""

    def __init__(self, width: int, out_width: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, num_heads=num_heads, dropout=dropout)
        self.linear = nn.Linear(width, out_width)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Read from the real keys, (B, Lq, D), (B, Lk, D), (B, Lk) to (B, Lq, out_width)."""
        return self.norm(self.linear(self.attention(queries, keys, key_mask)))  # type: ignore[no-any-return]


class Head(nn.Sequential):
    """Dropout, then Linear and LeakyReLU for each hidden width, then Linear to the emotions."""

    def __init__(
        self, width: int, hidden: Sequence[int], num_labels: int, *, dropout: float
    ) -> None:
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        for hidden_width in hidden:
            layers += [nn.Linear(width, hidden_width), nn.LeakyReLU(0.01)]
            width = hidden_width
        super().__init__(*layers, nn.Linear(width, num_labels))


class Server(nn.Module):
    """SERVER: a sentence vector beside the sum of the audio frames, then two linear maps.

    Rows .1 and .2 of Tables III to V. The text is one frame, BERT's pooler output (of more frames
    the first is read). Audio frames wider than 128 are mapped to 128 after the sum: the lineage's
    code cannot run with wav2vec frames, and this is the smallest change that can.
    Source: nhattruongpham/mmser:PreState.ipynb. The head has no non-linearity.
    """

    def __init__(
        self, text_width: int, audio_width: int, num_labels: int, *, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, BRANCH_WIDTH)
        self.audio = (
            nn.Identity() if audio_width == BRANCH_WIDTH else nn.Linear(audio_width, BRANCH_WIDTH)
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(2 * BRANCH_WIDTH, 64), nn.Linear(64, num_labels)
        )

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        heard = self.audio((audio * audio_mask[..., None]).sum(1))  # (B, 128)
        return self.head(torch.cat([self.text(text[:, 0]), heard], dim=1))  # type: ignore[no-any-return]


class SelfAttentionFusion(nn.Module):
    """3M-SER and MERSA: self-attention over the words, then over words and sound together.

    Rows .3, .4, .5 and .7: MERSA differs from 3M-SER in the weights of its text encoder alone.
    Source: tpnam0901/3m-ser:src/models/networks.py at v0.1.0 (class MMSERALayerNorm).

    Args:
        text_width: Width of a text frame.
        audio_width: Width of an audio frame, to which the words are mapped.
        num_labels: Number of emotions.
        num_heads: Heads of every attention.
        dropout: Share of attention weights, and of the head's inputs, dropped in training.
        fusion_width: Width of the fused frames; None keeps the audio's (the lineage's later graph).
        hidden: Hidden widths of the head.
        pooling: Which fused frame, or summary of the real ones, the head reads; `first` is the
            text's [CLS].
    """

    def __init__(
        self,
        text_width: int,
        audio_width: int,
        num_labels: int,
        *,
        num_heads: int = 8,
        dropout: float = 0.5,
        fusion_width: int | None = BRANCH_WIDTH,
        hidden: Sequence[int] = (64,),
        pooling: Pooling = "first",
    ) -> None:
        super().__init__()
        self.words = AttentionBlock(text_width, audio_width, num_heads=num_heads, dropout=dropout)
        self.sound = nn.LayerNorm(audio_width)
        self.fusion = _Fusion(
            audio_width, fusion_width, num_labels, num_heads, dropout, hidden, pooling
        )

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        words = self.words(text, text, text_mask)  # (B, Lt, Da)
        return self.fusion(words, text_mask, self.sound(audio), audio_mask)  # type: ignore[no-any-return]


class CrossAttentionFusion(nn.Module):
    """MERSA with cross-attention: each modality asks the other before both are fused.

    Rows .6 and .8; Eqs. (3) and (4), Fig. 1. The words' answers stand first, so that the fused
    frame 0 is still the text's [CLS]. Arguments as in `SelfAttentionFusion`.
    """

    def __init__(
        self,
        text_width: int,
        audio_width: int,
        num_labels: int,
        *,
        num_heads: int = 8,
        dropout: float = 0.5,
        fusion_width: int | None = BRANCH_WIDTH,
        hidden: Sequence[int] = (64,),
        pooling: Pooling = "first",
    ) -> None:
        super().__init__()
        self.words = AttentionBlock(text_width, audio_width, num_heads=num_heads, dropout=dropout)
        self.sound = nn.LayerNorm(audio_width)
        self.text_asks_audio = AttentionBlock(
            audio_width, audio_width, num_heads=num_heads, dropout=dropout
        )
        self.audio_asks_text = AttentionBlock(
            audio_width, audio_width, num_heads=num_heads, dropout=dropout
        )
        self.fusion = _Fusion(
            audio_width, fusion_width, num_labels, num_heads, dropout, hidden, pooling
        )

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        words = self.words(text, text, text_mask)  # (B, Lt, Da)
        sound = self.sound(audio)  # (B, La, Da)
        heard = self.text_asks_audio(words, sound, audio_mask)  # (B, Lt, Da), Eq. (3)
        read = self.audio_asks_text(sound, words, text_mask)  # (B, La, Da), Eq. (4)
        return self.fusion(heard, text_mask, read, audio_mask)  # type: ignore[no-any-return]


class SingleModality(nn.Module):
    """Words alone or sound alone: self-attention, the mean of the real frames, the same head.

    Frames of sound pass a LayerNorm first, as they do before every fusion.
    """

    def __init__(
        self,
        modality: Literal["text", "audio"],
        width: int,
        num_labels: int,
        *,
        num_heads: int = 8,
        dropout: float = 0.5,
        fusion_width: int | None = BRANCH_WIDTH,
        hidden: Sequence[int] = (64,),
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        self.modality = modality
        self.pooling = pooling
        out_width = fusion_width or width
        self.norm = nn.LayerNorm(width) if modality == "audio" else nn.Identity()
        self.block = AttentionBlock(width, out_width, num_heads=num_heads, dropout=dropout)
        self.head = Head(out_width, hidden, num_labels, dropout=dropout)

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions from one modality, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        frames, mask = (text, text_mask) if self.modality == "text" else (audio, audio_mask)
        frames = self.norm(frames)
        return self.head(pool(self.block(frames, frames, mask), mask, self.pooling))  # type: ignore[no-any-return]


class LayerMix(nn.Module):
    """A learnt weighted mean of an encoder's K stacked layers, (B, L, K * D) to (B, L, D)."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))  # softmax: all layers alike at first

    def forward(self, frames: Tensor) -> Tensor:
        """Mix the layers."""
        layers = frames.reshape(*frames.shape[:2], len(self.weights), -1)  # (B, L, K, D)
        return torch.einsum("blkd,k->bld", layers, self.weights.softmax(0))


class MixedLayers(nn.Module):
    """A network whose frames come as stacked layers, mixed by weights that it learns."""

    def __init__(self, network: nn.Module, num_text_layers: int, num_audio_layers: int) -> None:
        super().__init__()
        self.text_mix = LayerMix(num_text_layers) if num_text_layers > 1 else nn.Identity()
        self.audio_mix = LayerMix(num_audio_layers) if num_audio_layers > 1 else nn.Identity()
        self.network = network

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Mix, then tell emotions, (B, Lt, K * D), ... to (B, E)."""
        return self.network(self.text_mix(text), text_mask, self.audio_mix(audio), audio_mask)  # type: ignore[no-any-return]


def pool(frames: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Summarise the real frames of each row, (B, L, D), (B, L) to (B, D)."""
    if frames.shape[:2] != mask.shape:
        raise ShapeError(
            f"frames {tuple(frames.shape)} and mask {tuple(mask.shape)} do not fit; "
            "a mask has one entry for each frame"
        )
    real = mask[..., None]
    if pooling == "first":
        return frames[:, 0]
    if pooling == "mean":
        return (frames * real).sum(1) / real.sum(1)
    if pooling == "max":
        return frames.masked_fill(~real, -math.inf).amax(1)
    return frames.masked_fill(~real, math.inf).amin(1)


def num_trainable(network: nn.Module) -> int:
    """Count the numbers that training changes."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def _dropout(values: Tensor, share: float) -> Tensor:
    """Drop a share of values, as `torch.nn.functional.dropout`; many times faster on a CPU.

    Torch draws one random number a value; here one draw of 64 bits serves four, so the share is
    rounded to a multiple of 1 / 65536.
    """
    draws = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: values.numel()].view(values.shape)  # uniform, 16 bits each
    kept = bits >= round(share * 65536) - 32768
    return values * kept * (1 / (1 - share))


class _Fusion(nn.Module):
    """Both sequences one after the other: self-attention, one summary, the head."""

    def __init__(
        self,
        width: int,
        fusion_width: int | None,
        num_labels: int,
        num_heads: int,
        dropout: float,
        hidden: Sequence[int],
        pooling: Pooling,
    ) -> None:
        super().__init__()
        out_width = fusion_width or width
        self.block = AttentionBlock(width, out_width, num_heads=num_heads, dropout=dropout)
        self.pooling = pooling
        self.head = Head(out_width, hidden, num_labels, dropout=dropout)

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        both = torch.cat([text, audio], dim=1)  # (B, Lt + La, D)
        mask = torch.cat([text_mask, audio_mask], dim=1)  # (B, Lt + La)
        return self.head(pool(self.block(both, both, mask), mask, self.pooling))  # type: ignore[no-any-return]
