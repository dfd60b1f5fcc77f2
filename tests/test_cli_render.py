"""``nsightkit render``: what it takes, where it writes, what it prints, and how it fails."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from builders.analysis import make_info, make_run
from builders.ncu import PrintedLaunch, details_csv
from nsightkit.cli import cli
from nsightkit.report.standing import other_report

SPEED = "GPU Speed Of Light Throughput"
LAUNCH = PrintedLaunch(
    metrics=(
        (SPEED, "Duration", "usecond", "12.5"),
        (SPEED, "Compute (SM) Throughput", "%", "91.20"),
        (SPEED, "Memory Throughput", "%", "20.10"),
        (SPEED, "DRAM Throughput", "%", "10.05"),
    )
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def render(*arguments):
    return CliRunner().invoke(cli, ["render", *map(str, arguments)], catch_exceptions=False)


def test_a_run_gets_its_report_and_the_paths_are_printed(tmp_path):
    make_run(tmp_path / "run")
    result = render("run")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines == ["run/report/report.html", "run/report/report.md", "run/report/figures"]
    html = (tmp_path / lines[0]).read_text(encoding="utf-8")
    assert "Compute-bound: 100\u00a0% of the profiled GPU time, in 3 of 3 profiled kernels." in html
    assert "void gemm&lt;float&gt;(float *)" in html


def test_without_a_path_the_newest_run_is_taken(tmp_path):
    for age, name in enumerate(("newer", "older")):
        run = make_run(tmp_path / "reports" / name)
        os.utime(run.info_path, (2_000_000_000 - age, 2_000_000_000 - age))
    result = render()
    assert result.stdout.splitlines()[0] == "reports/newer/report/report.html"
    assert not (tmp_path / "reports" / "older" / "report").exists()


def test_without_any_run_the_message_says_how_to_make_one():
    result = render()
    assert result.exit_code == 1
    assert "no run in reports/" in result.stderr
    assert "nsightkit ingest FILE" in result.stderr
    assert "more: nsightkit explain no-run" in result.stderr


def test_a_capture_is_ingested_below_reports_first(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    result = render("kernel.csv")
    assert result.exit_code == 0, result.stderr
    (run,) = (tmp_path / "reports").iterdir()
    assert run.name.startswith("kernel-")
    assert (run / "run.json").is_file()
    assert result.stdout.splitlines()[0] == f"reports/{run.name}/report/report.html"
    again = render()
    assert again.stdout == result.stdout


def test_an_unchanged_capture_is_not_read_into_a_second_run(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    first = render("kernel.csv")
    again = render("kernel.csv")
    assert again.stdout == first.stdout
    (run,) = (tmp_path / "reports").iterdir()
    assert f"read earlier and unchanged since: reports/{run.name}" in again.stderr
    # A broken input beside it is still told.
    (tmp_path / "broken.sqlite").write_text("not a database", encoding="utf-8")
    assert render("kernel.csv", "broken.sqlite").exit_code == 1
    assert len(list((tmp_path / "reports").iterdir())) == 1


@pytest.mark.parametrize("change", ["content", "more", "damaged", "tables"])
def test_a_changed_capture_gets_a_run_of_its_own(change, tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    render("kernel.csv")
    (run,) = (tmp_path / "reports").iterdir()
    inputs = ["kernel.csv"]
    if change == "content":
        details_csv(tmp_path / "kernel.csv", [LAUNCH, LAUNCH])
    elif change == "more":
        details_csv(tmp_path / "other.csv", [LAUNCH])
        inputs.append("other.csv")
    elif change == "damaged":
        (run / "run.json").write_text("{", encoding="utf-8")
    else:
        shutil.rmtree(run / "tables")
    result = render(*inputs)
    assert result.exit_code == 0, result.stderr
    assert "read earlier" not in result.stderr
    assert len(list((tmp_path / "reports").iterdir())) == 2


def test_with_an_output_folder_nothing_else_is_written(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    result = render("kernel.csv", "-o", "out", "--format", "html")
    assert result.stdout.splitlines() == ["out/report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernel.csv", "out"]


def test_markdown_alone(tmp_path):
    make_run(tmp_path / "run")
    result = render("run", "--format", "markdown")
    assert result.stdout.splitlines()[0] == "run/report/report.md"
    assert not (tmp_path / "run" / "report" / "report.html").exists()


def test_rule_and_margin_reach_the_report(tmp_path):
    make_run(tmp_path / "run")
    render("run", "--rule", "sol-gap", "--margin", "85", "--format", "markdown")
    text = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Rule asked for: sol-gap. Used: sol-gap (inputs: throughput) on 3 of 3 profiled kernels." in text
    assert "Margin of sol-gap: 85.0 points." in text
    assert "| balanced | 3 | 100 % |" in text


def test_figure_files_are_printed_one_by_one(tmp_path):
    make_run(tmp_path / "run")
    result = render("run", "--format", "html", "--figures", "pdf")
    lines = result.stdout.splitlines()
    assert lines[0] == "run/report/report.html"
    assert all(line.endswith(".pdf") for line in lines[1:])
    assert len(lines) == 1 + 13 + 2 + 3


def test_a_bad_input_does_not_cost_the_good_one(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    (tmp_path / "broken.sqlite").write_text("not a database", encoding="utf-8")
    result = render("kernel.csv", "broken.sqlite")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].endswith("report/report.html")
    assert "broken.sqlite" in result.stderr
    assert "nsightkit explain not-a-capture" in result.stderr


def test_a_bad_input_alone_writes_nothing(tmp_path):
    (tmp_path / "broken.sqlite").write_text("not a database", encoding="utf-8")
    for extra in ((), ("-o", "out")):
        result = render("broken.sqlite", *extra)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "broken.sqlite" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.sqlite"]


def test_several_runs_need_a_place(tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path / name)
    result = render("a", "b")
    assert result.exit_code == 1
    assert "more: nsightkit explain several-runs" in result.stderr
    assert not (tmp_path / "a" / "report").exists()


def test_a_damaged_run_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    run.info_path.write_text("{", encoding="utf-8")
    result = render("run")
    assert result.exit_code == 1
    assert "run.json" in result.stderr
    assert not run.report_dir.exists()


def test_a_damaged_table_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    run.table_path("kernel_launches", "timeline").write_bytes(b"PAR1")
    result = render("run")
    assert result.exit_code == 1
    assert "timeline.parquet" in result.stderr


def test_tokens_of_the_run_give_figures_per_token(tmp_path):
    run = make_run(tmp_path / "run")
    description = json.loads(run.info_path.read_text(encoding="utf-8"))
    run.info_path.write_text(json.dumps(description | {"tokens": 9}), encoding="utf-8")
    render("run", "--format", "markdown")
    text = (run.report_dir / "report.md").read_text(encoding="utf-8")
    assert "| kernel time per token | **500 ns** | kernel time of the whole capture over 9 tokens |" in text


def test_the_report_does_without_heavy_modules(tmp_path):
    make_run(tmp_path / "run")
    code = (
        "import sys; from click.testing import CliRunner; from nsightkit.cli import cli;"
        "result = CliRunner().invoke(cli, ['render', 'run']); assert result.exit_code == 0, result.output;"
        "print(*sorted(set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pyarrow.parquet" in done.stdout.split()
    heavy = {
        "pandas", "matplotlib", "torch", "rich", "connectorx", "pyarrow.dataset",
        "pyarrow.compute", "pydoc", "scipy", "numpy.ma", "numpy.random", "nsightkit.ingest.nsys_database",
    }  # fmt: skip
    assert not heavy & set(done.stdout.split())


def test_help_says_what_a_newcomer_needs():
    result = render("--help")
    assert result.exit_code == 0
    for words in ("run directory", "./reports", "--rule", "--figures", "needs no network"):
        assert words in result.stdout


def test_brief_prints_markdown_and_writes_nothing(tmp_path):
    make_run(tmp_path / "run")
    result = render("run", "--brief")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("### kv-decode")
    assert len(result.stdout.splitlines()) <= 25
    assert not (tmp_path / "run" / "report").exists()


def test_terminal_prints_the_first_screen_without_colors_when_piped(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    result = render("kernel.csv", "--terminal")
    assert result.exit_code == 0, result.stderr
    assert "Kernels that cost most" in result.stdout
    assert "\x1b" not in result.stdout
    assert not (tmp_path / "reports").exists()


def test_json_is_the_data_of_the_page(tmp_path):
    make_run(tmp_path / "run")
    assert render("run", "--format", "json").stdout.splitlines() == ["run/report/report.json"]
    data = json.loads((tmp_path / "run/report/report.json").read_text(encoding="utf-8"))
    render("run")
    html = (tmp_path / "run/report/report.html").read_text(encoding="utf-8")
    inside = html.split('id="report-data">', 1)[1].split("</script>", 1)[0]
    assert data == json.loads(inside)
    assert data["schema_version"] == 1
    assert {"findings", "withheld", "kernels", "run", "anchors"} <= set(data)


def test_the_top_line_says_that_the_gpu_was_given(tmp_path):
    details_csv(tmp_path / "kernel.csv", [LAUNCH])
    given = render("kernel.csv", "--terminal", "--gpu", "rtx-5090")
    assert given.exit_code == 0, given.stderr
    assert "RTX 5090 (by --gpu)" in given.stdout.splitlines()[0]
    assert "by --gpu" not in render("kernel.csv", "--terminal").stdout
    run = make_run(tmp_path / "run")
    known = render("run", "--terminal", "--gpu", "rtx-5090")
    assert run.read_info().gpu_name in known.stdout
    assert "by --gpu" not in known.stdout


def test_the_overhead_of_tracing_is_told_as_it_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "run")
    info = run.read_info()
    known, noise = ({"ratio": 1.3, "basis": "wall time of the decode steps"}, {"ratio": None, "low": 0.9})
    for record, words in (
        (known, "overhead: 1.30 times as long as without, from one timing each"),
        (noise, "overhead: not measurable"),
        ({}, "overhead of tracing was not measured"),
    ):
        run.write_info(replace(info, captures=tuple(replace(c, overhead=record) for c in info.captures)))
        assert CliRunner().invoke(cli, ["render", "run"], catch_exceptions=False).exit_code == 0
        assert words in (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")


def test_the_report_of_another_run_is_not_replaced_silently(tmp_path):
    first, second = make_run(tmp_path / "first"), make_run(tmp_path / "second")
    second.write_info(make_info(name="batch-sweep"))
    folder = tmp_path / "out"
    assert render(str(first.path), "-o", str(folder)).exit_code == 0
    before = (folder / "report.html").read_bytes()
    assert render(str(first.path), "-o", str(folder), "--limit", "5").exit_code == 0
    refused = render(str(second.path), "-o", str(folder))
    assert refused.exit_code != 0
    assert "the report of 'kv-decode' stands there" in refused.output
    assert "batch-sweep" in refused.output
    assert "batch-sweep" not in (folder / "report.md").read_text(encoding="utf-8")
    assert render(str(second.path), "-o", str(folder), "--force").exit_code == 0
    assert (folder / "report.html").read_bytes() != before


@pytest.mark.parametrize("format_", ["html", "markdown", "json"])
def test_each_form_of_a_report_is_known_again(format_, tmp_path):
    run, folder = make_run(tmp_path / "run"), tmp_path / "out"
    assert render(str(run.path), "-o", str(folder), "--format", format_).exit_code == 0
    assert other_report(folder, make_info()) is None
    assert other_report(folder, make_info(name="another")) == "kv-decode"
    assert other_report(tmp_path / "none", make_info()) is None


@pytest.mark.parametrize("kind", ["html", "json"])
def test_one_file_is_written_under_the_name_that_was_given(kind, tmp_path):
    make_run(tmp_path / "run")
    (tmp_path / "mail.md").write_text("# notes of mine\n", encoding="utf-8")
    result = render("run", "-o", f"mail.{kind}")
    assert result.stdout.splitlines() == [f"mail.{kind}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail." + kind, "mail.md", "run"]
    render("run", "-o", "out", "--format", kind)
    assert (tmp_path / f"mail.{kind}").read_bytes() == (tmp_path / "out" / f"report.{kind}").read_bytes()
    other = make_run(tmp_path / "other")
    other.write_info(make_info(name="batch-sweep"))
    refused = render("other", "-o", f"mail.{kind}")
    assert refused.exit_code == 1
    assert "mail: the report of 'kv-decode' stands there" in refused.stderr
    assert "name another file, or say --force" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "mail.md"), "-o mail --format markdown"),
        (("-o", "mail.html", "--format", "json"), "--format json asks for others"),
        (("-o", "mail.html", "--figures", "png"), "--figures png asks for others"),
        (("-o", "notes.txt"), "notes.txt: is a file; name a folder, or a file as  -o notes.html"),
    ],
)
def test_a_file_that_cannot_be_the_report_is_wrong_usage(arguments, said, tmp_path):
    make_run(tmp_path / "run")
    (tmp_path / "notes.txt").touch()
    result = render("run", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "mail.html").exists()
