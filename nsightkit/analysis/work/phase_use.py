"""How much of a GPU's arithmetic and bandwidth a phase used: MFU and MBU, on paper and as counted, side by side.

In: work and time of a phase, and the peaks. Out: `PhaseUse`. Work on paper is what the model needs; counted work is
what ran (recomputation, padding and copies included). Both are over the same time; where they differ the run does
more, or less, than the model needs.

Source: model FLOP utilization, Chowdhery et al., "PaLM", 2022, section 4.1; bandwidth the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nsightkit.analysis.results import RooflineRow


@dataclass(frozen=True, slots=True)
class PhaseUse:
    """Use of one phase: shares of the peak, 0 to 1; None where an input is not known."""

    phase: str
    time_ns: float
    source: str  # paper, counters or shapes
    flop: float | None
    moved_bytes: float | None
    flop_share: float | None  # MFU
    bytes_share: float | None  # MBU
    flags: tuple[str, ...] = ()


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
    seconds = time_ns * 1e-9
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


def work_of_rows(rows: Sequence[RooflineRow]) -> list[PhaseWork]:
    """Return the work of a phase from its roofline rows: counted and from shapes apart; None where a row lacks it."""
    found = []
    for tier, source in (("counters", "counters"), ("analytic", "shapes")):
        members = [row for row in rows if row.tier == tier and row.level == "DRAM"]
        if members:
            flops = [
                row.flop if row.flop is not None else 0.0 if row.moved_bytes is not None else None for row in members
            ]
            moved = [row.moved_bytes for row in members]
            found.append(PhaseWork(source, _sum(flops), _sum(moved)))
    return found


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)
