"""The report of the study that profiles decode: operators first, then the kernels that take the time, with counters.

In: `StudyInput` with one trace. Out: its sections. What the report of a run says of kernels is said by its sections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nsightkit.analysis.kernel_names import match_kernels
from nsightkit.analysis.results import Analysis, ClassifiedKernel, KernelSummary
from nsightkit.analysis.studies.operators import PhaseProfile
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Items, Section, Text
from nsightkit.report.context import BOUND_WORDS, Context, ReportOptions
from nsightkit.report.sections import (
    classification,
    findings,
    histograms,
    kernel_rooflines,
    kernels,
    longest,
    names,
    roofline,
    top_kernels,
)
from nsightkit.report.studies.drawing import Axis, bars, stacked
from nsightkit.report.studies.parts import StudyInput, flags_section, method_section, table
from nsightkit.report.studies.traces import Trace, tools_section

_TOP = 20
_NEEDS_GPU = (
    "The profiled run launched no kernel on a GPU, so this stands on the analytic tier: operators, their calls and "
    "their CPU time. 'nsightkit study kernel-profile --tool nsys+ncu' on a machine with a GPU records the timeline and "
    "then the counters of the longest kernels of decode; '--from' takes captures that are there already."
)
_COUNTER_SECTIONS = (classification, longest, histograms, roofline, kernel_rooflines, kernels)


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    trace = _with_kernels(study)
    operators = next((one for one in study.traces if one.phases), None)
    decode = next((phase for phase in operators.phases if phase.name == "decode"), None) if operators else None
    return [
        _overview(study, trace, decode),
        _phases(operators),
        _operators(decode),
        _placed(operators),
        *_kernel_sections(trace),
        tools_section(study.traces),
        _findings(trace, decode),
        flags_section(study),
        method_section(study, _method(study, trace, operators)),
        *_name_sections(trace),
    ]


_OPERATORS = (
    "Tracing slows operators down, so shares are compared and not times.",
    "An operator call belongs to the phase in which it begins; its own time leaves out the operators that it calls.",
)
_OWN_RUN = "Warm-up and measured repetitions are both in the trace, the cold first one too."
_OF_DECODE = "A kernel belongs to decode where a range of that name launched it."
_WHOLE_TIMELINE = (
    "The timeline that was given holds no launches inside a range of decode, so its kernels are taken as they stand."
)
_COUNTED = (
    "Classes are by the rule sol-gap (SM throughput less DRAM throughput, margin 5 points), which needs no more than a "
    "speed-of-light section; what the other rules say stands beside it. Counts of kernels stand beside GPU time.",
    "Means of a class are plain means over kernels; intensities are sums of FLOP over sums of bytes, with units read.",
)


def _method(study: StudyInput, trace: Trace | None, operators: Trace | None) -> tuple[str, ...]:
    """Return what holds of these data: operators, kernels and counters are spoken of where they were recorded."""
    said: tuple[str, ...] = _OPERATORS if operators else ()
    if study.traces and not study.foreign:
        said += (_OWN_RUN,)
    if trace and _timed(trace):
        said += (_OF_DECODE if trace.decode_kernels else _WHOLE_TIMELINE,)
    return said + (_COUNTED if trace and trace.analysis.kernels else ())


def _overview(study: StudyInput, trace: Trace | None, decode: PhaseProfile | None) -> Section:
    return Section("overview", "Overview", (Text(_lead(trace, decode), "lead"), Text(study.question)))


def _lead(trace: Trace | None, decode: PhaseProfile | None) -> str:
    if trace and (timed := _timed(trace)):
        most = timed[0]
        where = "decode" if trace.decode_kernels else "the GPU time of the timeline"
        said = f"{most.friendly_name} takes {fmt.share(most.share)} of {where}"
        bounds = [c for c in trace.analysis.classes if c.kernel_count and c.bound != "OVERALL"]
        counted = ", ".join(f"{c.kernel_count} {BOUND_WORDS[c.bound]}" for c in bounds)
        apart = len(not_in_timeline(timed, trace.analysis.kernels))
        told = f", and {apart} of them are not in this timeline" if apart else ""
        return f"{said}. {len(trace.analysis.kernels)} profiled: {counted}{told}." if counted else f"{said}."
    if decode is None or not decode.operators:
        return "No decode was traced."
    first = decode.operators[0]
    return f"{first.name} takes {fmt.share(first.share)} of the operators' time in decode."


def _timed(trace: Trace) -> tuple[KernelSummary, ...]:
    return trace.decode_kernels or trace.analysis.top_kernels


def shown_analysis(study: StudyInput) -> Analysis:
    """Return the analysis that the sections of a run show here: the kernels of decode as the timeline."""
    trace = _with_kernels(study)
    return Analysis() if trace is None else _context(trace).analysis


def _with_kernels(study: StudyInput) -> Trace | None:
    """Return the trace that holds kernels or counters, None where none does."""
    return next((one for one in study.traces if one.analysis.top_kernels or one.analysis.kernels), None)


def _context(trace: Trace) -> Context:
    analysis = replace(trace.analysis, top_kernels=_timed(trace), top_operators=())
    return Context(trace.info, analysis, ReportOptions(limit=_TOP))


def _kernel_sections(trace: Trace | None) -> list[Section]:
    if trace is None:
        wanted = (("kernels", "Top kernels of decode"), ("classes", "Classification"),
                  ("rooflines", "Rooflines and histograms"))  # fmt: skip
        return [Section(id_, title, missing=_NEEDS_GPU) for id_, title in wanted]
    context = _context(trace)
    where = "of decode" if trace.decode_kernels else "of the timeline"
    listed = [replace(top_kernels.build(context), title=f"Top {_TOP} kernels {where}"), _families(trace)]
    counted = [section.build(context) for section in _COUNTER_SECTIONS]
    return [*listed, _rules(trace), _apart(trace), *counted]


def _name_sections(trace: Trace | None) -> list[Section]:
    if trace is None:
        return []
    return [names.build(_context(trace))]


def _families(trace: Trace) -> Section:
    timed = _timed(trace)
    if not timed:
        return Section("families", "Families of kernels", missing=_NEEDS_GPU)
    rows: list[list[Any]] = []
    for family in dict.fromkeys(kernel.family for kernel in timed):
        mine = [kernel for kernel in timed if kernel.family == family]
        shown = [kernel for kernel in timed[:_TOP] if kernel.family == family]
        rows.append([family, len(mine), sum(k.launch_count for k in mine), sum(k.total_ns for k in mine),
                     sum(k.share for k in mine), len(shown), sum(k.share for k in shown)])  # fmt: skip
    rows.sort(key=lambda row: -row[3])
    columns = (("family", "text"), ("kernels", "count"), ("launches", "count"), ("time", "ns"), ("share", "1"),
               (f"kernels in the top {_TOP}", "count"), ("their share", "1"))  # fmt: skip
    caption = "Each kernel is in one family, so nothing is counted twice: copies are no elementwise kernels here."
    made = table("families-table", "By family", columns, rows, f"{trace.timeline}. {caption}")
    return Section("families", "Families of kernels", (made,))


_BOUNDS = ("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN")


def _rules(trace: Trace) -> Section:
    """Return what each rule says of the same kernels, by count and by time."""
    if not trace.by_rule:
        return Section("rules", "What other rules say", missing=_NEEDS_GPU)
    rows = []
    for rule, found in trace.by_rule.items():
        classes = {c.bound: c for c in found}
        for what in ("kernels", "GPU time"):
            cells = [classes.get(bound) for bound in _BOUNDS]
            rows.append([rule, what, *(_class_cell(what, cell) for cell in cells)])
    columns = (("rule", "text"), ("of", "text"), *((bound.lower(), "text") for bound in _BOUNDS))
    caption = "The same counters, judged by each rule; GPU time is that of the profiled launches."
    return Section("rules", "What other rules say", (table("rules-table", "Rules", columns, rows, caption),))


def _class_cell(what: str, cell: object) -> str:
    count, share = getattr(cell, "kernel_count", 0), getattr(cell, "time_share", None)
    if what == "kernels":
        return fmt.count(count)
    return fmt.share(share) if count and share is not None else "–"


def _apart(trace: Trace) -> Section:
    """Return which profiled kernels the timeline does not have: what they say is not about decode."""
    timed, profiled = _timed(trace), trace.analysis.kernels
    if not timed or not profiled:
        return Section("matched", "Profiled kernels in the timeline", missing=_NEEDS_GPU)
    apart = not_in_timeline(timed, profiled)
    rows = [[k.friendly_name, k.duration_ns, k.verdict.bound.lower()]
            for k in sorted(apart, key=lambda k: -(k.duration_ns or 0))]  # fmt: skip
    there = Counter(k.verdict.bound.lower() for k in profiled if k not in apart)
    words = (
        f"{len(profiled) - len(apart)} of {len(profiled)} profiled kernels are in the timeline "
        f"({'decode alone' if trace.decode_kernels else 'as it was given'}): "
        f"{', '.join(f'{count} {bound}' for bound, count in there.most_common())}."
    )
    blocks: list[Block] = [Text(words)]
    if rows:
        columns = (("kernel", "text"), ("a launch", "ns"), ("bound", "text"))
        caption = "Profiled, but not launched in this timeline: their counts and means say nothing about it."
        blocks.append(table("apart-table", "Not in the timeline", columns, rows, caption))
    return Section("matched", "Profiled kernels in the timeline", tuple(blocks))


def not_in_timeline(timed: Sequence[KernelSummary], profiled: Sequence[ClassifiedKernel]) -> list[ClassifiedKernel]:
    """Return the profiled kernels whose names the timeline does not have."""
    found = match_kernels([k.kernel_name for k in profiled], [k.kernel_name for k in timed])
    known = {match.name for match in found if match.candidates}
    return [kernel for kernel in profiled if kernel.kernel_name not in known]


def _phases(trace: Trace | None) -> Section:
    if trace is None or not trace.phases:
        missing = "No operators were traced: 'nsightkit study kernel-profile --tool torch' records them."
        return Section("phases", "Phases", missing=missing)
    rows = [
        [p.name, p.range_count, p.duration_ns, p.self_ns, p.self_ns / p.duration_ns if p.duration_ns else None,
         p.call_count]
        for p in trace.phases
    ]  # fmt: skip
    columns = (("phase", "text"), ("ranges", "count"), ("wall", "ns"), ("in operators", "ns"), ("share", "1"),
               ("operator calls", "count"))  # fmt: skip
    caption = "torch.profiler, CPU clock. What is not inside operators is Python, ranges, and the profiler itself."
    found: list[Block] = [table("phases-table", "Phases", columns, rows, caption)]
    found += [
        stacked(f"phase-{p.name}", f"{p.name}: operators by their own time", _few(p), caption) for p in trace.phases
    ]
    return Section("phases", "Phases", tuple(found))


def _few(phase: PhaseProfile) -> list[tuple[str, float]]:
    shown = [(row.name, float(row.self_ns)) for row in phase.top(6)]
    rest = float(sum(row.self_ns for row in phase.operators[6:]))
    return [*shown, (f"{len(phase.operators) - 6} others", rest)] if rest else shown


def _operators(decode: PhaseProfile | None) -> Section:
    if decode is None or not decode.operators:
        return Section("operators", "Top operators of decode", missing="No operator was traced inside decode.")
    shown = decode.top(_TOP)
    rows = [[place, row.name, row.call_count, row.self_ns, row.share, row.self_ns / row.call_count]
            for place, row in enumerate(shown, 1)]  # fmt: skip
    columns = (("rank", "count"), ("operator", "text"), ("calls", "count"), ("own time", "ns"), ("share", "1"),
               ("a call", "ns"))  # fmt: skip
    covered = sum(row.share for row in shown)
    caption = (
        f"The {len(shown)} longest of {len(decode.operators)} operators; together {fmt.share(covered)} of the time."
    )
    drawn = bars("top-operators", "Own time in decode", [(row.name, float(row.self_ns)) for row in shown[:10]],
                 Axis("own time", "ns"), caption)  # fmt: skip
    return Section(
        "operators", "Top operators of decode", (table("operators-table", "By own time", columns, rows, caption), drawn)
    )


def _placed(trace: Trace | None) -> Section:
    """Return the operator calls of decode by their work from shapes: the analytic tier."""
    known = [row for row in trace.placed if row.flop or row.moved_bytes] if trace else []
    if trace is None or not known:
        missing = "Operator calls with shapes and no kernels are needed: '--tool torch' on a machine without a GPU."
        return Section("analytic", "Operators by their work", missing=missing)
    rows = [
        [row.name, row.shapes, row.count, row.total_ns, row.flop, row.moved_bytes,
         row.flop / row.moved_bytes if row.flop and row.moved_bytes else None,
         1e9 * row.flop / row.total_ns if row.flop and row.total_ns else None]
        for row in known[:_TOP]
    ]  # fmt: skip
    columns = (("operator", "text"), ("shapes", "text"), ("calls", "count"), ("time", "ns"), ("FLOP", "flop"),
               ("bytes", "byte"), ("algorithmic intensity", "flop/byte"), ("rate", "flop/s"))  # fmt: skip
    caption = (
        f"Analytic tier, experimental: work from shapes over CPU time with tracing on; each tensor counts once. The "
        f"{len(rows)} longest of {len(known)} operators with one set of shapes. No counter took part."
    )
    return Section("analytic", "Operators by their work", (table("analytic-table", "Decode", columns, rows, caption),))


def _findings(trace: Trace | None, decode: PhaseProfile | None) -> Section:
    if trace:
        return findings.build(_context(trace))
    if decode is None or not decode.operators:
        return Section("findings", "Findings", missing="Nothing was traced inside decode.")
    most = decode.operators[0]
    often = max(decode.operators, key=lambda row: row.call_count)
    between = 1 - decode.self_ns / decode.duration_ns if decode.duration_ns else 0.0
    said = (
        f"{most.name}: {fmt.share(most.share)} of the operators' time in {fmt.count(most.call_count)} calls.",
        f"Most calls: {often.name}, {fmt.count(often.call_count)} of {fmt.count(decode.call_count)}, with "
        f"{fmt.share(often.share)} of the time: a count is no cost.",
        f"{fmt.share(max(0.0, between))} of decode's wall time lies between operators, with tracing on.",
    )
    return Section("findings", "Findings", (Items(said),))
