"""The report of the study that profiles decode: operators first, kernels where a GPU was traced.

In: `StudyInput` with the phases of a traced run. Out: its sections.
"""

from __future__ import annotations

from nsightkit.analysis.studies.operators import PhaseProfile
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Items, Section, Text
from nsightkit.report.studies.drawing import Axis, bars, stacked
from nsightkit.report.studies.parts import StudyInput, flags_section, method_section, table

_TOP = 20
_NEEDS_GPU = (
    "The traced run launched no kernel on a GPU. On a machine with one, 'nsightkit profile kv_decode --tool nsys+ncu' "
    "records the timeline and then the counters of the longest kernels of it, and its report holds this part."
)


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    decode = next((phase for phase in study.phases if phase.name == "decode"), None)
    return [
        _overview(study, decode),
        _phases(study),
        _operators(decode),
        Section("kernels", "Top kernels of decode", missing=_NEEDS_GPU),
        Section("classes", "Classification", missing=_NEEDS_GPU),
        Section("rooflines", "Rooflines and histograms", missing=_NEEDS_GPU),
        _findings(decode),
        flags_section(study),
        method_section(
            study,
            (
                "One run under torch.profiler: tracing slows every operator down, so shares are compared, not times.",
                "Warm-up and measured repetitions are both in the trace, the cold first one too.",
                "A call belongs to the phase in which it begins; its own time leaves out the operators that it calls.",
                "The table is of decode alone: what runs only in prefill is not in it.",
            ),
        ),
    ]


def _overview(study: StudyInput, decode: PhaseProfile | None) -> Section:
    if decode is None or not decode.operators:
        return Section("overview", "Overview", (Text("No decode was traced.", "lead"), Text(study.question)))
    first = decode.operators[0]
    lead = f"{first.name} takes {fmt.share(first.share)} of the operators' time in decode."
    return Section("overview", "Overview", (Text(lead, "lead"), Text(study.question)))


def _phases(study: StudyInput) -> Section:
    if not study.phases:
        return Section("phases", "Phases", missing="The traced run has no range named prefill or decode.")
    rows = [
        [
            p.name,
            p.range_count,
            p.duration_ns,
            p.self_ns,
            p.self_ns / p.duration_ns if p.duration_ns else None,
            p.call_count,
        ]
        for p in study.phases
    ]
    columns = (
        ("phase", "text"), ("ranges", "count"), ("wall", "ns"), ("in operators", "ns"), ("share", "1"),
        ("operator calls", "count"),
    )  # fmt: skip
    caption = "torch.profiler, CPU clock. What is not inside operators is Python, ranges, and the profiler itself."
    found: list[Block] = [table("phases-table", "Phases", columns, rows, caption)]
    found += [
        stacked(f"phase-{p.name}", f"{p.name}: operators by their own time", _few(p), caption) for p in study.phases
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


def _findings(decode: PhaseProfile | None) -> Section:
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
