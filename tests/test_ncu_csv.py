import csv
import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import ncu
from builders.ncu import PrintedLaunch, Quirks
from nsightkit.errors import IngestError
from nsightkit.ingest import ncu_csv, ncu_report
from nsightkit.ingest.ncu_merge import Reading
from nsightkit.ingest.ncu_numbers import number_format
from nsightkit.ingest.ncu_rows import Launch, agreed_facts
from nsightkit.ingest.ncu_text import split
from nsightkit.ingest.ncu_units import to_base

EVERYTHING = {"kernel_counters": None, "gpus": None, "rule_results": None, "metric_values": None}
SOL, MEMORY, NAMED = "GPU Speed Of Light Throughput", "Memory Workload Analysis", "Command line profiler metrics"
DURATION = "gpu__time_duration.sum"


def table(*paths: Path) -> dict[str, list]:
    return ncu_csv.read(paths, {"kernel_counters": None}).tables["kernel_counters"]


def first(*paths: Path) -> dict:
    return {name: column[0] for name, column in table(*paths).items()}


def page(path: Path, *metrics: tuple[str, ...], quirks: Quirks = ncu.PLAIN, **launch) -> Path:
    return ncu.details_csv(path, [PrintedLaunch(metrics=metrics, **launch)], quirks)


# Units and numbers


@pytest.mark.parametrize(
    ("unit", "factor", "base"),
    [
        ("Kbyte", 1e3, "byte"),
        ("Mbyte", 1e6, "byte"),
        ("Gbyte/s", 1e9, "byte/s"),
        ("Tbyte/second", 1e12, "byte/s"),
        ("Kbyte/block", 1e3, "byte/block"),
        ("us", 1e3, "ns"),
        ("usecond", 1e3, "ns"),
        ("msecond", 1e6, "ns"),
        ("second", 1e9, "ns"),
        ("nsecond", 1, "ns"),
        ("Ghz", 1e9, "hz"),
        ("cycle/nsecond", 1e9, "hz"),
        ("cycle/usecond", 1e6, "hz"),
        ("cycle/second", 1, "hz"),
        ("inst/cycle", 1, "inst/cycle"),
        ("byte/cycle", 1, "byte/cycle"),
        ("sectors", 1, "sector"),
        ("%", 1, "%"),
        ("", 1, ""),
        ("register/thread", 1, "register/thread"),
        ("Koala", 1, "Koala"),
    ],
)
def test_units_of_every_version_have_one_base(unit, factor, base):
    assert to_base(unit) == (pytest.approx(factor, rel=1e-15), base)
    assert to_base(base) == (1.0, base)


@pytest.mark.parametrize(
    ("texts", "decimal"),
    [
        (["12,532,580,352", "0.34"], "."),
        (["12.532.580.352,5"], ","),
        (["12.532.580.352"], ","),
        (["12 532 580,25"], ","),
        (["12\u202f532\u202f580,5"], ","),
        (["1\u00a0234,5"], ","),
        (["0,123", "5"], ","),
        (["1234,567"], ","),
        (["1,234", "5.25"], "."),
        (["1,234"], "."),
        (["1'234.5"], "."),
        (["560.35.03", "7,5"], ","),
        (["12", "n/a", "PolicySpread"], "."),
    ],
)
def test_the_decimal_sign_is_found_from_numbers_that_can_be_read_one_way(texts, decimal):
    assert number_format(texts, "file").decimal == decimal


def test_a_point_before_three_digits_alone_leaves_a_doubt():
    assert not number_format(["1.234", "12"], "file").sure
    assert number_format(["1.234", "12.5"], "file").sure
    assert number_format(["1,234", "12"], "file").sure


def test_two_ways_of_writing_in_one_file_are_refused():
    with pytest.raises(IngestError, match=r"file: numbers are written in two ways \(1\.5 and 1,5\)") as caught:
        number_format(["1.5", "1,5"], "file")
    assert caught.value.slug == "ncu-csv-numbers"


LOCALES = [(",", "."), (".", ","), (" ", ","), ("\u202f", ","), ("\u00a0", ","), ("'", "."), ("", "."), ("", ",")]


