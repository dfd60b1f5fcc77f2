"""``nsightkit classify`` as people and programs use it."""

import csv
import io
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from builders.ncu import PrintedLaunch, details_csv
from nsightkit.analysis.roofs.rules import RULES
from nsightkit.cli import classify, cli
from nsightkit.ingest.reader import CaptureData

HOSTILE = ("a<b>|c*", "<script>alert(1)</script>", "line\nbreak \x1b[31mred", "k" * 10_000)


def counters(name, **known):
    sizes = {"grid_x": 2, "grid_y": 1, "grid_z": 1, "block_x": 64, "block_y": 1, "block_z": 1}
    return {"launch_index": 0, "kernel_name": name, "failed": False, "duration_ns": 1e3} | sizes | known


ROWS = [
    counters("gemm", duration_ns=8e3, sm_throughput_pct=90.0, memory_throughput_pct=30.0, dram_throughput_pct=5.0),
    counters("copy", sm_throughput_pct=5.0, memory_throughput_pct=85.0, dram_throughput_pct=85.0),
    counters("tiny", sm_throughput_pct=0.5, memory_throughput_pct=0.9, dram_throughput_pct=0.1, waves_per_sm=0.004),
    counters("broken", failed=True, duration_ns=None),
]


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run classify on rows as if a reader had found them in a file."""

    def invoke(rows, *options):
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = {name: [row.get(name) for row in rows] for name in names}
        tables = {"kernel_counters": table} if rows else {}
        data = CaptureData("ncu", tables, tool_version="2025.1", facts={"gpu_name": "Some GPU"})
        monkeypatch.setattr("nsightkit.ingest.sources.reader_for", lambda path: "ncu_report")
        monkeypatch.setattr("nsightkit.ingest.sources.Source.read", lambda self, wanted=None: data)
        path = tmp_path / "report.ncu-rep"
        path.write_bytes(b"x")
        return CliRunner().invoke(cli, ["classify", str(path), *options])

    return invoke


def test_json_is_one_array_of_rows_and_nothing_else(run):
    result = run(ROWS, "--format", "json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [row["bound"] for row in rows] == ["COMPUTE", "MEMORY", "LATENCY", "UNKNOWN"]
    first = rows[0]
    assert first["kernel_name"] == "gemm"
    assert (first["launch_count"], first["total_ns"], first["time_share"]) == (1, 8e3, 0.8)
    assert (first["rule"], first["rule_verdict"], first["tier"]) == ("ncu", "High Throughput", "throughput")
    assert (first["margin"], first["margin_unit"]) == (30.0, "points")
    assert first["inputs"]["sm_throughput_pct"] == 90.0
    assert "dram_bytes" in first["missing"]
    assert (rows[3]["rule_verdict"], rows[3]["duration_ns"], rows[3]["failed_count"]) == ("failed", None, 1)
    assert rows[3]["flags"]


def test_csv_has_the_same_fields(run):
    rows = list(csv.DictReader(io.StringIO(run(ROWS, "--format", "csv").stdout)))
    fields = list(json.loads(run(ROWS, "--format", "json").stdout)[0])
    assert list(rows[0]) == fields
    assert json.loads(rows[0]["inputs"])["sm_throughput_pct"] == 90.0


def test_table_says_rule_tier_margin_inputs_and_what_is_missing(run):
    text = run(ROWS).stdout
    assert "report · Some GPU · 4 kernels, 3 profiled launches · rule auto · ncu 2025.1" in text
    line = next(line for line in text.splitlines() if " gemm" in line)
    for part in (
        "COMPUTE",
        "ncu (High Throughput)",
        "throughput",
        "30.0 points",
        "SM 90.00 %, memory 30.00 %",
        "80.0 %",
    ):
        assert part in line
    assert any(line.startswith("#1–3: not collected: ") and "dram_bytes" in line for line in text.splitlines())
    assert "#4: failed: the profiler could not measure it (launches: 1)" in text


def test_a_row_without_a_verdict_says_what_to_run(run):
    bare = [counters("gemm", duration_ns=8e3), counters("copy")]
    assert "#1–2: collect them with: ncu --set roofline (tensor work: ncu 2025 or later)" in run(bare).stdout
    rows = json.loads(run(bare, "--rule", "ncu", "--format", "json").stdout)
    assert {row["remedy"] for row in rows} == {"collect them with: ncu --section SpeedOfLight"}
    assert {row["remedy"] for row in json.loads(run(ROWS[:3], "--format", "json").stdout)} == {""}


def test_rows_that_differ_do_not_look_alike(run):
    names = ("void f<1>(float*)", "void f<2>(float*)", "void f<2>(float*)")
    rows = [counters(name, grid_x=grid, launch_index=grid) for grid, name in enumerate(names, 2)]
    lines = [line for line in run(rows).stdout.splitlines() if line[:3] in ("1  ", "2  ", "3  ")]
    assert len({line.split("UNKNOWN")[0][1:].strip() for line in lines}) == 3
    assert sum("[2] [grid " in line for line in lines) == 2
    # Machines get the names as they are.
    assert len({row["friendly_name"] for row in json.loads(run(rows, "--format", "json").stdout)}) == 1


@pytest.mark.parametrize("command", ["classify", "roofline", "advice", "whatif"])
def test_without_a_path_a_run_is_looked_for(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--set", "dram_bytes_per_s=1e12"] if command == "whatif" else []
    result = CliRunner().invoke(cli, [command, *options])
    assert result.exit_code == 1
    assert "no run in reports/" in result.stderr


def test_without_a_path_the_newest_run_is_judged(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    details_csv(
        tmp_path / "kernel.csv",
        [PrintedLaunch(metrics=(("GPU Speed Of Light Throughput", "Duration", "usecond", "12.5"),))],
    )
    assert CliRunner().invoke(cli, ["ingest", "kernel.csv"]).exit_code == 0
    result = CliRunner().invoke(cli, ["classify"])
    assert result.exit_code == 0, result.stderr
    assert "kernel-" in result.stdout
    assert "1 kernel, 1 profiled launch" in result.stdout


def test_the_counts_below_are_those_of_the_rows_above(run):
    lines = run(ROWS).stdout.splitlines()
    below = lines[lines.index("") + 1 :]
    below = below[max(i for i, line in enumerate(below) if line.startswith("bound")) :]
    counts = {line.split()[0]: line.split()[1] for line in below[2:]}
    assert counts == {"COMPUTE": "1", "MEMORY": "1", "LATENCY": "1", "UNKNOWN": "1", "OVERALL": "4"}
    compute = next(line for line in below if line.startswith("COMPUTE"))
    assert compute.split(maxsplit=2)[2].replace("\u202f", " ") == "25.0 %   8.00 µs       80.0 %"


def test_sol_gap_takes_the_margin(run):
    def bounds(*options):
        rows = json.loads(run(ROWS, "--rule", "sol-gap", "--format", "json", *options).stdout)
        return [row["bound"] for row in rows]

    assert bounds() == ["COMPUTE", "MEMORY", "BALANCED", "UNKNOWN"]
    assert bounds("--margin", "85") == ["BALANCED", "BALANCED", "BALANCED", "UNKNOWN"]
    assert "rule sol-gap, margin 7.5 points" in run(ROWS, "--rule", "sol-gap", "--margin", "7.5").stdout


def test_limit_says_what_it_hides_and_the_counts_stay_whole(run):
    result = run(ROWS, "--limit", "1")
    assert "3 kernels not shown" in result.stderr
    assert "copy" not in result.stdout
    assert "OVERALL        4" in result.stdout


@pytest.mark.parametrize("format_", ["table", "markdown", "csv", "json"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_do_no_harm(run, name, format_):
    result = run([counters(name, sm_throughput_pct=50.0)], "--format", format_)
    assert result.exit_code == 0
    if format_ == "csv":  # for machines: the name as it is
        assert next(csv.DictReader(io.StringIO(result.stdout)))["kernel_name"] == name
        return
    assert "\x1b" not in result.stdout
    if format_ == "json":
        assert json.loads(result.stdout)[0]["kernel_name"] == name
    if format_ == "markdown":
        assert "<script>" not in result.stdout


def test_without_counters_it_says_what_is_needed(run):
    result = run([])
    assert result.exit_code == 1
    assert "no hardware counters" in result.stderr
    assert "nsightkit top" in result.stderr
    assert "no-counters" in result.stderr


def test_a_file_that_is_not_there_is_named(tmp_path):
    result = CliRunner().invoke(cli, ["classify", str(tmp_path / "missing.ncu-rep")])
    assert result.exit_code == 1
    assert "missing.ncu-rep" in result.stderr
    assert "no hardware counters" not in result.stderr


@pytest.mark.parametrize("options", [["--rule", "best"], ["--margin", "-1"], ["--margin", "200"], ["--limit", "-1"]])
def test_wrong_usage_is_2(run, options):
    assert run(ROWS, *options).exit_code == 2


def test_an_unknown_gpu_is_answered_with_those_there_are(run):
    result = run(ROWS, "--gpu", "rtx-9090")
    assert result.exit_code == 1
    assert "rtx-5090" in result.stderr


def test_the_help_explains_every_rule():
    text = CliRunner().invoke(cli, ["classify", "--help"]).stdout
    assert set(classify.RULE_NAMES) == set(RULES)
    for rule in RULES:
        assert any(line.startswith(f"    {rule} ") for line in text.splitlines()), rule


@pytest.mark.parametrize(("columns", "fields"), [(80, classify.NARROW_FIELDS), (240, classify.FIELDS)])
def test_a_narrow_terminal_gets_prose_instead_of_columns(monkeypatch, columns, fields):
    monkeypatch.setattr("sys.stdout", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setenv("COLUMNS", str(columns))
    assert classify._fields_that_fit("table") == fields
    assert classify._fields_that_fit("markdown") == classify.FIELDS


def test_prose_holds_what_the_columns_hold():
    row = {"rule": "ncu (Small Grid)", "tier": "throughput", "margin": "59.6 points", "flop_per_byte": 0.654,
           "ridge_flop_per_byte": 12.3, "inputs": "SM 1.00 %"}  # fmt: skip
    assert classify._why(row) == (
        "ncu (Small Grid) · throughput · margin 59.6 points · 0.654 FLOP/B, ridge 12.3 FLOP/B · SM 1.00 %"
    )


def test_ranges_of_rows_are_short():
    assert classify._ranges([1, 2, 3, 7, 9, 10]) == "#1–3, 7, 9–10"


SCRIPT = """
import sys
from nsightkit.cli import cli
try:
    cli(["classify", sys.argv[1], "--format", sys.argv[2]])
