"""``nsightkit ingest`` and ``info``: runs are made, nothing is overwritten, a bad input is named and skipped."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from builders.ncu import speed_of_light_csv
from builders.nsys import Capture, write_sqlite
from nsightkit.cli import cli
from nsightkit.run import Run


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)

    return call


def test_a_run_goes_below_reports_with_name_and_time(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "decode.csv")
    result = invoke("ingest", "decode.csv", "--tokens", 16)
    assert result.exit_code == 0, result.stderr
    run = Run(Path(result.stdout.strip()))
    assert run.path.parent.name == "reports"
    assert run.path.name.startswith("decode-2")
    assert run.read_info().tokens == 16
    assert [p.name for p in run.table_paths("kernel_counters")] == ["decode.parquet"]


@pytest.mark.parametrize("command", ["ingest", "render"])
def test_a_place_that_cannot_be_written_names_the_option(invoke, tmp_path, command):
    speed_of_light_csv(tmp_path / "decode.csv")
    (tmp_path / "file").touch()
    given = invoke(command, "decode.csv", "-o", "file/x")
    assert given.exit_code == 1
    assert "cannot write file/x" in given.stderr
    assert given.stderr.count("name another folder with -o") == 1
    (tmp_path / "reports").touch()
    usual = invoke(command, "decode.csv")
    assert usual.exit_code == 1
    assert usual.stderr.count("name another folder with -o") == 1


def test_the_good_is_done_and_the_bad_is_named(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "good.csv")
    (tmp_path / "empty.csv").touch()
    result = invoke("ingest", "good.csv", "empty.csv", "missing.csv", "-o", "run")
    assert result.exit_code == 1
    assert "empty.csv: the file is empty" in result.stderr
    assert "missing.csv: no such file" in result.stderr
    assert [c.capture_id for c in Run(tmp_path / "run").read_info().captures] == ["good"]


def test_a_file_in_a_folder_that_is_no_capture_is_listed(invoke, tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    speed_of_light_csv(folder / "good.csv")
    (folder / "notes.txt").write_text("notes")
    result = invoke("ingest", "captures", "-o", "run")
    assert result.exit_code == 0
    assert "notes.txt" in result.stderr


def test_a_folder_without_captures_says_so(invoke, tmp_path):
    (tmp_path / "nothing").mkdir()
    result = invoke("ingest", "nothing", "-o", "run")
    assert result.exit_code == 1
    assert "no capture in this folder" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()


def test_no_run_is_named_where_none_was_made(invoke, tmp_path):
    (tmp_path / "text.sqlite").write_text("a letter")
    result = invoke("ingest", "text.sqlite", "-o", "run")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()


def test_nothing_is_overwritten_unasked(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "a.csv")
    assert invoke("ingest", "a.csv", "-o", "run").exit_code == 0
    again = invoke("ingest", "a.csv", "-o", "run")
    assert again.exit_code == 1
    assert "add --force" in again.stderr
    assert invoke("ingest", "a.csv", "-o", "run", "--force").exit_code == 0
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    photos = invoke("ingest", "a.csv", "-o", "photos", "--force")
    assert photos.exit_code == 1
    assert "name another folder" in photos.stderr


def test_force_leaves_no_table_of_the_run_before(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "old.csv")
    speed_of_light_csv(tmp_path / "new.csv")
    invoke("ingest", "old.csv", "-o", "run")
    invoke("ingest", "new.csv", "-o", "run", "--force")
    assert [p.stem for p in Run(tmp_path / "run").table_paths("kernel_counters")] == ["new"]


def test_info_lists_the_captures(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "a.csv")
    invoke("ingest", "a.csv", "-o", "run")
    for path in ("a.csv", "run"):
        rows = json.loads(invoke("info", path, "--format", "json").stdout)
        assert [(row["capture_id"], row["backend"]) for row in rows] == [("a", "ncu")]
        assert rows[0]["rows"]["kernel_counters"] == 1


def test_all_metrics_are_kept_where_asked_for(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "a.csv")
    invoke("ingest", "a.csv", "-o", "few")
    invoke("ingest", "a.csv", "-o", "all", "--all-metrics")
    assert Run(tmp_path / "few").table_paths("metric_values") == []
    assert len(Run(tmp_path / "all").table_paths("metric_values")) == 1


def test_usage_is_exit_code_2(invoke):
    assert invoke("ingest").exit_code == 2
    assert invoke("ingest", "x", "--no-such-option").exit_code == 2
    assert invoke("no-such-command").exit_code == 2


def test_a_typo_in_a_command_is_answered_with_the_commands(invoke):
    assert "no command 'clasify'; did you mean 'classify'?" in invoke("clasify").stderr
    assert "the commands are " in invoke("xyz").stderr


def test_a_capture_made_elsewhere_is_judged(invoke, tmp_path):
    speed_of_light_csv(tmp_path / "report.csv")
    write_sqlite(tmp_path / "empty.sqlite", Capture())
    invoke("ingest", str(tmp_path / "report.csv"), str(tmp_path / "empty.sqlite"), "-o", str(tmp_path / "run"))
    judged = {c.backend: c.quality for c in Run(tmp_path / "run").read_info().captures}
    assert judged["nsys"]["verdict"] == "unusable"
    assert "no kernels: no GPU was traced" in judged["nsys"]["reasons"][0]
    assert judged["ncu"]["verdict"] in ("good", "usable")
    invoke("render", str(tmp_path / "run"))
    text = (tmp_path / "run" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Capture quality: unusable" in text


def test_a_report_straight_from_a_capture_says_what_it_is_worth(invoke, tmp_path):
    write_sqlite(tmp_path / "empty.sqlite", Capture())
    invoke("render", str(tmp_path / "empty.sqlite"), "-o", str(tmp_path / "out"))
    assert "Capture quality: unusable" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
