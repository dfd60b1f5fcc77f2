"""Results of benchmarks as sides: settings are paired, nothing is dropped, one measurement is never judged."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.compare.comparability import ALLOWED, DIFFERS, REFUSED, refusals
from nsightkit.analysis.compare.comparison import CompareOptions
from nsightkit.analysis.compare.noise import NoiseOptions
from nsightkit.analysis.compare.timing_comparison import TimedSide, compare_timings
from nsightkit.analysis.foreign_results import Results, Timing
from nsightkit.cli import cli
from nsightkit.cli.timings import timing_summary


def timing(**changes):
    plain = {
        "source": "a.json", "arm": "KV cache on", "cached": True, "gpu": "G", "dtype": "bfloat16", "model": None,
        "batch": 1, "prompt": 64, "new_tokens": 16, "scope": "decode", "decode_ms": 160.0,
    }  # fmt: skip
    return Timing(**plain | changes)


def compared(base, head, varies=(), per_token=False, tolerance=0.02):
    options = CompareOptions(NoiseOptions(tolerance=tolerance), per_token)
    return compare_timings(TimedSide("b", Results(tuple(base))), TimedSide("h", Results(tuple(head))), options, varies)


def statuses(comparison):
    return {check.name: check.status for check in comparison.checks}


OFF = {"arm": "KV cache off", "cached": False, "decode_ms": 800.0}


class TestSettings:
    def test_a_pair_of_files_is_described(self):
        comparison = compared([timing(**OFF)], [timing()])
        (row,) = comparison.rows
        assert (row.base_ns, row.head_ns, row.difference_ns) == (800e6, 160e6, -640e6)
        assert (row.estimate.ratio, row.verdict) == (0.2, None)
        assert statuses(comparison)["arm"] == ALLOWED
        assert refusals(comparison.checks) == []

    def test_each_setting_meets_its_like_and_the_rest_is_listed(self):
        base = [timing(**OFF, batch=b) for b in (1, 2, 16)]
        head = [timing(batch=b) for b in (2, 1, 4)]
        comparison = compared(base, head)
        shown = [(dict(row.setting)["batch"], len(row.base), len(row.head)) for row in comparison.rows]
        assert shown == [("1", 1, 1), ("2", 1, 1), ("4", 0, 1), ("16", 1, 0)]
        assert statuses(comparison)["settings"] == DIFFERS

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"batch": 8}, "batch"),
            ({"prompt": 128}, "prompt"),
            ({"new_tokens": 32}, "tokens"),
            ({"dtype": "float32"}, "dtype"),
            ({"gpu": "other"}, "gpu"),
            ({"scope": "both"}, "scope"),
        ],
    )
    def test_another_setting_is_refused_by_name(self, changes, name):
        comparison = compared([timing(**OFF)], [timing(**changes)])
        assert [check.name for check in comparison.checks if check.status == REFUSED] == [name]
        assert comparison.compared == ()
        assert len(comparison.rows) == 2

    @pytest.mark.parametrize(
        ("changes", "name"), [({"batch": 8}, "batch"), ({"prompt": 128}, "prompt"), ({"dtype": "float32"}, "dtype")]
    )
    def test_what_differs_on_purpose_is_allowed(self, changes, name):
        comparison = compared([timing()], [timing(**changes)], varies=(name,))
        assert refusals(comparison.checks) == []
        assert statuses(comparison)[name] == ALLOWED
        assert len(comparison.compared) == 1

    def test_other_token_counts_compare_per_token(self):
        (row,) = compared([timing()], [timing(new_tokens=32, decode_ms=320.0)], per_token=True).compared
        assert (row.base_ns, row.head_ns, row.estimate.ratio) == (10e6, 10e6, 1.0)

    def test_what_one_side_does_not_know_does_not_refuse(self):
        comparison = compared([timing(gpu=None)], [timing()])
        assert statuses(comparison)["gpu"] == "unknown"
        assert len(comparison.compared) == 1

    def test_sides_of_several_programs_pair_each_with_its_like(self):
        both = [timing(**OFF), timing()]
        assert [row.estimate.ratio for row in compared(both, both).compared] == [1.0, 1.0]

    def test_a_mean_over_two_batches_is_refused(self):
        reasons = refusals(compared([timing(), timing(batch=2)], [timing()], varies=("batch",)).checks)
        assert reasons == ["b: one setting holds several of batch (1, 2); name the files of one"]


class TestVerdicts:
    def test_five_runs_a_side_are_judged_and_four_are_not(self):
        base = [timing(source=f"{n}", decode_ms=100 + n / 10) for n in range(5)]
        head = [timing(source=f"{n}", decode_ms=120 + n / 10) for n in range(5)]
        assert [row.verdict for row in compared(base, head).rows] == ["slower"]
        assert [row.verdict for row in compared(head, base).rows] == ["faster"]
        assert [row.verdict for row in compared(base[:4], head[:4]).rows] == [None]

    def test_settings_that_were_judged_are_counted_apart_from_those_described(self):
        sides = [[timing(source=str(n), decode_ms=ms + n / 10) for n in range(5)] for ms in (100, 120)]
        assert timing_summary(compared(*sides)).endswith("Verdicts: 1 slower.")
        for side in sides:
            side.append(timing(source="9", prompt=999, decode_ms=100))
        assert timing_summary(compared(*sides)).endswith("Verdicts: 1 slower; 1 described, not judged.")

    def test_copies_are_no_measurements(self):
        copies = [timing(source=f"copy {n}") for n in range(5)]
        (row,) = compared(copies, copies).rows
        assert (len(row.base), row.verdict) == (1, None)

    @given(st.lists(st.floats(1, 1e4), min_size=1, max_size=6), st.lists(st.floats(1, 1e4), min_size=1, max_size=6))
    def test_a_against_b_mirrors_b_against_a(self, old, new):
        sides = [[timing(source=str(n), decode_ms=ms) for n, ms in enumerate(values)] for values in (old, new)]
        (there,), (back,) = compared(*sides).rows, compared(*reversed(sides)).rows
        assert there.difference_ns == -back.difference_ns
        assert there.estimate.ratio == pytest.approx(1 / back.estimate.ratio)
        mirrored = {"faster": "slower", "slower": "faster"}
        assert there.verdict == mirrored.get(back.verdict, back.verdict)


def benchmark(cached, batch=8, ms=100.0, name="G"):
    return {
        "meta": {"dtype": "bfloat16", "gpu_name": name},
        "params": {"batch_size": batch, "prompt_len": 64, "max_new_tokens": 10, "kv_cache": cached, "phase": "decode"},
        "metrics": {"decode_total_ms": ms, "decode_tok_s": 1e4 / ms, "peak_alloc_bytes": 1000},
    }


def run(*arguments):
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    made = []
    for cached, ms in ((False, 300.0), (True, 100.0)):
        path = tmp_path / f"kv-{cached}.json"
        path.write_text(json.dumps(benchmark(cached, ms=ms)), encoding="utf-8")
        made.append(path)
    return made


class TestCommand:
    def test_a_pair_of_files(self, files):
        result = run(*files)
        assert result.exit_code == 0, result.output
        assert (
            "kv-True.json takes 100 ms for 10 tokens, kv-False.json 300 ms: 0.333×, 3 times as fast." in result.stdout
        )
        assert "Described, not judged" in result.stdout
        assert "batch left out of tokens/s" in result.stdout
        assert "no kernels" in result.stderr

    def test_rows_for_machines_are_exact(self, files):
        (row,) = json.loads(run(*files, "--format", "json").stdout)
        assert (row["base_ns"], row["head_ns"], row["verdict"]) == (300e6, 100e6, None)
        assert row["base_sources"] == ["kv-False.json"]
        assert {check["name"]: check["status"] for check in row["checks"]}["batch"] == "same"
        assert any("single measurement" in flag for flag in row["flags"])

    def test_incomparable_results_end_with_3(self, files, tmp_path):
        other = tmp_path / "other.json"
        other.write_text(json.dumps(benchmark(True, batch=4)), encoding="utf-8")
        result = run(files[0], other)
        assert result.exit_code == 3
        assert "batch: base has 8, head 4" in result.stderr

    def test_results_against_kernels_end_with_3(self, files, tmp_path):
        result = run(files[0], tmp_path)
        assert result.exit_code == 0, "a folder of results is a side"
        (tmp_path / "empty").mkdir()
        assert run(files[0], tmp_path / "empty").exit_code == 3

    def test_hostile_names_do_not_reach_the_terminal(self, tmp_path):
        names = ("<script>alert(1)</script>", "a\x1b[31mb\nc|d*e")
        paths = []
        for at, name in enumerate(names):
            paths.append(tmp_path / f"{at}.json")
            paths[-1].write_text(json.dumps(benchmark(bool(at), name=name)), encoding="utf-8")
        result = run(*paths, "--varies", "gpu", "--format", "markdown")
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "<script>" not in result.stdout

    @pytest.mark.parametrize("damage", [{"decode_total_ms": float("nan")}, {"decode_total_ms": -1.0}])
    def test_a_timing_that_is_none_is_named(self, files, tmp_path, damage):
        broken = benchmark(True)
        broken["metrics"] |= damage
        path = tmp_path / "broken.json"
        path.write_text(json.dumps(broken), encoding="utf-8")
        result = run(files[0], path)
        assert result.exit_code == 1
        assert "broken.json" in result.stderr
        assert "is no timing" in result.stderr

    def test_no_range_in_results(self, files):
        assert "hold no NVTX range 'decode'" in run(*files, "--range", "decode").stderr


@pytest.mark.shared
def test_the_sixteen_pairs_of_a_published_benchmark(shared_data):
    folder = shared_data / "seed-runs" / "kv-decode"
    result = run(f"{folder}/*KVfalse_Pboth.json", f"{folder}/*KVtrue_Pboth.json", "--format", "json")
    rows = json.loads(result.stdout)
    speedups = {(row["batch"], row["prompt"]): row["speedup"] for row in rows}
    assert len(rows) == 16
    assert min(speedups, key=speedups.get) == ("1", "128")
    assert speedups["1", "128"] == pytest.approx(1.55, abs=0.005)
    assert max(speedups, key=speedups.get) == ("8", "2048")
    assert speedups["8", "2048"] == pytest.approx(6.245, abs=0.0005)
    assert {row["verdict"] for row in rows} == {None}


@pytest.mark.shared
def test_the_pair_of_a_published_report(shared_data):
    folder = shared_data / "seed-runs" / "kv-decode"
    result = run(*(folder / f"infer_T2048_B8_KV{cached}_Pdecode.json" for cached in ("false", "true")))
    assert "676 ms for 16 tokens" in result.stdout
    assert "2.18 s: 0.311×, 3.22 times as fast" in result.stdout
    assert "136 ms" in result.stdout
    assert "a single measurement" in result.stdout


class TestSweeps:
    """Two sweeps of a bundled workload, as `nsightkit sweep` leaves them."""

    @pytest.fixture
    def sweep(self, tmp_path):
        from nsightkit import parquet
        from nsightkit.tables import RESULTS

        settings = {
            "kv_cache": True, "shape": {"layers": 2, "heads": 2, "width": 8, "vocabulary": 16},
            "batch_size": 2, "prompt_len": 8, "max_new_tokens": 4,
            "dtype": "float32",
        }  # fmt: skip

        def write(name, ms, tool="none"):
            folder = tmp_path / name
            columns = {
                "workload": ["kv_decode"], "settings": [json.dumps(settings)], "status": ["done"], "message": [None],
                "metric": ["time_per_output_token_ms"], "value": [ms],
            }  # fmt: skip
            parquet.write_table(
                folder / "tables" / "results" / "only.parquet", RESULTS, columns, {"capture_id": "only"}
            )
            (folder / "sweep.json").write_text(json.dumps({"workload": "kv_decode", "tool": tool}), encoding="utf-8")
            return folder

        return write

    def test_the_results_table_is_a_side(self, sweep):
        (row,) = json.loads(run(sweep("a", 3.0), sweep("b", 4.5), "--format", "json").stdout)
        assert (row["base_step_ns"], row["head_step_ns"], row["ratio"]) == (3e6, 4.5e6, 1.5)
        assert (row["batch"], row["prompt"], row["dtype"], row["tokens"]) == ("2", "8", "float32", "4")

    def test_a_traced_sweep_is_no_timing(self, sweep):
        assert run(sweep("a", 3.0), sweep("b", 4.5, tool="torch")).exit_code == 3
