"""Captures are found by their content, never by their names; what is none is listed."""

import gzip
import json
import os
from pathlib import Path

import pytest

from builders.ncu import container, speed_of_light_csv
from nsightkit.ingest import find_sources
from nsightkit.run import Run, RunInfo

TRACE = {"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 2, "pid": 1, "tid": 1}]}


def found(*paths):
    sources, failures = find_sources([Path(p) for p in paths])
    return {source.capture_id: source.reader for source in sources}, failures


def test_the_name_of_a_file_says_nothing(tmp_path):
    speed_of_light_csv(tmp_path / "page.sqlite")
    (tmp_path / "trace.ncu-rep").write_text(json.dumps(TRACE))
    with gzip.open(tmp_path / "x.csv", "wt") as file:
        json.dump(TRACE, file)
    sources, failures = found(tmp_path)
    assert sources == {"page": "ncu_csv", "trace": "torch_trace", "x": "torch_trace"}
    assert failures == []


def test_ncu_csvs_of_one_folder_are_one_capture(tmp_path):
    for kernel in ("kernel_1", "kernel_2"):
        (tmp_path / kernel).mkdir()
        speed_of_light_csv(tmp_path / kernel / "a.csv")
        speed_of_light_csv(tmp_path / kernel / "b.csv")
    sources, _ = find_sources([tmp_path])
    assert {s.capture_id: [p.name for p in s.paths] for s in sources} == {
        "kernel_1": ["a.csv", "b.csv"],
        "kernel_2": ["a.csv", "b.csv"],
    }


def test_what_is_no_capture_is_listed_when_found_and_an_error_when_named(tmp_path):
    note = tmp_path / "notes.txt"
    note.write_text("remember the milk")
    speed_of_light_csv(tmp_path / "page.csv")
    _, failures = found(tmp_path)
    assert [(f.path, f.named, f.is_capture) for f in failures] == [(note, False, False)]
    _, failures = found(note)
    assert [(f.path, f.named, f.is_capture) for f in failures] == [(note, True, True)]
    assert "not a capture that nsightkit knows" in failures[0].reason


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "no such file or folder"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_bytes(os.urandom(5000)), "not a capture"),
        (lambda p: p.write_text("a text file named .sqlite\n" * 50), "not a capture"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path, make, reason):
    path = tmp_path / "capture.sqlite"
    make(path)
    sources, failures = found(path)
    assert sources == {}
    assert reason in failures[0].reason
    assert failures[0].path == path


def test_a_bad_input_does_not_cost_a_good_one(tmp_path):
    speed_of_light_csv(tmp_path / "good.csv")
    sources, failures = found(tmp_path / "good.csv", tmp_path / "missing.csv")
    assert list(sources) == ["good"]
    assert [f.path.name for f in failures] == ["missing.csv"]


def test_a_link_is_its_target_and_a_copy_is_read_once(tmp_path):
    trace = tmp_path / "a.json"
    trace.write_text(json.dumps(TRACE))
    (tmp_path / "b.json").symlink_to(trace)
    (tmp_path / "c.json").write_text(json.dumps(TRACE))
    sources, failures = find_sources([tmp_path, trace])
    assert [[path.name for path in source.paths] for source in sources] == [["a.json"]]
    assert [(f.path.name, f.reason) for f in failures] == [("c.json", "a copy of a.json, which is read")]


def test_a_copy_in_another_folder_says_of_which(tmp_path):
    for name in ("rank0", "rank1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report1.json").write_text(json.dumps(TRACE))
    [failure] = find_sources([tmp_path])[1]
    assert (failure.path.parent.name, failure.reason) == ("rank1", "a copy of rank0/report1.json, which is read")


@pytest.mark.parametrize("page", ["r.csv", "r.raw.csv", "r_details.csv", "r.ncu-rep.csv"])
def test_a_page_beside_its_report_is_not_counted_again(tmp_path, page):
    container().write(tmp_path / "r.ncu-rep")
    speed_of_light_csv(tmp_path / page)
    sources, failures = find_sources([tmp_path])
    assert [[path.name for path in source.paths] for source in sources] == [["r.ncu-rep"]]
    assert [(f.path.name, f.reason, f.slug) for f in failures] == [
        (page, "a page of r.ncu-rep, which is read", "there-twice")
    ]


