"""Attention over packed frames: nothing is padded, and products are taken in the cheaper order.

Packed frames are the real frames of a batch, one utterance after the other, (N, D), and the number
of frames of each. The products of attention are associative, which gives three orders of one
equation; with X the queries' frames, Y the keys', and the projections of one head::

    projected   (X Wq) (Y Wk)^T      weights (Y Wv)        every frame is projected
    few queries ((X Wq) Wk^T) Y^T    (weights Y) Wv        no key is projected
    few keys    X (Wq (Y Wk)^T)      weights ((Y Wv) Wo)   no query is projected, no answer either

The second and third widen each short side to one row a head, which pays where that side is short
and the other is not. The functions here are the parts of these orders; `mersa.networks.Attention`
puts them together. Each is exact, with its gradient written out so that no frame is copied.

Shapes: N frames in all, Lq and Lk frames of one utterance, D width, H heads, d = D / H, W width of
the frames on the long side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Lengths = tuple[int, ...]

AT_ONCE = 1_000_000
"""Multiplications that take less time than the calls for one utterance (measured on a CPU)."""


@dataclass(frozen=True)
class Packed:
    """Frames of utterances, one after the other.

    Attributes:
        frames: (N, D).
        lengths: Number of frames of each utterance; their sum is N.
        scale: What each frame is multiplied by before it is read, (D,); None: 1.
        shift: What is added thereafter, (D,); None: 0. A `LayerNorm` leaves both here rather than
            in the frames, so that its gradient needs no pass over them.
    """

    frames: Tensor
    lengths: Lengths
    scale: Tensor | None = None
    shift: Tensor | None = None

    def written_out(self) -> "Packed":
        """Return the same frames with scale and shift applied."""
        if self.scale is None or self.shift is None:
            return self
        return Packed(torch.addcmul(self.shift, self.frames, self.scale), self.lengths)

    def first(self) -> "Packed":
        """Return the first frame of each utterance."""
        starts = [0]
        for length in self.lengths[:-1]:
            starts.append(starts[-1] + length)
        rows = torch.tensor(starts, device=self.frames.device)
        return Packed(self.frames[rows], (1,) * len(starts), self.scale, self.shift)

    def joined(self, other: "Packed") -> "Packed":
        """Put the frames of the other behind these, utterance by utterance."""
        pairs = zip(
            parts_of(self.written_out().frames, self.lengths),
            parts_of(other.written_out().frames, other.lengths),
            strict=True,
        )
        lengths = (a + b for a, b in zip(self.lengths, other.lengths, strict=True))
        return Packed(torch.cat([one for pair in pairs for one in pair]), tuple(lengths))


def pack(frames: Tensor, mask: Tensor) -> Packed:
    """Take the real frames out of a padded batch, (B, L, D), (B, L)."""
    lengths = tuple(mask.sum(1).tolist())
    if min(lengths) == mask.shape[1]:
        return Packed(frames.flatten(0, 1), lengths)
    return Packed(frames[mask], lengths)


def attend(
    query: Tensor, key: Tensor, value: Tensor, sizes: "Sizes", keep: Tensor | None
) -> Tensor:
    """Attend with every frame projected, three of (N, D) to (Nq, D).

    Args:
        query: Projected queries, divided by the root of d.
        key: Projected keys.
        value: Projected values.
        sizes: Lengths and heads.
        keep: What each weight is multiplied by, in the order (utterance, head, key, query);
            None: 1. See `kept`.
    """
    return _Attend.apply(query, key, value, sizes, keep)  # type: ignore[no-any-return, no-untyped-call]


def read(
    segments: Sequence[tuple[Tensor, Tensor | None, Packed]], sizes: "Sizes", keep: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Let few queries read long keys that are not projected.

    Args:
        segments: Parts of the keys, which share one softmax: for each the queries as rows of the
            keys' width, (Nq, H, W), what is added to their scores, (Nq, H) or None, and the keys;
            scale and shift of these are not read.
        sizes: Lengths and heads; the keys' are those of all segments together.
        keep: As in `attend`, in the order (utterance, query, head, key).

    Returns:
        For each segment the weighted sums of its keys, (Nq, H, W), and of its weights, (Nq, H).
    """
    multiplications = sum(rows.numel() * len(keys.frames) for rows, _, keys in segments)
    if multiplications <= AT_ONCE * len(sizes.queries):
        return _read_at_once(segments, sizes, keep)
    tensors = [one for rows, shift, keys in segments for one in (rows, shift, keys.frames)]
    out = _Read.apply(sizes, keep, tuple(keys.lengths for _, _, keys in segments), *tensors)  # type: ignore[no-untyped-call]
    return [(out[2 * i], out[2 * i + 1]) for i in range(len(segments))]


