"""The numbers of a report as one JSON text, for the page's script and for whoever reads the file by program.

In: a `Context`. Out: JSON that is safe inside a `<script>` element: exact values in base units under the field names
of `analysis.results`, tables as columns and rows, so that a name is written once.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from nsightkit.analysis.results import ClassifiedKernel, RooflinePoint, Verdict
from nsightkit.report.context import Context

SCHEMA_VERSION = 1
_ADVICE = ("rule", "title", "kind", "speedup_kind", "estimated_speedup_pct", "launch_count")


def page_data(context: Context) -> dict[str, Any]:
    """Return the numbers that the page shows, as plain values."""
    analysis = context.analysis
    kernels = context.kernels
    return {
        "schema_version": SCHEMA_VERSION,
        "run": asdict(context.info),
        "rule": analysis.rule,
        "margin": analysis.margin,
        "span_ns": analysis.span_ns,
        "busy_ns": analysis.busy_ns,
        "notes": list(analysis.notes),
        "top_kernels": _table(analysis.top_kernels[: context.top_count]),
        "top_operators": _table(analysis.top_operators[: context.top_count]),
        "ranges": _table(analysis.ranges[: context.options.limit or None]),
        "api_calls": _table(analysis.api_calls[: context.options.limit or None]),
        "memory_operations": _table(analysis.memory_operations[: context.options.limit or None]),
        "classes": _table(analysis.classes),
        "histograms": [_histogram(h) for h in analysis.histograms],
        "kernels": _kernels([kernel for _, kernel in kernels], [index for index, _ in kernels]),
        "anchors": {"kernels": [_anchors(context, kernel.kernel_name) for _, kernel in kernels]},
        **_story(context),
    }


def _anchors(context: Context, kernel_name: str) -> list[int]:
    """Return the numbers of the full names of a kernel: its own, and that of the timeline where it differs."""
    timed = context.timeline_of.get(kernel_name)
    names = dict.fromkeys([kernel_name, *([timed.kernel_name] if timed else [])])
    return [int(context.names[name].removeprefix("name-")) for name in names if name in context.names]


def _story(context: Context) -> dict[str, Any]:
    """Return what the report tells beyond its tables; empty where it was not asked for."""
    story = context.analysis.story
    verdict, reasons = context.quality
    told: dict[str, Any] = {
        "quality": {"verdict": verdict or None, "reasons": list(reasons)},
        "findings": [asdict(finding) for finding in context.findings],
        "withheld": [asdict(item) for item in context.withheld],
    }
    if story is None:
        return told
    phases, activity = story.phases, story.activity
    if phases is not None:
        told["phases"] = {"names": phases.names, "families": phases.families, "times_ns": phases.times_ns}
    if activity is not None:
        told["activity"] = {
            "capture_id": activity.capture_id,
            "span_ns": activity.span_ns,
            "devices": [{"device_id": s.device_id, "busy_ns": s.busy_ns} for s in activity.strips],
            "launch_series": [
                {"kernel_name": s.kernel_name, "launch_count": s.launch_count, "total_ns": s.total_ns,
                 "edges_ns": s.edges, "counts": s.counts}
                for s in activity.series
            ],
        }  # fmt: skip
    told["rule_advice"] = {
        str(index): [[getattr(one, name) for name in _ADVICE] for one in advice]
        for index, advice in story.advice.items()
    }
    told["occupancy_limiters"] = {str(index): name for index, name in story.limiters.items()}
    return told


def page_json(context: Context, readable: bool = False) -> str:
    """Return `page_data` as JSON that no text in it can break out of; `readable` has a line for each part."""
    data = _finite(page_data(context))
    if readable:
        lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in data.items())
        return "{\n" + ",\n".join(lines) + "\n}"
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # Nothing else could close the element or start a comment in it.
    return text.replace("<", "\\u003c")


def _table(rows: tuple[Any, ...]) -> dict[str, Any]:
    names = [f.name for f in fields(rows[0])] if rows else []
    return {"columns": names, "rows": [[getattr(row, name) for name in names] for row in rows]}


def _kernels(kernels: list[Any], indices: list[int]) -> dict[str, Any]:
    """Return the profiled kernels.

    What many rows share is written once: a name is a place in `names`, a verdict's inputs are values in the order of
    `inputs`, and a point is values in the order of `point`.
    """
    names = list(dict.fromkeys(kernel.kernel_name for kernel in kernels))
    counters = list(dict.fromkeys(name for kernel in kernels for name in kernel.counters))
    inputs = list(dict.fromkeys(name for kernel in kernels for name in kernel.verdict.inputs))
    own = _names(ClassifiedKernel, "kernel_name", "counters", "verdict", "point")
    verdict = _names(Verdict, "inputs")
    return {
        "names": names,
        "columns": ["index", "name", *own, "counters", "verdict", "inputs", "point"],
        "counters": counters,
        "verdict": verdict,
        "inputs": inputs,
        "point": _names(RooflinePoint, "kernel_name"),
        "rows": [
            [index, names.index(k.kernel_name), *_values(k, own), [k.counters.get(name) for name in counters],
             _values(k.verdict, verdict), [k.verdict.inputs.get(name) for name in inputs], _plain(k.point)]
            for index, k in zip(indices, kernels, strict=True)
        ],
    }  # fmt: skip


def _names(kind: Any, *without: str) -> list[str]:
    return [f.name for f in fields(kind) if f.name not in without]


def _values(record: Any, names: list[str]) -> list[Any]:
    return [_plain(getattr(record, name)) for name in names]


def _plain(value: Any) -> Any:
    """Return `value`; a point, or each of several, becomes the list of its values."""
    if isinstance(value, RooflinePoint):
        return _values(value, _names(RooflinePoint, "kernel_name"))
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _histogram(histogram: Any) -> dict[str, Any]:
    # The members of a bin follow from the counters.
    return {name: value for name, value in _dictionary(histogram).items() if name != "members"}


def _dictionary(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _finite(value: Any) -> Any:
    """Return `value` with numbers that JSON cannot hold as their names."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return _finite(_dictionary(value)) if is_dataclass(value) else value
