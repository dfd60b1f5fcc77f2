"""Convolutions: 2 · outputs · (input channels of a group) · (size of the filter).

In: shapes of input and filter, and stride, padding and dilation as the trace holds them. Out: `Work`.

Source: PyTorch's FlopCounterMode (conv_flop_count, conv_backward_flop); the tests compare with it.
"""

from __future__ import annotations

import math

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas
from nsightkit.analysis.work.formulas.matmul import arithmetic

# Operator -> places of bias, stride, padding, dilation, transposed (None: never), output padding.
_PLACES: dict[str, tuple[int | None, int, int, int, int | None, int | None]] = {
    "aten::convolution": (2, 3, 4, 5, 6, 7),
    "aten::_convolution": (2, 3, 4, 5, 6, 7),
    "aten::mkldnn_convolution": (2, 4, 3, 5, None, None),
    "aten::cudnn_convolution": (None, 3, 2, 4, None, None),
    "aten::conv1d": (2, 3, 4, 5, None, None),
    "aten::conv2d": (2, 3, 4, 5, None, None),
    "aten::conv3d": (2, 3, 4, 5, None, None),
    "aten::_conv_depthwise2d": (3, 4, 5, 6, None, None),
}


def _forward(call: OperatorCall) -> Work:
    x, weight = call.tensor(0), call.tensor(1)
    bias_place, *places = _PLACES[call.name]
    transposed = bool(places[3] is not None and call.flag(places[3]))
    spatial = _output(call, x, weight, places) if not transposed else _enlarged(call, x, weight, places)
    out_channels = weight.shape[1] * _groups(call) if transposed else weight.shape[0]
    outputs = x.shape[0] * out_channels * math.prod(spatial)
    bias = call.optional(bias_place) if bias_place is not None else None
    read = x.nbytes + weight.nbytes + (bias.nbytes if bias else 0)
    flop = _flop(x, weight, spatial, transposed)
    return Work(flop, read, outputs * x.item_bytes, arithmetic(call, x.dtype))


def _groups(call: OperatorCall) -> int:
    # Only an ordinary convolution shows its groups in the shapes; a transposed one states them behind its padding.
    stated = call.ints(8)
    if not stated:
        raise ValueError(f"{call.name}: the groups of a transposed convolution are not in the trace")
    return stated[0]


def _flop(x: Tensor, weight: Tensor, spatial: tuple[int, ...], transposed: bool) -> int:
    moved = x.shape[2:] if transposed else spatial
    return 2 * x.shape[0] * math.prod(weight.shape) * math.prod(moved)


def _settings(call: OperatorCall, places: list[int | None], rank: int) -> list[tuple[int, ...]]:
    found = []
    for place in places[:3]:
        value = call.ints(place) if place is not None else None
        if not value:
            raise ValueError(f"{call.name}: stride, padding and dilation are not in the trace")
        found.append(value * rank if len(value) == 1 else value)
    return found


def _output(call: OperatorCall, x: Tensor, weight: Tensor, places: list[int | None]) -> tuple[int, ...]:
    stride, padding, dilation = _settings(call, places, len(x.shape) - 2)
    return tuple(
        (size + 2 * pad - dil * (tap - 1) - 1) // step + 1
        for size, tap, step, pad, dil in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    )


def _enlarged(call: OperatorCall, x: Tensor, weight: Tensor, places: list[int | None]) -> tuple[int, ...]:
    stride, padding, dilation = _settings(call, places, len(x.shape) - 2)
    extra = (call.ints(places[4]) if places[4] is not None else None) or (0,) * len(stride)
    return tuple(
        (size - 1) * step - 2 * pad + dil * (tap - 1) + more + 1
        for size, tap, step, pad, dil, more in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True
        )
    )


def _backward(call: OperatorCall) -> Work:
    grad, x, weight = (call.tensor(place) for place in range(3))
    transposed = bool(call.flag(7))
    once = _flop(x, weight, grad.shape[2:], transposed)
    wanted = [word.strip() == "True" for word in call.value(10).strip("[]").split(",")] if call.value(10) else []
    for_input, for_weight = (wanted[0], wanted[1]) if len(wanted) == 3 else (True, True)
    flop = once * (for_input + for_weight)
    read = grad.nbytes + weight.nbytes * for_input + x.nbytes * for_weight
    written = x.nbytes * for_input + weight.nbytes * for_weight
    note = "" if len(wanted) == 3 else "gradients of input and filter both taken as wanted"
    return Work(flop, read, written, arithmetic(call, x.dtype), note)


_TEXT = "2·n·(output size)·(filter elements); input, filter and bias read, the result written"
FORMULAS = {
    **formulas(_forward, _TEXT, "aten::convolution", heavy=True),
    **formulas(
        _backward, "the forward count once for each gradient that is wanted", "aten::convolution_backward", heavy=True
    ),
}
WRAPPERS = {
    **formulas(
        _forward,
        _TEXT,
        "aten::_convolution",
        "aten::cudnn_convolution",
        "aten::mkldnn_convolution",
        "aten::_conv_depthwise2d",
        "aten::conv1d",
        "aten::conv2d",
        "aten::conv3d",
        heavy=True,
    ),
}
