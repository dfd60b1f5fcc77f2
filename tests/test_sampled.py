"""Samples of the whole GPU: read from nsys, averaged over phases, judged, and placed.

In: small exports with samples, and made-up means. Out: assertions on tables, bounds and printed rows.
"""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builders.nsys import (
    SAMPLED_METRICS,
    Call,
    Capture,
    Kernel,
    Range,
    Sampling,
    sampled,
    write_parquetdir,
    write_sqlite,
)
from nsightkit.analysis.roofs.peaks import Gpu
from nsightkit.analysis.roofs.phase_rows import sampled_of
from nsightkit.analysis.roofs.sampled import DRAM, ISSUE, LEAST_SAMPLES, TENSOR, _judged
from nsightkit.cli import cli
from nsightkit.ingest.dataset import open_dataset
from nsightkit.ingest.nsys_gpu_metrics import sampled_name
from nsightkit.rooflines import roofline_points

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 132)
# Prefill runs 1000…3000 and decode 3000…6000; one sample every 100 ns, from 100 on.
PREFILL, DECODE, IDLE = (95, 40, 85, 20, 5, 1_500_000_000), (90, 12, 8, 70, 5, 1_500_000_000), (0, 0, 0, 0, 0, 210)


def timeline(values, **changes):
    settings = {
        "kernels": (Kernel("gemm", 1000, 3000, correlation=1), Kernel("gemv", 3000, 6000, correlation=2)),
        "calls": (
            Call("cudaLaunchKernel", 900, 950, correlation=1),
            Call("cudaLaunchKernel", 1900, 1950, correlation=2),
        ),
        "ranges": (Range(800, 1000, text="prefill"), Range(1800, 2000, text="decode")),
        "gpus": ((0, "NVIDIA H100 80GB HBM3", 132),),
        "extra": sampled(Sampling(SAMPLED_METRICS, values)),
    }
    return Capture(**(settings | changes))


def values_of(moments=70):
    return tuple(
        PREFILL if 1000 < t <= 3000 else DECODE if 3000 < t <= 6000 else IDLE
        for t in range(100, 100 * moments + 1, 100)
    )


@pytest.fixture
def capture(tmp_path):
    return write_sqlite(tmp_path / "run.sqlite", timeline(values_of()))


class TestReading:
    def test_names_of_several_chips_and_units(self):
        assert sampled_name("SM Active") == sampled_name("SMs Active [Throughput %]") == "sm_active_pct"
        assert sampled_name("Tensor Active / FP16 Active [Throughput %]") == "tensor_active_pct"
        assert sampled_name("GPC Clock Frequency [MHz]") == "gpc_clock_hz"
        assert sampled_name("SMs Active [Avg]") is sampled_name("PCIe RX Throughput [Throughput %]") is None
        assert sampled_name(None) is None

    @pytest.mark.parametrize("write", [write_sqlite, write_parquetdir])
    def test_rows_in_our_names_and_units(self, tmp_path, write):
        extra = sampled(Sampling((*SAMPLED_METRICS, "PCIe RX Throughput [Throughput %]"), ((*PREFILL, 3),), device=1))
        path = write(tmp_path / "x.sqlite", timeline((), extra=extra))
        rows = open_dataset([path]).arrow("gpu_metric_samples").to_pylist()
        assert {(row["metric"], row["value"]) for row in rows} == {
            ("sm_active_pct", 95.0), ("sm_issue_pct", 40.0), ("tensor_active_pct", 85.0), ("dram_read_pct", 20.0),
            ("dram_write_pct", 5.0), ("gpc_clock_hz", 1.5e9),
        }  # fmt: skip
        assert {(row["device_id"], row["time_ns"]) for row in rows} == {(1, 100)}

    def test_a_clock_in_mhz_becomes_hz_and_null_stays_null(self, tmp_path):
        extra = sampled(Sampling(SAMPLED_METRICS, ((None, *IDLE[1:]),)))
        rows = open_dataset([write_sqlite(tmp_path / "x.sqlite", timeline((), extra=extra))]).arrow(
            "gpu_metric_samples"
        )
        found = {row["metric"]: row["value"] for row in rows.to_pylist()}
        assert found["gpc_clock_hz"] == 210e6
        assert found["sm_active_pct"] is None
        assert found["sm_issue_pct"] == 0.0

    def test_other_captures_have_none(self, tmp_path):
        path = write_sqlite(tmp_path / "x.sqlite", timeline((), extra={}))
        assert not open_dataset([path]).has("gpu_metric_samples")


