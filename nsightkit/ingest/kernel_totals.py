"""Sums by kernel over any number of captures, made where the tables lie.

In: tables of launches, one a capture. Out: one Arrow table with a row a kernel name. Sums of sums are sums, so parts
may be put together in any order and on any machine: the result is the same to the nanosecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsightkit.ingest.places import Place

if TYPE_CHECKING:
    import pyarrow as pa

_OVER = (("capture_count", "sum"), ("launch_count", "sum"), ("total_ns", "sum"), ("min_ns", "min"), ("max_ns", "max"))


def sums_of(place: Place, capture_id: str) -> pa.Table:
    """Return the sums of one capture: kernel_name, capture_count (1), launch_count, total_ns, min_ns, max_ns."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with place.opened("kernel_launches", capture_id) as file:
        rows = pq.read_table(file, columns=["kernel_name", "duration_ns"])
    rows = rows.set_column(0, "kernel_name", rows["kernel_name"].cast(pa.string()))
    found = rows.group_by("kernel_name").aggregate(
        [([], "count_all"), *(("duration_ns", how) for how in ("sum", "min", "max"))]
    )
    arrays = {
        "kernel_name": found["kernel_name"],
        "capture_count": pa.array([1] * found.num_rows, pa.int64()),
        "launch_count": found["count_all"],
        "total_ns": pc.fill_null(found["duration_ns_sum"], 0),
        "min_ns": found["duration_ns_min"],
        "max_ns": found["duration_ns_max"],
    }
    return pa.table(arrays)


def merged(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the sums of several parts, most time first."""
    import pyarrow as pa

    found = pa.concat_tables(parts).group_by("kernel_name").aggregate(list(_OVER))
    found = found.rename_columns([name.removesuffix("_sum").removesuffix("_min").removesuffix("_max") if
                                  name != "kernel_name" else name for name in found.column_names])  # fmt: skip
    ordered = found.select(["kernel_name", *(name for name, _ in _OVER)])
    return ordered.sort_by([("total_ns", "descending"), ("kernel_name", "ascending")])
