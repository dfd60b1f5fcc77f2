"""Findings: each from a rule with evidence, ranked by what is at stake, withheld where the evidence is not there."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.analysis import classified, make_top
from nsightkit.analysis import findings
from nsightkit.analysis.advice import KernelAdvice
from nsightkit.analysis.counters.timeline_weights import Weight
from nsightkit.analysis.findings import FindingInputs, find
from nsightkit.analysis.ranges.repetitions import Repetition
from nsightkit.analysis.results import KernelSummary, RooflineRow
from nsightkit.analysis.timeline.activity import Activity, Chains
from nsightkit.analysis.timeline.whole_run import COSTS, RunFigures


def kernel(name, family, total, launches=10, library="PyTorch ATen"):
    return KernelSummary(
        name, name, family, library, launches, total, 0.0, total / launches, total / launches, None, total // launches,
        total // launches, None, None,
    )  # fmt: skip


def shares(kernels):
    whole = sum(k.total_ns for k in kernels)
    return [replace(k, share=k.total_ns / whole) for k in kernels]


def figures(ratio, **costs):
    known = {**dict.fromkeys(COSTS, 0.0), **costs}
    known["GPU"] = 1 - sum(known.values())
    idle = sum(known[name] for name in ("LAUNCH", "HOST", "SYNCHRONIZATION"))
    late = (known["LAUNCH"] + known["HOST"]) / idle if idle else None
    corrected = None if ratio is None else max(0.0, 1 - (1 - idle) * max(ratio, 1.0))
    return RunFigures(1_000_000, known, idle, late, ratio, corrected, None if ratio is None else ratio <= 1.1, 5000.0)


def by_rule(found, rule):
    return [item for item in found if item.rule == rule]


def test_the_rules_on_the_list_are_the_rules_in_the_folder():
    folder = Path(findings.__file__).parent / "finding_rules"
    assert sorted(findings.RULES) == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def test_nothing_gives_nothing():
    assert find(FindingInputs()) == findings.Findings()


def test_launch_bound_needs_a_measured_overhead():
    told = find(FindingInputs(figures=figures(1.02, LAUNCH=0.7)))
    (finding,) = told.found
    assert finding.title.startswith("Launch-bound")
    assert (finding.stake_share, finding.stake_ns, finding.stake_of) == (0.7, 700_000, "span on the GPU")
    assert finding.confidence == "high"
    assert {n.label: n.value for n in finding.evidence}["of the idle time with an empty queue"] == 1.0


@pytest.mark.parametrize(("ratio", "said"), [(None, "was not measured"), (1.3, "1.30 times as long")])
def test_idle_time_is_not_judged_without_a_small_overhead(ratio, said):
    told = find(FindingInputs(figures=figures(ratio, LAUNCH=0.7)))
    assert not any("bound" in finding.title for finding in told.found)
    assert said in told.withheld[0].reason


def test_without_an_overhead_idle_time_is_a_fact_with_a_reservation():
    (fact,) = find(FindingInputs(figures=figures(None, LAUNCH=0.7))).found
    assert fact.title == "Give the GPU work while it idles, once the cause is measured"
    assert (fact.confidence, fact.stake_share) == ("low", 0.7)
    assert "tracing makes gaps of its own" in fact.reason
    assert find(FindingInputs(figures=figures(1.3, LAUNCH=0.7))).found == ()


def test_a_low_busy_share_alone_proves_no_launch_bound():
    told = find(FindingInputs(figures=figures(1.0, SYNCHRONIZATION=0.6, LAUNCH=0.1)))
    assert [f.title for f in told.found] == ["Synchronize less: host and GPU wait for each other in turn"]


def test_idle_time_that_tracing_may_have_made_is_withheld():
    # Of 31 % idle, 1.05 times the busy time of the untraced run leaves less than the threshold of 30 %.
    told = find(FindingInputs(figures=figures(1.05, LAUNCH=0.31)))
    assert told.found == ()
    assert told.withheld[0].reason == "the idle share does not survive the correction for the overhead of tracing"


def test_exposed_communication_is_said_without_an_overhead():
    (finding,) = find(FindingInputs(figures=figures(None, COMMUNICATION=0.2))).found
    assert finding.title == "Overlap communication with computing: it runs alone"
    assert finding.stake_share == 0.2


@pytest.mark.parametrize(("ratio", "share"), [(None, 0.06), (1.4, 0.06), (1.0, 0.36)])
def test_idle_time_inside_blocking_copies_is_no_copy(ratio, share):
    blocked = replace(figures(ratio, TRANSFER=0.36, LAUNCH=0.4), waited={"TRANSFER": 0.3}, idle_share=0.7)
    (finding,) = [one for one in find(FindingInputs(figures=blocked)).found if one.title.startswith("Overlap copies")]
    assert finding.stake_share == pytest.approx(share)
    told = {n.label: n.value for n in finding.evidence}
    assert told["of the span goes to copies alone"] == pytest.approx(0.06)
    idle = "of the span idle while the host was inside a blocking copy"
    assert told.get(idle) == (0.3 if ratio == 1.0 else None)
    if ratio is None:
        (fact,) = [one for one in find(FindingInputs(figures=blocked)).found if one.title.startswith("Give the GPU")]
        assert {n.label: n.value for n in fact.evidence}[idle] == 0.3


@pytest.mark.parametrize(("nccl", "said"), [(300, True), (10, False)])
def test_sums_alone_do_not_tell_what_hides_communication(nccl, said):
    told = find(FindingInputs(top_kernels=shares([kernel("nccl", "communication", nccl), kernel("g", "GEMM", 700)])))
    reasons = [one.reason for one in by_rule(told.withheld, "waiting")]
    assert bool(reasons) == said
    assert all(reason.startswith("communication takes 30.0 % of the kernel time") for reason in reasons)


def test_families_give_shares_of_the_kernel_time():
    cast = "void at::native::unrolled_elementwise_kernel<LoadWithCast<1>>"
    top = shares([kernel("gemv", "GEMV", 500), kernel(cast, "copy", 100), kernel("copy", "copy", 50),
                  kernel("cat", "cat", 40), kernel("gemm", "GEMM", 310)])  # fmt: skip
    found = by_rule(find(FindingInputs(top_kernels=top)).found, "families")
    assert {f.title.split()[0]: f.stake_share for f in found} == {
        "Batch": 0.25, "Keep": 0.1, "Avoid": 0.05, "Write": 0.04,
    }  # fmt: skip
    assert found[0].confidence == "low"


def test_the_kernels_of_a_finding_stand_in_the_order_of_their_time():
    top = shares([kernel(f"gemv_{i}", "GEMV", 900 - i) for i in range(12)])
    (finding,) = by_rule(find(FindingInputs(top_kernels=top)).found, "families")
    assert finding.kernels == tuple(f"gemv_{i}" for i in range(12))


def test_chains_save_all_but_the_longest_of_each():
    activity = Activity("c", 1000, (), (), Chains(2, 5, 300, 180), 900)
    (finding,) = find(FindingInputs(top_kernels=shares([kernel("a", "GEMM", 900)]), activity=activity)).found
    assert (finding.rule, finding.stake_ns, finding.stake_share) == ("chains", 180, 0.2)


def test_sums_alone_give_chains_low_confidence():
    top = shares([kernel("add", "elementwise", 300), kernel("gemm", "GEMM", 700)])
    (finding,) = find(FindingInputs(top_kernels=top)).found
    assert (finding.confidence, finding.stake_share, finding.stake_ns) == ("low", 0.15, 150)
    assert "order of the launches" in finding.reason


def test_attention_kernels_are_not_compared_without_shapes():
    top = shares(
        [kernel("a", "attention", 900, library="xFormers"), kernel("b", "attention", 100, library="FlashAttention")]
    )
    told = find(FindingInputs(top_kernels=top))
    assert by_rule(told.found, "attention") == []
    assert "FlashAttention, xFormers" in by_rule(told.withheld, "attention")[0].reason


def test_a_cold_start_is_a_finding_about_the_measurement():
    rows = [Repetition("decode", 1, 5, 400, 100.0, 100.0, None, 4.0, None, 90, 400)]
    activity = Activity("c", 800, (), (), Chains(0, 0, 0, 0), 0)
    (finding,) = find(FindingInputs(repetitions=rows, activity=activity)).found
    assert (finding.rule, finding.stake_share) == ("cold_start", None)
    assert finding.evidence[0].value == 4.0
    # Each name once, in the order of time, and no more than two.
    others = [replace(rows[0], name=name) for name in ("prefill", "decode", "prefill", "step")]
    found = by_rule(find(FindingInputs(repetitions=others, activity=activity)).found, "cold_start")
    assert [finding.title.split("'")[1] for finding in found] == ["prefill", "decode"]


def test_kernels_below_their_roof_are_ranked_by_their_share_of_the_profiled_time():
    kernels = classified(6)
    found = find(FindingInputs(kernels=kernels)).found
    first = found[0]
    place = next(i for i, k in enumerate(kernels) if k.kernel_name == first.kernels[0])
    assert first.stake_share == pytest.approx((1 - kernels[place].point.efficiency) * kernels[place].time_share)
    assert first.stake_of == "profiled GPU time"
    assert len(found) <= 5


def test_with_a_timeline_a_kernel_weighs_what_it_weighs_there():
    kernels = classified(2)
    top = shares([kernel(kernels[0].kernel_name, "GEMM", 100), kernel("other", "GEMM", 900)])
    told = find(FindingInputs(top_kernels=top, kernels=kernels))
    (finding,) = by_rule(told.found, "kernel_limits") or (None,)
    assert finding is None or finding.stake_of == "kernel time"
    assert "1 of 2 profiled kernels" in by_rule(told.withheld, "kernel_limits")[0].reason
    weak = replace(kernels[0], point=replace(kernels[0].point, efficiency=0.25))
    (finding,) = by_rule(find(FindingInputs(top_kernels=top, kernels=[weak])).found, "kernel_limits")
    assert finding.stake_share == pytest.approx(0.075)
    assert finding.stake_ns == pytest.approx(75)


def test_a_roof_says_nothing_of_a_kernel_that_another_rule_judged():
    one = next(k for k in classified(6) if k.point is not None and k.verdict.rule == "roofline")
    other = replace(one, verdict=replace(one.verdict, rule="ncu", tier="throughput", bound="COMPUTE"))
    assert by_rule(find(FindingInputs(kernels=(one,))).found, "kernel_limits")
    assert by_rule(find(FindingInputs(kernels=(other,))).found, "kernel_limits") == []


def test_flagged_points_give_no_stake_and_local_estimates_none_either():
    (one,) = classified(1)
    flagged = replace(one, point=replace(one.point, flags=("1.2 times the roof",)))
    local = KernelAdvice("IssueSlotUtilization", "", "m", "OPTIMIZATION", "LOCAL", 80.0, 1)
    assert find(FindingInputs(kernels=[flagged], advice={0: (local,)})).found == ()
    world = replace(local, speedup_kind="GLOBAL")
    calm = replace(flagged, counters=flagged.counters | {"sm_throughput_pct": 10.0, "memory_throughput_pct": 15.0})
    (finding,) = find(FindingInputs(kernels=[calm], advice={0: (local, world)})).found
    assert finding.stake_share == pytest.approx(0.8)
    assert "IssueSlotUtilization" in finding.basis


def test_no_estimate_saves_more_than_the_busiest_unit_leaves():
    # NVIDIA's rule promises half of the time of a kernel whose SMs are at 77 % of their peak.
    one = replace(classified(1)[0], point=None)
    busy = replace(one, counters=one.counters | {"sm_throughput_pct": 77.24, "memory_throughput_pct": 33.53})
    (finding,) = find(FindingInputs(kernels=[busy], advice={0: (advice("LaunchConfiguration", 50.0),)})).found
    assert finding.stake_share == pytest.approx(0.2276)
    assert finding.basis == "the distance of its busiest unit from its peak"
    assert {n.label: n.value for n in finding.evidence}["of its peak on its busiest unit"] == 77.24


def test_fewer_bytes_may_save_more_than_the_busiest_unit_or_the_roof_leaves():
    one = replace(classified(1)[0], point=None)
    wasteful = replace(one, counters=one.counters | {"sm_throughput_pct": 1.3, "memory_throughput_pct": 61.84})
    rule = advice("UncoalescedGlobalAccess", 74.1)
    (finding,) = find(FindingInputs(kernels=[wasteful], advice={0: (rule,)})).found
    assert finding.stake_share == pytest.approx(0.741)
    near = judged("MEMORY", waves_per_sm=8.0)
    near = replace(near, point=replace(near.point, efficiency=0.9))
    finding = cause_of(near, [rule])
    assert finding.stake_share == pytest.approx(0.741)
    told = {n.label: n.value for n in finding.evidence}
    assert told["of its time could go, by NVIDIA's rule UncoalescedGlobalAccess"] == 74.1
    assert told["of its roof"] == 0.9
    assert cause_of(near, [advice("CPIStall", 74.1, title="x")]).stake_share == pytest.approx(0.1)


def test_words_and_estimate_are_of_one_rule():
    calm = replace(
        judged(waves_per_sm=8.0), point=None,
        counters=judged(waves_per_sm=8.0).counters | {"sm_throughput_pct": 10.0, "memory_throughput_pct": 15.0},
    )  # fmt: skip
    local = advice("TheoreticalOccupancy", 50.0, "LOCAL")
    finding = cause_of(calm, [local, advice("WorkloadImbalance", 30.0)], limiters={0: "registers"})
    assert finding.title.endswith(": even out the work among its SMs")
    assert (finding.stake_share, finding.basis) == (0.3, "NVIDIA's estimate, rule WorkloadImbalance")
    other = cause_of(calm, [advice("LaunchConfiguration", 30.0, title="Tail Effect")])
    assert other.title.endswith(": follow NVIDIA's rule Tail Effect")


@given(
    st.lists(
        st.tuples(st.sampled_from(["GEMV", "copy", "cat", "elementwise", "GEMM"]), st.integers(1, 10**12)), max_size=20
    )
)
def test_stakes_are_within_their_scope_and_in_order(parts):
    top = shares([kernel(f"k{i}", family, total) for i, (family, total) in enumerate(parts)]) if parts else []
    found = find(FindingInputs(top_kernels=top)).found
    stakes = [f.stake_share for f in found]
    assert stakes == sorted(stakes, reverse=True)
    assert all(0.02 <= share <= 1.0 for share in stakes)


def test_findings_do_not_change_with_time_units():
    top = make_top(6)
    scaled = [replace(k, total_ns=k.total_ns * 1000) for k in top]
    assert [f.title for f in find(FindingInputs(top_kernels=top)).found] == [
        f.title for f in find(FindingInputs(top_kernels=scaled)).found
    ]


def call(name, kernel_name, mean, shapes="8×64×64 BFloat16, 8×64×64 BFloat16, 8×64×64 BFloat16", count=4):
    """All calls of an attention operator with one set of shapes; their whole is 10 µs."""
    total = float(mean * count)
    return RooflineRow(
        "torch", name, "attention", "analytic", "UNKNOWN", total, total / 10_000, count, "DRAM", 1e6, None, None,
        shapes=shapes, kernel_name=kernel_name,
    )  # fmt: skip


SLOW = "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel::Params)"
FAST = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128>>(pytorch_flash::Flash_fwd_params)"


def test_a_slower_attention_kernel_at_equal_shapes_is_found():
    rows = [call("aten::_efficient_attention_forward", SLOW, 1000), call("aten::_flash_attention_forward", FAST, 400)]
    (finding,) = by_rule(find(FindingInputs(work=rows)).found, "attention")
    assert finding.stake_ns == pytest.approx(4 * (1000 - 400))
    assert finding.stake_share == pytest.approx(0.24)
    assert [n.value for n in finding.evidence] == [1000, 400, 4]
    assert "FlashAttention" in finding.action
    assert finding.kernels == (SLOW,)


@pytest.mark.parametrize(
    "other",
    [
        call("flash", FAST, 400, shapes="8×64×128 BFloat16, 8×64×128 BFloat16, 8×64×128 BFloat16"),  # other shapes
        call("flash", FAST, 400, shapes="8×64×64 Half, 8×64×64 Half, 8×64×64 Half"),  # other types
        call("flash", FAST, 900),  # as fast within noise
        call("flash", SLOW, 400),  # the same kernel
        replace(call("flash", FAST, 400), capture_id="another machine"),
        call("flash", FAST, 400, shapes=""),  # shapes not recorded
    ],
)
def test_attention_that_differs_in_more_than_the_kernel_is_no_finding(other):
    assert by_rule(find(FindingInputs(work=[call("efficient", SLOW, 1000), other])).found, "attention") == []


def memory_bound(family="GEMM", hits=20.0, **changes):
    """A kernel at 80 % of DRAM's roof whose arithmetic would take half of its time."""
    one = next(k for k in classified(6) if k.point is not None and k.verdict.bound == "MEMORY")
    point = replace(
        one.point, duration_ns=100.0, moved_bytes=80.0, peak_bytes_per_s=1e9, flop=50.0, peak_flop_per_s=1e9,
        efficiency=0.8,
    )  # fmt: skip
    known = {"family": family, "point": point, "total_ns": 200.0, "time_share": 0.5} | changes
    return replace(one, counters=one.counters | {"l2_hit_rate_pct": hits}, **known)


