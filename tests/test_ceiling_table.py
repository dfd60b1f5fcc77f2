"""Three ceilings side by side, and which one is drawn."""

import json

import pytest
from click.testing import CliRunner

from nsightkit.analysis.roofs.ceiling_table import ceiling_rows, ceilings_by_gpu
from nsightkit.analysis.roofs.measured import roofs_from
from nsightkit.analysis.roofs.peaks import Gpu
from nsightkit.cli import cli

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 132)


def test_ncu_s_peak_is_drawn_before_the_measured_one_and_the_data_sheet():
    counters = {"peak_fp32_flop_per_s": 60e12, "peak_l2_bytes_per_s": 8e12}
    measured = roofs_from({"fp32": 50e12, "tensor_bf16": 700e12}, 3e12, "here", "cuda")
    rows = {row.name: row for row in ceiling_rows(counters, H100, measured)}
    assert (rows["FP32"].data_sheet, rows["FP32"].ncu, rows["FP32"].measured) == (67e12, 60e12, 50e12)
    assert rows["FP32"].drawn == "ncu"
    assert rows["tensor BF16"].drawn == "measured"
    assert (rows["tensor FP8"].drawn, rows["tensor FP8"].data_sheet) == ("data sheet", 1979e12)
    assert (rows["DRAM"].data_sheet, rows["DRAM"].measured, rows["DRAM"].unit) == (3350e9, 3e12, "byte/s")
    assert (rows["L2"].data_sheet, rows["L2"].ncu) == (None, 8e12)
    assert "L1" not in rows
    assert rows["tensor INT8"].unit == "op/s"


def test_what_nobody_states_is_left_out():
    assert ceiling_rows({}, Gpu("Unknown", "9.0", 7)) == []


def launch(duration, **more):
    known = {"gpu_name": H100.name, "compute_capability": "9.0", "sm_count": 132, "duration_ns": duration}
    return known | more


def test_the_longest_launch_of_each_gpu_gives_ncu_s_peaks():
    counted = [launch(10.0, peak_fp32_flop_per_s=1e12), launch(90.0, peak_fp32_flop_per_s=2e12)]
    devices = [{"gpu_name": "Tesla T4", "compute_capability": "7.5", "sm_count": 40}]
    rows = {(row.device, row.name): row for row in ceilings_by_gpu(counted, devices)}
    assert rows[H100.name, "FP32"].ncu == 2e12
    assert rows["Tesla T4", "FP32"].data_sheet == 8.1e12
    assert rows["Tesla T4", "FP32"].drawn == "data sheet"


def test_measured_ceilings_go_to_the_device_that_they_are_of():
    cpu = roofs_from({"fp32": 5e10}, 2e10, "here", "cpu")
    rows = ceilings_by_gpu([launch(1.0)], [], cpu)
    assert {row.name: row.measured for row in rows if row.device == "CPU"} == {"FP32": 5e10, "DRAM": 2e10}
    assert all(row.measured is None for row in rows if row.device != "CPU")
    cuda = roofs_from({"fp32": 5e13}, 2e12, "here", "cuda")
    rows = {row.name: row.measured for row in ceilings_by_gpu([launch(1.0)], [], cuda)}
    assert rows["FP32"] == 5e13


@pytest.mark.shared
def test_the_command_prints_the_ceilings_of_a_capture(shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = (shared_data / "ncu-rep" / "a100-stencil-full.ncu-rep").resolve()
    result = CliRunner().invoke(cli, ["ceilings", "--of", str(report), "--format", "json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["FP32"]["drawn"] == "ncu"
    # ncu's peak is the data sheet's at the clock of the launch: 1.155 of 1.41 GHz.
    assert rows["FP32"]["ncu"] / rows["FP32"]["data_sheet"] == pytest.approx(0.819, abs=0.01)
    assert rows["tensor BF16"]["ncu"] / rows["tensor BF16"]["data_sheet"] == pytest.approx(0.819, abs=0.01)
    assert rows["DRAM"]["ncu"] == pytest.approx(rows["DRAM"]["data_sheet"], rel=0.01)
