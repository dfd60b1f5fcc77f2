"""Calls of the CUDA API and operations on memory.

In: their sums. Out: one table each.
"""

from __future__ import annotations

from nsightkit.report import blocks, sums
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Column, DataTable, Section, Text
from nsightkit.report.context import Context

_NEEDED = (
    "No CUDA API calls and no memory operations in this run. A capture of nsys with '--trace=cuda' or a torch.profiler "
    "trace of a CUDA run holds them."
)


_RATES = (
    Column("operation", "Operation"),
    Column("source_kind", "From"),
    Column("destination_kind", "To"),
    Column("operation_count", "Count", "count", "number"),
    Column("moved_bytes", "Moved", "byte", "number"),
    Column("bytes_per_s", "Rate", "byte/s", "number"),
    Column("best_bytes_per_s", "Best", "byte/s", "number"),
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
        parts += _rates(context)
    if parts and not analysis.memory_operations:
        parts.append(Text("No copy or fill was recorded.", "note"))
    if parts and not analysis.api_calls:
        parts.append(Text("No API call was recorded.", "note"))
    return Section("calls", "API and memory", tuple(parts), "" if parts else _NEEDED)


def _rates(context: Context) -> list[Block]:
    """Return the bandwidth that copies and fills achieved, by kind and pair of memories."""
    found = context.analysis.story.copies if context.analysis.story else ()
    if not found:
        return []
    rows = tuple(
        tuple(
            blocks.number(getattr(row, column.key), column.unit) if column.kind == "number" else
            blocks.text(getattr(row, column.key) or fmt.MISSING)
            for column in _RATES
        )
        for row in found
    )  # fmt: skip
    caption = "Bytes ÷ time of the operations themselves, latency included; the best is the rate of the fastest one."
    return [DataTable("copy-rates", "Bandwidth of copies and fills", _RATES, rows, caption)]
