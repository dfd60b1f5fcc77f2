"""The profiled kernels one by one.

In: the classified kernels. Out: a card each: verdict, counters, the rule's inputs, what is missing, what is suspect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsightkit.analysis.grouping import SUMMED
from nsightkit.analysis.results import ClassifiedKernel, Verdict
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Group, Items, Pairs, Section, Text
from nsightkit.report.context import BOUND_WORDS, MANY_KERNELS, NEEDS_COUNTERS, Context
from nsightkit.report.labels import metric_label, metric_text, metric_unit, sentence
from nsightkit.tables import COUNTER_COLUMNS

if TYPE_CHECKING:
    from nsightkit.analysis.advice import KernelAdvice
    from nsightkit.analysis.counters.timeline_weights import Weight

_MARKDOWN_CARDS = 24
_RULES_FEW, _RULES_MANY = 12, 1
_STATES_FEW, _STATES_MANY = 5, 1
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
    said = []
    if len(context.kernels) <= MANY_KERNELS:
        # Of many kernels this stands in the table of verdicts only.
        word = verdict.rule_verdict or "no word of its own"
        said.append(f"Rule {verdict.rule} (inputs: {verdict.tier}): {word}{margin}.")
    if inputs:
        summed = kernel.launch_count > 1 and any(name.endswith(("_ns", "_bytes", "flop")) for name in verdict.inputs)
        of_all = " (times, work and bytes are sums over its launches)" if summed else ""
        said.append(f"Decided by {inputs}{of_all}.")
    said += _missing(verdict)
    if verdict.limiter:
        said.append(f"Busiest unit: {verdict.limiter}.")
    story = context.analysis.story
    if story and index in story.limiters:
        said.append(f"Theoretical occupancy is limited by {story.limiters[index]}.")
    said += _places(context, index, kernel)
    suspects = kernel.point.flags if kernel.point else ()
    said += [f"Suspect: {flag}." for flag in suspects]
    said += [f"Note: {flag}." for flag in verdict.flags if flag not in suspects]
    said += _stalls(context, index)
    parts.append(Items(tuple(said), "note"))
    parts += _against_class(context, kernel)
    parts += _advice(context, index)
    if len(context.kernels) <= MANY_KERNELS:
        parts.append(Text(kernel.kernel_name, "signature"))
    subtitle = " · ".join(part for part in (kernel.family, kernel.library) if part)
    return Group(tuple(parts), kernel.friendly_name, "card", context.anchor(index), verdict.bound, subtitle)


def _missing(verdict: Verdict) -> list[str]:
    """Say what the rule lacked, apart from that what could not have changed its verdict, and what would collect it."""
    deciding = [metric_label(name) for name in verdict.missing if name not in verdict.immaterial]
    idle = [metric_label(name) for name in verdict.immaterial]
    said = []
    if deciding:
        said.append(f"Missing: {_some(deciding)}{f'; {verdict.remedy}' if verdict.remedy else ''}.")
    if idle:
        said.append(f"Not collected, and without effect on the verdict, as its pipe was idle: {_some(idle)}.")
    return said


def _stalls(context: Context, index: int) -> list[str]:
    """Say what a warp spent its cycles on between two instructions, the largest parts first."""
    states = context.analysis.story.stalls.get(index, ()) if context.analysis.story else ()
    if not states:
        return []
    from nsightkit.analysis.counters.stalls import MEANINGS

    few = len(context.kernels) <= MANY_KERNELS
    shown = [
        f"{fmt.share(state.share)} {MEANINGS.get(state.reason, state.reason)}" + (f" ({state.reason})" if few else "")
        for state in states[: _STATES_FEW if few else _STATES_MANY]
    ]
    cycles = sum(state.warps_per_issue for state in states)
    rest = "" if len(states) <= len(shown) else f"; {blocks.counted(len(states) - len(shown), 'further state')}"
    return [f"A warp takes {fmt.plain(cycles)} cycles from one instruction to the next: {', '.join(shown)}{rest}."]


def _weight_words(weight: Weight) -> str:
    """Say which launches of the timeline the profiled ones stand for, and how far the two executions differ."""
    said = (
        f"Stands for {blocks.counted(weight.launch_count, 'launch', 'launches')} of the timeline, "
        f"{fmt.duration(weight.total_ns)}, {fmt.share(weight.share)} of the kernel time "
        f"{f'in {fmt.printable(weight.range_name)}' if weight.range_name else 'of the run'} (match: {weight.match})"
    )
    if weight.duration_ratio is not None:
        said += f"; under ncu it took {fmt.plain(weight.duration_ratio)} times as long"
    return said + "".join(f"; {fmt.printable(flag)}" for flag in weight.flags) + "."


def _places(context: Context, index: int, kernel: ClassifiedKernel) -> list[str]:
    """Say where in the tree of ranges the timeline saw the kernel, and how many launches of it."""
    timed = context.timeline_of.get(kernel.kernel_name)
    weight = context.analysis.story.weights.get(index) if context.analysis.story else None
    if weight is not None:
        return [_weight_words(weight)]
    if timed is None:
        return []
    said = (
        f"In the timeline: {blocks.counted(timed.launch_count, 'launch', 'launches')}, {fmt.duration(timed.total_ns)}, "
        f"{fmt.share(timed.share)} of the kernel time"
    )
    phases = context.analysis.story.phases if context.analysis.story else None
    paths = phases.paths.get(timed.kernel_name, ()) if phases else ()
    return [said + "".join(f"; {fmt.share(share)} of it in {fmt.printable(path)}" for path, share in paths) + "."]


def _against_class(context: Context, kernel: ClassifiedKernel) -> list[Block]:
    """Set the kernel's counters beside the means of its class; of many kernels the tables of means are enough."""
    means = next((c for c in context.analysis.classes if c.bound == kernel.verdict.bound), None)
    if means is None or means.kernel_count < 2 or len(context.kernels) > MANY_KERNELS:
        return []
    known = kernel.counters | {"duration_ns": kernel.duration_ns}
    pairs = tuple(
        (metric_label(name), _beside(own, mean, metric_unit(name)))
        for name, mean in means.means.items()
        if mean is not None and (own := known.get(name)) is not None
    )
    title = f"Beside the mean of {fmt.count(means.kernel_count)} {BOUND_WORDS[means.bound]} kernels"
    return [Pairs(pairs, title)] if pairs else []


