"""Studies join captures: instance counts, kernel mixes, the dominant GEMM; from stand-in tools and real captures."""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from fake_tools.install import calls, install
from nsightkit.analysis.results import ClassifiedKernel, KernelSummary, Verdict
from nsightkit.analysis.studies import instances
from nsightkit.analysis.studies.instances import Decoded, Stall
from nsightkit.analysis.studies.operators import OperatorRow, PhaseProfile
from nsightkit.cli import cli, study
from nsightkit.ingest.python_stacks import PythonFrame, python_frames

TESTS = Path(__file__).resolve().parent
GEMM = "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_16x16_128x2_tn_align8>(T1::Params)"
FMHA = "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel::Params)"
RUN = Decoded("KV cache on", layers=2, steps=3, runs=1, cached=True, batch=1, prompt=8)


def kernel(name, family, launches, total_ns=100):
    return KernelSummary(name, name, family, "x", launches, total_ns, 0.5, 1.0, 1.0, None, 1, 1, None, None)


def profiled(name, family, duration_ns, **counters):
    verdict = Verdict("MEMORY", "ncu", "throughput", "x", 1.0, "points")
    return ClassifiedKernel("c", name, name, family, "x", 1, 0, duration_ns, duration_ns, 1.0, "4×1×1", "128×1×1",
                            counters, verdict, None)  # fmt: skip


def phase(name, **calls_):
    rows = tuple(OperatorRow(f"aten::{op}", count, 1, 0.1) for op, count in calls_.items())
    return PhaseProfile(name, 1, 10, sum(calls_.values()), rows)


class TestInstanceCounts:
    def test_closed_forms_of_the_decode_study(self):
        """12 layers, 16 steps: 204 attention kernels with prefill, 192 in decode alone, 768 linear maps."""
        forms = {(c.what, c.formula): c.expected for c in instances.closed_forms(12, 16)}
        assert forms["attention", "L × (N + 1)"] == 204
        assert forms["attention in decode", "L × N"] == 192
        assert forms["linear maps of the layers in decode", "4 × L × N"] == 768
        assert {c.verdict for c in instances.closed_forms(12, 16)} == {"not counted"}

    def test_operators(self):
        phases = [phase("prefill", scaled_dot_product_attention=2, linear=9),
                  phase("decode", scaled_dot_product_attention=6, linear=27)]  # fmt: skip
        counted = instances.counted_operators(phases, RUN)
        assert [c.verdict for c in instances.closed_forms(2, 3, counted)] == ["equal"] * 4
        assert instances.counted_operators(phases[1:], RUN) == {}
        more = [phases[0], phase("decode", scaled_dot_product_attention=7, linear=26)]
        verdicts = [c.verdict for c in instances.closed_forms(2, 3, instances.counted_operators(more, RUN))]
        assert verdicts == ["differs by +1", "differs by +1", "differs by -1", "differs by -1"]

    def test_repetitions_are_divided_by(self):
        twice = Decoded("x", 2, 3, 2, True, 1, 8)
        phases = [phase("prefill", scaled_dot_product_attention=4, linear=18),
                  phase("decode", scaled_dot_product_attention=12, linear=54)]  # fmt: skip
        counted = instances.counted_operators(phases, twice)
        assert counted["attention"] == 8
        assert counted["linear maps of the layers in decode"] == 24

    def test_kernels_by_family(self):
        whole = [kernel("g", "GEMM", 30), kernel("v", "GEMV", 6), kernel("a", "attention", 8), kernel("c", "copy", 99)]
        decode = [kernel("g", "GEMM", 27), kernel("a", "attention", 6)]
        counted = instances.counted_kernels(whole, decode, RUN)
        assert counted == {"attention": 8, "attention in decode": 6, "linear maps of the layers": 32,
                           "linear maps of the layers in decode": 24}  # fmt: skip
        assert instances.counted_kernels([], [], RUN) == {}


def test_the_dominant_gemm_is_the_longest_launch_of_a_linear_map():
    found = [profiled("a", "attention", 900.0), profiled("g", "GEMM", 50.0), profiled("h", "GEMV", 80.0),
             profiled("n", "GEMM", None)]  # fmt: skip
    assert instances.dominant_gemm(found).kernel_name == "h"
    assert instances.dominant_gemm(found[:1]) is None


def test_stalls_are_read_from_the_rule():
    message = "On average … This stall type represents about 71.5% of the total average of 8.1 cycles between …"
    said = ((1, "Math Pipe Throttle", message), (0, "", message), (9, "X", ""))
    rules = [{"capture_id": "c", "launch_index": n, "rule": "CPIStall", "title": title, "message": text}
             for n, title, text in said]  # fmt: skip
    launches = [{"capture_id": "c", "launch_index": n, "kernel_name": f"k{n}"} for n in (0, 1)]
    assert instances.stalls_of(rules, launches) == {("c", "k1"): Stall("Math Pipe Throttle", 71.5)}


