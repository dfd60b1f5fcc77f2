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
from nsightkit.analysis.studies.decode import Pair, pairs_of
from nsightkit.analysis.work import paper_model as paper
from nsightkit.gpus import GpuSpec, all_gpus

# A cost that does not grow with the tokens shows where fewer tokens make each of them this much dearer.
_FIXED_COST_RATIO = 1.25
_COLD_RATIO = 1.5
# Counted FLOP below this share of the closed form cannot be rounding: an instruction type is missing.
_MISSING_SHARE = 0.7
# Equal work that differs by this much was disturbed. To store the cache costs a fifth where a prefill takes 1 ms on a
# CPU, and 34 results of others differ by 1.28 at most, so less proves nothing.
_DISTURBED_RATIO = 1.5
# Caches that store what prefill computes anyway; others quantize or share while they do it, which is other work.
_PLAIN_CACHES = ("KV cache on", "v1")
# Two numbers of one thing in one file differ by rounding only.
_SAME = 0.01
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
    return [flag for rule in RULES for flag in rule.find(results)]


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


def rate_disagrees(results: Results) -> Iterable[Flag]:
    """Flag a printed rate that is neither that of one sequence nor that of all by the time beside it."""
    for t in results.timings:
        printed = t.printed_tokens_per_s
        rates = (t.tokens_per_s_per_sequence, t.tokens_per_s_aggregate)
        if printed and all(abs(printed / rate - 1) > _SAME for rate in rates):
            yield Flag(
                "rate and time disagree",
                t.source,
                f"prints {printed:.4g} tokens/s; {t.new_tokens} tokens in {t.decode_ms:.4g} ms are {rates[0]:.4g} a "
                f"sequence and {rates[1]:.4g} in all, which are used here",
            )


def time_disagrees(results: Results) -> Iterable[Flag]:
    """Flag a time that is not the median of the repetitions beside it."""
    for t in results.timings:
        if t.samples_ms and abs(t.decode_ms / median(t.samples_ms) - 1) > _SAME:
            yield Flag(
                "time and repetitions disagree",
                t.source,
                f"states {t.decode_ms:.4g} ms; the median of its {len(t.samples_ms)} repetitions is "
                f"{median(t.samples_ms):.4g} ms",
            )


@dataclass(frozen=True)
class FixedCost:
    """total = fixed + tokens × step, through the shortest and the longest run of one configuration."""

    short: Timing
    long: Timing

    @property
    def step_ms(self) -> float:
        """What a token more costs."""
        return (self.long.decode_ms - self.short.decode_ms) / (self.long.new_tokens - self.short.new_tokens)

    @property
    def fixed_ms(self) -> float:
        """What happens once."""
        return self.short.decode_ms - self.step_ms * self.short.new_tokens


def fixed_costs(timings: Iterable[Timing]) -> list[FixedCost]:
    """Return where the time of a token falls with the number of tokens: the total holds something that happens once."""
    groups: dict[tuple[object, ...], list[Timing]] = defaultdict(list)
    for t in timings:
        if t.cached:
            groups[(t.arm, t.gpu, t.dtype, t.batch, t.prompt, t.scope.startswith("prefill"))].append(t)
    found = []
    for group in groups.values():
        cost = FixedCost(min(group, key=lambda t: t.new_tokens), max(group, key=lambda t: t.new_tokens))
        falls = cost.short.ms_per_token >= _FIXED_COST_RATIO * cost.long.ms_per_token
        if cost.short.new_tokens != cost.long.new_tokens and falls:
            found.append(cost)
    return found


