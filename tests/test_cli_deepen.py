"""A timeline chooses, ncu measures, the two are joined: with stand-ins that serve one scripted program run."""

import importlib.machinery
import json
import sys
import types
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fake_tools.install import calls, install
from fake_tools.script import read_report
from nsightkit.cli import cli
from nsightkit.run import Run, RunInfo

GEMM = "void ns::gemm<(int)128, (bool)1>(ns::Params)"
GEMM_NCU = "void gemm<128, 1>(Params)"
GEMV = "void gemv<float>(int, float const*)"
COPY = "void elementwise<Copy>(int)"
STEPS = 6


def launch(name, grid, duration_ns, **others):
    item = {"name": name, "grid": [grid, 1, 1], "block": [128, 1, 1], "shared": 4096, "duration_ns": duration_ns}
    item["ncu_ns"] = others.pop("ncu_ns", 1.1 * duration_ns)
    return ["launch", item | others]


def step(number):
    """Two products that differ only in K (one shape, two durations), a product by a vector, a copy nobody needs."""
    body = []
    for _layer in range(3):
        body += [["push", "layer"],
                 launch(GEMM, 32, 5_000, ncu_name=GEMM_NCU, flop=1e6),
                 launch(GEMV, 64, 30_000 + 10 * number, flop=3e6, ncu_ns=45_000),
                 launch(GEMM, 32, 50_000, ncu_name=GEMM_NCU, flop=1e7),
                 launch(COPY, 8, 500), ["pop"]]  # fmt: skip
    return [["push", "decode_step"], *body, ["pop"]]


def program():
    """A prompt that runs the same kernels: the product at another grid, the product by a vector at the same grid."""
    prompt = [["push", "prefill"], launch(GEMM, 512, 900_000, ncu_name=GEMM_NCU, flop=9e9),
              launch(GEMV, 64, 700_000, flop=8e9), ["pop"]]  # fmt: skip
    decode = [event for number in range(1, STEPS + 1) for event in step(number)]
    return [*prompt, ["push", "decode"], *decode, ["pop"]]


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "work.py").write_text("print('ran')\n", encoding="utf-8")
    bin_dir = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    stub = types.ModuleType("ncu_report")
    stub.__spec__ = importlib.machinery.ModuleSpec("ncu_report", None)
    stub.load_report = read_report
    monkeypatch.setitem(sys.modules, "ncu_report", stub)
    return folder


def tools(here, seen=None, measured=None):
    """Install stand-ins for one program; what ncu sees may be another than what nsys saw."""
    records = {}
    for tool, version, events in (("nsys", "2026.1.1.204", seen), ("ncu", "2026.1.0.0", measured or seen)):
        path = here.parent / f"{tool}.script.json"
        path.write_text(json.dumps(events if events is not None else program()), encoding="utf-8")
        records[tool] = install(here.parent / "bin", tool, version, f"script:{path}")
    return records


def run(*args):
    return CliRunner().invoke(cli, list(args))


def two_phase(*args):
    return run("profile", "work.py", "--tool", "nsys+ncu", "-o", "r", "--no-render", *args)


def targets(here):
    (path,) = Run(here / "r").table_paths("counter_targets")
    return pq.read_table(path).to_pylist()


def counters(here):
    (path,) = Run(here / "r").table_paths("kernel_counters")
    return {row["launch_index"]: row for row in pq.read_table(path).to_pylist()}