def launch(name, duration_ns, **others):
    return ["launch", {"name": name, "grid": [32, 1, 1], "block": [128, 1, 1], "shared": 4096,
                       "duration_ns": duration_ns, "ncu_ns": 1.1 * duration_ns} | others]  # fmt: skip


def scripted(layers, steps):
    """A prefill and `steps` steps: four products and an attention a layer, and the head's product."""
    counters = {"sm__throughput.avg.pct_of_peak_sustained_elapsed": 45.7,
                "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed": 25.8,
                "launch__registers_per_thread": 232}  # fmt: skip
    layer = [*(launch(GEMM, 9_000, flop=1e6, metrics=counters) for _ in range(4)), launch(FMHA, 4_000)]
    once = [*layer * layers, launch(GEMM, 9_000, flop=1e6, metrics=counters)]
    body = [event for number in range(steps) for event in (["push", "decode_step"], *once, ["pop"])]
    return [["push", "prefill"], *once, ["pop"], ["push", "decode"], *body, ["pop"]]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand-ins for nsys and ncu on PATH, and NVIDIA's reader for what they leave."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(scripted(2, 3)), encoding="utf-8")
    records = {tool: install(tmp_path / "bin", tool, version, f"script:{path}")
               for tool, version in (("nsys", "2026.1.1.204"), ("ncu", "2026.1.0.0"))}  # fmt: skip
    reader = tmp_path / "reader"
    reader.mkdir()
    (reader / "ncu_report.py").write_text("from fake_tools.script import read_report as load_report\n")
    monkeypatch.setenv("PYTHONPATH", f"{reader}:{TESTS}")
    monkeypatch.syspath_prepend(str(reader))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return records


ARGS = ("--layers 2 --heads 2 --width 16 --vocabulary 32 --prompt-len 4 --max-new-tokens 3 --bench-iters 1 "
        "--warmup-iters 0 --threads 1")  # fmt: skip


def declared(first=None, **more):
    part = {"id": "trace", "workload": "kv_decode", "tool": "torch",
            "tool_args": {"nsys+ncu": "--range decode --no-overhead --clock-control none"},
            "small": {"args": ARGS, "axes": {"kv_cache": ["on"]}}}  # fmt: skip
    return {"title": "T", "question": "Q?", "part": [part | ({"first": first} if first else {})], **more}


def test_a_study_under_stand_in_tools(tools, tmp_path, monkeypatch):
    """`study kv-decode --tool nsys+ncu`: counts from the timeline, the GEMM's facts from the counters."""
    monkeypatch.setattr(study, "declared_study", lambda name: declared())
    done = CliRunner().invoke(cli, ["study", "kv-decode", "--tool", "nsys+ncu", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "out" / "report" / "metrics_summary.json").read_text(encoding="utf-8"))["tables"]
    assert [row[3:] for row in summary["counts"]["rows"]] == [
        ["8", "8", "equal"], ["6", "6", "equal"], ["32", "32", "equal"], ["24", "24", "equal"],
    ]  # fmt: skip
    mix = {row[0]: row[2] for row in summary["mix-1"]["rows"]}
    assert sorted(mix.values()) == ["27", "6"]  # of decode alone: 3 steps of 9 products and 2 attentions
    facts = dict(summary["gemm-table"]["rows"])
    assert (facts["grid"], facts["block"]) == ("32×1×1", "128×1×1")
    assert facts["compute throughput"] == "45.7 %"
    assert facts["decode steps of the run"] == "3"
    assert {row[1].split()[0] for row in summary["tools-table"]["rows"]} == {"nsys", "ncu"}
    assert any("profile" in call for call in calls(tools["nsys"]))
    assert any("--nvtx-include" in call for call in calls(tools["ncu"]))


