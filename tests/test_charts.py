"""SVG drawn from data: well-formed, escaped, in the right place, and the same numbers as the data."""

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.analysis import HOSTILE_NAMES, classified, make_kernel
from nsightkit.analysis.distributions import make_histograms
from nsightkit.analysis.results import Histogram
from nsightkit.report import charts, rooflines
from nsightkit.report.roofline_strip import Absent, strip
from nsightkit.report.rooflines import LogScale, Mark


def parsed(svg):
    return ElementTree.fromstring(svg)


def mark(index=0, **changes):
    kernel = make_kernel(index)
    point = replace(kernel.point, **changes)
    return Mark(point, kernel.friendly_name, kernel.verdict.bound, 0.25, f"#kernel-{index + 1}")


def test_a_histogram_shows_the_counts_and_the_edges():
    data = Histogram("duration_ns", "Duration", "ns", (0.0, 1e5, 2e5, 4e5), (2, 0, 1), ((0, 1), (), (2,)), 0)
    root = parsed(charts.histogram(data, ["a", "b", "c"]))
    texts = [t.text for t in root.iter("text")]
    assert texts == ["2", "1", "0", "100", "200", "400", "µs"]
    bars = list(root.iter("rect"))
    assert [float(bar.get("height")) for bar in bars] == [128.0, 64.0]
    assert bars[0].find("title").text == "0 to 100 µs: a, b"


def test_every_histogram_of_the_analysis_is_well_formed_and_counts_each_kernel_once():
    kernels = classified(12)
    for data in make_histograms(kernels):
        root = parsed(charts.histogram(data, [k.friendly_name for k in kernels]))
        assert root.get("role") == "img"
        assert root.find("title").text.startswith(data.label)
        drawn = [int(t.text) for t in root.iter("text") if t.get("class") == "m"]
        assert sum(drawn) == sum(data.counts) == len(kernels) - data.missing_count


@given(st.lists(st.floats(min_value=1e-6, max_value=1.0), min_size=1, max_size=9))
def test_a_strip_is_the_whole(weights):
    whole = sum(weights)
    parts = [charts.Part(charts.FAMILY_MARKS[i], f"part {i}", w / whole, "x") for i, w in enumerate(weights)]
    rects = list(parsed(charts.strip(parts, "time")).iter("rect"))
    assert len(rects) == len(parts)
    last = rects[-1]
    assert float(last.get("x")) + parts[-1].share * 1000 == pytest.approx(1000, abs=0.11)