def test_poor_reuse_of_l2_stakes_the_way_to_the_next_roof():
    (finding,) = by_rule(find(FindingInputs(kernels=[memory_bound()])).found, "reuse")
    assert finding.stake_ns == pytest.approx((0.8 - 0.5) * 200)
    assert finding.stake_share == pytest.approx(0.15)
    assert {n.label: n.value for n in finding.evidence}["of its L2 accesses hit"] == 20.0
    below_l2 = memory_bound()
    near = replace(below_l2.point, level="L2", moved_bytes=70.0, peak_bytes_per_s=1e9)
    (finding,) = by_rule(find(FindingInputs(kernels=[replace(below_l2, other_levels=(near,))])).found, "reuse")
    assert finding.stake_share == pytest.approx(0.05)


def test_reuse_weighs_in_the_timeline_where_there_is_one():
    one = memory_bound()
    alike = replace(kernel(one.kernel_name, "GEMM", 1000), min_ns=90, max_ns=110)
    top = shares([alike, kernel("other", "GEMM", 3000)])
    (finding,) = by_rule(find(FindingInputs(kernels=[one], top_kernels=top)).found, "reuse")
    assert (finding.stake_of, finding.stake_ns) == ("kernel time", pytest.approx(0.3 * 1000))
    unlike = shares([replace(alike, max_ns=900), kernel("other", "GEMM", 3000)])
    assert by_rule(find(FindingInputs(kernels=[one], top_kernels=unlike)).found, "reuse") == []


