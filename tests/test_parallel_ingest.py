"""Many captures at once: the run is that of one process row for row, damage costs one capture, and work is kept."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from builders.nsys import BUSY, Capture, Kernel, write_sqlite
from nsightkit.cli import cli
from nsightkit.cli.ingest import usual_jobs
from nsightkit.ingest import IngestOptions, ingest_paths, parallel, store
from nsightkit.ingest.dataset import rank_in
from nsightkit.run import Run

COUNT = 6


@pytest.fixture
def captures(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    for number in range(COUNT):
        kernels = tuple(replace(k, end=k.end + number) for k in BUSY.kernels)
        capture = replace(BUSY, kernels=kernels, gpus=((0, "GPU A" if number else "GPU B", 10),))
        write_sqlite(folder / f"train-rank{number}.sqlite", capture)
    (folder / "train-rank9.sqlite").write_bytes((folder / "train-rank3.sqlite").read_bytes()[:9000])
    return folder


def content(run):
    return {p.relative_to(run.path).as_posix(): pq.read_table(p) for p in sorted(run.path.glob("tables/*/*.parquet"))}


def test_the_run_is_that_of_one_process(captures, tmp_path):
    runs = [Run(tmp_path / "one"), Run(tmp_path / "two")]
    found = [ingest_paths([captures], run, IngestOptions(jobs=jobs)) for run, jobs in zip(runs, (1, 2), strict=True)]
    (one, failed), (two, failed_too) = found
    assert failed == failed_too
    assert [f.path.name for f in failed] == ["train-rank9.sqlite"]
    assert one.captures == two.captures
    assert [c.rank for c in one.captures] == list(range(COUNT))
    assert (one.gpu_name, two.gpu_name) == ("GPU A, GPU B", "GPU A, GPU B")
    tables = [content(run) for run in runs]
    assert len(tables[0]) == COUNT * 5
    assert tables[0].keys() == tables[1].keys()
    assert all(table.equals(tables[1][name], check_metadata=True) for name, table in tables[0].items())
    assert not list(tmp_path.glob("*/tables/*/.*"))


def test_what_is_complete_is_not_read_again(captures, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    first, _ = ingest_paths([captures], run, IngestOptions(tokens=5))
    whole = content(run)
    write_sqlite(captures / "later-rank7.sqlite", Capture(kernels=(Kernel("new", 1, 2),)))
    (captures / "train-rank1.sqlite").unlink()
    write_sqlite(captures / "train-rank1.sqlite", Capture(kernels=(Kernel("other", 1, 2),)))
    run.table_path("nvtx_ranges", "train-rank2").unlink()
    run.table_path("kernel_launches", "train-rank4").write_bytes(b"PAR1")
    read = []
    real = store._ingest_one
    monkeypatch.setattr(
        store, "_ingest_one", lambda source, *more: read.append(source.capture_id) or real(source, *more)
    )
    info, failures = ingest_paths([captures], run, IngestOptions(resume=True))
    assert read == ["later-rank7", "train-rank1", "train-rank2", "train-rank4", "train-rank9"]
    assert [f.path.name for f in failures] == ["train-rank9.sqlite"]
    assert info.tokens == 5
    assert [c for c in info.captures if c.capture_id[-1] in "0235"] == [
        c for c in first.captures if c.capture_id[-1] in "0235"
    ]
    again = content(run)
    for name, table in whole.items():
        assert "rank1" in name or again[name].equals(table)
    fresh = Run(tmp_path / "fresh")
    expected, _ = ingest_paths([captures], fresh, IngestOptions(tokens=5))
    assert replace(expected, name="", created_utc=None) == replace(info, name="", created_utc=None)
    assert content(fresh).keys() == again.keys()


def test_other_tables_are_another_wish(captures, tmp_path):
    run = Run(tmp_path / "run")
    ingest_paths([captures], run, IngestOptions(wanted={"gpus": None}))
    info, _ = ingest_paths([captures], run, IngestOptions(resume=True))
    assert all(len(c.row_counts) == 5 for c in info.captures)


def dies_at_three(number):
    if number == 3:
        os._exit(9)
    return number * 10


def test_a_process_that_dies_costs_its_own_item():
    found = dict(parallel.each(dies_at_three, {n: n for n in range(5)}, 2))
    assert found == {0: 0, 1: 10, 2: 20, 3: None, 4: 40}


def test_a_dead_reader_is_named(captures, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "each", lambda function, items, jobs: ((p, None) for p in items))
    info, failures = ingest_paths([captures / "train-rank0.sqlite"], Run(tmp_path / "run"), IngestOptions(jobs=2))
    assert info.captures == ()
    assert [f.slug for f in failures] == ["reader-died"]
    assert "train-rank0.sqlite: the process that read it ended" in failures[0].reason


def test_an_unwritable_run_stops_all(captures, tmp_path):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli, ["ingest", str(captures), "-o", str(tmp_path / "file" / "run"), "--jobs", "2"])
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


def test_the_command_goes_on_where_it_stopped(captures, tmp_path):
    def invoke(*more):
        return CliRunner().invoke(cli, ["ingest", str(captures), *more], catch_exceptions=False)

    run = str(tmp_path / "run")
    assert invoke("--resume").exit_code == 2
    for _ in range(2):
        result = invoke("-o", run, "--resume", "--jobs", "2")
        assert result.exit_code == 1
        assert result.stderr.count("Error: ") == 1
        assert "train-rank9.sqlite" in result.stderr
    assert len(Run(tmp_path / "run").read_info().captures) == COUNT
    assert invoke("-o", run).exit_code == 1
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.png").touch()
    assert "is not empty" in invoke("-o", str(photos), "--resume").stderr


def test_ctrl_c_keeps_what_is_complete(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    kernels = tuple(Kernel(f"k{i % 50}", i * 100, i * 100 + 50) for i in range(20_000))
    for number in range(40):
        write_sqlite(folder / f"rank{number}.sqlite", Capture(kernels=(*kernels, Kernel("own", number, number + 1))))
    run = Run(tmp_path / "run")
    argv = [sys.executable, "-m", "nsightkit", "ingest", str(folder), "-o", str(run.path), "--jobs", "2"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and len(list(run.path.glob("tables/kernel_launches/*.parquet"))) < 3:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "--resume reads the rest" in stderr
    assert not list(run.path.glob("tables/*/.*"))
    kept = {c.capture_id for c in run.read_info().captures} if run.info_path.exists() else set()
    assert {p.stem for p in run.table_paths("kernel_launches")} == kept
    assert len(kept) < 40
    info, failures = ingest_paths([folder], run, IngestOptions(resume=True))
    assert (len(info.captures), failures) == (40, [])


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("train-rank3.sqlite", 3), ("RANK_12.nsys-rep", 12), ("x.rank.07.json.gz", 7), ("report3.sqlite", None),
        ("local_rank0.sqlite", None), ("local-rank1-rank9.sqlite", 9), ("rank1-rank2.sqlite", None),
        ("crank3.sqlite", None), ("rank" + "9" * 40, None),
    ],
)  # fmt: skip
def test_rank_of_a_file_name(name, rank):
    assert rank_in(name) == rank


def test_few_bytes_are_not_worth_a_process(captures):
    assert usual_jobs([captures, Path("missing")]) == 1