def _beside(own: float, mean: float, unit: str) -> Cell:
    words = f"{fmt.with_unit(own, unit)} (mean {fmt.with_unit(mean, unit)})"
    # No line break between a number and its unit.
    return Cell(words.replace(" ", "\u00a0"), f"{blocks.exact(own, unit)}, mean {blocks.exact(mean, unit)}")


def _advice(context: Context, index: int) -> list[Block]:
    """Quote NVIDIA's rules: global estimates first; none are added up."""
    said = context.analysis.story.advice.get(index, ()) if context.analysis.story else ()
    few = len(context.kernels) <= MANY_KERNELS
    shown = said[: _RULES_FEW if few else _RULES_MANY]
    if not shown:
        return []
    items = [_rule_words(advice, few) for advice in shown]
    if len(said) > len(shown):
        items.append(f"{blocks.counted(len(said) - len(shown), 'further rule')} not shown.")
    title = "NVIDIA's rules; global speed-ups are of the launch, local ones of a section, none add up"
    return [Group((Items(tuple(items)),), title, "fold")] if few else [Items(tuple(items), "note")]


def _rule_words(advice: KernelAdvice, full: bool) -> str:
    estimate = ""
    if advice.estimated_speedup_pct is not None and advice.speedup_kind:
        estimate = f" ({advice.speedup_kind.lower()} speed-up {fmt.percent(advice.estimated_speedup_pct)})"
    head = f"{advice.title or advice.rule}{estimate}"
    return f"{head}: {advice.message}" if full else f"NVIDIA: {head}"


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
    shown = [(name, value) for name in ordered if (value := known[name]) is not None and not _is_idle(name, value)]
    pairs = [_pair(name, value, kernel.launch_count) for name, value in shown]
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


def _pair(name: str, value: float, launch_count: int) -> tuple[str, Cell]:
    """Return a counter with its label, which says of several launches whether it is their mean or their sum."""
    of_several = ""
    if launch_count > 1 and name in SUMMED:
        of_several = " (mean)" if name == "duration_ns" else f" (sum of {fmt.count(launch_count)})"
    return f"{metric_label(name)}{of_several}", blocks.number(value, metric_unit(name))
