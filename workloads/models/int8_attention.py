"""Attention of one new position over INT8 keys and values in one Triton kernel: nothing is written back in between.

In: queries (batch, heads, 1, head_width), stored INT8 keys and values (batch, kv_heads, room, head_width) with one fp32
scale a row, and how many positions hold. Out: what the queries find, in their dtype. Plain INT8 attention first writes
keys and values out again in the model's dtype; this reads each byte once. The sum over positions goes block by block
with a running maximum. Source: Milakov and Gimelshein (2018), arXiv 1805.02867; Dao (2023), arXiv 2307.08691.

Checked in Triton's interpreter (TRITON_INTERPRET=1); *unverified on a GPU*.
"""

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 64


@triton.jit
def _attend(  # noqa: PLR0913 - a kernel has no other way to be given what it works on
    query,
    keys,
    key_scales,
    values,
    value_scales,
    out,
    seen,
    room,
    group,
    scale,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program a query head: `group` heads share the keys of one."""
    head = tl.program_id(0)
    rows = (head // group) * room
    column = tl.arange(0, PADDED)
    inside = column < WIDTH
    q = tl.load(query + head * WIDTH + column, mask=inside, other=0.0).to(tl.float32) * scale
    top = tl.full((), float("-inf"), tl.float32)
    weight = tl.full((), 0.0, tl.float32)
    found = tl.zeros((PADDED,), tl.float32)
    for start in range(0, seen, BLOCK):
        place = start + tl.arange(0, BLOCK)
        there = place < seen
        at = (rows + place)[:, None] * WIDTH + column[None, :]
        both = there[:, None] & inside[None, :]
        k = tl.load(keys + at, mask=both, other=0).to(tl.float32)
        # The scale of a row may be multiplied in after the sum over it.
        score = tl.sum(k * q[None, :], axis=1) * tl.load(key_scales + rows + place, mask=there, other=0.0)
        score = tl.where(there, score, float("-inf"))
        # A softmax in one pass: `top` is the highest score so far. Where it rises, all that was summed before was
        # weighted too high by exp(new top - old top), so `keep` brings it down before this block is added.
        higher = tl.maximum(top, tl.max(score, axis=0))
        share = tl.exp(score - higher)
        keep = tl.exp(top - higher)
        v = tl.load(values + at, mask=both, other=0).to(tl.float32)
        mixed = share * tl.load(value_scales + rows + place, mask=there, other=0.0)
        found = found * keep + tl.sum(v * mixed[:, None], axis=0)
        weight = weight * keep + tl.sum(share, axis=0)
        top = higher
    tl.store(out + head * WIDTH + column, (found / weight).to(out.dtype.element_ty), mask=inside)


def attend(query: Tensor, keys: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor], seen: int) -> Tensor:
    """Return what `query` finds among the first `seen` stored rows; `keys` and `values` come with their scales."""
    batch, heads, _, width = query.shape
    stored, room = keys[0], keys[0].shape[2]
    query, out = query.contiguous(), query.new_empty(query.shape)
    _attend[(batch * heads,)](
        query, stored, keys[1], values[0], values[1], out, seen, room, heads // stored.shape[1], width**-0.5,
        WIDTH=width, PADDED=triton.next_power_of_2(width), BLOCK=_BLOCK,
    )  # fmt: skip
    return out