@given(st.sampled_from(LOCALES), st.lists(st.integers(-(10**14), 10**14), min_size=1, max_size=30))
def test_every_locale_gives_the_same_numbers(locale, cents):
    group, decimal = locale
    texts = [f"{n / 100:,.2f}".replace(",", "G").replace(".", decimal).replace("G", group) for n in cents]
    numbers = number_format(texts, "file")
    assert numbers.sure
    for text, n in zip(texts, cents, strict=True):
        assert numbers.read(text) == (pytest.approx(n / 100, rel=1e-12, abs=1e-12), pytest.approx(0.005))


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_none(text):
    found = number_format([], "file").read(text)
    assert found is None or isinstance(found[0], float)


def test_exponents_and_nan_are_numbers():
    numbers = number_format(["1.5e+3"], "file")
    assert numbers.read("1.5e+3") == (1500.0, 50.0)
    assert math.isnan(numbers.read("nan")[0])
    assert numbers.read("n/a") is None
    assert numbers.read("1.2.3") is None


# Details pages


def test_labels_become_counters_in_base_units(tmp_path):
    row = first(
        page(
            tmp_path / "a.csv",
            (SOL, "Duration", "us", "160.74"),
            (SOL, "SM Frequency", "Ghz", "1.99"),
            (SOL, "Memory Throughput", "%", "37.26"),
            (SOL, "DRAM Throughput", "%", "36.5"),
            (MEMORY, "Memory Throughput", "Gbyte/s", "657.28"),
            (MEMORY, "Mem Busy", "%", "34.73"),
            (MEMORY, "L2 Hit Rate", "%", "n/a"),
            ("Launch Statistics", "Dynamic Shared Memory Per Block", "Kbyte/block", "69.63"),
        )
    )
    assert row["duration_ns"] == 160740.0
    assert row["sm_clock_hz"] == 1.99e9
    assert (row["memory_throughput_pct"], row["dram_throughput_pct"]) == (37.26, 36.5)
    assert row["dram_bytes_per_s"] == 657.28e9
    assert row["dram_bytes"] == pytest.approx(657.28e9 * 160.74e-6)
    assert (row["memory_busy_pct"], row["l2_hit_rate_pct"]) == (34.73, None)
    assert row["dynamic_shared_memory_bytes"] == 69630.0
    assert [row[f"grid_{axis}"] for axis in "xyz"] == [4, 2, 1]
    assert (row["block_x"], row["device_id"], row["context_id"], row["stream_id"]) == (128, 0, 1, 7)
    assert (row["compute_capability"], row["kernel_name"]) == ("8.0", "void gemm<float>(float *)")


def test_metric_names_outweigh_labels_and_n_a_is_none(tmp_path):
    path = page(
        tmp_path / "a.csv",
        (SOL, "Duration", "us", "160.74"),
        (NAMED, DURATION, "ns", "160,736"),
        (NAMED, "dram__bytes_read.sum", "Mbyte", "63.77"),
        (NAMED, "dram__bytes_write.sum", "Kbyte", "197.38"),
        (NAMED, "sm__ops_path_tensor_src_bf16_dst_fp32.sum", "", "45,902,462,976"),
        (NAMED, "flop_count_sp.sum", "", "n/a"),
    )
    row = first(path)
    assert row["duration_ns"] == 160736.0
    assert row["tensor_bf16_flop"] / row["dram_bytes"] == pytest.approx(717.59, abs=0.01)
    assert row["fp32_flop"] is None
    values = ncu_csv.read((path,), EVERYTHING).tables["metric_values"]
    kept = dict(zip(values["metric_name"], zip(values["unit"], values["value"], strict=True), strict=True))
    assert kept["flop_count_sp.sum"] == (None, None)
    assert kept[f"{SOL}/Duration"] == ("ns", 160740.0)
    assert kept["dram__bytes_read.sum"] == ("byte", 63.77e6)


