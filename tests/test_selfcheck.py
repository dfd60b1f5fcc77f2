"""The comparison with a known truth: it passes where all is right, and names what is not."""

import zipfile

import pytest
from click.testing import CliRunner

from nsightkit.analysis.selfcheck import check_counters, check_timeline
from nsightkit.cli import cli, selfcheck
from nsightkit.run import Run

TRUTH = {
    "device": "cuda", "ranges": {"decode": 1, "decode_step": 2, "pause": 1}, "pause_ns": 20e6,
    "decode_kernels_least": 4, "product_flop": [1e9, 4e9], "moved_bytes": 1e9, "graph_kernels_least": 3,
}  # fmt: skip
RANGES = [{"name": name, "start_ns": start, "duration_ns": ns} for name, start, ns in
          (("decode", 0, 9e6), ("decode_step", 0, 4e6), ("decode_step", 4e6, 4e6), ("pause", 1e7, 21e6))]  # fmt: skip
KERNELS = [{"kernel_name": "k", "start_ns": n, "duration_ns": 1e5, "graph_node_id": 7 if n > 3 else None}
           for n in range(7)]  # fmt: skip


def counted(flop, moved, share, **others):
    """A launch of 1 ms on a chip of 10 TFLOP/s and 2 TB/s, which is busy with it for `share` of the time."""
    return {
        "capture_id": "c", "kernel_name": f"k{flop:g}", "nvtx_path": "decode/decode_step", "duration_ns": 1e6,
        "failed": False, "fp32_flop": flop, "dram_bytes": moved, "peak_fp32_flop_per_s": 1e13,
        "peak_dram_bytes_per_s": 2e12, "sm_throughput_pct": 10.0, "memory_throughput_pct": share,
        "dram_throughput_pct": share, "tensor_pipe_pct": 0.0, "fp64_pipe_pct": 0.0, **others,
    }  # fmt: skip


COUNTERS = [counted(1e9, 2e7, 10.0), counted(4.1e9, 3e7, 10.0), counted(1e7, 1.02e9, 80.0)]
TARGETS = [{"match": "exact", "duration_ratio": 1.1}, {"match": "exact", "duration_ratio": 1.3}]


def failed(checks):
    return [check.name for check in checks if check.passed is False]


def test_a_right_timeline_passes():
    checks = check_timeline(TRUTH, RANGES, KERNELS, 4)
    assert failed(checks) == []
    assert len(checks) == 7


@pytest.mark.parametrize(
    ("ranges", "kernels", "inside", "names"),
    [
        (RANGES[:-2] + RANGES[-1:], KERNELS, 4, ["range decode_step"]),
        ([*RANGES[:-1], {"name": "pause", "start_ns": 1e7, "duration_ns": 1e6}], KERNELS, 4, ["pause"]),
        (RANGES, KERNELS, 3, ["kernels inside decode"]),
        (RANGES, KERNELS[:5], 4, ["kernels inside CUDA graphs"]),
    ],
)
def test_what_is_wrong_in_a_timeline_is_named(ranges, kernels, inside, names):
    assert failed(check_timeline(TRUTH, ranges, kernels, inside)) == names


def test_on_the_cpu_kernels_are_unknown():
    checks = check_timeline(TRUTH | {"device": "cpu"}, RANGES, [], 0)
    assert [check.passed for check in checks if check.name == "kernels"] == [None]


def test_right_counters_pass():
    checks = check_counters(TRUTH, COUNTERS, TARGETS)
    assert failed(checks) == []
    assert [check.found for check in checks if check.name == "ncu over nsys duration"] == ["1.10 to 1.30"]


@pytest.mark.parametrize(
    ("counters", "targets", "names"),
    [
        ([*COUNTERS, counted(1e9, 2e7, 10.0, nvtx_path="prefill")], TARGETS, ["profiled launches lie inside decode"]),
        (COUNTERS, [*TARGETS, {"match": "shape", "duration_ratio": 1.0}], ["join of nsys and ncu"]),
        ([COUNTERS[0], COUNTERS[2]], TARGETS, ["operations of product 2"]),
        (COUNTERS[:2], TARGETS, ["bytes of the sum", "bound of the sum"]),
        ([*COUNTERS, counted(1e9, 2e7, 10.0, duration_ns=5e4, kernel_name="quick")], TARGETS,
         ["kernels above their roof"]),
        ([], [], ["profiled launches lie inside decode", "join of nsys and ncu", "operations of product 1",
                  "operations of product 2", "bytes of the sum", "kernels above their roof", "bound of the sum",
                  "ncu over nsys duration"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_counters_is_named(counters, targets, names):
    assert failed(check_counters(TRUTH, counters, targets)) == names


@pytest.mark.torch
class TestCommand:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        return tmp_path

    def test_on_the_cpu_it_passes_and_leaves_a_bundle(self, here):
        done = CliRunner().invoke(cli, ["selfcheck", "-o", "r"])
        assert done.exit_code == 0, done.output
        assert "pass     range decode_step: expected 6 times, found 6 times" in done.stdout
        assert "unknown  kernels: expected on a GPU" in done.stdout
        with zipfile.ZipFile(here / "r" / "evidence.zip") as archive:
            assert {"run.json", "checks.json", "capture/truth.json"} <= set(archive.namelist())

    def test_bundle_leaves_out_what_holds_the_environment(self, here):
        run = Run(here / "r")
        names = ("timeline.nsys-rep", "timeline.sqlite", "timeline.qdstrm", "counters.ncu-rep", "child.log")
        run.capture_dir.mkdir(parents=True)
        for name in names:
            (run.capture_dir / name).write_text("TOKEN=secret", encoding="utf-8")
        with zipfile.ZipFile(selfcheck._bundle(run)) as archive:
            assert archive.namelist() == ["capture/child.log", "capture/counters.ncu-rep"]

    def test_needs_a_gpu_for_gpu(self):
        done = CliRunner().invoke(cli, ["selfcheck", "--gpu"])
        assert done.exit_code == 1
        assert "nvidia-smi lists none" in done.stderr

    def test_dry_run(self, here):
        done = CliRunner().invoke(cli, ["selfcheck", "--gpu", "--dry-run"])
        assert done.exit_code == 0, done.output
        assert "nsys profile --trace=cuda,nvtx" in done.stdout
        assert "--device cuda" in done.stdout
        assert list(here.iterdir()) == []
