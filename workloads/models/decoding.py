"""One decode with the plain KV cache or without, measured: what the sweeps and the capacity share.

In: a model, how many sequences of which length, how often. Out: `Point`: the row of a results file, and the measurement
behind it.
"""

import statistics
from dataclasses import asdict, dataclass

import numpy as np
import torch

from models.cache import KVCache
from models.gpt import Gpt
from nsightkit import annotate

TIMED = (
    "prefill: the prompt's forward pass and the choice of the first token; decode_step: one forward pass and the "
    "choice of a token; the cache is reserved before"
)


@dataclass(frozen=True)
class Work:
    """What is decoded: `new_tokens` steps after the first token, which prefill yields."""

    batch_size: int
    prompt_len: int
    new_tokens: int
    kv_cache: bool = True


@dataclass(frozen=True)
class Point:
    """What one piece of work took."""

    row: dict[str, float | str | None]
    measured: annotate.Measurement
    no_gpu_use: str | None


def decode_once(model: Gpt, work: Work, seed: int, laps: annotate.Laps) -> int:
    """Decode `work` once; `laps` gets prefill and decode_step. Return the bytes in the cache at the end."""
    drawn = np.random.default_rng(seed + 1).integers(model.shape.vocabulary, size=(work.batch_size, work.prompt_len))
    like = model.head.weight
    ids = torch.from_numpy(drawn).to(like.device)
    with torch.inference_mode():
        cache = KVCache(model.shape, work.batch_size, like) if work.kv_cache else None
        laps.wait()
        with annotate.range("prefill", payload=work.batch_size), laps.time("prefill"):
            token = model(ids, cache).argmax(dim=-1, keepdim=True)
        with annotate.range("decode", payload=work.batch_size):
            for place in range(work.new_tokens):
                with annotate.range("decode_step", payload=place), laps.time("decode_step"):
                    ids = token if cache is not None else torch.cat((ids, token), dim=1)
                    token = model(ids, cache).argmax(dim=-1, keepdim=True)
        laps.wait()
    return cache.used_bytes if cache is not None else 0


def measure_point(model: Gpt, work: Work, plan: annotate.Plan, cold: bool = False) -> Point:
    """Return what `work` took; with `cold` the first measured repetition is kept apart from the rest.

    Raises:
        RuntimeError, MemoryError: it does not fit; see `search.ran_out`.
    """
    with annotate.gpu_use(plan.device) as watched:
        measured = annotate.measure(lambda laps: decode_once(model, work, plan.seed, laps), plan)
    first = measured.repetitions[0] if cold else None
    if first is not None:
        measured = annotate.Measurement(
            measured.plan, measured.clock, measured.repetitions[1:], measured.peak_memory_bytes,
            measured.peak_memory_scope, measured.last)  # fmt: skip
    row = _timings(work, measured) | _gpu_row(watched.use, _tokens(work, plan))
    row["cold_decode_ms"] = None if first is None else sum(first["decode_step"]) / 1e6
    return Point(row, measured, watched.missing)


def _tokens(work: Work, plan: annotate.Plan) -> int:
    """Return the tokens that all repetitions made, the warm-up's and the first ones with them."""
    return (plan.warmup + plan.repeats) * work.batch_size * (work.new_tokens + 1)


def _timings(work: Work, measured: annotate.Measurement) -> dict[str, float | str | None]:
    first, steps, step = (measured.spread("prefill"), measured.spread("decode_step"),
                          measured.sample_spread("decode_step"))  # fmt: skip
    per_token_ms = steps.median_ns / 1e6 / work.new_tokens
    return {
        "status": "measured",
        "batch_size": work.batch_size,
        "prompt_len": work.prompt_len,
        "time_to_first_token_ms": first.median_ns / 1e6,
        "decode_total_ms": steps.median_ns / 1e6,
        "decode_ci_low_ms": None if steps.ci_low_ns is None else steps.ci_low_ns / 1e6,
        "decode_ci_high_ms": None if steps.ci_high_ns is None else steps.ci_high_ns / 1e6,
        "time_per_output_token_ms": per_token_ms,
        "step_p50_ms": step.p50_ns / 1e6,
        "step_p95_ms": step.p95_ns / 1e6,
        "step_p99_ms": step.p99_ns / 1e6,
        "tokens_per_s_per_sequence": 1e3 / per_token_ms,
        "tokens_per_s_aggregate": 1e3 / per_token_ms * work.batch_size,
        "kv_cache_bytes": measured.last,
        "peak_memory_bytes": measured.peak_memory_bytes,
    }


def _gpu_row(use: annotate.GpuUse | None, tokens: int) -> dict[str, float | None]:
    """Return what NVML sampled; all None where it could not."""
    names = ("sample_count", "gpu_utilization_pct", "sm_clock_hz", "memory_clock_hz", "power_w", "energy_j")
    found = asdict(use) if use is not None else dict.fromkeys(names)
    energy_j = found["energy_j"]
    found["joules_per_token"] = None if energy_j is None else energy_j / tokens
    return {f"nvml_{name}" if name == "sample_count" else name: value for name, value in found.items()}


def cold_ratio(rows: list[dict[str, float | str | None]]) -> float | None:
    """Return the median of cold ÷ warm over the rows that have both."""
    ratios = [row["cold_decode_ms"] / row["decode_total_ms"] for row in rows if row.get("cold_decode_ms")]
    return statistics.median(ratios) if ratios else None


def table(rows: list[dict[str, float | str | None]], columns: tuple[tuple[str, str, str], ...]) -> str:
    """Return `rows` as aligned text; a column is key, heading and format. What is unknown is a dash.

    A column of which nothing is known is left out.
    """
    columns = tuple(column for column in columns if any(row.get(column[0]) is not None for row in rows))
    cells = [[heading for _, heading, _ in columns]]
    cells += [["-" if row.get(key) is None else format(row[key], form) for key, _, form in columns] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