def test_findings_of_different_scopes_are_ranked_by_time_and_not_by_share():
    # 40 % of 1 ms of kernel time is less than 30 % of a span of 2 ms.
    waiting = replace(figures(1.02, TRANSFER=0.3), span_ns=2_000_000)
    top = shares([kernel("gemv", "GEMV", 800_000), kernel("gemm", "GEMM", 200_000)])
    found = find(FindingInputs(top_kernels=top, figures=waiting)).found
    assert [(one.rule, one.stake_ns) for one in found] == [("waiting", 600_000), ("families", 400_000)]


@pytest.mark.parametrize(
    "decoy",
    [
        memory_bound(family="elementwise"),  # streams: there is nothing to reuse
        memory_bound(family="GEMV"),  # reads its matrix once
        memory_bound(hits=85.0),  # L2 does its work
        memory_bound(hits=None),  # not known
        memory_bound(hits=340.0),  # a percentage that cannot be
        memory_bound(point=replace(memory_bound().point, moved_bytes=30.0)),  # DRAM is not what it waits for
        memory_bound(point=replace(memory_bound().point, flop=90.0)),  # arithmetic takes as long
        memory_bound(point=replace(memory_bound().point, flags=("1.3 times the roof",))),
        memory_bound(point=None),
    ],
)
def test_low_hit_rates_without_lost_time_are_no_finding(decoy):
    assert by_rule(find(FindingInputs(kernels=[decoy])).found, "reuse") == []


