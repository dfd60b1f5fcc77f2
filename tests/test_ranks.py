"""Ranks side by side: planted stragglers are found, waits are those of the collectives, ranges show who is slow."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Kernel, Range, write_sqlite
from nsightkit.analysis.timeline.ranks import compare_ranks
from nsightkit.analysis.work.operations import by_capture
from nsightkit.cli import cli
from nsightkit.cli.attributed import WANTED
from nsightkit.ingest.dataset import open_dataset

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"


def job(compute, steps=3, transfer=100, offset=0):
    """One capture a rank: each step computes, then all meet in a collective. `offset` sets the clocks apart."""
    captures = []
    meets = [max(step * 10_000 + times for times in compute) for step in range(steps)]
    for rank, own in enumerate(compute):
        start = offset * rank + 1000
        kernels, calls, ranges = [], [], []
        for step, meet in enumerate(meets):
            begin = start + step * 10_000
            correlation = step * 2 + 1
            kernels += [
                Kernel("gemm", begin, begin + own, correlation=correlation),
                Kernel(ALL_REDUCE, begin + own, start + meet + transfer, correlation=correlation + 1, stream=9),
            ]
            calls += [Call("cudaLaunchKernel", begin - 90 + 20 * n, begin - 80 + 20 * n, correlation=correlation + n)
                      for n in (0, 1)]  # fmt: skip
            ranges.append(Range(begin - 95, begin - 20, text=f"step_{step}"))
        captures.append(Capture(tuple(kernels), tuple(calls), ranges=tuple(ranges)))
    return captures


def write(folder, captures):
    folder.mkdir(exist_ok=True)
    for rank, capture in enumerate(captures):
        write_sqlite(folder / f"job-rank{rank}.sqlite", replace(capture, environment=(("n", str(rank)),)))
    return folder


def compared(folder):
    dataset = open_dataset([folder], WANTED)
    tables = by_capture({name: dataset.arrow(name) for name in WANTED})
    return compare_ranks(tables, {c.capture_id: c.rank for c in dataset.info.captures if c.rank is not None})


def test_the_others_wait_for_the_slow_rank(tmp_path):
    found = compared(write(tmp_path / "job", job([500, 520, 900, 500], offset=10**9)))
    assert [(row.label, row.compute_ns, row.wait_ns) for row in found.rows] == [
        ("rank 0", 1500, 1200), ("rank 1", 1560, 1140), ("rank 2", 2700, 0), ("rank 3", 1500, 1200),
    ]  # fmt: skip
    assert found.rows[2].compute_ratio == pytest.approx(2700 / 1530)
    assert (found.straggler.rank, found.matched_count, found.unmatched_names) == (2, 3, ())
    [spread] = found.ranges
    # With its collectives the range would be even on all ranks, as the others wait in them.
    assert (spread.name, spread.min_ns, spread.max_ns, spread.slowest) == ("step_*", 1500, 2700, "rank 2")


def test_planted_stragglers_are_found(tmp_path):
    random = np.random.default_rng(3)
    for number in range(10):
        times = random.integers(300, 600, 5)
        slow = int(random.integers(5))
        times[slow] = 700
        found = compared(write(tmp_path / str(number), job(times.tolist(), offset=int(random.integers(10**6)))))
        assert found.straggler.rank == slow
        assert [row.wait_ns for row in found.rows] == [3 * (700 - int(time)) for time in times]


def test_a_collective_that_a_rank_lacks_is_left_out(tmp_path):
    captures = job([500, 700])
    short = replace(captures[1], kernels=captures[1].kernels[:-1])
    found = compared(write(tmp_path / "job", [captures[0], short]))
    assert [row.wait_ns for row in found.rows] == [None, None]
    assert (found.matched_count, found.unmatched_names) == (0, (ALL_REDUCE,))
    assert found.straggler.rank == 1


def in_one_file(captures):
    """The captures of a job as one export: a process and a GPU a rank; correlation ids collide, as they do."""
    parts = {"kernels": (), "calls": (), "ranges": ()}
    for rank, capture in enumerate(captures):
        for name in parts:
            more = {"device": rank} if name == "kernels" else {}
            parts[name] += tuple(replace(row, pid=500 + rank, **more) for row in getattr(capture, name))
    return Capture(**parts)


@pytest.mark.parametrize("count", [8, 12])
def test_ranks_in_one_file_are_those_in_many(tmp_path, count):
    times = [500 + 7 * rank for rank in range(count - 1)] + [460]
    captures = job(times, steps=5)
    many = compared(write(tmp_path / "job", captures))
    one = compared(write_sqlite(tmp_path / "job.sqlite", in_one_file(captures)))
    figures = [
        [(row.span_ns, row.compute_ns, row.communication_ns, row.exposed_communication_ns, row.wait_ns, row.idle_ns)
         for row in found.rows]
        for found in (many, one)
    ]  # fmt: skip
    assert figures[0] == figures[1]
    assert [row.device_id for row in one.rows] == list(range(count))
    assert [row.rank for row in many.rows] == list(range(count))
    slowest = max(range(count), key=lambda rank: times[rank])
    assert many.straggler.rank == one.straggler.device_id == slowest
    assert many.matched_count == one.matched_count == 5
    [spread], [same] = many.ranges, one.ranges
    assert (spread.mean_ns, spread.min_ns, spread.max_ns) == (same.mean_ns, same.min_ns, same.max_ns)
    assert list(spread.rank_ns.values()) == list(same.rank_ns.values())


def test_a_matrix_of_many_ranks(tmp_path):
    """The range × rank matrix: uneven ranges first, a rank without a range counts as 0."""
    captures = []
    for rank in range(9):
        kernels = [Kernel("gemm", 1000, 1000 + 100 * (rank + 1), correlation=1)]
        kernels += [Kernel("norm", 5000, 5010, correlation=2)] if rank != 4 else []
        calls = tuple(Call("cudaLaunchKernel", 500 + 20 * n, 510 + 20 * n, correlation=1 + n) for n in range(2))
        ranges = (Range(490, 515, text="uneven"), Range(516, 600, text="even"))
        captures.append(Capture(tuple(kernels), calls, ranges=ranges))
    found = compared(write(tmp_path / "job", captures))
    assert [(row.name, row.min_ns, row.median_ns, row.max_ns, row.slowest) for row in found.ranges] == [
        ("uneven", 100, 500, 900, "rank 8"), ("even", 0, 10, 10, "rank 0"),
    ]  # fmt: skip
    assert found.ranges[0].imbalance == pytest.approx(900 / 500)
    assert found.ranges[1].rank_ns["rank 4"] == 0
    shown = invoke(tmp_path / "job", "--show", "ranges").stdout
    assert "rank 8" in shown  # as "most on"; nine columns are too wide
    rows = json.loads(invoke(tmp_path / "job", "--show", "ranges", "--format", "json").stdout)
    assert len(rows[0]["rank_ns"]) == 9
    [uneven, even] = csv.DictReader(invoke(tmp_path / "job", "--show", "ranges", "--format", "csv").stdout.splitlines())
    assert [uneven[f"rank {rank}"] for rank in range(9)] == [str(100 * (rank + 1)) for rank in range(9)]
    assert (even["rank 4"], even["rank 5"]) == ("0", "10")


def invoke(*arguments):
    return CliRunner().invoke(cli, ["ranks", *map(str, arguments)], catch_exceptions=False)


def test_the_command(tmp_path):
    folder = write(tmp_path / "job", job([500, 900, 500]))
    result = invoke(folder)
    assert result.exit_code == 0
    assert "3 ranks" in result.stdout
    assert "waits least in collectives: rank 1; the others wait 1.20 µs each" in result.stderr
    rows = json.loads(invoke(folder, "--show", "ranges", "--format", "json").stdout)
    assert [(row["name"], row["rank_ns"]) for row in rows] == [
        ("step_*", {"rank 0": 1500, "rank 1": 2700, "rank 2": 1500})
    ]
    assert "rank 2" in invoke(folder, "--show", "ranges").stdout
    assert "most uneven range: step_*, 2.70 µs on rank 1 against 1.90 µs on average" in result.stderr
    assert "all are even" in invoke(write(tmp_path / "even", job([500, 505, 500]))).stderr
    alone = invoke(folder / "job-rank0.sqlite")
    assert "nothing to be compared with" in alone.stderr
    (folder / "job-rank7.sqlite").write_bytes((folder / "job-rank0.sqlite").read_bytes()[:5000])
    damaged = invoke(folder, "--format", "json")
    assert damaged.exit_code == 1
    assert len(json.loads(damaged.stdout)) == 3
    assert "job-rank7.sqlite" in damaged.stderr


@pytest.mark.shared
def test_two_gpus_of_one_capture(shared_data):
    rows = json.loads(invoke(shared_data / "nsys-sqlite" / "rtx3090x2-ddp-nccl.sqlite", "--format", "json").stdout)
    assert [(row["device_id"], row["rank"]) for row in rows] == [(0, None), (1, None)]
    assert all(row["label"].endswith(f"GPU {row['device_id']}") for row in rows)
