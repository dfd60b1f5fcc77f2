"""The sections on one head against the base: where the difference comes from, kernel by kernel.

In: a `Compared`. Out: sections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nsightkit.analysis.compare.comparability import OPERATORS, SCOPES, worded
from nsightkit.analysis.compare.comparison import Comparison, Difference
from nsightkit.analysis.compare.diagnosis import diagnose
from nsightkit.analysis.compare.matching import GONE, NEW
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Fact, Facts, Figure, Group, Section, Text
from nsightkit.report.comparison import charts
from nsightkit.report.comparison.charts import Spot, Step
from nsightkit.report.comparison.parts import Compared, comparability
from nsightkit.report.rooflines import usable

_STEPS = 10
_ROWS = 40
_MOST_SPOTS = 500
_MOST_MOVES = 30


def sections_of(page: Compared, suffix: str) -> list[Section]:
    """Return the sections; `suffix` tells the sections of several heads apart."""
    return [
        _overview(page, suffix),
        Section(f"sources{suffix}", "Where the difference comes from", _sources(page, suffix)),
        Section(f"kernels{suffix}", worded("Kernels", page.comparison.basis), _kernels(page, suffix)),
        _one_sided(page, suffix),
        _moved(page, suffix),
    ]


def _overview(page: Compared, suffix: str) -> Section:
    comparison = page.comparison
    lead, _, rest = page.summary.partition(". ")
    found: list[Block] = [Text(f"{lead}.", "lead"), Text(rest), *comparability(page.checks, suffix), _facts(comparison)]
    found += [Text(f"{note[:1].upper()}{note[1:]}.", "note") for note in comparison.notes]
    return Section(f"overview{suffix}" if suffix else "overview", "Overview", tuple(found))


def _facts(comparison: Comparison) -> Facts:
    whole, kernels = comparison.whole, comparison.kernels
    base, head = whole.base, whole.head
    scope = SCOPES[comparison.basis]
    counted = {how: sum(row.how == how for row in kernels) for how in (NEW, GONE)}
    matched = len(kernels) - sum(counted.values())
    return Facts((
        Fact("base", fmt.duration(base.compared_ns), blocks.exact(base.compared_ns, "ns"), scope),
        Fact("head", fmt.duration(head.compared_ns), blocks.exact(head.compared_ns, "ns"), scope),
        Fact(
            "difference", fmt.signed_duration(whole.difference_ns), blocks.exact(whole.difference_ns, "ns"),
            _ratio_words(whole),
        ),
        Fact(
            worded("kernels matched", comparison.basis), fmt.count(matched), str(matched),
            f"{counted[NEW]} new, {counted[GONE]} gone",
        ),
    ))  # fmt: skip


def _ratio_words(row: Difference) -> str:
    ratio, low, high = row.estimate.ratio, row.estimate.low, row.estimate.high
    if ratio is None:
        return "no ratio"
    interval = f", 95 % interval {low:.3f} to {high:.3f}" if low is not None and high is not None else ""
    return f"head ÷ base {ratio:.3g}{interval}"


def _sources(page: Compared, suffix: str) -> tuple[Block, ...]:
    comparison = page.comparison
    found: list[Block] = [Group((_waterfall(comparison, suffix), *_scatter(comparison, suffix)), layout="even")]
    rows = (*page.phases, *comparison.families)
    caption = "Families add up to the whole; phases may overlap and need not."
    if rows:
        found.append(_table(f"families{suffix}", "Phases and families" if page.phases else "Families", rows, caption))
    found += _dominant(page, suffix)
    return tuple(found)


def _dominant(page: Compared, suffix: str) -> list[Block]:
    caption, facts = page.dominant
    if not facts:
        return []
    columns = (Column("fact", "fact"), Column("base", "base"), Column("head", "head"))
    rows = tuple(tuple(blocks.text(fact[column.key]) for column in columns) for fact in facts)
    return [DataTable(f"dominant{suffix}", "The costliest kernel of each side", columns, rows, f"{caption}.")]


def _waterfall(comparison: Comparison, suffix: str) -> Figure:
    ranked = [row for row in comparison.kernels if row.difference_ns]
    steps = [Step(_named(row), row.difference_ns) for row in ranked[:_STEPS]]
    rest = sum(row.difference_ns for row in ranked[_STEPS:])
    if len(ranked) > _STEPS:
        steps.append(Step(worded(f"{len(ranked) - _STEPS} other kernels", comparison.basis), rest))
    base = comparison.whole.base.compared_ns
    title = "From base to head"
    svg = charts.waterfall(base, steps, (comparison.base_name, comparison.head_name), title)
    cut = " The axis does not begin at 0." if charts.is_cut(base, steps) else ""
    caption = f"The bars add up to the whole difference. Orange adds time, blue takes it away.{cut}"
    columns = (
        Column("name", worded("kernel", comparison.basis)),
        Column("difference_ns", "difference", "ns", "number"),
    )
    rows = tuple((blocks.text(step.name), _difference(step.difference_ns)) for step in steps)
    twin = DataTable(f"waterfall{suffix}-numbers", title, columns, rows)
    return Figure(f"waterfall{suffix}", title, svg, caption, f"{title}: {len(steps)} steps", twin)


def _named(row: Difference) -> str:
    name = fmt.printable(row.name)
    return f"{row.how}: {name}" if row.how in (NEW, GONE) else name


def _scatter(comparison: Comparison, suffix: str) -> tuple[Figure, ...]:
    both = [row for row in comparison.kernels if row.base.sum_ns and row.head.sum_ns]
    if not both:
        return ()
    spots = [
        Spot(fmt.printable(row.name), row.base.compared_ns, row.head.compared_ns, _mark(row))
        for row in both[:_MOST_SPOTS]
    ]
    hidden = blocks.hidden_rows(len(both), len(spots), worded("kernels of both sides", comparison.basis))
    title = worded("Each kernel, base against head", comparison.basis)
    judged = any(row.verdict for row in both)
    colors = (
        "Orange is slower, blue faster, gray neither" if judged else "Orange takes more time, blue less, gray as much"
    )
    alone = worded("Kernels of one side alone are in the table of those", comparison.basis)
    caption = f"On the line nothing changed. {colors}. {alone}. {hidden}"
    svg = charts.scatter(spots, title)
    return (Figure(f"scatter{suffix}", title, svg, caption.strip(), f"{title}: {len(spots)} points"),)


def _mark(row: Difference) -> str:
    if row.verdict is not None:
        return {"slower": "compute", "faster": "memory"}.get(row.verdict, "unknown")
    return "compute" if row.difference_ns > 0 else "memory" if row.difference_ns < 0 else "unknown"


def _kernels(page: Compared, suffix: str) -> tuple[Block, ...]:
    rows = [row for row in page.comparison.kernels if row.how not in (NEW, GONE)]
    caption = "By size of the difference. Full names are under the pointer."
    title = worded("Kernels of both sides", page.comparison.basis)
    hidden = blocks.hidden_rows(len(rows), min(_ROWS, len(rows)), title[:1].lower() + title[1:])
    return (_table(f"differences{suffix}", title, rows[:_ROWS], caption, hidden),)


_COLUMNS = (
    Column("name", "what"), Column("how", "match"), Column("base_launches", "launches, base", "count", "number"),
    Column("head_launches", "head", "count", "number"), Column("base_ns", "time, base", "ns", "number"),
    Column("head_ns", "head", "ns", "number"), Column("difference_ns", "difference", "ns", "number"),
    Column("ratio", "ratio", "", "number"), Column("verdict", "verdict"), Column("diagnosis", "why"),
)  # fmt: skip


def _table(id_: str, title: str, rows: Sequence[Difference], caption: str, hidden: str = "") -> DataTable:
    judged = any(row.verdict for row in rows)
    basis = rows[0].basis if rows else ""
    kept = [
        replace(column, header=worded(column.header, basis)) for column in _COLUMNS if column.key != "verdict" or judged
    ]
    cells = tuple(tuple(_cells(row)[column.key] for column in kept) for row in rows)
    return DataTable(id_, title, tuple(kept), cells, caption, hidden)


def _cells(row: Difference) -> dict[str, Cell]:
    names = " | ".join(dict.fromkeys((*row.base.kernel_names[:3], *row.head.kernel_names[:3])))
    confidence = f"{row.how} ({fmt.share(row.confidence)})" if row.confidence < 1 else row.how
    return {
        "name": Cell(blocks.text(row.name).text, fmt.printable(names) if row.level == "kernel" else ""),
        "how": Cell(confidence, "; ".join(row.grounds)),
        "base_launches": blocks.number(row.base.launch_count, "count"),
        "head_launches": blocks.number(row.head.launch_count, "count"),
        "base_ns": blocks.number(None if row.base.is_unmeasured else row.base.compared_ns, "ns"),
        "head_ns": blocks.number(None if row.head.is_unmeasured else row.head.compared_ns, "ns"),
        "difference_ns": Cell(fmt.MISSING, "a side has no duration")
        if row.base.is_unmeasured or row.head.is_unmeasured
        else _difference(row.difference_ns),
        "ratio": _ratio(row),
        "verdict": blocks.text(row.verdict),
        "diagnosis": blocks.text(diagnose(row)),
    }


def _ratio(row: Difference) -> Cell:
    ratio = row.estimate.ratio
    why = "a side has no duration" if row.base.is_unmeasured or row.head.is_unmeasured else "only one side has it"
    return Cell(fmt.MISSING, why) if ratio is None else Cell(fmt.factor(ratio), _ratio_words(row))


def _difference(ns: float) -> Cell:
    return Cell(fmt.signed_duration(ns), blocks.exact(ns, "ns"))


def _one_sided(page: Compared, suffix: str) -> Section:
    rows = [row for row in page.comparison.kernels if row.how in (NEW, GONE)]
    title = "New and gone"
    if not rows:
        return Section(
            f"one-sided{suffix}",
            title,
            (Text(worded("Every kernel of one side was found on the other.", page.comparison.basis)),),
        )
    caption = worded("Kernels that only one side launches; they count whole.", page.comparison.basis)
    return Section(f"one-sided{suffix}", title, (_table(f"new-and-gone{suffix}", title, rows, caption),))


def _moved(page: Compared, suffix: str) -> Section:
    moves = [move for move in page.moves if usable(move.base) and usable(move.head)]
    if not moves and page.comparison.basis == OPERATORS:
        missing = "Operators on the CPU have no counters: profile both where the profiler sees the GPU."
        return Section(f"moved{suffix}", "Moved points", missing=missing)
    if not moves:
        missing = (
            "No kernel has FLOP, DRAM bytes and time counted on both sides: profile both with ncu "
            "('nsightkit profile --tool ncu', or 'nsightkit deepen')."
        )
        return Section(f"moved{suffix}", "Moved points", missing=missing)
    title = "Kernels under one roofline, before and after"
    other = sum(not move.same_work for move in moves)
    caption = "A hollow point is base, a violet one head; the roof is the highest of both sides. " + "; ".join(
        dict.fromkeys(move.head.roof_source for move in moves)
    )
    caption += (
        f". {other} of them were profiled with another grid or number of launches on each side." if other else "."
    )
    caption += f" {hidden}" if (hidden := blocks.hidden_rows(len(moves), min(len(moves), _MOST_MOVES), "moves")) else ""
    columns = (
        Column("name", "kernel"), Column("base_intensity", "intensity, base", "flop/byte", "number"),
        Column("head_intensity", "head", "flop/byte", "number"), Column("base_rate", "rate, base", "flop/s", "number"),
        Column("head_rate", "head", "flop/s", "number"), Column("base_share", "of its roof, base", "1", "number"),
        Column("head_share", "head", "1", "number"),
    )  # fmt: skip
    rows = tuple(
        (
            blocks.text(move.name),
            *(blocks.number(p.flop_per_byte, "flop/byte") for p in (move.base, move.head)),
            *(blocks.number(p.flop_per_s, "flop/s") for p in (move.base, move.head)),
            *(blocks.number(p.efficiency, "1") for p in (move.base, move.head)),
        )
        for move in moves
    )
    twin = DataTable(f"moved{suffix}-numbers", title, columns, rows)
    svg = charts.moved(moves[:_MOST_MOVES], title)
    figure = Figure(f"moved-points{suffix}", title, svg, caption, f"{title}: {len(moves)} kernels", twin)
    return Section(f"moved{suffix}", "Moved points", (Group((figure,), layout="even"),))
