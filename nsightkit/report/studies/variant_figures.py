"""The figures of the study of cache variants: across variants, one set a variant, and the roofline of v0 and v1.

In: timings by variant. Out: figures with their tables. The names of the figures are those that the list of the original
study's files answers with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nsightkit.analysis.foreign_results import DECODE_ALONE, Results, Timing
from nsightkit.analysis.studies.decode import fit_line, peaks_named, reference_peaks
from nsightkit.analysis.studies.variants import Intensity, VariantRow, intensities
from nsightkit.analysis.work import paper_model as paper
from nsightkit.report.blocks import Figure
from nsightkit.report.studies.drawing import Axis, Interval, Series, bars, lines
from nsightkit.report.studies.parts import StudyInput, ms

TOKENS = Axis("new tokens", "count", True)
_DTYPE = "bfloat16"


def by_arm(timings: Sequence[Timing]) -> dict[str, list[Timing]]:
    """Return variant -> its timings, fewest new tokens first."""
    return {
        arm: sorted((t for t in timings if t.arm == arm), key=lambda t: t.new_tokens)
        for arm in sorted({t.arm for t in timings})
    }


def _token_ns(t: Timing) -> float | None:
    return ms(t.ms_per_token)


def _decode_ns(t: Timing) -> float | None:
    return ms(t.decode_ms)


def _rate(t: Timing) -> float | None:
    return t.tokens_per_s_aggregate


def _peak(t: Timing) -> float | None:
    return t.peak_bytes


def _series(arms: dict[str, list[Timing]], of: Callable[[Timing], float | None]) -> list[Series]:
    return [(arm, [(float(t.new_tokens), v) for t in ts if (v := of(t)) is not None]) for arm, ts in arms.items()]


def latency_figures(study: StudyInput, results: Results, rows: Sequence[VariantRow]) -> list[Figure]:
    """Return time of a token, of all tokens, rates, each over tokens and with intervals, the speed-up, and beyond."""
    arms = by_arm(results.timings)
    token, decode, rate = Axis("a token", "ns"), Axis("decode", "ns", True), Axis("tokens/s in all")
    drawn = [
        lines("latency-token", "Time of a token", _series(arms, _token_ns), (TOKENS, token), study.scope),
        _with_interval("latency-token-ci", "Time of a token, 95 % intervals", (rows, study.scope), _token_interval),
        lines("latency-total", "Time of all new tokens", _series(arms, _decode_ns), (TOKENS, decode), study.scope),
        _with_interval(
            "latency-total-ci", "Time of all new tokens, 95 % intervals", (rows, study.scope), _total_interval
        ),
        lines("throughput", "Tokens a second, all sequences", _series(arms, _rate), (TOKENS, rate), study.scope),
        _with_interval("throughput-ci", "Tokens a second, 95 % intervals", (rows, study.scope), _rate_interval),
        _extrapolation(arms),
    ]
    if any(row.speedup is not None for row in rows):
        values = [(row.variant, row.speedup) for row in rows]
        drawn.append(bars("speedup", "Speed-up against v0", values, Axis("speed-up"), study.scope))
    return drawn


def _token_interval(t: Timing) -> tuple[float | None, Interval, Axis]:
    span = None if t.ci_ms is None else (t.ci_ms[0] * 1e6 / t.new_tokens, t.ci_ms[1] * 1e6 / t.new_tokens)
    return ms(t.ms_per_token), span, Axis("a token", "ns")


def _total_interval(t: Timing) -> tuple[float | None, Interval, Axis]:
    span = None if t.ci_ms is None else (t.ci_ms[0] * 1e6, t.ci_ms[1] * 1e6)
    return ms(t.decode_ms), span, Axis("decode", "ns")


def _rate_interval(t: Timing) -> tuple[float | None, Interval, Axis]:
    made = 1e3 * t.batch * t.new_tokens
    span = None if t.ci_ms is None or not t.ci_ms[0] else (made / t.ci_ms[1], made / t.ci_ms[0])
    return t.tokens_per_s_aggregate, span, Axis("tokens/s in all")


_Of = Callable[[Timing], tuple[float | None, Interval, Axis]]


def _with_interval(id_: str, title: str, what: tuple[Sequence[VariantRow], str], of: _Of) -> Figure:
    rows, scope = what
    found = [(row.variant, *of(row.timing)) for row in rows]
    values = [(name, value, span) for name, value, span, _ in found]
    axis = found[0][3] if found else Axis("")
    tokens = rows[0].timing.new_tokens if rows else 0
    said = f"At {tokens} new tokens; bootstrap interval of the median over repetitions. "
    if any(row.timing.scope != DECODE_ALONE for row in rows):
        said = f"At {tokens} new tokens; interval of the mean by the deviation and count in the files. "
    if all(span is None for _, _, span, _ in found):
        said = f"At {tokens} new tokens; the results hold no repetitions, so there is no interval. "
    return bars(id_, title, values, axis, said + scope)


def _extrapolation(arms: dict[str, list[Timing]]) -> Figure:
    series: list[Series] = []
    for arm, group in arms.items():
        points = [(float(t.new_tokens), ms(t.ms_per_token) or 0.0) for t in group]
        fit = fit_line(points)
        if fit:
            reach = 2.0 * group[-1].new_tokens
            series.append((arm, [*points, (reach, fit.intercept + fit.slope * reach)]))
    caption = "The last point of each line is not measured: a straight line through the others, carried on."
    return lines("extrapolation", "Time of a token, carried on to twice the longest", series,
                 (TOKENS, Axis("a token", "ns")), caption)  # fmt: skip


def memory_figures(study: StudyInput, results: Results, rows: Sequence[VariantRow]) -> list[Figure]:
    """Return bytes in the cache, peak memory over tokens, and how many positions a gigabyte holds."""
    cached = [row for row in rows if row.timing.cached]
    held = [(row.variant, _positions_per_gb(row)) for row in cached]
    scope = study.scope
    if study.on_cpu:
        scope += " Peak memory is that of the process, Python and torch included."
    drawn = [
        bars("memory", "Bytes in the cache", [(r.variant, r.kv_bytes) for r in cached], Axis("KV cache", "byte"),
             study.scope),
        bars("memory-efficiency", "Positions that 1 GB of cache holds", held, Axis("positions", "count"),
             "10⁹ bytes ÷ bytes of a position of one sequence."),
    ]  # fmt: skip
    series = _series(by_arm(results.timings), _peak)
    if any(points for _, points in series):
        drawn.append(lines("peak-memory", "Peak memory", series, (TOKENS, Axis("peak memory", "byte")), scope))
    return drawn


def _positions_per_gb(row: VariantRow) -> float | None:
    t = row.timing
    return 1e9 * t.batch * (t.prompt + t.new_tokens) / row.kv_bytes if row.kv_bytes else None


def variant_figures(study: StudyInput, results: Results) -> list[Figure]:
    """Return, for each variant alone, time of a token, of all tokens, and peak memory over the new tokens."""
    drawn = []
    wanted = (("token", "time of a token", _token_ns, Axis("a token", "ns")),
              ("total", "time of all new tokens", _decode_ns, Axis("decode", "ns")),
              ("memory", "peak memory", _peak, Axis("peak memory", "byte")))  # fmt: skip
    for arm, group in by_arm(results.timings).items():
        for key, words, of, axis in wanted:
            series = _series({arm: group}, of)
            if series[0][1]:
                title = f"{arm}: {words}"
                drawn.append(
                    lines("-".join(("variant", key, *arm.split())), title, series, (TOKENS, axis), study.scope)
                )
    return drawn


def roofline_prompt(results: Results) -> int:
    """Return the prompt that the roofline is for: that of the counters where they record it, else the timings'."""
    counted = next((c.prompt for c in results.counted if c.prompt), None)
    return counted or results.prompt or next((t.prompt for t in results.timings), 1)