class TestPhases:
    def test_each_phase_by_the_samples_inside_it(self, capture):
        (rows,) = sampled_of(open_dataset([capture])).values()
        assert [(row.name, row.tier, row.bound) for row in rows] == [
            ("decode", "sampled", "MEMORY"), ("prefill", "sampled", "COMPUTE"),
        ]  # fmt: skip
        decode, prefill = rows
        assert decode.time_share == 0.6
        assert decode.total_ns == 3000
        # 75 % of the data sheet's 3350 GB/s.
        assert decode.bytes_per_s == pytest.approx(0.75 * 3350e9)
        assert decode.moved_bytes == pytest.approx(0.75 * 3350e9 * 3000e-9)
        assert prefill.bytes_per_s == pytest.approx(0.25 * 3350e9)
        assert "data sheet (h100-sxm)" in decode.flags[2]

    def test_samples_that_reach_over_an_edge_are_left_out(self, tmp_path):
        # The first sample of each phase ends inside but began before: shifted by 50 ns it belongs to neither.
        extra = sampled(Sampling(SAMPLED_METRICS, values_of(), first=150))
        path = write_sqlite(tmp_path / "x.sqlite", timeline((), extra=extra))
        (rows,) = sampled_of(open_dataset([path])).values()
        assert "in 29 samples" in rows[0].flags[1]
        assert "in 19 samples" in rows[1].flags[1]

    def test_short_instances_are_unknown_and_say_why(self, tmp_path):
        extra = sampled(Sampling(SAMPLED_METRICS, values_of(8), every=1000, first=1000))
        (rows,) = sampled_of(open_dataset([write_sqlite(tmp_path / "x.sqlite", timeline((), extra=extra))])).values()
        assert {row.bound for row in rows} == {"UNKNOWN"}
        assert "sample more often" in rows[0].missing[0]

    def test_phases_that_overlap_share_no_sample(self, tmp_path):
        kernels = (Kernel("gemm", 1000, 3000, correlation=1), Kernel("gemv", 1000, 6000, correlation=2, stream=9))
        path = write_sqlite(tmp_path / "x.sqlite", timeline(values_of(), kernels=kernels))
        (rows,) = sampled_of(open_dataset([path])).values()
        found = {row.name: row for row in rows}
        assert found["prefill"].bound == "UNKNOWN"
        assert "20 left out" in found["prefill"].flags[1]
        assert "in 30 samples" in found["decode"].flags[1]

    def test_without_ranges_the_whole_capture_is_one_phase(self, tmp_path):
        path = write_sqlite(tmp_path / "x.sqlite", timeline(values_of(), ranges=()))
        (rows,) = sampled_of(open_dataset([path])).values()
        assert [row.name for row in rows] == ["whole capture"]

    def test_work_outside_the_ranges_has_its_own_line(self, tmp_path):
        path = write_sqlite(tmp_path / "x.sqlite", timeline(values_of(), ranges=(Range(1800, 2000, text="decode"),)))
        (rows,) = sampled_of(open_dataset([path])).values()
        assert [(row.name, row.tier, row.time_share) for row in rows] == [
            ("decode", "sampled", 0.6), ("outside all ranges", "none", 0.4),
        ]  # fmt: skip

    def test_a_second_gpu_has_phases_of_its_own(self, tmp_path):
        extra = sampled(Sampling(SAMPLED_METRICS, values_of()), Sampling(SAMPLED_METRICS, values_of(), device=1))
        kernels = (Kernel("gemm", 1000, 3000, correlation=1), Kernel("gemv", 3000, 6000, correlation=2, device=1))
        path = write_sqlite(tmp_path / "x.sqlite", timeline((), extra=extra, kernels=kernels))
        (rows,) = sampled_of(open_dataset([path])).values()
        assert [row.name for row in rows] == ["decode (GPU 1)", "prefill (GPU 0)"]


