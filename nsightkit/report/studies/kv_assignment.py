"""The report of the study that derives and measures the footprint of a KV cache.

In: `StudyInput` with the parts cache, batching and sequence. Out: its sections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nsightkit.analysis.foreign_results import Timing
from nsightkit.analysis.studies.decode import fit_line, pairs_of, peaks_named
from nsightkit.analysis.unfairness import without_first
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Figure, Section, Text
from nsightkit.report.studies.drawing import Axis, lines
from nsightkit.report.studies.headlines import reservation, times_faster
from nsightkit.report.studies.parts import StudyInput, flags_section, method_section, ms, table

# Bytes follow from the shape, so what differs by more than this is no rounding.
_EXACT = 0.001
_NONE = "No run over {} ended; what failed stands under Method."


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    sequence = sorted(study.results("sequence").timings, key=lambda t: t.prompt)
    return [
        _overview(study, sequence),
        _footprint(study, sequence),
        _intensity(study),
        _on_and_off(study),
        _batching(study),
        _scaling(study, sequence),
        flags_section(study),
        method_section(
            study,
            (
                "A first repetition that took over 1.5 times the median of the others is left out of the "
                "means and named under Fairness: a cold start is not what a cache costs.",
            ),
        ),
    ]


def _overview(study: StudyInput, sequence: Sequence[Timing]) -> Section:
    pairs = pairs_of(study.results("cache").timings)
    if not sequence:
        return Section(
            "overview", "Overview", (Text("No run over sequence lengths ended.", "lead"), Text(study.question))
        )
    model = next((t.model for t in sequence if t.model), None)
    per_token = paper.kv_position_bytes(model, _work(sequence[0])) if model else None
    said = f"One token takes {fmt.bytes_(per_token)} in the cache of this model"
    if pairs:
        said += f"; with the cache (v1), decode is {times_faster(pairs[0])} than without (v0)"
    said += "." + (reservation(pairs[0]) if pairs else "")
    return Section("overview", "Overview", (Text(said, "lead"), Text(study.question)))


def _work(t: Timing) -> paper.Work:
    return paper.Work(t.batch, t.prompt, t.new_tokens, True, t.dtype or "bfloat16")


def _footprint(study: StudyInput, sequence: Sequence[Timing]) -> Section:
    if not sequence:
        return Section("footprint", "Footprint", missing=_NONE.format("sequence lengths"))
    rows = []
    for t in sequence:
        if t.model is None:
            continue
        positions = t.prompt + t.new_tokens
        derived = paper.kv_bytes(t.model, _work(t), positions)
        rows.append([positions, t.batch, derived, t.kv_bytes, None if t.kv_bytes is None else t.kv_bytes / derived])
    columns = (
        ("positions", "count"),
        ("batch", "count"),
        ("derived", "byte"),
        ("measured", "byte"),
        ("measured ÷ derived", "x"),
    )
    caption = (
        "Derived: " + paper.FORMULAS["kv_bytes"] + ". Measured: bytes of the tensors' used part after the run, "
        "summed by the workload; a correlation between the two would be 1 by construction and is not shown."
    )
    made: list[Block] = [table("footprint-table", "Bytes of the cache", columns, rows, caption)]
    apart = [f"{row[0]}" for row in rows if row[4] is not None and abs(row[4] - 1) > _EXACT]
    if apart:
        made.append(
            Text(
                f"Measured and derived bytes differ at {', '.join(apart)} positions: values have another width, "
                "or elements were counted for bytes."
            )
        )
    known = next((t for t in sequence if t.model is not None), None)
    if known is not None and known.model is not None:
        made.insert(0, _derivation(known.model, known.dtype or "bfloat16"))
    return Section("footprint", "Footprint", tuple(made))


def _derivation(model: ModelShape, dtype: str) -> Block:
    """Return the footprint step by step: a value, a layer, a token, and 512 tokens."""
    work = paper.Work(dtype=dtype)
    layer = 2 * model.kv_heads * model.head_width
    token = paper.kv_position_bytes(model, work)
    rows: list[list[object]] = [
        ["values a layer and token", f"2 (keys, values) × {model.kv_heads} heads × {model.head_width}", layer, None],
        ["bytes a layer and token", f"{layer} × {work.value_bytes:g} bytes ({dtype})", None, layer * work.value_bytes],
        ["bytes a token", f"{model.kv_layers} layers × that", None, token],
        ["bytes of 512 tokens", "512 × that, all layers", None, 512 * token],
    ]
    columns = (("what", "text"), ("how", "text"), ("values", "count"), ("bytes", "byte"))
    return table("derivation", "Derived step by step, one sequence", columns, rows, "No constant is left out: a layer "
                 "and all layers are told apart.")  # fmt: skip


def _intensity(study: StudyInput) -> Section:
    if not study.results("cache").timings:
        return Section("intensity", "Intensity", missing=_NONE.format("the cache on and off"))
    rows = []
    for t in study.results("cache").timings:
        if t.model is None or t.dtype not in paper.DTYPES:
            continue
        work = paper.Work(t.batch, t.prompt, t.new_tokens, bool(t.cached), t.dtype)
        cost, peaks = paper.decode_cost(t.model, work), peaks_named(t.gpu, t.dtype)
        rows.append(
            [
                t.arm,
                cost.flop / t.new_tokens,
                cost.moved_bytes / t.new_tokens,
                cost.flop_per_byte,
                peaks.ridge_flop_per_byte if peaks else None,
            ]
        )
    columns = (
        ("arm", "text"),
        ("FLOP a token", "flop"),
        ("bytes a token", "byte"),
        ("intensity", "flop/byte"),
        ("ridge point", "flop/byte"),
    )
    caption = (
        "Paper model: a multiply and an add are two FLOP, the cache is counted in bytes. No ridge point where the "
        "table of GPUs lacks the device."
    )
    return Section("intensity", "Intensity", (table("intensity-table", "Decode on paper", columns, rows, caption),))


def _on_and_off(study: StudyInput) -> Section:
    if not study.results("cache").timings:
        return Section("cache", "Cache on and off", missing=_NONE.format("the cache on and off"))
    rows = []
    for t in study.results("cache").timings:
        kept = without_first(t)
        mean = sum(kept) / len(kept) if kept else t.decode_ms
        rows.append(
            [
                t.arm,
                t.prompt,
                t.new_tokens,
                ms(t.samples_ms[0] if t.samples_ms else None),
                ms(mean),
                1e3 * t.new_tokens / mean,
                len(t.samples_ms) - len(kept),
            ]
        )
    columns = (
        ("arm", "text"),
        ("prompt", "count"),
        ("new tokens", "count"),
        ("first repetition", "ns"),
        ("mean without a cold one", "ns"),
        ("tokens/s", ""),
        ("left out", "count"),
    )
    left_out = [str(row[0]) for row in rows if row[-1]]
    said = (
        f"The first repetition of {' and '.join(left_out)} was a cold start and is left out of the mean."
        if left_out
        else "No first repetition was a cold start (over 1.5 times the median of the others), so all are in the means."
    )
    made = table("cache-table", "Decode", columns, rows, study.scope)
    return Section("cache", "Cache on and off", (Text(said), made, *_repetitions(study)))


def _repetitions(study: StudyInput) -> list[Figure]:
    axes = (Axis("repetition", "count"), Axis("decode", "ns"))
    timed = [t for t in study.results("cache").timings if t.samples_ms]
    arms = Counter(t.arm for t in timed)
    drawn = []
    for number, t in enumerate(timed, 1):
        # Given results may hold an arm at several prompts: each has a figure, and a file, of its own.
        apart = f", prompt {t.prompt}, batch {t.batch}" if arms[t.arm] > 1 else ""
        id_ = "-".join(("repetitions", *t.arm.split(), *([str(number)] if apart else [])))
        points = [(float(n), ms(v) or 0.0) for n, v in enumerate(t.samples_ms, 1)]
        drawn.append(lines(id_, f"{t.arm}{apart}: each repetition", [(t.arm, points)], axes, _left_out(t)))
    return drawn


def _left_out(t: Timing) -> str:
    out = len(t.samples_ms) - len(without_first(t))
    return "The first was a cold start and is not in the mean." if out else "All are in the mean."


def _batching(study: StudyInput) -> Section:
    timings = sorted(study.results("batching").timings, key=lambda t: t.batch)
    if not timings:
        return Section("batching", "Batching", missing=_NONE.format("batch sizes"))
    columns = (
        ("batch", "count"),
        ("a token", "ns"),
        ("P50", "ns"),
        ("P95", "ns"),
        ("P99", "ns"),
        ("tokens/s in all", ""),
        ("KV cache", "byte"),
        ("peak memory", "byte"),
    )
    rows = []
    for t in timings:
        low, high, highest = (ms(v) for v in t.step_percentiles_ms) if t.step_percentiles_ms else (None, None, None)
        rows.append(
            [t.batch, ms(t.ms_per_token), low, high, highest, t.tokens_per_s_aggregate, t.kv_bytes, t.peak_bytes]
        )
    caption = (
        study.scope
        + " Utilization was not sampled."
        + (" Peak memory is that of the process, Python and torch included." if study.on_cpu else "")
    )
    batch = Axis("batch", "count", True)
    rates = [("v1", [(float(t.batch), t.tokens_per_s_aggregate) for t in timings])]
    steps = [(name, [(float(t.batch), ms(t.step_percentiles_ms[place]) or 0.0) for t in timings
                     if t.step_percentiles_ms]) for place, name in enumerate(("P50", "P95", "P99"))]  # fmt: skip
    drawn = (
        lines("batch-throughput", "Tokens a second, all sequences", rates, (batch, Axis("tokens/s")), caption),
        lines("batch-latency", "Percentiles of a step", steps, (batch, Axis("a step", "ns")), caption),
    )
    made = table("batching-table", "By batch", columns, rows, caption)
    return Section("batching", "Batching", (Text(_scaling_words(timings)), made, *drawn))


def _scaling_words(timings: Sequence[Timing]) -> str:
    if len(timings) < 2:
        return "One batch size was measured, so nothing is said of scaling."
    one, most = timings[0], timings[-1]
    rate = most.tokens_per_s_aggregate / one.tokens_per_s_aggregate
    words = f"From batch {one.batch} to {most.batch}, all sequences together make {rate:.2f} times the tokens a second"
    if one.kv_bytes and most.kv_bytes:
        words += f" with {most.kv_bytes / one.kv_bytes:.2f} times the bytes in the cache"
    return words + "."


def _scaling(study: StudyInput, sequence: Sequence[Timing]) -> Section:
    if not sequence:
        return Section("scaling", "Sequence length", missing=_NONE.format("sequence lengths"))
    times = [(float(t.prompt + t.new_tokens), ms(t.ms_per_token) or 0.0) for t in sequence]
    sizes = [(float(t.prompt + t.new_tokens), t.kv_bytes) for t in sequence if t.kv_bytes is not None]
    positions = Axis("positions", "count")
    drawn = (
        lines("bytes-by-length", "Bytes of the cache by length", [("KV cache", sizes)],
              (positions, Axis("KV cache", "byte")), study.scope),
        lines("step-by-length", "Time of a token by length", [("a token", times)],
              (positions, Axis("a token", "ns")), study.scope),
    )  # fmt: skip
    fits = _fits((("a token", times, "ns"), ("KV cache", sizes, "byte")))
    return Section("scaling", "Sequence length", (*drawn, fits))


def _fits(series: Sequence[tuple[str, Sequence[tuple[float, float]], str]]) -> Block:
    rows = []
    for name, points, unit in series:
        fit = fit_line(points)
        if fit:
            slope = f"{fmt.with_unit(fit.slope, unit)} a position"
            rows.append([name, slope, fmt.with_unit(fit.intercept, unit), fit.r_squared])
    columns = (("what", "text"), ("slope", "text"), ("at length 0", "text"), ("R²", ""))
    caption = "Least squares. The bytes of the cache follow from its shape, so their line is exact."
    return table("fits", "Straight lines through the points", columns, rows, caption)
