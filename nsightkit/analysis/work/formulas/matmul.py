"""Matrix products: 2·m·n·k, whatever adds a bias not counted.

In: shapes of the factors. Out: `Work` on the tensor pipe, or the FP32 or FP64 pipe where kernels do not use it.

Source: PyTorch's FlopCounterMode counts the same; the tests compare with it.
"""

from __future__ import annotations

import re

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas

_TENSOR_TYPES = {
    "c10::Half": "tensor_fp16",
    "c10::BFloat16": "tensor_bf16",
    "c10::Float8_e4m3fn": "tensor_fp8",
    "c10::Float8_e5m2": "tensor_fp8",
    "signed char": "tensor_int8",
    "char": "tensor_int8",
}
_TF32 = re.compile(r"tf32|tensorop_s1688|s1688gemm|s161616|_s16816")
_DMMA = re.compile(r"d884|dmma|tensorop_d")
# Source: c10/core/ScalarType.h, the numbers that a trace holds for a type that is an argument.
_TYPE_NUMBERS = {"5": 2, "6": 4, "7": 8, "15": 2, "23": 1, "24": 1}


def arithmetic(call: OperatorCall, dtype: str) -> str:
    """Return the type of arithmetic of a product of `dtype`; names of kernels tell TF32 from FP32."""
    if dtype in _TENSOR_TYPES:
        return _TENSOR_TYPES[dtype]
    names = " ".join(kernel.name for kernel in call.kernels)
    if dtype == "double":
        return "tensor_fp64" if _DMMA.search(names) else "fp64"
    return "tensor_tf32" if _TF32.search(names) else "fp32"


def _product(call: OperatorCall, a: Tensor, b: Tensor, added: Tensor | None) -> Work:
    if a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"{call.name}: {a.shape} and {b.shape} do not fit")
    batch = 1
    for size in a.shape[:-2]:
        batch *= size
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    written = batch * m * n * _result_bytes(call, a)
    read = a.nbytes + b.nbytes + (added.nbytes if added else 0)
    return Work(2 * batch * m * n * k, read, written, arithmetic(call, a.dtype))


def _result_bytes(call: OperatorCall, a: Tensor) -> int:
    if call.name == "aten::_int_mm":
        return 4
    if call.name == "aten::_scaled_mm":
        return _TYPE_NUMBERS.get(call.value(6), 2)
    return a.item_bytes


def _mm(call: OperatorCall) -> Work:
    return _product(call, call.tensor(0), call.tensor(1), None)


def _scaled_mm(call: OperatorCall) -> Work:
    return _product(call, call.tensor(0), call.tensor(1), call.optional(4))


def _addmm(call: OperatorCall) -> Work:
    beta = call.value(3)
    added = None if beta in ("0", "0.0", "0.") else call.tensor(0)
    return _product(call, call.tensor(1), call.tensor(2), added)


def _mv(call: OperatorCall) -> Work:
    added = call.name.startswith("aten::addmv")
    matrix, vector = call.tensor(int(added)), call.tensor(int(added) + 1)
    m, k = matrix.shape
    read = matrix.nbytes + vector.nbytes + (call.tensor(0).nbytes if added else 0)
    return Work(2 * m * k, read, m * matrix.item_bytes, arithmetic(call, matrix.dtype))


def _dot(call: OperatorCall) -> Work:
    a, b = call.tensor(0), call.tensor(1)
    return Work(2 * a.numel, a.nbytes + b.nbytes, a.item_bytes, arithmetic(call, a.dtype))


def _linear(call: OperatorCall) -> Work:
    x, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"{call.name}: {x.shape} and {weight.shape} do not fit")
    rows = x.numel // x.shape[-1]
    read = x.nbytes + weight.nbytes + (bias.nbytes if bias else 0)
    written = rows * weight.shape[0] * x.item_bytes
    return Work(2 * rows * weight.shape[0] * weight.shape[1], read, written, arithmetic(call, x.dtype))


FORMULAS = {
    **formulas(
        _mm, "2·m·n·k; both factors read, the product written", "aten::mm", "aten::bmm", "aten::_int_mm", heavy=True
    ),
    **formulas(
        _scaled_mm, "2·m·n·k; both factors read, the product written in its own type", "aten::_scaled_mm", heavy=True
    ),
    **formulas(
        _addmm,
        "2·m·n·k; both factors and what is added read, the result written",
        "aten::addmm",
        "aten::addmm_",
        "aten::baddbmm",
        "aten::baddbmm_",
        "aten::_addmm_activation",
        heavy=True,
    ),
    **formulas(_mv, "2·m·k; matrix and vector read", "aten::mv", "aten::addmv", "aten::addmv_", heavy=True),
    **formulas(_dot, "2·n; both vectors read", "aten::dot", "aten::vdot", heavy=True),
}
# Operators that usually call one of the above; taken where they do not.
WRAPPERS = {
    **formulas(
        _linear,
        "2·rows·n·k; input, weight and bias read, the product written",
        "aten::linear",
        "aten::mkldnn_linear",
        "mkldnn::_linear_pointwise",
        heavy=True,
    ),
}