def counted_words(results: Results, prompt: int) -> str:
    """Say where counted sums and paper are of prompts that need not be the same, "" where none was counted so."""
    if any(c.prompt is None for c in results.counted):
        return (
            f" The sums of counters do not record their prompt, the paper's points are for {prompt} tokens: the two "
            "need not be of one piece of work, so do not measure one by the other."
        )
    others = sorted({c.prompt for c in results.counted if c.prompt} - {prompt})
    return f" Some sums were counted at a prompt of {', '.join(map(str, others))}, not {prompt}." if others else ""


def roofline_figure(results: Results, prompt: int) -> Figure | None:
    """Return v0 and v1 under the roofs of one GPU: the measured one where it is known, else the reference GPU.

    Work and traffic are those of the paper model, so tensor instructions are in it; the rate is that work over the
    measured time. Where the GPU is not the one that was measured on, no rate can be drawn: points stand on the roof.
    """
    if results.model is None:
        return None
    known = peaks_named(results.gpu, _DTYPE)
    peaks = known or reference_peaks(_DTYPE)
    rows = intensities(results.model, _DTYPE, prompt, results)
    points = [(f"{r.variant} {r.phase}", r, _achieved(r, results, prompt) if known else None) for r in rows]
    series: list[Series] = [_roof(peaks, [r.flop_per_byte for r in rows])]
    series += [(f"{c.variant} {c.phase}, counted, prompt {c.prompt or 'not recorded'}",
                [(c.flop_per_byte, 1e9 * c.flop / c.duration_ns)])
               for c in results.counted if c.duration_ns]  # fmt: skip
    series += [
        (f"{name}, paper, prompt {prompt}", [point or (r.flop_per_byte, _under(peaks, r.flop_per_byte))])
        for name, r, point in points
    ]
    said = (
        f"Roofs: {peaks.name}, tensor peak for {_DTYPE} and bandwidth of this one GPU, from the table of GPUs. Work "
        "and bytes: paper model, all matrix products, tensor instructions with them. "
    )
    if results.counted:
        said += "As counted: the sums that the files state, which lack instructions where Fairness says so."
        said += counted_words(results, prompt) + " "
    missing = [name for name, _, point in points if point is None]
    if missing:
        said += (
            f"Not measured on this GPU in {_DTYPE}, so drawn where the roof is: {', '.join(missing)}. They show the "
            "intensity and the most that is possible, not a rate."
        )
    axes = (Axis("FLOP per byte", "flop/byte", True), Axis("rate", "flop/s", True))
    return lines("roofline", f"v0 and v1 under the roofs of {peaks.name}", series, axes, said)


