"""How every number of this report came about, and what was not measured.

In: rules, peaks, clocks and captures that were actually used. Out: formulas, sources, command lines and gaps.
"""

from __future__ import annotations

from collections import Counter

from nsightkit.analysis.results import Analysis
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Column, DataTable, Group, Items, Section, Text
from nsightkit.report.context import Context
from nsightkit.report.overhead_words import overhead_line

_RULES = {
    "roofline": (
        "Rule roofline: time on a pipe = sum over its dtypes of FLOP ÷ peak; memory time = DRAM bytes ÷ bandwidth. "
        "The longest of them names the bound, and that time ÷ measured duration is the efficiency. The ridge point is "
        "(FLOP ÷ compute time) ÷ bandwidth, so intensity against ridge says the same as longest time. Latency-bound: "
        "compute and memory throughput are both below 60 %. Unknown: a measurement above the roof, work that was "
        "not counted could decide, or units that this roofline does not see are clearly busier."
    ),
    "sol-gap": (
        "Rule sol-gap: SM throughput − DRAM throughput, in points of percent. Above the margin of {margin} points the "
        "kernel is compute-bound, below −{margin} memory-bound, between them balanced; with either missing it is "
        "unknown. It cannot see latency."
    ),
    "ncu": (
        "Rule ncu: the thresholds of NVIDIA's SpeedOfLight rule on SM and memory throughput. Either at 80 % or more: "
        "the larger side names the bound. Both below 60 %: latency-bound (a small grid where less than one wave per SM "
        "was launched). Else 10 points apart: the larger side; closer: balanced."
    ),
}
_FORMULAS = (
    "Arithmetic intensity = FLOP ÷ DRAM bytes, of the same launches. Rate = FLOP ÷ duration, of the same launches. "
    "Kernels add up by sums of work, bytes and time, never by means of ratios.",
    "Normalized roofline: intensity ÷ ridge point against rate ÷ peak. Roof at an intensity = min(peak, intensity × "
    "bandwidth).",
    "A point above its roof, or a percentage above 100, is kept, flagged and left out of verdicts.",
)
_SHARES = (
    "Share of time = summed duration of a kernel's launches ÷ that of all kernels. Launches are grouped by full "
    "demangled name, as NVIDIA's kernel summary does. The 95th percentile is over launches."
)
_OPERATORS = (
    "Own time of an operator = its duration less that of the operators it called on the same thread; its share is "
    "that of the own time of all operators."
)
_TWO_RUNS = (
    "nsys and ncu are separate executions, at different clocks. Counters are never divided by times of the timeline; "
    "shares of the timeline and shares of profiled time are different wholes."
)


_STAKES = (
    "Findings: each rule states its evidence, the scope of its stake and its confidence. Less than 2 % of its scope is "
    "no finding; stakes are upper bounds and never added up. The rules stand in docs/method.md, Findings."
)
_STATES = (
    "Cycles between two instructions of a warp, by state: ncu's samples at the schedulers (WarpStateStats), launches "
    "of a kernel weighted by duration; shares are of all states, issuing included."
)
_WEIGHTS = (
    "A profiled kernel stands for those launches of the timeline that agree in name, grid, block, shared memory, range "
    "and place within the step (match exact), or in all but the place (shape); others are not joined."
)


def build(context: Context) -> Section:
    """Return rules, formulas, peaks, clocks, versions, command lines and gaps."""
    parts: list[Block] = [Items(tuple(_formulas(context)))]
    parts += _peaks(context.analysis)
    parts += _versions(context)
    parts.append(Group((Items(tuple(_gaps(context))),), "What was not measured", "plain"))
    return Section("method", "Method", tuple(parts))


def _formulas(context: Context) -> list[str]:
    analysis, said = context.analysis, []
    if analysis.kernels:
        said.append(f"Rule asked for: {analysis.rule}; margin {fmt.plain(analysis.margin)} points.")
        if analysis.rule == "auto":
            said.append("Rule auto: roofline where it can decide, else ncu, else unknown.")
        used = {k.verdict.rule for k in analysis.kernels}
        margin = fmt.plain(analysis.margin)
        said += [words.format(margin=margin) for rule, words in _RULES.items() if rule in used]
        said += _FORMULAS
        said.append(
            "Class means are unweighted means over kernels. Class shares stand beside counts because they differ."
        )
    if analysis.top_kernels:
        said.append(_SHARES)
    if analysis.busy_ns is not None:
        said.append(
            "GPU busy = union over all streams of kernels, copies and fills ÷ (last end − first start), as traced."
        )
    if analysis.top_kernels and analysis.kernels:
        said.append(_TWO_RUNS)
    if analysis.top_operators:
        said.append(_OPERATORS)
    if analysis.story is not None:
        parts = (analysis.story.findings.found, analysis.story.stalls, analysis.story.weights)
        said += [words for words, part in zip((_STAKES, _STATES, _WEIGHTS), parts, strict=True) if part]
    said += _overhead(context)
    return said or ["Nothing was computed: the run holds no kernels and no operators."]