def test_the_layout_of_2022_has_no_grid_and_older_spellings(tmp_path):
    launch = PrintedLaunch(
        metrics=[
            ("GPU Speed Of Light", "SOL SM", "%", "12.50"),
            ("GPU Speed Of Light", "SOL DRAM", "%", "80.00"),
            ("GPU Speed Of Light", "Duration", "usecond", "2.40"),
            ("GPU Speed Of Light", "SM Frequency", "cycle/nsecond", "1.02"),
        ],
        rules=[("LaunchStats", "LaunchConfiguration", "WRN", "Too few blocks.")],
    )
    data = ncu_csv.read((ncu.details_csv(tmp_path / "old.csv", [launch], layout="old"),), None)
    row = {name: column[0] for name, column in data.tables["kernel_counters"].items()}
    assert (row["sm_throughput_pct"], row["dram_throughput_pct"]) == (12.5, 80.0)
    assert (row["duration_ns"], row["sm_clock_hz"]) == (2400.0, 1.02e9)
    assert (row["grid_x"], row["device_id"], row["compute_capability"]) == (None, None, None)
    rules = data.tables["rule_results"]
    assert (rules["rule"], rules["kind"], rules["message"]) == (
        ["LaunchConfiguration"],
        ["WARNING"],
        ["Too few blocks."],
    )
    assert data.tables["gpus"]["device_id"] == []


def test_chart_rows_are_told_apart_by_their_line(tmp_path):
    chart = "GPU Speed Of Light Roofline Chart"
    launch = PrintedLaunch(
        metrics=[
            (chart, "Single Precision Roofline", "Theoretical Predicated-On FFMA Operations", "inst", "43,520"),
            (chart, "Single Precision Roofline", "SM Frequency", "Ghz", "2.00"),
            (chart, "Single Precision Roofline", "Theoretical DRAM Bytes Accessible", "byte/cycle", "128"),
            (chart, "Single Precision Roofline", "DRAM Frequency", "Ghz", "13.78"),
            (chart, "Single Precision Achieved Value", "SM Frequency", "Ghz", "1.00"),
        ],
        rules=[("SpeedOfLight_RooflineChart", "SOLFPRoofline", "INF", "2%")],
    )
    data = ncu_csv.read((ncu.details_csv(tmp_path / "r.csv", [launch], layout="roofline"),), EVERYTHING)
    assert data.tables["kernel_counters"]["peak_fp32_flop_per_s"] == [87.04e12]
    assert data.tables["kernel_counters"]["peak_dram_bytes_per_s"] == [pytest.approx(1763.84e9)]
    assert f"{chart}/Single Precision Achieved Value/SM Frequency" in data.tables["metric_values"]["metric_name"]
    assert data.tables["rule_results"]["kind"] == ["OK"]


def test_rules_carry_their_speed_up(tmp_path):
    rules = [
        ("Occupancy", "TheoreticalOccupancy", "OPT", "Limited by registers.", "global", "61.96"),
        ("SpeedOfLight", "SOLBottleneck", "ERR", "See @section:LaunchStats:Launch@"),
    ]
    found = ncu_csv.read((ncu.details_csv(tmp_path / "a.csv", [PrintedLaunch(rules=rules)]),), None).tables[
        "rule_results"
    ]
    assert found["estimated_speedup_pct"] == [61.96, None]
    assert found["speedup_kind"] == ["GLOBAL", None]
    assert found["kind"] == ["OPTIMIZATION", "ERROR"]
    assert found["message"][1] == "See Launch"


# Raw pages


COLUMNS = [(DURATION, "us"), ("dram__bytes.sum", "Kbyte"), ("launch__func_cache_config", "")]


def test_a_raw_page_has_its_units_under_the_header(tmp_path):
    launches = [PrintedLaunch(id=0), PrintedLaunch(id=1, kernel="other")]
    rows = [(launches[0], ["1.50", "2,000", "CachePreferNone"]), (launches[1], ["nan", "", "CachePreferNone"])]
    data = ncu_csv.read((ncu.raw_csv(tmp_path / "raw.csv", COLUMNS, rows),), EVERYTHING)
    counters = data.tables["kernel_counters"]
    assert counters["duration_ns"] == [1500.0, None]
    assert counters["dram_bytes"] == [2e6, None]
    assert counters["failed"] == [False, True]
    assert (counters["grid_x"], counters["launch_index"]) == ([4, None], [0, 1])
    assert data.notes == ("1 of 2 launches could not be measured by ncu; their counters are left empty",)
    values = data.tables["metric_values"]
    assert values["text"] == [None, None, "CachePreferNone", "nan", None, "CachePreferNone"]


