"""Drives the profilers and leaves what they wrote in a run directory.

In: a workload and where its capture goes. Out: the files of the capture, how they came about, and what to know about
them. Each profiler is one module; `BACKENDS` lists them.
"""

import importlib
from typing import cast

from nsightkit.capture.backend import Backend, Captured, Plan, Request
from nsightkit.capture.options import Counters, Options, Scope, Window
from nsightkit.capture.workload import (
    Workload,
    bundled_workloads,
    find_command,
    find_workload,
    selfcheck_workload_path,
)

BACKENDS = ("nsys", "ncu", "torch_profiler")

__all__ = [
    "BACKENDS",
    "Backend",
    "Captured",
    "Counters",
    "Options",
    "Plan",
    "Request",
    "Scope",
    "Window",
    "Workload",
    "bundled_workloads",
    "find_command",
    "find_workload",
    "load_backend",
    "selfcheck_workload_path",
]


def load_backend(tool: str) -> Backend:
    """Return the backend that drives `tool` (nsys, ncu, torch); raises KeyError for another name."""
    for name in BACKENDS:
        backend = cast(Backend, importlib.import_module(f"nsightkit.capture.{name}"))
        if tool == backend.TOOL:
            return backend
    raise KeyError(tool)
