"""The report of the study of cache variants.

In: `StudyInput` with the parts latency (variants over new tokens) and quality. Out: its sections.
"""

from __future__ import annotations

from nsightkit.analysis.foreign_results import Parts, Results, Timing
from nsightkit.analysis.studies.decode import fit_line, peaks_named
from nsightkit.analysis.studies.variants import VariantRow, best_quality, capacities, intensities, variant_rows
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Figure, Section, Text
from nsightkit.report.studies.drawing import Axis, bars, lines, stacked
from nsightkit.report.studies.parts import ARM_COLUMNS, StudyInput, arm_rows, flags_section, method_section, ms, table

# Memory that the capacity on paper is made for, where nobody measured one.
_MEMORY_BYTES = 24e9


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    results = _joined(study)
    rows = variant_rows(results)
    return [
        _overview(study, rows),
        _latency(study, results),
        _memory(study, rows),
        _quality(study, results),
        _parts(study, results),
        _capacity(results),
        _pareto(study, rows),
        _roofline(results),
        flags_section(study),
        method_section(
            study,
            (
                "v2t, INT8 with a fused Triton kernel, is untested: it is not written.",
                "Perplexity: the small language model that comes with nsightkit, on text that it never saw. Its size "
                "decides how much sharing hurts: large pretrained models suffer far more than this one.",
            ),
        ),
    ]


def _joined(study: StudyInput) -> Results:
    latency, quality = study.results("latency"), study.results("quality")
    model = latency.model or next((t.model for t in latency.timings if t.model), None)
    return Results(
        latency.timings,
        latency.counted,
        latency.users,
        quality.quality,
        latency.parts,
        model,
        latency.gpu,
        latency.prompt,
    )


def _overview(study: StudyInput, rows: list[VariantRow]) -> Section:
    columns = (
        ("variant", "text"),
        ("new tokens", "count"),
        ("a token", "ns"),
        ("tokens/s in all", ""),
        ("against v0", "x"),
        ("KV cache", "byte"),
        ("perplexity", ""),
        ("against v0's", "change"),
        ("nothing beats it", "text"),
    )
    made = [
        [
            r.variant,
            r.timing.new_tokens,
            ms(r.timing.ms_per_token),
            r.timing.tokens_per_s_aggregate,
            r.speedup,
            r.kv_bytes,
            r.perplexity,
            r.degradation,
            "yes" if r.on_front else "",
        ]
        for r in rows
    ]
    return Section(
        "overview",
        "Overview",
        (Text(_lead(rows), "lead"), Text(study.question), table("variants", "Variants", columns, made, study.scope)),
    )


def _lead(rows: list[VariantRow]) -> str:
    """Name the fastest with a cache, or all whose intervals reach its interval: these cannot be told apart."""
    cached = [r for r in rows if r.timing.cached]
    if not cached:
        return "No variant with a cache was measured."
    fast = min(cached, key=lambda r: r.timing.decode_ms)
    alike = [fast.variant]
    if fast.timing.ci_ms:
        reach = fast.timing.ci_ms[1]
        alike += [r.variant for r in cached if r is not fast and r.timing.ci_ms and r.timing.ci_ms[0] <= reach]
    least = min(r.kv_bytes or 0.0 for r in cached)
    small = [r.variant for r in cached if (r.kv_bytes or 0.0) == least]
    said = " and ".join(sorted(alike)) + (
        " is the fastest" if len(alike) == 1 else " are the fastest, within their spread"
    )
    keeps = " and ".join(small) + (" keeps" if len(small) == 1 else " keep")
    return f"With a cache {said}; {keeps} the least ({fmt.bytes_(least)})."


def _by_arm(timings: tuple[Timing, ...]) -> dict[str, list[Timing]]:
    return {
        arm: sorted((t for t in timings if t.arm == arm), key=lambda t: t.new_tokens)
        for arm in sorted({t.arm for t in timings})
    }