def test_a_raw_page_without_units_is_refused(tmp_path):
    path = ncu.raw_csv(tmp_path / "raw.csv", COLUMNS, [(PrintedLaunch(), ["1", "2", "x"])])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(IngestError, match="the row of units under the header is missing") as caught:
        table(path)
    assert caught.value.slug == "ncu-csv-no-units"


def test_nvtx_columns_give_the_path(tmp_path):
    ranges = '77  "<default domain>:a:b:none:none:RGB:0xff00ff00:ASCII:a:b"  "mine:gemm:none:none:none:none:none:none" '
    path = ncu.raw_csv(tmp_path / "raw.csv", COLUMNS, [(PrintedLaunch(), ["1", "2", "x"])])
    with path.open(newline="") as file:
        header, units, row = list(csv.reader(file))
    column = "thread Domain:Push/Pop_Range:PL_Type:PL_Value:CLR_Type:Color:Msg_Type:Msg"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([[*header, column], [*units, ""], [*row, ranges]])
    assert first(path)["nvtx_path"] == "a:b/mine@gemm"


# What stands around the table


NOISE = "==PROF== Connected to process 77 (/usr/bin/python)\npass 0, time = 3.58s\nit's \"quoted\n"


@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(bom=True, above=NOISE),
        Quirks(above=NOISE, between="step 3 done\n", below="==PROF== Disconnected from process 77\n"),
        Quirks(line_end="\r\n", above=NOISE.replace("\n", "\r\n")),
        Quirks(encoding="utf-16", above=NOISE),
        Quirks(delimiter=";"),
        Quirks(between="progress 50%"),
    ],
    ids=["bom", "between", "windows", "powershell", "semicolon", "no-line-end"],
)
def test_what_the_shell_and_the_program_add_is_no_part_of_the_table(tmp_path, quirks):
    metrics = [(SOL, "Duration", "us", "1.50"), (SOL, "DRAM Throughput", "%", "80.25")]
    path = page(tmp_path / "a.csv", *metrics, quirks=quirks)
    assert ncu_csv.recognizes(path, path.read_bytes())
    row = first(path)
    assert (row["duration_ns"], row["dram_throughput_pct"]) == (1500.0, 80.25)


def test_a_compressed_page_is_read(tmp_path):
    path = page(tmp_path / "a.csv", (SOL, "Duration", "us", "1.50"))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert first(path)["duration_ns"] == 1500.0
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IngestError, match="the compressed file is damaged"):
        table(path)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"ID,Name\n1,2\n",
        b"Time (%),Total Time (ns),Instances,Name\n",
        b"\0\1\2",
        b"kernel_id,kernel_name\n",
        b"{}",
    ],
)
def test_other_files_are_not_recognized(head):
    assert not ncu_csv.recognizes(Path("a.csv"), head)


@pytest.mark.parametrize(
    "name", ['a<b>|c*, "d"', "<script>alert(1)</script>", "two\nlines", "\x1b[31mred", "k" * 10_000]
)
def test_hostile_names_pass_unchanged(tmp_path, name):
    path = page(tmp_path / "a.csv", (SOL, "Duration", "us", "1.50"), (SOL, "DRAM Throughput", "%", "1"), kernel=name)
    assert table(path)["kernel_name"] == [name]


def test_a_name_that_looks_like_a_row_stays_one_launch(tmp_path):
    name = 'x\n"0","1","p","h","evil"\n==ERROR== no'
    assert table(page(tmp_path / "a.csv", (SOL, "Duration", "us", "1.50"), kernel=name))["kernel_name"] == [name]


# Several files of one folder


def test_files_of_one_launch_are_joined(tmp_path):
    paths = (
        page(tmp_path / "sol.csv", (SOL, "Duration", "us", "1.50")),
        page(tmp_path / "memory.csv", (MEMORY, "Mem Busy", "%", "30.00")),
        page(tmp_path / "other.csv", (SOL, "Duration", "us", "9.00"), kernel="other"),
    )
    counters = table(*paths)
    assert counters["kernel_name"] == ["void gemm<float>(float *)", "other"]
    assert (counters["duration_ns"], counters["memory_busy_pct"]) == ([1500.0, 9000.0], [30.0, None])


