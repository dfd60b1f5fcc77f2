"""Named ranges that nsys, ncu and torch.profiler all see.

In: the name of what the program does now. Out: an NVTX push/pop range in the default domain, and a
`torch.profiler.record_function` range while torch's profiler is running. Neither tool sees the other's ranges, so both
are made. Torch is never imported from here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import nvtx

# What nvtx itself takes where none is given.
_COLOR = "blue"


class range:
    """A context manager that names the work inside it; ranges nest, and one object serves one `with`.

    `category` groups ranges in nsys, `color` paints them, `payload` is one number, such as the token or the batch.
    """

    __slots__ = ("_attributes", "_name", "_recorded")

    def __init__(
        self, name: str, category: str | None = None, color: str | int | None = None, payload: float | None = None
    ) -> None:
        """Remember what is to be said; nothing is sent to a tool yet."""
        self._name = name
        plain = category is None and color is None and payload is None
        self._attributes = None if plain else (category, color or _COLOR, payload)
        self._recorded: Any = None

    def __enter__(self) -> range:
        if self._attributes is None:
            nvtx.push_range(self._name)
        else:
            category, color, payload = self._attributes
            nvtx.push_range(self._name, color=color, category=category, payload=payload)
        self._recorded = _record_function(self._name, self._attributes)
        if self._recorded is not None:
            self._recorded.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._recorded is not None:
            self._recorded.__exit__(kind, error, trace)
            self._recorded = None
        nvtx.pop_range()


def _record_function(name: str, attributes: tuple[Any, ...] | None) -> Any:
    """Return an annotation for torch's profiler where it is running on this thread or on all, else None.

    The question takes some 50 ns, an annotation that nobody records 5 µs.
    """
    torch = sys.modules.get("torch")
    autograd = getattr(torch, "autograd", None)
    # The first knows of this thread only, the second of a profiler of all threads (`profile_all_threads`).
    if autograd is None or not (autograd._profiler_enabled() or _enabled_anywhere(autograd)):
        return None
    assert torch is not None
    # The argument reaches tools that observe record_function; torch's own trace keeps only the name. The annotation
    # with keywords (`_RecordFunctionFast`) would be an operator there under a profiler of all threads.
    payload = attributes[2] if attributes else None
    return torch.profiler.record_function(name, None if payload is None else str(payload))


def _enabled_anywhere(autograd: Any) -> bool:
    return bool(getattr(getattr(autograd, "profiler", None), "_is_profiler_enabled", False))


@contextmanager
def profiled(enabled: bool = True) -> Iterator[None]:
    """Ask nsys (`--capture-range=cudaProfilerApi`) or ncu (`--profile-from-start off`) to record only the block.

    Without a GPU in torch, or with `enabled` False, nothing is asked.
    """
    torch = sys.modules.get("torch")
    listening = enabled and torch is not None and torch.cuda.is_available()
    runtime = torch.cuda.cudart() if listening and torch is not None else None
    if runtime is not None:
        runtime.cudaProfilerStart()
    try:
        yield
    finally:
        if runtime is not None:
            runtime.cudaProfilerStop()
