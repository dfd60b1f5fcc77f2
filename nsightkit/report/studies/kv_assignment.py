"""The report of the study that derives and measures the footprint of a KV cache.

In: `StudyInput` with the parts cache, batching and sequence. Out: its sections.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.analysis.foreign_results import Timing
from nsightkit.analysis.studies.decode import fit_line, pairs_of, peaks_named
from nsightkit.analysis.unfairness import without_first
from nsightkit.analysis.work import paper_model as paper
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Section, Text
from nsightkit.report.studies.drawing import Axis, lines
from nsightkit.report.studies.parts import StudyInput, flags_section, method_section, ms, table


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
        said += f"; with the cache, decode is {fmt.plain(pairs[0].speedup)} times faster"
    return Section("overview", "Overview", (Text(said + ".", "lead"), Text(study.question)))


def _work(t: Timing) -> paper.Work:
    return paper.Work(t.batch, t.prompt, t.new_tokens, True, t.dtype or "bfloat16")


def _footprint(study: StudyInput, sequence: Sequence[Timing]) -> Section:
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
    return Section("footprint", "Footprint", (table("footprint-table", "Bytes of the cache", columns, rows, caption),))


def _intensity(study: StudyInput) -> Section:
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
    return Section("cache", "Cache on and off", (table("cache-table", "Decode", columns, rows, study.scope),))


def _batching(study: StudyInput) -> Section:
    timings = sorted(study.results("batching").timings, key=lambda t: t.batch)
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
    return Section("batching", "Batching", (table("batching-table", "By batch", columns, rows, caption),))


def _scaling(study: StudyInput, sequence: Sequence[Timing]) -> Section:
    times = [(float(t.prompt + t.new_tokens), ms(t.ms_per_token) or 0.0) for t in sequence]
    sizes = [(float(t.prompt + t.new_tokens), t.kv_bytes or 0.0) for t in sequence]
    rows = []
    for name, points, unit in (("a token", times, "ns"), ("KV cache", sizes, "byte")):
        fit = fit_line(points)
        if fit:
            rows.append(
                [
                    name,
                    f"{fmt.with_unit(fit.slope, unit)} a position",
                    f"{fmt.with_unit(fit.intercept, unit)}",
                    fit.r_squared,
                ]
            )
    columns = (("what", "text"), ("slope", "text"), ("at length 0", "text"), ("R²", "1"))
    return Section(
        "scaling",
        "Sequence length",
        (
            lines(
                "step-by-length",
                "Time of a token by length",
                [("a token", times)],
                (Axis("positions", "count"), Axis("a token", "ns")),
                study.scope,
            ),
            table(
                "fits",
                "Straight lines through the points",
                columns,
                rows,
                "Least squares. The bytes of the cache follow from its shape, so their line is exact.",
            ),
        ),
    )
