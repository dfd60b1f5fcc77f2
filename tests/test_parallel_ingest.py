"""Many captures at once: the run is that of one process row for row, damage costs one capture, and work is kept."""

import os
import shutil
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
from nsightkit.ingest import IngestOptions, ingest_paths, nsys_tables, parallel, store
from nsightkit.ingest.capture_names import rank_in
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


@pytest.fixture
def namesakes(tmp_path):
    """Captures of one name in a folder each, as a launcher leaves them, and one that is damaged."""
    for rank in (0, 1, 3):
        folder = tmp_path / "job" / f"rank{rank}"
        folder.mkdir(parents=True)
        write_sqlite(folder / "report1.sqlite", Capture(kernels=(Kernel(f"of rank {rank}", 1, 5 + rank),)))
    broken = tmp_path / "job" / "rank2"
    broken.mkdir()
    whole = (tmp_path / "job" / "rank1" / "report1.sqlite").read_bytes()
    (broken / "report1.sqlite").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "job"


def kernels_by_rank(run):
    info = run.read_info()
    return {c.rank: pq.read_table(run.table_path("kernel_launches", c.capture_id))["kernel_name"].to_pylist()
            for c in info.captures}  # fmt: skip


def test_captures_of_one_name_in_several_folders_stay_apart(namesakes, tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    _, failures = ingest_paths([namesakes], run)
    expected = {rank: [f"of rank {rank}"] for rank in (0, 1, 3)}
    assert kernels_by_rank(run) == expected
    assert [f.path.parent.name for f in failures] == ["rank2"]
    before = {p: p.stat().st_mtime_ns for p in run.path.glob("tables/*/*.parquet")}
    read = []
    real = store._ingest_one
    monkeypatch.setattr(store, "_ingest_one", lambda source, *more: read.append(source.paths[0]) or real(source, *more))
    _, again = ingest_paths([namesakes], run, IngestOptions(resume=True))
    # Only the damaged one is tried again; nothing is written.
    assert [path.parent.name for path in read] == ["rank2"]
    assert again == failures
    assert {p: p.stat().st_mtime_ns for p in run.path.glob("tables/*/*.parquet")} == before


def test_one_that_is_mended_and_one_that_is_gone(namesakes, tmp_path):
    run = Run(tmp_path / "run")
    ingest_paths([namesakes], run)
    (namesakes / "rank2" / "report1.sqlite").unlink()
    write_sqlite(namesakes / "rank2" / "report1.sqlite", Capture(kernels=(Kernel("mended", 1, 9),)))
    (namesakes / "rank0" / "report1.sqlite").unlink()
    _, failures = ingest_paths([namesakes], run, IngestOptions(resume=True))
    assert failures == []
    assert kernels_by_rank(run) == {1: ["of rank 1"], 2: ["mended"], 3: ["of rank 3"]}
    assert len(list(run.path.glob("tables/kernel_launches/*.parquet"))) == 3


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


@pytest.mark.usefixtures("hears_signals")
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


def test_a_stop_before_the_first_result_leaves_no_table_that_is_not_listed(captures, tmp_path):
    run = Run(tmp_path / "run")
    ingest_paths([captures / "train-rank0.sqlite"], run)
    before = content(run)
    orphan = run.table_path("kernel_launches", "train-rank1")
    half = orphan.with_name(".train-rank2.partial")

    def stopped(name, done, count):
        # A process may have written by the time that the user stops, though its result is not known yet.
        shutil.copy(run.table_path("kernel_launches", "train-rank0"), orphan)
        half.touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_paths([captures / "train-rank1.sqlite"], run, IngestOptions(progress=stopped))
    assert not half.exists()
    assert content(run).keys() == before.keys()
    assert [c.capture_id for c in run.read_info().captures] == ["train-rank0"]


def test_what_was_noted_before_a_kill_is_not_read_again(captures, tmp_path, monkeypatch):
    killed, whole = tmp_path / "killed", Run(tmp_path / "whole")
    monkeypatch.setattr(store, "NOTE_S", 0.0)

    def progress(name, done, count):
        # What a SIGKILL at this moment would leave.
        if done == 4:
            shutil.copytree(whole.path, killed)

    ingest_paths([captures], whole, IngestOptions(progress=progress))
    assert not (killed / "run.json").exists()
    assert (killed / "tables" / ".unfinished.json").is_file()
    assert not (whole.path / "tables" / ".unfinished.json").exists()
    result = CliRunner().invoke(cli, ["ingest", str(captures), "-o", str(killed)])
    assert "go on with --resume" in result.stderr
    read = []
    one = store._ingest_one
    monkeypatch.setattr(
        store, "_ingest_one", lambda source, *rest: read.append(source.capture_id) or one(source, *rest)
    )
    ingest_paths([captures], Run(killed), IngestOptions(resume=True))
    assert read == ["train-rank3", "train-rank4", "train-rank5", "train-rank9"]
    assert content(Run(killed)).keys() == content(whole).keys()
    assert all(table.equals(content(whole)[name]) for name, table in content(Run(killed)).items())
    assert Run(killed).read_info().captures == whole.read_info().captures
    assert not (killed / "tables" / ".unfinished.json").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux which processes there are")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "start.py"
    script.write_text(
        "import os, sys, time\n"
        "from nsightkit.ingest import parallel\n"
        "def pid(_):\n    time.sleep(0.1)\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for _, found in parallel.each(pid, dict.fromkeys(range(100)), 2):\n"
        "        print(found, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    workers = {int(process.stdout.readline()) for _ in range(6)}
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 30
    while any(_lives(worker) for worker in workers):
        assert time.monotonic() < deadline, workers
        time.sleep(0.05)


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_captures_are_read_by_one_thread_each_and_a_single_one_by_two(captures, tmp_path, monkeypatch, jobs):
    asked = []
    monkeypatch.setattr(nsys_tables, "ahead", lambda batches: asked.append(parallel.has_core_to_spare()) or batches)
    one = captures / "train-rank0.sqlite"
    ingest_paths([one], Run(tmp_path / "single"), IngestOptions(jobs=jobs))
    assert asked == [True] * len(asked) != []
    asked.clear()
    ingest_paths([one, captures / "train-rank1.sqlite"], Run(tmp_path / "many"), IngestOptions(jobs=1))
    assert asked == []
    assert parallel.has_core_to_spare()
    assert dict(parallel.each(_spare, {0: None, 1: None}, 2)) == {0: False, 1: False}


def _spare(_):
    return parallel.has_core_to_spare()