def spread(
    rows: Tensor,
    shift: Tensor,
    queries: Tensor,
    answers: Tensor,
    sizes: "Sizes",
    keep: Tensor | None,
) -> Tensor:
    """Let long queries that are not projected read few keys.

    Args:
        rows: The keys as rows of the queries' width, (Nk, H, W).
        shift: What is added to the scores of each, (Nk, H).
        queries: (Nq, W).
        answers: What each key answers with, (Nk, H, O).
        sizes: Lengths and heads.
        keep: As in `attend`, in the order (utterance, key, head, query).

    Returns:
        Weighted sums of the answers over keys and heads, (Nq, O).
    """
    return _Spread.apply(rows, shift, queries, answers, sizes, keep)  # type: ignore[no-any-return, no-untyped-call]


def parts_of(frames: Tensor, lengths: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Part a dimension into stretches of these lengths, without copying."""
    return tuple(torch.split_with_sizes(frames, list(lengths), dim))


def widen(frames: Tensor, weight: Tensor, num_heads: int) -> Tensor:
    """Multiply each head by its own rows of a weight, (N, D), (D, W) to (N, H, W)."""
    return _Widen.apply(frames, weight, num_heads)  # type: ignore[no-any-return, no-untyped-call]


def narrow(frames: Tensor, weight: Tensor) -> Tensor:
    """Multiply each head by its own rows of a weight, (N, H, W), (D, W) to (N, D)."""
    return _Narrow.apply(frames, weight)  # type: ignore[no-any-return, no-untyped-call]


def kept(num: int, share: float, like: Tensor) -> Tensor:
    """Draw what `num` weights are multiplied by if a share is dropped: 0 or 1 / (1 - share).

    Torch draws one random number a value; here one draw of 64 bits serves four, so the share is
    rounded to a multiple of 1 / 65536.
    """
    draws = torch.empty((num + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[:num]  # uniform, 16 bits each
    return (bits >= round(share * 65536) - 32768).to(like.dtype).mul_(1 / (1 - share))


@dataclass(frozen=True)
class Sizes:
    """Frames of each utterance on both sides, and the heads."""

    queries: Lengths
    keys: Lengths
    num_heads: int

    @property
    def weights(self) -> list[int]:
        """Number of weights of each utterance."""
        return [self.num_heads * q * k for q, k in zip(self.queries, self.keys, strict=True)]


def _read_at_once(
    segments: Sequence[tuple[Tensor, Tensor | None, Packed]], sizes: Sizes, keep: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Read as `read`, by one product of all queries with all keys, those of others masked."""
    utterance = torch.arange(len(sizes.queries))
    asks = utterance.repeat_interleave(torch.tensor(sizes.queries))  # (Nq,)
    scores, own = [], []
    for rows, shift, keys in segments:
        belongs = utterance.repeat_interleave(torch.tensor(keys.lengths))  # (Nk,)
        own.append(asks[:, None] == belongs)
        score = rows @ keys.frames.T  # (Nq, H, Nk)
        scores.append(score if shift is None else score + shift[..., None])
    mine = torch.cat(own, dim=1)[:, None]  # (Nq, 1, Nk)
    weights = torch.cat(scores, dim=2).masked_fill(~mine, -torch.inf).softmax(2)
    if keep is not None:
        weights = weights * torch.zeros_like(weights).masked_scatter_(mine, keep)
    parts = parts_of(weights, [len(keys.frames) for _, _, keys in segments], 2)
    return [
        (part @ keys.frames, part.sum(2))
        for part, (_, _, keys) in zip(parts, segments, strict=True)
    ]


class _Attend(Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, sizes: Sizes, keep: Tensor | None
    ) -> Tensor:
        heads = sizes.num_heads
        weights = query.new_empty(sum(sizes.weights))
        queries = parts_of(_heads(query, heads).transpose(1, 2), sizes.queries, 2)  # (H, d, Lq)
        keys = parts_of(_heads(key, heads), sizes.keys, 1)  # (H, Lk, d)
        parts = _blocks(weights, sizes, (heads, "keys", "queries"))
        for part, one_query, one_key in zip(parts, queries, keys, strict=True):
            torch.bmm(one_key, one_query, out=part)
            torch.softmax(part, 1, out=part)  # many times faster than over a short last dimension
        dropped = weights if keep is None else weights * keep
        answers = torch.empty_like(query)
        for answer, part, one_value in zip(
            parts_of(_heads(answers, heads), sizes.queries, 1),
            _blocks(dropped, sizes, (heads, "keys", "queries")),
            parts_of(_heads(value, heads), sizes.keys, 1),
            strict=True,
        ):
            answer.copy_(torch.bmm(part.transpose(1, 2), one_value))
        ctx.save_for_backward(query, key, value, weights, dropped, keep)
        ctx.sizes = sizes
        return answers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, dropped, keep = ctx.saved_tensors
        sizes: Sizes = ctx.sizes
        heads = sizes.num_heads
        layout = (heads, "keys", "queries")
        grads = parts_of(_heads(grad, heads), sizes.queries, 1)  # (H, Lq, d)
        grads_wide = parts_of(_heads(grad, heads).transpose(1, 2), sizes.queries, 2)
        to_value, to_key, to_query = (torch.empty_like(one) for one in (value, key, query))
        to_weights = torch.empty_like(weights)
        for out, part, one_value, one_grad, one_wide, place in zip(
            _blocks(to_weights, sizes, layout),
            _blocks(dropped, sizes, layout),
            parts_of(_heads(value, heads), sizes.keys, 1),
            grads,
            grads_wide,
            parts_of(_heads(to_value, heads), sizes.keys, 1),
            strict=True,
        ):
            torch.bmm(one_value, one_wide, out=out)
            place.copy_(torch.bmm(part, one_grad))
        if keep is not None:
            to_weights.mul_(keep)
        for one, part, one_query, one_key, key_place, query_place in zip(
            _blocks(to_weights, sizes, layout),
            _blocks(weights, sizes, layout),
            parts_of(_heads(query, heads), sizes.queries, 1),
            parts_of(_heads(key, heads), sizes.keys, 1),
            parts_of(_heads(to_key, heads), sizes.keys, 1),
            parts_of(_heads(to_query, heads), sizes.queries, 1),
            strict=True,
        ):
            to_scores = _softmax_backward(one, part, 1)
            key_place.copy_(torch.bmm(to_scores, one_query))
            query_place.copy_(torch.bmm(to_scores.transpose(1, 2), one_key))
        return to_query, to_key, to_value, None, None


class _Read(Function):
    @staticmethod
    def forward(
        ctx: Any,
        sizes: Sizes,
        keep: Tensor | None,
        lengths: tuple[Lengths, ...],
        *tensors: Tensor | None,
    ) -> tuple[Tensor, ...]:
        rows, shifts, keys = tensors[0::3], tensors[1::3], tensors[2::3]
        heads, num = sizes.num_heads, len(lengths)
        like = _there(rows[0])
        weights = like.new_empty(sum(sizes.weights))
        sums = [torch.empty_like(_there(one)) for one in rows]
        totals = [like.new_empty(like.shape[:2]) for _ in rows]
        parts = _blocks(weights, sizes, ("queries", heads, "keys"))
        keeps = _blocks(keep, sizes, ("queries", heads, "keys")) if keep is not None else None
        pieces = [
            zip(
                parts_of(_there(rows[i]), sizes.queries),
                parts_of(_there(keys[i]), lengths[i]),
                parts_of(sums[i], sizes.queries),
                parts_of(totals[i], sizes.queries),
                _splits(shifts[i], sizes.queries),
                strict=True,
            )
            for i in range(num)
        ]
        for number, (part, *utterance) in enumerate(zip(parts, *pieces, strict=True)):
            scores = part.flatten(0, 1)  # (Lq * H, Lk)
            columns = parts_of(scores, [piece[1].shape[0] for piece in utterance], 1)
            for column, (one_rows, one_keys, _, _, shift) in zip(columns, utterance, strict=True):
                torch.mm(one_rows.flatten(0, 1), one_keys.T, out=column)
                if shift is not None:
                    column.add_(shift.reshape(-1, 1))
            torch.softmax(scores, 1, out=scores)
            dropped = scores if keeps is None else scores * keeps[number].flatten(0, 1)
            columns = parts_of(dropped, [piece[1].shape[0] for piece in utterance], 1)
            for column, (_, one_keys, one_sum, total, _) in zip(columns, utterance, strict=True):
                torch.mm(column, one_keys, out=one_sum.flatten(0, 1))
                torch.sum(column, 1, out=total.flatten())
        ctx.save_for_backward(weights, keep, *tensors)
        ctx.sizes, ctx.lengths = sizes, lengths
        return tuple(one for pair in zip(sums, totals, strict=True) for one in pair)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, keep, *tensors = ctx.saved_tensors
        rows, keys = tensors[0::3], tensors[2::3]
        sizes: Sizes = ctx.sizes
        lengths: tuple[Lengths, ...] = ctx.lengths
        heads, num = sizes.num_heads, len(lengths)
        to_rows = [torch.empty_like(one) for one in rows]
        needs = [ctx.needs_input_grad[3 + 3 * i + 2] for i in range(num)]
        shifted = [tensors[3 * i + 1] is not None for i in range(num)]
        to_keys = [torch.empty_like(keys[i]) if needs[i] else None for i in range(num)]
        to_shifts = [
            rows[i].new_empty(rows[i].shape[:2]) if shifted[i] else None for i in range(num)
        ]
        parts = _blocks(weights, sizes, ("queries", heads, "keys"))
        keeps = _blocks(keep, sizes, ("queries", heads, "keys")) if keep is not None else None
        pieces = [
            zip(
                parts_of(rows[i], sizes.queries),
                parts_of(keys[i], lengths[i]),
                parts_of(grads[2 * i], sizes.queries),
                parts_of(grads[2 * i + 1], sizes.queries),
                parts_of(to_rows[i], sizes.queries),
                _splits(to_keys[i], lengths[i]),
                _splits(to_shifts[i], sizes.queries),
                strict=True,
            )
            for i in range(num)
        ]
        for number, (part, *utterance) in enumerate(zip(parts, *pieces, strict=True)):
            scores = part.flatten(0, 1)
            widths = [piece[1].shape[0] for piece in utterance]
            to_weights = torch.empty_like(scores)
            for column, (_, one_keys, grad, to_total, _, _, _) in zip(
                parts_of(to_weights, widths, 1), utterance, strict=True
            ):
                torch.mm(grad.flatten(0, 1), one_keys.T, out=column)
                column.add_(to_total.reshape(-1, 1))
            dropped = scores
            if keeps is not None:
                one_keep = keeps[number].flatten(0, 1)
                dropped = scores * one_keep
                to_weights.mul_(one_keep)
            to_scores = _softmax_backward(to_weights, scores, 1)
            for one_dropped, column, piece in zip(
                parts_of(dropped, widths, 1), parts_of(to_scores, widths, 1), utterance, strict=True
            ):
                one_rows, one_keys, grad, _, row_place, key_place, shift_place = piece
                torch.mm(column, one_keys, out=row_place.flatten(0, 1))
                if key_place is not None:
                    torch.mm(column.T, one_rows.flatten(0, 1), out=key_place)
                    key_place.addmm_(one_dropped.T, grad.flatten(0, 1))
                if shift_place is not None:
                    torch.sum(column, 1, out=shift_place.flatten())
        out = [one for i in range(num) for one in (to_rows[i], to_shifts[i], to_keys[i])]
        return None, None, None, *out


class _Spread(Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        shift: Tensor,
        queries: Tensor,
        answers: Tensor,
        sizes: Sizes,
        keep: Tensor | None,
    ) -> Tensor:
        heads = sizes.num_heads
        weights = rows.new_empty(sum(sizes.weights))
        out = queries.new_empty(len(queries), answers.shape[2])
        layout = ("keys", heads, "queries")
        keeps = _blocks(keep, sizes, layout) if keep is not None else None
        for number, (part, one_rows, one_shift, one_queries, one_answers, place) in enumerate(
            zip(
                _blocks(weights, sizes, layout),
                parts_of(rows, sizes.keys),
                parts_of(shift, sizes.keys),
                parts_of(queries, sizes.queries),
                parts_of(answers, sizes.keys),
                parts_of(out, sizes.queries),
                strict=True,
            )
        ):
            torch.mm(one_rows.flatten(0, 1), one_queries.T, out=part.flatten(0, 1))
            part.add_(one_shift[..., None])
            torch.softmax(part, 0, out=part)
            dropped = part if keeps is None else part * keeps[number]
            torch.mm(dropped.flatten(0, 1).T, one_answers.flatten(0, 1), out=place)
        ctx.save_for_backward(rows, queries, answers, weights, keep)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, queries, answers, weights, keep = ctx.saved_tensors
        sizes: Sizes = ctx.sizes
        layout = ("keys", sizes.num_heads, "queries")
        to_rows, to_answers = torch.empty_like(rows), torch.empty_like(answers)
        to_shift = rows.new_empty(rows.shape[:2])
        to_queries = torch.empty_like(queries) if ctx.needs_input_grad[2] else None
        keeps = _blocks(keep, sizes, layout) if keep is not None else None
        for number, piece in enumerate(
            zip(
                _blocks(weights, sizes, layout),
                parts_of(rows, sizes.keys),
                parts_of(queries, sizes.queries),
                parts_of(answers, sizes.keys),
                parts_of(grad, sizes.queries),
                parts_of(to_rows, sizes.keys),
                parts_of(to_answers, sizes.keys),
                parts_of(to_shift, sizes.keys),
                _splits(to_queries, sizes.queries),
                strict=True,
            )
        ):
            part, one_rows, one_queries, one_answers, one_grad, *places = piece
            row_place, answer_place, shift_place, query_place = places
            dropped = part if keeps is None else part * keeps[number]
            torch.mm(dropped.flatten(0, 1), one_grad, out=answer_place.flatten(0, 1))
            to_weights = torch.mm(one_answers.flatten(0, 1), one_grad.T).view_as(part)
            if keeps is not None:
                to_weights.mul_(keeps[number])
            to_scores = _softmax_backward(to_weights, part, 0)
            torch.sum(to_scores, 2, out=shift_place)
            to_scores = to_scores.flatten(0, 1)  # (Lk * H, Lq)
            torch.mm(to_scores, one_queries, out=row_place.flatten(0, 1))
            if query_place is not None:
                torch.mm(to_scores.T, one_rows.flatten(0, 1), out=query_place)
        return to_rows, to_shift, to_queries, to_answers, None, None


class _Widen(Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, num_heads: int) -> Tensor:
        out = frames.new_empty(len(frames), num_heads, weight.shape[1])
        for head, (one, rows) in enumerate(
            zip(frames.chunk(num_heads, 1), weight.chunk(num_heads), strict=True)
        ):
            torch.mm(one, rows, out=out[:, head])
        ctx.save_for_backward(frames, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        frames, weight = ctx.saved_tensors
        num_heads = grad.shape[1]
        to_frames, to_weight = torch.empty_like(frames), torch.empty_like(weight)
        for head, (one, rows, frame_place, row_place) in enumerate(
            zip(
                frames.chunk(num_heads, 1),
                weight.chunk(num_heads),
                to_frames.chunk(num_heads, 1),
                to_weight.chunk(num_heads),
                strict=True,
            )
        ):
            torch.mm(grad[:, head], rows.T, out=frame_place)
            torch.mm(one.T, grad[:, head], out=row_place)
        return to_frames, to_weight, None


class _Narrow(Function):
    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor) -> Tensor:
        num_heads = frames.shape[1]
        out = frames.new_empty(len(frames), len(weight))
        for head, (place, rows) in enumerate(
            zip(out.chunk(num_heads, 1), weight.chunk(num_heads), strict=True)
        ):
            torch.mm(frames[:, head], rows.T, out=place)
        ctx.save_for_backward(frames, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        frames, weight = ctx.saved_tensors
        num_heads = frames.shape[1]
        to_frames, to_weight = torch.empty_like(frames), torch.empty_like(weight)
        for head, (one, rows, row_place) in enumerate(
            zip(
                grad.chunk(num_heads, 1),
                weight.chunk(num_heads),
                to_weight.chunk(num_heads),
                strict=True,
            )
        ):
            torch.mm(one, rows, out=to_frames[:, head])
            torch.mm(one.T, frames[:, head], out=row_place)
        return to_frames, to_weight


def _heads(frames: Tensor, num_heads: int) -> Tensor:
    """Part the width into heads, (N, D) to (H, N, d)."""
    return frames.view(len(frames), num_heads, -1).transpose(0, 1)


def _blocks(flat: Tensor, sizes: Sizes, layout: tuple[int | str, ...]) -> list[Tensor]:
    """Part the weights of all utterances into one block each, without copying."""
    return [
        one.view([{"queries": q, "keys": k}.get(str(axis), sizes.num_heads) for axis in layout])
        for one, q, k in zip(parts_of(flat, sizes.weights), sizes.queries, sizes.keys, strict=True)
    ]


def _softmax_backward(grad: Tensor, outcome: Tensor, dim: int) -> Tensor:
    return torch._softmax_backward_data(grad, outcome, dim, outcome.dtype)


def _splits(one: Tensor | None, lengths: Lengths) -> Sequence[Tensor | None]:
    return (None,) * len(lengths) if one is None else parts_of(one, lengths)


def _there(one: Tensor | None) -> Tensor:
    if one is None:
        raise TypeError("rows and keys of a segment are tensors")
    return one
