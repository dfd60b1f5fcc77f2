"""Element by element: a few operations for each element of the result, all inputs read, the result written.

In: shapes of the inputs, which may be broadcast. Out: `Work`. Arithmetic counts (add, multiply, divide, compare not),
special functions do not, as in the counters. PyTorch computes half types in FP32, so that is their pipe.
"""

from __future__ import annotations

import math

from nsightkit.analysis.work.formulas.call import Formula, OperatorCall, Tensor, Work

# Operator without "aten::" and "_" -> floating-point operations an element.
PER_ELEMENT = {
    "add": 1, "sub": 1, "rsub": 1, "mul": 1, "div": 1, "neg": 1, "reciprocal": 1, "square": 1, "pow": 1,
    "addcmul": 3, "addcdiv": 3, "lerp": 3, "relu": 0, "clamp": 0, "clamp_min": 0, "clamp_max": 0, "abs": 0, "sign": 0,
    "exp": 0, "log": 0, "sqrt": 0, "rsqrt": 1, "sin": 0, "cos": 0, "tanh": 0, "sigmoid": 2, "silu": 3, "gelu": 4,
    "erf": 0, "log1p": 0, "expm1": 0, "leaky_relu": 1, "hardtanh": 0, "softplus": 1, "maximum": 0, "minimum": 0,
    "where": 0, "masked_fill": 0, "eq": 0, "ne": 0, "lt": 0, "le": 0, "gt": 0, "ge": 0, "logical_and": 0,
    "logical_or": 0, "logical_not": 0, "bitwise_and": 0, "bitwise_or": 0, "bitwise_not": 0, "isnan": 0, "isinf": 0,
    "floor": 0, "ceil": 0, "round": 0, "trunc": 0, "remainder": 0, "fmod": 0, "nan_to_num": 0, "threshold": 0,
    "threshold_backward": 0, "tanh_backward": 3, "sigmoid_backward": 3, "gelu_backward": 8, "silu_backward": 6,
    "native_dropout": 2, "native_dropout_backward": 2, "mse_loss": 2, "atan2": 0, "bitwise_xor": 0, "isfinite": 0,
}  # fmt: skip
_TO_BOOL = {
    *("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isinf", "isfinite"),
}
# Source: PyTorch, "Type Promotion": a tensor without dimensions does not widen one that has some.
_RANK = {
    "bool": 0, "unsigned char": 1, "signed char": 1, "char": 1, "short": 2, "int": 3, "long int": 4, "long": 4,
    "c10::Half": 5, "c10::BFloat16": 5, "float": 6, "double": 7,
}  # fmt: skip
FOREACH = {name: PER_ELEMENT.get(name, 0) for name in (
    "add", "sub", "mul", "div", "neg", "sqrt", "rsqrt", "reciprocal", "addcmul", "addcdiv", "lerp", "abs", "exp",
    "maximum", "minimum", "pow", "sign", "copy", "zero",
)}  # fmt: skip


def broadcast(tensors: list[Tensor]) -> tuple[int, ...]:
    """Return the shape that the shapes of `tensors` broadcast to; raises ValueError where they do not fit."""
    rank = max((len(t.shape) for t in tensors), default=0)
    result = [1] * rank
    for tensor in tensors:
        for place, size in enumerate(tensor.shape, rank - len(tensor.shape)):
            if size != 1 and result[place] not in (1, size):
                raise ValueError(f"shapes {[t.shape for t in tensors]} do not broadcast")
            result[place] = size if size != 1 else result[place]
    return tuple(result)


def result_type(tensors: list[Tensor]) -> str:
    """Return the type of the result; raises KeyError for types that are not known."""
    sized = [t for t in tensors if t.shape] or tensors
    widest = max(sized, key=lambda t: _RANK[t.dtype]).dtype
    # A float without dimensions still turns integers into the default float.
    if _RANK[widest] < 5 and any(t.is_float for t in tensors):
        return "float"
    return widest


def vector_type(dtype: str) -> str:
    """Return the pipe of element by element arithmetic on `dtype`."""
    return "fp64" if dtype == "double" else "fp32"


def _base(name: str) -> str:
    return name.removeprefix("aten::").rstrip("_")


def _elementwise(call: OperatorCall) -> Work:
    base, tensors = _base(call.name), call.tensors()
    if not tensors:
        raise ValueError(f"{call.name}: no tensors")
    if base == "where" and len(tensors) == 1:
        # Of numbers the trace has no type, and of one input the result has as many rows as the values say.
        raise ValueError(f"{call.name}: the size of the result is not known")
    in_place = call.name.endswith("_")
    shape = tensors[0].shape if in_place else broadcast(tensors)
    values = [t for t in tensors if not (base in ("where", "masked_fill") and t.dtype == "bool")] or tensors
    dtype = tensors[0].dtype if in_place else "bool" if base in _TO_BOOL else result_type(values)
    if base == "sigmoid" and dtype not in ("double", "float", "c10::Half", "c10::BFloat16"):
        dtype = "float"
    count = math.prod(shape)
    written = Tensor(shape, dtype).nbytes + (count if base == "native_dropout" else 0)
    flop = count * PER_ELEMENT[base] if any(t.is_float for t in tensors) else 0
    return Work(flop, sum(t.nbytes for t in tensors), written, vector_type(dtype))


def _foreach(call: OperatorCall) -> Work:
    base = _base(call.name).removeprefix("_foreach_")
    lists = [item for item in call.inputs if isinstance(item, tuple)]
    if not lists:
        raise ValueError(f"{call.name}: no list of tensors")
    count = sum(t.numel for t in lists[0])
    written = sum(t.nbytes for t in lists[0])
    read = sum(t.nbytes for tensors in lists for t in tensors)
    if base in ("copy", "zero"):
        read -= written
    flop = count * FOREACH[base]
    return Work(flop, read, written, vector_type(lists[0][0].dtype))


def _names() -> dict[str, Formula]:
    found: dict[str, Formula] = {}
    for base, count in PER_ELEMENT.items():
        formula = Formula(f"{count} an element of the result; inputs read, the result written", _elementwise)
        found |= {f"aten::{base}": formula, f"aten::{base}_": formula}
    for base, count in FOREACH.items():
        formula = Formula(f"{count} an element of the first list; lists read, the first written", _foreach)
        found |= {f"aten::_foreach_{base}": formula, f"aten::_foreach_{base}_": formula}
    return found


FORMULAS = _names()
