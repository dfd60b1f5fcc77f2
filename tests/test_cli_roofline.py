"""The commands around rooflines: rows, files, GPUs, what if, advice, verdict; and the Python call."""

import csv
import io
import json
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

import nsightkit
from builders import counters as build
from builders import torch as traces
from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.analysis.results import RooflinePoint, RooflineRow
from nsightkit.analysis.roofs.roofline_rows import RooflineChoice, by_family, roofline_rows
from nsightkit.capture.ceilings import Ceilings, write_ceilings
from nsightkit.cli import cli
from nsightkit.errors import AnalysisError

HOSTILE = "gemm<a|b>$x$<script>\x1b[31m\n" + "k" * 3000


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def trace_path(tmp_path, name="aten::mm", dims=((8192, 8192), (8192, 8192)), kernel="nvjet_gemm", dur=700):
    """A trace of one operator with one kernel on an H100."""
    inputs = {"Input Dims": [list(d) for d in dims], "Input type": ["c10::BFloat16"] * len(dims)}
    properties = [{"id": 0, "name": "NVIDIA H100 80GB HBM3", "computeMajor": 9, "computeMinor": 0, "numSms": 132}]
    events = [
        traces.operator(name, 0, 100, 1, **inputs),
        traces.call("cudaLaunchKernel", 20, 5, 7, **{"External id": 1}),
        traces.kernel(kernel, 200, dur, 7, **{"External id": 1}),
    ]
    return traces.write(tmp_path / "trace.json", traces.trace(events) | {"deviceProperties": properties})


def test_a_gemm_of_a_trace_stands_at_its_place(tmp_path):
    result = run("roofline", trace_path(tmp_path), "--format", "json")
    (row,) = json.loads(result.stdout)
    flop = 2 * 8192**3
    assert (row["name"], row["tier"], row["flop"], row["moved_bytes"]) == (
        "aten::mm",
        "analytic",
        flop,
        3 * 2 * 8192**2,
    )
    # A kernel above its roof is kept and flagged: 1.1 PFLOP in 0.7 ms is 1.57 PFLOP/s.
    assert row["efficiency"] == pytest.approx(flop / 700e-6 / 989.4e12, rel=0.01)
    assert row["bound"] == "UNKNOWN"
    assert any("times the roof" in flag for flag in row["flags"])
    assert any("experimental" in flag for flag in row["flags"])


def test_a_gemm_near_its_roof_is_compute_bound_and_the_caption_says_experimental(tmp_path):
    result = run("roofline", trace_path(tmp_path, dur=1500))
    assert "COMPUTE" in result.stdout
    assert "experimental" in result.stdout
    assert "data sheet (h100-sxm)" in result.stdout


def test_sums_over_families_are_sums(tmp_path):
    path = trace_path(tmp_path, dur=1500)
    (row,) = by_family(nsightkit.roofline_points(path))
    assert (row.name, row.total_ns, row.count) == ("GEMM", 1_500_000, 1)
    assert row.point.flop_per_byte == pytest.approx(8192 / 3)


def test_the_roof_of_a_sum_is_that_of_its_work():
    """Of two points under different roofs the times at the roof add up, and peak and bandwidth follow from them."""
    peaks = ((8.0, 2.0, 4.0, 1.0), (2.0, 6.0, 1.0, 3.0))  # flop, bytes, peak, bandwidth: 2 and 2 s, 2 and 2 s
    rows = [
        RooflineRow(
            "c", name, "GEMM", "analytic", "MEMORY", 10e9, 0.5, 1, "DRAM", moved, None,
            RooflinePoint(name, "FP32", "DRAM", flop, moved, 10e9, flop / moved, flop / 10, peak / bandwidth, peak,
                          bandwidth, min(peak, flop / moved * bandwidth), 0.2, "one source", tier="analytic"), flop,
        )
        for name, (flop, moved, peak, bandwidth) in zip("ab", peaks, strict=True)
    ]  # fmt: skip
    (whole,) = by_family(rows)
    point = whole.point
    assert (point.flop, point.moved_bytes, point.duration_ns) == (10.0, 8.0, 20e9)
    assert point.peak_flop_per_s == pytest.approx(10 / 4)
    assert point.peak_bytes_per_s == pytest.approx(8 / 4)
    assert point.ridge_flop_per_byte == pytest.approx(1.25)
    assert point.flop_per_s == pytest.approx(0.5)
    assert point.roof_flop_per_s == pytest.approx(2.5)
    assert point.efficiency == pytest.approx(4 / 20)


