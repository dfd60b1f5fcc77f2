"""The report of the study of decode with and without a KV cache.

In: `StudyInput` with the part decode and traces of both arms. Out: its sections.
"""

from __future__ import annotations

from nsightkit.analysis.foreign_results import DECODE_ALONE, Timing
from nsightkit.analysis.studies.decode import Pair, pairs_of
from nsightkit.analysis.unfairness import fixed_costs
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Section, Text
from nsightkit.report.studies.drawing import Axis, lines
from nsightkit.report.studies.headlines import range_of, reservation, times_faster
from nsightkit.report.studies.parts import ARM_COLUMNS, StudyInput, arm_rows, flags_section, method_section, ms, table
from nsightkit.report.studies.traces import counts_section, gemm_section, mix_section, tools_section

_ONE_MODEL = "Both arms run one model in one dtype, time the same thing, and time the prompt's forward pass apart."

_TOOLS = (
    "Kernels and their counts come from a timeline, what one launch does from counters: two executions, whose numbers "
    "are never divided by one another here."
)
_UNTRACED = "The timings above come from runs without any profiler."


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    timings = list(study.results("decode").timings)
    pairs = pairs_of(timings)
    return [
        _overview(study, pairs, timings),
        Section("pairs", "Speed-up", tuple(_pair_blocks(study, pairs))),
        _accounting(study, timings),
        tools_section(study.traces),
        mix_section(study.traces),
        _counts(study, timings),
        gemm_section(study.traces),
        flags_section(study),
        method_section(
            study,
            (
                *(() if study.foreign else (_ONE_MODEL,)),
                "A rate is given for one sequence and for all sequences together; neither stands for the other.",
                *((_TOOLS,) if study.traces else ()),
                *((_UNTRACED,) if study.traces and not study.foreign else ()),
                *_prefill_notes(timings),
            ),
        ),
    ]


def _overview(study: StudyInput, pairs: list[Pair], timings: list[Timing]) -> Section:
    if not pairs:
        lead = "No pair of arms that differ in the cache alone was measured."
    else:
        best = max(pairs, key=lambda pair: pair.speedup)
        lead = (
            f"A KV cache decodes {times_faster(best)} at batch {best.on.batch} and a prompt of "
            f"{best.on.prompt}: {fmt.duration(ms(best.on.ms_per_token))} a token against "
            f"{fmt.duration(ms(best.off.ms_per_token))}.{range_of(pairs)}{reservation(best)}"
        )
    rows = sorted(timings, key=lambda t: (t.prompt, t.batch, t.new_tokens, not t.cached))
    parts: list[Block] = [
        Text(lead, "lead"),
        Text(study.question),
        table("arms", "Every arm", ARM_COLUMNS, arm_rows(rows), study.scope),
    ]
    return Section("overview", "Overview", tuple(parts))


def _pair_blocks(study: StudyInput, pairs: list[Pair]) -> list[Block]:
    columns = (
        ("batch", "count"),
        ("prompt", "count"),
        ("new tokens", "count"),
        ("without", "ns"),
        ("with", "ns"),
        ("decode speed-up", "x"),
        ("with prefill in both", "x"),
    )
    rows = [
        [p.on.batch, p.on.prompt, p.on.new_tokens, ms(p.off.decode_ms), ms(p.on.decode_ms), p.speedup, p.with_prefill]
        for p in pairs
    ]
    blocks: list[Block] = [table("speedups", "Pairs that differ in the cache alone", columns, rows, study.scope)]
    several = len({p.on.new_tokens for p in pairs}) > 1
    series = [
        (
            f"batch {batch}, {tokens} tokens" if several else f"batch {batch}",
            [(float(p.on.prompt), p.speedup) for p in pairs if (p.on.batch, p.on.new_tokens) == (batch, tokens)],
        )
        for batch, tokens in sorted({(p.on.batch, p.on.new_tokens) for p in pairs})
    ]
    if any(len(points) > 1 for _, points in series):
        blocks.append(
            lines(
                "speedup",
                "Speed-up by prompt",
                series,
                (Axis("prompt [tokens]", "count", True), Axis("speed-up")),
                study.scope,
            )
        )
    return blocks


_ACCOUNT_COLUMNS = (
    ("arm", "text"),
    ("batch", "count"),
    ("prompt", "count"),
    ("new tokens", "count"),
    ("prefill", "ns"),
    ("sum of the steps", "ns"),
    ("prefill + steps", "ns"),
    ("measured decode", "ns"),
    ("decode ÷ steps", "x"),
    ("mean step", "ns"),
    ("median step", "ns"),
)
_ACCOUNT_CAPTION = (
    "Steps are timed one by one inside the measured decode, prefill before it: decode ÷ steps is 1.00 where nothing is "
    "hidden in the total. A mean far above the median is a few long steps, not a cost outside them."
)


def _accounting(study: StudyInput, timings: list[Timing]) -> Section:
    rows = [_account(t, t.steps_ms) for t in timings if t.steps_ms is not None]
    if not rows:
        missing = (
            "The results hold no time of single steps, so the total cannot be told apart into prefill and steps. The "
            "workload kv_decode records both."
        )
        return Section("accounting", "Accounting", missing=missing)
    listed = table("account", "Prefill, steps and the total", _ACCOUNT_COLUMNS, rows, _ACCOUNT_CAPTION)
    return Section("accounting", "Accounting", (listed,))


def _account(t: Timing, steps_ms: float) -> list[object]:
    first = t.prefill_ms
    return [
        t.arm,
        t.batch,
        t.prompt,
        t.new_tokens,
        ms(first),
        ms(steps_ms),
        ms(None if first is None else first + steps_ms),
        ms(t.decode_ms),
        t.decode_ms / steps_ms,
        ms(steps_ms / t.new_tokens),
        ms(t.step_percentiles_ms[0]) if t.step_percentiles_ms else None,
    ]


def _counts(study: StudyInput, timings: list[Timing]) -> Section:
    known = next((t for t in timings if t.model is not None), None)
    layers = known.model.layers if known is not None and known.model is not None else None
    return counts_section(study.traces, layers, known.new_tokens if known is not None else None)


def _prefill_notes(timings: list[Timing]) -> list[str]:
    """Say what is known of a decode time that may hold the prompt's pass."""
    if all(t.scope == DECODE_ALONE for t in timings):
        return []
    said = [
        "These files do not record whether their decode time holds the prompt's pass, so no prefill is added to it: "
        "the column with prefill in both stays empty."
    ]
    prefills = {(t.batch, t.prompt): t.prefill_ms for t in timings if t.cached and t.prefill_ms is not None}
    for cost in fixed_costs(timings):
        first = prefills.get((cost.short.batch, cost.short.prompt))
        if first is not None and cost.fixed_ms >= first:
            said.append(
                f"{cost.short.arm}, batch {cost.short.batch}, prompt {cost.short.prompt}: solved from "
                f"{cost.short.new_tokens} and {cost.long.new_tokens} tokens, {cost.fixed_ms:.0f} ms of decode happen "
                f"once; the file times a prefill at {first:.0f} ms. So this decode holds a prefill, or more than that."
            )
    return said