class TestTwoPhases:
    def test_each_target_is_joined_with_launches_of_its_own_kind(self, here):
        tools(here)
        done = two_phase("--range", "decode")
        assert done.exit_code == 0, done.output
        rows, measured = targets(here), counters(here)
        truth = {(GEMM, 50_000): 1e7, (GEMV, 30_000): 3e6, (GEMM, 5_000): 1e6}
        found = {(row["kernel_name"], round(row["mean_ns"], -3)): row for row in rows}
        assert found.keys() <= truth.keys()
        assert (GEMM, 50_000) in found
        for key, row in found.items():
            assert row["match"] == "exact"
            indices = json.loads(row["launch_indices"])
            # Three layers, an early and a late step.
            assert len(indices) == 6
            assert {measured[i]["fp32_flop"] for i in indices} == {truth[key]}
            assert all(measured[i]["nvtx_path"] == "decode/decode_step/layer" for i in indices)

    def test_weights_are_those_of_the_timeline_and_of_the_range_alone(self, here):
        tools(here)
        two_phase("--coverage", "99.9%")
        rows = targets(here)
        total = STEPS * 3 * (5_000 + 30_000 + 50_000 + 500) + 3 * 10 * sum(range(1, STEPS + 1))
        assert [row["launch_count"] for row in rows] == [3 * STEPS] * 4
        assert rows[0]["total_ns"] == 3 * STEPS * 50_000
        assert rows[0]["range_share"] == pytest.approx(3 * STEPS * 50_000 / total)
        assert rows[-1]["covered_share"] == pytest.approx(1.0)
        assert {row["nvtx_range"] for row in rows} == {"decode"}

    def test_ratio_of_durations_is_shown_and_flagged_above_1_2(self, here):
        tools(here)
        two_phase("--range", "decode")
        by_name = {(row["kernel_name"], row["mode"]): row for row in targets(here)}
        assert by_name[GEMM, 1]["duration_ratio"] == pytest.approx(1.1)
        assert json.loads(by_name[GEMM, 1]["flags"]) == []
        assert by_name[GEMV, 0]["duration_ratio"] == pytest.approx(45_000 / (30_000 + 10 * (2 + STEPS) / 2))
        assert "times as long under ncu" in json.loads(by_name[GEMV, 0]["flags"])[0]

    def test_command_line_of_ncu(self, here):
        records = tools(here)
        two_phase("--range", "decode", "--coverage", "50%")
        (argv,) = [words for words in calls(records["ncu"]) if "--export" in words]
        options = dict(pairwise(argv))
        assert options["--nvtx-include"] == "decode_step/"
        assert options["--range-filter"] == f"no::2|{STEPS}"
        assert options["--kernel-name-base"] == "demangled"
        assert options["--kernel-name"] == r"regex:\bgemm\b"
        assert options["--config-file"] == "off"
        assert options["--target-processes"] == "all"
        assert "--nvtx" in argv
        assert options["--clock-control"] == "base"
        assert options["--cache-control"] == "all"
        assert len([words for words in calls(records["nsys"]) if "--output" in words]) == 1

    def test_ends_in_a_report(self, here):
        tools(here)
        done = run("profile", "work.py", "--tool", "nsys+ncu", "-o", "r", "--range", "decode")
        assert done.exit_code == 0, done.output
        text = (here / "r" / "report" / "report.md").read_text(encoding="utf-8")
        # Share, covered, launches, match, both means, and the ratio: in every row.
        assert "| gemv (FP32) | 35.1 % | 93.6 % | 18 | exact | 30.0 µs | 45.0 µs | 1.50 |" in text
        assert "joined launches stand for 93.6 % of it" in text
        page = (here / "r" / "report" / "report.html").read_text(encoding="utf-8")
        assert "1.50 times as long under ncu: locked clocks, emptied caches" in page
        assert run("render", "r", "--format", "json").exit_code == 0
        data = json.loads((here / "r" / "report" / "report.json").read_text(encoding="utf-8"))
        assert [row["match"] for row in data["targets"]] == ["exact", "exact"]

    def test_a_target_without_a_join_is_shown_as_such(self, here):
        moved = [e if e[0] != "launch" else ["launch", e[1] | {"grid": [7, 1, 1]}] for e in program()]
        tools(here, program(), moved)
        assert run("profile", "work.py", "--tool", "nsys+ncu", "-o", "r", "--range", "decode").exit_code == 0
        text = (here / "r" / "report" / "report.md").read_text(encoding="utf-8")
        assert "| 35.1 % | 93.6 % | 18 | none | 30.0 µs | – | – |" in text
        assert "Capture quality: unusable (no profiled launch could be joined to the range decode" in text

    def test_run_knows_both_captures_and_what_they_were_told(self, here):
        tools(here)
        two_phase("--range", "decode", "--cache-control", "none")
        info = Run(here / "r").read_info()
        nsys, ncu = info.captures
        assert (nsys.backend, ncu.backend) == ("nsys", "ncu")
        assert ncu.settings["cache_control"] == "none"
        assert ncu.settings["clock_control"] == "base"
        assert ncu.settings["range"] == "decode"
        assert ncu.settings["steps"] == [2, STEPS]
        assert ncu.scope.startswith("chosen launches of the range decode, decode_step 2, 6 of 6")
        assert ncu.quality["verdict"] in ("good", "usable")
        assert nsys.argv[-1] == "work.py"
        assert ncu.argv[-1] == "work.py"


