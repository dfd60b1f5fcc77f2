"""The profiled kernels one by one.

In: the classified kernels. Out: a card each: verdict, counters, the rule's inputs, what is missing, what is suspect.
"""

from __future__ import annotations

from nsightkit.analysis.results import ClassifiedKernel
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Group, Items, Pairs, Section, Text
from nsightkit.report.context import MANY_KERNELS, NEEDS_COUNTERS, Context
from nsightkit.report.labels import metric_label, metric_text, metric_unit, sentence
from nsightkit.tables import COUNTER_COLUMNS

_MARKDOWN_CARDS = 24
# Of many kernels, signatures stand among the full names only, and cards show these counters and the work done; the
# data of the page hold all of them.
_SHORT_CARD = (
    "duration_ns", "sm_clock_hz", "dram_bytes", "dram_bytes_per_s", "sm_throughput_pct", "memory_throughput_pct",
    "dram_throughput_pct", "l1_hit_rate_pct", "l2_hit_rate_pct", "achieved_occupancy_pct", "theoretical_occupancy_pct",
    "tensor_pipe_pct", "waves_per_sm", "registers_per_thread",
)  # fmt: skip


def build(context: Context) -> Section:
    """Return the cards of the profiled kernels, those with most time first."""
    if not context.kernels:
        return Section("kernels", "Kernels one by one", missing=NEEDS_COUNTERS)
    cards = tuple(_card(context, index, kernel) for index, kernel in context.kernels)
    parts: list[Block] = [Group(cards, layout="cards", markdown_limit=_MARKDOWN_CARDS)]
    if context.hidden_kernels:
        parts.append(Text(context.hidden_kernels, "note"))
    return Section("kernels", "Kernels one by one", tuple(parts))


def _card(context: Context, index: int, kernel: ClassifiedKernel) -> Group:
    parts: list[Block] = [
        Text(sentence(kernel)),
        Text(_launches(kernel), "note"),
        _counters(kernel, len(context.kernels)),
    ]
    verdict = kernel.verdict
    inputs = ", ".join(metric_text(name, value) for name, value in verdict.inputs.items())
    margin = "" if verdict.margin is None else f", margin {fmt.plain(verdict.margin)} {verdict.margin_unit}".rstrip()
    said = [f"Rule {verdict.rule} (inputs: {verdict.tier}): {verdict.rule_verdict or 'no word of its own'}{margin}."]
    if inputs:
        of_all = " (sums over its launches)" if kernel.launch_count > 1 else ""
        said.append(f"Decided by {inputs}{of_all}.")
    if verdict.missing:
        said.append(f"Missing: {_some([metric_label(name) for name in verdict.missing])}.")
    if verdict.limiter:
        said.append(f"Busiest unit: {verdict.limiter}.")
    suspects = kernel.point.flags if kernel.point else ()
    said += [f"Suspect: {flag}." for flag in suspects]
    said += [f"Note: {flag}." for flag in verdict.flags if flag not in suspects]
    parts.append(Items(tuple(said), "note"))
    if len(context.kernels) <= MANY_KERNELS:
        parts.append(Text(kernel.kernel_name, "signature"))
    subtitle = " · ".join(part for part in (kernel.family, kernel.library) if part)
    return Group(tuple(parts), kernel.friendly_name, "card", context.anchor(index), verdict.bound, subtitle)


def _launches(kernel: ClassifiedKernel) -> str:
    said = [blocks.counted(kernel.launch_count, "launch", "launches")]
    if kernel.failed_count:
        said.append(f"{fmt.count(kernel.failed_count)} of them could not be measured")
    said += [f"grid {kernel.grid}", f"block {kernel.block}"]
    if kernel.time_share is not None:
        said.append(f"{fmt.share(kernel.time_share)} of the profiled time")
    if kernel.nvtx_path:
        said.append(f"in {kernel.nvtx_path}")
    return " · ".join([*said, f"capture {kernel.capture_id}"])


def _counters(kernel: ClassifiedKernel, count: int) -> Pairs:
    known = kernel.counters | {"duration_ns": kernel.duration_ns}
    known = {name: value for name, value in known.items() if not name.startswith("peak_")}
    if count > MANY_KERNELS:
        known = {k: v for k, v in known.items() if k in _SHORT_CARD or k.endswith(("_flop", "_op"))}
    order = [column.name for column in COUNTER_COLUMNS]
    ordered = sorted(known, key=lambda name: order.index(name) if name in order else len(order))
    pairs = [_pair(name, value) for name in ordered if (value := known[name]) is not None and not _is_idle(name, value)]
    absent = [metric_label(name) for name in ordered if known[name] is None]
    if absent and len(absent) <= 6:
        pairs.append(("Not collected", Cell(", ".join(absent))))
    elif absent:
        pairs.append(("Not collected", Cell(f"{len(absent)} counters", ", ".join(absent))))
    return Pairs(tuple(pairs))


def _some(words: list[str]) -> str:
    return ", ".join(words) if len(words) <= 5 else f"{', '.join(words[:4])} and {len(words) - 4} more"


def _is_idle(name: str, value: float) -> bool:
    # A kernel uses one or two of the eleven dtypes; zeros of the others would hide them.
    return value == 0 and name.endswith(("_flop", "_op"))


def _pair(name: str, value: float) -> tuple[str, Cell]:
    unit = metric_unit(name)
    return metric_label(name), blocks.number(value, unit)
