"""Operators that move data and do no arithmetic: copies, fills, concatenation, embeddings, gathers.

In: shapes. Out: `Work` without flop. A gather reads the gathered rows, not the table.
"""

from __future__ import annotations

from nsightkit.analysis.work.formulas.call import OperatorCall, Tensor, Work, formulas


def _copy(call: OperatorCall) -> Work:
    target, source = call.tensor(0), call.tensor(1)
    return Work(0, source.nbytes, target.nbytes)


def _fill(call: OperatorCall) -> Work:
    return Work(0, 0, call.tensor(0).nbytes)


def _cat(call: OperatorCall) -> Work:
    tensors = [item for item in call.listed(0) if item.numel]
    written = sum(t.numel * t.item_bytes for t in tensors)
    return Work(0, sum(t.nbytes for t in tensors), written)


def _rows_of(table: Tensor, index: Tensor) -> Work:
    rows = index.numel * (table.numel // table.shape[0]) * table.item_bytes if table.shape and table.shape[0] else 0
    return Work(0, rows + index.nbytes, rows)


def _embedding(call: OperatorCall) -> Work:
    return _rows_of(call.tensor(0), call.tensor(1))


def _index_select(call: OperatorCall) -> Work:
    table, index = call.tensor(0), call.tensor(2)
    dim = call.ints(1)
    if dim and dim[0] not in (0, -len(table.shape)):
        item = table.numel // table.shape[dim[0]] * index.numel * table.item_bytes
        return Work(0, item + index.nbytes, item)
    return _rows_of(table, index)


def _embedding_backward(call: OperatorCall) -> Work:
    grad, index = call.tensor(0), call.tensor(1)
    count = call.ints(2)
    if not count:
        raise ValueError(f"{call.name}: the size of the table is not in the trace")
    return Work(grad.numel, grad.nbytes + index.nbytes, count[0] * grad.shape[-1] * grad.item_bytes)


def _gather(call: OperatorCall) -> Work:
    table, index = call.tensor(0), call.tensor(2)
    moved = index.numel * table.item_bytes
    return Work(0, moved + index.nbytes, moved)


def _cache_write(call: OperatorCall) -> Work:
    key, value, key_cache, value_cache, slots = (call.tensor(place) for place in range(5))
    written = key.numel * key_cache.item_bytes + value.numel * value_cache.item_bytes
    return Work(0, key.nbytes + value.nbytes + slots.nbytes, written)


def _quantize(call: OperatorCall) -> Work:
    target, source = call.tensor(0), call.tensor(1)
    return Work(2 * source.numel, source.nbytes, target.nbytes)


def _nll_forward(call: OperatorCall) -> Work:
    scores, index = call.tensor(0), call.tensor(1)
    return Work(index.numel, index.numel * scores.item_bytes + index.nbytes, 2 * scores.item_bytes)


def _nll_backward(call: OperatorCall) -> Work:
    scores, index = call.tensor(1), call.tensor(2)
    # The operator first fills the gradient with zeros.
    return Work(0, index.nbytes, scores.numel * scores.item_bytes + index.numel * scores.item_bytes)


def _arange(call: OperatorCall) -> Work:
    out = call.tensors()
    if not out:
        raise ValueError(f"{call.name}: the result is not in the trace")
    return Work(0, 0, out[-1].nbytes)


FORMULAS = {
    **formulas(_copy, "no flop; source read, target written", "aten::copy_", "aten::_copy_from"),
    **formulas(_fill, "no flop; the tensor written", "aten::fill_", "aten::zero_", "aten::uniform_", "aten::normal_"),
    **formulas(_cat, "no flop; all inputs read, the result written", "aten::cat", "aten::_cat"),
    **formulas(_embedding, "no flop; gathered rows and indices read, the rows written", "aten::embedding"),
    **formulas(_index_select, "no flop; gathered rows and indices read, the rows written", "aten::index_select"),
    **formulas(_gather, "no flop; gathered elements and indices read, the elements written", "aten::gather"),
    **formulas(
        _embedding_backward,
        "1 an element of the gradient; gradient and indices read, the table's gradient written",
        "aten::embedding_dense_backward",
    ),
    **formulas(_nll_forward, "1 a row; one score a row and the classes read", "aten::nll_loss_forward"),
    **formulas(_nll_backward, "no flop; classes read, the gradient filled and written", "aten::nll_loss_backward"),
    **formulas(_arange, "no flop; the result written", "aten::arange"),
    **formulas(
        _cache_write,
        "no flop; keys, values and slots read, their places in the cache written",
        "_C_cache_ops::reshape_and_cache_flash",
        "_C_cache_ops::reshape_and_cache",
    ),
    **formulas(_quantize, "2 an element; source read, target written", "_C::static_scaled_fp8_quant"),
}
WRAPPERS = formulas(
    lambda call: Work(0, call.tensor(0).nbytes, call.tensor(0).numel * call.tensor(0).item_bytes),
    "no flop; the tensor read and written",
    "aten::clone",
    "aten::contiguous",
)