@pytest.mark.parametrize("page", ["other.csv", "r2.csv", "r-kernel-7.csv"])
def test_a_page_of_another_name_is_a_capture_of_its_own(tmp_path, page):
    container().write(tmp_path / "r.ncu-rep")
    speed_of_light_csv(tmp_path / page)
    sources, _ = find_sources([tmp_path])
    assert len(sources) == 2


def test_a_page_that_is_named_is_read(tmp_path):
    container().write(tmp_path / "r.ncu-rep")
    sources, _ = find_sources([speed_of_light_csv(tmp_path / "r.csv")])
    assert [source.reader for source in sources] == ["ncu_csv"]


def test_a_report_alone_keeps_its_name_and_among_others_says_its_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        speed_of_light_csv(tmp_path / name / "report.csv")
    assert list(found(tmp_path / "a" / "report.csv")[0]) == ["report"]
    assert list(found(tmp_path / "a", tmp_path / "b")[0]) == ["a-report", "b-report"]


def test_a_folder_of_runs_is_answered_with_a_run(tmp_path):
    for name in ("monday", "tuesday"):
        Run(tmp_path / name).write_info(RunInfo())
    sources, failures = find_sources([tmp_path])
    assert sources == []
    assert "a folder of 2 runs and no capture; name one of them, such as" in failures[0].reason
    assert failures[0].reason.endswith("tuesday")


def test_an_empty_folder_says_so(tmp_path):
    reason = find_sources([tmp_path])[1][0].reason
    assert reason.startswith(f"{tmp_path}: no capture in this folder or below; name a capture")


def test_our_own_logs_are_no_captures(tmp_path):
    (tmp_path / "child.log").write_text("==PROF== Connected\n==ERROR== no\n")
    _, failures = find_sources([tmp_path])
    assert [f.path for f in failures] == [tmp_path]


def test_names_of_captures_are_unique(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "trace.json").write_text(json.dumps({**TRACE, "name": folder}))
    sources, _ = found(tmp_path)
    assert sorted(sources) == ["a-trace", "b-trace"]


def test_captures_of_one_name_are_called_after_as_few_folders_as_tell_them_apart(tmp_path):
    for at, file in enumerate(("node0/gpu0/x", "node0/gpu1/x", "node1/gpu0/x", "node1/gpu0/y", "node1/a b/z", "c/z")):
        path = tmp_path / f"{file}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**TRACE, "name": at}))
    (tmp_path / "c" / "z.trace.json").write_text(json.dumps({**TRACE, "name": "in the same folder"}))
    sources, _ = found(tmp_path)
    assert sorted(sources) == ["a-b-z", "c-z", "c-z-2", "node0-gpu0-x", "node0-gpu1-x", "node1-gpu0-x", "y"]


def test_a_folder_stands_once_in_the_name_of_captures_that_share_theirs(tmp_path):
    for at, run in enumerate(("monday", "tuesday")):
        path = tmp_path / run / "capture" / "profile.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({**TRACE, "name": at}))
    assert sorted(found(tmp_path)[0]) == ["monday-capture-profile", "tuesday-capture-profile"]


def test_of_copies_the_one_that_states_its_rank_is_read(tmp_path):
    for name in ("a-copy.json", "job-rank3.json", "z-copy.json"):
        (tmp_path / name).write_text(json.dumps(TRACE))
    sources, failures = find_sources([tmp_path])
    assert [source.capture_id for source in sources] == ["job-rank3"]
    assert {f.reason for f in failures} == {"a copy of job-rank3.json, which is read"}


def test_every_shared_capture_has_the_reader_of_its_folder(shared_data):
    readers = {
        "ncu-rep": {"ncu_report"},
        "nsys-sqlite": {"nsys_sqlite"},
        "nsys-rep": {"nsys_report"},
        "nsys-stats": {"nsys_stats"},
        "torch-trace": {"torch_trace"},
        "ncu-csv": {"ncu_csv"},
    }
    for folder, expected in readers.items():
        sources, failures = find_sources([shared_data / folder])
        assert {source.reader for source in sources} == expected
        count = sum(len(source.paths) for source in sources) + len(failures)
        assert count == len(list((shared_data / folder).iterdir()))
