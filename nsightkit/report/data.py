"""The numbers of a report as one JSON text, for the page's script and for whoever reads the file by program.

In: a `Context`. Out: JSON that is safe inside a `<script>` element: exact values in base units under the field names
of `analysis.results`, tables as columns and rows, so that a name is written once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from nsightkit.analysis.results import ClassifiedKernel, RooflinePoint, RooflineRow, Verdict
from nsightkit.report import operator_rooflines
from nsightkit.report.context import MANY_KERNELS, Context

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice

SCHEMA_VERSION = 1
_STATES = 5
_MOST_WORK = 500
_MARKUP = re.compile(r"<(?=[/!?sS])")
# Up to here every integer has a float of its own.
_WHOLE = 2**53
_RULE = ("rule", "title", "kind", "speedup_kind")


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
        "targets": [dict(row) for row in analysis.targets],
        "kernels": _kernels([kernel for _, kernel in kernels], [index for index, _ in kernels]),
        "work": _work(context),
        "phase_uses": _table(analysis.phase_uses),
        "ceilings": _table(analysis.ceilings),
        "anchors": {"kernels": [_anchors(context, kernel.kernel_name) for _, kernel in kernels]},
        **_story(context),
    }


def _work(context: Context) -> dict[str, Any]:
    """Return operators with work from shapes: those with an anchor first, then the rest with their time."""
    rows = [*operator_rooflines.placed(context), *(row for row in context.analysis.work if row.tier == "none")]
    names = [field.name for field in fields(RooflineRow)]
    return {
        "columns": ["shown", "anchor", *names],
        "point": _names(RooflinePoint, "kernel_name"),
        "hidden_count": max(0, len(rows) - _MOST_WORK),
        "rows": [
            [operator_rooflines.shown_name(row), number if number <= operator_rooflines.shown_count(context) else None,
             *(_plain(getattr(row, name)) for name in names)]
            for number, row in enumerate(rows[:_MOST_WORK], 1)
        ],
    }  # fmt: skip


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
    told["rule_advice"] = _advice(story.advice)
    most = _STATES if len(context.kernels) <= MANY_KERNELS else 2
    told["warp_states"] = {
        str(index): [[state.reason, state.share, state.warps_per_issue] for state in states[:most]]
        for index, states in story.stalls.items()
    }
    told["timeline_weights"] = {str(index): asdict(weight) for index, weight in story.weights.items()}
    told["occupancy_limiters"] = {str(index): name for index, name in story.limiters.items()}
    return told


def _advice(advice: Mapping[int, Sequence[KernelAdvice]]) -> dict[str, Any]:
    """Return NVIDIA's rules by kernel; what many of them share is a row of `rules`, and they name its place."""
    rules: dict[tuple[Any, ...], int] = {}
    rows = {
        str(index): [
            [rules.setdefault(tuple(getattr(one, name) for name in _RULE), len(rules)), one.estimated_speedup_pct,
             one.launch_count]
            for one in said
        ]
        for index, said in advice.items()
    }  # fmt: skip
    return {"rule": list(_RULE), "rules": [list(rule) for rule in rules],
            "columns": ["rule", "estimated_speedup_pct", "launch_count"], "kernels": rows}  # fmt: skip


def page_json(context: Context, readable: bool = False) -> str:
    """Return `page_data` as JSON that no text in it can break out of; `readable` has a line for each part."""
    data = _finite(page_data(context))
    if readable:
        lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in data.items())
        return "{\n" + ",\n".join(lines) + "\n}"
    text = json.dumps(_short(data), separators=(",", ":"), allow_nan=False)
    # Only an end tag, a comment or another script element could end the element, or keep its end tag from ending it.
    return _MARKUP.sub(r"\\u003c", text)


def _short(value: Any) -> Any:
    """Return `value` with each whole float as an integer, which JSON reads as the same number."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _WHOLE else value
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list) else value


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
