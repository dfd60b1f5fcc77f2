"""Compares what a capture holds with what the program is known to have done.

In: tables of a timeline and of counters, and the truth that the program wrote. Out: `Check` values: what was expected,
what was found, and whether that is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
# A pause may last longer than was asked for, never shorter; the clock of the range itself takes a little.
_PAUSE = (0.95, 3.0)
# Padding and split products do a little more work, and a copy fetches a little more than its bytes.
_FLOP = (0.99, 1.1)
_BYTES = (0.9, 1.2)


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
    return [*_range_checks(truth, ranges), *_kernel_checks(truth, kernels, inside)]


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


def check_counters(truth: Mapping[str, Any], counters: Sequence[Row], targets: Sequence[Row]) -> list[Check]:
    """Return what counters and their join show: only launches of decode, the right work, and an exact match."""
    checks = [_phase(counters), _match(targets)]
    work = sorted({_flop(row) for row in counters if _flop(row)})
    for number, flop in enumerate(sorted(truth["product_flop"]), 1):
        near = min(work, key=lambda value: abs(value - flop), default=None)
        checks.append(_within(f"operations of product {number}", flop, near, _FLOP, "FLOP"))
    moved = max((row.get("dram_bytes") or 0.0 for row in counters), default=None)
    checks.append(_within("bytes of the copy", truth["copy_bytes"], moved, _BYTES, "byte"))
    ratios = [row["duration_ratio"] for row in targets if row["duration_ratio"] is not None]
    shown = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "none"
    checks.append(Check("ncu over nsys duration", "known for every target", shown, len(ratios) == len(targets) > 0))
    return checks


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
