"""Named ranges that nsys, ncu and torch.profiler all see.

In: the name of what the program does now. Out: an NVTX push/pop range in the default domain, and a
`torch.profiler.record_function` range while torch's profiler is running. Neither tool sees the other's ranges, so both
are made. Without a profiler a range costs well under a microsecond more than an empty context manager; torch is never
imported from here.

    from nsightkit import annotate

    with annotate.range("decode"):
        ...
"""

from __future__ import annotations

import functools
import sys
from types import TracebackType
from typing import Any

import nvtx


@functools.cache
def _attributes(name: str) -> Any:
    # Building attributes takes longer than pushing a range; the same few names come again and again.
    return nvtx.get_domain(None).get_event_attributes(name, "blue", None, None)


def _push(name: str) -> None:
    if hasattr(_DOMAIN, "push_range"):
        _DOMAIN.push_range(_attributes(name))
    else:
        _push_range(_attributes(name), _DOMAIN.handle)
