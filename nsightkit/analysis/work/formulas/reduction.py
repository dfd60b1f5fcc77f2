"""Reductions and scans: one operation an element, the input read, the smaller result written.

In: shapes, and the reduced dimensions as the trace holds them. Out: `Work`.
"""

from __future__ import annotations

import math

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas
from nsightkit.analysis.work.formulas.elementwise import vector_type

# Operator -> place of its dimensions; none: over all.
_DIMENSIONS = {"aten::sum": 1, "aten::mean": 1, "aten::amax": 1, "aten::amin": 1, "aten::prod": 1, "aten::all": 1,
               "aten::any": 1, "aten::logsumexp": 1, "aten::max": 1, "aten::min": 1, "aten::argmax": 1,
               "aten::argmin": 1, "aten::var": 1, "aten::std": 1, "aten::linalg_vector_norm": 2,
               "aten::norm": 2}  # fmt: skip
_FLOP = {"aten::var": 4, "aten::std": 4, "aten::linalg_vector_norm": 2, "aten::norm": 2}
_NO_FLOP = tuple(f"aten::{name}" for name in ("amax", "amin", "all", "any", "max", "min", "argmax", "argmin"))
_UNKNOWN = "the reduced dimensions are not in the trace; the result is left out of the traffic"


def kept_elements(shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    """Return the elements that a reduction over `dims` (all where empty) leaves; raises IndexError for a wrong one."""
    if not dims:
        return 1
    gone = {range(len(shape))[dim] for dim in dims} if shape else set()
    return math.prod(size for place, size in enumerate(shape) if place not in gone)


def _reduce(call: OperatorCall) -> Work:
    x = call.tensor(0)
    place = _DIMENSIONS[call.name]
    whole = len(call.inputs) <= place or (len(call.inputs) <= 2 and not call.value(place))
    dims = () if whole else call.ints(place)
    per_element = 0 if call.name in _NO_FLOP else _FLOP.get(call.name, 1)
    flop = per_element * x.numel if x.is_float else 0
    kept = None if dims is None and call.name not in ("aten::sum", "aten::mean") else kept_elements(x.shape, dims or ())
    if dims is None and not call.values:
        kept = None
    written = 0 if kept is None else kept * _result_bytes(call, x, bool(dims))
    return Work(flop, x.nbytes, written, vector_type(x.dtype), _UNKNOWN if kept is None else "")


def _result_bytes(call: OperatorCall, x: Tensor, along: bool) -> int:
    if call.name in ("aten::argmax", "aten::argmin"):
        return 8
    if call.name in ("aten::max", "aten::min") and along:
        return x.item_bytes + 8
    if call.name in ("aten::all", "aten::any"):
        return 1
    # Sums of integers are 64 bits wide.
    return x.item_bytes if x.is_float or call.name not in ("aten::sum", "aten::prod") else 8


def _scan(call: OperatorCall) -> Work:
    x = call.tensor(0)
    item = x.item_bytes if x.is_float else 8
    return Work(x.numel if x.is_float else 0, x.nbytes, x.numel * item, vector_type(x.dtype))


def _pair(call: OperatorCall, place: int) -> tuple[int, ...]:
    sizes = call.ints(place) or ()
    return sizes * 2 if len(sizes) == 1 else sizes


def _pool(call: OperatorCall) -> Work:
    grad_or_x = call.tensor(0)
    if call.name.endswith("backward"):
        x, index = call.tensor(1), call.tensors()[-1]
        return Work(grad_or_x.numel, grad_or_x.nbytes + index.nbytes, x.nbytes, vector_type(x.dtype))
    window = _pair(call, 1)
    if not window:
        raise ValueError(f"{call.name}: the window is not in the trace")
    steps, pads, spatial = _pair(call, 2) or window, _pair(call, 3) or (0, 0), grad_or_x.shape[-2:]
    out = [(s + 2 * p - k) // t + 1 for s, k, t, p in zip(spatial, window, steps, pads, strict=True)]
    count = math.prod(grad_or_x.shape[:-2]) * math.prod(out)
    # The place of each maximum is a 64-bit result.
    return Work(0, grad_or_x.nbytes, count * (grad_or_x.item_bytes + 8), vector_type(grad_or_x.dtype))


FORMULAS = {
    **formulas(_reduce, "1 an element (norms 2, variance 4, maxima none); input read, result written", *_DIMENSIONS),
    **formulas(_scan, "1 an element; input read, result written", "aten::cumsum", "aten::cumprod"),
    **formulas(
        _pool,
        "no flop; input read, maxima and their places written",
        "aten::max_pool2d_with_indices",
        "aten::max_pool2d_with_indices_backward",
    ),
}
