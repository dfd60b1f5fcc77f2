"""The whole `selfcheck --gpu` against stand-ins: all is well on a right capture, and each planted fault is found."""

import importlib.machinery
import json
import sys
import types

import pytest
from click.testing import CliRunner

from fake_tools.install import install
from fake_tools.script import read_report
from nsightkit.analysis.counters.counter_plan import roofline_metrics
from nsightkit.analysis.selfcheck import check_captures, check_timeline
from nsightkit.capture.selfcheck_workload import STEPS
from nsightkit.cli import cli

MOVED = 2e9
TRUTH = {
    "device": "cuda", "ranges": {"prefill": 1, "decode": 1, "decode_step": STEPS, "pause": 1, "graph": 1, "spin": 1},
    "pause_ns": 20e6, "spin_ns": 14e6, "decode_kernels_least": 3 * STEPS, "product_flop": [1e9, 4e9],
    "moved_bytes": MOVED, "graph_kernels_least": 4,
}  # fmt: skip
# An A100 at 1.4 GHz: 19.4 TFLOP/s of FP32, 1.55 TB/s.
PEAKS = {
    "sm__cycles_elapsed.avg.per_second": 1.4e9,
    "sm__sass_thread_inst_executed_op_ffma_pred_on.sum.peak_sustained": 6912,
    "dram__cycles_elapsed.avg.per_second": 1.2e9, "dram__bytes.sum.peak_sustained": 1292,
}  # fmt: skip
NVIDIA_SMI = """#!/bin/sh
case "$*" in *compute_cap*) echo "0, NVIDIA A100-SXM4-40GB, 8.0, 550.54, Disabled";; esac
"""


def launch(name, grid, duration_ns, flop=0.0, moved=1e7, **others):
    compute = 100 * flop / 19.35e12 / (duration_ns * 1e-9)
    memory = 100 * moved / 1.55e12 / (duration_ns * 1e-9)
    metrics = dict.fromkeys(roofline_metrics("8.0"), 0.0) | PEAKS | {
        "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": 0.0,
        "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": flop,
        "dram__bytes.sum": moved, "dram__bytes_read.sum": moved / 2, "dram__bytes_write.sum": moved / 2,
        "sm__throughput.avg.pct_of_peak_sustained_elapsed": min(compute, 100.0),
        "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": min(memory, 100.0),
        "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed": min(memory, 100.0),
        "gpu__time_duration.sum": duration_ns,
    }  # fmt: skip
    item = {"name": name, "grid": [grid, 1, 1], "block": [128, 1, 1], "shared": 0, "duration_ns": int(duration_ns),
            "ncu_ns": duration_ns, "flop": flop, "dram_bytes": moved, "metrics": metrics}  # fmt: skip
    return ["launch", item | others]


def product(large):
    return launch("gemm<4>(int)" if large else "gemm<1>(int)", 64, 250_000 if large else 70_000, 4e9 if large else 1e9)


def step():
    return [["push", "decode_step"], product(False), product(True),
            launch("add(float*)", 4096, 1_400_000, 2.5e8, MOVED), ["pop"]]  # fmt: skip


