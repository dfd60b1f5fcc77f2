"""Attention over sequences of different lengths that lie in one row of tokens, and the flash-attn package's own calls.

In: shapes of query, key and value, cumulated lengths where a trace holds them, else the longest length. Out: `Work`:
2·pairs·(d + dᵥ) for each head, pairs summed over the sequences. A trace seldom holds the lengths. They follow where
there is one sequence, or where the tokens are as many as sequences × longest length; else there is no figure.

Source: signatures of flash_attn 2 (torch.library registrations) and of aten::_flash_attention_forward and
aten::_efficient_attention_forward, PyTorch 2.9; a causal mask is aligned at the last query and key (flash-attn 2.1 on).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas
from nsightkit.analysis.work.formulas.matmul import arithmetic

LENGTHS_UNKNOWN = "the lengths of its packed sequences are not in the trace, and they are not all equal"
PAGED = "its keys lie in pages of a cache, and how many of them count is not in the trace"
_ALIGNMENT = "causal mask aligned at the last query and key"
_MASK = "whether the mask is causal is not in the trace; all pairs are counted"
# custom_mask_type of aten::_efficient_attention_forward. Source: PyTorch, sdp_utils (0 none, 1 top left, 2 last pair).
_TOP_LEFT, _LAST_PAIR = 1, 2


class LengthsError(ValueError):
    """The lengths of the sequences cannot be known from the call."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the arguments of one operator stand; -1 for one that it does not have."""

    query: int = 0
    lengths: int = 3  # cumulated lengths of queries, those of keys behind
    longest: int = 5  # longest query, longest key behind
    causal: int = 8
    window: int = -1  # left, right behind
    mask_type: int = -1


FLASH_ATEN = Layout()
EFFICIENT_ATEN = Layout(lengths=4, longest=6, causal=-1, mask_type=9)
FLASH_PACKAGE = Layout(causal=9, window=10)
FLASH_VLLM = Layout(causal=8)
FLASH_ATEN_BACKWARD = Layout(query=1, lengths=6, longest=8, causal=11)
FLASH_PACKAGE_BACKWARD = Layout(query=1, lengths=9, longest=11, causal=15, window=16)


def pairs_in_window(queries: int, keys: int, left: int = -1, right: int = -1) -> int:
    """Return how many keys all queries see together, the last query aligned with the last key.

    Args:
        queries: how many there are.
        keys: how many there are.
        left: how many keys before its own a query sees; negative for all of them.
        right: how many behind its own; 0 is a causal mask, negative all of them.
    """
    shift = keys - queries
    if left < 0:
        if right < 0:
            return queries * keys
        # Query i sees the keys 0 … i + shift + right, as far as there are any.
        first = max(0, -(shift + right))
        last = min(queries, max(keys - shift - right, first))
        rising = last - first
        return rising * (shift + right + 1) + (first + last - 1) * rising // 2 + (queries - last) * keys
    return sum(
        max(0, min(keys - 1, i + shift + right if right >= 0 else keys - 1) - max(0, i + shift - left) + 1)
        for i in range(queries)
    )


def is_packed(call: OperatorCall, layout: Layout = FLASH_ATEN) -> bool:
    """Say whether the sequences of a call lie in one row."""
    query = call.optional(layout.query)
    return query is not None and (len(query.shape) == 3 or call.optional(layout.lengths) is not None)


def lengths_of(call: OperatorCall, layout: Layout) -> list[tuple[int, int]]:
    """Return (queries, keys) of each sequence.

    Raises:
        LengthsError: the call does not tell.
    """
    return list(zip(*(_lengths(call, layout, place) for place in (0, 1)), strict=True))


def _lengths(call: OperatorCall, layout: Layout, place: int) -> list[int]:
    tensor = call.tensor(layout.query + place)
    cumulated = call.ints(layout.lengths + place)
    if cumulated and len(cumulated) > 1:
        return [after - before for before, after in itertools.pairwise(cumulated)]
    ends = call.optional(layout.lengths + place)
    if ends is None or len(ends.shape) != 1:
        raise LengthsError(LENGTHS_UNKNOWN)
    if place and len(tensor.shape) == 4 and tensor.shape[0] != 1:
        raise LengthsError(PAGED)
    tokens, sequences = tensor.shape[-3], ends.shape[0] - 1
    longest = call.ints(layout.longest + place)
    if sequences == 1 or (longest and sequences * longest[0] == tokens):
        return [tokens // sequences] * sequences
    raise LengthsError(LENGTHS_UNKNOWN)


def packed_attention(call: OperatorCall, layout: Layout, products: tuple[int, int] = (1, 1)) -> Work:
    """Return the work of a call whose sequences are packed; `products` says how many run over d and over dᵥ."""
    q, k, v = (call.tensor(layout.query + place) for place in range(3))
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"{call.name}: {q.shape}, {k.shape} and {v.shape} do not fit")
    (left, right), note = _mask(call, layout)
    lengths = lengths_of(call, layout)
    pairs = _pairs(call, layout, lengths, (left, right))
    heads, d, dv = q.shape[-2], q.shape[-1], v.shape[-1]
    flop = 2 * heads * pairs * (products[0] * d + products[1] * dv)
    given, written = _traffic(call, layout, (q, k, v))
    differ = right == 0 and any(queries != keys for queries, keys in lengths) and layout.mask_type < 0
    return Work(flop, given, written, arithmetic(call, q.dtype), note or (_ALIGNMENT if differ else ""))