def test_a_standalone_file_is_valid_svg_with_both_themes():
    part = charts.Part("compute", "compute-bound", 1.0, "100 %")
    text = charts.standalone(charts.labeled_strip([part], "Time by bound"))
    root = parsed(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "#D55E00" in text
    assert "prefers-color-scheme:dark" in text
    assert [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")] == ["compute-bound 100 %"]


def test_the_legend_of_a_file_has_the_shapes_of_the_points():
    parts = [charts.Part(bound, bound, 0.2, "20 %") for bound in charts.VERDICT_MARKS]
    root = parsed(charts.labeled_strip([*parts, charts.Part("f0", "GEMM", 0.0, "0 %")], "Time by bound"))
    drawn = {path.get("class"): path.get("d") for path in root.iter("path")}
    assert list(drawn) == [f"{bound} point" for bound in charts.VERDICT_MARKS]
    # Each lies before its words; compute and unknown are circles, and the page leaves the second one hollow.
    assert len({re.sub(r"^M\S+ \S+?(?=[a-z])", "", path) for path in drawn.values()}) == 4
    assert [rect.get("class") for rect in root.iter("rect") if rect.get("height") == "11"] == ["f0"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_becomes_markup(name):
    marks = [replace(mark(i), name=name) for i in range(4)]
    drawn = [rooflines.physical(marks, name), rooflines.normalized(marks, name), rooflines.single(marks[0])]
    data = Histogram("m", name, "%", (0.0, 1.0), (1,), ((0,),), 0)
    drawn += [charts.histogram(data, [name]), charts.strip([charts.Part("f0", name, 1.0, name)], name)]
    for svg in drawn:
        tags = {element.tag for element in parsed(svg).iter()}
        assert tags <= {"svg", "title", "desc", "path", "rect", "text", "a"}
        svg.encode("utf-8")
    for svg in drawn:
        for element in parsed(svg).iter():
            assert not [key for key in element.attrib if key.startswith("on") or key == "style"]


@given(st.floats(1e-3, 1e15), st.floats(1e-3, 1e15))
def test_a_log_scale_keeps_the_order(a, b):
    scale = LogScale(-3, 15, 10, 500)
    low, high = sorted((a, b))
    assert 10 <= scale.at(low) <= scale.at(high) <= 500


def test_ticks_are_powers_of_ten_within_the_axis():
    assert LogScale(-0.5, 2.2, 0, 1).ticks() == [1.0, 10.0, 100.0]
    assert len(LogScale(0, 18, 0, 1).ticks()) <= 7


@given(st.floats(0.01, 1.0), st.floats(1e-2, 1e4))
def test_the_point_of_a_normalized_roofline_is_under_the_roof(efficiency, ratio):
    """The drawn point is as far below the drawn roof as its efficiency says."""
    base = make_kernel(0).point
    peak, bandwidth = base.peak_flop_per_s, base.peak_bytes_per_s
    ridge = peak / bandwidth
    roof = min(1.0, ratio) * peak
    point = replace(base, flop_per_byte=ratio * ridge, flop_per_s=efficiency * roof, roof_flop_per_s=roof)
    svg = rooflines.normalized([Mark(point, "k", "COMPUTE", 0.5)], "roofline")
    roof_points = re.search(r'class="roof" d="M([^"]+)"', svg).group(1).split("L")
    (x0, y0), (x1, y1), _ = ([float(n) for n in p.split()] for p in roof_points)
    cx, cy = (float(n) for n in re.search(r'class="compute point" d="M([\d. -]+)a', svg).group(1).split())
    radius = min(18.0, 22 * 0.5**0.5)
    cx += radius
    on_roof = y1 if cx >= x1 else y0 + (cx - x0) * (y1 - y0) / (x1 - x0)
    # Downwards is positive on the drawing; a tenth of a unit is lost to rounding, more where the roof is steep.
    assert cy >= on_roof - 2.0


def test_bounds_have_their_own_shape_and_flagged_points_are_hollow():
    shapes = {}
    for index, bound in enumerate(("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN")):
        svg = rooflines.single(replace(mark(0), bound=bound))
        shapes[bound] = re.search(rf'class="{bound.lower()} point" d="([^"]+)"', svg).group(1)
        assert index >= 0
    assert shapes["COMPUTE"] == shapes["UNKNOWN"]
    assert len(set(shapes.values())) == 4
    assert 'class="compute flagged point"' in rooflines.single(mark(0, flags=("1.40 times the roof",)))


def test_a_point_without_a_place_is_not_drawable():
    point = make_kernel(0).point
    assert rooflines.usable(point)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        assert not rooflines.usable(replace(point, flop_per_byte=value))
    assert not rooflines.usable(None)


def test_roofs_that_differ_by_the_clock_alone_are_one_line():
    marks = [mark(0), mark(0, peak_flop_per_s=47e12), mark(0, peak_flop_per_s=20e12, precision="FP64")]
    svg = rooflines.physical(marks, "roofline")
    assert svg.count('class="roof"') == 3  # DRAM, FP32, FP64
    assert "FP32 48.7 TFLOP/s" in svg
    assert "FP64 20.0 TFLOP/s" in svg
    assert "DRAM 717 GB/s" in svg


def overlap(turned, label):
    """Say whether a label of one size crosses the line through the middle of the letters of a turned one."""
    words, angle, x, y = turned
    half = charts.text_width(words) / 2
    name, anchor, left, base = label
    left -= {"s": 0.0, "m": 0.5, "e": 1.0}[anchor] * charts.text_width(name)
    for step in range(-100, 101):
        along = half * step / 100
        u = x + along * math.cos(angle) + 4 * math.sin(angle)
        v = y + along * math.sin(angle) - 4 * math.cos(angle)
        if left - 4 < u < left + charts.text_width(name) + 4 and base - 14 < v < base + 6:
            return True
    return False


def beside_the_roof(intensity):
    """Return a roofline with one named point on the DRAM roof, and a small one where its name would stand first."""
    ends = [mark(0, flop_per_byte=value, flop_per_s=7e11 * value) for value in (0.05, 60.0)]
    beside = mark(0, flop_per_byte=intensity * 1.6, flop_per_s=7e11 * intensity)
    named = mark(0, flop_per_byte=intensity, flop_per_s=7e11 * intensity)
    named = replace(named, name="addmm 1\u00d72048 \u00b7 2048\u00d7512")
    return parsed(rooflines.physical([named, *(replace(m, time_share=0.0) for m in (*ends, beside))], "roofline", 1))


def test_labels_keep_clear_of_the_label_of_the_roof():
    placed = 0
    for power in range(-10, 11):
        texts = list(beside_the_roof(10 ** (power / 10)).iter("text"))
        roof = next(t for t in texts if t.text.startswith("DRAM"))
        angle, x, y = (float(v) for v in re.findall(r"-?[\d.]+", roof.get("transform")))
        for name in (t for t in texts if t.text.startswith("addmm")):
            label = (name.text, name.get("class"), float(name.get("x")), float(name.get("y")))
            assert not overlap((roof.text, math.radians(angle), x, y), label), power
            placed += 1
    # Eight places are tried around each point: here all names find one.
    assert placed == 21


def test_labels_do_not_overlap_each_other():
    marks = [replace(mark(0), name=f"kernel number {i}") for i in range(12)]
    root = parsed(rooflines.physical(marks, "roofline", labels=12))
    placed = [(t.text, t.get("x"), t.get("y")) for t in root.iter("text") if t.text.startswith("kernel")]
    assert len(placed) == len({(x, y) for _, x, y in placed}) < 12


@pytest.mark.parametrize("count", [0, 1, 100, 130])
def test_the_strip_counts_all_that_have_no_place(count):
    absent = [
        Absent(f"<k{place}>", "MEMORY", place / 1000, None if place % 3 else place / 200) for place in range(count)
    ]
    drawn = "".join(strip(absent, 440, 150))
    assert drawn.count('class="memory point"') == min(count, 100)
    if count:
        assert f"{count} of 150 kernels have no place above" in drawn
        assert ("the 100 longest" in drawn) == (count > 100)
        # The longest are kept: place stands for the time share.
        assert f"&lt;k{count - 1}&gt;" in drawn
        assert ("not known" in drawn) == (count > 1)
    else:
        assert drawn == ""


@given(st.floats(0, 2), st.floats(0, 1))
def test_a_mark_on_the_strip_lies_on_its_axis(share, time_share):
    (shape,) = [part for part in strip([Absent("k", "LATENCY", time_share, share)], 440, 1) if "point" in part]
    x = float(re.search(r'd="M([\d.]+) ', shape)[1])
    assert 176 <= x <= 656
