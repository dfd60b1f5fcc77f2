"""What keeps more warps from an SM: registers, shared memory, the size of a block, or the number of blocks.

In: the block limits that ncu states, else launch geometry and resources of one kernel. Out: the name of the limiter.
From geometry it is named only where the occupancy that follows equals the theoretical occupancy that ncu printed.

Source: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": resident warps and blocks, shared
memory per SM. Registers: 65536 per SM, given out to whole warps in units of 256, four warps at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nsightkit.analysis.results import ClassifiedKernel

REGISTERS_PER_SM = 65536
_REGISTER_UNIT = 256
_WARP_UNIT = 4
_SHARED_UNIT = 128
# From compute capability 8.0 on the driver keeps this much shared memory of each block.
_RESERVED_BYTES = 1024
# Points of percent within which two occupancies are the same.
_SAME_PCT = 1.0
# From here on nothing limits it.
FULL_PCT = 99.5
# Canonical counter -> the limit in words.
STATED = {
    "blocks_by_warps": "the size of a block",
    "blocks_by_limit": "the number of blocks",
    "blocks_by_registers": "registers",
    "blocks_by_shared_memory": "shared memory",
    "blocks_by_barriers": "barriers",
}
_LEAST_LIMITS = 4


@dataclass(frozen=True, slots=True)
class SmLimits:
    """What one SM holds at once."""

    warps: int
    blocks: int
    shared_bytes: int


_LIMITS = {
    "7.0": SmLimits(64, 32, 96 << 10), "7.2": SmLimits(64, 32, 96 << 10), "7.5": SmLimits(32, 16, 64 << 10),
    "8.0": SmLimits(64, 32, 164 << 10), "8.6": SmLimits(48, 16, 100 << 10), "8.7": SmLimits(48, 16, 164 << 10),
    "8.9": SmLimits(48, 24, 100 << 10), "9.0": SmLimits(64, 32, 228 << 10), "10.0": SmLimits(64, 32, 228 << 10),
    "10.3": SmLimits(64, 32, 228 << 10), "12.0": SmLimits(48, 24, 100 << 10), "12.1": SmLimits(48, 24, 100 << 10),
}  # fmt: skip


def occupancy_limiter(kernel: ClassifiedKernel, compute_capability: str | None) -> str | None:
    """Return what limits the theoretical occupancy of `kernel`; None where it is full or not known."""
    stated = kernel.counters.get("theoretical_occupancy_pct")
    if stated is None or stated > FULL_PCT:
        return None
    return _by_counters(kernel.counters) or _by_geometry(kernel, compute_capability, stated)


def _by_counters(counters: Mapping[str, float | None]) -> str | None:
    """Return the limit by which the fewest blocks fit, as ncu states it; None where ncu states none."""
    known = {words: counters.get(name) for name, words in STATED.items()}
    blocks = {words: value for words, value in known.items() if value is not None}
    # Of one limit alone nobody can say that it is the smallest.
    if len(blocks) < _LEAST_LIMITS:
        return None
    return " and ".join(words for words, value in blocks.items() if value == min(blocks.values()))


def _by_geometry(kernel: ClassifiedKernel, compute_capability: str | None, stated: float) -> str | None:
    """Return what follows from the resources of the kernel and the chip, where it explains what ncu printed."""
    limits = _LIMITS.get(compute_capability or "")
    warps = -(-math.prod(int(size) for size in re.findall(r"\d+", kernel.block) or ["0"]) // 32)
    if limits is None or not warps:
        return None
    blocks = _blocks(kernel, limits, warps, reserved=float(compute_capability or 0) >= 8)
    fewest = min(blocks.values())
    if abs(100 * fewest * warps / limits.warps - stated) > _SAME_PCT:
        return None
    return " and ".join(name for name, count in blocks.items() if count == fewest)


def _blocks(kernel: ClassifiedKernel, limits: SmLimits, warps: int, reserved: bool) -> dict[str, int]:
    """Return how many blocks fit on an SM by each limit that is known."""
    found = {"the size of a block": limits.warps // warps, "the number of blocks": limits.blocks}
    registers = kernel.counters.get("registers_per_thread")
    if registers:
        per_warp = -(-int(registers) * 32 // _REGISTER_UNIT) * _REGISTER_UNIT
        found["registers"] = REGISTERS_PER_SM // per_warp // _WARP_UNIT * _WARP_UNIT // warps
    parts = [kernel.counters.get(f"{kind}_shared_memory_bytes") for kind in ("static", "dynamic")]
    shared = sum(int(part or 0) for part in parts) + (_RESERVED_BYTES if reserved else 0)
    if shared:
        found["shared memory"] = limits.shared_bytes // (-(-shared // _SHARED_UNIT) * _SHARED_UNIT)
    return found
