"""Many captures on a Dask cluster: a real scheduler and two workers, one killed midway, and storage by URL."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from distributed import Client

from builders.nsys import BUSY, Kernel, write_sqlite
from nsightkit.cli import cli
from nsightkit.errors import IngestError
from nsightkit.ingest import IngestOptions, ingest_paths
from nsightkit.ingest import cluster as cluster_module
from nsightkit.ingest.cluster import connected
from nsightkit.ingest.kernel_totals import merged, sums_of
from nsightkit.ingest.places import RemoteRun, is_url, place_of
from nsightkit.run import Run, RunInfo

COUNT = 24


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captures")
    for number in range(COUNT):
        more = tuple(Kernel(f"k{i % 9}", 5000 + i * 90, 5040 + i * 90 + number) for i in range(400))
        kernels = (*(replace(k, end=k.end + number) for k in BUSY.kernels), *more)
        write_sqlite(folder / f"train-rank{number}.sqlite", replace(BUSY, kernels=kernels))
    (folder / "train-rank99.sqlite").write_bytes((folder / "train-rank3.sqlite").read_bytes()[:9000])
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a scheduler, and two workers without a nanny, so that a worker that is killed stays dead."""
    yield from started_cluster(tmp_path_factory.mktemp("cluster"), "ab")


