"""Every line of a roofline, whatever the capture holds: counters first, then work from shapes, then time alone.

In: rows of the tables kernel_counters, cpu_operators, kernel_launches and gpus. Out: `RooflineRow` values, each with
the tier of its inputs. Nothing is lost: what cannot be placed is listed with its time and what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nsightkit.analysis.ranges.autograd_ranges import launches_with_operators, operators_of
from nsightkit.analysis.ranges.range_names import phase_of
from nsightkit.analysis.results import ClassifiedKernel, RooflinePoint, RooflineRow
from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.analysis.roofs.levels import level_named, points_at
from nsightkit.analysis.roofs.peaks import LEVELS, Gpu, Level, Peak, bandwidth_of, first_level
from nsightkit.analysis.roofs.roofline import NS
from nsightkit.analysis.roofs.suspects import trusted_counters
from nsightkit.analysis.work.analytic import Roofs, analytic_rows, roofs_of
from nsightkit.analysis.work.work_model import CallRecord, call_records, with_ranges
from nsightkit.gpus import GpuSpec, gpu_of_key

Row = dict[str, Any]
TABLES_READ = ("kernel_counters", "cpu_operators", "kernel_launches", "gpus")


@dataclass(frozen=True, slots=True)
class RooflineChoice:
    """What to draw: levels of memory, one precision or all (None), a GPU for captures that name none, and own roofs."""

    levels: tuple[str, ...] = ("dram",)
    precision: str | None = None
    gpu: str | None = None  # key of gpus.toml
    roofs: Roofs | None = None  # measured ceilings, for calls without counters
    by_range: bool = False  # tell rows apart by the range that they ran in
    dtype: str | None = None  # of the tensors in NVTX ranges with shapes, a key of `autograd_ranges.TYPES`
    phases: tuple[str, ...] = ()  # that range is the innermost, or one of these names (see `range_names.phase_of`)


def roofline_rows(tables: Mapping[str, Sequence[Row]], choice: RooflineChoice | None = None) -> list[RooflineRow]:
    """Return the rows of every capture, the longest first.

    Args:
        tables: name -> rows, of `TABLES_READ`; a table that is not there counts as empty.
        choice: what to draw.

    Raises:
        NsightkitError: there is no such GPU.
    """
    wanted = choice or RooflineChoice()
    rows = _from_counters(tables.get("kernel_counters", ()), wanted)
    counted = {row["capture_id"] for row in tables.get("kernel_counters", ())}
    operators, launches = _by_capture(tables.get("cpu_operators", ())), _by_capture(tables.get("kernel_launches", ()))
    devices = _by_capture(tables.get("gpus", ()))
    of_ranges, ranges = _ranges(tables, wanted.dtype), _by_capture(tables.get("nvtx_ranges", ()))
    for capture in dict.fromkeys((*operators, *launches)):
        if capture in counted:
            continue
        roofs = roofs_for(devices.get(capture, ()), launches.get(capture, ()), wanted)
        records = _records(operators.get(capture, ()), launches.get(capture, ()), of_ranges.get(capture))
        if wanted.by_range:
            records = with_ranges(records, ranges.get(capture, ()), wanted.phases)
        found = analytic_rows(capture, records, roofs)
        rows += [row for row in found if _wants(row, wanted.precision)]
    return sorted(rows, key=lambda row: -(row.total_ns or 0.0))


def _ranges(tables: Mapping[str, Sequence[Row]], dtype: str | None) -> dict[str, tuple[list[Row], list[Row]]]:
    """Return capture -> operators from its NVTX ranges, and its launches that name them."""
    if dtype is None:
        return {}
    calls, launches = (_by_capture(tables.get(name, ())) for name in ("cuda_api_calls", "kernel_launches"))
    found = {}
    for capture, ranges in _by_capture(tables.get("nvtx_ranges", ())).items():
        operators = operators_of(ranges, dtype)
        if operators:
            named = launches_with_operators(launches.get(capture, ()), calls.get(capture, ()), operators)
            found[capture] = (operators, named)
    return found


def _records(
    operators: Sequence[Row], launches: Sequence[Row], of_ranges: tuple[list[Row], list[Row]] | None
) -> list[CallRecord]:
    if operators or of_ranges is None:
        return call_records(operators, launches)
    return call_records(*of_ranges)


def roofs_for(devices: Sequence[Row], launches: Sequence[Row], choice: RooflineChoice) -> Roofs:
    """Return the roofs of a capture's work: measured ones of the same kind of device, else the data sheet.

    Args:
        devices: rows of gpus of the capture.
        launches: rows of kernel_launches of the capture, of which `device_id` counts; none on a CPU.
        choice: what was asked for.
    """
    if choice.roofs is not None and _fits(choice.roofs, launches):
        return choice.roofs
    return roofs_of(_device(devices, launches, choice.gpu))


def _fits(roofs: Roofs, launches: Sequence[Row]) -> bool:
    return (roofs.device == "cuda") == bool(launches)


def _by_capture(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["capture_id"]].append(row)
    return found


def _wants(row: RooflineRow, precision: str | None) -> bool:
    label = (precision or "").replace("_", " ").casefold()
    return precision is None or (row.point is not None and row.point.precision.casefold() == label)


def _device(devices: Sequence[Row], launches: Sequence[Row], key: str | None) -> Gpu:
    """Return the one kind of GPU that the kernels ran on; an unknown one where they differ or there are no kernels."""
    used = {launch.get("device_id") for launch in launches}
    kinds = {
        (row["gpu_name"], row["compute_capability"], row["sm_count"]) for row in devices if row["device_id"] in used
    }
    if key is not None and launches:
        spec = gpu_of_key(key)
        return Gpu(spec.names[0], spec.compute_capability, spec.sm_count)
    return Gpu(*kinds.pop()) if len(kinds) == 1 else Gpu()


def _from_counters(rows: Sequence[Row], choice: RooflineChoice) -> list[RooflineRow]:
    if not rows:
        return []
    if not choice.by_range:
        return _of_launches(rows, choice)
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[range_of(row.get("nvtx_path"), choice.phases)].append(row)
    found = [replace(row, range_name=name) for name, part in parts.items() for row in _of_launches(part, choice)]
    whole = sum(row.total_ns or 0.0 for row in found if row.level == found[0].level)
    return [
        replace(row, time_share=row.total_ns / whole if whole and row.total_ns is not None else None) for row in found
    ]


def _of_launches(rows: Sequence[Row], choice: RooflineChoice) -> list[RooflineRow]:
    gpus = {(row["capture_id"], row["kernel_name"]): row for row in rows}
    assumed = gpu_of_key(choice.gpu) if choice.gpu else None
    found: list[RooflineRow] = []
    for kernel in classify_kernels(rows, gpu=choice.gpu):
        gpu = _gpu_of(gpus[kernel.capture_id, kernel.kernel_name], assumed)
        found += _of_kernel(kernel, gpu, choice)
    return found


def range_of(path: str | None, phases: Sequence[str] = ()) -> str:
    """Return the innermost range of a path as kernel_counters has it, or the outermost that is one of `phases`."""
    names = (path or "").split("/")
    if not phases:
        return names[-1]
    return next((phase for name in names if (phase := phase_of(name, phases))), "")


def _gpu_of(row: Row, assumed: GpuSpec | None) -> Gpu:
    name, capability, count = row.get("gpu_name"), row.get("compute_capability"), row.get("sm_count")
    if name is None and assumed:
        return Gpu(assumed.names[0], capability, count or assumed.sm_count)
    return Gpu(name, capability, count)


def _of_kernel(kernel: ClassifiedKernel, gpu: Gpu, choice: RooflineChoice) -> list[RooflineRow]:
    trusted, _ = trusted_counters(kernel.counters)
    levels = _levels(choice.levels, gpu)
    judging = first_level(gpu)
    found = []
    for level in levels:
        if choice.precision is None and level is judging:
            point = kernel.point
        else:
            point = next(iter(points_at(kernel.kernel_name, trusted, gpu, (level,), choice.precision)), None)
        if choice.precision is None or point is not None:
            found.append(_row(kernel, level, (point, bandwidth_of(trusted, gpu, level))))
    return found


def _levels(names: Sequence[str], gpu: Gpu) -> list[Level]:
    chosen = LEVELS if "all" in names else [level_named(name) for name in names]
    # A chip without DRAM counters is judged by L2.
    return list(dict.fromkeys(first_level(gpu) if level.name == "DRAM" else level for level in chosen))


def _row(kernel: ClassifiedKernel, level: Level, place: tuple[RooflinePoint | None, Peak | None]) -> RooflineRow:
    point, bandwidth = place
    moved, total = kernel.counters.get(level.moved), kernel.total_ns
    return RooflineRow(
        capture_id=kernel.capture_id,
        name=kernel.friendly_name,
        family=kernel.family,
        tier="counters" if point or kernel.verdict.tier == "counters" else kernel.verdict.tier,
        bound=kernel.verdict.bound,
        total_ns=total,
        time_share=kernel.time_share,
        count=kernel.launch_count,
        level=level.name,
        moved_bytes=moved,
        bytes_per_s=moved / total * NS if moved is not None and total else None,
        point=point,
        flop=point.flop if point else None,
        kernel_name=kernel.kernel_name,
        missing=_missing(kernel, level, bandwidth) or kernel.verdict.missing,
        flags=kernel.verdict.flags,
        range_name=range_of(kernel.nvtx_path),
        grid=kernel.grid,
        block=kernel.block,
        peak_bytes_per_s=bandwidth.low if bandwidth else None,
        bandwidth_source=bandwidth.source if bandwidth else "",
        immaterial=kernel.verdict.immaterial,
    )


def _missing(kernel: ClassifiedKernel, level: Level, bandwidth: Peak | None) -> tuple[str, ...]:
    """Return what a cache's level lacks for a place; the level that judges is the verdict's own affair."""
    if level is LEVELS[0] or kernel.verdict.tier == "none":
        return ()
    lacking = {level.moved: kernel.counters.get(level.moved), level.peak: bandwidth}
    return tuple(name for name, value in lacking.items() if value is None)


def by_family(rows: Sequence[RooflineRow]) -> list[RooflineRow]:
    """Return one row for each family, tier and roof: sums of work, bytes and time, never means of ratios.

    A family's verdict is that of its members if they agree, else UNKNOWN.
    """
    return _merged_by(rows, "family")


def by_range(rows: Sequence[RooflineRow]) -> list[RooflineRow]:
    """Return the same for ranges; `RooflineChoice.by_range` gives rows their range."""
    named = [replace(row, range_name=_place_of(row)) for row in rows]
    return _merged_by(named, "range_name")


def _place_of(row: RooflineRow) -> str:
    # What was sampled has a name for each GPU: their bandwidths and shares are apart.
    return row.name if row.tier == "sampled" else row.range_name or "(no range)"


def _merged_by(rows: Sequence[RooflineRow], field: str) -> list[RooflineRow]:
    groups: dict[tuple[Any, ...], list[RooflineRow]] = defaultdict(list)
    for row in rows:
        roof = (row.point.precision, row.point.roof_source) if row.point else None
        groups[row.capture_id, getattr(row, field), row.tier, row.level, roof].append(row)
    merged = [_summed_rows(members, getattr(members[0], field)) for members in groups.values()]
    return sorted(merged, key=lambda row: -(row.total_ns or 0.0))


def _summed_rows(rows: Sequence[RooflineRow], name: str) -> RooflineRow:
    first, bounds = rows[0], {row.bound for row in rows}
    total = _total([row.total_ns for row in rows])
    moved = _total([row.moved_bytes for row in rows])
    points = [row.point for row in rows if row.point]
    return replace(
        first,
        name=name,
        bound=bounds.pop() if len(bounds) == 1 else "UNKNOWN",
        total_ns=total,
        time_share=_total([row.time_share for row in rows]),
        count=sum(row.count for row in rows),
        moved_bytes=moved,
        bytes_per_s=moved / total * NS if moved is not None and total else None,
        point=_summed(points) if points else None,
        flop=_total([row.flop for row in rows]),
        formula="", shapes="", kernel_name="", grid="", block="",
        missing=tuple(dict.fromkeys(name for row in rows for name in row.missing)),
        flags=tuple(dict.fromkeys(flag for row in rows for flag in row.flags)),
    )  # fmt: skip


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _summed(points: Sequence[RooflinePoint]) -> RooflinePoint:
    first = points[0]
    flop, moved = sum(p.flop for p in points), sum(p.moved_bytes for p in points)
    duration = sum(p.duration_ns for p in points)
    compute_ns = sum(p.flop / p.peak_flop_per_s for p in points) * NS
    memory_ns = sum(p.moved_bytes / p.peak_bytes_per_s for p in points) * NS
    peak, bandwidth = flop / compute_ns * NS, moved / memory_ns * NS
    return replace(
        first,
        flop=flop, moved_bytes=moved, duration_ns=duration, flop_per_byte=flop / moved,
        flop_per_s=flop / duration * NS, ridge_flop_per_byte=peak / bandwidth, peak_flop_per_s=peak,
        peak_bytes_per_s=bandwidth, roof_flop_per_s=min(peak, flop / moved * bandwidth),
        efficiency=max(compute_ns, memory_ns) / duration,
        flags=tuple(dict.fromkeys(flag for p in points for flag in p.flags)),
    )  # fmt: skip
