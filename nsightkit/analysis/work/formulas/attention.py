"""Attention: the two products softmax(Q·Kᵀ)·V, in every form that PyTorch and vLLM call it.

In: shapes of query, key and value. Out: `Work`: 2·pairs·(d + dᵥ) for each head, the softmax not counted; query, key
and value are read once and the result is written once, as a fused kernel does it.

Source: PyTorch's FlopCounterMode (sdpa_flop), which counts all pairs also where a causal mask leaves out half of
them; here only pairs under the mask count.
"""

from __future__ import annotations

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas
from nsightkit.analysis.work.formulas.matmul import arithmetic
from nsightkit.analysis.work.formulas.packed_attention import LAYOUTS, is_packed, packed_attention

# Operator -> where its argument is_causal stands.
_CAUSAL = {
    "aten::scaled_dot_product_attention": 5,
    "aten::_scaled_dot_product_flash_attention": 4,
    "aten::_scaled_dot_product_flash_attention_for_cpu": 4,
    "aten::_scaled_dot_product_efficient_attention": 6,
    "aten::_scaled_dot_product_cudnn_attention": 6,
    "aten::_scaled_dot_product_fused_attention_overrideable": 5,
    "aten::_scaled_dot_product_attention_math": 5,
    "aten::_flash_attention_forward": 8,
    "aten::_scaled_dot_product_flash_attention_backward": 11,
    "aten::_scaled_dot_product_efficient_attention_backward": 11,
    "aten::_scaled_dot_product_cudnn_attention_backward": 14,
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": 7,
}
_UNKNOWN_MASK = "whether the mask is causal is not in the trace; all pairs are counted"


def pairs_under_mask(queries: int, keys: int, causal: bool | None) -> int:
    """Return how many pairs of query and key count; a causal mask is aligned at the first query and key."""
    if not causal:
        return queries * keys
    full = min(queries, keys)
    return full * (full + 1) // 2 + max(queries - keys, 0) * keys


def _heads_first(call: OperatorCall) -> Work:
    return _attention(call, call.tensor(0), call.tensor(1), call.tensor(2))


def _tokens_first(call: OperatorCall) -> Work:
    layout = LAYOUTS[call.name]
    if is_packed(call, layout):
        return packed_attention(call, layout)
    swapped = [_swapped(call.tensor(place)) for place in range(3)]
    return _attention(call, *swapped)


def _swapped(tensor: Tensor) -> Tensor:
    b, s, h, d = tensor.shape
    return Tensor((b, h, s, d), tensor.dtype)


def _attention(call: OperatorCall, q: Tensor, k: Tensor, v: Tensor) -> Work:
    batch, heads, queries, d = q.shape
    keys, dv = k.shape[-2], v.shape[-1]
    if k.shape[-1] != d or v.shape[-2] != keys:
        raise ValueError(f"{call.name}: {q.shape}, {k.shape} and {v.shape} do not fit")
    causal = _is_causal(call)
    flop = 2 * batch * heads * pairs_under_mask(queries, keys, causal) * (d + dv)
    written = batch * heads * queries * dv * q.item_bytes
    mask = call.optional(3)
    read = q.nbytes + k.nbytes + v.nbytes + (mask.nbytes if mask else 0)
    return Work(flop, read, written, arithmetic(call, q.dtype), "" if causal is not None else _UNKNOWN_MASK)


def _is_causal(call: OperatorCall) -> bool | None:
    mask_type = LAYOUTS[call.name].mask_type if call.name in LAYOUTS else -1
    if mask_type >= 0:
        kind = call.ints(mask_type)
        return kind != (0,) if kind else None
    return call.flag(_CAUSAL.get(call.name, 5))


def _backward(call: OperatorCall) -> Work:
    grad, q, k, v = (call.tensor(place) for place in range(4))
    batch, heads, queries, d = q.shape
    keys, dv = k.shape[-2], v.shape[-1]
    causal = _is_causal(call)
    # Five products: scores again, gradients of the weights, of value, of query and of key.
    flop = 2 * batch * heads * pairs_under_mask(queries, keys, causal) * (3 * d + 2 * dv)
    result = batch * heads * queries * dv * q.item_bytes
    read = grad.nbytes + q.nbytes + result + k.nbytes + v.nbytes
    note = "" if causal is not None else _UNKNOWN_MASK
    return Work(flop, read, q.nbytes + k.nbytes + v.nbytes, arithmetic(call, q.dtype), note)


def _unified(call: OperatorCall) -> Work:
    """vLLM: tokens of all sequences in a row; lengths and the cached keys are not in the trace."""
    q, k, v = (call.tensor(place) for place in range(3))
    tokens, heads, d = q.shape
    flop = 4 * heads * pairs_under_mask(tokens, tokens, True) * d
    out = call.tensor(3)
    note = (
        "all tokens taken as one causal sequence without earlier keys: lengths, windows and cache are not in the trace"
    )
    read = q.nbytes + tokens * k.shape[1] * d * k.item_bytes + tokens * v.shape[1] * d * v.item_bytes
    return Work(flop, read, out.nbytes, arithmetic(call, q.dtype), note)


_TEXT = "2·batch·heads·pairs·(d + dᵥ); query, key, value read, the result written"
FORMULAS = {
    **formulas(
        _heads_first,
        _TEXT,
        "aten::_scaled_dot_product_flash_attention",
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_efficient_attention",
        "aten::_scaled_dot_product_cudnn_attention",
        "aten::_scaled_dot_product_fused_attention_overrideable",
        heavy=True,
    ),
    **formulas(
        _backward,
        "2·batch·heads·pairs·(3d + 2dᵥ): five products",
        "aten::_scaled_dot_product_flash_attention_backward",
        "aten::_scaled_dot_product_efficient_attention_backward",
        "aten::_scaled_dot_product_cudnn_attention_backward",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
        heavy=True,
    ),
    **formulas(
        _unified,
        "4·heads·d·tokens·(tokens + 1)/2; query, new keys and values read, the result written",
        "vllm::unified_attention_with_output",
        heavy=True,
    ),
}
WRAPPERS = {
    **formulas(
        _tokens_first, _TEXT, "aten::_flash_attention_forward", "aten::_efficient_attention_forward", heavy=True
    ),
    **formulas(_heads_first, _TEXT, "aten::scaled_dot_product_attention", heavy=True),
}
