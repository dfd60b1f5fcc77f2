"""Normalizations and softmax: a few operations an element, the input read once and the result written once.

In: shapes. Out: `Work`. The counts are those of the textbook formulas; exponentials and roots are not counted. Inputs
are taken as read once, which holds where a row fits into registers or cache.
"""

from __future__ import annotations

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas
from nsightkit.analysis.work.formulas.elementwise import vector_type

# Sum, difference, square and sum, scale, multiply by weight, add bias.
LAYER_NORM, RMS_NORM, BATCH_NORM, SOFTMAX = 7, 4, 7, 2


def _read(call: OperatorCall) -> float:
    return sum(t.nbytes for t in call.tensors())


def _layer_norm(call: OperatorCall) -> Work:
    x = call.tensor(0)
    rows = _rows(call, x)
    # Mean and 1 ÷ deviation of each row are results too, in FP32 for half types on a GPU.
    statistics = 2 * rows * max(x.item_bytes, 4)
    return Work(LAYER_NORM * x.numel, _read(call), x.numel * x.item_bytes + statistics, vector_type(x.dtype))


def _rows(call: OperatorCall, x: Tensor) -> int:
    weight = call.optional(2)
    width = weight.numel if weight else x.shape[-1]
    return x.numel // width if width else 0


def _layer_norm_backward(call: OperatorCall) -> Work:
    x = call.tensor(1)
    weights = sum(2 * weight.nbytes for weight in (call.optional(5),) if weight)
    return Work(2 * LAYER_NORM * x.numel, _read(call), x.numel * x.item_bytes + weights, vector_type(x.dtype))


def _group_norm(call: OperatorCall) -> Work:
    x = call.tensor(0)
    batch, groups = call.ints(3), call.ints(6)
    statistics = 2 * batch[0] * groups[0] * max(x.item_bytes, 4) if batch and groups else 0
    return Work(LAYER_NORM * x.numel, _read(call), x.numel * x.item_bytes + statistics, vector_type(x.dtype))


def _batch_norm(call: OperatorCall) -> Work:
    x = call.tensor(0)
    training = any(call.flag(place) for place in (5, 6))
    statistics = 2 * x.shape[1] * max(x.item_bytes, 4) if training else 0
    flop = (BATCH_NORM if training else 2) * x.numel
    # Running mean and variance are read and written in training.
    return Work(flop, _read(call), x.numel * x.item_bytes + 2 * statistics, vector_type(x.dtype))


def _batch_norm_backward(call: OperatorCall) -> Work:
    x = call.tensor(0)
    return Work(2 * BATCH_NORM * x.numel, _read(call), x.numel * x.item_bytes, vector_type(x.dtype))


def _rms_norm(call: OperatorCall) -> Work:
    out, x, weight = (call.tensor(place) for place in range(3))
    return Work(RMS_NORM * x.numel, x.nbytes + weight.nbytes, out.nbytes, vector_type(x.dtype))


def _fused_rms_norm(call: OperatorCall) -> Work:
    x = call.tensor(0)
    rows = _rows(call, x)
    return Work(RMS_NORM * x.numel, _read(call), x.numel * x.item_bytes + 4 * rows, vector_type(x.dtype))


def _add_rms_norm(call: OperatorCall) -> Work:
    x, residual, weight = (call.tensor(place) for place in range(3))
    both = x.nbytes + residual.nbytes
    return Work((RMS_NORM + 1) * x.numel, both + weight.nbytes, both, vector_type(x.dtype))


def _softmax(call: OperatorCall) -> Work:
    x = call.tensor(0)
    # half_to_float: the result is in FP32.
    item = 4 if call.flag(2) and x.item_bytes == 2 else x.item_bytes
    return Work(SOFTMAX * x.numel, x.nbytes, x.numel * item, vector_type(x.dtype))


def _softmax_backward(call: OperatorCall) -> Work:
    grad, output = call.tensor(0), call.tensor(1)
    return Work(
        4 * output.numel, grad.nbytes + output.nbytes, output.numel * output.item_bytes, vector_type(grad.dtype)
    )


FORMULAS = {
    **formulas(
        _layer_norm,
        "7 an element; input, weight and bias read, result and statistics written",
        "aten::native_layer_norm",
    ),
    **formulas(
        _layer_norm_backward,
        "14 an element; all inputs read, the gradients written",
        "aten::native_layer_norm_backward",
    ),
    **formulas(_group_norm, "7 an element; inputs read, result and statistics written", "aten::native_group_norm"),
    **formulas(
        _batch_norm,
        "7 an element in training, else 2; inputs read, result and statistics written",
        "aten::native_batch_norm",
        "aten::cudnn_batch_norm",
        "aten::_native_batch_norm_legit",
        "aten::_batch_norm_impl_index",
    ),
    **formulas(
        _batch_norm_backward,
        "14 an element; all inputs read, the gradient written",
        "aten::native_batch_norm_backward",
        "aten::cudnn_batch_norm_backward",
    ),
    **formulas(
        _fused_rms_norm,
        "4 an element; input and weight read, result and 1 ÷ root mean square written",
        "aten::_fused_rms_norm",
    ),
    **formulas(_rms_norm, "4 an element; input and weight read, the result written", "_C::rms_norm"),
    **formulas(
        _add_rms_norm, "5 an element; input, residual and weight read, both results written", "_C::fused_add_rms_norm"
    ),
    **formulas(
        _softmax,
        "2 an element; input read, result written",
        "aten::_softmax",
        "aten::_log_softmax",
        "aten::_safe_softmax",
    ),
    **formulas(
        _softmax_backward,
        "4 an element; gradient and result read, the gradient written",
        "aten::_softmax_backward_data",
        "aten::_log_softmax_backward_data",
    ),
}
WRAPPERS = formulas(
    lambda call: _rms_norm(
        OperatorCall(call.name, (call.tensor(0), call.tensor(0), call.optional(2)), call.values, call.kernels)
    ),
    "4 an element; input and weight read, the result written",
    "aten::rms_norm",
)