def cause_of(kernel, advice=(), limiters=None):
    told = find(FindingInputs(kernels=[kernel], advice={0: tuple(advice)}, limiters=limiters or {}))
    (finding,) = by_rule(told.found, "kernel_limits")
    return finding


def judged(bound="LATENCY", **counters):
    one = next(k for k in classified(6) if k.point is not None and k.verdict.rule == "roofline")
    return replace(
        one, counters=one.counters | counters, point=replace(one.point, efficiency=0.1, flags=()), time_share=1.0,
        verdict=replace(one.verdict, bound=bound),
    )  # fmt: skip


def advice(rule, percent, kind="GLOBAL", title=""):
    return KernelAdvice(rule, title, "m", "OPTIMIZATION", kind, percent, 1)


def test_a_tail_can_save_the_empty_part_of_the_last_wave_and_no_more():
    finding = cause_of(judged(waves_per_sm=1.2))
    assert "even out its waves" in finding.title
    assert finding.stake_share == pytest.approx(0.4)
    assert {n.label: n.value for n in finding.evidence}["waves of blocks per SM"] == 1.2
    assert "even out its waves" not in cause_of(judged(waves_per_sm=1.9)).title
    assert "even out its waves" not in cause_of(judged(waves_per_sm=40.1)).title


def test_a_small_grid_needs_a_kernel_that_waits():
    assert "a larger grid" in cause_of(judged(waves_per_sm=0.3)).title
    assert "a larger grid" not in cause_of(judged("MEMORY", waves_per_sm=0.3)).title