@pytest.fixture
def strict_cluster(tmp_path, monkeypatch):
    """One worker, and a scheduler that gives up a task with the first worker that it kills."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    yield from started_cluster(tmp_path, "a")


def started_cluster(folder, names):
    file = folder / "scheduler.json"
    log = (file.parent / "log").open("wb")

    def started(name, *more):
        argv = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.{name}", *more]
        return subprocess.Popen(argv, stdout=log, stderr=log, cwd=file.parent)

    scheduler = started("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show",
                        "--scheduler-file", str(file))  # fmt: skip
    single = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [started("dask_worker", *single, "--local-directory", str(file.parent / name)) for name in names]
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    address = json.loads(file.read_text())["address"]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(len(names), timeout=60)
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()
    log.close()


def content(folder):
    return {p.relative_to(folder).as_posix(): pq.read_table(p) for p in sorted(folder.glob("tables/*/*.parquet"))}


def test_is_a_url():
    assert is_url("s3://bucket/run")
    assert not is_url("runs/today")


def test_a_worker_that_is_killed_midway_changes_nothing(captures, cluster, tmp_path):
    address, workers = cluster
    serial, serial_failures = ingest_paths([captures], Run(tmp_path / "run"), IngestOptions())
    (tmp_path / "run").rename(tmp_path / "serial")
    seen = []

    def progress(name, done, total):
        seen.append(done)
        if len({*seen}) == 3 and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()

    options = IngestOptions(progress=progress, scheduler=address)
    found, failures = ingest_paths([captures], Run(tmp_path / "run"), options)
    assert workers[0].returncode == -signal.SIGKILL
    assert workers[1].poll() is None
    assert max(seen) == COUNT + 1
    assert failures == serial_failures
    assert [f.path.name for f in failures] == ["train-rank99.sqlite"]
    assert replace(found, created_utc=None) == replace(serial, created_utc=None)
    one, many = content(tmp_path / "serial"), content(tmp_path / "run")
    assert one.keys() == many.keys()
    assert len(one) == COUNT * 5
    assert all(table.equals(many[name], check_metadata=True) for name, table in one.items())
    assert not list(tmp_path.glob("run/tables/*/.*"))
    check_summary(pq.read_table(tmp_path / "run" / "summary" / "kernel_totals.parquet"), many)


def check_summary(summary, tables):
    expected = {}
    for name, table in tables.items():
        for row in table.to_pylist() if "/kernel_launches/" in name else ():
            expected.setdefault(row["kernel_name"], []).append((name, row["duration_ns"]))
    assert summary.num_rows == len(expected) == 11
    for row in summary.to_pylist():
        durations = [time for _, time in expected[row["kernel_name"]]]
        assert row["capture_count"] == len({name for name, _ in expected[row["kernel_name"]]}) == COUNT
        assert (row["launch_count"], row["total_ns"]) == (len(durations), sum(durations))
        assert (row["min_ns"], row["max_ns"]) == (min(durations), max(durations))
    totals = summary["total_ns"].to_pylist()
    assert totals == sorted(totals, reverse=True)


def test_the_command_writes_to_a_url_and_goes_on_there(captures, cluster, tmp_path):
    def invoke(*more):
        argv = ["ingest", str(captures), "-o", url, "--scheduler", cluster[0], *more]
        return CliRunner().invoke(cli, argv, catch_exceptions=False)

    url = f"file://{tmp_path}/shared/run"
    first = invoke()
    assert (first.exit_code, first.stdout) == (1, url + "\n")
    assert "train-rank99.sqlite" in first.stderr
    assert "holds a run" in invoke().stderr
    folder = tmp_path / "shared" / "run"
    whole = content(folder)
    assert len(whole) == COUNT * 5
    assert not list(folder.rglob(".*"))
    times = {name: (folder / name).stat().st_mtime_ns for name in whole}
    (folder / "tables/nvtx_ranges/train-rank5.parquet").unlink()
    (folder / "tables/gpus/stray.parquet").write_bytes(b"")
    (folder / "tables/gpus/.train-rank5.parquet.77.partial").write_bytes(b"")
    assert invoke("--resume").exit_code == 1
    assert not list(folder.rglob(".*"))
    again = content(folder)
    assert again.keys() == whole.keys()
    changed = {name for name in whole if (folder / name).stat().st_mtime_ns != times[name]}
    assert changed == {name for name in whole if name.endswith("/train-rank5.parquet")}
    assert CliRunner().invoke(cli, ["top", str(folder), "--limit", "3"]).exit_code == 0


def test_what_kills_its_workers_costs_itself_alone(strict_cluster, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE_S", 3)
    address, [worker] = strict_cluster
    with connected(address) as found:
        assert list(found.each(abs, {4: -7, 5: 8})) in ([(4, 7), (5, 8)], [(5, 8), (4, 7)])
        assert found.reduced(abs, sum, [-1, 2, -3] * 30) == 180
        assert list(found.each(os._exit, {3: 9})) == [(3, None)]
    worker.wait(timeout=30)
    with pytest.raises(IngestError, match="has no workers") as caught, connected(address):
        pass
    assert caught.value.slug == "no-scheduler"


def test_storage_by_url_without_a_cluster(captures, tmp_path):
    run = RemoteRun("memory://bucket/run")
    sources = [captures / f"train-rank{number}.sqlite" for number in range(3)]
    info, failures = ingest_paths(sources, run)
    assert failures == []
    assert run.info() == info
    assert all(run.holds(capture) for capture in info.captures)
    assert not run.holds(replace(info.captures[0], row_counts={"kernel_launches": 1}))
    assert not run.holds(replace(info.captures[0], capture_id="other"))
    ingest_paths(sources, Run(tmp_path / "run"))
    local = place_of(Run(tmp_path / "run"))
    names = [capture.capture_id for capture in info.captures]
    assert merged([sums_of(run, n) for n in names]).equals(merged([sums_of(local, n) for n in reversed(names)]))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("-o", "nostorage://x/run"), "nostorage"),
        (("--scheduler", "tcp://127.0.0.1:1"), "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (("--scheduler", "nonsense://x"), "no Dask scheduler answers"),
        (("--scheduler", "head"), "head is no address of a Dask scheduler, which has a port: tcp://host:8786"),
        (("--scheduler", "tcp://head"), "tcp://head is no address of a Dask scheduler, which has a port"),
    ],
)
def test_what_is_not_to_be_had_is_said(captures, tmp_path, monkeypatch, argv, told):
    monkeypatch.setattr(cluster_module, "_PATIENCE_S", 1)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["ingest", str(captures), *argv])
    assert result.exit_code == 1
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_jobs_and_scheduler_exclude_each_other(captures):
    assert CliRunner().invoke(cli, ["ingest", str(captures), "--jobs", "2", "--scheduler", "tcp://x"]).exit_code == 2


def test_without_dask_the_extra_is_named(captures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(IngestError, match=r"nsightkit\[dask\]") as caught:
        ingest_paths([captures], Run(tmp_path / "run"), IngestOptions(scheduler="tcp://x:1"))
    assert caught.value.slug == "dask-missing"


def test_dask_is_not_imported_otherwise(captures, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from nsightkit.ingest import ingest_paths\nfrom nsightkit.run import Run\n"
        f"ingest_paths([Path({str(captures / 'train-rank0.sqlite')!r})], Run(Path({str(tmp_path / 'run')!r})))\n"
        "print([m for m in ('dask', 'distributed', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"


def test_what_was_noted_on_shared_storage_counts_until_there_is_a_description():
    run = RemoteRun("memory://noted/run")
    assert run.info() is None
    run.note(RunInfo(name="half"))
    assert run.info().name == "half"
    run.write_info(RunInfo(name="whole"))
    assert run.info().name == "whole"
    store, root = run._store()
    assert [path.rpartition("/")[2] for path in store.find(root)] == ["run.json"]
