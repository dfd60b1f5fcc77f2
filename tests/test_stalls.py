"""Why warps waited, and what a profiled kernel weighs in the timeline: sums over the launches that stand for it."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.analysis import classified, make_analysis, make_info, make_story
from nsightkit.analysis.counters.stalls import MEANINGS, stalls_by_kernel
from nsightkit.analysis.counters.timeline_weights import timeline_weights
from nsightkit.ingest.dataset import open_dataset
from nsightkit.ingest.ncu_rows import STALL_NUMBERS, STALL_REASONS, Launch, warp_stalls
from nsightkit.report.blocks import Items
from nsightkit.report.context import Context
from nsightkit.report.sections import build_sections


def kernel(grid="4×1×1"):
    return replace(classified(1)[0], capture_id="ncu", kernel_name="k", grid=grid, block="32×1×1")


def launch(index, duration, grid_x=4):
    return {
        "capture_id": "ncu", "launch_index": index, "kernel_name": "k", "duration_ns": duration,
        "grid_x": grid_x, "grid_y": 1, "grid_z": 1, "block_x": 32, "block_y": 1, "block_z": 1,
    }  # fmt: skip


def stall(index, reason, warps):
    return {"capture_id": "ncu", "launch_index": index, "reason": reason, "warps_per_issue": warps}


def test_launches_are_weighted_by_their_duration():
    rows = [stall(0, "long_scoreboard", 9.0), stall(0, "selected", 1.0), stall(1, "selected", 1.0)]
    found = stalls_by_kernel(rows, [launch(0, 100.0), launch(1, 300.0)], [kernel()])
    assert [(s.reason, s.warps_per_issue) for s in found[0]] == [("long_scoreboard", 2.25), ("selected", 1.0)]
    assert found[0][0].share == pytest.approx(2.25 / 3.25)


def test_a_launch_without_duration_or_kernel_is_left_out():
    rows = [stall(0, "wait", 1.0), stall(1, "wait", 1.0), stall(7, "wait", 1.0)]
    assert stalls_by_kernel(rows, [launch(0, None), launch(1, 5.0, grid_x=9)], [kernel()]) == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(STALL_REASONS), st.floats(1e-6, 1e3)), min_size=1,
        unique_by=lambda row: row[:2],
    )
)  # fmt: skip
def test_shares_add_up_to_one_and_stand_in_order(parts):
    found = stalls_by_kernel([stall(*part) for part in parts], [launch(i, 10.0) for i in range(4)], [kernel()])
    shares = [s.share for s in found[0]]
    assert sum(shares) == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)


def test_only_what_was_seen_is_a_row():
    raw = dict(zip(STALL_NUMBERS, (float(place) for place in range(len(STALL_NUMBERS))), strict=True))
    columns = warp_stalls([Launch("k", raw=raw), Launch("failed", failed=True, raw=raw), Launch("none")])
    assert columns["launch_index"] == [0] * (len(STALL_REASONS) - 1)
    assert columns["warps_per_issue"] == [float(place) for place in range(1, len(STALL_REASONS))]
    assert set(MEANINGS) | {"misc"} == set(STALL_REASONS)


def items(context):
    cards = next(s for s in build_sections(context) if s.id == "kernels").blocks[0]
    return [item for card in cards.blocks for p in card.blocks if isinstance(p, Items) for item in p.items]


def test_a_card_says_what_a_warp_waited_for():
    said = items(Context(make_info(), make_story(make_analysis(3))))
    words = "A warp takes 10.0 cycles from one instruction to the next: 60.0 % waiting for global or local memory"
    assert any(item.startswith(words) for item in said)


@pytest.mark.shared
def test_the_cycles_are_those_that_nvidias_rule_states(shared_data):
    dataset = open_dataset([shared_data / "ncu-rep" / "v100-lammps-full.ncu-rep"])
    rows = dataset.rows("warp_stalls")
    (message,) = [r["message"] for r in dataset.rows("rule_results") if r["title"] == "Long Scoreboard Stalls"]
    known = {row["reason"]: row["warps_per_issue"] for row in rows}
    assert f"{known['long_scoreboard']:.1f} cycles being stalled" in message
    # NVIDIA divides by a latency that it counted apart from the states.
    stated = float(re.search(r"about ([\d.]+)% of the total", message)[1])
    assert 100 * known["long_scoreboard"] / sum(known.values()) == pytest.approx(stated, abs=0.2)
    assert f"{sum(known.values()):.1f} cycles" in message


def target(indices, total, share, **changes):
    row = {
        "capture_id": "ncu", "launch_indices": json.dumps(indices), "launch_count": 10, "total_ns": total,
        "range_share": share, "nvtx_range": "decode", "match": "exact", "duration_ratio": 1.1, "flags": "[]",
    }  # fmt: skip
    return row | changes


def test_targets_of_one_kernel_add_up():
    rows = [target([0], 700, 0.5), target([1], 300, 0.2, match="shape", duration_ratio=0.5, flags='["slower"]')]
    found = timeline_weights(rows, [launch(0, 1.0), launch(1, 1.0)], [kernel()])
    weight = found[0]
    assert (weight.launch_count, weight.total_ns, weight.share) == (20, 1000, pytest.approx(0.7))
    assert (weight.match, weight.duration_ratio, weight.flags) == ("shape", 0.5, ("slower",))


def test_a_target_that_was_joined_to_nothing_or_to_two_shapes_weighs_nothing():
    launches = [launch(0, 1.0), launch(1, 1.0, grid_x=8)]
    kernels = [kernel(), kernel("8×1×1")]
    assert timeline_weights([target([], 5, 0.1), target([0, 1], 5, 0.1)], launches, kernels) == {}
    assert timeline_weights([target(None, 5, 0.1, launch_indices=None)], launches, kernels) == {}


def test_a_card_says_what_its_launches_stand_for():
    analysis = make_story(make_analysis(1))
    weights = timeline_weights(
        [target([0], 2_000_000, 0.4)],
        [launch(0, 1.0) | {"kernel_name": analysis.kernels[0].kernel_name, "capture_id": "ncu-full"}],
        [replace(analysis.kernels[0], grid="4×1×1", block="32×1×1")],
    )
    assert weights == {}
    known = timeline_weights([target([0], 2_000_000, 0.4)], [launch(0, 1.0)], [kernel()])
    told = replace(analysis, story=replace(analysis.story, weights=known))
    said = items(Context(make_info(), told))
    words = "Stands for 10 launches of the timeline, 2.00 ms, 40.0 % of the kernel time in decode (match: exact)"
    assert f"{words}; under ncu it took 1.10 times as long." in said
