"""The report of the study of decode with and without a KV cache.

In: `StudyInput` with the part decode. Out: its sections.
"""

from __future__ import annotations

from nsightkit.analysis.foreign_results import Timing
from nsightkit.analysis.studies.decode import Pair, launch_counts, pairs_of
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Section, Text
from nsightkit.report.studies.drawing import Axis, lines
from nsightkit.report.studies.parts import ARM_COLUMNS, StudyInput, arm_rows, flags_section, method_section, ms, table


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    timings = list(study.results("decode").timings)
    pairs = pairs_of(timings)
    return [
        _overview(study, pairs, timings),
        Section("pairs", "Speed-up", tuple(_pair_blocks(study, pairs))),
        _accounting(study, timings),
        _launches(study, timings),
        flags_section(study),
        method_section(
            study,
            (
                "Both arms run one model in one dtype, time the same thing, and time the prompt's forward pass apart.",
                "A rate is given for one sequence and for all sequences together; neither stands for the other.",
                "Kernels, their durations and their counters come from nsys and ncu, two separate executions: their "
                "numbers are never divided by one another without saying so. This report holds neither.",
            ),
        ),
    ]


def _overview(study: StudyInput, pairs: list[Pair], timings: list[Timing]) -> Section:
    if not pairs:
        lead = "No pair of arms that differ in the cache alone was measured."
    else:
        best = max(pairs, key=lambda pair: pair.speedup)
        lead = (
            f"A KV cache decodes {fmt.plain(best.speedup)} times faster at batch {best.on.batch} and a prompt of "
            f"{best.on.prompt}: {fmt.duration(ms(best.on.ms_per_token))} a token against "
            f"{fmt.duration(ms(best.off.ms_per_token))}."
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
    series = [
        (
            f"batch {batch}, {tokens} tokens",
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
    ("steps × median step", "ns"),
    ("prefill + steps", "ns"),
    ("measured decode", "ns"),
    ("decode ÷ steps", "x"),
)


def _accounting(study: StudyInput, timings: list[Timing]) -> Section:
    rows = [_account(t, t.step_percentiles_ms[0]) for t in timings if t.step_percentiles_ms is not None]
    if not rows:
        missing = (
            "The results hold no time of single steps, so the total cannot be told apart into prefill and steps. The "
            "workload kv_decode records both."
        )
        return Section("accounting", "Accounting", missing=missing)
    caption = "A step is timed inside the decode: the last column is 1.00 where nothing is hidden in the total."
    listed = table("account", "Prefill, steps and the total", _ACCOUNT_COLUMNS, rows, caption)
    return Section("accounting", "Accounting", (listed,))


def _account(t: Timing, step_ms: float) -> list[object]:
    steps, first = step_ms * t.new_tokens, t.prefill_ms
    both = None if first is None else first + steps
    return [
        t.arm,
        t.batch,
        t.prompt,
        t.new_tokens,
        ms(first),
        ms(steps),
        ms(both),
        ms(t.decode_ms),
        t.decode_ms / steps,
    ]


def _launches(study: StudyInput, timings: list[Timing]) -> Section:
    known = next((t for t in timings if t.model is not None), None)
    if known is None or known.model is None:
        return Section("launches", "Launch counts", missing="The results do not state the layers of the model.")
    layers = int(study.settings.get("traced_layers", known.model.layers))
    tokens = int(study.settings.get("traced_tokens", known.new_tokens))
    rows = [
        [c.what, c.formula, c.expected, c.counted, _verdict(c.expected, c.counted)]
        for c in launch_counts(layers, tokens, study.counted)
    ]
    said = f"L = {layers} layers, N = {tokens} steps. " + (
        "Counted: operator calls of one run under torch.profiler."
        if study.counted
        else "Nothing was traced here, so there is nothing to check them against."
    )
    columns = (
        ("what", "text"),
        ("closed form", "text"),
        ("expected", "count"),
        ("counted", "count"),
        ("check", "text"),
    )
    return Section("launches", "Launch counts", (table("counts", "Closed forms", columns, rows, said),))


def _verdict(expected: int, counted: int | None) -> str:
    if counted is None:
        return "not counted"
    return "equal" if counted == expected else f"differs by {counted - expected}"