@pytest.mark.parametrize(
    "other", [{"id": 1}, {"grid": "(5, 1, 1)"}, {"block": "(64, 1, 1)"}, {"process": "78"}, {"device": "1"}]
)
def test_launches_that_differ_in_one_key_stay_apart(tmp_path, other):
    paths = (
        page(tmp_path / "a.csv", (SOL, "Duration", "us", "1")),
        page(tmp_path / "b.csv", (SOL, "Duration", "us", "2"), **other),
    )
    assert table(*paths)["duration_ns"] == [1000.0, 2000.0]


def test_a_contradiction_between_files_is_named_and_rounding_is_none(tmp_path):
    paths = (
        page(tmp_path / "a.csv", (NAMED, DURATION, "us", "160.74"), (NAMED, "dram__bytes.sum", "Mbyte", "1.00")),
        page(tmp_path / "b.csv", (NAMED, DURATION, "ns", "160,736"), (NAMED, "dram__bytes.sum", "Mbyte", "1.50")),
    )
    data = ncu_csv.read(paths, {"kernel_counters": None})
    assert data.notes == (
        "launch 0 (void gemm<float>(float *)): dram__bytes.sum is 1000000 byte in a.csv and 1500000 byte in b.csv; "
        "the first is used",
    )
    assert data.tables["kernel_counters"]["duration_ns"] == [160736.0], "the more exact of two that agree"
    assert data.tables["kernel_counters"]["dram_bytes"] == [1e6]


def test_rules_that_files_repeat_count_once(tmp_path):
    launch = PrintedLaunch(rules=[("Occupancy", "Theory", "OPT", "same"), ("Occupancy", "Theory", "OPT", "same")])
    paths = [ncu.details_csv(tmp_path / name, [launch]) for name in ("a.csv", "b.csv")]
    assert ncu_csv.read(tuple(paths), None).tables["rule_results"]["message"] == ["same", "same"]


def test_a_log_among_good_files_is_named(tmp_path):
    good = page(tmp_path / "good.csv", (SOL, "Duration", "us", "1.50"))
    log = tmp_path / "log.csv"
    log.write_text("==PROF== Connected\n==WARNING== No kernels were profiled.\n==ERROR== Driver is too old.\n")
    data = ncu_csv.read((good, log), None)
    assert data.tables["kernel_counters"]["duration_ns"] == [1500.0]
    assert data.notes == (f"left out: {log}: the run failed, ncu says: ==ERROR== Driver is too old.",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("==PROF== x\n==WARNING== No kernels were profiled.\n", "ncu says: ==WARNING== No kernels were profiled."),
        ("==WARNING== w\n==ERROR== Permission denied\n", "ncu says: ==ERROR== Permission denied"),
        ("==PROF== Connected to process 1 (x)\n", "without a table of metrics: no kernel was profiled"),
    ],
)
def test_the_log_of_a_failed_run_gives_the_true_reason(tmp_path, text, reason):
    path = tmp_path / "log.csv"
    path.write_text(text)
    assert ncu_csv.recognizes(path, path.read_bytes())
    with pytest.raises(IngestError, match=f"log.csv: .*{reason}") as caught:
        table(path)
    assert caught.value.slug == "ncu-csv-no-table"


def test_a_folder_of_logs_names_the_first(tmp_path):
    paths = [tmp_path / name for name in ("a.csv", "b.csv")]
    for path in paths:
        path.write_text("==ERROR== Driver is too old.\n")
    with pytest.raises(IngestError, match=r"none of 2 files of ncu can be read; the first: .*Driver is too old"):
        table(*paths)


# Damage


