"""What Python and the launches cost, for the study of cache variants.

In: traces with the cost of decode on the CPU and on the GPU. Out: a section.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.report.blocks import Section, Text
from nsightkit.report.studies.parts import table
from nsightkit.report.studies.traces import NO_TRACE, Trace


def overhead_section(traces: Sequence[Trace]) -> Section:
    """Return calls, launches, and times of CPU and GPU by token of decode."""
    found = [trace for trace in traces if trace.host is not None and trace.run is not None]
    if not found:
        return Section("overhead", "What Python and launches cost", missing=NO_TRACE)
    columns = (("variant", "text"), ("operators a token", "count"), ("in operators a token", "ns"),
               ("an operator", "ns"), ("between operators a token", "ns"), ("launches a token", "count"),
               ("launch calls a token", "ns"), ("GPU time a token", "ns"), ("GPU busy", "1"))  # fmt: skip
    rows = [_row(trace) for trace in found]
    tools = ", ".join(dict.fromkeys(trace.timeline for trace in found))
    caption = (
        f"{tools}; decode alone, CPU times with tracing on, which makes them longer: compare variants, not clocks. "
        "Without a GPU there are no launches, and an operator does its work on the CPU itself."
    )
    words = _said(rows)
    return Section(
        "overhead",
        "What Python and launches cost",
        (*((Text(words),) if words else ()), table("overhead-table", "A token of decode", columns, rows, caption)),
    )


def _row(trace: Trace) -> list[object]:
    host, run = trace.host, trace.run
    assert host is not None
    assert run is not None
    tokens = run.steps * run.runs

    def each(value: float | None) -> float | None:
        return None if value is None else value / tokens

    return [trace.label, each(host.operator_count), each(host.operator_ns), host.operator_mean_ns,
            each(host.between_ns), each(host.launch_count), each(host.launch_call_ns), each(host.gpu_ns),
            host.busy_share]  # fmt: skip


def _said(rows: Sequence[Sequence[object]]) -> str:
    """Set INT8 beside the plain cache: how many operators more a token needs."""
    by_name = {str(row[0]): row[1] for row in rows}
    plain, small = by_name.get("v1"), by_name.get("v2")
    if not isinstance(plain, float) or not isinstance(small, float) or not plain:
        return ""
    return (
        f"INT8 values (v2) take {small:.0f} operator calls a token, a plain cache (v1) {plain:.0f}: "
        f"{small / plain:.2f} times as many. Each costs Python, dispatch and, on a GPU, a launch, however few bytes it "
        "saves."
    )