def test_sums_over_ranges_take_the_innermost_range_of_the_call(tmp_path):
    shapes = {"Input Dims": [[64, 64], [64, 64]], "Input type": ["c10::BFloat16"] * 2}
    events = [
        traces.annotation("decode", 0, 1000),
        traces.annotation("layer", 90, 100),
        *(traces.operator("aten::mm", start, 20, number, **shapes) for number, start in ((1, 10), (2, 100), (3, 2000))),
        *(
            traces.call("cudaLaunchKernel", start + 5, 5, n, **{"External id": n})
            for n, start in ((1, 10), (2, 100), (3, 2000))
        ),
        *(traces.kernel("gemm", 3000 + 100 * n, 10 * n, n, **{"External id": n}) for n in (1, 2, 3)),
        # A call of another thread falls back to the range that was open last in the process.
        traces.operator("aten::mm", 150, 20, 4, tid=77, **shapes),
        traces.call("cudaLaunchKernel", 155, 5, 4, tid=77, **{"External id": 4}),
        traces.kernel("gemm", 3400, 40, 4, **{"External id": 4}),
    ]
    path = traces.write(tmp_path / "r.json", traces.trace(events))
    result = run("roofline", path, "--by", "range", "--format", "json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert {name: row["total_ns"] for name, row in rows.items()} == {
        "decode": 10_000,
        "layer": 60_000,
        "(no range)": 30_000,
    }
    assert rows["layer"]["flop"] == 2 * 2 * 64**3


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "html", "csv"])
def test_every_file_format_holds_the_point_whatever_its_name(tmp_path, suffix):
    path = trace_path(tmp_path, kernel=HOSTILE, dur=1500)
    out = tmp_path / f"roof.{suffix}"
    result = run("roofline", path, "-o", out)
    assert result.exit_code == 0, result.output
    content = out.read_bytes()
    if suffix == "svg":
        assert ET.fromstring(content.decode()).tag.endswith("svg")
        assert "aten::mm" in content.decode()
    if suffix == "html":
        assert "<script" not in content.decode()
        assert "aten::mm" in content.decode()
        assert "2·m·n·k" in content.decode()
    if suffix == "csv":
        (row,) = csv.DictReader(io.StringIO(content.decode()))
        assert float(row["flop"]) == 2 * 8192**3
        assert row["kernel_name"] == HOSTILE
    assert not list(tmp_path.glob(".*partial*"))


def test_a_place_without_a_verdict_says_why_and_which_roof_is_nearer(tmp_path):
    """A product of 8192 at 5 ms has 22 % of its roof; one of 8192 by 64 lies on the side of the memory."""
    far = run("roofline", trace_path(tmp_path, dur=5000))
    assert "UNKNOWN, 100 % of the time: below 60 % of the nearer roof" in far.stdout
    assert "nearer roof tensor BF16 for 100 % of the time: at 22.2 % of it" in far.stdout
    thin = run("roofline", trace_path(tmp_path, dims=((8192, 8192), (8192, 64)), dur=1000))
    flop, moved = 2 * 8192 * 8192 * 64, 2 * (8192 * 8192 + 2 * 8192 * 64)
    assert f"nearer roof DRAM for 100 % of the time: at {moved / 3350e9 / 1e-3 * 100:.1f} % of it" in thin.stdout
    (row,) = json.loads(run("roofline", tmp_path / "trace.json", "--format", "json").stdout)
    assert (row["nearer_roof"], row["bound"], row["flop"]) == ("DRAM", "UNKNOWN", flop)
    # What has a verdict needs no such words.
    assert "nearer roof tensor" not in run("roofline", trace_path(tmp_path, dur=1500)).stdout


def test_without_a_roof_no_roof_is_nearer(tmp_path):
    trace = trace_path(tmp_path)
    trace.write_text(trace.read_text().replace("H100 80GB HBM3", "H100 of tomorrow"))
    result = run("roofline", trace)
    assert "UNKNOWN, 100 % of the time: lacks a roof" in result.stdout
    assert "nearer roof tensor" not in result.stdout


def test_the_picture_names_its_colors_and_hides_no_name(tmp_path):
    from nsightkit.cli.roofline_files import write_picture

    rows = roofline_rows({"kernel_counters": [
        build.counters(build.gemm(4096, 4096, 4096, "fp32", 4), "a100-80gb-sxm") | {"kernel_name": "first_gemm"},
        build.counters(build.copy(2**26), "a100-80gb-sxm") | {"kernel_name": "second_copy", "fp32_flop": 1e9},
    ]})  # fmt: skip
    write_picture(tmp_path / "x.svg", rows, "two")
    texts = [element for element in ET.parse(tmp_path / "x.svg").iter() if element.tag.endswith("text")]
    words = {"".join(text.itertext()).strip() for text in texts}
    assert {row.bound for row in rows} == {"COMPUTE", "MEMORY"}
    assert {"COMPUTE", "MEMORY"} < words
    assert {row.name for row in rows} < words
    assert not {"LATENCY", "UNKNOWN"} & words


