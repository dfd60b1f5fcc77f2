"""Names on drawings: clear of points and of each other, off the lines where there is room, cut where there is none."""

import re

import pytest

from builders.analysis import make_kernel
from nsightkit.report import rooflines
from nsightkit.report.blocks import Cell, Column, DataTable
from nsightkit.report.charts import fitted, half_width, outline, text_width
from nsightkit.report.placing import Places, around, crosses, path_lines
from nsightkit.report.rooflines import Mark
from nsightkit.report.studies.drawing import Axis, bars

ROOM = (0.0, 0.0, 400.0, 200.0)


def place_of(drawn):
    x, y, anchor = re.search(r'x="([\d.-]+)" y="([\d.-]+)" class="(?:q )?(\w)"', drawn).groups()
    return float(x), float(y), anchor


def test_the_first_free_spot_is_taken_and_none_twice():
    places = Places(ROOM)
    spots = around(200, 100, 40)
    found = [place_of(places.put("name", spots)) for _ in range(8)]
    assert found == [(round(x, 1), round(y, 1), anchor) for x, y, anchor in spots]
    assert places.put("name", spots) == ""


def test_a_spot_on_a_line_is_taken_only_at_need():
    places = Places(ROOM, lines=[(200, 100, 400, 100)])
    spots = [(210, 104, "s"), (190, 104, "e")]
    assert place_of(places.put("name", spots)) == spots[1]
    assert place_of(places.put("name", spots)) == spots[0]


def test_a_name_keeps_inside_the_room():
    words = "a name too long for the right side"
    assert place_of(Places(ROOM).put(words, around(390, 100, 5)))[2] == "e"
    assert Places((0, 0, 100, 200)).put(words, around(50, 100, 5)) == ""


@pytest.mark.parametrize(
    ("line", "crossed"),
    [((0, 0, 10, 10), True), ((0, 10, 10, 0), True), ((0, 3, 10, 3), False), ((5, 0, 5, 3), False),
     ((5, 0, 5, 4), True), ((0, 5, 3, 5), False), ((5, 5, 5, 5), True)],
)  # fmt: skip
def test_what_crosses_a_box(line, crossed):
    assert crosses(line, (4, 4, 6, 6)) is crossed


def test_a_label_along_a_line_moves_off_what_is_taken_and_lies_level_where_the_line_is_short():
    line = (0.0, 200.0, 400.0, 0.0)
    free, moved = Places(ROOM).along("DRAM 1 TB/s", line), Places(ROOM, [(100, 60, 220, 200)])
    assert "rotate(-26.6" in free
    assert moved.along("DRAM 1 TB/s", line) != free
    short = Places(ROOM).along("DRAM 1 TB/s", (10.0, 60.0, 40.0, 45.0))
    assert "rotate" not in short
    assert "DRAM 1 TB/s" in short


def test_the_label_of_a_point_does_not_lie_on_its_roof():
    """A point just under the roof: the spot at its right would cross the line."""
    point = make_kernel(0).point
    svg = rooflines.single(Mark(point, "k", "COMPUTE", 0.5))
    x, y, anchor = place_of(re.search(r"<text [^>]*>[^<]* of roof</text>", svg).group())
    width = text_width(re.search(r">([^<]* of roof)<", svg).group(1))
    left = x - {"s": 0, "m": width / 2, "e": width}[anchor]
    roof = [tuple(map(float, p.split())) for p in re.search(r'class="roof" d="M([^"]+)"', svg).group(1).split("L")]
    assert not any(crosses(line, (left, y - 11, left + width, y + 3)) for line in path_lines(roof))


def test_words_are_cut_after_their_first_third_to_fit():
    name = "all_reduce grad [layers.*.attention.output_proj.weight]"
    cut = fitted(name, 180)
    assert text_width(cut) <= 180
    assert cut.startswith("all_")
    assert cut.endswith("put_proj.weight]")
    assert fitted("short", 180) == "short"
    assert text_width("MMMM") > 2 * text_width("iiii")


@pytest.mark.parametrize("bound", ["compute", "memory", "latency", "balanced", "unknown"])
def test_how_far_a_shape_reaches_to_its_side(bound):
    path = outline(bound, (100.0, 100.0), 10.0)
    steps = [float(n) for n in re.findall(r"-?[\d.]+", path)]
    if bound in ("latency", "balanced"):
        assert max(abs(step) for step in steps[2:4]) == pytest.approx(half_width(bound, 10.0), abs=10.9)
        assert half_width(bound, 10.0) > 10
    else:
        assert half_width(bound, 10.0) == 10


def test_bars_make_room_for_their_names():
    names = ["scope both, batch 8, prompt 2048, tokens 128", "x" * 200]
    svg = bars("f", "t", [(name, 1.0) for name in names], Axis("times as fast"), "c").svg
    begin = float(re.search(r'<rect class="accent" x="(\d+)"', svg).group(1))
    ends = [(float(x), words) for x, words in re.findall(r'<text x="(\d+)" y="\d+" class="e">([^<]+)<', svg)]
    assert ends[0][1] == names[0]
    assert all(text_width(words) <= x < begin for x, words in ends)
    width = int(re.search(r'width="(\d+)" viewBox="0 0 \1 ', svg).group(1))
    assert begin + 300 < width


def test_a_bar_below_zero_does_not_run_into_its_name():
    svg = bars("f", "t", [("a", -0.5), ("b", 2.0)], Axis("change", "change"), "c").svg
    left, *_ = (float(x) for x in re.findall(r'<rect class="accent" x="([\d.]+)"', svg))
    printed = re.search(r'<text x="([\d.]+)" y="\d+">−50.0 %<', svg)
    assert float(printed.group(1)) > left


def test_short_words_stand_on_one_line_and_long_ones_get_room():
    columns = (Column("name", "Kernel"), Column("tool", "Tool"), Column("bound", "Bound", kind="bound"),
               Column("why", "Why"), Column("share", "Share", "1", "share"), Column("n", "N", "count", "number"),
               Column("middle", "Middle"))  # fmt: skip
    row = (Cell("a kernel with a name of some length"), Cell("ncu"), Cell("MEMORY"), Cell("because " * 10),
           Cell("1 %"), Cell("1"), Cell("thirty characters, not so long"))  # fmt: skip
    assert DataTable("t", "t", columns, (row,)).layouts == ("", "b", "b", "l", "n s", "n", "")
    tagged = (Cell("a kernel", tags=("PyTorch ATen",)), *row[1:])
    assert DataTable("t", "t", columns, (tagged,)).layouts[0] == ""
