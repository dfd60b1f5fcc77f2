"""The first screen: the verdict in one sentence, the figures that decide, and what ran where.

In: everything. Out: the section that answers the question before any table does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nsightkit.report import blocks, charts, marks, operator_rooflines, rooflines
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Fact, Facts, Figure, Group, Key, Section, Text
from nsightkit.report.context import BOUND_WORDS, FIRST_ROWS, QUALITIES, Context
from nsightkit.report.labels import sentence
from nsightkit.report.overhead_words import overhead_line
from nsightkit.report.sections import findings

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.whole_run import RunFigures

_MOST_FAMILIES = 8
# From this share on, idle time is the first thing to say of a run; a verdict needs as much (docs/method.md).
_MUCH_IDLE = 0.3
_PHASES, _MOST_PHASES = ("prefill", "decode"), 3


def build(context: Context) -> Section:
    """Return the first screen."""
    parts: list[Block] = _verdict(context)
    parts += [Text(words, "lead" if place == 0 else "prose") for place, words in enumerate(_said(context))]
    facts = _facts(context)
    if facts:
        parts.append(Facts(tuple(facts)))
    said = notes(context)
    parts += [blocks.Items(said, "note")] if said else []
    parts += _first_findings(context)
    strips = tuple(block for block in (_phases(context), _families(context), _bounds(context)) if block)
    pair = tuple(block for block in (_roofline(context), _first_kernels(context)) if block)
    if len(strips) == len(pair) == 1:
        parts.append(Group((*strips, *pair), layout="even"))
    else:
        parts += [Group(strips, layout="even")] if len(strips) > 1 else list(strips)
        parts += [Group(pair, layout="pair")] if len(pair) == 2 else list(pair)
    parts += [_machine(context), _captures(context)]
    return Section("overview", "Overview", tuple(parts))


def _said(context: Context) -> list[str]:
    said = [
        words
        for words in (_mixed_words(context), _run_words(context), _class_words(context), _time_words(context),
                      _operator_words(context), _range_words(context))
        if words
    ]  # fmt: skip
    return said or ["Nothing in this run can be judged: it holds neither a timeline nor counters of any kernel."]


def _mixed_words(context: Context) -> str:
    """Warn where captures of different GPUs stand in one report: their shares are of a sum that nothing ever ran."""
    captures, gpus = context.info.captures, context.info.gpu_name or ""
    if len(captures) < 2 or not ("," in gpus or gpus.endswith("different GPUs")):
        return ""
    which = gpus if gpus.endswith("GPUs") else f"different GPUs ({gpus})"
    return (
        f"{fmt.count(len(captures))} captures of {which} in one report: each kernel is judged for itself, but shares "
        "of time mix runs that have nothing to do with each other. Render them one by one."
    )


def _run_words(context: Context) -> str:
    """Say what bounds the whole run where a finding is sure of it, else that the GPU waited, and what is not known."""
    waiting = [finding for finding in context.findings if finding.rule == "waiting"]
    sure = next((finding for finding in waiting if finding.confidence == "high"), None)
    figures = context.analysis.story.figures if context.analysis.story else None
    if figures is None:
        return ""
    if sure is None:
        return _idle_words(context, figures)
    return f"{sure.title.partition(':')[0]}: the GPU works {fmt.share(1 - figures.idle_share)} of the time."


def _idle_words(context: Context, figures: RunFigures) -> str:
    """State that most of the span went by without work on the GPU: no verdict, but no reader should miss it."""
    if figures.idle_share < _MUCH_IDLE:
        return ""
    several = len(context.analysis.story.timelines) > 1 if context.analysis.story else False
    span = f"{fmt.duration(figures.span_ns)} of all GPUs" if several else fmt.duration(figures.span_ns)
    said = f"The GPU was busy {fmt.share(1 - figures.idle_share)} of the {span}, as traced, and waited for the rest"
    if figures.tracing_ratio is None:
        why = "the overhead of tracing was not measured"
    elif not figures.tracing_allows_idle_verdict:
        why = f"tracing made the run {figures.tracing_ratio:.2f} times as long"
    else:
        return f"{said}."
    return f"{said}. What the program itself makes it wait for is not known: {why}."


def _class_words(context: Context) -> str:
    kernels = context.analysis.kernels
    if len(kernels) == 1:
        return f"{kernels[0].friendly_name}: {sentence(kernels[0])[0].lower()}{sentence(kernels[0])[1:]}"
    classes = [c for c in context.analysis.classes if c.bound != "OVERALL" and c.kernel_count]
    if not classes:
        return ""
    most = max(classes, key=lambda c: (c.time_share or 0.0, c.count_share))
    of_all = f"{fmt.count(most.kernel_count)} of {fmt.count(len(kernels))} profiled kernels"
    time = f"{fmt.share(most.time_share)} of the profiled GPU time"
    if most.time_share is None:
        return f"{BOUND_WORDS[most.bound].capitalize()}: {of_all}; their time is not known."
    if most.bound == "UNKNOWN":
        return f"The bound of {time} is unknown ({of_all})."
    return f"{BOUND_WORDS[most.bound].capitalize()}: {time}, in {of_all}."


def _time_words(context: Context) -> str:
    top = context.analysis.top_kernels
    if not top:
        return ""
    first = f"{fmt.printable(top[0].friendly_name)} takes {fmt.share(top[0].share)} of the kernel time"
    if len(top) < 4:
        return f"{first}."
    return f"{first}; the first three of {fmt.count(len(top))} kernels take {fmt.share(sum(k.share for k in top[:3]))}."


def _operator_words(context: Context) -> str:
    top = context.analysis.top_operators
    if not top or context.analysis.top_kernels:
        return ""
    return (
        f"{fmt.printable(top[0].operator_name)} takes {fmt.share(top[0].share)} of the operators' own CPU time; "
        f"the first three of {fmt.count(len(top))} take {fmt.share(sum(o.share for o in top[:3]))}."
    )


def _range_words(context: Context) -> str:
    """Say what a run without any GPU work still tells: the time of its phases on the CPU."""
    analysis = context.analysis
    if not analysis.ranges or analysis.kernels or analysis.top_kernels or analysis.top_operators:
        return ""
    first = sorted(analysis.ranges, key=lambda row: (row.name not in _PHASES, -row.total_ns))[:_MOST_PHASES]
    named = ", ".join(f"{fmt.printable(row.name)} {fmt.duration(row.total_ns)}" for row in first)
    count = sum(row.instance_count for row in analysis.ranges)
    return f"No GPU work was recorded; {blocks.counted(count, 'range')} hold wall time of the CPU: {named}."


def _facts(context: Context) -> list[Fact]:
    facts = _timeline_facts(context)
    kernels = context.analysis.kernels
    times = [k.total_ns for k in kernels if k.total_ns is not None]
    if kernels:
        launches = sum(k.launch_count for k in kernels)
        scope = f"{blocks.counted(launches, 'profiled launch', 'profiled launches')}, {context.counter_scope}"
        facts.append(Fact("profiled kernels", fmt.count(len(kernels)), str(len(kernels)), scope))
    if times:
        scope = "sum of the profiled launches, at the clocks of the counter capture"
        facts.append(Fact("profiled GPU time", fmt.duration(sum(times)), blocks.exact(sum(times), "ns"), scope))
    return facts


def _timeline_facts(context: Context) -> list[Fact]:
    facts, analysis = [], context.analysis
    total = sum(k.total_ns for k in analysis.top_kernels)
    launches = sum(k.launch_count for k in analysis.top_kernels)
    tokens = context.info.tokens
    if analysis.top_kernels:
        scope = f"sum over {blocks.counted(launches, 'launch', 'launches')}, {context.timeline_scope}"
        facts.append(Fact("kernel time", fmt.duration(total), blocks.exact(total, "ns"), scope))
    if analysis.top_kernels and tokens:
        scope = f"kernel time of the whole capture over {fmt.count(tokens)} tokens"
        facts.append(
            Fact("kernel time per token", fmt.duration(total / tokens), blocks.exact(total / tokens, "ns"), scope)
        )
    if analysis.busy_ns is not None and analysis.span_ns:
        share = analysis.busy_ns / analysis.span_ns
        span = fmt.duration(analysis.span_ns)
        scope = f"of the {span} from first start to last end; kernels, copies and fills, as traced"
        facts.append(Fact("GPU busy", fmt.share(share), blocks.exact(share), scope))
    return facts if analysis.top_kernels else facts + _operator_facts(context)


def _operator_facts(context: Context) -> list[Fact]:
    operators, tokens = context.analysis.top_operators, context.info.tokens
    if not operators:
        return []
    own, calls = sum(o.self_ns for o in operators), sum(o.call_count for o in operators)
    scope = f"own time of {fmt.count(calls)} calls, {context.timeline_scope}"
    facts = [Fact("operator time on the CPU", fmt.duration(own), blocks.exact(own, "ns"), scope)]
    if tokens:
        scope = f"own time of the whole capture, set-up and prefill included, over {fmt.count(tokens)} tokens"
        facts.append(
            Fact("operator time per token", fmt.duration(own / tokens), blocks.exact(own / tokens, "ns"), scope)
        )
    return facts + operator_rooflines.facts(context)


def _verdict(context: Context) -> list[Block]:
    """Return the verdict on the captures: the first line, since it says what all that follows is worth."""
    verdict, _ = context.quality
    if not verdict:
        return []
    judged = [capture for capture in context.info.captures if capture.quality.get("verdict") == verdict]
    reasons = dict.fromkeys(reason for capture in judged for reason in capture.quality.get("reasons", ()))
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return [Text(f"Capture quality: {verdict}{why}.", "quality")]


def notes(context: Context) -> tuple[str, ...]:
    """Return what to do about the quality, what the profiler cost, and what else is to be known: each thing once.

    The reasons of the verdict stand in its line; a note or a cost that a reason already tells is left out.
    """
    reasons = {c.capture_id: c.quality.get("reasons", ()) for c in context.info.captures}
    told = [*_remedies(context), *_costs(context), *context.analysis.notes]
    for capture in context.info.captures:
        topics = {_topic(reason) for reason in reasons[capture.capture_id] if ": " in reason}
        told += [
            f"{capture.capture_id}: {note}" for note in capture.notes if ": " not in note or _topic(note) not in topics
        ]
    return tuple(dict.fromkeys(told))


def _topic(reason: str) -> str:
    """Return what a reason or a note is about, without the details behind its colon; a name may hold "::"."""
    return reason.partition(": ")[0]


def _remedies(context: Context) -> list[str]:
    """Return what to do, each with the reasons that it answers: by topic where the first line has them in full."""
    captures = context.info.captures
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for capture in captures:
        quality = capture.quality if capture.quality.get("verdict") in QUALITIES else {}
        # The first line has the reasons of the worst verdict alone.
        shown = quality.get("verdict") == context.quality[0]
        for reason, remedy in zip(quality.get("reasons", ()), quality.get("remedies", ()), strict=False):
            asked.setdefault((_topic(reason) if shown else reason, remedy), {})[capture.capture_id] = None
    # Reasons of the same captures with one remedy are one thing to do.
    answered: dict[tuple[str, str], list[str]] = {}
    for (why, remedy), ids in asked.items():
        where = "" if len(ids) == len(captures) else f"{', '.join(ids)}: "
        answered.setdefault((where, remedy), []).append(why)
    return [f"{where}{'; '.join(whys)}. To do: {remedy}." for (where, remedy), whys in answered.items()]


def _costs(context: Context) -> list[str]:
    """Return what the profiler cost, where the verdict has not said so already; the method section has it always."""
    several = len(context.info.captures) > 1
    return [
        (f"{capture.capture_id}: " if several else "") + overhead_line(capture.overhead)
        for capture in context.info.captures
        if capture.overhead and not any("overhead of tracing" in why for why in capture.quality.get("reasons", ()))
    ]


def _first_findings(context: Context) -> list[Block]:
    if not context.findings:
        return []
    shown = context.findings[: findings.FIRST]
    table = findings.table(context, shown, "findings-first", "What would help most", columns=5)
    hidden = blocks.hidden_rows(len(context.findings), len(shown), "findings")
    return [replace(table, caption="At stake is an upper bound; stakes overlap and do not add up.", hidden=hidden)]


def _phases(context: Context) -> Figure | None:
    phases = context.analysis.story.phases if context.analysis.story else None
    if phases is None:
        return None
    totals = [sum(times) for times in phases.times_ns]
    whole = sum(totals)
    if not whole:
        return None
    ranked = list(zip(phases.names, totals, strict=True))
    rows = ranked[:_MOST_FAMILIES]
    rest = whole - sum(ns for _, ns in rows)
    if rest:
        rows.append((f"{len(ranked) - _MOST_FAMILIES} further", rest))
    parts = [
        charts.Part(mark, fmt.printable(name), ns / whole, fmt.share(ns / whole))
        for mark, (name, ns) in zip(charts.FAMILY_MARKS, rows, strict=False)
    ]
    caption = f"GPU time by the range that launched it; kernels, copies and fills. {context.timeline_scope}."
    return _strip("phases-strip", "GPU time by phase", parts, caption)


def _families(context: Context) -> Figure | None:
    totals: dict[str, int] = {}
    for kernel in context.analysis.top_kernels:
        totals[kernel.family] = totals.get(kernel.family, 0) + kernel.total_ns
    whole = sum(totals.values())
    if not whole:
        return None
    ranked = sorted(totals.items(), key=lambda item: -item[1])
    rows = ranked[:_MOST_FAMILIES]
    rest = whole - sum(ns for _, ns in rows)
    named = list(zip(charts.FAMILY_MARKS, rows, strict=False))
    if rest:
        named.append((charts.FAMILY_MARKS[-1], (f"{len(ranked) - _MOST_FAMILIES} further", rest)))
    parts = [charts.Part(mark, name, ns / whole, fmt.share(ns / whole)) for mark, (name, ns) in named]
    caption = f"Share of the kernel time by family. {context.timeline_scope}."
    return _strip("families", "Kernel time by family", parts, caption)


def _bounds(context: Context) -> Figure | None:
    classes = [c for c in context.analysis.classes if c.bound != "OVERALL" and c.time_share]
    parts = [
        charts.Part(c.bound.lower(), BOUND_WORDS[c.bound], c.time_share or 0.0, fmt.share(c.time_share))
        for c in classes
    ]
    caption = f"Share of the profiled GPU time by bound, rule {context.analysis.rule}. {context.counter_scope}."
    return _strip("bounds", "Profiled GPU time by bound", parts, caption) if parts else None


def _strip(name: str, title: str, parts: Sequence[charts.Part], caption: str) -> Figure:
    keys = tuple(Key(part.mark, part.label, part.text, blocks.exact(part.share)) for part in parts)
    alt = "; ".join(f"{part.label} {part.text}" for part in parts)
    drawn = charts.strip(parts, title)
    return Figure(name, title, drawn, caption, alt, keys=keys, file_svg=charts.labeled_strip(parts, title))


def _roofline(context: Context) -> Figure | None:
    points = marks.of(context)
    if not points:
        return operator_rooflines.figure(context, "overview-roofline", labels=3)
    title = "Roofline: how far each kernel is from the hardware"
    alt = f"{len(points)} kernels under the roofs of DRAM and of the pipes; the table of the roofline section has them."
    drawn = rooflines.physical(points, title, 3, marks.strip_of(context))
    return Figure("overview-roofline", title, drawn, marks.caption(context), alt, wide=True)


def _first_kernels(context: Context) -> DataTable | None:
    if context.analysis.top_kernels:
        return _first_of_timeline(context)
    kernels = context.kernels[:FIRST_ROWS]
    if not kernels:
        return None
    columns = (Column("friendly_name", "Kernel"), Column("bound", "Bound", kind="bound"),
               Column("time_share", "Share", "1", "share"), Column("duration_ns", "Mean", "ns", "number"))  # fmt: skip
    rows = tuple(
        (blocks.text(k.friendly_name, context.href(i), (k.library,)), Cell(k.verdict.bound),
         blocks.share(k.time_share), blocks.number(k.duration_ns, "ns"))
        for i, k in kernels
    )  # fmt: skip
    hidden = blocks.hidden_rows(len(context.analysis.kernels), len(kernels), "profiled kernels")
    caption = f"Share of the profiled GPU time. {context.counter_scope}."
    return DataTable("overview-kernels", "Kernels that cost most", columns, rows, caption, hidden)


def _first_of_timeline(context: Context) -> DataTable:
    top = context.analysis.top_kernels
    columns = (Column("friendly_name", "Kernel"), Column("share", "Share", "1", "share"),
               Column("total_ns", "Total", "ns", "number"),
               Column("launch_count", "Launches", "count", "number"))  # fmt: skip
    rows = tuple(
        (blocks.text(k.friendly_name, f"#{context.names[k.kernel_name]}", (k.library,)), blocks.share(k.share),
         blocks.number(k.total_ns, "ns"), blocks.number(k.launch_count, "count"))
        for k in top[:FIRST_ROWS]
    )  # fmt: skip
    hidden = blocks.hidden_rows(len(top), len(rows), "kernels", 1 - sum(k.share for k in top[:FIRST_ROWS]))
    caption = f"Share of the kernel time. {context.timeline_scope}."
    return DataTable("overview-kernels", "Kernels that cost most", columns, rows, caption, hidden)


def _machine(context: Context) -> Block:
    info = context.info
    known = {
        "GPU": info.gpu_name, "Compute capability": info.compute_capability, "Driver": info.driver_version,
        "CUDA": info.cuda_version, "PyTorch": info.torch_version, "Host": info.hostname, "Workload": info.workload,
        "Arguments": " ".join(info.workload_args) or None, "Tokens": fmt.count(info.tokens) if info.tokens else None,
        "Run created": info.created_utc,
    }  # fmt: skip
    pairs = tuple((name, blocks.text(value)) for name, value in known.items() if value)
    absent = [name for name, value in known.items() if not value and name not in ("Workload", "Arguments", "Tokens")]
    if absent:
        pairs = (*pairs, ("Not recorded", blocks.text(", ".join(absent))))
    return blocks.Pairs(pairs, "What ran where")


def _captures(context: Context) -> DataTable:
    columns = tuple(Column(key, header) for key, header in (
        ("capture_id", "Capture"), ("backend", "Tool"), ("tool_version", "Version"), ("source", "File"),
        ("scope", "What its numbers cover")))  # fmt: skip
    alike: dict[tuple[str | None, ...], list[str]] = {}
    for c in context.info.captures:
        alike.setdefault((c.backend, c.tool_version, _files(c.source), c.scope), []).append(c.capture_id)
    rows = tuple((_ids(ids), *map(blocks.text, facts)) for facts, ids in alike.items())
    return DataTable("captures", "Captures", columns, rows)


def _files(source: str) -> str:
    names = source.split(", ")
    return source if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _ids(ids: Sequence[str]) -> Cell:
    if len(ids) == 1:
        return blocks.text(ids[0])
    return Cell(fmt.printable(f"{ids[0]} … {ids[-1]} ({len(ids)} captures)"), ", ".join(ids))