def test_the_same_rows_give_the_same_picture(tmp_path):
    path = trace_path(tmp_path)
    for name in ("a.svg", "b.svg"):
        assert run("roofline", path, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_hostile_operator_name_is_text_in_every_picture(tmp_path):
    rows = roofline_rows({"kernel_counters": [build.counters(build.gemm(4096, 4096, 4096, "fp32", 4), "a100-80gb-sxm")
                                              | {"kernel_name": HOSTILE}]})  # fmt: skip
    from nsightkit.cli.roofline_files import write_page, write_picture

    write_picture(tmp_path / "x.svg", rows, HOSTILE)
    ET.fromstring((tmp_path / "x.svg").read_text())
    write_page(tmp_path / "x.html", rows, HOSTILE, [HOSTILE])
    assert "<script" not in (tmp_path / "x.html").read_text()


def test_a_copy_has_no_place_but_a_strip(tmp_path):
    path = trace_path(tmp_path, "aten::copy_", dims=((2**26,), (2**26,)), kernel="copy", dur=100)
    (row,) = nsightkit.roofline_points(path)
    assert (row.point, row.flop, row.bound) == (None, 0, "MEMORY")
    assert row.bytes_per_s == pytest.approx(4 * 2**26 / 100e-6)
    assert run("roofline", path, "-o", tmp_path / "copy.svg").exit_code == 0


def test_what_cannot_be_drawn_says_what_to_do(tmp_path):
    path = trace_path(tmp_path, "aten::sort")
    result = run("roofline", path, "-o", tmp_path / "x.svg")
    assert result.exit_code == 1
    assert "nothing-to-draw" in result.output
    assert run("roofline", path, "-o", tmp_path / "x.bmp").exit_code == 2
    assert "no formula" in run("roofline", path).output


def test_a_precision_without_work_has_no_rows_and_says_so(tmp_path):
    result = run("roofline", trace_path(tmp_path), "--precision", "tensor_fp8", "--format", "json")
    assert json.loads(result.stdout) == []
    assert "no row" in result.stderr
    kept = run("roofline", trace_path(tmp_path), "--precision", "tensor_bf16", "--format", "json")
    assert len(json.loads(kept.stdout)) == 1


def test_counters_come_first_and_levels_are_rows():
    row = build.counters(build.copy(2**26), "a100-80gb-sxm") | {
        "fp32_flop": 1e9,
        "l2_bytes": 6e8,
        "peak_l2_bytes_per_s": 5e12,
    }
    rows = roofline_rows({"kernel_counters": [row]}, RooflineChoice(("all",)))
    assert [(r.level, r.tier, r.bound) for r in rows] == [
        ("DRAM", "counters", "MEMORY"),
        ("L2", "counters", "MEMORY"),
        ("L1", "counters", "MEMORY"),
    ]
    assert rows[0].point.moved_bytes == 2 * 4 * 2**26
    assert rows[1].point.moved_bytes == 6e8
    assert rows[2].point is None
    assert [r.missing for r in rows[1:]] == [rows[0].missing, ("l1_bytes", "peak_l1_bytes_per_s")]
    from nsightkit.cli.roofline import remarks

    assert "no place at L1: not collected: l1_bytes (ncu --set roofline counts them)" in remarks(rows)
    assert not any("no place at" in text for text in remarks(rows[:2]))


def test_ceilings_of_a_cpu_are_no_roof_for_a_gpu(tmp_path):
    from nsightkit.analysis.roofs.measured import roofs_from

    choice = RooflineChoice(roofs=roofs_from({"tensor_bf16": 1e12}, 1e10, "measured here", "cpu"))
    (row,) = nsightkit.roofline_points(trace_path(tmp_path), choice)
    assert "data sheet" in row.point.roof_source
    cpu = traces.write(tmp_path / "cpu.json", traces.trace([traces.operator("aten::mm", 0, 100, 1, **{
        "Input Dims": [[512, 512], [512, 512]], "Input type": ["c10::BFloat16"] * 2})]))  # fmt: skip
    (row,) = nsightkit.roofline_points(cpu, choice)
    assert row.point.roof_source == "measured here"
    (bare,) = nsightkit.roofline_points(cpu)
    assert (bare.point, bare.bound) == (None, "UNKNOWN")
    assert bare.flop == 2 * 512**3


def test_nothing_with_a_time_is_an_error(tmp_path):
    empty = traces.write(tmp_path / "e.json", traces.trace([traces.annotation("step", 0, 10)]))
    with pytest.raises(AnalysisError) as caught:
        nsightkit.roofline_points(empty)
    assert caught.value.slug == "no-roofline"


# ---- gpus ------------------------------------------------------------------------------------------------------------


def test_gpus_lists_every_entry_and_shows_one_with_sources():
    from nsightkit.gpus import all_gpus

    listed = json.loads(run("gpus", "--format", "json").stdout)
    assert [row["key"] for row in listed] == [spec.key for spec in all_gpus()]
    shown = json.loads(run("gpus", "h100-sxm", "--format", "json").stdout)
    bf16 = next(row for row in shown if row["name"] == "tensor_bf16_flop_per_s")
    assert (bf16["figure"], bf16["unit"]) == (989.4e12, "flop/s")
    assert bf16["source"]
    assert run("gpus", "NVIDIA B200".removeprefix("NVIDIA ")).exit_code == 0
    unknown = run("gpus", "voodoo2")
    assert unknown.exit_code == 1
    assert "unknown-gpu" in unknown.output


def test_printed_sums_give_times_and_lose_no_kernel(tmp_path):
    path = tmp_path / "sums_cuda_gpu_kern_sum.csv"
    head = "Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name"
    path.write_text(
        f"{head}\n75.0,300,3,100.0,100.0,90,110,10.0,void gemm<float>(int)\n25.0,100,1,100.0,100.0,100,100,0.0,copy\n"
    )
    rows = json.loads(run("roofline", path, "--format", "json").stdout)
    assert [(row["kernel_name"], row["tier"], row["total_ns"], row["time_share"]) for row in rows] == [
        ("void gemm<float>(int)", "none", 300.0, 0.75), ("copy", "none", 100.0, 0.25),
    ]  # fmt: skip
    assert "printed sums" in rows[0]["missing"][0]


def test_a_timeline_shows_kernels_by_their_friendly_names_and_machines_the_full_ones(tmp_path):
    name = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int, float*)"
    path = traces.write(tmp_path / "trace.json", traces.trace([traces.kernel(name, 200, 10, 7)]))
    friendly = describe_kernel(name).friendly
    shown = run("roofline", path).stdout
    assert friendly in shown
    assert name not in shown
    (row,) = json.loads(run("roofline", path, "--format", "json").stdout)
    assert (row["name"], row["kernel_name"]) == (friendly, name)


