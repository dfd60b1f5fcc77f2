"""Against the real nsys and ncu: what their parsers accept, what they leave behind, which metrics they know."""

import json
import re
import shlex
import subprocess
import time

import pytest
from click.testing import CliRunner

from nsightkit.analysis.counters.counter_plan import known_capabilities, roofline_metrics
from nsightkit.cli import cli
from nsightkit.ingest import open_dataset
from nsightkit.metrics import resolve
from nsightkit.run import Run

pytestmark = pytest.mark.nsight

MEASURED = """
import json, time
import nvtx
found = []
for _ in range(3):
    begin = time.perf_counter_ns()
    with nvtx.annotate("decode"):
        for _ in range(2):
            with nvtx.annotate("step"):
                time.sleep(0.01)
    found.append(time.perf_counter_ns() - begin)
    time.sleep(0.05)
json.dump(found, open("measured.json", "w"))
"""


@pytest.fixture
def here(tmp_path, monkeypatch, nsight_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{nsight_path}:/usr/bin:/bin")
    (tmp_path / "work.py").write_text(MEASURED, encoding="utf-8")
    return tmp_path


def profile(*args):
    return CliRunner().invoke(cli, ["profile", *args])


NSYS_OPTIONS = [
    (), ("--range", "decode"), ("--range", "decode@dom", "--repeat", "3"), ("--gate", "cudaProfilerApi"),
    ("--window", "0.5:1.5"), ("--python-stacks",), ("--extra-nsys", "--osrt-threshold=10000"),
]  # fmt: skip
NCU_OPTIONS = [
    (), ("--range", "decode"), ("--range", "a/b", "--repeat", "2"), ("--gate", "cudaProfilerApi"), ("--set", "full"),
    ("--metrics", "dram__bytes.sum", "--section", "Occupancy"), ("--kernel", "gemm.*bf16|softmax"),
    ("--launch-skip", "50", "--launch-count", "5", "--replay-mode", "application"),
    ("--clock-control", "none", "--cache-control", "none"), ("--extra-ncu", "--filter-mode", "--extra-ncu", "per-gpu"),
]  # fmt: skip


class TestParsers:
    @pytest.mark.parametrize("args", NSYS_OPTIONS)
    def test_nsys_accepts_every_line(self, here, args):
        words = shlex.split(profile("work.py", "--tool", "nsys", "--dry-run", "-o", "r", *args).stdout)[1:]
        # With a program that does not exist, the first complaint is of it only if the options were accepted.
        line = [*words[: words.index("--output") + 2], "/no/such/program"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert "unrecognised option" not in said
        assert "Illegal" not in said
        assert "cannot be specified more than once" not in said
        assert "not found" in said

    def test_nsys_complaint_comes_before_the_missing_program(self, here):
        done = subprocess.run(["nsys", "profile", "--no-such=1", "/no/such/program"], capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert "unrecognised option '--no-such=1'" in done.stdout + done.stderr

    @pytest.mark.parametrize("args", NCU_OPTIONS)
    def test_ncu_accepts_every_line(self, here, args):
        printed = profile("work.py", "--tool", "ncu", "--dry-run", "-o", "r", *args).stdout
        (here / "r" / "capture").mkdir(parents=True)
        words = shlex.split(printed)[1:]
        line = [*words[: words.index("--export") + 2], "true"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert not re.search(r"unrecogni[sz]ed|ambiguous|invalid|the argument|required", said), said
        # Past the parser it looks for a driver, or with one for kernels.
        assert "CUDA driver" in said or "No kernels were profiled" in said


class TestMetrics:
    CHIPS = {"7.5": "tu102", "8.0": "ga100", "8.6": "ga102", "8.7": "ga10b", "8.9": "ad102", "9.0": "gh100"}  # noqa: RUF012

    @pytest.mark.parametrize("capability", CHIPS)
    def test_every_metric_that_is_asked_for_exists_on_the_chip(self, here, capability):
        wanted = roofline_metrics(capability)
        bases = sorted({name.split(".")[0] for name in wanted})
        done = subprocess.run(
            ["ncu", "--query-metrics", "--chips", self.CHIPS[capability], "--query-metrics-mode", "suffix",
             "--metrics", ",".join(bases)], capture_output=True, text=True, check=False,
        )  # fmt: skip
        known = set(re.findall(r"^(\w+__\S+)", done.stdout, re.MULTILINE))
        assert [name for name in wanted if name not in known] == []

    def test_sets_and_sections_that_are_named_exist(self, here):
        from nsightkit.analysis.counters.counter_plan import SECTIONS

        listed = subprocess.run(["ncu", "--list-sections"], capture_output=True, text=True, check=True).stdout
        assert all(re.search(rf"^{section}\b", listed, re.MULTILINE) for section in SECTIONS)
        sets = subprocess.run(["ncu", "--list-sets"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"^detailed\b", sets, re.MULTILINE)


@pytest.mark.parametrize("capability", known_capabilities())
def test_the_metrics_suffice_for_the_roofline(capability):
    found = resolve(dict.fromkeys(roofline_metrics(capability), 1.0), capability)
    needed = {"duration_ns", "fp32_flop", "fp16_flop", "fp64_flop", "peak_fp32_flop_per_s", "sm_throughput_pct",
              "memory_throughput_pct", "tensor_fp16_flop", "peak_tensor_fp16_flop_per_s", "l2_bytes",
              "l1_bytes"}  # fmt: skip
    if capability not in ("8.7", "11.0", "12.1"):
        needed |= {"dram_bytes", "dram_read_bytes", "dram_write_bytes", "peak_dram_bytes_per_s", "dram_throughput_pct"}
    if capability != "7.5":
        needed |= {"tensor_bf16_flop", "tensor_tf32_flop", "peak_tensor_bf16_flop_per_s"}
    assert {name for name in needed if found[name] is None} == set()


class TestNsysCaptures:
    def test_ranges_equal_what_the_script_measured(self, here):
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        assert done.exit_code == 0, done.output
        rows = open_dataset([here / "r"]).rows("nvtx_ranges")
        measured = json.loads((here / "measured.json").read_text())
        decode = sorted((row for row in rows if row["name"] == "decode"), key=lambda row: row["start_ns"])
        steps = [row for row in rows if row["name"] == "step"]
        assert len(decode) == 3
        assert len(steps) == 6
        for row, ns in zip(decode, measured, strict=True):
            assert row["duration_ns"] == pytest.approx(ns, abs=2e6)
            inside = [s for s in steps if row["start_ns"] <= s["start_ns"] < row["start_ns"] + row["duration_ns"]]
            assert len(inside) == 2
            assert sum(s["duration_ns"] for s in inside) <= row["duration_ns"]

    def test_exports_of_one_capture_give_equal_tables(self, here):
        profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        report = here / "r" / "capture" / "timeline.nsys-rep"
        tables = []
        for kind, name in (("sqlite", "x.sqlite"), ("parquetdir", "x_pqtdir"), ("arrowdir", "x_arwdir")):
            subprocess.run(["nsys", "export", "--type", kind, "--output", str(here / name), str(report)], check=True,
                           capture_output=True)  # fmt: skip
            dataset = open_dataset([here / name])
            rows = dataset.rows("nvtx_ranges")
            for row in rows:
                del row["capture_id"]
            tables.append(sorted(rows, key=lambda row: (row["start_ns"], row["name"] or "")))
        assert len(tables[0]) >= 9
        assert tables[0] == tables[1] == tables[2]

    def test_every_repetition_of_a_range_is_a_capture_and_the_workload_lives(self, here):
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--range", "decode", "--repeat", "3")
        assert done.exit_code == 0, done.output
        captures = Run(here / "r").read_info().captures
        assert len(captures) == 3
        assert [capture.exit_code for capture in captures] == [0, 0, 0]
        assert (here / "measured.json").is_file()

    def test_range_that_never_opens(self, here):
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--range", "decoed")
        assert done.exit_code == 1
        assert "the NVTX range 'decoed' never began" in done.stderr
        assert "docs/errors.md#range-never-opened" in done.stderr

    def test_window_ends_a_server(self, here):
        (here / "work.py").write_text("import time\nwhile True: time.sleep(0.1)\n")
        begin = time.monotonic()
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--window", "0.5:1")
        assert done.exit_code == 0, done.output
        assert time.monotonic() - begin < 60
        (capture,) = Run(here / "r").read_info().captures
        assert capture.exit_code == 143
        assert capture.quality["verdict"] == "unusable"
        assert capture.quality["reasons"][0].startswith("no kernels: no GPU was traced")
