"""Formulas for the work of operators: one module a kind, joined here.

In: an operator's name. Out: its formula. `WRAPPERS` are operators that usually call one that has a formula of its own.
"""

from dataclasses import replace

from nsightkit.analysis.work.formulas import (
    attention,
    convolution,
    elementwise,
    fused,
    matmul,
    movement,
    norm,
    packed_attention,
    reduction,
)
from nsightkit.analysis.work.formulas.call import Formula, KernelShape, OperatorCall, Work

__all__ = ["FORMULAS", "WRAPPERS", "Formula", "KernelShape", "OperatorCall", "Work", "formula_of", "work_of"]

MODULES = (matmul, attention, packed_attention, convolution, norm, elementwise, movement, reduction, fused)
FORMULAS: dict[str, Formula] = {name: formula for module in MODULES for name, formula in module.FORMULAS.items()}
WRAPPERS: dict[str, Formula] = {
    **matmul.WRAPPERS,
    **attention.WRAPPERS,
    **packed_attention.WRAPPERS,
    **convolution.WRAPPERS,
    **norm.WRAPPERS,
    **movement.WRAPPERS,
}

_LIST_TYPE = "the type of the tensors in a list is not in the trace; taken as 4 bytes an element"


def formula_of(name: str) -> Formula | None:
    """Return the formula of an operator, None where there is none."""
    return FORMULAS.get(name) or WRAPPERS.get(name)


def work_of(call: OperatorCall) -> Work | None:
    """Return the work of a call, None where there is no formula or its shapes do not fit."""
    formula = formula_of(call.name)
    if formula is None:
        return None
    try:
        work = formula.function(call)
    except (IndexError, KeyError, ValueError):
        # Shapes or types that a formula does not know: no figure is better than a wrong one.
        return None
    return work if call.list_type_known else replace(work, assumption=work.assumption or _LIST_TYPE)
