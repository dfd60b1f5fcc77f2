"""What to run for a verdict: short, and in ncu's own words."""

import pytest

from nsightkit.analysis.roofs.peaks import DTYPES
from nsightkit.analysis.roofs.remedies import remedy

EVERYTHING = ("sm_throughput_pct", "memory_throughput_pct", "dram_bytes", *(dtype.work for dtype in DTYPES))


# Less is enough for a verdict by NVIDIA's thresholds.
SHORT = "; for a verdict without a place: ncu --section SpeedOfLight"


@pytest.mark.parametrize(
    ("missing", "options"),
    [
        (("sm_throughput_pct", "memory_throughput_pct"), "--section SpeedOfLight"),
        (("dram_throughput_pct",), "--section SpeedOfLight"),
        (("waves_per_sm",), "--section LaunchStats"),
        (("fp16_flop",), "--section SpeedOfLight_HierarchicalHalfRooflineChart"),
        (
            ("sm_throughput_pct", "dram_bytes", "fp32_flop"),
            "--section SpeedOfLight --section SpeedOfLight_RooflineChart" + SHORT,
        ),
        (("dram_bytes", "fp16_flop", "l2_bytes"), "--set roofline"),
        (EVERYTHING, "--set roofline (tensor work: ncu 2025 or later)" + SHORT),
        (
            (*EVERYTHING, "waves_per_sm"),
            "--set roofline --section LaunchStats (tensor work: ncu 2025 or later)" + SHORT,
        ),
    ],
)
def test_the_shortest_options_that_collect_what_is_missing(missing, options):
    assert remedy(missing) == f"collect them with: ncu {options}"


@pytest.mark.parametrize("missing", [(), ("something_else",)])
def test_nothing_is_promised_for_what_ncu_does_not_have(missing):
    assert remedy(missing) == ""
