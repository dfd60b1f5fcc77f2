"""The launches that a timeline chose for ncu: what each stands for, how sure the match is, how much longer it took.

In: the rows of counter_targets. Out: the joined table, one row a target, the largest share first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Cell, Column, DataTable, Section
from nsightkit.report.context import Context

_COLUMNS = (
    Column("kernel_name", "Kernel"),
    Column("range_share", "Share", "1", "share"),
    Column("covered_share", "Covered", "1", "share"),
    Column("launch_count", "Launches", "count", "number"),
    Column("match", "Match"),
    Column("profiled", "Profiled", "count", "number", markdown=False),
    Column("mean_ns", "nsys mean", "ns", "number"),
    Column("ncu_mean_ns", "ncu mean", "ns", "number"),
    Column("duration_ratio", "ncu ÷ nsys", "ratio", "number"),
    Column("flags", "To know", markdown=False),
)
_NEEDED = (
    "No counters that a timeline chose. Make them with 'nsightkit profile --tool nsys+ncu', or add them to a run with "
    "a timeline with 'nsightkit deepen RUN'."
)
_NOT_JOINED = "no profiled launch was joined to it"


def build(context: Context) -> Section:
    """Return the joined table."""
    rows = context.analysis.targets
    if not rows:
        return Section("targets", "Counters joined with the timeline", missing=_NEEDED)
    within = rows[0]["nvtx_range"]
    where = f"the range {fmt.printable(within)}" if within else "the whole run"
    joined = sum(row["range_share"] or 0.0 for row in rows if _profiled(row))
    caption = (
        f"nsys weighs, ncu measures: two executions. Share and covered are of the kernel time of {where} in the "
        f"timeline; joined launches stand for {fmt.share(joined)} of it. ncu ÷ nsys is flagged above 1.2: locked "
        f"clocks and emptied caches make a launch longer. {context.timeline_scope}; {context.counter_scope}."
    )
    cells = tuple(_row(context, row) for row in rows)
    table = DataTable("counter-targets", f"Chosen launches of {where}", _COLUMNS, cells, caption)
    return Section("targets", "Counters joined with the timeline", (table,))


def _profiled(row: Mapping[str, Any]) -> int:
    return len(json.loads(row["launch_indices"] or "[]"))


def _row(context: Context, row: Mapping[str, Any]) -> tuple[Cell, ...]:
    name, flags = row["kernel_name"], json.loads(row["flags"] or "[]")
    friendly, library = context.friendly_names.get(name, (name, ""))
    modes = f" (mode {row['mode'] + 1} of {row['mode_count']})" if (row["mode_count"] or 1) > 1 else ""
    anchor = f"#{context.names[name]}" if name in context.names else ""
    ratio = row["duration_ratio"]
    return (
        blocks.text(f"{friendly}{modes}", anchor, (library,) if library else ()),
        blocks.share(row["range_share"]),
        blocks.share(row["covered_share"]),
        blocks.number(row["launch_count"], "count"),
        blocks.text(row["match"]),
        blocks.number(_profiled(row), "count"),
        blocks.number(row["mean_ns"], "ns"),
        blocks.number(row["ncu_mean_ns"], "ns", _NOT_JOINED),
        Cell(fmt.MISSING, _NOT_JOINED) if ratio is None else Cell(f"{ratio:.2f}", blocks.exact(ratio)),
        blocks.text("; ".join(flags)) if flags else Cell("", "none"),
    )