except SystemExit as stop:
    assert not stop.code, stop.code
print(*(name for name in ("pyarrow", "pandas", "numpy", "rich", "matplotlib", "torch") if name in sys.modules))
"""


@pytest.mark.shared
@pytest.mark.parametrize("format_", ["table", "json"])
def test_a_report_is_judged_without_heavy_imports(shared_data, format_):
    report = shared_data / "ncu-rep" / "rtx4080s-kyber-51k.ncu-rep"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(report), format_], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.shared
def test_all_reports_give_verdicts_or_say_what_is_missing(shared_data):
    for report in sorted((shared_data / "ncu-rep").iterdir()):
        result = CliRunner().invoke(cli, ["classify", str(report), "--format", "json"])
        assert result.exit_code == 0, report
        for row in json.loads(result.stdout):
            assert row["bound"] != "UNKNOWN" or row["missing"] or row["flags"], report


NVIDIA_BOUNDS = {"Small Grid": "LATENCY", "Latency Issue": "LATENCY", "Balanced Throughput": "BALANCED",
                 "High Compute Throughput": "COMPUTE", "High Memory Throughput": "MEMORY"}  # fmt: skip


@pytest.mark.shared
def test_rule_ncu_equals_nvidias_own_verdict_wherever_a_report_has_one(shared_data):
    from nsightkit.analysis.roofs.classification import classify_kernels
    from nsightkit.ingest import open_dataset

    compared = 0
    for report in sorted((shared_data / "ncu-rep").iterdir()):
        dataset = open_dataset([report], {"kernel_counters": None, "rule_results": None})
        launches = {row["launch_index"]: row for row in dataset.rows("kernel_counters")}
        for theirs in dataset.rows("rule_results") if dataset.has("rule_results") else ():
            if theirs["rule"] != "SOLBottleneck":
                continue
            (kernel,) = classify_kernels([launches[theirs["launch_index"]]], "ncu")
            title = theirs["title"] or title_of(theirs)
            compared += 1
            if theirs["kind"] == "ERROR":
                assert kernel.verdict.bound == "UNKNOWN", report
                continue
            assert kernel.verdict.rule_verdict == title, report
            if title in NVIDIA_BOUNDS:
                assert kernel.verdict.bound == NVIDIA_BOUNDS[title], report
    assert compared == 100


def title_of(result):
    """Older reports leave the title empty; the message says the same."""
    return "Latency Issue" if "low compute throughput and memory bandwidth" in result["message"] else result["message"]
