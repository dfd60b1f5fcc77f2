import csv
import importlib.machinery
import importlib.util
import math
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import ncu
from nsightkit.errors import IngestError, ToolError
from nsightkit.ingest import ncu_report
from nsightkit.ingest.ncu_container import walk
from nsightkit.ingest.ncu_rows import CLUSTER_NUMBERS, Launch, kernel_counters, without_links
from nsightkit.ingest.ncu_units import to_base

EVERYTHING = {"kernel_counters": None, "gpus": None, "rule_results": None, "metric_values": None}
DURATION = "gpu__time_duration.sum"


def counters(path: Path) -> dict[str, list]:
    return ncu_report.read((path,), {"kernel_counters": None}).tables["kernel_counters"]


def _outcome(do: Callable[[], object]) -> object:
    """What `do` returns, or the slug of the error that it raises."""
    try:
        return do()
    except IngestError as error:
        return error.slug


@pytest.fixture
def library(monkeypatch):
    """Stands in for NVIDIA's reader: `library(actions)` makes it give these for any file."""

    def install(actions):
        stub = types.ModuleType("ncu_report")
        stub.__spec__ = importlib.machinery.ModuleSpec("ncu_report", None)
        stub.load_report = lambda path: ncu.FakeContext(actions)
        monkeypatch.setitem(sys.modules, "ncu_report", stub)

    return install


