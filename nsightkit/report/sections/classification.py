"""What bounds the kernels: how many, how much of the time, by which rule.

In: classes and classified kernels. Out: counts beside shares of GPU time, means per class, and the rows they come from.
"""

from __future__ import annotations

from collections import Counter

from nsightkit.analysis.results import ClassifiedKernel, ClassSummary
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Cell, Column, DataTable, Section, Text
from nsightkit.report.context import BOUND_WORDS, NEEDS_COUNTERS, Context
from nsightkit.report.labels import metric_label, metric_unit

_ORDER = ("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN", "OVERALL")
_ROW_COLUMNS = (
    Column("friendly_name", "Kernel"),
    Column("bound", "Bound", kind="bound"),
    Column("time_share", "Time share", "1", "share"),
    Column("duration_ns", "Mean duration", "ns", "number"),
    Column("rule", "Rule"),
    Column("tier", "Inputs"),
    Column("rule_verdict", "The rule's word"),
    Column("margin", "Margin", "", "number"),
)


def build(context: Context) -> Section:
    """Return counts, means and rows of the classification."""
    if not context.analysis.kernels:
        return Section("classification", "Classification", missing=NEEDS_COUNTERS)
    # The means of one kernel are its values, which stand on its card.
    means = (_means(context),) if len(context.analysis.kernels) > 1 else ()
    parts = (Text(_rule_words(context)), _counts(context), *means, _rows(context))
    return Section("classification", "Classification", parts)


def _rule_words(context: Context) -> str:
    analysis = context.analysis
    used = Counter((k.verdict.rule, k.verdict.tier) for k in analysis.kernels)
    spread = ", ".join(f"{rule} (inputs: {tier}) on {fmt.count(n)}" for (rule, tier), n in used.most_common())
    margin = f" Margin of sol-gap: {fmt.plain(analysis.margin)} points." if "sol-gap" in spread else ""
    return (
        f"Rule asked for: {analysis.rule}. Used: {spread} of {fmt.count(len(analysis.kernels))} profiled kernels."
        f"{margin} The method section states each rule."
    )


def _ordered(context: Context) -> list[ClassSummary]:
    by_bound = {c.bound: c for c in context.analysis.classes}
    return [by_bound[bound] for bound in _ORDER if bound in by_bound]


def _counts(context: Context) -> DataTable:
    columns = (Column("bound", "Bound", kind="bound"), Column("kernel_count", "Kernels", "count", "number"),
               Column("count_share", "Share of kernels", "1", "share"),
               Column("total_ns", "GPU time", "ns", "number"),
               Column("time_share", "Share of GPU time", "1", "share"))  # fmt: skip
    rows = tuple(
        (Cell(c.bound), blocks.number(c.kernel_count, "count"), blocks.share(c.count_share),
         blocks.number(c.total_ns, "ns"), blocks.share(c.time_share))
        for c in _ordered(context)
    )  # fmt: skip
    caption = f"GPU time is that of the profiled launches, at the clocks of that capture. {context.counter_scope}."
    return DataTable("class-counts", "Kernels and GPU time by bound", columns, rows, caption)


def _means(context: Context) -> DataTable:
    classes = [c for c in _ordered(context) if c.kernel_count]
    metrics = list(dict.fromkeys(name for c in classes for name in c.means))
    columns = (Column("metric", "Mean over kernels"),
               *(Column(c.bound, _class_word(c.bound), "", "number") for c in classes))  # fmt: skip
    rows = tuple(
        (Cell(metric_label(name)), *(blocks.number(c.means.get(name), metric_unit(name)) for c in classes))
        for name in metrics
    )
    caption = (
        "Unweighted means over the kernels of a class, one value a kernel; a kernel without the counter is left out. "
        f"{context.counter_scope}."
    )
    return DataTable("class-means", "Means by class", columns, rows, caption)


def _class_word(bound: str) -> str:
    return "Overall" if bound == "OVERALL" else BOUND_WORDS[bound].capitalize()


def _rows(context: Context) -> DataTable:
    rows = tuple(_row(context, index, kernel) for index, kernel in context.kernels)
    caption = (
        "One row: launches of one kernel with equal capture, grid and block. Margin is the distance from "
        f"another bound by the same rule; more is surer. {context.counter_scope}."
    )
    return DataTable("verdicts", "Verdict of each kernel", _ROW_COLUMNS, rows, caption, context.hidden_kernels)


def _row(context: Context, index: int, kernel: ClassifiedKernel) -> tuple[Cell, ...]:
    verdict = kernel.verdict
    margin = Cell(fmt.MISSING, "the rule has no threshold for it")
    if verdict.margin is not None:
        margin = Cell(f"{fmt.plain(verdict.margin)} {verdict.margin_unit}".rstrip(), blocks.exact(verdict.margin))
    return (
        blocks.text(kernel.friendly_name, context.href(index), (kernel.library,)),
        Cell(verdict.bound),
        blocks.share(kernel.time_share),
        blocks.number(kernel.duration_ns, "ns", "the profiler could not measure it"),
        blocks.text(verdict.rule),
        blocks.text(verdict.tier),
        blocks.text(verdict.rule_verdict),
        margin,
    )