def _latency(study: StudyInput, results: Results) -> Section:
    arms = _by_arm(results.timings)
    tokens = Axis("new tokens", "count", True)
    series = [(arm, [(float(t.new_tokens), ms(t.ms_per_token) or 0.0) for t in group]) for arm, group in arms.items()]
    totals = [(arm, [(float(t.new_tokens), ms(t.decode_ms) or 0.0) for t in group]) for arm, group in arms.items()]
    blocks: list[Block] = [
        table(
            "latency-table", "Latency", ARM_COLUMNS, arm_rows(t for group in arms.values() for t in group), study.scope
        ),
        lines("latency-token", "Time of a token", series, (tokens, Axis("a token", "ns")), study.scope),
        lines("latency-total", "Time of all new tokens", totals, (tokens, Axis("decode", "ns", True)), study.scope),
    ]
    rows = []
    for arm, group in arms.items():
        fit = fit_line([(float(t.new_tokens), ms(t.ms_per_token) or 0.0) for t in group])
        if fit:
            reach = 2 * group[-1].new_tokens
            rows.append([arm, reach, fit.intercept + fit.slope * reach, fit.r_squared, len(group)])
    if rows:
        columns = (("variant", "text"), ("new tokens", "count"), ("a token", "ns"), ("R²", "1"), ("points", "count"))
        blocks.append(
            table(
                "extrapolation",
                "Extrapolated to twice the longest",
                columns,
                rows,
                "A straight line through the measured points, carried on: not measured.",
            )
        )
    return Section("latency", "Latency", tuple(blocks))


def _memory(study: StudyInput, rows: list[VariantRow]) -> Section:
    values = [(r.variant, r.kv_bytes) for r in rows if r.timing.cached]
    drawn = bars("memory", "Bytes in the cache", values, Axis("KV cache", "byte"), study.scope)
    return Section("memory", "Memory", (drawn,))


def _quality(study: StudyInput, results: Results) -> Section:
    best = best_quality(results.quality)
    if not best:
        return Section("quality", "Quality", missing="No perplexity was measured; the workload perplexity does that.")
    base = best.get("v0")
    rows = [
        [
            q.variant,
            q.perplexity,
            q.perplexity / base.perplexity - 1 if base else None,
            q.loss,
            q.standard_error,
            q.tokens,
        ]
        for q in sorted(best.values(), key=lambda q: q.variant)
    ]
    columns = (
        ("variant", "text"),
        ("perplexity", ""),
        ("against v0", "change"),
        ("loss", ""),
        ("± between windows", ""),
        ("tokens", "count"),
    )
    counts = sorted({q.tokens for q in results.quality})
    caption = "Rows of one count of tokens: others are never mixed in."
    if len(counts) > 1:
        caption += f" The results hold rows for {', '.join(map(fmt.count, counts))} tokens."
    drawn = bars(
        "perplexity",
        "Perplexity",
        [(q.variant, q.perplexity) for q in sorted(best.values(), key=lambda q: q.variant)],
        Axis("perplexity"),
        caption,
    )
    return Section("quality", "Quality", (table("quality-table", "Perplexity", columns, rows, caption), drawn))


def _parts(study: StudyInput, results: Results) -> Section:
    parts = list(results.parts) or _own_parts(results)
    if not parts:
        return Section("parts", "Time by part", missing="No part of the model was timed.")
    names = [name for name, _ in parts[0].times_ms]
    columns = (("variant", "text"), ("new tokens", "count"), *((name, "ns") for name in names))
    rows = [[p.variant, p.positions, *(ms(p.ms(name)) for name in names)] for p in parts]
    caption = "Timed in one repetition of its own, slowed down by the timing; compare parts, not totals."
    drawn: list[Figure] = [
        stacked(
            f"parts-{p.variant}", f"{p.variant}: whole time by part", [(n, v * 1e6) for n, v in p.times_ms], caption
        )
        for p in parts
    ]
    drawn.append(
        bars(
            "parts-attention",
            "Attention",
            [(p.variant, ms(p.ms("attention"))) for p in parts],
            Axis("attention", "ns"),
            caption,
        )
    )
    found: list[Block] = [table("parts-table", "Time by part", columns, rows, caption), *drawn]
    return Section("parts", "Time by part", tuple(found))


