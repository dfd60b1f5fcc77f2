"""One operator call as a trace records it, and the work that a formula finds in it.

In: shapes, types and strides of the inputs as text of the table cpu_operators. Out: `OperatorCall`, and for formulas
`Work` and `Formula`. Bytes are compulsory traffic: each tensor once, dimensions of stride 0 once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Source: the names that PyTorch's profiler gives to element types (caffe2::TypeMeta::name).
ITEM_BYTES = {
    "double": 8, "float": 4, "c10::Half": 2, "c10::BFloat16": 2, "long int": 8, "long": 8, "long long": 8, "int": 4,
    "short": 2, "short int": 2, "signed char": 1, "char": 1, "unsigned char": 1, "bool": 1, "c10::Float8_e4m3fn": 1,
    "c10::Float8_e5m2": 1, "c10::Float8_e4m3fnuz": 1, "c10::Float8_e5m2fnuz": 1, "c10::complex<float>": 8,
    "c10::complex<double>": 16, "unsigned short": 2, "unsigned int": 4, "unsigned long": 8,
}  # fmt: skip
FLOATS = ("double", "float", "c10::Half", "c10::BFloat16")
# Types of a kernel's template arguments, for lists of tensors, whose type a trace does not record.
_IN_NAME = (
    (re.compile(r"OpaqueType<(\d+)u?>"), ""),
    (re.compile(r"BFloat16|__nv_bfloat16"), "c10::BFloat16"),
    (re.compile(r"c10::Half|__half"), "c10::Half"),
    (re.compile(r"\bdouble\b"), "double"),
    (re.compile(r"\bfloat\b"), "float"),
)
_OF_SIZE = {"1": "unsigned char", "2": "c10::Half", "4": "float", "8": "double"}
LIST_TYPES = ("TensorList", "GenericList")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `strides` in elements, None where the trace has none."""

    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        """Elements that it shows."""
        return math.prod(self.shape)

    @property
    def stored(self) -> int:
        """Elements that lie in memory: a dimension of stride 0 is one."""
        if self.strides is None or len(self.strides) != len(self.shape) or not self.numel:
            return self.numel
        return math.prod(size for size, stride in zip(self.shape, self.strides, strict=True) if stride)

    @property
    def item_bytes(self) -> int:
        """Bytes of an element; raises KeyError for a type that is not known."""
        return ITEM_BYTES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes that lie in memory; raises KeyError for a type that is not known."""
        return self.stored * self.item_bytes

    @property
    def is_float(self) -> bool:
        """Whether arithmetic on it is floating-point."""
        return self.dtype in FLOATS or "Float" in self.dtype or "complex" in self.dtype


@dataclass(frozen=True, slots=True)
class KernelShape:
    """One kernel that a call launched."""

    name: str
    grid: tuple[int | None, int | None, int | None]
    duration_ns: int


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One call. An input is a tensor, a list of tensors, or None for another argument; `values` holds these as text."""

    name: str
    inputs: tuple[Tensor | tuple[Tensor, ...] | None, ...]
    values: tuple[str, ...] = ()
    kernels: tuple[KernelShape, ...] = ()
    list_type_known: bool = True  # traces do not record the type of a list; kernel names and other inputs tell it

    def tensor(self, place: int) -> Tensor:
        """Return the tensor at `place`; raises ValueError where there is none."""
        found = self.optional(place)
        if found is None:
            raise ValueError(f"{self.name}: input {place} is no tensor")
        return found

    def optional(self, place: int) -> Tensor | None:
        """Return the tensor at `place`, None where there is none."""
        item = self.inputs[place] if place < len(self.inputs) else None
        return item if isinstance(item, Tensor) else None

    def tensors(self) -> list[Tensor]:
        """Return all tensors, lists included, in order."""
        found: list[Tensor] = []
        for item in self.inputs:
            found += [item] if isinstance(item, Tensor) else list(item or ())
        return found

    def listed(self, place: int) -> tuple[Tensor, ...]:
        """Return the list of tensors at `place`; raises ValueError where there is none."""
        item = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(item, tuple) or not item:
            raise ValueError(f"{self.name}: input {place} is no list of tensors")
        return item

    def value(self, place: int) -> str:
        """Return what is no tensor as text, "" where the trace has none."""
        return self.values[place] if place < len(self.values) else ""

    def ints(self, place: int) -> tuple[int, ...] | None:
        """Return a list of integers, None where the trace has none."""
        text = self.value(place)
        return tuple(int(n) for n in re.findall(r"-?\d+", text)) if re.fullmatch(r"\[[-\d, ]*\]|-?\d+", text) else None

    def flag(self, place: int) -> bool | None:
        """Return a truth value, None where the trace has none."""
        return {"True": True, "False": False}.get(self.value(place))


@dataclass(frozen=True, slots=True)
class Work:
    """What a call has to do: `dtype` is a name of `peaks.DTYPES` (integer work is no flop)."""

    flop: float
    read_bytes: float
    written_bytes: float
    dtype: str = "fp32"
    assumption: str = ""  # what had to be assumed; the figures hold only with it

    @property
    def moved_bytes(self) -> float:
        """Compulsory traffic, both directions."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True, slots=True)
class Formula:
    """How the work of an operator is found: in words, and as a function. `heavy` formulas hold the arithmetic."""

    text: str
    function: Callable[[OperatorCall], Work]
    heavy: bool = False


def formulas(
    function: Callable[[OperatorCall], Work], text: str, *names: str, heavy: bool = False
) -> dict[str, Formula]:
    """Return one formula under several operator names."""
    return dict.fromkeys(names, Formula(text, function, heavy))


def call_of(name: str, columns: Sequence[str | None], kernels: Sequence[KernelShape] = ()) -> OperatorCall | None:
    """Return a call from the columns input_shapes, _dtypes, _strides and _values; None where there are no shapes."""
    shapes, dtypes, strides, values = (json.loads(text) if text else None for text in columns)
    if shapes is None or dtypes is None or len(shapes) != len(dtypes):
        return None
    places = strides if strides is not None and len(strides) == len(shapes) else [None] * len(shapes)
    found = _list_type(dtypes, kernels)
    fallback = found or "float"
    inputs = tuple(
        _input(shape, dtype, stride, fallback) for shape, dtype, stride in zip(shapes, dtypes, places, strict=True)
    )
    known = bool(found) or not any(isinstance(item, tuple) for item in inputs)
    return OperatorCall(name, inputs, tuple(map(str, values or ())), tuple(kernels), known)


def _list_type(dtypes: Sequence[str], kernels: Sequence[KernelShape]) -> str | None:
    for kernel in kernels:
        for pattern, dtype in _IN_NAME:
            if match := pattern.search(kernel.name):
                return dtype or _OF_SIZE.get(match[1], "float")
    return next((dtype for dtype in dtypes if dtype in FLOATS), None)


def _input(shape: Any, dtype: str, strides: Any, fallback: str) -> Tensor | tuple[Tensor, ...] | None:
    if dtype in LIST_TYPES:
        places = strides if isinstance(strides, list) and len(strides) == len(shape) else [None] * len(shape)
        return tuple(_tensor(item, fallback, place) for item, place in zip(shape, places, strict=True) if _sizes(item))
    if dtype not in ITEM_BYTES or not isinstance(shape, list):
        return None
    return _tensor(shape, dtype, strides)


def _sizes(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(size, int) for size in item)


def _tensor(shape: list[int], dtype: str, strides: Any) -> Tensor:
    return Tensor(tuple(shape), dtype, tuple(strides) if isinstance(strides, list) and _sizes(strides) else None)
