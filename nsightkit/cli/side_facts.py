"""What is known of one side of a comparison besides its times.

In: the datasets and sums of its process runs. Out: `SideFacts` for the comparability list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nsightkit.analysis.compare.comparability import COUNTED, SideFacts
from nsightkit.analysis.compare.run_sums import RunSums
from nsightkit.analysis.kernel_names import describe_kernel

if TYPE_CHECKING:
    from nsightkit.ingest.dataset import Dataset
    from nsightkit.run import Capture

# Families whose number type is the type of the model's arithmetic; a copy in FP32 says nothing of it.
_ARITHMETIC = ("GEMM", "GEMV", "attention", "convolution")
_CLEAR_MAJORITY = 0.6
_ARGUMENT_DTYPES = {
    "bfloat16": "BF16", "bf16": "BF16", "float16": "FP16", "half": "FP16", "fp16": "FP16", "float32": "FP32",
    "float": "FP32", "fp32": "FP32", "float64": "FP64", "double": "FP64", "fp64": "FP64", "tf32": "TF32",
}  # fmt: skip
_COUNTS = re.compile(r"\b\d+ (?=kernel launch|operator call)")


@dataclass(frozen=True)
class LoadedRun:
    """One process run: its dataset, its sums, and its sums per chosen NVTX range."""

    dataset: Dataset
    sums: RunSums
    ranges: Mapping[str, RunSums]
    backend: str
    gpu_count: int | None = None
    path: Path | None = None


def facts_of(name: str, runs: Sequence[LoadedRun]) -> SideFacts:
    """Return what the runs of one side have in common, and where they contradict each other."""
    per_run = [_facts(run) for run in runs]
    agreed, contradictions = {}, []
    for key in dict.fromkeys(key for facts in per_run for key in facts):
        values = {facts.get(key) for facts in per_run} - {None}
        if len(values) == 1:
            agreed[key] = str(values.pop())
        elif key in ("gpu", "dtype", "batch", "prompt", "scope", "gpu count"):
            contradictions.append(key)
        else:
            agreed[key] = "several"
    if len({run.sums.basis for run in runs}) > 1:
        contradictions.append("measurement")
    tokens = {run.dataset.info.tokens for run in runs}
    if len(tokens) > 1:
        contradictions.append("tokens")
    return SideFacts(
        name,
        runs[0].sums.basis,
        min(run.sums.launch_count for run in runs),
        max(run.sums.untimed_count for run in runs),
        len(runs),
        tokens.pop() if len(tokens) == 1 else None,
        agreed,
        _metrics(runs),
        tuple(dict.fromkeys(text for run in runs for text in _problems(run))),
        tuple(dict.fromkeys(text for run in runs for text in _warnings(run))),
        tuple(contradictions),
        any("CUDA graphs are hidden" in note for run in runs for c in _captures(run) for note in c.notes),
    )


def _captures(run: LoadedRun) -> list[Capture]:
    return [capture for capture in run.dataset.info.captures if capture.backend == run.backend]


def _facts(run: LoadedRun) -> dict[str, str]:
    info = run.dataset.info
    captures = _captures(run)
    tools = {f"{capture.backend} {capture.tool_version or ''}".strip() for capture in captures}
    # The program's name is the fact "workload": two programs captured whole have one scope.
    own = f"{info.workload} "
    scopes = {_COUNTS.sub("", capture.scope).removeprefix(own) for capture in captures if capture.scope}
    arguments = list(info.workload_args)
    told = _told(captures)
    options = [argument for capture in captures for argument in capture.argv]
    found = {
        "gpu": info.gpu_name or ", ".join(sorted(set(run.dataset.gpu_names().values()))),
        "gpu count": str(run.gpu_count or ""),
        "driver": info.driver_version,
        "cuda": info.cuda_version,
        "torch": info.torch_version,
        "host": info.hostname,
        "tool": ", ".join(sorted(tools)),
        "workload": info.workload,
        "arguments": " ".join(arguments) or ("none" if info.workload else None),
        # Scopes are sentences of a reader: those of two tools never agree word by word.
        "scope": f"{run.backend}: {'; '.join(sorted(scopes))}" if scopes and run.backend != "nsys-stats" else None,
        "dtype": _dtype(run.sums)
        or _ARGUMENT_DTYPES.get((_option(arguments, "dtype") or told.get("dtype", "")).lower()),
        "batch": _option(arguments, "batch", "batch-size", "batch_size") or told.get("batch_size"),
        "prompt": _option(arguments, "prompt-len", "prompt_len", "prompt-length") or told.get("prompt_len"),
        "warm-up": _option(arguments, "warmup", "warmup-iters", "warmup_iters", "warm-up"),
        "clock control": _option(options, "clock-control"),
        "cache control": _option(options, "cache-control"),
        "sm clock": _clock(run.sums),
    }
    return {key: value for key, value in found.items() if value}


def _told(captures: Iterable[Capture]) -> dict[str, str]:
    """Return what the workload itself wrote of its settings, defaults included."""
    found = (capture.settings.get("workload") for capture in captures)
    return {key: str(value) for item in found if isinstance(item, dict) for key, value in item.items()}


def _option(arguments: Sequence[str], *names: str) -> str | None:
    """Return the value of ``--name VALUE`` or ``--name=VALUE``."""
    for at, argument in enumerate(arguments):
        for name in names:
            if argument == f"--{name}" and at + 1 < len(arguments):
                return arguments[at + 1]
            if argument.startswith(f"--{name}="):
                return argument.partition("=")[2]
    return None


def _dtype(sums: RunSums) -> str | None:
    """Return the number type in which most of the arithmetic kernels' time is spent, if names say so clearly."""
    times: dict[str | None, int] = {}
    for kernel in sums.kernels.values():
        described = describe_kernel(kernel.kernel_name)
        if described.family in _ARITHMETIC:
            times[described.dtype] = times.get(described.dtype, 0) + kernel.total_ns
    total = sum(times.values())
    return next((dtype for dtype, ns in times.items() if dtype and ns >= _CLEAR_MAJORITY * total > 0), None)


def _clock(sums: RunSums) -> str | None:
    clocks = [kernel.counters["sm_clock_hz"] for kernel in sums.kernels.values() if "sm_clock_hz" in kernel.counters]
    return f"{sum(clocks) / len(clocks) / 1e9:.2f} GHz" if clocks else None


def _metrics(runs: Sequence[LoadedRun]) -> frozenset[str]:
    found = [frozenset(metric for kernel in run.sums.kernels.values() for metric in kernel.counters) for run in runs]
    return frozenset.intersection(*found)


def _problems(run: LoadedRun) -> Iterable[str]:
    for capture in _captures(run):
        if capture.exit_code:
            yield f"the profiled program ended with exit code {capture.exit_code}; mend it and capture again"
    if not run.sums.launch_count:
        for capture in _captures(run):
            yield from capture.notes
    for failure in run.dataset.failures:
        if failure.named or failure.is_capture:
            yield f"{failure.path} could not be read: {failure.reason}"


def _warnings(run: LoadedRun) -> Iterable[str]:
    untimed, launches = run.sums.untimed_count, run.sums.launch_count
    if 0 < untimed < launches:
        what = "launches could not be measured" if run.sums.basis == COUNTED else "launches have no duration"
        yield f"{untimed} of {launches} {what}; they are in no total"
    for capture in _captures(run) if launches else ():
        yield from capture.notes
    if run.dataset.has("diagnostics"):
        for row in run.dataset.rows("diagnostics"):
            if row["severity"] == "error":
                yield f"the profiler reports: {row['text']}"