class TestWrongPhase:
    """the DeepSeek-OCR kernel study profiled launches of all stages and reported them as decode."""

    def test_a_launch_outside_the_range_is_never_joined(self, here):
        # ncu's filter lets everything of the prompt through: the ranges there have the name of the step.
        wrong = [["push", "prefill"], *step(1), *step(2), ["pop"], *[["push", "prefill"], *step(3), ["pop"]]]
        tools(here, program(), [*wrong, *[e for n in range(STEPS) for e in [["push", "other"], *step(n), ["pop"]]]])
        done = two_phase("--range", "decode")
        assert done.exit_code == 0, done.output
        assert {row["match"] for row in targets(here)} == {"none"}
        assert all(json.loads(row["launch_indices"]) == [] for row in targets(here))
        (_, ncu) = Run(here / "r").read_info().captures
        assert ncu.quality["verdict"] == "unusable"
        assert "no profiled launch could be joined to the range decode" in ncu.quality["reasons"][0]
        assert any("profiled outside the range and are not joined" in text for text in ncu.notes)

    def test_other_geometry_is_not_joined(self, here):
        moved = [e if e[0] != "launch" else ["launch", e[1] | {"grid": [7, 1, 1]}] for e in program()]
        tools(here, program(), moved)
        two_phase("--range", "decode")
        assert {row["match"] for row in targets(here)} == {"none"}

    def test_products_that_differ_in_k_are_not_mixed_where_their_order_is_lost(self, here):
        tools(here, program(), _without(program(), 5))
        two_phase("--range", "decode", "--coverage", "99%")
        by_key = {(row["kernel_name"], row["mode"]): row for row in targets(here)}
        # One shape, two durations: without places nobody knows which is which.
        assert by_key[GEMM, 0]["match"] == by_key[GEMM, 1]["match"] == "ambiguous"
        assert json.loads(by_key[GEMM, 1]["launch_indices"]) == []
        # One shape, one duration: the shape is enough.
        assert by_key[GEMV, 0]["match"] == "shape"


def _without(script, every):
    """`script` without every so-maniest launch, its ranges as they were."""
    launches = [number for number, e in enumerate(script) if e[0] == "launch"]
    gone = set(launches[::every])
    return [e for number, e in enumerate(script) if number not in gone]