def _peaks(analysis: Analysis) -> list[Block]:
    roofs = Counter(
        (k.point.roof_source, k.point.precision, k.point.peak_flop_per_s, k.point.peak_bytes_per_s)
        for k in analysis.kernels
        if k.point is not None
    )
    clocks = [clock for k in analysis.kernels if (clock := k.counters.get("sm_clock_hz"))]
    parts: list[Block] = []
    if clocks:
        low, high = fmt.with_unit(min(clocks), "Hz"), fmt.with_unit(max(clocks), "Hz")
        span = low if low == high else f"{low} to {high}"
        parts.append(Text(f"SM clock of the profiled launches: {span}. Roofs that come from counters move with it."))
    if roofs:
        parts.append(_roof_table(roofs))
    return parts


def _roof_table(roofs: Counter[tuple[str, str, float, float]]) -> DataTable:
    columns = (Column("roof_source", "Source of the roof"), Column("precision", "Precision"),
               Column("peak_flop_per_s", "Lowest peak", "flop/s", "number"),
               Column("peak_flop_per_s_high", "Highest peak", "flop/s", "number"),
               Column("peak_bytes_per_s", "DRAM", "byte/s", "number"),
               Column("kernel_count", "Kernels", "count", "number"))  # fmt: skip
    grouped: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for (source, precision, peak, bandwidth), count in roofs.items():
        grouped.setdefault((source, precision), []).append((peak, bandwidth, count))
    rows = tuple(
        (
            blocks.text(source),
            blocks.text(precision),
            blocks.number(min(peak for peak, _, _ in group), "flop/s"),
            blocks.number(max(peak for peak, _, _ in group), "flop/s"),
            blocks.number(max(bandwidth for _, bandwidth, _ in group), "byte/s"),
            blocks.number(sum(count for _, _, count in group), "count"),
        )
        for (source, precision), group in grouped.items()
    )
    return DataTable("peaks", "Peaks that were used", columns, rows, "A mixed peak is work ÷ the sum of FLOP ÷ peak.")


def _versions(context: Context) -> list[Block]:
    info = context.info
    pairs = [
        ("nsightkit", blocks.text(info.nsightkit_version)),
        ("Schema of the run", blocks.text(str(info.schema_version))),
    ]
    versions = dict.fromkeys((c.backend, c.tool_version) for c in info.captures)
    pairs += [(f"Captured by {tool}", blocks.text(version or "version not recorded")) for tool, version in versions]
    parts: list[Block] = [blocks.Pairs(tuple(pairs), "Versions")]
    lines = [f"{c.capture_id}: {' '.join(c.argv)}" for c in info.captures if c.argv]
    if lines:
        parts.append(Group(tuple(Text(line, "code") for line in lines), "Command lines", "plain"))
    elif info.captures:
        parts.append(
            Text("The command lines of the captures were not recorded: the files were made elsewhere.", "note")
        )
    return parts


def _gaps(context: Context) -> list[str]:
    analysis, gaps = context.analysis, []
    if not analysis.top_kernels:
        gaps.append("No timeline of kernels: launches of the whole run, their order and idle time are not known.")
    if not analysis.kernels:
        gaps.append("No hardware counters: what bounds the kernels is not known.")
    elif not any(k.point for k in analysis.kernels):
        gaps.append("No kernel has FLOP and DRAM counters together: no roofline.")
    without = [k for k in analysis.kernels if k.verdict.bound == "UNKNOWN"]
    if without:
        gaps.append(
            f"{fmt.count(len(without))} of {fmt.count(len(analysis.kernels))} profiled kernels have no verdict."
        )
    failed = sum(k.failed_count for k in analysis.kernels)
    if failed:
        gaps.append(f"{fmt.count(failed)} launches could not be measured by the profiler.")
    if not analysis.ranges:
        gaps.append("No named ranges: times are not split by phase.")
    if not context.info.tokens:
        gaps.append("The number of tokens is not recorded: there are no figures per token.")
    return gaps + _overhead_gaps(context)


def _overhead_gaps(context: Context) -> list[str]:
    records = [capture.overhead for capture in context.info.captures if capture.overhead]
    if not records:
        said = "The overhead of tracing was not measured: idle time is given as traced, and its cause is no verdict."
        return [said] if context.analysis.top_kernels else []
    return ["The overhead of tracing could not be told from noise."] if not any(r.get("ratio") for r in records) else []


def _overhead(context: Context) -> list[str]:
    """Return in words how much longer the work took under the profiler, for each capture that says so."""
    return [
        f"{capture.capture_id}: {overhead_line(capture.overhead)}."
        for capture in context.info.captures
        if capture.overhead
    ]