def program():
    prompt = [["push", "prefill"], product(False), product(False), ["pop"]]
    decode = [["push", "decode"], *[event for _ in range(STEPS) for event in step()], ["wait", 15_000_000], ["pop"]]
    graph = [["push", "graph"], *[launch("gemm<1>(int)", 64, 70_000, 1e9, graph_node=7 + n) for n in range(4)], ["pop"]]
    spin = [["push", "spin"], launch("void at::spin_kernel(long)", 1, 13_990_000), ["pop"]]
    return [*prompt, *decode, ["push", "pause"], ["wait", 20_100_000], ["pop"], *graph, *spin]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "nvidia-smi").write_text(NVIDIA_SMI, encoding="utf-8")
    (bin_dir / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    script = tmp_path / "known.py"
    script.write_text(
        f"import os, sys, time\nopen(sys.argv[1], 'w').write({json.dumps(TRUTH)!r})\n"
        "time.sleep(float(os.environ.get('WORK_S', 0)))\n", encoding="utf-8",
    )  # fmt: skip
    monkeypatch.setattr("nsightkit.cli.selfcheck.selfcheck_workload_path", lambda: script)
    stub = types.ModuleType("ncu_report")
    stub.__spec__ = importlib.machinery.ModuleSpec("ncu_report", None)
    stub.load_report = read_report
    monkeypatch.setitem(sys.modules, "ncu_report", stub)
    return tmp_path


def selfcheck(here, seen, measured):
    for tool, version, events in (("nsys", "2026.1.1.204", seen), ("ncu", "2026.1.0.0", measured)):
        path = here / f"{tool}.json"
        path.write_text(json.dumps(events), encoding="utf-8")
        install(here / "bin", tool, version, f"script:{path}")
    return CliRunner().invoke(cli, ["selfcheck", "--gpu", "-o", "r"])


def failures(done):
    return [line.removeprefix("FAIL").strip().partition(":")[0] for line in done.stdout.splitlines()
            if line.startswith("FAIL")]  # fmt: skip


def changed(change):
    return [["launch", change(dict(rest[0]))] if kind == "launch" else [kind, *rest] for kind, *rest in program()]


def test_right_captures_pass_every_check(here, monkeypatch):
    # The start of the stand-in costs as much as a short program: overhead needs some work to be small against.
    monkeypatch.setenv("WORK_S", "0.5")
    done = selfcheck(here, program(), program())
    assert failures(done) == [], done.output
    assert done.exit_code == 0
    for line in ("range decode_step: expected 6 times, found 6 times",
                 "kernels inside CUDA graphs: expected at least 4",
                 "kernels during the pause: expected none, found 0", "duration of the spinning kernel",
                 "profiled launches lie inside decode: expected none outside",
                 "join of nsys and ncu: expected all exact",
                 "operations of product 2", "bytes of the sum", "kernels above their roof: expected none of at least 1",
                 "bound of the sum: expected MEMORY, found MEMORY", "quality of the nsys capture",
                 "quality of the ncu capture"):  # fmt: skip
        assert f"pass     {line}" in done.stdout, line
    assert (here / "r" / "evidence.zip").is_file()


WRONG = {
    "ncu measured another shape": (
        lambda: program(), lambda: changed(lambda item: item | {"grid": [7, 1, 1]}),
        {"join of nsys and ncu", "quality of the ncu capture"},
    ),
    "counters of half the work, a sum that fits the cache": (
        lambda: program(),
        lambda: changed(lambda item: launch(item["name"], item["grid"][0], item["duration_ns"], item["flop"] / 2)[1]),
        {"operations of product 2", "bytes of the sum", "bound of the sum"},
    ),
    "a timeline without graphs, with a lost step and kernels in the pause": (
        lambda: [*program()[:4], ["push", "decode"], *step(), ["pop"], ["push", "pause"], *program()[1:3],
                 ["wait", 20_100_000], ["pop"], ["push", "graph"], ["pop"], ["push", "spin"], ["pop"]],
        lambda: program(),
        {"range decode_step", "kernels inside decode", "kernels inside CUDA graphs", "kernels during the pause",
         "duration of the spinning kernel"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_capture_fails_the_checks_it_must(here, name):
    seen, measured, expected = WRONG[name]
    done = selfcheck(here, seen(), measured())
    assert done.exit_code == 1, done.output
    assert expected <= set(failures(done)), done.output


def test_a_tool_that_may_not_count_is_a_failed_check_and_leaves_the_bundle(here):
    path = here / "nsys.json"
    path.write_text(json.dumps(program()), encoding="utf-8")
    install(here / "bin", "nsys", "2026.1.1.204", f"script:{path}")
    install(here / "bin", "ncu", "2026.1.0.0", "no-permission")
    done = CliRunner().invoke(cli, ["selfcheck", "--gpu", "-o", "r"])
    assert done.exit_code == 1
    assert "counters" in failures(done)
    assert "ERR_NVGPUCTRPERM" in done.stderr
    assert (here / "r" / "evidence.zip").is_file()


def rows(pause_kernels=0, spin_ns=14e6):
    ranges = [{"name": "pause", "start_ns": 100, "duration_ns": 20e6}]
    kernels = [{"kernel_name": "k", "start_ns": 200, "duration_ns": 5, "graph_node_id": None}] * pause_kernels
    kernels += [{"kernel_name": "spin_kernel", "start_ns": 10**9, "duration_ns": spin_ns, "graph_node_id": None}]
    truth = TRUTH | {"ranges": {"pause": 1}, "decode_kernels_least": 0, "graph_kernels_least": 0}
    return [check.name for check in check_timeline(truth, ranges, kernels, 0) if check.passed is False]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, []),
        ({"pause_kernels": 1}, ["kernels during the pause"]),
        ({"spin_ns": 10e6}, ["duration of the spinning kernel"]),
    ],
)
def test_one_clock_and_known_durations(given, wrong):
    assert rows(**given) == wrong


@pytest.mark.parametrize(
    ("quality", "overhead", "passed"),
    [
        ({"verdict": "good"}, {"low": 1.0, "high": 1.1, "ratio": 1.05}, [True, True]),
        ({"verdict": "unusable", "reasons": ["no kernels"]}, {"low": 1.0, "high": 1.1, "ratio": 1.05}, [False, True]),
        ({"verdict": "usable"}, {}, [True, False]),
        ({"verdict": "usable"}, {"low": 0.4, "high": 9.0, "ratio": None}, [True, None]),
        ({"verdict": "usable"}, {"low": 2.5, "high": 3.0, "ratio": 2.7}, [True, False]),
    ],
)
def test_verdicts_and_overhead(quality, overhead, passed):
    assert [check.passed for check in check_captures([("nsys", quality, overhead)])] == passed