def test_low_occupancy_needs_latency_and_a_known_limiter():
    low = {"achieved_occupancy_pct": 20.0, "theoretical_occupancy_pct": 25.0, "waves_per_sm": 8.0}
    title = cause_of(judged(**low), limiters={0: "registers"}).title
    assert title.endswith("limited by registers: neither its SMs nor its memory reach 60 %")
    assert "occupancy" not in cause_of(judged("COMPUTE", **low), limiters={0: "registers"}).title
    assert "occupancy" not in cause_of(judged(**low)).title
    assert "occupancy" not in cause_of(judged(**(low | {"achieved_occupancy_pct": 90.0})), limiters={0: "x"}).title


def test_a_limiter_is_not_to_blame_where_many_more_warps_would_fit():
    # Registers leave 83 % of the places; that 20 % are taken has another reason.
    few = judged(achieved_occupancy_pct=20.0, theoretical_occupancy_pct=83.3, waves_per_sm=8.0)
    assert "registers" not in cause_of(few, limiters={0: "registers"}).title
    ruled = cause_of(few, [advice("AchievedOccupancy", 70.0)], limiters={0: "registers"})
    assert ruled.title.endswith("keep the places for its warps filled")


def test_a_larger_grid_can_save_no_more_than_the_places_left_empty():
    finding = cause_of(judged(waves_per_sm=0.25))
    assert (finding.stake_share, finding.basis) == (0.75, "the places for blocks that it leaves empty")
    assert {n.label: n.value for n in finding.evidence}["waves of blocks per SM"] == 0.25
    near = cause_of(judged(waves_per_sm=0.04))
    assert (near.stake_share, near.basis) == (pytest.approx(0.9), "its distance to the roof")