def test_a_kernel_profile_under_stand_in_tools(tools, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "declared_study", lambda name: declared("torch", captures="together"))
    done = CliRunner().invoke(cli, ["study", "kernel-profile", "--tool", "nsys+ncu", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Top 20 kernels of decode" in text
    assert re.search(r"(\d+) of \1 profiled kernels are in the timeline \(decode alone\)", text)
    # Operators first, by torch.profiler; then the timeline and the counters.
    assert "Top operators of decode" in text
    assert [path.name for path in sorted((tmp_path / "out").glob("trace*"))] == ["trace", "trace-nsys-ncu"]
    # The run that the study made is an input like any other.
    run = tmp_path / "out" / "trace-nsys-ncu" / "cells" / "kv_cache=on" / "run"
    done = CliRunner().invoke(cli, ["study", "kernel-profile", "--from", str(run), "-o", str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
    again = (tmp_path / "again" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Top 20 kernels of decode" in again


def test_tool_none_leaves_profiled_parts_out(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "declared_study", lambda name: declared())
    done = CliRunner().invoke(cli, ["study", "kv-decode", "--tool", "none", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "No run of this study was profiled" in (tmp_path / "out" / "report" / "report.md").read_text("utf-8")


@pytest.mark.parametrize(("found", "warned"), [((), True), (("gpu",), False)])
def test_the_sizes_of_a_gpu_are_warned_of_without_one(found, warned, tmp_path, monkeypatch):
    part = declared()["part"][0]
    both = {"title": "T", "question": "Q?", "part": [part | {"document": part["small"]}]}
    monkeypatch.setattr(study, "declared_study", lambda name: both)
    monkeypatch.setattr("nsightkit.capture.probes.find_gpus", lambda: found)
    for size, expected in (("document", warned), ("small", False)):
        options = ["--size", size, "--tool", "none", "-o", str(tmp_path / size)]
        done = CliRunner().invoke(cli, ["study", "kv-decode", *options])
        assert done.exit_code == 0, done.output
        assert ("no GPU was found" in done.stderr) is expected


def test_auto_is_torch_without_a_gpu(monkeypatch):
    monkeypatch.setattr("nsightkit.capture.probes.find_gpus", lambda: ())
    assert study.chosen_tool("auto") == "torch"
    monkeypatch.setattr("nsightkit.capture.probes.find_gpus", lambda: ("gpu",))
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert study.chosen_tool("auto") == "nsys+ncu"
    monkeypatch.setattr("shutil.which", lambda name: "/bin/nsys" if name == "nsys" else None)
    assert study.chosen_tool("auto") == "torch"
    assert study.chosen_tool("ncu") == "ncu"


@pytest.fixture(scope="module")
def summaries(shared_data, tmp_path_factory):
    made = {}
    for version in ("v2", "v1"):
        out = tmp_path_factory.mktemp(version)
        runs = shared_data / "seed-runs"
        args = ["--from", str(runs / "dsocr-nsys" / "decode.csv"), "--from", str(runs / f"dsocr-{version}")]
        done = CliRunner().invoke(cli, ["study", "kernel-profile", *args, "--gpu", "rtx-5090", "-o", str(out)])
        assert done.exit_code == 0, done.output
        folder = out / "report"
        made[version] = (json.loads((folder / "metrics_summary.json").read_text("utf-8"))["tables"],
                         (folder / "report.md").read_text("utf-8").replace("\u202f", " "))  # fmt: skip
    return made


@pytest.mark.shared
class TestKernelStudy:
    """The DeepSeek-OCR kernel study, from its own CSV files."""

    @pytest.mark.parametrize(("version", "counts"), [("v2", (4, 9, 7, 20)), ("v1", (3, 8, 7, 18))])
    def test_classes(self, summaries, version, counts):
        rows = {row[0]: int(row[1]) for row in summaries[version][0]["class-counts"]["rows"]}
        assert (rows["COMPUTE"], rows["MEMORY"], rows["BALANCED"], rows["OVERALL"]) == counts

    def test_means_to_two_places(self, summaries):
        rows = {row[0]: [cell.split()[0] for cell in row[1:]] for row in summaries["v2"][0]["class-means"]["rows"]}
        rounded = {name: [round(float(cell), 2) for cell in cells] for name, cells in rows.items()}
        assert rounded["SM throughput"] == [36.21, 9.38, 12.25, 15.75]
        assert rounded["DRAM throughput"] == [9.89, 34.23, 12.62, 21.80]
        assert rounded["Memory throughput"] == [32.23, 41.20, 27.52, 34.62]
        assert rounded["Achieved occupancy"] == [31.51, 43.22, 39.32, 39.51]
        assert rounded["L1 hit rate"] == [6.54, 9.51, 9.65, 8.96]
        assert rounded["L2 hit rate"] == [71.93, 16.40, 51.97, 39.95]
        assert [round(float(cell) / 1e3, 2) for cell in rows["Duration"]] == [137.44, 9.67, 39.75, 45.75]

    def test_the_top_of_decode(self, summaries):
        rows = summaries["v2"][0]["kernels-by-time"]["rows"]
        shares = [round(100 * float(row[2]), 1) for row in rows]
        assert len(rows) == 20
        assert shares[:9] == [34.4, 14.8, 6.0, 4.2, 3.9, 2.9, 2.8, 2.7, 2.4]

    def test_families_are_counted_once(self, summaries):
        """The study counts its copies among elementwise kernels as well: 21.7 % and 8.7 %."""
        rows = {row[0]: row for row in summaries["v2"][0]["families-table"]["rows"]}
        assert round(100 * float(rows["GEMV"][4]), 1) == 49.2
        assert round(100 * float(rows["copy"][6]), 1) in (8.6, 8.7)
        assert sum(float(row[4]) for row in rows.values()) == pytest.approx(1)

    def test_what_decode_does_not_run_is_apart(self, summaries):
        tables, text = summaries["v2"]
        assert "14 of 20 profiled kernels are in the timeline" in text
        assert len(tables["apart-table"]["rows"]) == 6

    def test_counts_and_labels_cannot_disagree(self, summaries):
        """The study labels a copy kernel memory-bound in one table and counts it as compute-bound in another."""
        tables, _ = summaries["v2"]
        verdicts = [row[1] for row in tables["verdicts"]["rows"]]
        counts = {row[0]: int(row[1]) for row in tables["class-counts"]["rows"]}
        assert {bound: verdicts.count(bound) for bound in ("COMPUTE", "MEMORY", "BALANCED")} == {
            bound: counts[bound] for bound in ("COMPUTE", "MEMORY", "BALANCED")
        }
        copies = [row[1] for row in tables["verdicts"]["rows"] if row[0].startswith("Cat Batched Copy (64")]
        assert copies == ["COMPUTE"]

    def test_every_rule_stands_beside_it(self, summaries):
        rows = summaries["v2"][0]["rules-table"]["rows"]
        assert [row[:2] for row in rows[::2]] == [[rule, "kernels"] for rule in ("sol-gap", "ncu", "roofline", "auto")]
        assert all(sum(int(cell) for cell in row[2:]) == 20 for row in rows[::2])


@pytest.mark.shared
def test_the_dominant_gemm_from_real_reports(shared_data, tmp_path):
    reports = sorted((shared_data / "ncu-rep").glob("*gemm*full*.ncu-rep"))
    if not reports:
        pytest.skip("no full report of a GEMM")
    done = CliRunner().invoke(cli, ["study", "kv-decode", "--from", str(reports[0]), "-o", str(tmp_path)])
    if "no reader" in done.output:
        pytest.skip("no reader of ncu reports here")
    assert done.exit_code == 0, done.output
    tables = json.loads((tmp_path / "report" / "metrics_summary.json").read_text("utf-8"))["tables"]
    facts = dict(tables["gemm-table"]["rows"])
    assert facts["duration"] != "–"
    assert facts["decode steps of the run"] == "not recorded"
    assert "%" in facts["theoretical occupancy"]
    assert facts["warps wait for"] != "not collected"


@pytest.mark.shared
def test_a_device_that_only_the_option_states_is_in_the_header(shared_data, tmp_path):
    runs = shared_data / "seed-runs"
    args = ["study", "kernel-profile", "--from", str(runs / "dsocr-nsys" / "decode.csv"), "--from",
            str(runs / "dsocr-v2"), "--gpu", "rtx-5090", "-o", str(tmp_path)]  # fmt: skip
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, done.output
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "GeForce RTX 5090 (as --gpu says; the captures do not name it)" in text.split("## Overview")[0]
    assert "a device that is not recorded" not in text
    assert "No rule could judge these data" in text
    assert "Warm-up" not in text
    assert "in both arms" not in text


def stacks_database(path):
    with sqlite3.connect(path) as base:
        base.executescript("""
            CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE CUDA_CALLCHAINS (id INTEGER, symbol INTEGER, module INTEGER, unresolved INTEGER,
                originalIP INTEGER, stackDepth INTEGER);
            CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, end INTEGER, callchainId INTEGER);
            INSERT INTO StringIds VALUES (1, 'cudaLaunchKernel'), (2, 'libcudart.so'), (3, 'quantize'), (4, '/x/kv.py'),
                (5, 'step'), (6, 'forward');
            INSERT INTO CUDA_CALLCHAINS VALUES (1, 1, 2, 0, 0, 0), (1, 3, 4, 0, 0, 1), (1, 5, 4, 0, 0, 2),
                (2, 1, 2, 0, 0, 0), (2, 6, 4, 0, 0, 3), (3, 1, 2, 0, 0, 0);
            INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (0, 10, 1), (20, 25, 1), (30, 70, 2), (80, 90, 3),
                (95, 99, NULL);
        """)
    base.close()


def test_python_stacks_by_their_innermost_frame(tmp_path):
    stacks_database(tmp_path / "a.sqlite")
    assert python_frames(tmp_path / "a.sqlite") == [PythonFrame("forward", "kv.py", 1, 40),
                                                    PythonFrame("quantize", "kv.py", 2, 15)]  # fmt: skip
    with sqlite3.connect(tmp_path / "b.sqlite") as base:
        base.execute("CREATE TABLE StringIds (id INTEGER, value TEXT)")
    base.close()
    assert python_frames(tmp_path / "b.sqlite") == []


def test_a_file_that_is_no_database(tmp_path):
    from nsightkit.errors import IngestError

    (tmp_path / "c.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(IngestError, match="no SQLite export"):
        python_frames(tmp_path / "c.sqlite")
