"""compare, gate and baseline from the command line, on run directories of builders and on real pairs."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from nsightkit.cli import cli
from nsightkit.cli.side_names import side_names
from tests.builders.nsys import Call, Capture, Kernel, Range, write_sqlite
from tests.builders.pairs import PROGRAM, Noise, Step, changed, counter_row, launches, write_run, write_side

STEPS = (Step("gemm_a", 80_000, family="GEMM"), Step("gelu_a", 9_000), Step("copy_a", 4_000))
QUIET = Noise(0.003, 0.02)


def nsightkit(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def rows_of(result):
    assert result.exit_code in (0, 1, 4), result.output
    return json.loads(result.stdout)


@pytest.fixture
def pair(tmp_path):
    base = write_run(tmp_path / "base", launches(STEPS, 3), tokens=4)
    head = write_run(tmp_path / "head", launches([*STEPS[1:], Step("debug_dump", 500)], 3), tokens=4)
    return base, head


@pytest.fixture
def sides(tmp_path):
    base = write_side(tmp_path / "main", PROGRAM, noise=QUIET, seed=1, tokens=20)
    head = write_side(
        tmp_path / "branch", changed(PROGRAM, "gemm_kernel_0", mean_ns=90_000.0), noise=QUIET, seed=2, tokens=20
    )
    return base, head


def test_rows_add_up_to_the_whole_of_both_sides(pair):
    rows = rows_of(nsightkit("compare", *pair, "--format", "json"))
    whole = next(row for row in rows if row["level"] == "run")
    assert (whole["base_total_ns"], whole["head_total_ns"]) == (279_000, 40_500)
    for level in ("family", "kernel"):
        for name in ("base_total_ns", "head_total_ns", "difference_ns"):
            assert sum(row[name] for row in rows if row["level"] == level) == whole[name]
    assert {tuple(row["head_kernels"]): row["how"] for row in rows if row["level"] == "kernel"}[
        ("debug_dump",)
    ] == "new"
    assert whole["verdict"] is None
    assert {check["name"]: check["status"] for check in whole["checks"]}["gpu"] == "same"


def test_a_single_pair_is_described_and_never_judged(pair):
    result = nsightkit("compare", *pair)
    assert result.exit_code == 0
    assert "Described, not judged (1 against 1 process runs" in result.stdout
    assert "head takes 40.5 µs of GPU time, base 279 µs: −238 µs (0.145×)" in result.stdout
    assert "only in base" in result.stdout


def test_a_run_against_itself(pair):
    rows = rows_of(nsightkit("compare", pair[0], pair[0], "--format", "json"))
    assert {row["difference_ns"] for row in rows} == {0}
    assert {row["diagnosis"] for row in rows} == {"no change"}


def test_five_runs_a_side_are_judged(sides):
    rows = rows_of(nsightkit("compare", *sides, "--format", "json"))
    verdicts = {tuple(row["base_kernels"]): row["verdict"] for row in rows if row["level"] == "kernel"}
    assert verdicts.pop(("gemm_kernel_0",)) == "slower"
    assert set(verdicts.values()) <= {"same", "inconclusive"}
    text = nsightkit("compare", *sides).stdout
    assert "Verdict: slower (" in text
    assert "5 against 5 process runs" in text


def test_sides_by_pattern_and_by_commas(sides):
    base, head = sides
    by_pattern = rows_of(nsightkit("compare", f"{base}/run-*", f"{head}/run-*", "--format", "json"))
    commas = [",".join(str(side / f"run-{n}") for n in range(5)) for side in sides]
    by_commas = rows_of(nsightkit("compare", *commas, "--format", "json"))
    assert by_pattern[0]["ratio"] == by_commas[0]["ratio"]
    assert by_commas[0]["base_runs"] == 5


def test_several_heads_are_each_compared_with_the_base(pair, tmp_path):
    third = write_run(tmp_path / "third", launches(STEPS, 6), tokens=4)
    rows = rows_of(nsightkit("compare", *pair, third, "--format", "json"))
    assert [(row["head_name"], row["ratio"]) for row in rows if row["level"] == "run"] == [
        ("head", pytest.approx(40_500 / 279_000)), ("third", 2.0)]  # fmt: skip


def test_csv_and_markdown(pair):
    parsed = list(csv.DictReader(io.StringIO(nsightkit("compare", *pair, "--format", "csv").stdout)))
    assert parsed[0]["level"] == "run"
    assert int(float(parsed[0]["base_total_ns"])) == 279_000
    text = nsightkit("compare", *pair, "--format", "markdown").stdout
    assert "| what | match |" in text
    assert "\n\n| what" in text


def test_hostile_names_break_no_table(tmp_path):
    name = "a<b>|c*`x`\n\x1b[31m<script>alert(1)</script>"
    base = write_run(tmp_path / "b", launches([Step(name)]))
    head = write_run(tmp_path / "h", launches([Step(name, 20_000), Step("k" * 10_000)]))
    for format_ in ("table", "markdown"):
        out = nsightkit("compare", base, head, "--format", format_).stdout
        assert "\x1b" not in out
    assert "<script>" not in out
    rows = rows_of(nsightkit("compare", base, head, "--format", "json"))
    assert [name] in [row["base_kernels"] for row in rows]


def test_the_limit_hides_no_time_and_no_new_kernel(tmp_path):
    steps = [Step(f"kernel_{letter * 3}", 1_000 * at) for at, letter in enumerate("abcdefgh", 1)]
    base = write_run(tmp_path / "b", launches(steps))
    head = write_run(
        tmp_path / "h", launches([*[replace(s, mean_ns=s.mean_ns * 2) for s in steps], Step("tiny_new", 1)])
    )
    out = nsightkit("compare", base, head, "--limit", "2").stdout
    assert "6 other kernels" in out
    assert "tiny_new" in out


REFUSED = {
    "gpu": ({"gpu_name": "NVIDIA A100"}, "gpu: base has NVIDIA H100, head NVIDIA A100"),
    "tokens": ({"tokens": 9}, "tokens: base made 4, head 9"),
    "graph mode": (
        {"notes": ("kernels inside CUDA graphs are hidden: 3 graph launches were traced as a whole",)},
        "graph mode: head hides the kernels inside CUDA graphs",
    ),
    "scope": ({"scope": "one range"}, "scope: base has nsys: whole capture, head nsys: one range"),
    "dtype": ({"workload_args": ("--dtype", "float32")}, "dtype: base has BF16, head FP32"),
    "batch": ({"workload_args": ("--batch-size=8", "--dtype", "bfloat16")}, "batch: base has 1, head 8"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_not_comparable_is_refused_by_name_with_exit_3(tmp_path, name):
    given, message = REFUSED[name]
    common = {"tokens": 4, "workload_args": ("--dtype", "bfloat16", "--batch-size", "1")}
    base = write_run(tmp_path / "base", launches(STEPS), **common)
    head = write_run(tmp_path / "head", launches(STEPS), **{**common, **given})
    for command in (("compare", base, head), ("gate", base, head, "--fail-on", "total_ns > +3%")):
        result = nsightkit(*command)
        assert result.exit_code == 3, result.output
        assert message in result.stderr
        assert "more: nsightkit explain not-comparable" in result.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 8}, "batch: base has 1, head 8"),
        ({"prompt_len": 512}, "prompt: base has 128, head 512"),
        ({"dtype": "bfloat16"}, "dtype: base has FP32, head BF16"),
    ],
)
def test_a_default_that_the_workload_states_is_known_though_no_argument_says_it(tmp_path, setting, message):
    plain = [replace(step, family="elementwise", kernel_name=f"k{at}") for at, step in enumerate(STEPS)]
    told = {"batch_size": 1, "prompt_len": 128, "dtype": "float32"}
    sides = [
        write_run(tmp_path / name, launches(plain), tokens=4, workload="kv_decode", settings={"workload": told | more})
        for name, more in (("base", {}), ("head", setting))
    ]
    result = nsightkit("compare", *sides)
    assert result.exit_code == 3
    assert message in result.stderr
    assert nsightkit("compare", sides[0], sides[0]).exit_code == 0


def test_no_arguments_differ_from_some(tmp_path):
    common = {"tokens": 4, "workload": "bench"}
    base = write_run(tmp_path / "base", launches(STEPS), **common)
    head = write_run(tmp_path / "head", launches(STEPS), **common, workload_args=("512",))
    checks = rows_of(nsightkit("compare", base, head, "--format", "json"))[0]["checks"]
    assert [(c["base"], c["head"], c["status"]) for c in checks if c["name"] == "arguments"] == [
        ("none", "512", "differs")
    ]


def test_the_way_out_works(tmp_path):
    base = write_run(tmp_path / "base", launches(STEPS, 4), tokens=4)
    head = write_run(tmp_path / "head", launches(STEPS, 8), tokens=8)
    rows = rows_of(nsightkit("compare", base, head, "--per-token", "--format", "json"))
    assert (rows[0]["ratio"], rows[0]["base_per_token_ns"]) == (1.0, 93_000)
    rows = rows_of(nsightkit("compare", base, head, "--varies", "tokens", "--format", "json"))
    assert rows[0]["ratio"] == 2.0


def test_an_empty_head_is_no_win(pair, tmp_path):
    empty = write_run(tmp_path / "empty", launches([]), tokens=4)
    result = nsightkit("compare", pair[0], empty)
    assert result.exit_code == 3
    assert "empty: no kernel launch; an empty capture is neither faster nor slower" in result.stderr


def test_one_run_counted_five_times_is_no_five_runs(pair, tmp_path):
    base, head = pair
    twice = nsightkit("compare", f"{base},{base}", head)
    assert twice.exit_code == 2
    assert "named twice" in twice.stderr
    copies = tmp_path / "copies"
    for number in range(5):
        write_run(copies / f"run-{number}", launches(STEPS, 3), tokens=4)
    rows = rows_of(nsightkit("compare", copies, head, "--format", "json"))
    assert (rows[0]["base_runs"], rows[0]["verdict"]) == (1, None)
    assert any("counted once" in check["message"] for check in rows[0]["checks"])


def test_runs_of_one_side_on_two_gpus_are_refused(pair, tmp_path):
    mixed = tmp_path / "mixed"
    write_run(mixed / "run-1", launches(STEPS), tokens=4)
    write_run(mixed / "run-2", launches(STEPS, 2), tokens=4, gpu_name="NVIDIA A100")
    result = nsightkit("compare", pair[0], mixed)
    assert result.exit_code == 3
    assert "its 2 runs differ in gpu" in result.stderr


def test_counters_explain_the_time(tmp_path):
    base = write_run(tmp_path / "b", launches(STEPS), [counter_row("gemm_a", fp32_flop=1e9, dram_bytes=1e6)])
    head_rows = launches(changed(STEPS, "gemm_a", mean_ns=100_000))
    head = write_run(tmp_path / "h", head_rows, [counter_row("gemm_a", fp32_flop=1e9, dram_bytes=1.4e6)])
    rows = rows_of(nsightkit("compare", base, head, "--format", "json"))
    gemm = next(row for row in rows if row["base_kernels"] == ["gemm_a"])
    assert gemm["diagnosis"] == "more time per launch (1.25×): same FLOP, 1.4× DRAM bytes"
    assert gemm["counters"]["dram_bytes"] == [1e6, 1.4e6]
    assert gemm["counters"]["flop_per_byte"] == [1000.0, pytest.approx(714.29, abs=0.01)]


def test_graph_mode_against_node_mode_from_an_export(tmp_path):
    kernels = (Kernel("gemm", 100, 200), Kernel("gemm", 300, 400))
    node = write_sqlite(tmp_path / "node.sqlite", Capture(kernels))
    graph = write_sqlite(tmp_path / "graph.sqlite", Capture(kernels[:1], graph_launches=4))
    result = nsightkit("compare", node, graph)
    assert result.exit_code == 3
    assert "graph mode: graph.sqlite hides the kernels inside CUDA graphs" in result.stderr


def test_a_range_limits_the_comparison_and_the_gate(tmp_path):
    def export(name, decode_ns):
        kernels = (
            Kernel("prefill", 1_000, 2_000, correlation=1),
            Kernel("step", 3_000, 3_000 + decode_ns, correlation=2),
        )
        calls = (Call("cudaLaunchKernel", 100, 110, correlation=1), Call("cudaLaunchKernel", 500, 510, correlation=2))
        return write_sqlite(tmp_path / name, Capture(kernels, calls, ranges=(Range(450, 600, "decode"),)))

    base, head = export("base.sqlite", 700), export("head.sqlite", 1_400)
    rows = rows_of(nsightkit("compare", base, head, "--range", "decode", "--format", "json"))
    assert (rows[0]["base_total_ns"], rows[0]["head_total_ns"], rows[0]["base_launches"]) == (700, 1_400, 1)
    rows = rows_of(nsightkit("compare", base, head, "--phase", "decode", "--format", "json"))
    assert [(row["level"], row["ratio"]) for row in rows[:2]] == [("run", pytest.approx(24 / 17)), ("phase", 2.0)]
    [row] = rows_of(nsightkit("gate", base, head, "--fail-on", "decode.total_ns > +2%", "--format", "json"))
    inside = ("--fail-on", "total_ns > +2%", "--in", "decode")
    [same] = rows_of(nsightkit("gate", base, head, *inside, "--format", "json"))
    assert same["condition"] == "range:decode.total_ns > +2%"
    assert same | {"condition": ""} == row | {"condition": ""}
    refused = nsightkit("gate", base, head, "--fail-on", "family:GEMM.total_ns > +2%", "--in", "decode")
    assert (refused.exit_code, "goes with conditions without a SCOPE" in refused.stderr) == (2, True)
    assert (row["subject"], row["change"], row["status"]) == ("range decode", 2.0, "inconclusive")
    at = ("--baselines", tmp_path / "b")
    nsightkit("baseline", "save", "main", base, "--range", "decode", *at)
    rows = rows_of(nsightkit("compare", "main", head, "--range", "decode", "--format", "json", *at))
    assert rows[0]["ratio"] == 2.0
    assert nsightkit("gate", "main", head, "--fail-on", "prefill.total_ns > +2%", *at).exit_code == 2


def test_gate_codes(sides):
    base, head = sides
    assert nsightkit("gate", base, head, "--fail-on", "total_ns > +3%").exit_code == 1
    assert nsightkit("gate", base, head, "--fail-on", "total_ns > +20%").exit_code == 0
    single = (base / "run-0", head / "run-0", "--fail-on", "total_ns > +3%")
    assert nsightkit("gate", *single).exit_code == 4
    assert nsightkit("gate", *single, "--inconclusive", "pass").exit_code == 0
    assert nsightkit("gate", *single, "--inconclusive", "fail").exit_code == 1
    for bad in ("nan", "total_ns > nan", "speed > +3%", "nowhere.total_ns > +3%"):
        result = nsightkit("gate", base, head, "--fail-on", bad)
        assert result.exit_code == 2, bad
    assert nsightkit("gate", base, head).exit_code == 2


def test_gate_and_other_token_counts(tmp_path):
    base = write_side(tmp_path / "main", PROGRAM, noise=QUIET, seed=1, repeats=20, tokens=20)
    head = write_side(tmp_path / "branch", PROGRAM, noise=QUIET, seed=2, repeats=40, tokens=40)
    totals, per_token = ("--fail-on", "total_ns > +5%"), ("--fail-on", "per_token_ns > +5%")
    assert nsightkit("gate", base, head, *per_token).exit_code == 0
    assert nsightkit("gate", base, head, *totals).exit_code == 3
    assert nsightkit("gate", base, head, *totals, *per_token).exit_code == 3
    assert nsightkit("gate", base, head, *totals, *per_token, "--per-token").exit_code == 0
    assert nsightkit("gate", base, head, "--fail-on", "launch_count > +0", "--per-token").exit_code == 0


def test_gate_rows(sides):
    rows = rows_of(nsightkit("gate", *sides, "--fail-on", "total_ns > +3%", "--fail-on", "kernel:gelu.total_ns > +9%",
                             "--format", "json"))  # fmt: skip
    assert [(row["condition"], row["status"]) for row in rows] == [
        ("total_ns > +3%", "regressed"), ("kernel:gelu.total_ns > +9%", "passed")]  # fmt: skip
    assert 1.03 < rows[0]["low"] < rows[0]["change"] < rows[0]["high"] < 1.12
    text = nsightkit("gate", *sides, "--fail-on", "total_ns > +3%", "--format", "markdown").stdout
    assert "| fail on | of | status |" in text
    assert "regressed" in text


def test_gate_begins_with_how_it_ended(sides, tmp_path):
    base, head = sides
    fails = ("--fail-on", "total_ns > +3%", "--fail-on", "kernel:gelu.total_ns > +9%")
    at = ("--baselines", tmp_path / "kept")

    def first(*arguments):
        return nsightkit("gate", *arguments, "--format", "markdown").stdout.splitlines()[0]

    assert first(base, head, *fails) == "### nsightkit gate: regressed (2 checks: 1 regressed; 1 passed)"
    single = (base / "run-0", head / "run-0", "--fail-on", "total_ns > +3%")
    assert first(*single) == "### nsightkit gate: inconclusive (1 check: 1 inconclusive)"
    settled = nsightkit("gate", *single, "--inconclusive", "pass")
    assert settled.stdout.startswith("nsightkit gate: passed (1 check: 1 inconclusive, settled by --inconclusive pass)")
    assert "inconclusive is no pass" not in settled.stderr
    nsightkit("baseline", "save", "main", base, *at)
    accepting = ("main", head, *fails, *at, "--accept", "why")
    assert first(*accepting) == "### nsightkit gate: passed (2 checks: 1 regressed, accepted now; 1 passed)"
    assert first("main", head, *fails, *at) == "### nsightkit gate: passed (2 checks: 1 accepted; 1 passed)"
    other = write_run(tmp_path / "other", launches(STEPS), gpu_name="NVIDIA A100", tokens=4)
    assert first(base, other, *fails) == "### nsightkit gate: not comparable"


def test_gate_says_not_comparable_in_its_rows_too(pair, tmp_path):
    other = write_run(tmp_path / "other", launches(STEPS), gpu_name="NVIDIA A100", tokens=4)
    result = nsightkit("gate", pair[0], other, "--fail-on", "total_ns > +3%", "--format", "json")
    assert result.exit_code == 3
    assert [row["status"] for row in json.loads(result.stdout)] == ["not comparable"]


def test_baselines(sides, tmp_path):
    base, head = sides
    at = ("--baselines", tmp_path / "baselines")
    assert nsightkit("baseline", "save", "main", base, *at).exit_code == 0
    assert nsightkit("baseline", "save", "main", base, *at).exit_code == 1
    [row] = rows_of(nsightkit("baseline", "list", "--format", "json", *at))
    assert (row["name"], row["run_count"], row["gpu_name"], row["tokens"]) == ("main", 5, "NVIDIA H100", 20)
    direct = rows_of(nsightkit("compare", base, head, "--format", "json"))
    stored = rows_of(nsightkit("compare", "main", head, "--format", "json", *at))
    assert [(r["name"], r["ratio"], r["verdict"]) for r in stored] == [
        (r["name"], r["ratio"], r["verdict"]) for r in direct
    ]
    assert nsightkit("baseline", "rm", "main", *at).exit_code == 0
    assert nsightkit("baseline", "rm", "main", *at).exit_code == 1


def test_a_regression_is_accepted_with_a_reason(sides, tmp_path):
    base, head = sides
    at = ("--baselines", tmp_path / "baselines")
    condition = ("--fail-on", "total_ns > +3%")
    assert nsightkit("gate", base, head, *condition, "--accept", "why", *at).exit_code == 2
    nsightkit("baseline", "save", "main", base, *at)
    assert nsightkit("gate", "main", head, *condition, *at).exit_code == 1
    assert nsightkit("gate", "main", head, *condition, "--accept", " ", *at).exit_code == 2
    assert nsightkit("gate", "main", head, *condition, "--accept", "exact softmax", *at).exit_code == 0
    again = nsightkit("gate", "main", head, *condition, "--format", "json", *at)
    assert (again.exit_code, rows_of(again)[0]["status"]) == (0, "accepted")
    [shown] = rows_of(nsightkit("baseline", "show", "main", "--format", "json", *at))
    assert [(a["condition"], a["reason"]) for a in shown["accepted"]] == [("total_ns > +3% [run]", "exact softmax")]


def test_an_empty_run_cannot_be_a_baseline(tmp_path):
    empty = write_run(tmp_path / "empty", launches([]))
    result = nsightkit("baseline", "save", "x", empty, "--baselines", tmp_path / "b")
    assert result.exit_code == 1
    assert "no kernel launch" in result.stderr


def test_a_name_that_is_nothing(tmp_path, pair):
    result = nsightkit("compare", pair[0], tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "no such file, folder, pattern or baseline" in result.stderr


@pytest.mark.shared
class TestRealPairs:
    def test_one_program_under_two_section_sets(self, shared_data):
        folder = shared_data / "ncu-rep"
        rows = rows_of(
            nsightkit(
                "compare", folder / "gh200-silu-391m.ncu-rep", folder / "gh200-silu-686m.ncu-rep", "--format", "json"
            )
        )
        assert [row["how"] for row in rows if row["level"] == "kernel"] == ["same", "same"]
        assert rows[0]["ratio"] == pytest.approx(0.999, abs=0.001)
        counters = next(check for check in rows[0]["checks"] if check["name"] == "counters")
        assert counters["status"] == "differs"
        assert "only in head: " in counters["message"]
        assert "only in base" not in counters["message"]

    def test_a_capture_without_times_is_refused(self, shared_data):
        folder = shared_data / "ncu-rep"
        result = nsightkit("compare", folder / "gh200-silu-391m.ncu-rep", folder / "gh200-silu-basic.ncu-rep")
        assert result.exit_code == 3
        assert "gh200-silu-basic.ncu-rep: no launch has a duration" in result.stderr

    def test_more_kernels_in_head_are_new(self, shared_data):
        folder = shared_data / "ncu-rep"
        rows = rows_of(
            nsightkit("compare", folder / "a10g-sgemm.ncu-rep", folder / "a10g-sgemm-12k.ncu-rep", "--format", "json")
        )
        kernels = {row["name"]: row for row in rows if row["level"] == "kernel"}
        assert kernels["one_blocktiling (FP32)"]["ratio"] == pytest.approx(1.0, abs=0.01)
        assert kernels["basic (FP32)"]["how"] == "new"
        assert sum(row["head_launches"] for row in kernels.values()) == 12

    def test_the_same_kernel_at_another_clock(self, shared_data):
        folder = shared_data / "ncu-rep"
        rows = rows_of(
            nsightkit(
                "compare",
                folder / "rtx3070-vectoradd.ncu-rep",
                folder / "rtx3070-vectoradd-2.ncu-rep",
                "--format",
                "json",
            )
        )
        assert rows[0]["difference_ns"] == 32
        clock = next(check for check in rows[0]["checks"] if check["name"] == "sm clock")
        assert (clock["base"], clock["head"], clock["status"]) == ("1.42 GHz", "1.34 GHz", "differs")

    def test_other_launches_of_the_same_kernels_are_not_the_same_work(self, shared_data):
        folder = shared_data / "seed-runs"
        rows = rows_of(nsightkit("compare", folder / "dsocr-v1", folder / "dsocr-v2", "--format", "json"))
        kernels = [row for row in rows if row["level"] == "kernel"]
        assert len(kernels) == 20
        assert sum(row["how"] == "same" for row in kernels) == 18
        assert sum("other launch geometry: not the same work" in row["flags"] for row in kernels) == 13
        assert sum(row["head_total_ns"] for row in kernels) == pytest.approx(rows[0]["head_total_ns"])

    def test_kernels_of_a_range_are_those_of_nvidia(self, shared_data):
        """launches and time as nvtx_kern_sum states them: 3677 and 85 launches."""
        export = shared_data / "nsys-sqlite" / "t4-power-iteration-nvtx.sqlite"
        answers = shared_data / "expected" / "nsys-stats" / "t4-power-iteration-nvtx" / "nvtx_kern_sum.csv"
        expected: dict[str, list[int]] = {}
        with answers.open() as file:
            for line in csv.DictReader(file):
                counts = expected.setdefault(line["NVTX Range"].removeprefix(":"), [0, 0])
                counts[0] += int(line["Kern Inst"])
                counts[1] += int(line["Total Time (ns)"])
        phases = ("Loop", "Step 190 to 200")
        options = [word for name in phases for word in ("--phase", name)]
        rows = rows_of(nsightkit("compare", export, export, *options, "--format", "json"))
        found = {row["name"]: [row["base_launches"], row["base_total_ns"]] for row in rows if row["level"] == "phase"}
        assert found == {f"range {name}": expected[name] for name in phases}

    def test_two_gpus_are_refused(self, shared_data):
        folder = shared_data / "nsys-sqlite"
        result = nsightkit("compare", folder / "gh200-jacobi.sqlite", folder / "a100-resnet50.sqlite")
        assert result.exit_code == 3
        assert "gpu: base has NVIDIA GH200 120GB, head NVIDIA A100 80GB PCIe" in result.stderr

    def test_a_capture_without_kernels_is_no_win(self, shared_data):
        folder = shared_data / "nsys-sqlite"
        result = nsightkit(
            "compare", folder / "gh200-jacobi.sqlite", folder / "a2000-no-kernel-table.sqlite", "--varies", "gpu"
        )
        assert result.exit_code == 3
        assert "no kernel launch" in result.stderr


def test_a_side_that_cannot_be_read_is_no_regression(tmp_path, pair):
    result = nsightkit("gate", pair[0], tmp_path / "nowhere", "--fail-on", "total_ns > +3%")
    assert result.exit_code == 3
    assert "no such file, folder, pattern or baseline" in result.stderr


def counted_side(tmp_path, name, grids, runs=1):
    rng = np.random.default_rng(len(name))
    for run in range(runs):
        rows = [
            counter_row(kernel, index, duration_ns=1_000.0 * (index + 1) * (1 + 0.002 * rng.normal()), grid_x=grid)
            for index, (kernel, grid) in enumerate(grids)
        ]
        write_run(tmp_path / name / f"run-{run}", None, rows)
    return tmp_path / name


class TestOtherLaunchesProfiled:
    """Which launches ncu profiled is a choice: sums of other launches are no change of the program."""

    OLD = (("gemm", 64), ("gelu", 8), ("norm", 4))
    NEW_ONES = (("gemm", 64), ("gelu", 16), ("extra", 1), ("more", 1))

    def test_the_headline_is_of_what_both_sides_profiled(self, tmp_path):
        sides = counted_side(tmp_path, "old", self.OLD), counted_side(tmp_path, "new", self.NEW_ONES)
        text = nsightkit("compare", *sides).stdout
        assert "1 kernel was profiled with the same launches on both sides: new takes 1.00 µs for them, old 1" in text
        assert "1 profiled with other launches" in text
        assert "2 only in head" in text
        assert "1 only in base" in text
        assert "are of other work" in text

    @pytest.mark.parametrize(
        ("condition", "code"),
        [("total_ns > +50%", 3), ("kernels:gelu.total_ns > +50%", 3), ("kernels:gemm.total_ns > +50%", 0)],
    )
    def test_the_gate_holds_only_equal_work(self, tmp_path, condition, code):
        sides = (counted_side(tmp_path, name, grids, 5) for name, grids in (("old", self.OLD), ("new", self.NEW_ONES)))
        result = nsightkit("gate", *sides, "--fail-on", condition)
        assert result.exit_code == code, result.output


class TestOperators:
    """A trace without a GPU is compared by the operators' own time on the CPU, and says so."""

    @pytest.fixture
    def traces(self, tmp_path):
        def write(name, own_ns, seed=0):
            from nsightkit import parquet
            from nsightkit.tables import CPU_OPERATORS, NVTX_RANGES

            rng = np.random.default_rng(seed)
            for run in range(5):
                folder = write_run(tmp_path / name / f"run-{run}", launches(()))
                names = ["aten::addmm", "aten::gelu"] * 4 + (["aten::cat"] if name == "head" else [])
                count = len(names)
                self_ns = [int(own_ns[n] * (1 + 0.002 * rng.normal())) for n in names]
                columns = {
                    "operator_name": names, "start_ns": [200_000 * at for at in range(count)], "duration_ns": self_ns,
                    "self_ns": self_ns, "process_id": [1] * count, "thread_id": [1] * count,
                }  # fmt: skip
                parquet.write_table(
                    folder / "tables" / "cpu_operators" / "nsys.parquet", CPU_OPERATORS, columns, {"capture_id": "nsys"}
                )
                ranges = {
                    "name": ["prefill"],
                    "kind": ["push_pop"],
                    "thread_id": [1],
                    "start_ns": [0],
                    "duration_ns": [390_000],
                    "process_id": [1],
                }
                parquet.write_table(
                    folder / "tables" / "nvtx_ranges" / "nsys.parquet", NVTX_RANGES, ranges, {"capture_id": "nsys"}
                )
            return tmp_path / name

        return (
            write("base", {"aten::addmm": 100_000, "aten::gelu": 10_000}),
            write("head", {"aten::addmm": 130_000, "aten::gelu": 10_000, "aten::cat": 500}, seed=1),
        )

    def test_they_are_judged_like_kernels(self, traces):
        rows = rows_of(nsightkit("compare", *traces, "--format", "json"))
        verdicts = {row["name"]: (row["how"], row["verdict"]) for row in rows}
        assert verdicts["addmm"] == ("same", "slower")
        assert verdicts["cat"] == ("new", None)
        assert verdicts["all operators"] == ("same", "slower")
        assert {row["level"] for row in rows} == {"run", "kernel"}, "families are those of kernels"

    def test_the_text_speaks_of_operators(self, traces):
        text = nsightkit("compare", *traces).stdout
        assert "of operators' own CPU time per run" in text
        assert "no kernel was traced" in text
        assert "more time per call (1.3×)" in text
        assert "launch" not in text.replace("graph mode", "")

    def test_within_a_range(self, traces):
        rows = rows_of(nsightkit("compare", *traces, "--range", "prefill", "--format", "json"))
        assert {row["name"]: row["base_launches"] for row in rows if row["level"] == "kernel"} == {
            "addmm": 1,
            "gelu": 1,
        }

    def test_they_are_never_held_against_kernels(self, traces, tmp_path):
        result = nsightkit("compare", traces[0], write_run(tmp_path / "gpu", launches(STEPS)))
        assert result.exit_code == 3
        assert "run both where the profiler sees the GPU" in result.stderr

    def test_the_page(self, traces, tmp_path):
        assert nsightkit("compare", *traces, "-o", tmp_path / "page").exit_code == 0
        text = (tmp_path / "page" / "compare.md").read_text(encoding="utf-8")
        assert "Operators of both sides" in text
        assert "Operators on the CPU have no counters" in text

    def test_a_baseline_of_them(self, traces, tmp_path):
        assert nsightkit("baseline", "save", "main", traces[0], "--baselines", tmp_path / "kept").exit_code == 0
        result = nsightkit("gate", "main", traces[1], "--fail-on", "total_ns > +3%", "--baselines", tmp_path / "kept")
        assert result.exit_code == 1, result.output