def test_every_cut_within_a_row_is_found(tmp_path):
    metrics = [(SOL, "Duration", "us", "1.50"), (SOL, "DRAM Throughput", "%", "80.25")]
    rules = [("Occupancy", "Theory", "OPT", "Too many registers.")]
    launch = PrintedLaunch(metrics=metrics, rules=rules)
    whole = ncu.details_csv(tmp_path / "a.csv", [launch]).read_bytes()
    lines = whole.splitlines(keepends=True)
    path, done = tmp_path / "cut.csv", len(lines[0])
    for line in lines[1:]:
        # Behind its words a row is whole to the reader, whether or not the blanks that follow are there.
        last_words = (b'"1.50"', b'"80.25"', b'"Too many registers."')
        words = max(line.find(word) + len(word) for word in last_words if word in line)
        for size in range(1, words):
            path.write_bytes(whole[: done + size])
            with pytest.raises(IngestError, match="ends in the middle of a row") as caught:
                table(path)
            assert caught.value.slug == "ncu-csv-cut"
        done += len(line)


def test_a_header_alone_says_that_nothing_was_profiled(tmp_path):
    with pytest.raises(IngestError, match="has a header and no rows"):
        table(ncu.details_csv(tmp_path / "a.csv", []))


def test_a_row_that_does_not_fit_its_header_is_damage(tmp_path):
    path = page(tmp_path / "a.csv", (SOL, "Duration", "us", "1.50"))
    path.write_text(path.read_text() + '"0","77","python"\n')
    with pytest.raises(IngestError, match="row 2 under the header has 3 cells where the header has 20") as caught:
        table(path)
    assert caught.value.slug == "ncu-csv-damaged"


def test_a_details_page_without_units_is_damage(tmp_path):
    path = page(tmp_path / "a.csv", (SOL, "Duration", "us", "1.50"))
    path.write_text(path.read_text().replace("Metric Unit", "Metric Uni?"))
    with pytest.raises(IngestError, match="has no column Metric Unit"):
        table(path)


@given(st.binary(max_size=400))
def test_garbage_holds_no_table_or_is_split_without_a_crash(data):
    head = b'"ID","Kernel Name","Metric Value"\n'
    printed = split((head + data).decode("latin-1"))
    assert len(printed.tables) >= 1


# Real files


@pytest.mark.shared
def test_every_shared_csv_is_read_or_refused_with_the_true_reason(shared_data):
    launches, refused = {}, {}
    for path in sorted((shared_data / "ncu-csv").glob("*.csv")):
        try:
            launches[path.name] = len(table(path)["failed"])
        except IngestError as error:
            refused[path.name] = str(error).removeprefix(f"{path}: ").split(":")[0]
    assert launches == {
        "a100-gpt2-flashattn-details-old.csv": 10,
        "a100-metrics-list.csv": 1,
        "b200-flashinfer-fp8-raw.csv": 32,
        "b200-sdpa-flash-raw.csv": 16,
        "bom-gemm-tiled.csv": 1,
        "bom-saxpy.csv": 1,
        "t4-copy-blocked-details.csv": 1,
    }
    assert refused == {
        "b200-failed-run.csv": "the log of an ncu run without a table of metrics",
        "failed-run.csv": "the run failed, ncu says",
    }


@pytest.mark.shared
def test_text_of_other_tools_is_not_recognized(shared_data):
    others = [
        *(shared_data / "ncu-csv").glob("*.txt"),
        *(shared_data / "nsys-stats").iterdir(),
        *(shared_data / "expected" / "nsys-stats").rglob("*.csv"),
        *(shared_data / "seed-runs" / "dsocr-v2").glob("*.csv"),
        *(shared_data / "seed-runs" / "dsocr-nsys").glob("*.csv"),
    ]
    assert len(others) > 50
    assert [path for path in others if ncu_csv.recognizes(path, path.read_bytes()[:65536])] == []


DSOCR = {
    "sm_throughput_pct": "sm_throughput_pct",
    "dram_throughput_pct": "dram_throughput_pct",
    "mem_throughput_pct": "memory_throughput_pct",
    "l1tex_throughput_pct": "l1_throughput_pct",
    "l2_throughput_pct": "l2_throughput_pct",
    "mem_busy_pct": "memory_busy_pct",
    "max_bandwidth_pct": "max_bandwidth_pct",
    "l1tex_hit_rate_pct": "l1_hit_rate_pct",
    "l2_hit_rate_pct": "l2_hit_rate_pct",
    "achieved_occupancy_pct": "achieved_occupancy_pct",
    "theoretical_occupancy_pct": "theoretical_occupancy_pct",
}


