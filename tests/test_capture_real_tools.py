"""Against the real nsys and ncu: what their parsers accept, what they leave behind, which metrics they know."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from nsightkit.analysis.counters.counter_plan import known_capabilities, roofline_metrics
from nsightkit.cli import cli
from nsightkit.ingest import open_dataset
from nsightkit.metrics import resolve
from nsightkit.run import Run
from real_tools import answered

pytestmark = pytest.mark.nsight

MEASURED = """
import json, time
import nvtx
found = []
for _ in range(3):
    begin = time.perf_counter_ns()
    with nvtx.annotate("decode"):
        inside = time.perf_counter_ns()
        for _ in range(2):
            with nvtx.annotate("step"):
                time.sleep(0.01)
        inside = time.perf_counter_ns() - inside
    found.append((inside, time.perf_counter_ns() - begin))
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


RECIPES = Path(__file__).resolve().parent.parent / "docs" / "recipes.md"


def recipe_lines():
    """Each line of the recipes that profiles, from 'profile' on, without what the shell or a launcher makes of it."""
    found = re.findall(r"^[^#(\n]*nsightkit profile (.*)$", RECIPES.read_text(encoding="utf-8"), re.MULTILINE)
    lines = (
        shlex.join(shlex.split(line, comments=True)) for line in found if "--against" not in line and "$i" not in line
    )
    # torch.profiler is started by our own runner: no parser of NVIDIA's is asked.
    return [line for line in dict.fromkeys(lines) if "--tool torch" not in line]


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
        said = answered(line).stdout
        assert "unrecognised option" not in said
        assert "Illegal" not in said
        assert "cannot be specified more than once" not in said
        assert "not found" in said, said

    def test_nsys_complaint_comes_before_the_missing_program(self, here):
        assert (
            "unrecognised option '--no-such=1'"
            in answered(["nsys", "profile", "--no-such=1", "/no/such/program"]).stdout
        )

    @pytest.mark.parametrize("args", NCU_OPTIONS)
    def test_ncu_accepts_every_line(self, here, args):
        printed = profile("work.py", "--tool", "ncu", "--dry-run", "-o", "r", *args).stdout
        (here / "r" / "capture").mkdir(parents=True)
        words = shlex.split(printed)[1:]
        line = [*words[: words.index("--export") + 2], "true"]
        said = answered(line).stdout
        assert not re.search(r"unrecogni[sz]ed|ambiguous|invalid|the argument|required", said), said
        # Past the parser it looks for a driver, or with one for kernels.
        assert "CUDA driver" in said or "No kernels were profiled" in said


def parsed_by(line):
    """What the real tool says to a printed command, its program replaced by one that is not there or does nothing."""
    words = shlex.split(line)
    words = words[next(place for place, word in enumerate(words) if "=" not in word) :]
    if words[0].endswith("nsys"):
        words = [*words[: words.index("--output") + 2], "/no/such/program"]
    else:
        Path(words[words.index("--export") + 1]).parent.mkdir(parents=True, exist_ok=True)
        words = [*words[: words.index("--export") + 2], "true"]
    return answered(words).stdout