def test_a_range_holds_what_its_own_thread_launched_as_it_does_in_top(tmp_path):
    # Two threads launch at the same time; only one of them is in the range.
    kernels = (Kernel("mine", 1_000, 2_000, correlation=1), Kernel("other", 1_000, 6_000, correlation=2))
    calls = (
        Call("cudaLaunchKernel", 500, 510, correlation=1, thread=1),
        Call("cudaLaunchKernel", 505, 515, correlation=2, thread=2),
    )
    ranges = (Range(450, 600, "decode", thread=1), Range(400, 700, "loader", thread=2))
    path = write_sqlite(tmp_path / "threads.sqlite", Capture(kernels, calls, ranges=ranges))
    top = json.loads(nsightkit("top", path, "--in", "decode", "--format", "json").stdout)
    rows = rows_of(nsightkit("compare", path, path, "--in", "decode", "--format", "json"))
    assert [row["total_ns"] for row in top] == [1_000]
    assert (rows[0]["base_total_ns"], rows[0]["base_launches"]) == (1_000, 1)


def test_sides_of_one_name_are_told_apart(tmp_path):
    for folder, ns in (("main", 80_000), ("branch", 90_000)):
        write_run(tmp_path / folder / "report", launches([Step("gemm_a", ns)], 3))
    paths = (tmp_path / "main" / "report", tmp_path / "branch" / "report")
    result = nsightkit("compare", *paths, "-o", tmp_path / "page")
    assert "branch/report takes 270 µs of GPU time, main/report 240 µs" in result.stdout
    page = (tmp_path / "page" / "compare.md").read_text("utf-8")
    assert page.startswith("# main/report against branch/report\n\nNVIDIA H100\n")
    # Who gets the page by mail does not have the captures: it names the GPU and the tool, and claims no date of theirs.
    assert "gpu NVIDIA H100; " in page
    assert "tool nsys 2025.1" in page
    assert "run of" not in page
    held = nsightkit("gate", *paths, "--fail-on", "total_ns > +3%")
    assert held.exit_code == 4
    assert "branch/report takes" in held.stdout


def test_names_of_sides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert side_names(["a/x.sqlite", "b/x.sqlite"]) == ["a/x.sqlite", "b/x.sqlite"]
    assert side_names(["a/x.sqlite", "b/y.sqlite"]) == ["x.sqlite", "y.sqlite"]
    assert side_names(["a/x", "a/x"]) == ["x", "x"]
    assert side_names(["a/r1,a/r2", "b/r1,b/r2"]) == ["a/r1 and 1 more", "b/r1 and 1 more"]
    assert side_names(["runs/main-*", "runs/head-*"]) == ["main-*", "head-*"]
    assert side_names([".", "other"]) == [tmp_path.name, "other"]


def test_changes_that_cancel_out_are_not_told_as_no_change(tmp_path):
    for name, times in (("base", (80_000, 100_000)), ("head", (120_000, 60_000))):
        write_run(tmp_path / name, launches([Step(f"k{at}_a", ns, family="") for at, ns in enumerate(times)], 10))
    said = nsightkit("compare", tmp_path / "base", tmp_path / "head").stdout
    assert "no change beyond 3 % in sum, of kernels that changed both ways: +400 µs and −400 µs." in said