@pytest.mark.shared
def test_each_folder_of_the_ocr_study_is_one_launch_with_its_published_values(shared_data):
    study = shared_data / "seed-runs" / "dsocr-v2"
    with (study / "metrics_summary.csv").open(newline="") as file:
        published = {row["kernel_id"][:11]: row for row in csv.DictReader(file)}
    folders = sorted(study.glob("kernel_*"))
    assert len(folders) == 20
    for folder in folders:
        data = ncu_csv.read(tuple(sorted(folder.iterdir())), {"kernel_counters": None})
        assert data.notes == ()
        assert len(data.tables["kernel_counters"]["failed"]) == 1
        row = {name: column[0] for name, column in data.tables["kernel_counters"].items()}
        theirs = published[folder.name]
        assert {name: row[ours] for name, ours in DSOCR.items()} == {name: float(theirs[name]) for name in DSOCR}
        assert row["duration_ns"] == pytest.approx(float(theirs["duration_us"]) * 1e3, rel=1e-12)
        assert row["dram_bytes_per_s"] == pytest.approx(float(theirs["memory_throughput_gbs"]) * 1e9, rel=1e-12)
        assert row["kernel_name"] == theirs["kernel_name"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kernel", "flop_per_byte"), [("0003", 380.6), ("0005", 716.1), ("0009", 96.5), ("0013", 70.8), ("0016", 717.6)]
)
def test_intensities_of_the_ocr_study_with_units_read(shared_data, kernel, flop_per_byte):
    folder = shared_data / "seed-runs" / "dsocr-v2" / f"kernel_{kernel}"
    row = first(*sorted(folder.iterdir()))
    assert row["tensor_bf16_flop"] / row["dram_bytes"] == pytest.approx(flop_per_byte, abs=0.05)


@pytest.mark.shared
def test_the_pages_that_ncu_prints_agree_with_each_other_and_with_the_report(shared_data):
    for report in sorted((shared_data / "ncu-rep").iterdir()):
        stem = report.name.split(".")[0]
        pages = [shared_data / "expected" / "ncu-csv" / f"{stem}.{page}.csv" for page in ("raw", "details")]
        data = ncu_csv.read(tuple(path for path in pages if path.stat().st_size), {"kernel_counters": None})
        assert not [note for note in data.notes if "is used" in note]
        read = ncu_report.read((report,), {"kernel_counters": None}).tables["kernel_counters"]
        for name in set(read) - {"function_name", "device_id", "context_id", "stream_id"}:
            if stem == "v100-openacc-30k" and name == "grid_x":
                # For reports of 2019 ncu prints the block in the place of the grid; waves per SM show which is right.
                continue
            for ours, theirs in zip(read[name], data.tables["kernel_counters"][name], strict=True):
                if isinstance(ours, float):
                    # Two digits are printed: of products, each factor is off by half a digit.
                    assert theirs == pytest.approx(ours, rel=0.006, abs=0.006), (stem, name)
                else:
                    assert theirs == ours, (stem, name)


@pytest.mark.parametrize(("other", "agree"), [(1.0099, True), (1.0101, False), (0.9901, True), (0.9899, False)])
def test_two_pages_agree_where_the_digits_that_they_print_overlap(other, agree):
    first, second = Reading("s", 1.0, 0.005, None, "raw.csv"), Reading("s", other, 0.005, None, "details.csv")
    assert first.agrees_with(second) is second.agrees_with(first) is agree


def test_facts_of_the_gpu_are_those_that_all_launches_share():
    first = Launch("k", gpu_name="NVIDIA H100", compute_capability="9.0")
    assert agreed_facts([first, Launch("unknown")]) == {"gpu_name": "NVIDIA H100", "compute_capability": "9.0"}
    assert agreed_facts([first, Launch("k", gpu_name="NVIDIA H800", compute_capability="9.0")]) == {
        "compute_capability": "9.0"
    }
    assert agreed_facts([first, Launch("k", gpu_name="NVIDIA H100", compute_capability="8.0")]) == {
        "gpu_name": "NVIDIA H100"
    }