def hidden_fixed_cost(results: Results) -> Iterable[Flag]:
    """Flag a total whose cost per token falls with the number of tokens."""
    for cost in fixed_costs(results.timings):
        short, long = cost.short, cost.long
        yield Flag(
            "fixed cost inside the total",
            f"{short.arm}, batch {short.batch}, prompt {short.prompt}",
            f"{short.ms_per_token:.1f} ms per token at {short.new_tokens} tokens, {long.ms_per_token:.1f} at "
            f"{long.new_tokens}: about {cost.fixed_ms:.0f} ms happen once, a step takes {cost.step_ms:.1f} ms",
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


_HOW_LONG = "; the counters' own prompt is not recorded, and a longer one takes more"


def missing_flop(results: Results) -> Iterable[Flag]:
    """Flag counted FLOP below what the matrix products alone must take: tensor instructions were not counted.

    The prompt is that of the counters where they record it, else that of the timings. A longer one would take more.
    """
    if results.model is None:
        return
    for one in results.counted:
        work = paper.Work(prompt=one.prompt or results.prompt or 1, new_tokens=1)
        cost = paper.prefill_cost if one.phase == "prefill" else paper.decode_cost
        least = cost(results.model, work).flop
        if one.phase in ("prefill", "decode") and one.flop < _MISSING_SHARE * least:
            yield Flag(
                "tensor FLOP missing",
                one.source,
                f"{one.flop / 1e9:.3g} GFLOP counted; the matrix products of one "
                f"{one.phase} with a prompt of {work.prompt} take {least / 1e9:.3g} GFLOP, so the intensity of "
                f"{one.flop_per_byte:.3g} FLOP/B is too low{_HOW_LONG if one.prompt is None else ''}",
            )


def counters_without_prompt(results: Results) -> Iterable[Flag]:
    """Flag sums of counters that do not say for which prompt they were made: no other number may stand beside them."""
    bare = [one for one in results.counted if one.prompt is None]
    if bare:
        told = f"the timings have a prompt of {results.prompt}, which need not be theirs" if results.prompt else ""
        yield Flag(
            "prompt of the counters not recorded",
            bare[0].source if len(bare) == 1 else f"{len(bare)} sums of counters",
            "the files do not say how long the prompt was" + (f"; {told}" if told else ""),
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


def disturbance(pair: Pair) -> float | None:
    """Return how many times longer one arm's prefill took where both did equal work; None within noise or unknown."""
    on, off = pair.on, pair.off
    if not on.prefill_ms or not off.prefill_ms or on.arm not in _PLAIN_CACHES:
        return None
    ratio = max(on.prefill_ms, off.prefill_ms) / min(on.prefill_ms, off.prefill_ms)
    return ratio if ratio > _DISTURBED_RATIO else None


def equal_work_differs(results: Results) -> Iterable[Flag]:
    """Flag pairs whose prefill, which a cache does not shorten, was timed differently: the machine was not quiet."""
    for pair in pairs_of(results.timings):
        ratio = disturbance(pair)
        if ratio is not None:
            yield Flag(
                "equal work timed differently",
                f"batch {pair.on.batch}, prompt {pair.on.prompt}, {pair.on.new_tokens} tokens",
                f"prefill, the same work in both arms, took {pair.on.prefill_ms:.4g} ms with a cache and "
                f"{pair.off.prefill_ms:.4g} ms without ({ratio:.2g} times): the machine was not quiet",
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


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it looks for, and whether the data hold what it needs."""

    looks_for: str
    find: Callable[[Results], Iterable[Flag]]
    applies: Callable[[Results], bool]


def _grows(results: Results) -> bool:
    groups: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for t in results.timings:
        if t.cached:
            groups[t.arm, t.gpu, t.dtype, t.batch, t.prompt].add(t.new_tokens)
    return any(len(tokens) > 1 for tokens in groups.values())


def _has_arms(results: Results) -> bool:
    groups: dict[tuple[int, int, int], set[str]] = defaultdict(set)
    for t in results.timings:
        groups[t.batch, t.prompt, t.new_tokens].add(t.arm)
    return any(len(arms) > 1 for arms in groups.values())


def _has_equal_work(results: Results) -> bool:
    pairs = pairs_of(results.timings)
    return any(p.on.arm in _PLAIN_CACHES and p.on.prefill_ms and p.off.prefill_ms for p in pairs)


RULES: tuple[Rule, ...] = (
    Rule("the batch left out of a rate", batch_left_out,
         lambda r: any(t.batch > 1 and t.printed_tokens_per_s for t in r.timings)),
    Rule("a rate that its time contradicts", rate_disagrees, lambda r: any(t.printed_tokens_per_s for t in r.timings)),
    Rule("a time that its repetitions contradict", time_disagrees, lambda r: any(t.samples_ms for t in r.timings)),
    Rule("a fixed cost inside a total", hidden_fixed_cost, _grows),
    Rule("a cold first run", cold_run, lambda r: any(len(t.samples_ms) >= 3 for t in r.timings)),
    Rule("missing tensor FLOP", missing_flop, lambda r: r.model is not None and bool(r.counted)),
    Rule("counters without a prompt", counters_without_prompt, lambda r: bool(r.counted)),
    Rule("peaks of two GPUs", mixed_peaks, lambda r: {"flop_per_s", "bytes_per_s"} <= set(dict(r.peaks))),
    Rule("a single measurement", single_measurement, lambda r: bool(r.timings)),
    Rule("unequal dtype, device or scope of arms", unequal_arms, _has_arms),
    Rule("equal work timed differently", equal_work_differs, _has_equal_work),
    Rule("a cache that changes the text", cache_changes_quality,
         lambda r: {"v0", "v1"} <= {q.variant for q in r.quality}),
)  # fmt: skip