def means(memory, issue, tensor):
    return {DRAM: memory, ISSUE: issue, TENSOR: tensor}


class TestBound:
    @pytest.mark.parametrize(
        ("memory", "issue", "tensor", "bound"),
        [(80, 20, 10, "MEMORY"), (20, 20, 80, "COMPUTE"), (20, 75, 0, "COMPUTE"), (65, 60, 10, "BALANCED"),
         (59, 59, 59, "UNKNOWN"), (101, 20, 10, "UNKNOWN"), (80, 20, -1, "UNKNOWN")],
    )  # fmt: skip
    def test_thresholds(self, memory, issue, tensor, bound):
        assert _judged(means(memory, issue, tensor), 50, H100)[0] == bound

    def test_a_pipe_that_may_run_at_half_rate_decides_nothing(self):
        unknown = Gpu("NVIDIA GeForce RTX 4090", "8.9", 128)
        assert _judged(means(10, 20, 40), 50, H100)[2].startswith("neither")
        bound, _, reason = _judged(means(10, 20, 40), 50, unknown)
        assert bound == "UNKNOWN"
        assert "accumulates" in reason
        assert _judged(means(75, 20, 40), 50, unknown)[0] == "UNKNOWN"
        assert _judged(means(75, 20, 40), 50, H100)[0] == "MEMORY"

    def test_what_was_not_sampled_is_named(self):
        bound, _, reason = _judged({ISSUE: 90.0}, 50, H100)
        assert bound == "UNKNOWN"
        assert DRAM in reason
        assert TENSOR in reason

    @given(*(st.floats(0, 100) for _ in range(3)), st.floats(0, 30))
    def test_more_traffic_never_makes_it_compute_bound(self, memory, issue, tensor, more):
        before = _judged(means(memory, issue, tensor), LEAST_SAMPLES, H100)[0]
        after = _judged(means(min(memory + more, 100.0), issue, tensor), LEAST_SAMPLES, H100)[0]
        assert after != "COMPUTE" or before == "COMPUTE"


class TestCommand:
    def test_falls_through_to_samples_and_says_so(self, capture):
        result = CliRunner().invoke(cli, ["roofline", str(capture)])
        assert result.exit_code == 0, result.output
        assert "tier sampled, as there are no counters and no shapes" in result.output
        assert "decode: DRAM 75.0 %, issue slots 12.0 %, tensor pipe 8.0 %, SMs active 90.0 %" in result.output
        assert "15.0 points from the threshold" in result.output

    def test_by_kernel_shows_the_kernels(self, capture):
        result = CliRunner().invoke(cli, ["roofline", str(capture), "--by", "kernel", "--format", "json"])
        assert [row["tier"] for row in json.loads(result.stdout)] == ["none", "none"]

    def test_python_gives_the_same(self, capture):
        from nsightkit.analysis.roofs.roofline_rows import RooflineChoice

        rows = roofline_points(capture, RooflineChoice(by_range=True))
        assert [(row.name, row.bound) for row in rows] == [("decode", "MEMORY"), ("prefill", "COMPUTE")]

    def test_a_picture_holds_the_phases(self, capture, tmp_path):
        out = tmp_path / "r.svg"
        assert CliRunner().invoke(cli, ["roofline", str(capture), "-o", str(out)]).exit_code == 0
        assert "decode" in out.read_text()

    def test_the_verdict_on_the_run_uses_them(self, capture):
        result = CliRunner().invoke(cli, ["verdict", str(capture), "--format", "json"])
        (found,) = json.loads(result.stdout)
        assert found["bound"] == "MEMORY"
        assert found["inputs"]["memory_bound_share"] == 0.6
        assert any("sampled" in flag for flag in found["flags"])
