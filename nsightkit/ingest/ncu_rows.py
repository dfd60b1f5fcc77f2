"""What the readers of Nsight Compute share: one profiled launch, and the tables made of launches.

In: `Launch` values in the order in which they were profiled. Out: plain columns of kernel_counters, gpus,
rule_results, warp_stalls and metric_values, and the facts on which all launches agree. No Arrow is imported here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nsightkit import metrics
from nsightkit.ingest.reader import CaptureData, Wanted, wanted_columns, wants
from nsightkit.tables import COUNTER_COLUMNS, TABLES, Table

Triple = tuple[int | None, int | None, int | None]
Columns = dict[str, list[Any]]

# @section:Id:Text@ and @sass:address:Text@ show their text, @url:Text:address@ too.
_LINK = re.compile(
    r"@url:(?P<text>[^@]*?):(?:https?:)?//[^@]*@|@(?:section|source|sass|ptx|metric):[^@:]*:(?P<label>[^@]*)@"
)
_DEVICE = "device__attribute_"
GPU_NAME = "device__attribute_display_name"
DURATION = "gpu__time_duration.sum"
SCOPE = "each profiled kernel launch by itself"


@dataclass(frozen=True, slots=True)
class Rule:
    """One finding of ncu's rules; `kind` is OK, OPTIMIZATION, WARNING or ERROR."""

    section: str | None
    rule: str
    title: str | None = None
    message: str | None = None
    kind: str | None = None
    speedup_kind: str | None = None
    estimated_speedup_pct: float | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is kept in metric_values; exactly one of `value` and `text` is set, or neither."""

    metric_name: str
    unit: str | None
    value: float | None
    text: str | None = None


@dataclass(slots=True)
class Launch:
    """One profiled launch. `raw` holds finite values in base units under ncu's names; what is missing is not in it."""

    kernel_name: str
    function_name: str | None = None
    failed: bool = False
    device_id: int | None = None
    context_id: int | None = None
    stream_id: int | None = None
    grid: Triple = (None, None, None)
    block: Triple = (None, None, None)
    nvtx_path: str | None = None
    gpu_name: str | None = None
    compute_capability: str | None = None
    raw: dict[str, float] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    @property
    def sm_count(self) -> int | None:
        """Streaming multiprocessors of the GPU."""
        return as_int(self.raw.get(f"{_DEVICE}multiprocessor_count"))


# What describes the GPU, under ncu's names; asked for with every launch.
DEVICE_NUMBERS = tuple(
    _DEVICE + name
    for name in (
        "multiprocessor_count",
        "compute_capability_major",
        "compute_capability_minor",
        "clock_rate",
        "memory_clock_rate",
        "global_memory_bus_width",
        "total_memory",
        "l2_cache_size",
    )
)


def as_int(value: float | None) -> int | None:
    """Return a whole number, None for none or for what no table column can hold."""
    return int(value) if value is not None and math.isfinite(value) and abs(value) < 2**53 else None


def capability_of(raw: Mapping[str, float]) -> str | None:
    """Return major.minor of the GPU from its attributes."""
    major = as_int(raw.get(f"{_DEVICE}compute_capability_major"))
    minor = as_int(raw.get(f"{_DEVICE}compute_capability_minor"))
    return None if major is None or minor is None else f"{major}.{minor}"


def without_links(message: str) -> str:
    """Return a rule's message with its link markup replaced by the words that a reader sees."""
    return _LINK.sub(lambda match: match["text"] or match["label"] or "", message)


def capture_data(launches: Sequence[Launch], wanted: Wanted, **others: Any) -> CaptureData:
    """Return the wanted tables of `launches` as one capture; `others` are fields of `CaptureData`."""
    builders = {
        "kernel_counters": kernel_counters,
        "gpus": gpus,
        "rule_results": rule_results,
        "warp_stalls": warp_stalls,
        "metric_values": metric_values,
    }
    tables = {
        name: _only(build(launches), wanted_columns(wanted, name))
        for name, build in builders.items()
        if wants(wanted, name)
    }
    facts = agreed_facts(launches) | others.pop("facts", {})
    return CaptureData("ncu", tables, scope=SCOPE, facts=facts, **others)


def _only(columns: Columns, names: tuple[str, ...] | None) -> Columns:
    return columns if names is None else {name: columns[name] for name in columns if name in names}


def _empty(table: Table) -> Columns:
    return {column.name: [] for column in table.columns if column.name != "capture_id"}


def kernel_counters(launches: Sequence[Launch]) -> Columns:
    """Return the columns of kernel_counters, one row per launch."""
    columns = _empty(TABLES["kernel_counters"])
    for index, launch in enumerate(launches):
        row = _identity(index, launch) | _counters(launch)
        for name, values in columns.items():
            values.append(row[name])
    return columns