@pytest.mark.parametrize("count", [2, 4])
def test_several_kernels_with_too_few_blocks_are_one_finding(count):
    kernels = [
        replace(judged(waves_per_sm=0.5), kernel_name=f"k{place}", total_ns=10.0 * (place + 1), time_share=0.1)
        for place in range(count)
    ]
    found = by_rule(find(FindingInputs(kernels=kernels)).found, "kernel_limits")
    if count < 3:
        assert len(found) == count
        return
    (finding,) = found
    assert finding.title == "4 kernels: a larger grid, since few blocks do not fill the GPU"
    assert (finding.stake_ns, finding.stake_share) == (pytest.approx(50.0), pytest.approx(0.2))
    assert finding.kernels == ("k3", "k2", "k1", "k0")
    assert [number.value for number in finding.evidence] == [4, 0.5, pytest.approx(0.4)]


@pytest.mark.parametrize(("bound", "words"), [("MEMORY", "memory roof"), ("COMPUTE", "compute roof")])
def test_a_kernel_without_a_cause_is_told_which_roof_it_is_below(bound, words):
    assert cause_of(judged(bound, waves_per_sm=8.0)).title.endswith(f": bring it closer to its {words}")
    assert "let it use more of the GPU" in cause_of(judged(waves_per_sm=8.0)).title