def _pairs(call: OperatorCall, layout: Layout, lengths: list[tuple[int, int]], window: tuple[int, int]) -> int:
    if layout.mask_type >= 0 and call.ints(layout.mask_type) == (_TOP_LEFT,):
        # Query i sees the keys 0 … i: as if no more keys were there than queries.
        return sum(pairs_in_window(min(q, k), min(q, k), right=0) + max(q - k, 0) * k for q, k in lengths)
    return sum(pairs_in_window(queries, keys, *window) for queries, keys in lengths)


def _mask(call: OperatorCall, layout: Layout) -> tuple[tuple[int, int], str]:
    """Return the window that the mask leaves, and what had to be assumed."""
    if layout.mask_type >= 0:
        kind = call.ints(layout.mask_type)
        return (-1, 0 if kind in ((_TOP_LEFT,), (_LAST_PAIR,)) else -1), "" if kind else _MASK
    causal = call.flag(layout.causal)
    given = [call.ints(layout.window + side) for side in (0, 1)] if layout.window >= 0 else [None, None]
    left, right = (side[0] if side and len(side) == 1 else -1 for side in given)
    return (left, 0 if causal else right), "" if causal is not None else _MASK


def _traffic(call: OperatorCall, layout: Layout, tensors: tuple[Tensor, Tensor, Tensor]) -> tuple[int, int]:
    q, k, v = tensors
    out = math.prod((*q.shape[:-1], v.shape[-1])) * q.item_bytes
    if layout.query == 0:
        return q.nbytes + k.nbytes + v.nbytes, out
    # Backward: the gradient and the result are read too, three gradients are written.
    return call.tensor(0).nbytes + out + q.nbytes + k.nbytes + v.nbytes, q.nbytes + k.nbytes + v.nbytes


def _forward(layout: Layout) -> Callable[[OperatorCall], Work]:
    return lambda call: packed_attention(call, layout)


def _backward(layout: Layout) -> Callable[[OperatorCall], Work]:
    # Five products: scores again, gradients of the weights, of value, of query and of key.
    return lambda call: packed_attention(call, layout, (3, 2))


def _dense(call: OperatorCall) -> Work:
    """The package's call without packing: (batch, tokens, heads, d), causal at 5, window at 6 and 7."""
    q, k, v = (call.tensor(place) for place in range(3))
    batch, queries, heads, d = q.shape
    keys, dv = k.shape[1], v.shape[-1]
    if k.shape[-1] != d or k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"{call.name}: {q.shape}, {k.shape} and {v.shape} do not fit")
    (left, right), note = _mask(call, Layout(causal=5, window=6))
    flop = 2 * batch * heads * pairs_in_window(queries, keys, left, right) * (d + dv)
    read, written = _traffic(call, FLASH_ATEN, (q, k, v))
    return Work(flop, read, written, arithmetic(call, q.dtype), note)


_TEXT = (
    "2·heads·Σ pairs of each sequence·(d + dᵥ); query, key, value read, the result written; no figure without lengths"
)
_BACK = "2·heads·Σ pairs of each sequence·(3d + 2dᵥ): five products; no figure without lengths"
LAYOUTS = {
    "aten::_flash_attention_forward": FLASH_ATEN,
    "aten::_efficient_attention_forward": EFFICIENT_ATEN,
    "flash_attn::_flash_attn_varlen_forward": FLASH_PACKAGE,
    "vllm::flash_attn_varlen_func": FLASH_VLLM,
    "aten::_flash_attention_backward": FLASH_ATEN_BACKWARD,
    "flash_attn::_flash_attn_varlen_backward": FLASH_PACKAGE_BACKWARD,
}
FORMULAS = {
    **formulas(_forward(FLASH_PACKAGE), _TEXT, "flash_attn::_flash_attn_varlen_forward", heavy=True),
    **formulas(_forward(FLASH_VLLM), _TEXT, "vllm::flash_attn_varlen_func", heavy=True),
    **formulas(_backward(FLASH_PACKAGE_BACKWARD), _BACK, "flash_attn::_flash_attn_varlen_backward", heavy=True),
    **formulas(
        _dense, "2·batch·heads·pairs in the window·(d + dᵥ); query, key, value read, the result written",
        "flash_attn::_flash_attn_forward", heavy=True,
    ),
}  # fmt: skip
WRAPPERS = {
    **formulas(_backward(FLASH_ATEN_BACKWARD), _BACK, "aten::_flash_attention_backward", heavy=True),
}


def why_unknown(call: OperatorCall) -> str:
    """Return why a packed call has no figure; "" where that is not the reason."""
    layout = LAYOUTS.get(call.name)
    if layout is None or not is_packed(call, layout):
        return ""
    try:
        lengths_of(call, layout)
    except LengthsError as error:
        return str(error)
    except ValueError:
        return ""
    return ""