def _identity(index: int, launch: Launch) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(launch, name)
        for name in (
            "kernel_name",
            "function_name",
            "failed",
            "device_id",
            "context_id",
            "stream_id",
            "nvtx_path",
            "gpu_name",
            "compute_capability",
            "sm_count",
        )
    }
    row["launch_index"] = index
    for place, axis in enumerate("xyz"):
        row[f"grid_{axis}"], row[f"block_{axis}"] = launch.grid[place], launch.block[place]
    return row | _cluster(launch)


# Source: LaunchStats of ncu 2025.3.1; a launch without clusters has dimensions of 0 there.
CLUSTER_NUMBERS = tuple(f"launch__cluster_dim_{axis}" for axis in "xyz")


def _cluster(launch: Launch) -> dict[str, int | None]:
    sizes = [as_int(launch.raw.get(name)) for name in CLUSTER_NUMBERS]
    known = None not in sizes
    return {f"cluster_{axis}": max(size or 1, 1) if known else None for axis, size in zip("xyz", sizes, strict=True)}


def _counters(launch: Launch) -> dict[str, float | None]:
    if launch.failed:
        return dict.fromkeys(column.name for column in COUNTER_COLUMNS)
    return metrics.resolve(launch.raw, launch.compute_capability)


def gpus(launches: Sequence[Launch]) -> Columns:
    """Return the columns of gpus: each device that a launch ran on, once."""
    columns = _empty(TABLES["gpus"])
    seen: dict[int, Launch] = {}
    for launch in launches:
        if launch.gpu_name is not None or launch.compute_capability is not None:
            # Reports of 2019 name no device; they hold one.
            seen.setdefault(launch.device_id or 0, launch)
    for device_id, launch in sorted(seen.items()):
        row = _gpu(device_id, launch)
        for name, values in columns.items():
            values.append(row.get(name))
    return columns


def _gpu(device_id: int, launch: Launch) -> dict[str, Any]:
    def attribute(name: str) -> float | None:
        return launch.raw.get(_DEVICE + name) or None

    clock_khz, memory_clock_khz = attribute("clock_rate"), attribute("memory_clock_rate")
    bus_bits = attribute("global_memory_bus_width")
    return {
        "device_id": device_id,
        "gpu_name": launch.gpu_name,
        "compute_capability": launch.compute_capability,
        "sm_count": launch.sm_count,
        "max_clock_hz": clock_khz and clock_khz * 1e3,
        # Two transfers a clock: how the driver's two attributes give the data sheet's bandwidth.
        "memory_bytes_per_s": memory_clock_khz and bus_bits and 2 * memory_clock_khz * 1e3 * bus_bits / 8,
        "memory_bytes": as_int(attribute("total_memory")),
        "l2_bytes": as_int(attribute("l2_cache_size")),
    }


def rule_results(launches: Sequence[Launch]) -> Columns:
    """Return the columns of rule_results, one row per finding."""
    columns = _empty(TABLES["rule_results"])
    for index, launch in enumerate(launches):
        for rule in launch.rules:
            columns["launch_index"].append(index)
            for name in Rule.__slots__:
                columns[name].append(getattr(rule, name))
    return columns


# Source: WarpStateStats of ncu 2024.1 and 2025.3.1, "Warp State".
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
STALL_REASONS = (
    "barrier", "branch_resolving", "dispatch_stall", "drain", "gmma", "imc_miss", "lg_throttle", "long_scoreboard",
    "math_pipe_throttle", "membar", "mio_throttle", "misc", "no_instruction", "not_selected", "selected",
    "short_scoreboard", "sleeping", "tex_throttle", "wait",
)  # fmt: skip
STALL_NUMBERS = tuple(_STALL.format(reason) for reason in STALL_REASONS)


def warp_stalls(launches: Sequence[Launch]) -> Columns:
    """Return the columns of warp_stalls, one row per reason that was seen in a launch."""
    columns = _empty(TABLES["warp_stalls"])
    for index, launch in enumerate(launches):
        for reason, name in zip(STALL_REASONS, STALL_NUMBERS, strict=True):
            value = launch.raw.get(name)
            if value is not None and value > 0 and not launch.failed:
                for column, entry in (("launch_index", index), ("reason", reason), ("warps_per_issue", value)):
                    columns[column].append(entry)
    return columns


def metric_values(launches: Sequence[Launch]) -> Columns:
    """Return the columns of metric_values, one row per metric of each launch."""
    columns = _empty(TABLES["metric_values"])
    for index, launch in enumerate(launches):
        for metric in launch.metrics:
            columns["launch_index"].append(index)
            for name in Metric.__slots__:
                columns[name].append(getattr(metric, name))
    return columns


def agreed_facts(launches: Iterable[Launch]) -> dict[str, str]:
    """Return GPU name and compute capability where all launches agree on them."""
    kept = list(launches)
    names = {launch.gpu_name for launch in kept} - {None}
    capabilities = {launch.compute_capability for launch in kept} - {None}
    facts = {}
    if len(names) == 1:
        facts["gpu_name"] = str(names.pop())
    if len(capabilities) == 1:
        facts["compute_capability"] = str(capabilities.pop())
    return facts
