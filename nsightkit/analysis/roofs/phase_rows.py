"""Phases of a timeline as lines of a roofline: what nsys sampled in them, and the work that the program states.

In: tables by name. Out: capture -> `RooflineRow` values of its phases; none where there are neither samples nor marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nsightkit.analysis.roofs.roofline import NS
from nsightkit.analysis.work.analytic import Roofs

if TYPE_CHECKING:
    from nsightkit.analysis.overview import Tables
    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.results import RooflineRow
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice
    from nsightkit.analysis.work.phase_use import PhaseUse

SAMPLES = "gpu_metric_samples"
STATED_FLOP = "FLOP: as the program states them; bytes: sampled"


def with_phases(rows: list[RooflineRow], tables: Tables, choice: RooflineChoice) -> list[RooflineRow]:
    """Return `rows` with the phases of each capture in the place of its kernels of which only the time is known."""
    phases = phases_of(tables, choice)
    kept = [row for row in rows if row.tier != "none" or row.capture_id not in phases]
    return kept + [row for found in phases.values() for row in found]


def uses_by_phase(tables: Tables, choice: RooflineChoice) -> list[PhaseUse]:
    """Return MFU and MBU of each phase from every source of its work that the tables hold.

    Args:
        tables: of any number of captures.
        choice: GPU and roofs; `phases` where the names of the ranges are given, else those of `phase_names`.
    """
    from nsightkit.analysis.roofs.roofline_rows import TABLES_READ, roofline_rows
    from nsightkit.analysis.work.phase_use import uses_of_rows

    names = choice.phases or phase_names(tables)
    if not names:
        return []
    chosen = replace(choice, by_range=True, phases=names)
    given = {name: tables.rows(name) for name in (*TABLES_READ, "nvtx_ranges") if tables.has(name)}
    rows = with_phases(roofline_rows(given, chosen), tables, chosen)
    found = [use for use in uses_of_rows(rows) if use.phase in names]
    return sorted(found, key=lambda use: names.index(use.phase))


def phases_of(tables: Tables, choice: RooflineChoice) -> dict[str, list[RooflineRow]]:
    """Return capture -> its phases with what nsys sampled in them and with the work that the program states."""
    stated = stated_of(tables, choice)
    found = {capture: list(rows) for capture, rows in stated.items()}
    for capture, rows in sampled_of(tables).items():
        # Of a phase on several GPUs it is not known which share of the stated work each of them did.
        gpus = Counter(row.range_name for row in rows)
        told = {row.range_name: row for row in stated.get(capture, ()) if gpus[row.range_name] == 1}
        found.setdefault(capture, []).extend(_placed(row, told.get(row.range_name)) for row in rows)
    return found


def _placed(sampled: RooflineRow, stated: RooflineRow | None) -> RooflineRow:
    """Return a sampled phase with a place under the roofline, where the program states its arithmetic."""
    point, moved, time = stated.point if stated else None, sampled.moved_bytes, sampled.total_ns
    if point is None or not moved or not time or not sampled.peak_bytes_per_s:
        return sampled
    intensity, rate = point.flop / moved, point.flop / time * NS
    roof = min(point.peak_flop_per_s, intensity * sampled.peak_bytes_per_s)
    placed = replace(
        point, moved_bytes=moved, duration_ns=time, flop_per_byte=intensity, flop_per_s=rate, roof_flop_per_s=roof,
        ridge_flop_per_byte=point.peak_flop_per_s / sampled.peak_bytes_per_s, efficiency=rate / roof, tier="sampled",
        peak_bytes_per_s=sampled.peak_bytes_per_s, flags=(STATED_FLOP,),
        roof_source=f"{point.roof_source}; DRAM: {sampled.bandwidth_source}",
    )  # fmt: skip
    return replace(sampled, point=placed, flop=point.flop, flags=(*sampled.flags, STATED_FLOP))


def states_work(tables: Tables) -> bool:
    """Say whether a program stated work of its ranges (`annotate.state_work`)."""
    from nsightkit.analysis.arrays import words
    from nsightkit.analysis.work.stated_work import PREFIX

    if not (tables.has("nvtx_ranges") and tables.has("kernel_launches")):
        return False
    names = words(tables.arrow("nvtx_ranges", ("name",)), "name")[1].to_pylist()
    return any(name is not None and name.startswith(PREFIX) for name in names)


def stated_of(tables: Tables, choice: RooflineChoice | None = None) -> dict[str, list[RooflineRow]]:
    """Return capture -> ranges with the work that the program states; empty where it states none."""
    if not states_work(tables):
        return {}
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice
    from nsightkit.analysis.work.operations import CAPTURE_TABLES, by_capture
    from nsightkit.analysis.work.stated_work import stated_rows, stated_work

    arrow = {name: tables.arrow(name) for name in CAPTURE_TABLES if tables.has(name)}
    found = {}
    for part in by_capture(arrow):
        attribution = attribute(part)
        roofs = _roofs(tables, attribution, choice or RooflineChoice())
        stated = stated_work(attribution, part.nvtx_ranges)
        rows = stated_rows(part.capture_id, stated, attribution.total_ns, roofs)
        if rows:
            found[part.capture_id] = rows
    return found


def sampled_of(tables: Tables) -> dict[str, list[RooflineRow]]:
    """Return capture -> its phases with what nsys sampled in them; empty where nothing was sampled."""
    if not (tables.has(SAMPLES) and tables.has("kernel_launches")):
        return {}
    from nsightkit.analysis.roofs.sampled import captures_sampled
    from nsightkit.analysis.work.operations import CAPTURE_TABLES, by_capture

    arrow = {name: tables.arrow(name) for name in CAPTURE_TABLES if tables.has(name)}
    return captures_sampled(by_capture(arrow), tables.arrow(SAMPLES), tables.rows("gpus"))


def phase_names(tables: Tables) -> tuple[str, ...]:
    """Return the phases of the captures: ranges that state work, then those that split the timelines best.

    Where there is no timeline they are the outermost ranges of the launches that ncu profiled.
    """
    from nsightkit.analysis.ranges.phases import phase_instances
    from nsightkit.analysis.ranges.range_names import normal_name

    found = [row.range_name for rows in stated_of(tables).values() for row in rows]
    for attribution in _attributions(tables):
        found += phase_instances(attribution).names
    if not found and tables.has("kernel_counters"):
        paths = [row.get("nvtx_path") for row in tables.rows("kernel_counters")]
        found = [normal_name(path.split("/")[0]) for path in paths if path]
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """All instances of one range name that had GPU work, in one capture; nested namesakes count once."""

    capture_id: str
    name: str
    instance_count: int
    span_ns: int  # first start to last end of its work, summed over instances
    roofs: Roofs


def phase_times(tables: Tables, names: Sequence[str], choice: RooflineChoice) -> list[PhaseTime]:
    """Return how long the phases called `names` took on the GPU, and under which roofs."""
    import numpy as np

    from nsightkit.analysis.ranges.range_names import normalized
    from nsightkit.analysis.ranges.range_projection import project, repeats

    found = []
    for attribution in _attributions(tables):
        whole = project(attribution)
        of_name, labels = normalized(attribution.spans.names)
        label = of_name[attribution.node_name]
        once = whole.has_work & ~repeats(attribution, label)
        for name in names:
            mine = np.flatnonzero(once & (label == (labels.index(name) if name in labels else -1)))
            if mine.size:
                span = int((whole.last_ns[mine] - whole.first_ns[mine]).sum())
                roofs = _roofs(tables, attribution, choice)
                found.append(PhaseTime(attribution.capture_id, name, int(mine.size), span, roofs))
    return found


def _attributions(tables: Tables) -> Iterator[Attribution]:
    """Return the captures that have GPU work and ranges, one after the other."""
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.work.operations import CAPTURE_TABLES, by_capture

    if not (tables.has("kernel_launches") and tables.has("nvtx_ranges")):
        return
    for part in by_capture({name: tables.arrow(name) for name in CAPTURE_TABLES if tables.has(name)}):
        attribution = attribute(part)
        if (attribution.node >= 0).any():
            yield attribution


def _roofs(tables: Tables, attribution: Attribution, choice: RooflineChoice) -> Roofs:
    from nsightkit.analysis.roofs.roofline_rows import roofs_for

    devices = tables.rows("gpus") if tables.has("gpus") else []
    used = {device for device in attribution.operations.device.tolist() if device >= 0}
    mine = [row for row in devices if row["capture_id"] == attribution.capture_id]
    return roofs_for(mine, [{"device_id": device} for device in used], choice)
