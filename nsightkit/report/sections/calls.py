"""Calls of the CUDA API and operations on memory.

In: their sums. Out: one table each.
"""

from __future__ import annotations

from nsightkit.report import sums
from nsightkit.report.blocks import Block, Section, Text
from nsightkit.report.context import Context

_NEEDED = (
    "No CUDA API calls and no memory operations in this run. A capture of nsys with '--trace=cuda' or a torch.profiler "
    "trace of a CUDA run holds them."
)


def build(context: Context) -> Section:
    """Return the tables of API calls and of memory operations."""
    analysis, limit, scope = context.analysis, context.options.limit, context.timeline_scope
    parts: list[Block] = []
    if analysis.api_calls:
        caption = f"Time on the CPU inside each call, waiting included. {scope}."
        parts.append(sums.table("api-calls", "CUDA API calls", analysis.api_calls, caption, limit))
    if analysis.memory_operations:
        caption = f"Time of copies and fills on the GPU; they may overlap kernels. {scope}."
        parts.append(sums.table("memory-operations", "Memory operations", analysis.memory_operations, caption, limit))
    if parts and not analysis.memory_operations:
        parts.append(Text("No copy or fill was recorded.", "note"))
    if parts and not analysis.api_calls:
        parts.append(Text("No API call was recorded.", "note"))
    return Section("calls", "API and memory", tuple(parts), "" if parts else _NEEDED)
