"""The first screen: the verdict in one sentence, the figures that decide, and what ran where.

In: everything. Out: the section that answers the question before any table does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nsightkit.report import blocks, charts, first_tables, marks, operator_rooflines, rooflines
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Fact, Facts, Figure, Group, Key, Section, Text
from nsightkit.report.context import BOUND_WORDS, Context
from nsightkit.report.labels import few_labels, sentence
from nsightkit.report.notes import notes
from nsightkit.report.sections import findings

if TYPE_CHECKING:
    from nsightkit.analysis.results import ClassifiedKernel
    from nsightkit.analysis.timeline.whole_run import RunFigures

_MOST_FAMILIES = 8
# From this share on, idle time is the first thing to say of a run; a verdict needs as much (docs/method.md).
_MUCH_IDLE = 0.3
_PHASES, _MOST_PHASES = ("prefill", "decode"), 3
# What takes time while nothing computes, as the first words of a sentence.
_ALONE = {"TRANSFER": "Copies alone take", "COMMUNICATION": "Communication alone takes"}
_WAITED = {
    "LAUNCH": "before late launches",
    "HOST": "for code of the program outside CUDA",
    "SYNCHRONIZATION": "after synchronizing",
}


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
    pair = tuple(block for block in (_roofline(context), first_tables.costliest(context)) if block)
    return Section("overview", "Overview", (*parts, *_arranged(context, strips, pair), _captures(context)))


def _arranged(context: Context, strips: tuple[Block, ...], pair: tuple[Block, ...]) -> list[Block]:
    """Return the drawings and what ran where: two side by side, so that no half of the page is empty."""
    if len(strips) == len(pair) == 1:
        return [Group((*strips, *pair), layout="even"), _machine(context)]
    above: list[Block] = [Group(strips, layout="even")] if len(strips) > 1 else list(strips)
    if len(pair) == 2:
        return [*above, Group(pair, layout="pair"), _machine(context)]
    return [*above, Group((*pair, _machine(context)), layout="pair")] if pair else [*above, _machine(context)]


def _said(context: Context) -> list[str]:
    judged = [_class_words(context), _time_words(context)]
    if not _joined(context):
        # What a few launches are bound by says little of a run that was timed as a whole.
        judged.reverse()
    said = [
        words
        for words in (_mixed_words(context), _run_words(context), *judged, _operator_words(context),
                      _range_words(context))
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
        return _alone_words(context, figures) or _idle_words(context, figures)
    return f"{sure.title.partition(':')[0]}: the GPU works {fmt.share(1 - figures.idle_share)} of the time."


def _span_words(context: Context, figures: RunFigures) -> str:
    several = len(context.analysis.story.timelines) > 1 if context.analysis.story else False
    return f"{fmt.duration(figures.span_ns)} of all GPUs" if several else fmt.duration(figures.span_ns)


def _alone_words(context: Context, figures: RunFigures) -> str:
    """Say that copies or communication bound the run, by the rule of `nsightkit verdict`: its kernels do not."""
    from nsightkit.analysis.timeline.run_verdict import judge_run

    bound = judge_run(figures).bound
    # Idle time that a blocking copy causes is idle time, which tracing may have made.
    if bound not in _ALONE or figures.alone(bound) < _MUCH_IDLE:
        return ""
    share = fmt.share(figures.alone(bound))
    return f"{_ALONE[bound]} {share} of the {_span_words(context, figures)}: nothing computes meanwhile."


def _idle_words(context: Context, figures: RunFigures) -> str:
    """State that most of the span went by without work on the GPU: no verdict, but no reader should miss it."""
    if figures.idle_share < _MUCH_IDLE:
        return ""
    busy, span = fmt.share(1 - figures.idle_share), _span_words(context, figures)
    said = f"The GPU was busy {busy} of the {span}, as traced, and waited for the rest"
    if figures.tracing_ratio is None:
        why = "the overhead of tracing was not measured"
    elif not figures.tracing_allows_idle_verdict:
        why = f"tracing made the run {figures.tracing_ratio:.2f} times as long"
    else:
        cause = _WAITED.get(figures.largest_loss)
        return f"{said}: {fmt.share(figures.shares[figures.largest_loss])} {cause}." if cause else f"{said}."
    return f"{said}. What the program itself makes it wait for is not known: {why}."


def _joined(context: Context) -> bool:
    """Whether the profiled launches stand for the run: they are all there is, or were joined with the timeline."""
    story = context.analysis.story
    return not context.analysis.top_kernels or bool(story and story.weights)


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
        return f"The bound of {time} is unknown ({of_all}){_lacking(kernels)}."
    return f"{BOUND_WORDS[most.bound].capitalize()}: {time}, in {of_all}."


def _lacking(kernels: Sequence[ClassifiedKernel]) -> str:
    """Say what every kernel without a bound lacks; nothing where they lack different counters."""
    unknown = [kernel.verdict.missing for kernel in kernels if kernel.verdict.bound == "UNKNOWN"]
    common = [name for name in unknown[0] if all(name in missing for missing in unknown)]
    return f": {few_labels(common)} not collected" if common else ""


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
    drawn_count = blocks.counted(len(points), "kernel")
    alt = f"{drawn_count} under the roofs of DRAM and of the pipes; the table of the roofline section has the numbers."
    drawn = rooflines.physical(points, title, 3, marks.strip_of(context))
    return Figure("overview-roofline", title, drawn, marks.caption(context), alt, wide=True)


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
