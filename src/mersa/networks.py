"""The paper's networks: frames of words and of sound in, one logit an emotion out.

Every network has one signature, `forward(text, text_mask, audio, audio_mask) -> logits`, so that
one can stand in for another. Masks are True where a frame is real. An absent modality is one real
frame of zeros (`mersa.encoders.base.missing`), so no row is without a real frame. No network has
residual connections, positions or a softmax at the end; the lineage has none.

Frames may also come packed: (N, D) of all utterances one after the other, and in the place of the
mask the number of frames of each, (B,). On a CPU padded frames are packed first: what is not there
costs nothing, and `Attention.packed` takes each product in the order that is cheapest. Elsewhere
they stay padded, since a GPU is faster with one large product than with many small ones. Both
paths give the same logits and gradients.

Shapes: B utterances, Lt text frames, La audio frames, L either, N frames of all utterances, D
width, H heads, E emotions.
Source: the paper, Sec. IV; tpnam0901/3m-ser:src/models/networks.py for what the paper leaves out.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mersa.errors import ConfigError, ShapeError
from mersa.packed import Packed, Sizes, attend, kept, narrow, pack, parts_of, read, spread, widen

Pooling = Literal["first", "mean", "max", "min"]
Order = Literal["projected", "few queries", "few keys"]

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
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=key_mask[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.output(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def weights(self, queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """Tell what share each query takes of each key, arguments of `forward` to (B, H, Lq, Lk).

        The weights are those before dropout, and their sum over the keys is 1.
        """
        query, key = self._heads(self.query(queries)), self._heads(self.key(keys))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return scores.masked_fill(~key_mask[:, None, None, :], -math.inf).softmax(-1)

    def packed(self, queries: Packed, keys: Sequence[Packed], linear: nn.Linear) -> Tensor:
        """Let each query read the keys of its utterance, and map the answer, to (Nq, out).

        Args:
            queries: What asks.
            keys: What is read; of several the frames of an utterance stand one after the other.
            linear: What `forward`'s result is mapped by.
        """
        sizes = Sizes(
            queries.lengths,
            tuple(sum(lengths) for lengths in zip(*(one.lengths for one in keys), strict=True)),
            self.num_heads,
        )
        order = self._cheapest(sizes, keys[0].frames.shape[1], linear.out_features)
        if order == "few queries":
            return self._output(self._read(queries, keys, sizes), linear)
        joined = keys[0]
        for other in keys[1:]:
            joined = joined.joined(other)
        if order == "few keys":
            return self._spread(queries, joined, sizes, linear)
        written = joined.written_out().frames
        asking = written if len(keys) == 1 and keys[0] is queries else queries.written_out().frames
        root = math.sqrt(self.query.out_features / self.num_heads)
        attended = attend(
            self.query(asking) / root,
            self.key(written),
            self.value(written),
            sizes,
            self._kept(sizes),
        )
        return self._output(attended, linear)

    def _read(self, queries: Packed, keys: Sequence[Packed], sizes: Sizes) -> Tensor:
        """Attend in the order for few queries, to (Nq, D).

        The keys' bias moves all scores of a query alike, which the softmax takes away again.
        """
        root = math.sqrt(self.query.out_features / self.num_heads)
        query = self.query(queries.written_out().frames) / root
        segments: list[tuple[Tensor, Tensor | None, Packed]] = []
        values: list[tuple[Tensor, Tensor]] = []
        for one in keys:
            shift: Tensor | None = None
            weight: Tensor = self.key.weight
            value: Tensor = self.value.weight
            bias: Tensor = self.value.bias
            if one.scale is not None and one.shift is not None:
                if len(keys) > 1:  # alone, it moves all scores of a query alike
                    shift = self._by_head(query * (weight @ one.shift)).sum(-1)
                bias = torch.addmv(bias, value, one.shift)
                weight, value = weight * one.scale, value * one.scale
            segments.append((widen(query, weight, self.num_heads), shift, one))
            values.append((value, bias))
        attended = 0.0 * self.key.bias  # gives it the gradient that it has: zero
        for (value, bias), (sums, shares) in zip(
            values, read(segments, sizes, self._kept(sizes)), strict=True
        ):
            # Shares that dropout left do not sum to 1, so neither does the bias of the values.
            attended = attended + narrow(sums, value)
            attended = attended + (shares[..., None] * self._by_head(bias)).flatten(-2)
        return attended

    def _spread(self, queries: Packed, keys: Packed, sizes: Sizes, linear: nn.Linear) -> Tensor:
        """Attend in the order for few keys and map the answer, to (Nq, out)."""
        root = math.sqrt(self.query.out_features / self.num_heads)
        frames = keys.written_out().frames
        key = self.key(frames) / root
        weight: Tensor = self.query.weight
        bias: Tensor = self.query.bias
        if queries.scale is not None and queries.shift is not None:
            bias = torch.addmv(bias, weight, queries.shift)
            weight = weight * queries.scale
        rows = widen(key, weight, self.num_heads)  # (Nk, H, D)
        shift = self._by_head(key * bias).sum(-1)
        merged = linear.weight @ self.output.weight  # (out, D)
        answers = widen(self.value(frames), merged.T.contiguous(), self.num_heads)  # (Nk, H, out)
        attended = spread(rows, shift, queries.frames, answers, sizes, self._kept(sizes))
        return attended + torch.addmv(linear.bias, linear.weight, self.output.bias)

    def _output(self, attended: Tensor, linear: nn.Linear) -> Tensor:
        """Map answers by the output's projection and by the linear layer, (N, D) to (N, out).

        Two linear maps in a row are one; to multiply them costs as much as `linear` saves on
        out_features frames.
        """
        if len(attended) <= linear.out_features:
            return linear(self.output(attended))  # type: ignore[no-any-return]
        bias = torch.addmv(linear.bias, linear.weight, self.output.bias)
        return F.linear(attended, linear.weight @ self.output.weight, bias)

    def _cheapest(self, sizes: Sizes, width: int, out_width: int) -> Order:
        """Choose the order with the fewest multiplications."""
        queries, keys = sum(sizes.queries), sum(sizes.keys)
        square, merge = width * width, width * width * out_width
        wide = sum(sizes.weights) * width  # one product of weights with one row a head
        output = min(queries * square, merge) + queries * width * out_width
        counts: dict[Order, int] = {
            "projected": (queries + 2 * keys) * square + 2 * wide // sizes.num_heads + output,
            "few queries": 3 * queries * square + 2 * wide + output,
            "few keys": 3 * keys * square
            + keys * width * out_width
            + wide
            + wide // width * out_width
            + merge,
        }
        return min(counts, key=counts.__getitem__)

    def _kept(self, sizes: Sizes) -> Tensor | None:
        """Draw which weights dropout leaves, or None if it drops none."""
        if not (self.training and self.dropout):
            return None
        return kept(sum(sizes.weights), self.dropout, self.query.weight)

    def _by_head(self, frames: Tensor) -> Tensor:
        """Part the width into heads, (..., D) to (..., H, D / H)."""
        return frames.view(*frames.shape[:-1], self.num_heads, -1)

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

    def packed(self, queries: Packed, *keys: Packed) -> Packed:
        """Read from the keys of the same utterance, (Nq, D), (Nk, D) to (Nq, out_width)."""
        answers = self.attention.packed(queries, keys, self.linear)
        return Packed(self.norm(answers), queries.lengths)


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


class Network(nn.Module):
    """What all networks have: one signature, and two paths to the same logits."""

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, to (B, E).

        Args:
            text: (B, Lt, Dt), or packed (Nt, Dt).
            text_mask: (B, Lt), or packed the lengths (B,).
            audio: (B, La, Da), or packed (Na, Da).
            audio_mask: (B, La), or packed the lengths (B,).
        """
        if text.ndim == 2:
            return self.packed(
                Packed(text, tuple(text_mask.tolist())), Packed(audio, tuple(audio_mask.tolist()))
            )
        if text.device.type == "cpu":
            return self.packed(pack(text, text_mask), pack(audio, audio_mask))
        return self.padded(text, text_mask, audio, audio_mask)

    def padded(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        raise NotImplementedError

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        """Tell emotions, (Nt, Dt), (Na, Da) to (B, E)."""
        raise NotImplementedError


class Server(Network):
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

    def padded(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        heard = self.audio((audio * audio_mask[..., None]).sum(1))  # (B, 128)
        return self.head(torch.cat([self.text(text[:, 0]), heard], dim=1))  # type: ignore[no-any-return]

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        """Tell emotions, (Nt, Dt), (Na, Da) to (B, E)."""
        heard = torch.stack([one.sum(0) for one in parts_of(audio.frames, audio.lengths)])
        both = torch.cat([self.text(text.first().frames), self.audio(heard)], dim=1)
        return self.head(both)  # type: ignore[no-any-return]


class SelfAttentionFusion(Network):
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

    def padded(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        words = self.words(text, text, text_mask)  # (B, Lt, Da)
        return self.fusion(words, text_mask, self.sound(audio), audio_mask)  # type: ignore[no-any-return]

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        """Tell emotions, (Nt, Dt), (Na, Da) to (B, E)."""
        return self.fusion.packed(self.words.packed(text, text), _normed(audio, self.sound))


class CrossAttentionFusion(Network):
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

    def padded(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        words = self.words(text, text, text_mask)  # (B, Lt, Da)
        sound = self.sound(audio)  # (B, La, Da)
        heard = self.text_asks_audio(words, sound, audio_mask)  # (B, Lt, Da), Eq. (3)
        read = self.audio_asks_text(sound, words, text_mask)  # (B, La, Da), Eq. (4)
        return self.fusion(heard, text_mask, read, audio_mask)  # type: ignore[no-any-return]

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        """Tell emotions, (Nt, Dt), (Na, Da) to (B, E)."""
        words = self.words.packed(text, text)
        sound = _normed(audio, self.sound)
        heard = self.text_asks_audio.packed(words, sound)  # (Nt, Da), Eq. (3)
        read = self.audio_asks_text.packed(sound, words)  # (Na, Da), Eq. (4)
        return self.fusion.packed(heard, read)


class SingleModality(Network):
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

    def padded(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions from one modality, (B, Lt, Dt), (B, Lt), (B, La, Da), (B, La) to (B, E)."""
        frames, mask = (text, text_mask) if self.modality == "text" else (audio, audio_mask)
        frames = self.norm(frames)
        return self.head(pool(self.block(frames, frames, mask), mask, self.pooling))  # type: ignore[no-any-return]

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        """Tell emotions from one modality, (Nt, Dt), (Na, Da) to (B, E)."""
        frames = text if self.modality == "text" else _normed(audio, self.norm)
        queries = frames.first() if self.pooling == "first" else frames
        return self.head(_pool_packed(self.block.packed(queries, frames), self.pooling))  # type: ignore[no-any-return]


class LayerMix(nn.Module):
    """A learnt weighted mean of an encoder's K stacked layers, (..., K * D) to (..., D)."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))  # softmax: all layers alike at first

    def forward(self, frames: Tensor) -> Tensor:
        """Mix the layers."""
        layers = frames.reshape(*frames.shape[:-1], len(self.weights), -1)  # (..., K, D)
        return torch.einsum("...kd,k->...d", layers, self.weights.softmax(0))


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


def _normed(frames: Packed, norm: nn.Module) -> Packed:
    """Apply a LayerNorm, its scale and shift left to whoever reads the frames."""
    if not isinstance(norm, nn.LayerNorm):
        return frames
    normed = F.layer_norm(frames.frames, norm.normalized_shape, eps=norm.eps)
    return Packed(normed, frames.lengths, norm.weight, norm.bias)


def _pool_packed(frames: Packed, pooling: Pooling) -> Tensor:
    """Summarise the frames of each utterance as `pool`, (N, D) to (B, D)."""
    if pooling == "first":
        return frames.first().frames
    padded = pad_sequence(list(parts_of(frames.frames, frames.lengths)), batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor(frames.lengths)[:, None]
    return pool(padded, mask, pooling)


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

    def packed(self, text: Packed, audio: Packed) -> Tensor:
        if self.pooling == "first":  # what the other frames ask is not read by anyone
            fused = self.block.packed(text.first(), text, audio)
        else:
            both = text.joined(audio)
            fused = self.block.packed(both, both)
        return self.head(_pool_packed(fused, self.pooling))  # type: ignore[no-any-return]