def _own_parts(results: Results) -> list[Parts]:
    longest = max((t.new_tokens for t in results.timings), default=0)
    return [
        Parts(t.arm, t.new_tokens, t.parts_ms)
        for t in sorted(results.timings, key=lambda t: t.arm)
        if t.parts_ms and t.new_tokens == longest
    ]


def _capacity(results: Results) -> Section:
    if results.model is None:
        return Section("capacity", "Capacity", missing="The results do not state the sizes of the model.")
    measured = [u.peak_bytes for u in results.users if u.peak_bytes and u.variant == "v1"]
    memory = measured[0] if measured else _MEMORY_BYTES
    positions = results.model.learned_positions or 1024
    dtype = next((t.dtype for t in results.timings if t.dtype), None) or "bfloat16"
    found = capacities(results.model, dtype, positions, memory, results)
    columns = (
        ("variant", "text"),
        ("positions a sequence", "count"),
        ("on paper", "count"),
        ("measured", "count"),
        ("against v1", "x"),
    )
    rows = [[r.variant, r.positions, r.paper_users, r.measured_users, r.against_v1] for r in found]
    caption = (
        f"Sequences beside the weights in {fmt.bytes_(memory)}, with {positions} positions reserved for each. No cache "
        "needs no room for one and holds more sequences than any: it is left out of the comparison."
    )
    no_cache = next((u.users for u in results.users if u.variant == "v0"), None)
    if no_cache:
        caption += f" Measured for v0: {fmt.count(no_cache)}."
    return Section("capacity", "Capacity", (table("capacity-table", "Most concurrent users", columns, rows, caption),))


def _pareto(study: StudyInput, rows: list[VariantRow]) -> Section:
    cached = [r for r in rows if r.kv_bytes is not None]
    points = [(r.variant, [(r.kv_bytes or 0.0, ms(r.timing.ms_per_token) or 0.0)]) for r in cached]
    drawn = lines(
        "pareto", "Memory against time", points, (Axis("KV cache", "byte"), Axis("a token", "ns")), study.scope
    )
    front = ", ".join(r.variant for r in rows if r.on_front) or "none"
    return Section(
        "pareto", "Pareto front", (Text(f"Nothing beats these in time, memory and quality at once: {front}."), drawn)
    )


def _roofline(results: Results) -> Section:
    if results.model is None:
        return Section("roofline", "Roofline of v0 and v1", missing="The results do not state the sizes of the model.")
    prompt = results.prompt or next((t.prompt for t in results.timings), 1)
    peaks = peaks_named(results.gpu, "bfloat16")
    rows = [
        [
            i.variant,
            i.phase,
            i.flop,
            i.moved_bytes,
            i.flop_per_byte,
            i.counted_flop,
            i.counted_flop / i.counted_bytes if i.counted_flop and i.counted_bytes else None,
            peaks.ridge_flop_per_byte if peaks else None,
        ]
        for i in intensities(results.model, "bfloat16", prompt, results)
    ]
    columns = (
        ("variant", "text"),
        ("phase", "text"),
        ("FLOP", "flop"),
        ("bytes", "byte"),
        ("intensity", "flop/byte"),
        ("counted FLOP", "flop"),
        ("counted intensity", "flop/byte"),
        ("ridge point", "flop/byte"),
    )
    caption = (
        f"On paper for a prompt of {prompt}, bfloat16, all matrix products counted, whichever unit runs them. Counted: "
        "as the results say, which may lack tensor instructions (see Fairness). Ridge point: tensor peak and bandwidth "
        "of one and the same GPU."
    )
    return Section(
        "roofline", "Roofline of v0 and v1", (table("roofline-table", "Work and traffic", columns, rows, caption),)
    )