class TestDeepen:
    @pytest.fixture
    def timeline(self, here):
        tools(here)
        done = run("profile", "work.py", "--tool", "nsys", "-o", "r", "--no-render")
        assert done.exit_code == 0, done.output
        return here

    def test_adds_counters_to_a_run_with_a_timeline(self, timeline):
        done = run("deepen", "r", "--no-render")
        assert done.exit_code == 0, done.output
        assert "the range is decode; --range names another" in done.stderr
        assert "launches in about 8 passes each" in done.stderr
        assert "two executions" in done.stdout
        assert [capture.backend for capture in Run(timeline / "r").read_info().captures] == ["nsys", "ncu"]

    def test_twice_replaces_the_counters(self, timeline):
        run("deepen", "r", "--no-render")
        first = targets(timeline)
        done = run("deepen", "r", "--no-render", "--coverage", "40%")
        assert done.exit_code == 0, done.output
        assert len(targets(timeline)) < len(first)
        assert len(Run(timeline / "r").read_info().captures) == 2

    def test_dry_run_prints_the_line_and_measures_nothing(self, timeline):
        done = run("deepen", "r", "--dry-run")
        assert done.exit_code == 0, done.output
        assert "--nvtx-include decode_step/" in done.stdout
        assert len(Run(timeline / "r").read_info().captures) == 1

    def test_unknown_range_lists_those_that_are_there(self, timeline):
        done = run("deepen", "r", "--range", "decoed")
        assert done.exit_code == 1
        assert "'decoed' was never seen; ranges of this timeline: decode, decode_step, layer, prefill" in done.stderr

    def test_budget_smaller_than_one_run(self, timeline):
        done = run("deepen", "r", "--budget", "0.001s")
        assert done.exit_code == 1
        assert "raise --budget" in done.stderr

    def test_budget_makes_the_choice_smaller(self, timeline):
        wall = Run(timeline / "r").read_info().captures[0].overhead["untraced_s"]
        done = run("deepen", "r", "--no-render", "--budget", f"{wall + 1.0:.2f}")
        assert done.exit_code == 0, done.output
        assert "is less than the 90% asked for" in done.stderr or len(targets(timeline)) < 2

    def test_of_several_timelines_the_first_chooses(self, here):
        tools(here)
        done = run("profile", "work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead", "--repeat", "2")
        assert done.exit_code == 0, done.output
        done = run("deepen", "r", "--no-render")
        assert done.exit_code == 0, done.output
        first, second, measured = Run(here / "r").read_info().captures
        assert (first.backend, second.backend, measured.backend) == ("nsys", "nsys", "ncu")
        assert measured.settings["timeline"] == first.capture_id
        # Those of the second are not counted too.
        assert {row["launch_count"] for row in targets(here)} == {3 * STEPS}

    def test_run_without_timeline(self, here):
        tools(here)
        (here / "empty").mkdir()
        Run(here / "empty").write_info(RunInfo(name="empty"))
        done = run("deepen", "empty")
        assert done.exit_code == 1
        assert "no nsys capture with kernels in this run" in done.stderr


@pytest.mark.parametrize(
    ("behavior", "said"),
    [
        ("no-permission", "ERR_NVGPUCTRPERM"),
        ("busy", "another program holds the GPU's counters"),
        ("unsupported", "this ncu does not know the GPU"),
        ("npm", "is not NVIDIA Nsight Compute"),
    ],
)
def test_an_ncu_that_cannot_measure_leaves_the_timeline_and_says_how_to_go_on(here, behavior, said):
    tools(here)
    install(here.parent / "bin", "ncu", "2026.1.0.0", behavior)
    done = two_phase()
    assert done.exit_code == 0, done.output
    assert said in done.stderr
    assert "go on later with  nsightkit deepen r" in done.stderr
    assert len(Run(here / "r").read_info().captures) == 1


def test_a_failure_under_ncu_names_the_timeline_that_stands(here):
    tools(here)
    install(here.parent / "bin", "ncu", "2026.1.0.0", "no-kernels")
    done = two_phase()
    assert done.exit_code == 1
    assert "ncu profiled no kernel" in done.stderr
    assert "its report:  nsightkit render r" in done.stderr
    assert run("render", "r").exit_code == 0


def test_ranges_are_not_replayed_where_launches_are_chosen(here):
    tools(here)
    assert run("profile", "work.py", "--tool", "nsys", "-o", "r", "--no-render").exit_code == 0
    done = run("deepen", "r", "--replay-mode", "range")
    assert done.exit_code == 2
    assert "--replay-mode range does not go with nsys+ncu" in done.stderr