@pytest.mark.parametrize("line", recipe_lines())
def test_the_real_tools_accept_the_line_of_every_recipe(here, monkeypatch, line):
    (here / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    for name in ("vllm", "python", "trtllm-bench", "torchrun"):
        (here / "bin" / name).symlink_to("/bin/true")
    for name in ("train.py", "batch_infer.py", "offline.py", "build/benchmark"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("pass\n", encoding="utf-8")
        (here / name).chmod(0o755)
    args = shlex.split(line)
    # PowerShell's quoting is tested apart; here the line is to be run.
    if "--shell" in args:
        del args[args.index("--shell") : args.index("--shell") + 2]
    done = profile("--dry-run", *[word for word in args if word != "--dry-run"])
    assert done.exit_code == 0, done.output
    printed = [text for text in done.stdout.splitlines() if " --output " in text or " --export " in text]
    assert len(printed) == 1
    said = parsed_by(printed[0])
    assert not re.search(r"unrecogni[sz]ed|ambiguous|Illegal (?!--gpu-m)|more than once|the argument|invalid", said), (
        said
    )
    assert re.search(r"not found|CUDA driver|No kernels were profiled|GPUs are supported", said), said


class TestMetrics:
    # Every chip that ncu 2024.1 lists, but GV100 and GV11B: their compute capabilities get the set detailed.
    CHIPS = {  # noqa: RUF012
        **dict.fromkeys(("tu102", "tu104", "tu106", "tu116", "tu117"), "7.5"), "ga100": "8.0",
        **dict.fromkeys(("ga102", "ga103", "ga104", "ga106", "ga107"), "8.6"), "ga10b": "8.7",
        **dict.fromkeys(("ad102", "ad103", "ad104", "ad106", "ad107"), "8.9"), "gh100": "9.0",
    }  # fmt: skip

    def test_the_chips_are_all_that_this_ncu_knows(self, here):
        listed = subprocess.run(["ncu", "--list-chips"], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"\w+", listed)) - {"gv100", "gv11b"} == set(self.CHIPS)
        assert not {"7.0", "7.2"} & set(known_capabilities())

    @pytest.mark.parametrize("chip", CHIPS)
    def test_every_metric_that_is_asked_for_exists_on_the_chip(self, here, chip):
        wanted = roofline_metrics(self.CHIPS[chip])
        bases = sorted({name.split(".")[0] for name in wanted})
        done = subprocess.run(
            ["ncu", "--query-metrics", "--chips", chip, "--query-metrics-mode", "suffix",
             "--metrics", ",".join(bases)], capture_output=True, text=True, check=False,
        )  # fmt: skip
        known = set(re.findall(r"^(\w+__\S+)", done.stdout, re.MULTILINE))
        # TU116 and TU117 have the compute capability of their kin, but no tensor cores.
        without = [name for name in wanted if "_tensor_" in name] if chip in ("tu116", "tu117") else []
        assert [name for name in wanted if name not in known] == without

    def test_sets_and_sections_that_are_named_exist(self, here):
        from nsightkit.analysis.counters.counter_plan import SECTIONS

        listed = subprocess.run(["ncu", "--list-sections"], capture_output=True, text=True, check=True).stdout
        assert all(re.search(rf"^{section}\b", listed, re.MULTILINE) for section in SECTIONS)
        sets = subprocess.run(["ncu", "--list-sets"], capture_output=True, text=True, check=True).stdout
        assert re.search(r"^detailed\b", sets, re.MULTILINE)


# What a report of a newer chip holds was collected by an ncu that knows it. The full set is there of CC 10.0; of 12.0
# only basic and detailed, which hold few of our names. Packed FP32 (fadd2, …) is in section files of ncu 2025.3 alone.
@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "capability", "least"),
    [("b200-nvfp4-gemm-full.ncu-rep", "10.0", 52), ("rtx5060ti-detailed.ncu-rep", "12.0", 16)],
)
def test_names_of_chips_that_this_ncu_does_not_know_are_in_their_reports(shared_data, file, capability, least):
    # The table of names in a report is plain text.
    held = (shared_data / "ncu-rep" / file).read_bytes()
    wanted = roofline_metrics(capability)
    found = [name for name in wanted if name.split(".")[0].encode() in held]
    assert len(found) == least
    if capability == "10.0":
        absent = {name for name in wanted if name not in found}
        assert absent == {f"smsp__sass_thread_inst_executed_op_{op}_pred_on.sum" for op in ("fadd2", "fmul2", "ffma2")}


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
        for row, (least, most) in zip(decode, measured, strict=True):
            # The two clocks run apart by far less.
            assert 0.999 * least <= row["duration_ns"] <= 1.001 * most
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
        assert "nsightkit explain range-never-opened" in done.stderr

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
