"""The report of the study of cache variants.

In: `StudyInput` with the parts latency (variants over new tokens) and quality. Out: its sections.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nsightkit.analysis.foreign_results import Parts, Results
from nsightkit.analysis.studies.decode import fit_line, peaks_named, reference_peaks
from nsightkit.analysis.studies.variants import VariantRow, best_quality, capacities, intensities, variant_rows
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Figure, Section, Text
from nsightkit.report.studies.drawing import Axis, bars, lines, stacked_bars
from nsightkit.report.studies.headlines import listed
from nsightkit.report.studies.overhead import overhead_section
from nsightkit.report.studies.parts import (
    ARM_COLUMNS,
    StudyInput,
    arm_rows,
    change,
    flags_section,
    method_section,
    ms,
    table,
)
from nsightkit.report.studies.similarity import similarity_section
from nsightkit.report.studies.variant_figures import (
    by_arm,
    counted_words,
    latency_figures,
    memory_figures,
    roofline_figure,
    roofline_prompt,
    variant_figures,
)

# Memory that the capacity on paper is made for, where nobody measured one.
_MEMORY_BYTES = 24e9
_PART_NAMES = {"mlp": "Feed-forward (MLP)"}
# Text within this of no cache's perplexity is taken for as good. INT8 costs some hundredths of a percent, sharing
# layers tens of percent and more, so anything between 1 and 7 % would name the same variants.
_AS_GOOD = 0.05
_NO_TRITON = "v2t, INT8 with a fused Triton kernel, needs a GPU: the document size runs it there."
_OWN_QUALITY = (
    "Perplexity: the small language model that comes with nsightkit, on text that it never saw. Its size decides how "
    "much sharing hurts: large pretrained models suffer far more than this one."
)
_GIVEN_QUALITY = (
    "Perplexity: as the files state it; which weights and which text it was made with is not read from them."
)


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    results = _joined(study)
    rows = variant_rows(results)
    return [
        _overview(study, rows),
        _latency(study, results, rows),
        _memory(study, results, rows),
        _quality(study, results),
        similarity_section(study.parts.get("similarity") or Results()),
        _parts(study, results),
        _capacity(results),
        _pareto(study, rows),
        _roofline(results),
        overhead_section(study.traces),
        _each(study, results),
        flags_section(study),
        method_section(
            study,
            _method(study, results),
        ),
    ]


def _method(study: StudyInput, results: Results) -> tuple[str, ...]:
    """Return what holds of these data: of files that were given nothing is known but what they record."""
    if study.foreign:
        return (_GIVEN_QUALITY,) if results.quality else ()
    said = (_OWN_QUALITY,) if results.quality else ()
    return said if any(t.arm == "v2t" for t in results.timings) else (_NO_TRITON, *said)


def _joined(study: StudyInput) -> Results:
    latency, quality = study.results("latency"), study.results("quality")
    model = latency.model or next((t.model for t in latency.timings if t.model), None)
    return replace(latency, quality=quality.quality, model=model)


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
    """Name the fastest whose text stays as good, with all that its interval cannot be told from; then what is worse."""
    cached = [r for r in rows if r.timing.cached]
    if not cached:
        return "No variant with a cache was measured."
    judged = [r for r in cached if r.degradation is not None]
    sound = [r for r in judged if (r.degradation or 0.0) <= _AS_GOOD]
    if not judged:
        return f"With a cache {_fastest(cached)}. No perplexity was compared, so nothing is said of their text."
    if not sound:
        return f"No cache keeps the perplexity within {100 * _AS_GOOD:g} % of no cache's.{_worse(judged, None)}"
    fast = min(sound, key=lambda r: r.timing.decode_ms)
    lead = f"With a cache and a perplexity within {100 * _AS_GOOD:g} % of no cache's, {_fastest(sound)}."
    unjudged = [r.variant for r in cached if r.degradation is None]
    more = f" Perplexity not measured, so not ranked: {listed(unjudged)}." if unjudged else ""
    return lead + _worse([r for r in judged if r not in sound], fast) + more


def _fastest(rows: list[VariantRow]) -> str:
    fast = min(rows, key=lambda r: r.timing.decode_ms)
    alike = [r for r in rows if r is fast or _reaches(r, fast)]
    names = listed(sorted(r.variant for r in alike))
    if len(alike) == 1:
        said = f"{names} is the fastest ({fmt.duration(ms(fast.timing.ms_per_token))} a token)"
    elif len(alike) == len(rows):
        said = f"none is faster beyond the spread: {names} cannot be told apart"
    else:
        said = f"{names} are the fastest and cannot be told apart within their spread"
    held = [r for r in rows if r.kv_bytes is not None]
    if not held:
        return said
    least = min(r.kv_bytes or 0.0 for r in held)
    small = [r.variant for r in held if r.kv_bytes == least]
    return f"{said}; {listed(small)} {'keeps' if len(small) == 1 else 'keep'} the least ({fmt.bytes_(least)})"


def _reaches(row: VariantRow, fast: VariantRow) -> bool:
    one, other = row.timing.ci_ms, fast.timing.ci_ms
    return one is not None and other is not None and one[0] <= other[1]


def _worse(rows: list[VariantRow], fast: VariantRow | None) -> str:
    """Name the variants whose text is worse, those faster than the fastest of the others, beyond the spread, apart."""
    quicker = [r for r in rows if fast and r.timing.decode_ms < fast.timing.decode_ms and not _reaches(fast, r)]
    rest = [r for r in rows if r not in quicker]
    said = ""
    for found, words in ((quicker, "Faster, but with worse text"), (rest, "Worse text")):
        if found:
            named = [
                f"{r.variant} (perplexity {fmt.plain(r.perplexity)}, {change(r.degradation or 0.0)})" for r in found
            ]
            said += f" {words}: {', '.join(named)}."
    return said


def _latency(study: StudyInput, results: Results, rows: list[VariantRow]) -> Section:
    arms = by_arm(results.timings)
    timed = arm_rows(t for group in arms.values() for t in group)
    blocks: list[Block] = [
        *latency_figures(study, results, rows),
        table("latency-table", "Latency", ARM_COLUMNS, timed, study.scope),
    ]
    beyond = []
    for arm, group in arms.items():
        fit = fit_line([(float(t.new_tokens), ms(t.ms_per_token) or 0.0) for t in group])
        if fit:
            reach = 2 * group[-1].new_tokens
            beyond.append([arm, reach, fit.intercept + fit.slope * reach, fit.r_squared, len(group)])
    if beyond:
        columns = (("variant", "text"), ("new tokens", "count"), ("a token", "ns"), ("R²", ""), ("points", "count"))
        caption = "A straight line through the measured points, carried on: not measured."
        blocks.append(table("extrapolation-table", "Extrapolated to twice the longest", columns, beyond, caption))
    return Section("latency", "Latency and throughput", tuple(blocks))


def _each(study: StudyInput, results: Results) -> Section:
    drawn = variant_figures(study, results)
    return Section("each", "Each variant", tuple(drawn), "" if drawn else "No variant was timed.")


def _memory(study: StudyInput, results: Results, rows: list[VariantRow]) -> Section:
    return Section("bytes-kept", "Memory", tuple(memory_figures(study, results, rows)))


def _quality(study: StudyInput, results: Results) -> Section:
    best = best_quality(results.quality)
    if not best:
        return Section("quality", "Quality", missing="No perplexity was measured; the workload perplexity does that.")
    base = best.get("v0")
    rows: list[list[Any]] = [
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
    made = table("quality-table", "Perplexity", columns, rows, caption)
    return Section("quality", "Quality", (made, *_quality_bars(rows, caption)))


def _quality_bars(rows: list[list[Any]], caption: str) -> tuple[Figure, Figure]:
    above = [(row[0], row[2]) for row in rows]
    return (
        bars("perplexity", "Perplexity", [(row[0], row[1]) for row in rows], Axis("perplexity"), caption),
        bars("perplexity-degradation", "Perplexity above that of v0", above, Axis("above v0", "change"), caption),
    )


def _parts(study: StudyInput, results: Results) -> Section:
    parts = list(results.parts) or _own_parts(results)
    if not parts:
        return Section("parts", "Time by part", missing="No part of the model was timed.")
    names = [name for name, _ in parts[0].times_ms]
    columns = (("variant", "text"), ("new tokens", "count"), *((name, "ns") for name in names))
    rows = [[p.variant, p.positions, *(ms(p.ms(name)) for name in names)] for p in parts]
    caption = "Timed in one repetition of its own, slowed down by the timing; compare parts, not totals."
    drawn: list[Figure] = [
        bars(
            f"parts-{name}",
            _PART_NAMES.get(name, name.capitalize()),
            [(p.variant, ms(p.ms(name))) for p in parts],
            Axis(name, "ns"),
            caption,
        )
        for name in names
    ]
    whole = [(p.variant, [(name, value * 1e6) for name, value in p.times_ms]) for p in parts]
    drawn.append(stacked_bars("parts-stacked", "Whole time by part", whole, caption))
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
        return Section("users", "Capacity", missing="The results do not state the sizes of the model.")
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
    drawn = (
        bars("capacity", "Most sequences at once", [(r.variant, r.measured_users or r.paper_users) for r in found],
             Axis("sequences", "count"), "Measured where somebody did, else on paper."),
        bars("capacity-memory", "Memory at the most sequences", [(r.variant, r.full_bytes) for r in found],
             Axis("memory", "byte"), "Measured where somebody did, else weights and all caches, on paper."),
    )  # fmt: skip
    made = table("capacity-table", "Most concurrent users", columns, rows, caption)
    return Section("users", "Capacity", (made, *drawn))


def _pareto(study: StudyInput, rows: list[VariantRow]) -> Section:
    cached = [r for r in rows if r.kv_bytes is not None]
    points = [(r.variant, [(r.kv_bytes or 0.0, ms(r.timing.ms_per_token) or 0.0)]) for r in cached]
    drawn = lines(
        "pareto", "Memory against time", points, (Axis("KV cache", "byte"), Axis("a token", "ns")), study.scope
    )
    front = ", ".join(r.variant for r in rows if r.on_front) or "none"
    return Section(
        "front", "Pareto front", (Text(f"Nothing beats these in time, memory and quality at once: {front}."), drawn)
    )


def _roofline(results: Results) -> Section:
    if results.model is None:
        return Section("roofs", "Roofline of v0 and v1", missing="The results do not state the sizes of the model.")
    prompt = roofline_prompt(results)
    peaks = peaks_named(results.gpu, "bfloat16") or reference_peaks("bfloat16")
    rows = [
        [
            i.variant,
            i.phase,
            i.flop,
            i.moved_bytes,
            i.flop_per_byte,
            i.counted_flop,
            i.counted_flop / i.counted_bytes if i.counted_flop and i.counted_bytes else None,
            peaks.ridge_flop_per_byte,
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
        f"of one and the same GPU, {peaks.name}.{counted_words(results, prompt)}"
    )
    made: list[Block] = [table("roofline-table", "Work and traffic", columns, rows, caption)]
    drawn = roofline_figure(results, prompt)
    if drawn is not None:
        made.insert(0, drawn)
    return Section("roofs", "Roofline of v0 and v1", tuple(made))
