"""MFU and MBU: paper and counted work over the same time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.results import RooflineRow
from nsightkit.analysis.work.phase_use import PhaseWork, phase_use, work_of_rows


def test_paper_and_counters_stand_side_by_side():
    works = [PhaseWork("paper", 1e12, 1e9), PhaseWork("counters", 1.5e12, None)]
    paper, counted = phase_use("decode", 10e6, works, 1e15, 1e12)
    assert (paper.source, paper.flop_share, paper.bytes_share) == ("paper", pytest.approx(0.1), pytest.approx(0.1))
    assert (counted.flop_share, counted.bytes_share) == (pytest.approx(0.15), None)
    assert paper.flags == ()


def test_more_than_the_peak_is_flagged():
    (one,) = phase_use("prefill", 1e6, [PhaseWork("paper", 2e12, 0.0)], 1e15, 1e12)
    assert one.flop_share == pytest.approx(2.0)
    assert "MFU above 100 %" in one.flags[0]


def test_without_a_peak_or_work_there_is_no_share():
    (one,) = phase_use("decode", 1e6, [PhaseWork("paper", None, 1.0)], None, None)
    assert (one.flop_share, one.bytes_share) == (None, None)


def row(tier, flop, moved):
    return RooflineRow("c", "k", "GEMM", tier, "MEMORY", 1.0, None, 1, "DRAM", moved, None, None, flop=flop)


def test_work_of_rows_keeps_sources_apart_and_unknown_unknown():
    found = work_of_rows([row("analytic", 1.0, 2.0), row("analytic", 3.0, 4.0), row("counters", None, None)])
    assert found == [PhaseWork("counters", None, None), PhaseWork("shapes", 4.0, 6.0)]
    assert work_of_rows([row("none", None, None)]) == []


@given(st.floats(1e-3, 1e3))
def test_scaling_work_and_time_changes_nothing(scale):
    (a,) = phase_use("p", 1e6, [PhaseWork("paper", 1e9, 1e6)], 1e15, 1e12)
    (b,) = phase_use("p", 1e6 * scale, [PhaseWork("paper", 1e9 * scale, 1e6 * scale)], 1e15, 1e12)
    assert (a.flop_share, a.bytes_share) == (pytest.approx(b.flop_share), pytest.approx(b.bytes_share))
