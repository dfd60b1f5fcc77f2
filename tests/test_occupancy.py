"""Occupancy limiters are named only where the limits explain what ncu printed."""

from dataclasses import replace

import pytest

from builders.analysis import make_kernel
from nsightkit.analysis.advice import advice_by_kernel
from nsightkit.analysis.roofs.occupancy import STATED as OCCUPANCY
from nsightkit.analysis.roofs.occupancy import occupancy_limiter
from nsightkit.ingest.dataset import open_dataset


def kernel(block, stated, **counters):
    known = {"theoretical_occupancy_pct": stated, "static_shared_memory_bytes": 0.0, "dynamic_shared_memory_bytes": 0.0}
    return replace(make_kernel(0), block=block, counters={**known, **counters})


@pytest.mark.parametrize(
    ("chip", "block", "stated", "counters", "limiter"),
    [
        # 255 registers: 65536 // (256 × 32) = 8 warps of 64.
        ("8.0", "256×1×1", 12.5, {"registers_per_thread": 255.0}, "registers"),
        # 64 blocks of one warp would fit; 32 may be resident.
        ("8.0", "32×1×1", 50.0, {"registers_per_thread": 32.0}, "the number of blocks"),
        # 48 KiB + 1 KiB a block: two fit into 100 KiB, 8 warps of 48.
        (
            "8.9",
            "128×1×1",
            16.67,
            {"registers_per_thread": 32.0, "dynamic_shared_memory_bytes": 49152.0},
            "shared memory",
        ),
        # 32 warps a block: one fits into 48 warps.
        ("8.6", "1024×1×1", 66.67, {"registers_per_thread": 32.0}, "the size of a block"),
        # What the limits give is not what was printed.
        ("8.6", "1024×1×1", 33.3, {"registers_per_thread": 32.0}, None),
        ("8.6", "1024×1×1", 100.0, {}, None),
        ("3.5", "256×1×1", 50.0, {}, None),
        (None, "256×1×1", 50.0, {}, None),
        ("8.0", "", 50.0, {}, None),
    ],
)
def test_limiters(chip, block, stated, counters, limiter):
    found = occupancy_limiter(kernel(block, stated, **counters), chip)
    assert found == limiter or (limiter and found and limiter in found)


# Warps, blocks and KiB of shared memory that an SM holds. Source: CUDA C++ Programming Guide, "Compute Capabilities".
HOLDS = {"7.0": (64, 32, 96), "7.2": (64, 32, 96), "7.5": (32, 16, 64), "8.0": (64, 32, 164), "8.6": (48, 16, 100),
         "8.7": (48, 16, 164), "8.9": (48, 24, 100), "9.0": (64, 32, 228), "10.0": (64, 32, 228), "10.3": (64, 32, 228),
         "12.0": (48, 24, 100), "12.1": (48, 24, 100)}  # fmt: skip


@pytest.mark.parametrize("chip", HOLDS)
def test_what_an_sm_holds(chip):
    warps, blocks, shared = HOLDS[chip]
    reserved = 1 if float(chip) >= 8 else 0
    registers = {"registers_per_thread": 16.0}
    for fit, size in ((2, shared / 2), (1, shared / 2 + 0.5)):
        taken = registers | {"dynamic_shared_memory_bytes": (size - reserved) * 1024}
        assert occupancy_limiter(kernel("128×1×1", 100 * fit * 4 / warps, **taken), chip) == "shared memory"
    whole = occupancy_limiter(kernel("32×1×1", 100 * blocks / warps, **registers), chip)
    assert whole == "the number of blocks"


STATED = dict.fromkeys(("blocks_by_registers", "blocks_by_shared_memory", "blocks_by_warps", "blocks_by_limit"), 16.0)


@pytest.mark.parametrize(
    ("stated", "counters", "limiter"),
    [
        (25.0, STATED | {"blocks_by_registers": 4.0}, "registers"),
        (25.0, STATED | {"blocks_by_registers": 4.0, "blocks_by_warps": 4.0}, "the size of a block and registers"),
        (25.0, STATED | {"blocks_by_barriers": 2.0}, "barriers"),
        (100.0, STATED | {"blocks_by_registers": 4.0}, None),
        # One limit alone proves nothing.
        (25.0, {"blocks_by_registers": 4.0}, None),
    ],
)
def test_what_ncu_states_comes_first(stated, counters, limiter):
    assert occupancy_limiter(kernel("64×1×1", stated, **counters), None) == limiter


@pytest.mark.shared
def test_stated_limits_explain_the_occupancy_of_every_real_report(shared_data):
    """ncu's own identity: theoretical occupancy = fewest blocks × warps of a block ÷ warps that an SM holds."""
    rows = open_dataset(sorted((shared_data / "ncu-rep").glob("*.ncu-rep"))).rows("kernel_counters")
    checked = 0
    for row in rows:
        limits = [row[name] for name in OCCUPANCY if row[name] is not None]
        if row["theoretical_occupancy_pct"] is None or len(limits) < 4:
            continue
        threads = row["block_x"] * row["block_y"] * row["block_z"]
        warps = {"7.5": 32}.get(row["compute_capability"]) or (
            48 if row["compute_capability"] in ("8.6", "8.9", "12.0") else 64
        )
        expected = 100 * min(limits) * -(-threads // 32) / warps
        if row["cluster_x"] in (None, 1):
            assert row["theoretical_occupancy_pct"] == pytest.approx(min(expected, 100.0), abs=0.01), row["capture_id"]
            checked += 1
    assert checked >= 60


def test_advice_goes_to_its_kernel_and_the_largest_estimate_counts():
    kernels = [replace(make_kernel(0), capture_id="c", kernel_name="k", grid="2×1×1", block="32×1×1")]
    launches = [
        {"capture_id": "c", "kernel_name": "k", "launch_index": i, "grid_x": 2, "grid_y": 1, "grid_z": 1,
         "block_x": 32, "block_y": 1, "block_z": 1} for i in range(2)
    ]  # fmt: skip
    base = {"capture_id": "c", "section": "s", "title": "Small Grid", "message": "few blocks", "kind": "OPTIMIZATION"}
    results = [
        {**base, "launch_index": 0, "rule": "Local", "speedup_kind": "LOCAL", "estimated_speedup_pct": 90.0},
        {
            **base,
            "launch_index": 0,
            "rule": "LaunchConfiguration",
            "speedup_kind": "GLOBAL",
            "estimated_speedup_pct": 40.0,
        },
        {
            **base,
            "launch_index": 1,
            "rule": "LaunchConfiguration",
            "speedup_kind": "GLOBAL",
            "estimated_speedup_pct": 60.0,
        },
        {**base, "launch_index": 1, "rule": "Fine", "kind": "OK", "speedup_kind": None, "estimated_speedup_pct": None},
        {**base, "launch_index": 1, "rule": "Mute", "message": "", "speedup_kind": None, "estimated_speedup_pct": None},
        {**base, "launch_index": 9, "rule": "Nobody", "speedup_kind": "GLOBAL", "estimated_speedup_pct": 99.0},
    ]
    found = advice_by_kernel(results, launches, kernels)
    assert [(a.rule, a.estimated_speedup_pct, a.launch_count) for a in found[0]] == [
        ("LaunchConfiguration", 60.0, 2), ("Local", 90.0, 1),
    ]  # fmt: skip
