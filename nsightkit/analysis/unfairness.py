"""Finds what makes a comparison of timings unfair, by rules over what the data hold.

In: `Results`. Out: `Flag` records: the rule, what it concerns, and the numbers that prove it. A rule that lacks its
inputs says nothing; it never guesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from nsightkit.analysis.foreign_results import Quality, Results, Timing
from nsightkit.analysis.work import paper_model as paper
from nsightkit.gpus import GpuSpec, all_gpus

# A cost that does not grow with the tokens shows where fewer tokens make each of them this much dearer.
_FIXED_COST_RATIO = 1.25
_COLD_RATIO = 1.5
# Counted FLOP below this share of the closed form cannot be rounding: an instruction type is missing.
_MISSING_SHARE = 0.7
# A cache that keeps everything may differ by rounding only.
_EXACT_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Flag:
    """One unfairness."""

    rule: str
    subject: str
    text: str


def find_flags(results: Results) -> list[Flag]:
    """Return the flags of `results`, in the order of the rules."""
    return [flag for rule in RULES for flag in rule(results)]


def batch_left_out(results: Results) -> Iterable[Flag]:
    """Flag a rate that is printed for one sequence while several were decoded."""
    found = [
        t
        for t in results.timings
        if t.batch > 1 and t.printed_tokens_per_s and abs(t.printed_tokens_per_s * t.ms_per_token / 1e3 - 1) < 0.01
    ]
    if found:
        one = max(found, key=lambda t: t.batch)
        yield Flag(
            "batch left out of tokens/s",
            _all_of(found),
            f"{one.source}: {one.printed_tokens_per_s:.2f} tokens/s "
            f"is the rate of one of {one.batch} sequences; together they make "
            f"{one.tokens_per_s_aggregate:.1f} tokens/s",
        )


def hidden_fixed_cost(results: Results) -> Iterable[Flag]:
    """Flag a total whose cost per token falls with the number of tokens: it holds something that happens once.

    total = fixed + tokens × step through the shortest and the longest run of one configuration.
    """
    groups: dict[tuple[object, ...], list[Timing]] = defaultdict(list)
    for t in results.timings:
        if t.cached:
            groups[(t.arm, t.gpu, t.dtype, t.batch, t.prompt, t.scope.startswith("prefill"))].append(t)
    for group in groups.values():
        short, long = min(group, key=lambda t: t.new_tokens), max(group, key=lambda t: t.new_tokens)
        if short.new_tokens == long.new_tokens or short.ms_per_token < _FIXED_COST_RATIO * long.ms_per_token:
            continue
        step = (long.decode_ms - short.decode_ms) / (long.new_tokens - short.new_tokens)
        yield Flag(
            "fixed cost inside the total",
            f"{short.arm}, batch {short.batch}, prompt {short.prompt}",
            f"{short.ms_per_token:.1f} ms per token at {short.new_tokens} tokens, {long.ms_per_token:.1f} at "
            f"{long.new_tokens}: about {short.decode_ms - step * short.new_tokens:.0f} ms happen once, a step "
            f"takes {step:.1f} ms",
        )


def cold_run(results: Results) -> Iterable[Flag]:
    """Flag a first repetition that is far slower than the median of the others."""
    for t in results.timings:
        if len(t.samples_ms) >= 3 and t.samples_ms[0] > _COLD_RATIO * median(t.samples_ms[1:]):
            yield Flag(
                "cold first run",
                t.source,
                f"the first of {len(t.samples_ms)} repetitions took "
                f"{t.samples_ms[0]:.4g} ms, the median of the others is {median(t.samples_ms[1:]):.4g} ms",
            )


def without_first(timing: Timing) -> tuple[float, ...]:
    """Return the samples without a cold first one."""
    flagged = any(cold_run(Results(timings=(timing,))))
    return timing.samples_ms[1:] if flagged else timing.samples_ms


def missing_flop(results: Results) -> Iterable[Flag]:
    """Flag counted FLOP below what the matrix products alone must take: tensor instructions were not counted.

    The prompt is the one that the results record, so for a longer one the gap is larger still.
    """
    if results.model is None:
        return
    work = paper.Work(prompt=results.prompt or 1, new_tokens=1)
    for one in results.counted:
        cost = paper.prefill_cost if one.phase == "prefill" else paper.decode_cost
        least = cost(results.model, work).flop
        if one.phase in ("prefill", "decode") and one.flop < _MISSING_SHARE * least:
            yield Flag(
                "tensor FLOP missing",
                one.source,
                f"{one.flop / 1e9:.3g} GFLOP counted; the matrix products of one "
                f"{one.phase} with a prompt of {work.prompt} take {least / 1e9:.3g} GFLOP, so the intensity of "
                f"{one.flop_per_byte:.3g} FLOP/B is too low",
            )


def mixed_peaks(results: Results) -> Iterable[Flag]:
    """Flag stated roofs of which no known GPU has both."""
    stated = dict(results.peaks)
    if not {"flop_per_s", "bytes_per_s"} <= set(stated):
        return
    compute = {gpu.key for gpu in all_gpus() if _has(gpu, stated["flop_per_s"], "flop_per_s")}
    memory = {gpu.key for gpu in all_gpus() if _has(gpu, stated["bytes_per_s"], "dram_bytes_per_s")}
    if compute and memory and not compute & memory:
        yield Flag(
            "peaks of two GPUs",
            "roofline",
            f"{stated['flop_per_s'] / 1e12:.4g} TFLOP/s belongs to "
            f"{', '.join(sorted(compute))}, {stated['bytes_per_s'] / 1e9:.4g} GB/s to {', '.join(sorted(memory))}",
        )


def _has(gpu: GpuSpec, value: float, ending: str) -> bool:
    return any(name.endswith(ending) and abs(known / value - 1) < 0.005 for name, known in gpu.values.items())


def single_measurement(results: Results) -> Iterable[Flag]:
    """Flag timings without a repetition, or whose repetitions are not recorded."""
    bare = [t for t in results.timings if t.sample_count is None or t.sample_count < 2]
    if bare:
        unrecorded = sum(t.sample_count is None for t in bare)
        said = f"{len(bare)} of {len(results.timings)} timings show no spread"
        more = f"; for {unrecorded} of them the file does not say how often it was measured" if unrecorded else ""
        yield Flag("a single measurement", _all_of(bare), said + more)


def unequal_arms(results: Results) -> Iterable[Flag]:
    """Flag arms of one comparison (equal batch, prompt and tokens) that differ in dtype, GPU or scope."""
    groups: dict[tuple[int, int, int], list[Timing]] = defaultdict(list)
    for t in results.timings:
        groups[t.batch, t.prompt, t.new_tokens].append(t)
    for key, group in groups.items():
        for name in ("dtype", "gpu", "scope"):
            values = {getattr(t, name) for t in group}
            if len(values) > 1 and len({t.arm for t in group}) > 1:
                listed = ", ".join(sorted(str(value) for value in values))
                yield Flag(
                    f"unequal {name}", f"batch {key[0]}, prompt {key[1]}, {key[2]} tokens", f"the arms differ: {listed}"
                )


def cache_changes_quality(results: Results) -> Iterable[Flag]:
    """Flag a plain cache whose perplexity is not that of no cache: it answers with wrong entries or positions."""
    groups: dict[int, dict[str, Quality]] = defaultdict(dict)
    for q in results.quality:
        groups[q.tokens][q.variant] = q
    for tokens, group in sorted(groups.items()):
        if {"v0", "v1"} <= set(group):
            ratio = group["v1"].perplexity / group["v0"].perplexity
            if abs(ratio - 1) > _EXACT_TOLERANCE:
                yield Flag(
                    "a cache changed the text",
                    f"v1 against v0, {tokens} tokens",
                    f"perplexity {group['v1'].perplexity:.4g} with a cache and {group['v0'].perplexity:.4g} "
                    "without: its entries or positions were wrong",
                )


def _all_of(timings: list[Timing]) -> str:
    return timings[0].source if len(timings) == 1 else f"{len(timings)} results"


RULES: tuple[Callable[[Results], Iterable[Flag]], ...] = (
    batch_left_out,
    hidden_fixed_cost,
    cold_run,
    missing_flop,
    mixed_peaks,
    single_measurement,
    unequal_arms,
    cache_changes_quality,
)