# ---- whatif, advice, verdict -----------------------------------------------------------------------------------------


def test_whatif_needs_one_way_to_say_what(tmp_path):
    path = trace_path(tmp_path, dur=1500)
    assert run("whatif", path).exit_code == 2
    assert run("whatif", path, "--gpu", "h200-sxm", "--set", "dram_bytes_per_s=1e12").exit_code == 2
    assert run("whatif", path, "--set", "dram_bytes_per_s=fast").exit_code == 2
    result = run("whatif", path, "--set", "bf16_flop_per_s=4.947e14", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert row["after_ns"] == pytest.approx(3_000_000, rel=1e-3)
    assert "not validated" in result.stderr
    assert "with the host as it was" in result.stderr


def test_verdict_of_a_trace_without_its_overhead(tmp_path):
    result = run("verdict", trace_path(tmp_path, dur=1500), "--format", "json")
    (row,) = json.loads(result.stdout)
    assert row["bound"] == "COMPUTE"
    assert row["inputs"]["gpu_share"] == 1.0


def test_advice_needs_rules(tmp_path):
    result = run("advice", trace_path(tmp_path))
    assert result.exit_code == 1
    assert "no-rules" in result.output


@pytest.mark.shared
def test_every_shared_report_gives_rows_and_loses_no_kernel(shared_data):
    from nsightkit.ingest.dataset import open_dataset

    for path in sorted((shared_data / "ncu-rep").iterdir()):
        rows = nsightkit.roofline_points(path)
        launches = open_dataset([path], {"kernel_counters": ("failed",)}).rows("kernel_counters")
        assert sum(row.count for row in rows) == sum(not launch["failed"] for launch in launches), path.name
        assert all(row.point or row.tier != "analytic" for row in rows)
        assert all(row.missing for row in rows if row.bound == "UNKNOWN" and row.count and not row.flags), path.name


def test_roofs_kept_in_a_run_are_taken(tmp_path):
    sizes = {"Input Dims": [[512, 512], [512, 512]], "Input type": ["float", "float"]}
    path = traces.write(tmp_path / "cpu.json", traces.trace([traces.operator("aten::mm", 0, 700, 1, **sizes)]))
    ran = tmp_path / "r"
    assert run("ingest", path, "-o", ran).exit_code == 0
    (without,) = json.loads(run("roofline", ran, "--format", "json").stdout)
    measured = Ceilings("A CPU", "cpu", 1, "2.6", "2025-01-01T00:00:00Z", 512, 2**20, 5, {"fp32": 1e12}, 1e11)
    write_ceilings(ran / "ceilings.json", measured)
    (row,) = json.loads(run("roofline", ran, "--format", "json").stdout)
    assert without["efficiency"] is None
    assert row["flop"] == 2 * 512**3
    assert row["efficiency"] == pytest.approx(2 * 512**3 / 700e-6 / 1e12)
    assert "measured on A CPU" in row["roof_source"]


def test_a_verdict_that_is_not_that_of_the_place_says_why(tmp_path):
    """Bound by special functions: the SM is busy with what is no FLOP, so the place lies on the side of DRAM."""
    from nsightkit.cli.roofline_words import otherwise_bound

    one = build.counters(build.copy(2**26), "a100-80gb-sxm") | {"fp32_flop": 1e9, "kernel_name": "random_numbers"}
    (row,) = roofline_rows({"kernel_counters": [one | {"sm_throughput_pct": 70.0, "memory_throughput_pct": 40.0}]})
    assert (row.bound, row.nearer_roof) == ("COMPUTE", "DRAM")
    (line,) = otherwise_bound([row])
    assert line.startswith(f"{row.name} is COMPUTE by its throughputs, not by its place: units of the SM")
    (plain,) = roofline_rows({"kernel_counters": [one]})
    assert (plain.bound, otherwise_bound([plain])) == ("MEMORY", [])
    from nsightkit.cli.roofline_files import write_picture

    drawn = [tmp_path / name for name in ("one.svg", "plain.svg")]
    for path, shown in zip(drawn, (row, plain), strict=True):
        write_picture(path, [shown], "t")
    said = ["color: the verdict, not the side of the ridge" in path.read_text(encoding="utf-8") for path in drawn]
    assert said == [True, False]


def test_sums_of_one_family_are_told_apart_in_the_picture_too(tmp_path):
    """Two GEMMs in two types of arithmetic, at places of their own: both points have a name."""
    from nsightkit.cli.roofline_files import write_picture

    copied = build.counters(build.copy(2**26), "h100-sxm")
    names = ("sm90_gemm_a", "sm90_gemm_b")
    rows = [copied | {"kernel_name": names[0], "tensor_bf16_flop": 1e12},
            copied | {"kernel_name": names[1], "tensor_fp8_flop": 3e10}]  # fmt: skip
    found = by_family(roofline_rows({"kernel_counters": rows}))
    write_picture(tmp_path / "f.svg", found, "t")
    drawn = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert {row.name for row in found} == {"GEMM"}
    assert "GEMM (tensor BF16)" in drawn
    assert "GEMM (tensor FP8)" in drawn


def test_sums_of_one_family_under_two_roofs_are_told_apart(tmp_path):
    events = []
    for place, (name, dims) in enumerate((("aten::add", [[2**20], [2**20]]), ("aten::copy_", [[2**20], [2**20]]))):
        links = {"External id": place + 1}
        inputs = {"Input Dims": dims, "Input type": ["float"] * 2}
        start = 1000 * place
        events += [
            traces.operator(name, start, 100, place + 1, **inputs),
            traces.call("cudaLaunchKernel", start + 20, 5, place + 7, **links),
            traces.kernel("vectorized_elementwise_kernel", start + 200, 90, place + 7, **links),
        ]
    properties = [{"id": 0, "name": "NVIDIA H100 80GB HBM3", "computeMajor": 9, "computeMinor": 0, "numSms": 132}]
    path = traces.write(tmp_path / "t.json", traces.trace(events) | {"deviceProperties": properties})
    out = run("roofline", path, "--by", "family").stdout
    assert "elementwise (FP32)" in out
    assert "elementwise (no arithmetic)" in out
    names = [row["name"] for row in json.loads(run("roofline", path, "--by", "family", "--format", "json").stdout)]
    assert names == ["elementwise", "elementwise"]
