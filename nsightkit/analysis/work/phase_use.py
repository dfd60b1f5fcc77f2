"""How much of a GPU's arithmetic and bandwidth a phase used: MFU and MBU, on paper and as counted, side by side.

In: work and time of a phase, and the peaks; or lines of a roofline told apart by phase. Out: `PhaseUse`. Work on paper
is what the model needs; counted work is what ran (recomputation, padding and copies included). Each line has the time
of its own execution: a work is never divided by the time of another.

Source: model FLOP utilization, Chowdhery et al., "PaLM", 2022, section 4.1; bandwidth the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.work.paper_model import DTYPES, decode_cost, prefill_cost

if TYPE_CHECKING:
    from nsightkit.analysis.roofs.phase_rows import PhaseTime
    from nsightkit.analysis.work.model_shapes import ModelShape
    from nsightkit.analysis.work.paper_model import Work

NS = 1e9
# Where work comes from -> what its time is.
SCOPES = {
    "paper": "first start to last end of the phase's work on the GPU",
    "stated": "first start to last end of the range's work on the GPU",
    "counters": "kernel time under ncu, of the launches that it profiled",
    "shapes": "time of the kernels of the operators",
    "sampled": "first start to last end of the phase's work on the GPU",
}


@dataclass(frozen=True, slots=True)
class PhaseUse:
    """Use of one phase: shares of the peak, 0 to 1; None where an input is not known."""

    phase: str
    time_ns: float
    source: str  # a key of `SCOPES`: where the work comes from
    flop: float | None
    moved_bytes: float | None
    flop_share: float | None  # MFU
    bytes_share: float | None  # MBU
    flags: tuple[str, ...] = ()
    capture_id: str = ""
    peak: str = ""  # the type of arithmetic that MFU is held against, and where its peak comes from

    @property
    def scope(self) -> str:
        """What the time is."""
        return SCOPES.get(self.source, "")


@dataclass(frozen=True, slots=True)
class PhaseWork:
    """Work of a phase from one source."""

    source: str
    flop: float | None
    moved_bytes: float | None


def phase_use(
    phase: str, time_ns: float, works: Sequence[PhaseWork], flop_per_s: float | None, bytes_per_s: float | None
) -> list[PhaseUse]:
    """Return MFU and MBU of a phase, one record for each source of its work.

    Args:
        phase: prefill, decode, or the name of a range.
        time_ns: wall time of the phase without a profiler, or GPU time of the same scope; above zero.
        works: operations and bytes of the phase, by source.
        flop_per_s: peak of the type that the model computes in.
        bytes_per_s: bandwidth of the memory.
    """
    return [_use(phase, time_ns, work, flop_per_s, bytes_per_s) for work in works]


def _use(phase: str, time_ns: float, work: PhaseWork, flop_per_s: float | None, bytes_per_s: float | None) -> PhaseUse:
    seconds = time_ns / NS
    mfu = work.flop / seconds / flop_per_s if work.flop is not None and flop_per_s and seconds > 0 else None
    mbu = (
        work.moved_bytes / seconds / bytes_per_s
        if work.moved_bytes is not None and bytes_per_s and seconds > 0
        else None
    )
    flags = tuple(
        f"{name} above 100 %: the time, the work or the peak is of another scope"
        for name, value in (("MFU", mfu), ("MBU", mbu))
        if value is not None and value > 1
    )
    return PhaseUse(phase, time_ns, work.source, work.flop, work.moved_bytes, mfu, mbu, flags)


def uses_of_rows(rows: Iterable[RooflineRow]) -> list[PhaseUse]:
    """Return MFU and MBU of each phase from lines of a roofline that are told apart by phase, the longest first.

    A phase whose work comes from several sources has a line for each. Work that one of its rows lacks leaves the sum
    unknown; rows of the phase that no source covers are told as a share of its time.
    """
    phases: dict[tuple[str, str], list[RooflineRow]] = defaultdict(list)
    for row in rows:
        if row.range_name and row.level == "DRAM" and row.total_ns:
            phases[row.capture_id, row.range_name].append(row)
    found = [use for (capture, name), members in phases.items() for use in _of_phase(capture, name, members)]
    return sorted(found, key=lambda use: -use.time_ns)


def paper_uses(times: Iterable[PhaseTime], shape: ModelShape, work: Work) -> list[PhaseUse]:
    """Return MFU and MBU by the paper model of the phases prefill, decode and decode_step; others have no formula.

    Args:
        times: how long the phases took; each instance does the whole of the phase.
        shape: of the model.
        work: of one instance.
    """
    decode, steps = decode_cost(shape, work), max(work.new_tokens, 1)
    costs = {"prefill": (prefill_cost(shape, work), 1), "decode": (decode, 1), "decode_step": (decode, steps)}
    found = []
    for time in times:
        if time.name not in costs or not time.span_ns:
            continue
        cost, parts = costs[time.name]
        share = time.instance_count / parts
        peak = time.roofs.peaks.get(DTYPES[work.dtype][1].removesuffix("_flop_per_s"))
        band = time.roofs.bandwidth
        done = PhaseWork("paper", cost.flop * share, cost.moved_bytes * share)
        (use,) = phase_use(time.name, time.span_ns, [done], peak.low if peak else None, band.low if band else None)
        words = f"{work.dtype}; {peak.source}" if peak else f"no peak of {work.dtype} is known for this GPU"
        found.append(replace(use, capture_id=time.capture_id, peak=words))
    return found


def _of_phase(capture_id: str, name: str, rows: Sequence[RooflineRow]) -> list[PhaseUse]:
    sources: dict[str, list[RooflineRow]] = defaultdict(list)
    for row in rows:
        sources[_source(row)].append(row)
    without = sources.pop("", [])
    found = []
    for source, members in sources.items():
        time = sum(row.total_ns or 0.0 for row in members)
        whole = time + sum(row.total_ns or 0.0 for row in without)
        (use,) = phase_use(name, whole, [_work(source, members)], *_peaks(members))
        flags = (f"{1 - time / whole:.1%} of the time has no figure for its work",) if whole > time else ()
        assumed = dict.fromkeys(flag for row in members for flag in row.flags if flag.startswith("assumed"))
        words = _peak_words(members, use.flop_share is not None)
        gpus = (f"its times on {len(members)} GPUs are added",) if source == "sampled" and len(members) > 1 else ()
        found.append(replace(use, capture_id=capture_id, peak=words, flags=(*use.flags, *flags, *gpus, *assumed)))
    return found


def _source(row: RooflineRow) -> str:
    if row.tier == "analytic":
        return "stated" if row.family == "range" else "shapes"
    return row.tier if row.tier in ("counters", "sampled") else ""


def _work(source: str, rows: Sequence[RooflineRow]) -> PhaseWork:
    return PhaseWork(source, _sum([_flop(row) for row in rows]), _sum([row.moved_bytes for row in rows]))


def _flop(row: RooflineRow) -> float | None:
    """Return the work of a row: none where it has traffic alone; not known where it was sampled or not counted."""
    if row.tier == "sampled":
        # The arithmetic of its point is what the program states, which has a line of its own.
        return None
    uncounted = any(name.endswith("_flop") and name not in row.immaterial for name in row.missing)
    if row.flop is not None or row.moved_bytes is None or uncounted:
        return row.flop
    return 0.0


def _peaks(rows: Sequence[RooflineRow]) -> tuple[float | None, float | None]:
    """Return the effective peaks, FLOP and bytes ÷ their time at the roof; the first is None where a row lacks it."""
    working = [row for row in rows if row.flop]
    placed = [row.point for row in working if row.point]
    needed = sum(point.flop / point.peak_flop_per_s for point in placed)
    peak = sum(point.flop for point in placed) / needed if needed and len(placed) == len(working) else None
    widths = [(row.moved_bytes or 0.0, row.peak_bytes_per_s) for row in rows if row.peak_bytes_per_s]
    waited = sum(moved / width for moved, width in widths)
    most = max((width for _, width in widths), default=None)
    return peak, sum(moved for moved, _ in widths) / waited if waited else most


def _peak_words(rows: Sequence[RooflineRow], with_flop: bool) -> str:
    points = [row.point for row in rows if row.point] if with_flop else []
    types = dict.fromkeys(point.precision for point in sorted(points, key=lambda point: -point.flop))
    sources = dict.fromkeys(point.roof_source for point in points) or dict.fromkeys(
        row.bandwidth_source for row in rows if row.bandwidth_source
    )
    return "; ".join(part for part in (" + ".join(types), *list(sources)[:2]) if part)


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)
