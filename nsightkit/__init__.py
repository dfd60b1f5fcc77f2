"""nsightkit: which GPU kernels cost the time, how far each is from what the hardware allows, and how we know.

In: captures of Nsight Systems, Nsight Compute and torch.profiler. Out: tables, verdicts and a report. The names below
are loaded when they are first used, so that importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers, which do not see what `__getattr__` loads.
    from nsightkit.analysis import analyze_tables as analyze_tables
    from nsightkit.analysis.kernel_names import describe_kernel as describe_kernel
    from nsightkit.analysis.roofs.classification import classify_kernels as classify_kernels
    from nsightkit.errors import NsightkitError as NsightkitError
    from nsightkit.ingest import find_sources as find_sources
    from nsightkit.ingest import ingest_sources as ingest_sources
    from nsightkit.ingest import open_dataset as open_dataset
    from nsightkit.loading import load as load
    from nsightkit.report import render_report as render_report
    from nsightkit.rooflines import roofline_points as roofline_points
    from nsightkit.run import Run as Run
    from nsightkit.tables import TABLES as TABLES

__version__ = "0.1.0"

_PUBLIC = {
    "load": "nsightkit.loading",
    "open_dataset": "nsightkit.ingest",
    "ingest_sources": "nsightkit.ingest",
    "find_sources": "nsightkit.ingest",
    "analyze_tables": "nsightkit.analysis",
    "classify_kernels": "nsightkit.analysis.roofs.classification",
    "roofline_points": "nsightkit.rooflines",
    "describe_kernel": "nsightkit.analysis.kernel_names",
    "render_report": "nsightkit.report",
    "NsightkitError": "nsightkit.errors",
    "Run": "nsightkit.run",
    "TABLES": "nsightkit.tables",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nsightkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