def _roof(peaks: paper.Peaks, around: Sequence[float]) -> Series:
    low, high = min(*around, peaks.ridge_flop_per_byte) / 4, max(*around, peaks.ridge_flop_per_byte) * 4
    return "roof", [(x, _under(peaks, x)) for x in (low, peaks.ridge_flop_per_byte, high)]


def _under(peaks: paper.Peaks, flop_per_byte: float) -> float:
    """Return the most FLOP/s that the roofs allow at this intensity."""
    return min(peaks.flop_per_s, flop_per_byte * peaks.bytes_per_s)


def _achieved(row: Intensity, results: Results, prompt: int) -> tuple[float, float] | None:
    """Return (FLOP per byte, FLOP/s) of one phase by the workload's own clock; None where it timed no phase apart.

    The work is all that was timed, step by step: without a cache a later step has more of it than the first.
    """
    wanted = (row.variant, prompt, DECODE_ALONE, _DTYPE)
    timed = next((t for t in results.timings if (t.arm, t.prompt, t.scope, t.dtype) == wanted), None)
    if timed is None or results.model is None:
        return None
    work = paper.Work(timed.batch, prompt, timed.new_tokens, row.variant != "v0", _DTYPE)
    if row.phase == "prefill":
        cost, time_ms = paper.prefill_cost(results.model, work), timed.prefill_ms
    else:
        cost, time_ms = paper.decode_cost(results.model, work), timed.decode_ms
    return (cost.flop_per_byte, cost.flop / time_ms * 1e3) if time_ms else None
