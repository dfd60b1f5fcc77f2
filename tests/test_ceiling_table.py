"""Three ceilings side by side, and which one is drawn."""

from nsightkit.analysis.roofs.ceiling_table import ceiling_rows
from nsightkit.analysis.roofs.measured import roofs_from
from nsightkit.analysis.roofs.peaks import Gpu

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
