"""Gives results of benchmarks one meaning, whoever wrote them.

In: (file name, object) pairs: results of our workloads, of a KV decode benchmark ({meta, params, metrics}), of a
benchmark of cache variants (one object a line, told apart by benchmark_name), and sums of Nsight Compute counters. Out:
`Results`, frozen records. What a file does not record is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nsightkit.analysis.work.model_shapes import ModelShape, shape_from

Item = tuple[str, dict[str, Any]]
# What our workloads time as decode; the scope of other files does not say whether the prompt's pass is in it.
DECODE_ALONE = "decode steps without prefill"


@dataclass(frozen=True, slots=True)
class Timing:
    """One timed configuration. `decode_ms` is what the source calls the time of all new tokens."""

    source: str
    arm: str  # "KV cache on", "KV cache off", or the name of a variant
    cached: bool | None
    gpu: str | None
    dtype: str | None
    model: ModelShape | None
    batch: int
    prompt: int
    new_tokens: int
    scope: str  # what the source says was timed
    decode_ms: float
    prefill_ms: float | None = None
    printed_tokens_per_s: float | None = None
    sample_count: int | None = None
    samples_ms: tuple[float, ...] = ()
    ci_ms: tuple[float, float] | None = None
    step_percentiles_ms: tuple[float, float, float] | None = None
    steps_ms: float | None = None  # all steps, timed one by one, of the repetition in the middle
    warmup: int | None = None
    peak_bytes: float | None = None
    kv_bytes: float | None = None
    parts_ms: tuple[tuple[str, float], ...] = ()

    @property
    def ms_per_token(self) -> float:
        """Time of one step, of all sequences together."""
        return self.decode_ms / self.new_tokens

    @property
    def tokens_per_s_per_sequence(self) -> float:
        """What one reader of the text sees."""
        return 1e3 / self.ms_per_token

    @property
    def tokens_per_s_aggregate(self) -> float:
        """What the machine delivers."""
        return self.batch * self.tokens_per_s_per_sequence


@dataclass(frozen=True, slots=True)
class Counted:
    """Sums of hardware counters over the kernels of one phase of one variant."""

    source: str
    variant: str
    phase: str
    flop: float
    dram_bytes: float
    duration_ns: float
    kernel_count: int
    prompt: int | None = None

    @property
    def flop_per_byte(self) -> float:
        """Arithmetic intensity as counted."""
        return self.flop / self.dram_bytes


@dataclass(frozen=True, slots=True)
class Users:
    """The largest batch that fitted."""

    variant: str
    positions: int
    users: int
    peak_bytes: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """The perplexity of one variant on `tokens` tokens."""

    variant: str
    perplexity: float
    loss: float
    tokens: int
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Time by part of the model."""

    variant: str
    positions: int
    times_ms: tuple[tuple[str, float], ...]

    def ms(self, part: str) -> float | None:
        """Return the time of `part`, None where it is not among them."""
        return dict(self.times_ms).get(part)


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike one weight matrix of two layers is: the cosine between them as vectors, from -1 to 1."""

    weight: str
    layer_a: int
    layer_b: int
    cosine: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """All that was found; `passed_over` counts objects of no known kind."""

    timings: tuple[Timing, ...] = ()
    counted: tuple[Counted, ...] = ()
    users: tuple[Users, ...] = ()
    quality: tuple[Quality, ...] = ()
    parts: tuple[Parts, ...] = ()
    similarity: tuple[Similarity, ...] = ()
    model: ModelShape | None = None
    gpu: str | None = None
    prompt: int | None = None
    peaks: tuple[tuple[str, float], ...] = ()  # roofs that the source states: flop_per_s, bytes_per_s
    passed_over: int = 0


def parse_results(items: Sequence[Item]) -> Results:
    """Return the records of `items`."""
    made: list[Any] = []
    passed_over = 0
    for name, data in items:
        kind = next((make for knows, make in _KINDS if knows(data)), None)
        if kind is None:
            passed_over += 1
            continue
        made += kind(name, data)
    about: dict[str, Any] = {}
    for item in made:
        if isinstance(item, dict):
            # The first file that states a thing counts, whichever of them comes first in the folder.
            about = {key: value for key, value in item.items() if value is not None} | about
    peaks = {(p.arm, p.batch, p.prompt, p.new_tokens): p.peak_bytes for p in made if isinstance(p, _Peak)}
    return Results(
        timings=tuple(_with_peak(item, peaks) for item in made if isinstance(item, Timing)),
        counted=tuple(item for item in made if isinstance(item, Counted)),
        users=tuple(item for item in made if isinstance(item, Users)),
        quality=tuple(item for item in made if isinstance(item, Quality)),
        parts=tuple(item for item in made if isinstance(item, Parts)),
        similarity=tuple(item for item in made if isinstance(item, Similarity)),
        passed_over=passed_over,
        **about,
    )


@dataclass(frozen=True, slots=True)
class _Peak:
    """Peak memory of one configuration, from a row of its own."""

    arm: str
    batch: int
    prompt: int
    new_tokens: int
    peak_bytes: float


def _with_peak(timing: Timing, peaks: dict[tuple[str, int, int, int], float]) -> Timing:
    if timing.peak_bytes is not None:
        return timing
    return replace(timing, peak_bytes=peaks.get((timing.arm, timing.batch, timing.prompt, timing.new_tokens)))


def _arm(cached: bool) -> str:
    return f"KV cache {'on' if cached else 'off'}"


def _decode_benchmark(name: str, data: dict[str, Any]) -> list[Timing]:
    meta, params, metrics = data["meta"], data["params"], data["metrics"]
    if metrics.get("decode_total_ms") is None:
        return []
    cached = bool(params["kv_cache"])
    return [
        Timing(
            source=name,
            arm=_arm(cached),
            cached=cached,
            gpu=meta.get("gpu_name"),
            dtype=meta.get("dtype"),
            model=_shape(params),
            batch=params["batch_size"],
            prompt=params["prompt_len"],
            new_tokens=params["max_new_tokens"],
            scope=str(params.get("phase", "")),
            decode_ms=metrics["decode_total_ms"],
            prefill_ms=metrics.get("prefill_ms"),
            printed_tokens_per_s=metrics.get("decode_tok_s"),
            sample_count=params.get("bench_iters"),
            warmup=params.get("warmup_iters"),
            peak_bytes=metrics.get("peak_alloc_bytes"),
        )
    ]


def _shape(sizes: dict[str, Any]) -> ModelShape | None:
    if not {"n_layer", "n_head", "n_embd", "vocab_size"} <= set(sizes):
        return None
    entry = {
        "layers": sizes["n_layer"],
        "heads": sizes["n_head"],
        "width": sizes["n_embd"],
        "vocabulary": sizes["vocab_size"],
        "learned_positions": sizes.get("block_size"),
        "kv_heads": sizes.get("n_kv_head"),
        "biases": sizes.get("bias"),
    }
    return shape_from(entry)


def _own_results(name: str, data: dict[str, Any]) -> list[Timing | Quality | Similarity]:
    settings, metrics = data["settings"], data["metrics"]
    if data["workload"] == "layer_similarity":
        return [
            Similarity(row["weight"], int(row["layer_a"]), int(row["layer_b"]), row["cosine"], settings["source"])
            for row in data.get("rows", ())
            if row["cosine"] is not None
        ]
    if data["workload"] == "perplexity" and metrics["perplexity"] is not None:
        return [
            Quality(
                settings["variant"],
                metrics["perplexity"],
                metrics["loss"],
                int(metrics["evaluated_tokens"]),
                metrics.get("loss_standard_error"),
            )
        ]
    if metrics.get("time_per_output_token_ms") is None:
        return []
    return [_own_timing(name, data)]


def _own_timing(name: str, data: dict[str, Any]) -> Timing:
    settings, metrics, spread = data["settings"], data["metrics"], _decode_spread(data)
    variant = settings.get("variant")
    cached = settings["kv_cache"] if variant is None else variant != "v0"
    percentiles = tuple(metrics.get(f"step_p{p}_ms") for p in (50, 95, 99))
    return Timing(
        source=name,
        arm=variant or _arm(cached),
        cached=cached,
        gpu=data["machine"]["device_name"],
        dtype=data["machine"]["dtype"],
        model=shape_from(settings["shape"]),
        batch=settings["batch_size"],
        prompt=settings["prompt_len"],
        new_tokens=settings["max_new_tokens"],
        scope=DECODE_ALONE,
        decode_ms=metrics["time_per_output_token_ms"] * settings["max_new_tokens"],
        prefill_ms=metrics.get("time_to_first_token_ms"),
        sample_count=spread.get("count"),
        samples_ms=tuple(_decode_samples(data)),
        warmup=data["warmup_iters"],
        ci_ms=_interval_ms(spread),
        step_percentiles_ms=None if None in percentiles else percentiles,
        steps_ms=_steps_ms(data),
        peak_bytes=data["peak_memory_bytes"],
        kv_bytes=metrics.get("kv_cache_bytes"),
        parts_ms=tuple(
            (part, metrics[f"{part}_ms"])
            for part in ("attention", "mlp", "head", "other")
            if metrics.get(f"{part}_ms") is not None
        ),
    )


def _decode_spread(data: dict[str, Any]) -> dict[str, Any]:
    spreads = data["spreads"]
    found: dict[str, Any] = spreads.get("decode") or spreads.get("decode_step") or {}
    return found


def _interval_ms(spread: dict[str, Any]) -> tuple[float, float] | None:
    low, high = spread.get("ci_low_ns"), spread.get("ci_high_ns")
    return None if low is None or high is None else (low / 1e6, high / 1e6)


def _steps_ms(data: dict[str, Any]) -> float | None:
    pairs = zip(_decode_samples(data), data["repetitions"], strict=True)
    timed = sorted((total, sum(rep["decode_step_ns"]) / 1e6) for total, rep in pairs if rep.get("decode_step_ns"))
    return timed[len(timed) // 2][1] if timed else None


def _decode_samples(data: dict[str, Any]) -> list[float]:
    return [sum(rep.get("decode_ns") or rep.get("decode_step_ns", ())) / 1e6 for rep in data["repetitions"]]


def _variant_benchmark(name: str, data: dict[str, Any]) -> list[Any]:
    about = {
        "model": _shape(data.get("model_config", {})),
        "gpu": data.get("gpu_name"),
        "prompt": data.get("prompt_length"),
    }
    make = _VARIANT_ROWS.get(data["benchmark_name"])
    rows = make(name, data) if make else []
    if about["prompt"] is None:
        # Rows on quality know no prompt; the others say more about the whole.
        return rows
    return [*rows, about]


def _latency(name: str, row: dict[str, Any]) -> list[Timing]:
    return [
        Timing(
            source=name,
            arm=row["version"],
            cached=row.get("use_cache"),
            gpu=row.get("gpu_name"),
            dtype=row.get("dtype"),
            model=_shape(row.get("model_config", {})),
            batch=row["batch_size"],
            prompt=row["prompt_length"],
            new_tokens=row["T"],
            scope="prefill and decode together",
            decode_ms=row["time_total_ms_median"],
            sample_count=row.get("n_samples"),
            ci_ms=_mean_interval(row),
        )
    ]


def _mean_interval(row: dict[str, Any]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean by the normal distribution, from the deviation and count in the row."""
    mean, std, count = (row.get(key) for key in ("time_total_ms_mean", "time_total_ms_std", "n_samples"))
    if mean is None or std is None or not count:
        return None
    half = 1.96 * std / count**0.5
    return mean - half, mean + half


