"""The report as JSON: each kind of run fits the schema in the docs, and the page shows nothing but its numbers."""

import json
import re
from pathlib import Path

import pytest

from builders.analysis import HOSTILE_NAMES, make_analysis, make_info, make_operators, make_story, make_sums
from builders.schema import faults
from builders.work import with_work
from nsightkit.analysis import AnalysisOptions, analyze_tables
from nsightkit.analysis.results import Analysis
from nsightkit.ingest.dataset import open_dataset
from nsightkit.report.blocks import DataTable, Facts, Group, Pairs
from nsightkit.report.context import Context
from nsightkit.report.data import page_json
from nsightkit.report.sections import build_sections

DOCS = Path(__file__).resolve().parents[1] / "docs" / "report-json.md"
KINDS = {
    "empty": Analysis(),
    "one kernel": make_analysis(1),
    "counters only": make_analysis(6, timeline=False),
    "both": make_analysis(20),
    "hostile": make_story(make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES), HOSTILE_NAMES),
    "CPU": Analysis(top_operators=make_operators(), ranges=make_sums("decode")),
    "work from shapes": with_work(),
    "story": make_story(make_analysis(20)),
}
CAPTURES = (
    "ncu-rep/v100-lammps-full.ncu-rep", "ncu-rep/a100-stencil-full.ncu-rep", "ncu-rep/h800-sgemm-full.ncu-rep",
    "ncu-rep/b200-nvfp4-gemm-full.ncu-rep", "ncu-rep/rtx3070-scan-full-2020.ncu-rep",
    "nsys-sqlite/t4-power-iteration-nvtx.sqlite", "nsys-sqlite/titanrtx-no-kernel-table.sqlite",
    "torch-trace/b200-eager.json.gz", "torch-trace/cpu-only.json.gz", "seed-runs/dsocr-v2",
    "seed-runs/dsocr-nsys/decode.csv",
)  # fmt: skip


def schema():
    return json.loads(DOCS.read_text(encoding="utf-8").split("```json\n", 1)[1].split("```", 1)[0])


def data_of(analysis, **info):
    return json.loads(page_json(Context(make_info(**info), analysis)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_of_each_kind_of_run_fits_its_schema(kind):
    data, rules = data_of(KINDS[kind]), schema()
    assert faults(data, rules, rules) == []
    assert set(data) <= set(rules["properties"])


def test_the_schema_finds_faults():
    data, rules = data_of(KINDS["story"]), schema()
    for change, words in (
        ({"schema_version": 2}, "is not 1"), ({"rule": "guess"}, "is not one of"), ({"span_ns": -1}, "below 0"),
        ({"notes": "text"}, "is no array"), ({"findings": [{"rule": "x"}]}, "no title"),
    ):  # fmt: skip
        assert any(words in fault for fault in faults(data | change, rules, rules))
    del data["kernels"]
    assert "$: no kernels" in faults(data, rules, rules)


@pytest.mark.shared
@pytest.mark.parametrize("name", CAPTURES)
def test_the_json_of_real_captures_fits_its_schema(name, shared_data):
    dataset = open_dataset([shared_data / name])
    data = json.loads(page_json(Context(dataset.info, analyze_tables(dataset, AnalysisOptions()))))
    rules = schema()
    assert faults(data, rules, rules) == []


def walk(parts):
    for part in parts:
        yield part
        if isinstance(part, Group):
            yield from walk(part.blocks)


def tables(analysis):
    sections = build_sections(Context(make_info(), analysis))
    return {p.id: p for s in sections for p in walk(s.blocks) if isinstance(p, DataTable)}


def packed(table, row, name):
    return row[table["columns"].index(name)]


def test_every_number_of_the_operators_is_that_of_the_data():
    analysis = KINDS["work from shapes"]
    data, shown = data_of(analysis)["work"], tables(analysis)["operator-points"]
    keys = [column.key for column in shown.columns]
    for row, cells in zip(data["rows"], shown.rows, strict=False):
        for name in ("time_share", "count", "flop", "moved_bytes", "bytes_per_s"):
            exact, value = cells[keys.index(name)].exact, packed(data, row, name)
            assert (float(exact.split()[0]) == value) if value is not None else "not" in exact
        point = packed(data, row, "point")
        if point:
            assert float(cells[keys.index("efficiency")].exact) == point[data["point"].index("efficiency")]
    assert len(data["rows"]) == 4
    assert [packed(data, row, "anchor") for row in data["rows"]] == [1, 2, 3, None]
    assert shown.anchors == ("operator-1", "operator-2", "operator-3")


# A version is no measurement, and waves per SM carry their unit in the name.
BARE = ("Waves per SM", "Compute capability", "Driver", "CUDA", "nsightkit", "Captured by")
UNITS = {
    "ns": r"(ns|µs|ms|s)", "byte": r"[kMGTP]?B", "byte/s": r"[kMGTP]?B/s", "flop": r"[kMGTP]?FLOP",
    "flop/s": r"[kMGTP]?FLOP/s", "flop/byte": r"[kMGTP]?FLOP/B", "%": "%", "1": "%", "Hz": "[kMG]?Hz",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_stands_without_its_unit(kind):
    sections = build_sections(Context(make_info(), KINDS[kind]))
    seen = 0
    for part in (p for s in sections for p in walk(s.blocks)):
        if isinstance(part, DataTable):
            for column, cells in zip(part.columns, zip(*part.rows, strict=True), strict=True):
                unit = UNITS.get(column.unit)
                if column.numeric and unit:
                    texts = [cell.text for cell in cells if cell.text != "–"]
                    seen += len(texts)
                    assert all(re.fullmatch(rf"[<>]?[\d.\u202f]+ {unit}", text) for text in texts), (part.id, texts)
        if isinstance(part, Facts):
            assert all(re.search(r"[A-Za-zµ%]$", f.text) or f.text.replace("\u202f", "").isdigit() for f in part.facts)
        if isinstance(part, Pairs):
            for label, cell in part.pairs:
                # What is printed with a fraction is measured, and a measured number has a unit.
                bare = re.fullmatch(r"-?\d+\.\d+", cell.text)
                assert not bare or label.startswith(BARE), (label, cell.text)
    assert seen or kind == "empty"
