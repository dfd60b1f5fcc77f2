"""The run directory: what is written is read back, and a damaged one is named."""

import json
from pathlib import Path

import pytest

from nsightkit.errors import IngestError, ReportError
from nsightkit.run import Capture, Run, RunInfo, is_run, newest_run, write_text

INFO = RunInfo(
    name="decode",
    tokens=16,
    gpu_name="NVIDIA H100",
    captures=(
        Capture("a", "nsys", "2025.1.1", argv=("nsys", "profile"), row_counts={"kernel_launches": 3}, notes=("n",)),
    ),
)


def test_what_is_written_is_read_back(tmp_path):
    run = Run(tmp_path / "run")
    run.write_info(INFO)
    assert is_run(run.path)
    assert run.read_info() == INFO


def test_fields_of_a_later_version_are_passed_over(tmp_path):
    run = Run(tmp_path)
    run.write_info(INFO)
    data = json.loads(run.info_path.read_text())
    data["mood"] = "good"
    data["captures"][0]["color"] = "red"
    run.info_path.write_text(json.dumps(data))
    assert run.read_info() == INFO


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"schema_version": "new"}'])
def test_a_damaged_description_is_named(tmp_path, text):
    run = Run(tmp_path)
    run.info_path.write_text(text)
    with pytest.raises(IngestError, match=r"run.json: not a run description .* ingest the captures again"):
        run.read_info()


def test_a_newer_schema_is_refused(tmp_path):
    run = Run(tmp_path)
    run.info_path.write_text('{"schema_version": 99}')
    with pytest.raises(IngestError, match="written by a newer nsightkit"):
        run.read_info()


def test_the_newest_run_is_the_one_described_last(tmp_path):
    for name in ("b", "a"):
        Run(tmp_path / name).write_info(INFO)
    (tmp_path / "no-run").mkdir()
    assert newest_run(tmp_path).path.name == "a"


def test_no_run_says_how_to_make_one(tmp_path):
    with pytest.raises(IngestError, match=r"no run in .*nsightkit profile"):
        newest_run(tmp_path)


def test_no_run_names_folders_with_captures_only(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name / "capture").mkdir(parents=True)
    with pytest.raises(IngestError, match=r"kept in .*(first|second).*--resume.*nsightkit ingest .*capture"):
        newest_run(tmp_path)
    Run(tmp_path / "whole").write_info(INFO)
    assert newest_run(tmp_path).path.name == "whole"


def test_table_paths_are_one_a_capture(tmp_path):
    run = Run(tmp_path)
    path = run.table_path("gpus", "rank0")
    path.parent.mkdir(parents=True)
    path.touch()
    assert run.table_paths("gpus") == [path]
    assert run.table_paths("kernel_launches") == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder" / "page.md"
    write_text(target, "one")
    write_text(target, "two")
    assert target.read_text() == "two"
    assert [p.name for p in target.parent.iterdir()] == ["page.md"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ReportError, match=r"cannot write .*page.md"):
        write_text(Path(blocked) / "page.md", "text")
