"""Compares what a capture holds with what the program is known to have done.

In: tables of a timeline and of counters, and the truth that the program wrote. Out: `Check` values: what was expected,
what was found, and whether that is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.analysis.roofs.roofline import ABOVE_ROOF

Row = Mapping[str, Any]
# A pause may last longer than was asked for, never shorter; the clock of the range itself takes a little.
_PAUSE = (0.95, 3.0)
# Padding and split products do a little more work, and a sum fetches a little more than its bytes.
_FLOP = (0.99, 1.1)
_BYTES = (0.9, 1.2)
# CUDA events around a kernel also see the launch.
_SPIN = (0.9, 1.02)
SPIN_KERNEL = "spin_kernel"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison; `passed` is None where the capture cannot tell, as without a GPU."""

    name: str
    expected: str
    found: str
    passed: bool | None


def check_timeline(truth: Mapping[str, Any], ranges: Sequence[Row], kernels: Sequence[Row], inside: int) -> list[Check]:
    """Return what a timeline shows of ranges, pause, kernels and graphs.

    Args:
        truth: as the program wrote it.
        ranges: rows of nvtx_ranges.
        kernels: rows of kernel_launches.
        inside: how many kernels were launched inside the range decode.
    """
    return [*_range_checks(truth, ranges), *_kernel_checks(truth, kernels, inside), *_pause_checks(ranges, kernels)]


def _range_checks(truth: Mapping[str, Any], ranges: Sequence[Row]) -> Iterator[Check]:
    counted = Counter(row["name"] for row in ranges)
    for name, count in truth["ranges"].items():
        yield Check(f"range {name}", f"{count} times", f"{counted[name]} times", counted[name] == count)
    pauses = [row["duration_ns"] or 0 for row in ranges if row["name"] == "pause"]
    for found in pauses[:1]:
        yield _within("pause", truth["pause_ns"], float(found), _PAUSE, "ns")


def _kernel_checks(truth: Mapping[str, Any], kernels: Sequence[Row], inside: int) -> Iterator[Check]:
    if truth["device"] != "cuda":
        yield Check("kernels", "on a GPU", "the program ran on the CPU", None)
        return
    least = truth["decode_kernels_least"]
    yield Check("kernels inside decode", f"at least {least}", str(inside), inside >= least)
    in_graphs = sum(row.get("graph_node_id") is not None for row in kernels)
    wanted = truth["graph_kernels_least"]
    yield Check("kernels inside CUDA graphs", f"at least {wanted}", str(in_graphs), in_graphs >= wanted)

    if truth.get("spin_ns") is not None:
        spins = [row["duration_ns"] for row in kernels if SPIN_KERNEL in (row.get("kernel_name") or "")]
        yield _within("duration of the spinning kernel", truth["spin_ns"], next(iter(spins), None), _SPIN, "ns")


def _pause_checks(ranges: Sequence[Row], kernels: Sequence[Row]) -> Iterator[Check]:
    """Yield whether ranges and kernels are on one clock: nothing runs while the program sleeps."""
    pauses = [
        (row["start_ns"], row["start_ns"] + (row["duration_ns"] or 0)) for row in ranges if row["name"] == "pause"
    ]
    if kernels:
        inside = sum(begin <= row["start_ns"] < end for row in kernels for begin, end in pauses)
        yield Check("kernels during the pause", "none", str(inside), inside == 0 and bool(pauses))


def check_captures(captures: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[Check]:
    """Return whether captures can be used, and whether what the profiler cost is known.

    Args:
        captures: backend, quality and overhead of each, as a run keeps them.
    """
    checks = []
    for backend, quality, overhead in captures:
        verdict = quality.get("verdict")
        why = "; ".join(quality.get("reasons", ()))[:200]
        found = f"{verdict}{f' ({why})' if why else ''}"
        checks.append(
            Check(f"quality of the {backend} capture", "good or usable", found, verdict in ("good", "usable"))
        )
        if backend == "nsys":
            checks.append(_overhead(overhead))
    return checks


def _overhead(record: Mapping[str, Any]) -> Check:
    low, high, ratio = (record.get(name) for name in ("low", "high", "ratio"))
    if low is None or high is None:
        return Check("overhead of tracing", "an interval", "not measured", False)
    found = f"{low:.2f} … {high:.2f} times as long"
    if ratio is None:
        return Check("overhead of tracing", "an interval below 2", f"{found}, lost in noise", None)
    return Check("overhead of tracing", "an interval below 2", found, 0 < low <= high < 2)


def check_counters(truth: Mapping[str, Any], counters: Sequence[Row], targets: Sequence[Row]) -> list[Check]:
    """Return what counters and their join show: only launches of decode, the right work, roofs, and an exact match."""
    checks = [_phase(counters), _match(targets)]
    work = sorted({_flop(row) for row in counters if _flop(row)})
    for number, flop in enumerate(sorted(truth["product_flop"]), 1):
        near = min(work, key=lambda value: abs(value - flop), default=None)
        checks.append(_within(f"operations of product {number}", flop, near, _FLOP, "FLOP"))
    moved = max((row.get("dram_bytes") or 0.0 for row in counters), default=None)
    checks.append(_within("bytes of the sum", truth["moved_bytes"], moved, _BYTES, "byte"))
    checks += _roofs(counters)
    ratios = [row["duration_ratio"] for row in targets if row["duration_ratio"] is not None]
    shown = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "none"
    checks.append(Check("ncu over nsys duration", "known for every target", shown, len(ratios) == len(targets) > 0))
    return checks


def _roofs(counters: Sequence[Row]) -> list[Check]:
    """Return what the roofline says: nothing above its roof, and the sum of large arrays bound by memory."""
    kernels = classify_kernels([dict(row) for row in counters])
    placed = [kernel.point for kernel in kernels if kernel.point]
    above = [point for point in placed if point.efficiency > ABOVE_ROOF]
    largest = max(kernels, key=lambda kernel: kernel.counters.get("dram_bytes") or 0.0, default=None)
    bound = largest.verdict.bound if largest else "nothing"
    found = f"{len(above)} of {len(placed)}"
    return [
        Check("kernels above their roof", "none of at least 1", found, bool(placed) and not above),
        Check("bound of the sum", "MEMORY", bound, bound == "MEMORY"),
    ]


def _phase(counters: Sequence[Row]) -> Check:
    outside = [row for row in counters if "decode" not in (row.get("nvtx_path") or "").split("/")]
    found = f"{len(outside)} of {len(counters)} outside"
    return Check("profiled launches lie inside decode", "none outside", found, bool(counters) and not outside)


def _match(targets: Sequence[Row]) -> Check:
    counted = Counter(row["match"] for row in targets)
    found = ", ".join(f"{count} {name}" for name, count in counted.items()) or "no targets"
    return Check("join of nsys and ncu", "all exact", found, set(counted) == {"exact"})


def _flop(row: Row) -> float:
    return sum(float(value) for name, value in row.items() if name.endswith("_flop") and value)


def _within(name: str, expected: float, found: float | None, band: tuple[float, float], unit: str) -> Check:
    text = f"{expected:.4g} {unit} ({band[0]:g} to {band[1]:g} times)"
    if found is None:
        return Check(name, text, "nothing", False)
    return Check(name, text, f"{found:.4g} {unit}", band[0] <= found / expected <= band[1])
