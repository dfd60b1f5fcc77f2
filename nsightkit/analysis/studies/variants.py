"""Variants of a KV cache against each other: speed, memory, quality, capacity, and which of them nothing beats.

In: timings, perplexities, parts and users of several variants. Out: one row a variant, and the Pareto front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nsightkit.analysis.foreign_results import Quality, Results, Timing
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape

# Variant -> (layers share in pairs, values are INT8).
_KINDS = {
    "v1": (False, False),
    "v2": (False, True),
    "v2t": (False, True),
    "v3": (True, False),
    "v4": (True, True),
    "v3a": (True, False),
    "v4a": (True, True),
}


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant at one number of new tokens; None is "not measured"."""

    variant: str
    timing: Timing
    speedup: float | None  # against v0
    kv_bytes: float | None
    perplexity: float | None
    degradation: float | None  # perplexity ÷ that of v0, less 1
    on_front: bool = False


def variant_rows(results: Results, tokens: int | None = None) -> list[VariantRow]:
    """Return a row for each variant at `tokens` new tokens (None: the most that all have), v0 first."""
    common = _common_tokens(results.timings)
    wanted = tokens or (max(common) if common else 0)
    chosen = [t for t in results.timings if t.new_tokens == wanted]
    base = next((t for t in chosen if t.arm == "v0"), None)
    quality = best_quality(results.quality)
    plain = quality.get("v0")
    rows = []
    for t in sorted(chosen, key=lambda t: t.arm):
        own = quality.get(t.arm)
        rows.append(
            VariantRow(
                t.arm,
                t,
                base.decode_ms / t.decode_ms if base else None,
                t.kv_bytes if t.kv_bytes else _kv_bytes(t),
                own.perplexity if own else None,
                own.perplexity / plain.perplexity - 1 if own and plain else None,
            )
        )
    return _with_front(rows)


def _common_tokens(timings: Sequence[Timing]) -> set[int]:
    by_arm: dict[str, set[int]] = {}
    for t in timings:
        by_arm.setdefault(t.arm, set()).add(t.new_tokens)
    return set.intersection(*by_arm.values()) if by_arm else set()


def best_quality(quality: Sequence[Quality]) -> dict[str, Quality]:
    """Return one perplexity a variant: those of the token count that most variants share, the larger of equals.

    The last row of a variant counts: a file of lines grows at its end. Counts at which a plain cache differs from none
    (`unfairness.cache_changes_quality`) are left out where another is there.
    """
    groups: dict[int, dict[str, Quality]] = {}
    for q in quality:
        groups.setdefault(q.tokens, {})[q.variant] = q
    sound = {tokens: group for tokens, group in groups.items() if _sound(group)} or groups
    return max(sound.items(), key=lambda item: (len(item[1]), item[0]))[1] if sound else {}


def _sound(group: dict[str, Quality]) -> bool:
    if not {"v0", "v1"} <= set(group):
        return False
    return abs(group["v1"].perplexity / group["v0"].perplexity - 1) < 0.01


def _kv_bytes(timing: Timing) -> float | None:
    if timing.model is None or timing.dtype not in paper.DTYPES:
        return None
    return variant_kv_bytes(timing.model, timing.arm, timing.dtype, timing.batch * (timing.prompt + timing.new_tokens))


def variant_kv_bytes(model: ModelShape, variant: str, dtype: str, positions: int) -> float | None:
    """Return the bytes of `positions` positions in the cache of `variant`; None for one that is not known."""
    if variant == "v0":
        return 0.0
    if variant not in _KINDS:
        return None
    return positions * paper.kv_position_bytes(*variant_model(model, variant, dtype))


def variant_model(model: ModelShape, variant: str, dtype: str) -> tuple[ModelShape, paper.Work]:
    """Return the shape and the work that stand for `variant` in the paper model."""
    shared, quantized = _KINDS.get(variant, (False, False))
    shape = replace(model, kv_layers=(model.layers + 1) // 2) if shared else model
    return shape, paper.Work(dtype=dtype, cached=variant != "v0", cache=paper.INT8 if quantized else paper.PLAIN)


def _with_front(rows: list[VariantRow]) -> list[VariantRow]:
    """Mark the rows that no other beats in time, memory and quality at once."""

    def costs(row: VariantRow) -> tuple[float, ...]:
        return (row.timing.ms_per_token, row.kv_bytes or 0.0, row.perplexity or 0.0)

    def beaten(row: VariantRow) -> bool:
        mine = costs(row)
        others = (costs(other) for other in rows if other is not row)
        return any(all(o <= m for o, m in zip(other, mine, strict=True)) and other != mine for other in others)

    return [replace(row, on_front=not beaten(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """How many sequences fit: on paper, and measured where somebody did."""

    variant: str
    positions: int
    paper_users: int
    measured_users: int | None = None
    against_v1: float | None = None
    full_bytes: float | None = None  # peak memory with that many: measured, else weights and caches on paper


def capacities(
    model: ModelShape, dtype: str, positions: int, memory_bytes: float, results: Results
) -> list[CapacityRow]:
    """Return the capacity of each variant that keeps a cache, for `positions` reserved positions a sequence."""
    measured = {u.variant: u.users for u in results.users}
    peaks = {u.variant: u.peak_bytes for u in results.users}
    rows: list[CapacityRow] = []
    for variant in ("v1", "v2", "v3", "v4"):
        shape, work = variant_model(model, variant, dtype)
        users = paper.capacity(shape, work, positions, memory_bytes)
        plain = measured.get("v1") if variant in measured else rows[0].paper_users if rows else users
        have = measured.get(variant, users)
        full = peaks.get(variant) or model.stored_weights * work.value_bytes + have * paper.kv_bytes(
            shape, work, positions
        )
        ratio = have / plain if plain else None
        rows.append(CapacityRow(variant, positions, users, measured.get(variant), ratio, full))
    return rows


@dataclass(frozen=True, slots=True)
class Intensity:
    """Work and traffic of one phase of one variant, all matrix products counted."""

    variant: str
    phase: str
    flop: float
    moved_bytes: float
    counted_flop: float | None = None
    counted_bytes: float | None = None

    @property
    def flop_per_byte(self) -> float:
        """Arithmetic intensity on paper."""
        return self.flop / self.moved_bytes


def intensities(model: ModelShape, dtype: str, prompt: int, results: Results) -> list[Intensity]:
    """Return prefill and one decode step of v0 and v1 on paper, with what counters said beside it."""
    counted = {(c.variant, c.phase): c for c in results.counted}
    rows = []
    for variant in ("v0", "v1"):
        work = paper.Work(prompt=prompt, new_tokens=1, cached=variant != "v0", dtype=dtype)
        for phase, cost in (("prefill", paper.prefill_cost(model, work)), ("decode", paper.decode_cost(model, work))):
            c = counted.get((variant, phase))
            rows.append(
                Intensity(
                    variant, phase, cost.flop, cost.moved_bytes, c.flop if c else None, c.dram_bytes if c else None
                )
            )
    return rows