def test_launches_of_one_name_that_differ_leave_open_which_was_profiled():
    one = replace(judged("MEMORY", waves_per_sm=8.0), duration_ns=100.0)
    alike = replace(kernel(one.kernel_name, "GEMM", 1000), min_ns=90, max_ns=110)
    unlike = replace(alike, max_ns=400)
    (finding,) = by_rule(find(FindingInputs(kernels=[one], top_kernels=shares([alike]))).found, "kernel_limits")
    assert (finding.confidence, finding.reason.startswith("joined by its name alone, but all")) == ("medium", True)
    slow = replace(one, duration_ns=150.0)
    (finding,) = by_rule(find(FindingInputs(kernels=[slow], top_kernels=shares([alike]))).found, "kernel_limits")
    assert (finding.confidence, "1.50 times as long" in finding.reason) == ("low", True)
    told = find(FindingInputs(kernels=[one], top_kernels=shares([unlike])))
    assert by_rule(told.found, "kernel_limits") == []
    (withheld,) = by_rule(told.withheld, "kernel_limits")
    assert withheld.reason.startswith("1 of 1 profiled kernels bear the name of launches")


def test_uncoalesced_access_is_nvidias_rule_with_an_estimate_that_matters():
    much, little = advice("UncoalescedGlobalAccess", 60.0, "LOCAL"), advice("UncoalescedGlobalAccess", 3.0, "LOCAL")
    assert "use all the bytes they fetch" in cause_of(judged("MEMORY", waves_per_sm=8.0), [much]).title
    assert "use all the bytes they fetch" not in cause_of(judged("MEMORY", waves_per_sm=8.0), [little]).title


def test_a_stall_is_named_by_nvidias_rule():
    stall = advice("CPIStall", 40.0, title="Long Scoreboard Stalls")
    assert "long scoreboard stalls" in cause_of(judged(waves_per_sm=8.0), [stall]).title


def test_a_joined_kernel_weighs_what_its_launches_weigh_in_the_timeline():
    weight = Weight(1200, 8_000, 0.4, "decode", "exact", 1.1)
    inputs = FindingInputs(kernels=[judged(waves_per_sm=8.0)], weights={0: weight}, top_kernels=make_top(3))
    (finding,) = by_rule(find(inputs).found, "kernel_limits")
    assert (finding.stake_of, finding.confidence) == ("kernel time in decode", "medium")
    assert (finding.stake_ns, finding.stake_share) == (pytest.approx(7_200), pytest.approx(0.36))
    doubtful = replace(weight, match="shape", flags=("1.40 times as long under ncu: locked clocks, emptied caches",))
    (finding,) = by_rule(find(replace(inputs, weights={0: doubtful})).found, "kernel_limits")
    assert finding.confidence == "low"
    assert "only their shape" in finding.reason
    assert "1.40 times" in finding.reason


@pytest.mark.parametrize(
    ("family", "name"),
    [("GEMM", "void gemm"), ("copy", "void gemv_like_copy"), ("GEMV", "gemv")],
)
def test_only_a_product_with_a_vector_is_to_be_batched(family, name):
    found = by_rule(find(FindingInputs(top_kernels=shares([kernel(name, family, 900)]))).found, "families")
    assert any(f.title.startswith("Batch") for f in found) == (family == "GEMV")
