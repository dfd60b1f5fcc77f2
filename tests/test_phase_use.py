"""MFU and MBU: paper and counted work over the same time."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from builders.nsys import SAMPLED_METRICS, Call, Capture, Kernel, Range, Sampling, sampled, write_sqlite
from nsightkit.analysis.results import RooflinePoint, RooflineRow
from nsightkit.analysis.roofs.peaks import Peak
from nsightkit.analysis.roofs.phase_rows import PhaseTime
from nsightkit.analysis.roofs.roofline_rows import RooflineChoice, roofline_rows
from nsightkit.analysis.work.analytic import NO_ROOFS, Roofs
from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.analysis.work.paper_model import Work, decode_cost, prefill_cost
from nsightkit.analysis.work.phase_use import PhaseWork, paper_uses, phase_use, uses_of_rows
from nsightkit.cli import cli


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


def test_sources_stay_apart_and_unknown_stays_unknown():
    lines = [row("analytic", 1.0, 2.0), row("analytic", 3.0, 4.0), row("counters", None, None)]
    found = uses_of_rows([replace(one, range_name="p") for one in lines])
    assert {(use.source, use.flop, use.moved_bytes) for use in found} == {
        ("counters", None, None), ("shapes", 4.0, 6.0),
    }  # fmt: skip
    assert uses_of_rows([replace(row("none", None, None), range_name="p")]) == []


@given(st.floats(1e-3, 1e3))
def test_scaling_work_and_time_changes_nothing(scale):
    (a,) = phase_use("p", 1e6, [PhaseWork("paper", 1e9, 1e6)], 1e15, 1e12)
    (b,) = phase_use("p", 1e6 * scale, [PhaseWork("paper", 1e9 * scale, 1e6 * scale)], 1e15, 1e12)
    assert (a.flop_share, a.bytes_share) == (pytest.approx(b.flop_share), pytest.approx(b.bytes_share))


class TestRows:
    def point(self, flop, peak=1e12):
        return RooflinePoint(
            "k", "tensor BF16", "DRAM", flop, 1e3, 1e3, 1.0, 1.0, 1.0, peak, 1e9, 1.0, 0.5, "data sheet (test)"
        )

    def line(self, tier, flop, **more):
        given = {"range_name": "decode", "point": self.point(flop) if flop else None, "peak_bytes_per_s": 1e12}
        return replace(row(tier, flop, 1e3), total_ns=1e3, **(given | more))

    def test_each_source_has_a_line_and_its_own_time(self):
        rows = [
            self.line("counters", 1e5), self.line("analytic", 2e5), self.line("analytic", 3e5, family="range"),
            self.line("sampled", None),
        ]  # fmt: skip
        found = {use.source: use for use in uses_of_rows(rows)}
        assert {name: use.flop_share for name, use in found.items()} == {
            "counters": pytest.approx(0.1), "shapes": pytest.approx(0.2), "stated": pytest.approx(0.3), "sampled": None,
        }  # fmt: skip
        assert found["sampled"].bytes_share == pytest.approx(1e-3)
        assert all(use.time_ns == 1e3 for use in found.values())
        assert "tensor BF16" in found["counters"].peak

    def test_time_without_a_figure_counts_and_is_told(self):
        (use,) = uses_of_rows([self.line("analytic", 1e5), self.line("none", None, moved_bytes=None)])
        assert use.time_ns == 2e3
        assert use.flop_share == pytest.approx(0.05)
        assert "50.0% of the time has no figure" in use.flags[0]

    def test_arithmetic_that_was_not_counted_leaves_mfu_unknown(self):
        lacking = self.line("counters", None, missing=("tensor_int8_op", "fp16_flop"))
        assert uses_of_rows([lacking])[0].flop_share is None
        idle = self.line("counters", None, missing=("fp16_flop",), immaterial=("fp16_flop",))
        assert uses_of_rows([idle])[0].flop == 0.0

    def test_rows_outside_the_phases_count_for_none(self):
        assert uses_of_rows([replace(self.line("analytic", 1e5), range_name="")]) == []

    def test_different_peaks_add_their_times(self):
        # 0.1 µs at 1 TFLOP/s and 0.05 µs at 2 TFLOP/s, of 2 µs.
        (use,) = uses_of_rows([self.line("analytic", 1e5), self.line("analytic", 1e5, point=self.point(1e5, 2e12))])
        assert use.flop_share == pytest.approx(0.15 / 2)

    def test_different_bandwidths_add_their_times(self):
        # 1 kB at 1 TB/s and at 0.5 TB/s are 1 and 2 ns, of 2 µs.
        (use,) = uses_of_rows([self.line("sampled", None), self.line("sampled", None, peak_bytes_per_s=5e11)])
        assert use.bytes_share == pytest.approx(3 / 2e3)
        assert use.flags == ("its times on 2 GPUs are added",)


class TestPaper:
    SHAPE = ModelShape(layers=2, heads=2, width=8, vocabulary=16)
    WORK = Work(batch=2, prompt=3, new_tokens=4, dtype="float16")
    ROOFS = Roofs({"tensor_fp16": Peak(1e12, 1e12, "sheet")}, Peak(1e11, 1e11, "sheet"))

    def test_instances_do_the_whole_phase_and_steps_their_part(self):
        times = [PhaseTime("c", name, count, 1000, self.ROOFS)
                 for name, count in (("prefill", 3), ("decode", 2), ("decode_step", 8), ("other", 1))]  # fmt: skip
        prefill, decode, steps = paper_uses(times, self.SHAPE, self.WORK)
        assert prefill.flop == 3 * prefill_cost(self.SHAPE, self.WORK).flop
        assert decode.flop == steps.flop == 2 * decode_cost(self.SHAPE, self.WORK).flop
        assert decode.flop_share == pytest.approx(decode.flop / 1e-6 / 1e12)
        assert decode.bytes_share == pytest.approx(decode.moved_bytes / 1e-6 / 1e11)

    def test_without_roofs_there_is_work_and_no_share(self):
        (use,) = paper_uses([PhaseTime("c", "decode", 1, 1000, NO_ROOFS)], self.SHAPE, self.WORK)
        assert (use.flop_share, use.bytes_share) == (None, None)
        assert "no peak of float16" in use.peak


class TestCommand:
    def test_stated_sampled_and_paper_stand_side_by_side(self, tmp_path):
        step = Range(800, 1000, text="decode_step")
        marks = (Range(805, None, text="nsightkit.work flop bfloat16", kind=34, payload=("doubleValue", 1e8)),
                 Range(806, None, text="nsightkit.work bytes", kind=34, payload=("doubleValue", 3e6)))  # fmt: skip
        capture = Capture(
            kernels=(Kernel("gemv", 1000, 5000, correlation=1),), calls=(Call("cudaLaunchKernel", 820, 830),),
            ranges=(step, *marks), gpus=((0, "NVIDIA H100 80GB HBM3", 132),),
            extra=sampled(Sampling(SAMPLED_METRICS, ((90, 12, 8, 70, 5, 0),) * 60, first=1000)),
        )  # fmt: skip
        path = write_sqlite(tmp_path / "run.sqlite", capture)
        result = CliRunner().invoke(cli, ["utilization", str(path), "--model", "gpt2", "--format", "json"])
        found = {use["source"]: use for use in json.loads(result.stdout)}
        assert set(found) == {"stated", "sampled", "paper"}
        assert found["stated"]["flop_share"] == pytest.approx(1e8 / 4e-6 / 989.4e12)
        assert found["stated"]["bytes_share"] == pytest.approx(3e6 / 4e-6 / 3350e9)
        assert found["sampled"]["bytes_share"] == pytest.approx(0.75)
        assert "above 100 %" in result.stderr
        pattern = CliRunner().invoke(
            cli, ["utilization", str(path), "--model", "gpt2", "--in", "dec*", "--format", "json"]
        )
        assert pattern.stdout == result.stdout
        unknown = CliRunner().invoke(cli, ["utilization", str(path), "--in", "decod_stp"])
        assert "is it 'decode_step'?" in unknown.stderr

    def test_a_phase_on_two_gpus_is_one_line_of_their_mean(self, tmp_path):
        """1 µs at 75 % on one GPU and 3 µs at 25 % on the other."""
        values = [((90, 12, 8, read, 5, 0),) * 40 for read in (70, 20)]
        capture = Capture(
            kernels=(Kernel("k", 1000, 2000, correlation=1), Kernel("k", 1000, 4000, correlation=2, device=1)),
            calls=tuple(Call("cudaLaunchKernel", 820 + at, 825 + at, correlation=at) for at in (1, 2)),
            ranges=(Range(800, 1000, text="decode_step"),),
            gpus=tuple((at, "NVIDIA H100 80GB HBM3", 132) for at in (0, 1)),
            extra=sampled(*(Sampling(SAMPLED_METRICS, values[at], first=1000, device=at) for at in (0, 1))),
        )  # fmt: skip
        path = write_sqlite(tmp_path / "run.sqlite", capture)
        result = CliRunner().invoke(cli, ["utilization", str(path), "--format", "json"])
        (use,) = json.loads(result.stdout)
        assert (use["phase"], use["source"], use["time_ns"]) == ("decode_step", "sampled", 4000)
        assert use["bytes_share"] == pytest.approx((1 * 0.75 + 3 * 0.25) / 4)
        assert "times on 2 GPUs are added" in result.stderr

    def test_nothing_known_says_what_would_help(self, tmp_path):
        capture = Capture(kernels=(Kernel("k", 10, 20),), calls=(Call("cudaLaunchKernel", 1, 2),))
        result = CliRunner().invoke(cli, ["utilization", str(write_sqlite(tmp_path / "x.sqlite", capture))])
        assert result.exit_code == 0
        assert "no named range" in result.stderr

    def test_counters_of_one_kernel_in_two_ranges_stay_apart(self):
        rows = [
            {"capture_id": "c", "kernel_name": "k", "nvtx_path": path, "duration_ns": 100.0, "dram_bytes": moved,
             "grid_x": 1, "grid_y": 1, "grid_z": 1, "block_x": 1, "block_y": 1, "block_z": 1}
            for path, moved in (("run/prefill", 1.0), ("run/step_1", 2.0), ("run/step_2", 4.0))
        ]  # fmt: skip
        found = roofline_rows({"kernel_counters": rows}, RooflineChoice(by_range=True, phases=("prefill", "step_*")))
        assert {row.range_name: (row.moved_bytes, row.time_share) for row in found} == {
            "prefill": (1.0, pytest.approx(1 / 3)), "step_*": (6.0, pytest.approx(2 / 3)),
        }  # fmt: skip


def test_the_report_shows_them_and_its_json_has_them(tmp_path):
    marks = tuple(
        Range(at, None, text=f"nsightkit.work {text}", kind=34, payload=("doubleValue", value))
        for at, text, value in ((805, "flop bfloat16", 1e8), (806, "bytes", 3e6))
    )
    capture = Capture(
        kernels=(Kernel("gemv", 1000, 5000, correlation=1),), calls=(Call("cudaLaunchKernel", 820, 830),),
        ranges=(Range(800, 1000, text="decode_step"), *marks), gpus=((0, "NVIDIA H100 80GB HBM3", 132),),
    )  # fmt: skip
    run = tmp_path / "run"
    write_sqlite(tmp_path / "x.sqlite", capture)
    for argv in (["ingest", str(tmp_path / "x.sqlite"), "-o", str(run)], ["render", str(run)],
                 ["render", str(run), "--format", "json"]):  # fmt: skip
        assert CliRunner().invoke(cli, argv).exit_code == 0
    assert "MFU and MBU" in (run / "report" / "report.md").read_text(encoding="utf-8")
    table = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))["phase_uses"]
    (row,) = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert (row["phase"], row["source"], row["flop"]) == ("decode_step", "stated", 1e8)
