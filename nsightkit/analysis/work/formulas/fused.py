"""Fused operators of serving engines and collectives, as far as shapes, kernel names and grids give their work.

In: calls with their kernels. Out: `Work`; what shapes do not say (routing, padding) is named as an assumption.
"""

from __future__ import annotations

import math
import re

from nsightkit.analysis.work.formulas.call import KernelShape, OperatorCall, Work, formulas

# Names such as bmm_Bfloat16_MxE2m1MxE4m3_Fp32_t128x16x256…: result, both factors, accumulator, tile m×n×k.
_BATCHED = re.compile(r"^bmm_\w+?_(?P<a>MxE2m1|MxE4m3|E4m3|Bfloat16)\w*?_Fp32_t(?P<m>\d+)x(?P<n>\d+)x\d+")

# Block-scaled types: bits of an element with its share of a scale of 8 bits for 32.
_WEIGHT_BYTES = {"MxE2m1": 0.5 + 1 / 32, "MxE4m3": 1 + 1 / 32, "E4m3": 1.0, "Bfloat16": 2.0}
_TILED = "rows from the grid that covers every way to route, so padded tiles and all experts count"


def _experts(call: OperatorCall) -> Work:
    """Mixture of experts as two batched products.

    The grid of the second product is (hidden ÷ tile m, tiles of tokens); that of the first (2 · width ÷ tile m, tiles).
    Tiles of tokens cover the worst routing: (rows − experts) ÷ tile n + experts.
    """
    x, logits = call.tensor(0), call.tensor(1)
    tokens, hidden = x.shape
    experts = logits.shape[-1]
    first, second = _products(call)
    tile_m, tile_n = int(first[1]["m"]), int(first[1]["n"])
    width = _size(first[0], 0) * tile_m // 2
    rows = (_size(first[0], 1) - experts) * tile_n + experts
    chosen = round(rows / tokens)
    if chosen < 1 or _size(second[0], 0) * int(second[1]["m"]) < hidden:
        raise ValueError(f"{call.name}: the grids of its products do not fit its shapes")
    weights = hidden * 2 * width + width * hidden
    flop = 2 * chosen * tokens * weights
    used = min(experts, chosen * tokens)
    read = x.nbytes + logits.nbytes + used * weights * _WEIGHT_BYTES[first[1]["a"]]
    return Work(flop, read, x.numel * x.item_bytes, "tensor_fp8", f"{_TILED}; {chosen} experts a token, width {width}")


def _products(call: OperatorCall) -> list[tuple[KernelShape, re.Match[str]]]:
    found = [(kernel, match) for kernel in call.kernels if (match := _BATCHED.match(kernel.name))]
    if len(found) != 2:
        raise ValueError(f"{call.name}: its kernels are not two batched products with tiles in their names")
    return sorted(found, key=lambda item: _size(item[0], 0))


def _size(kernel: KernelShape, axis: int) -> int:
    size = kernel.grid[axis]
    if size is None:
        raise ValueError(f"{kernel.name}: no grid")
    return size


def _all_reduce(call: OperatorCall) -> Work:
    x = call.tensor(0)
    # The switch or the ring adds; each GPU's copy is read and written once.
    return Work(0, x.nbytes, x.nbytes, assumption="local memory only: the time is that of the links between GPUs")


def _collective(call: OperatorCall) -> Work:
    x = call.tensors()
    if not x:
        raise ValueError(f"{call.name}: no tensors")
    return Work(0, x[0].nbytes, x[0].nbytes, assumption="local memory only: the time is that of the links between GPUs")


def _rotary(call: OperatorCall) -> Work:
    positions, query, key = (call.tensor(place) for place in range(3))
    table = call.optional(4)
    rotated = query.numel + key.numel
    cached = positions.numel * math.prod(table.shape[1:]) * table.item_bytes if table else 0
    both = query.nbytes + key.nbytes
    # Two products and a sum for each element that is rotated.
    return Work(3 * rotated, positions.nbytes + both + cached, both)


FORMULAS = {
    **formulas(
        _experts,
        "2·tokens·experts a token·(hidden·2·width + width·hidden); weights of all experts used read once",
        "vllm::moe_forward",
        heavy=True,
    ),
    **formulas(_all_reduce, "no flop; the buffer read and written once", "symm_mem::multimem_all_reduce_"),
    **formulas(_collective, "no flop; the buffer read and written once", "record_param_comms"),
    **formulas(
        _rotary,
        "3 an element rotated; query, key and rows of the table read, query and key written",
        "_C::rotary_embedding",
    ),
}
