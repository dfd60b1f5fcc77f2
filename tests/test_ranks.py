"""Ranks side by side: planted stragglers are found, waits are those of the collectives, ranges show who is slow."""

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
    # Waiting is GPU time of the range too, which is why the range alone does not tell the straggler.
    assert (spread.name, spread.min_ns, spread.max_ns) == ("step_*", 3000, 3000)


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
        ("step_*", {"rank 0": 3000, "rank 1": 3000, "rank 2": 3000})
    ]
    assert "rank 2" in invoke(folder, "--show", "ranges").stdout
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