def _peak_memory(name: str, row: dict[str, Any]) -> list[_Peak]:
    return [_Peak(row["version"], row["batch_size"], row["prompt_length"], row["T"], row["peak_memory_bytes"])]


def _capacity(name: str, row: dict[str, Any]) -> list[Users]:
    return [Users(row["version"], row["capacity_T"], row["max_batch_size"], row.get("peak_memory_bytes"))]


def _quality(name: str, row: dict[str, Any]) -> list[Quality]:
    return [Quality(row["version"], row["perplexity"], row["loss"], row["num_tokens_evaluated"])]


def _parts(name: str, row: dict[str, Any]) -> list[Parts]:
    times = {key: value for key, value in row["time_phase_ms"].items() if key != "total"}
    return [Parts(row["version"], row["T_star"], tuple(times.items()))]


def _counters(name: str, data: dict[str, Any]) -> list[Counted]:
    found = re.match(r"(v\w+?)_(prefill|decode)", name)
    variant, phase = found.groups() if found else (name, "unknown")
    sums = (data["total_flops"], data["dram_bytes"], data["time_ns"], data["kernel_count"])
    return [Counted(name, variant, phase, *sums, data.get("prompt_length"))]


def _peaks(name: str, data: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"peaks": (("flop_per_s", data["peak_flop_per_s"]), ("bytes_per_s", data["peak_bytes_per_s"]))}]


_VARIANT_ROWS: dict[str, Callable[[str, dict[str, Any]], list[Any]]] = {
    "latency_vs_T": _latency,
    "vram_vs_T": _peak_memory,
    "max_batch_capacity": _capacity,
    "perplexity": _quality,
    "per_phase_timing": _parts,
}
# What tells a kind, and what makes its records; the first that fits is taken.
_KINDS: tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[str, dict[str, Any]], list[Any]]], ...] = (
    (lambda d: {"schema_version", "workload", "settings", "metrics", "spreads"} <= set(d), _own_results),
    (lambda d: {"meta", "params", "metrics"} <= set(d) and "kv_cache" in d["params"], _decode_benchmark),
    (lambda d: {"benchmark_name", "version"} <= set(d), _variant_benchmark),
    (lambda d: {"dram_bytes", "total_flops", "time_ns", "kernel_count"} <= set(d), _counters),
    (lambda d: {"peak_flop_per_s", "peak_bytes_per_s"} <= set(d), _peaks),
)
