"""Samples of GPU metrics (``nsys profile --gpu-metrics-devices``) as our table.

In: an `Export`. Out: the stream of `gpu_metric_samples`, with the metrics that a verdict can use and no others.

Source: tables GPU_METRICS and TARGET_INFO_GPU_METRICS of nsys exports; they are joined on type and metric, and the
lowest eight bits of the type are the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_tables import Export, Recipe, Stream, Texts, ints, narrow, plain_recipes, translated
from nsightkit.parquet import int64_array

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = ("typeId", "metricId")
_METRIC_BITS = 16


def sample_stream(export: Export, only: tuple[str, ...] | None) -> Stream:
    """Return the stream of samples; `only` names the columns that are needed."""
    known = _known_metrics(export)

    def recipes(present: frozenset[str]) -> Mapping[str, Recipe]:
        return {
            "device_id": Recipe(("typeId",), _device),
            "metric": Recipe(_KEY, _metric(known)),
            "value": Recipe((*_KEY, "value"), _value(known)),
            **plain_recipes("gpu_metric_samples", {"time_ns": "timestamp"}),
        }

    return Stream("gpu_metric_samples", nsys.GPU_METRICS, recipes, only, filters=_KEY, keep=_only_known(known))


def sampled_name(metric_name: str | None) -> str | None:
    """Return our name of a metric, None where it is not used.

    >>> sampled_name("SMs Active [Throughput %]"), sampled_name("SMs Active [Avg]")
    ('sm_active_pct', None)
    """
    name, _, rest = (metric_name or "").partition(" [")
    ours = nsys.SAMPLED.get(name.strip())
    units = next((units for suffix, units in nsys.SAMPLED_UNITS.items() if ours and ours.endswith(suffix)), ())
    return ours if rest.removesuffix("]") in units else None


def _known_metrics(export: Export) -> dict[int, str]:
    rows = export.rows(nsys.GPU_METRIC_NAMES, (*_KEY, "metricName"))
    named = [(row["typeId"], row["metricId"], sampled_name(row["metricName"])) for row in rows]
    return {_key(kind, metric): name for kind, metric, name in named if name and None not in (kind, metric)}


def _key(kind: int, metric: int) -> int:
    # Both are small numbers beside the bits that name machine and source; nothing else has these low bits.
    return kind << _METRIC_BITS & 0x7FFFFFFFFFFFFFFF | metric


def _keys(batch: pa.RecordBatch) -> Any:
    kinds, metrics = ints(batch.column("typeId")), ints(batch.column("metricId"))
    return (kinds << np.int64(_METRIC_BITS)) & np.int64(0x7FFFFFFFFFFFFFFF) | metrics


def _only_known(known: Mapping[int, str]) -> Any:
    wanted = np.array(sorted(known), np.int64)

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow as pa

        mask = np.isin(_keys(batch), wanted)
        bits = pa.py_buffer(np.packbits(mask, bitorder="little"))
        return batch.filter(pa.Array.from_buffers(pa.bool_(), len(mask), [None, bits]))

    return keep


def _device(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
    return narrow(int64_array(ints(batch.column("typeId")) & np.int64(0xFF), None))


def _metric(known: Mapping[int, str]) -> Any:
    def names(keys: Sequence[int | None]) -> list[str | None]:
        return [None if key is None else known.get(key) for key in keys]

    return lambda batch, texts: translated(int64_array(_keys(batch), None), names)


def _value(known: Mapping[int, str]) -> Any:
    clocks = np.array([key for key, name in known.items() if name.endswith("_hz")], np.int64)

    def build(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
        import pyarrow as pa

        # What is null becomes NaN on the way.
        values = batch.column("value").to_numpy(zero_copy_only=False).astype(np.float64)
        in_mhz = np.isin(_keys(batch), clocks) & (values < nsys.LEAST_HZ)
        return pa.array(np.where(in_mhz, values * 1e6, values), pa.float64(), from_pandas=True)

    return build