@pytest.fixture
def without_library(monkeypatch):
    """Makes NVIDIA's reader appear to be missing."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ncu_report" else real(name, *a))


# The container


def test_the_walk_counts_results_and_reads_the_versions(tmp_path):
    found = walk(ncu.container(3).write(tmp_path / "r"))
    assert found.result_count == 3
    assert found.facts == {"tool_version": "2024.1.1.0", "cuda_version": "12.4", "driver_version": "550.54"}


def test_a_compressed_container_is_walked_too(tmp_path):
    path = tmp_path / "r.ncu-repz"
    path.write_bytes(zstandard.compress(bytes(ncu.container(3).data)))
    assert walk(path) == walk(ncu.container(3).write(tmp_path / "r"))


def test_every_cut_is_found_but_one_between_blocks(tmp_path):
    built = ncu.container(2)
    whole, path = bytes(built.data), tmp_path / "cut.ncu-rep"
    between = {*built.ends, 10}
    assert whole[4:8] == b"\x02\0\0\0", "the file header ends at 10"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size in between:
            assert walk(path).result_count == max(0, built.ends.index(size) - 2 if size in built.ends else 0)
        else:
            with pytest.raises(IngestError, match=r"cut\.ncu-rep: the report .*(cut off|damaged)") as caught:
                walk(path)
            assert caught.value.slug == "ncu-report-damaged"


def test_a_cut_says_how_many_results_are_whole(tmp_path):
    path = tmp_path / "cut"
    path.write_bytes(ncu.container(5).data[:-30])
    with pytest.raises(IngestError, match=r"was cut off after 4 whole results; copy it again"):
        walk(path)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 6, 40])
def test_a_compressed_cut_is_found(tmp_path, size):
    path = tmp_path / "r.ncu-repz"
    whole = zstandard.compress(bytes(ncu.container(3).data))
    path.write_bytes(whole[: max(4, len(whole) - 1 - size)])
    with pytest.raises(IngestError, match="cut off"):
        walk(path)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_behind_the_magic_is_refused_or_holds_no_result(tmp_path, data):
    path = tmp_path / "garbage"
    path.write_bytes(b"NVR\0" + data)
    assert _outcome(lambda: walk(path).result_count >= 0) in (True, "ncu-report-damaged")


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_is_no_crash(tmp_path, place, byte):
    data = bytearray(ncu.container(2).data)
    data[place % len(data)] = byte
    path = tmp_path / "flipped"
    path.write_bytes(data)
    assert _outcome(lambda: walk(path).result_count >= 0) in (True, "ncu-report-damaged")


def test_content_decides_what_is_a_report(tmp_path):
    data = bytes(ncu.container().data)
    assert ncu_report.recognizes(Path("x.txt"), data)
    assert ncu_report.recognizes(Path("x.txt"), zstandard.compress(data))
    assert not ncu_report.recognizes(Path("x.ncu-rep"), b"SQLite format 3\0")
    assert not ncu_report.recognizes(Path("x.ncu-rep"), b"")
    assert not ncu_report.recognizes(Path("x.ncu-repz"), zstandard.compress(b"some text" * 50))


def test_a_compressed_report_whose_first_block_is_long_is_recognized():
    noise = bytes(os.urandom(300_000))
    assert ncu_report.recognizes(Path("x"), zstandard.compress(b"NVR\0" + noise)[:65536])


# Launches, as NVIDIA's reader gives them


def test_a_launch_has_identity_counters_and_gpu(tmp_path, library):
    numbers = {
        DURATION: 2000.0,
        "dram__bytes.sum": 4096.0,
        "launch__grid_dim_x": 4.0,
        "launch__grid_dim_y": 2.0,
        "launch__grid_dim_z": 1.0,
        "launch__block_dim_x": 128.0,
        "launch__block_dim_y": 1.0,
        "launch__block_dim_z": 1.0,
        "launch__device_id": 1.0,
        "launch__context_id": 3.0,
        "launch__stream_id": 7.0,
        "device__attribute_compute_capability_major": 8.0,
        "device__attribute_compute_capability_minor": 9.0,
        "device__attribute_multiprocessor_count": 80.0,
        "device__attribute_clock_rate": 2550000.0,
        "device__attribute_memory_clock_rate": 11501000.0,
        "device__attribute_global_memory_bus_width": 256.0,
    }
    values = {name: ncu.FakeMetric(value) for name, value in numbers.items()}
    values["device__attribute_display_name"] = ncu.FakeMetric("NVIDIA GeForce RTX 4080 SUPER")
    library([ncu.FakeAction(values)])
    data = ncu_report.read((ncu.container(1).write(tmp_path / "r"),), None)
    row = {name: column[0] for name, column in data.tables["kernel_counters"].items()}
    assert (row["kernel_name"], row["function_name"]) == ("void gemm<float>(float *)", "gemm")
    assert [row[f"grid_{axis}"] for axis in "xyz"] == [4, 2, 1]
    assert [row[f"block_{axis}"] for axis in "xyz"] == [128, 1, 1]
    assert (row["device_id"], row["context_id"], row["stream_id"]) == (1, 3, 7)
    assert (row["duration_ns"], row["dram_bytes"], row["fp32_flop"]) == (2000.0, 4096.0, None)
    assert (row["compute_capability"], row["sm_count"], row["failed"]) == ("8.9", 80, False)
    gpu = {name: column[0] for name, column in data.tables["gpus"].items()}
    assert (gpu["device_id"], gpu["max_clock_hz"], gpu["memory_bytes_per_s"]) == (1, 2.55e9, 736.064e9)
    assert data.tool_version == "2024.1.1.0"
    assert data.facts["gpu_name"] == "NVIDIA GeForce RTX 4080 SUPER"
    assert data.facts["driver_version"] == "550.54"
    assert "metric_values" not in data.tables


def test_a_metric_without_a_value_is_not_zero(tmp_path, library):
    library([ncu.FakeAction({DURATION: ncu.FakeMetric(5.0), "dram__bytes.sum": ncu.FakeMetric(None)})])
    data = ncu_report.read((ncu.container(1).write(tmp_path / "r"),), EVERYTHING)
    assert data.tables["kernel_counters"]["dram_bytes"] == [None]
    values = data.tables["metric_values"]
    assert list(zip(values["metric_name"], values["value"], values["text"], strict=True)) == [
        ("dram__bytes.sum", None, None),
        (DURATION, 5.0, None),
    ]


def test_a_failed_launch_is_said_and_has_no_counters(tmp_path, library):
    good = ncu.FakeAction({DURATION: ncu.FakeMetric(5.0)})
    bad = ncu.FakeAction({DURATION: ncu.FakeMetric(math.nan), "lts__t_sector_hit_rate.pct": ncu.FakeMetric(0.0)})
    library([good, bad])
    data = ncu_report.read((ncu.container(2).write(tmp_path / "r"),), EVERYTHING)
    table = data.tables["kernel_counters"]
    assert table["failed"] == [False, True]
    assert (table["duration_ns"], table["l2_hit_rate_pct"]) == ([5.0, None], [None, None])
    assert data.notes == ("1 of 2 launches could not be measured by ncu; their counters are left empty",)
    assert data.tables["metric_values"]["text"][1:] == ["nan", None]


def test_fewer_results_than_promised_are_damage(tmp_path, library):
    library([ncu.FakeAction({})])
    with pytest.raises(IngestError, match=r"it promises 3 results and 1 can be read, so 2 are missing"):
        counters(ncu.container(3).write(tmp_path / "r"))


def test_a_report_without_results_says_that_nothing_was_profiled(tmp_path):
    with pytest.raises(IngestError, match="the report holds no result: ncu profiled no kernel") as caught:
        counters(ncu.container(0).write(tmp_path / "r"))
    assert caught.value.slug == "ncu-no-results"


def test_ranges_and_graphs_are_kept_and_noted(tmp_path, library):
    built = ncu.container(1)
    built.block(others=1, payload=b"range")
    library([ncu.FakeAction({}), ncu.FakeAction({}, names=("", "range"), kind=1)])
    data = ncu_report.read((built.write(tmp_path / "r"),), None)
    assert data.tables["kernel_counters"]["kernel_name"] == ["void gemm<float>(float *)", "range"]
    assert data.notes == ("1 of 2 results describe a range, not a single kernel",)


def test_nvtx_ranges_are_joined_outermost_first(tmp_path, library):
    state = ncu.FakeState((ncu.FakeDomain("<default domain>", ("step", "layer")), ncu.FakeDomain("mine", ("gemm",))))
    library([ncu.FakeAction({}, state=state), ncu.FakeAction({}, state=ncu.FakeState(())), ncu.FakeAction({})])
    table = counters(ncu.container(3).write(tmp_path / "r"))
    assert table["nvtx_path"] == ["step/layer/mine@gemm", None, None]


def test_rules_come_without_link_markup_and_only_if_wanted(tmp_path, library):
    def rules():
        return [
            {
                "rule_identifier": "SOLBottleneck",
                "section_identifier": "SpeedOfLight",
                "rule_message": {"title": "Small Grid", "message": "See @section:LaunchStats:Launch@.", "type": 2},
                "speedup_estimation": {"type": 2, "speedup": 97.5},
            },
            {"rule_identifier": "Bare", "section_identifier": ""},
        ]

    library([ncu.FakeAction({}, rules=rules)])
    path = ncu.container(1).write(tmp_path / "r")
    found = ncu_report.read((path,), {"rule_results": None}).tables
    assert set(found) == {"rule_results"}
    assert {name: column[0] for name, column in found["rule_results"].items()} == {
        "launch_index": 0,
        "section": "SpeedOfLight",
        "rule": "SOLBottleneck",
        "title": "Small Grid",
        "message": "See Launch.",
        "kind": "OPTIMIZATION",
        "speedup_kind": "GLOBAL",
        "estimated_speedup_pct": 97.5,
    }
    assert [column[1] for column in found["rule_results"].values()] == [0, None, "Bare", None, None, None, None, None]

    def refuse():
        raise AssertionError("rules were asked for")

    library([ncu.FakeAction({}, rules=refuse)])
    assert set(ncu_report.read((path,), {"kernel_counters": None}).tables) == {"kernel_counters"}


def test_only_the_wanted_columns_are_kept(tmp_path, library):
    library([ncu.FakeAction({})])
    found = ncu_report.read((ncu.container(1).write(tmp_path / "r"),), {"kernel_counters": ("kernel_name", "failed")})
    assert found.tables == {"kernel_counters": {"kernel_name": ["void gemm<float>(float *)"], "failed": [False]}}


@pytest.mark.parametrize(
    "name", ["a<b>|c*", "<script>alert(1)</script>", "two\nlines", "\x1b[31mred\x1b[0m", "k" * 10_000]
)
def test_hostile_names_pass_unchanged(tmp_path, library, name):
    library([ncu.FakeAction({}, names=(name, name))])
    assert counters(ncu.container(1).write(tmp_path / "r"))["kernel_name"] == [name]


def test_a_result_without_a_name_has_one_that_says_so(tmp_path, library):
    library([ncu.FakeAction({}, names=("", ""))])
    table = counters(ncu.container(1).write(tmp_path / "r"))
    assert (table["kernel_name"], table["function_name"]) == (["(no name)"], [None])


@pytest.mark.parametrize(
    ("marked", "shown"),
    [
        ("see @section:LaunchStats:Launch Statistics@ for", "see Launch Statistics for"),
        ("@url:Best Practices:https://example.org/a.html#b:c@.", "Best Practices."),
        ("at @source:15065afbc160:0x15065afbc160@ and @sass:1f:0x1f@", "at 0x15065afbc160 and 0x1f"),
        ("mail me@example.org or you@example.org", "mail me@example.org or you@example.org"),
    ],
)
def test_link_markup_is_replaced_by_its_words(marked, shown):
    assert without_links(marked) == shown


# Without NVIDIA's reader


def test_without_reader_and_ncu_both_ways_are_named(tmp_path, without_library, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolError, match=r"pip install 'nsightkit\[ncu\]'.* put ncu of Nsight Compute on PATH"
    ) as caught:
        counters(ncu.container(1).write(tmp_path / "r"))
    assert caught.value.slug == "ncu-report-needs-a-tool"


def test_another_tool_called_ncu_does_not_count(tmp_path, without_library, monkeypatch):
    ncu.fake_ncu(tmp_path / "bin", {}, says="17.1.2")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolError, match="pip install"):
        counters(ncu.container(1).write(tmp_path / "r"))


def test_an_ncu_on_path_reads_the_report(tmp_path, without_library, monkeypatch):
    launch = ncu.PrintedLaunch(rules=[("Occupancy", "Theory", "OPT", "Too many registers.", "local", "12.5")])
    raw = ncu.raw_csv(
        tmp_path / "raw", [(DURATION, "nsecond"), ("dram__bytes.sum", "byte")], [(launch, ["2000", "64"])]
    )
    details = ncu.details_csv(tmp_path / "details", [launch])
    ncu.fake_ncu(tmp_path / "bin", {"raw": raw, "details": details})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = ncu.container(1).write(tmp_path / "r.ncu-rep")
    data = ncu_report.read((path,), None)
    assert data.tables["kernel_counters"]["dram_bytes"] == [64.0]
    assert data.tables["rule_results"]["estimated_speedup_pct"] == [12.5]
    assert data.tool_version == "2024.1.1.0"
    assert data.notes == ("read through ncu on PATH, which prints two digits after the point",)
    with pytest.raises(IngestError, match="promises 2 results and 1 can be read"):
        counters(ncu.container(2).write(tmp_path / "r2.ncu-rep"))


def test_an_ncu_that_cannot_read_the_report_is_quoted(tmp_path, without_library, monkeypatch):
    ncu.fake_ncu(tmp_path / "bin", {})
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = ncu.container(1).write(tmp_path / "new.ncu-rep")
    with pytest.raises(IngestError, match=r"new\.ncu-rep: ncu on PATH cannot .*it says: Failed to load report file"):
        counters(path)


# Real reports


def _reports(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "ncu-rep").iterdir())


def _printed(shared_data: Path, report: Path) -> tuple[list[str], list[str], list[list[str]]]:
    csv.field_size_limit(1 << 27)
    path = shared_data / "expected" / "ncu-csv" / f"{report.name.split('.')[0]}.raw.csv"
    with path.open(encoding="utf-8", newline="") as file:
        header, units, *rows = csv.reader(file)
    return header, units, rows


def _finite(printed: str) -> float | None:
    try:
        number = float(printed)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@pytest.mark.shared
def test_every_number_equals_the_one_that_ncu_prints(shared_data):
    compared = 0
    for report in _reports(shared_data):
        header, units, rows = _printed(shared_data, report)
        tables = ncu_report.read((report,), EVERYTHING).tables
        assert tables["kernel_counters"]["kernel_name"] == [row[header.index("Kernel Name")] for row in rows]
        names = ("launch_index", "metric_name", "value", "text")
        ours = {
            (i, name): (value, text)
            for i, name, value, text in zip(*(tables["metric_values"][n] for n in names), strict=True)
        }
        places = [i for i, name in enumerate(header) if name not in ncu.IDENTITY + ncu.PLACE and "_Range:" not in name]
        for index, row in enumerate(rows):
            for place in places:
                value, text = ours.get((index, header[place]), (None, None))
                number = _finite(row[place])
                if number is None or text is not None:
                    assert value is None
                    assert text == row[place] or row[place] in ("", "no data")
                    continue
                factor, _ = to_base(units[place])
                digits = len(row[place].partition(".")[2])
                error = abs(number * factor - value)
                assert error <= 0.5000001 * 10.0**-digits * factor + 1e-12 * abs(value), (report, header[place])
                compared += 1
    assert compared > 60_000


@pytest.mark.shared
def test_known_counts_of_work(shared_data):
    def work(name: str) -> dict[str, list]:
        table = counters(shared_data / "ncu-rep" / f"{name}.ncu-rep")
        return {column: table[column] for column in table if column.endswith(("_flop", "_op"))}

    fp4 = work("b200-nvfp4-gemm-full")
    assert sum(v[0] for name, v in fp4.items() if name.startswith("tensor")) == 30_064_771_072
    assert fp4["tensor_fp4_flop"] == [30_064_771_072]
    sgemm = work("h800-sgemm-full")
    assert {v[0] for name, v in sgemm.items() if name.startswith("tensor")} == {0.0, None}
    assert sgemm["tensor_fp4_flop"] == [None], "Hopper has no FP4"
    assert sgemm["fp32_flop"] == [pytest.approx(2 * 1024**3, rel=1e-12)]
    s8 = work("a100-cutlass-s8-full")
    assert {v for name, column in s8.items() if name.startswith("tensor") for v in column} == {None}


@pytest.mark.shared
def test_dense_roofs_of_real_reports(shared_data):
    table = counters(shared_data / "ncu-rep" / "h800-sgemm-full.ncu-rep")
    per_cycle = table["peak_tensor_bf16_flop_per_s"][0] / table["sm_clock_hz"][0] / table["sm_count"][0]
    assert per_cycle == pytest.approx(4096)
    assert table["peak_dram_bytes_per_s"][0] == pytest.approx(1536 * 3.199187661e9)


@pytest.mark.shared
def test_the_failed_kernel_is_the_fourth(shared_data):
    table = counters(shared_data / "ncu-rep" / "a10g-sgemm-one-failed-kernel.ncu-rep")
    assert table["failed"] == [False, False, False, True]
    assert table["duration_ns"] == [139914240.0, 90892608.0, 90236288.0, None]


@pytest.mark.shared
def test_versions_and_ranges_of_real_reports(shared_data):
    data = ncu_report.read((shared_data / "ncu-rep" / "rtx3070-nvtx.ncu-rep",), None)
    assert data.tool_version == "2022.3.0.0"
    assert data.tables["kernel_counters"]["nvtx_path"] == [
        "run_test/init_data",
        "run_test/daxpy",
        "run_test/check_results",
    ]
    old = ncu_report.read((shared_data / "ncu-rep" / "v100-openacc-30k.nsight-cuprof-report",), None)
    assert old.tool_version is None
    assert len(old.tables["kernel_counters"]["failed"]) == 30
    assert all("@" not in (message or "") for message in data.tables["rule_results"]["message"])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["small.ncu-repz", "small.ncu-rep", "small"])
def test_a_compressed_report_is_read_under_any_name(shared_data, tmp_path, name):
    whole = shared_data / "ncu-rep" / "rtx3070-vectoradd.ncu-rep"
    path = tmp_path / name
    path.write_bytes(zstandard.compress(whole.read_bytes()))
    assert counters(path) == counters(whole)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.shared
def test_cut_and_damaged_reports_are_never_smaller_ones(shared_data, tmp_path):
    whole = (shared_data / "ncu-rep" / "rtx3070-nvtx.ncu-rep").read_bytes()
    path = tmp_path / "damaged.ncu-rep"
    for size in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:size])
        with pytest.raises(IngestError, match=r"damaged\.ncu-rep"):
            counters(path)
    for place in range(8, len(whole), len(whole) // 60):
        data = bytearray(whole)
        data[place] ^= 0xA5
        path.write_bytes(data)
        assert _outcome(lambda: len(counters(path)["failed"])) in (3, "ncu-report-damaged")


@pytest.mark.shared
@pytest.mark.nsight
def test_the_real_ncu_gives_the_same_counters(shared_data, nsight_path, without_library, monkeypatch):
    report = shared_data / "ncu-rep" / "a10g-sgemm-one-failed-kernel.ncu-rep"
    monkeypatch.setenv("PATH", f"{nsight_path}{os.pathsep}{os.environ['PATH']}")
    printed = ncu_report.read((report,), None)
    monkeypatch.undo()
    read = ncu_report.read((report,), None)
    for name, column in read.tables["kernel_counters"].items():
        other = printed.tables["kernel_counters"][name]
        if isinstance(column[0], float):
            assert other[:3] == [pytest.approx(value, abs=0.0051) for value in column[:3]], name
        elif name != "function_name":
            assert other[:3] == column[:3], name
    assert printed.tables["kernel_counters"]["failed"] == [False, False, False, True]
    assert len(printed.tables["rule_results"]["rule"]) == len(read.tables["rule_results"]["rule"]) == 12


@pytest.mark.parametrize(
    ("sizes", "cluster"), [((2, 3, 4), (2, 3, 4)), ((0, 0, 0), (1, 1, 1)), ((), (None, None, None))]
)
def test_no_clusters_are_told_from_unknown_ones(sizes, cluster):
    raw = dict(zip(CLUSTER_NUMBERS, map(float, sizes), strict=False))
    columns = kernel_counters([Launch("k", raw=raw)])
    assert tuple(columns[f"cluster_{axis}"][0] for axis in "xyz") == cluster
