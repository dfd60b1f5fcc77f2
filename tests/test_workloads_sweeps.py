"""Sweeps over batch and length, capacity, and the search and the fits behind them."""

import importlib
import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit import annotate
from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("workloads_on_path")]
TINY = ("--max-new-tokens", "3", "--layers", "2", "--heads", "4", "--kv-heads", "2", "--width", "32",
        "--vocabulary", "64", "--device", "cpu", "--bench-iters", "2")  # fmt: skip


def part(name):
    return importlib.import_module(f"models.{name}")


def run(name, tmp_path, *args):
    path = tmp_path / f"{name}.json"
    importlib.import_module(name).main([*TINY, *args, "--results", str(path)])
    data = json.loads(path.read_text(encoding="utf-8"))
    annotate.check_results(data)
    return data


class Allocator:
    """Stands in for a GPU: everything up to `room` fits, and what is tried is remembered."""

    def __init__(self, room):
        self.room, self.tried = room, []

    def __call__(self, number):
        self.tried.append(number)
        return None if number <= self.room else "out of memory"


class TestSearch:
    @given(st.integers(0, 5000), st.integers(1, 5000))
    def test_it_finds_the_border_in_few_tries(self, room, most):
        allocator = Allocator(room)
        found = part("search").largest_that_fits(allocator, most)
        assert found.largest == min(room, most)
        assert found.tried == tuple(allocator.tried)
        assert len(set(found.tried)) == len(found.tried) <= 2 * math.log2(most) + 3
        if room < most:
            assert (found.refused, found.reason) == (room + 1, "out of memory")
        else:
            assert (found.refused, found.reason) == (None, f"{most} is the most that was asked for")

    def test_what_is_tried(self):
        assert part("search").largest_that_fits(Allocator(11), 100).tried == (1, 2, 4, 8, 16, 12, 10, 11)

    def test_memory_that_ran_out_is_told_from_other_errors(self):
        search = part("search")

        def fail(error):
            raise error

        for error in (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError(),
                      RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                      RuntimeError("CUDA error: out of memory")):  # fmt: skip
            assert search.misfit_of(lambda error=error: fail(error)) == "out of memory"
        assert search.misfit_of(lambda: 5) is None
        with pytest.raises(RuntimeError, match="shapes"):
            search.misfit_of(lambda: fail(RuntimeError("shapes cannot be multiplied")))


class TestFits:
    @given(st.floats(-5, 5), st.floats(0.1, 3), st.floats(0.001, 0.1))
    def test_exact_points_give_the_coefficients_back(self, constant, linear, quadratic):
        fits, x = part("fits"), [16.0, 32.0, 64.0, 128.0, 256.0]
        line = fits.fitted(x, [constant + linear * n for n in x], 1)
        assert (line.constant, line.linear) == pytest.approx((constant, linear), abs=1e-6)
        parabola = fits.fitted(x, [constant + linear * n + quadratic * n * n for n in x], 2)
        assert (parabola.linear, parabola.quadratic) == pytest.approx((linear, quadratic), abs=1e-6)
        assert parabola.r_squared == pytest.approx(1)
        bent = fits.fitted(x, [constant + linear * n + quadratic * n * n for n in x], 1)
        assert fits.better(bent, parabola) == "quadratic"

    def test_a_parabola_is_not_believed_for_being_nearer(self):
        fits, x = part("fits"), [16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
        y = [n / 10 + wobble for n, wobble in zip(x, (0.3, -0.4, 0.5, -0.6, 0.5, -0.1), strict=True)]
        line, parabola = fits.fitted(x, y, 1), fits.fitted(x, y, 2)
        assert parabola.r_squared >= line.r_squared
        assert fits.better(line, parabola) == "linear"

    def test_left_out_error_by_hand(self):
        # A line through (1, 1), (2, 2) foretells 3 where 6 is; through (1, 1), (3, 6) 3.5 where 2 is; through (2, 2),
        # (3, 6) -2 where 1 is.
        fit = part("fits").fitted([1.0, 2.0, 3.0], [1.0, 2.0, 6.0], 1)
        assert fit.left_out == pytest.approx(math.sqrt((9 + 2.25 + 9) / 3) / 3)

    @pytest.mark.parametrize(("x", "degree"), [([1.0, 2.0], 1), ([1.0, 1.0, 2.0], 1), ([1.0, 2.0, 3.0], 2)])
    def test_too_few_points(self, x, degree):
        assert part("fits").fitted(x, [1.0] * len(x), degree) is None

    def test_a_flat_time(self):
        fit = part("fits").fitted([1.0, 2.0, 3.0, 4.0], [2.0] * 4, 1)
        assert (fit.constant, fit.linear) == pytest.approx((2, 0))


class TestBatchSweep:
    def test_rows_by_hand(self, tmp_path, capsys):
        data = run("batch_sweep", tmp_path, "--batches", "4,1", "--prompt-len", "5")
        assert [row["batch_size"] for row in data["rows"]] == [1, 4]
        for row in data["rows"]:
            batch = row["batch_size"]
            assert row["tokens_per_s_aggregate"] == pytest.approx(batch * row["tokens_per_s_per_sequence"])
            assert row["time_per_output_token_ms"] == pytest.approx(row["decode_total_ms"] / 3)
            assert row["step_p50_ms"] <= row["step_p95_ms"] <= row["step_p99_ms"]
            # Keys and values of 2 layers, 2 KV heads of 8, fp32, 8 positions.
            assert row["kv_cache_bytes"] == batch * 2 * 2 * 2 * 8 * 4 * 8
            assert row["joules_per_token"] is None
            assert row["power_w"] is None
            steps = sorted(sum(rep[f"batch_{batch}.decode_step_ns"]) for rep in data["repetitions"])
            assert row["decode_total_ms"] == pytest.approx(sum(steps) / 2 / 1e6)
        assert any("no utilization, clocks, power or energy: the work ran on a CPU" in note for note in data["notes"])
        assert data["metrics"]["largest_batch"] is None
        assert data["tokens_run"] == 2 * (1 + 2) * 3
        out = capsys.readouterr().out
        assert "GPU %" not in out
        assert "best batch" in out

    def test_the_best_is_the_smallest_near_the_highest(self):
        rows = [
            {"batch_size": b, "tokens_per_s_aggregate": t} for b, t in ((1, 50.0), (2, 96.0), (4, 100.0), (8, 94.9))
        ]
        assert importlib.import_module("batch_sweep").best_of(rows)["batch_size"] == 2

    def test_auto_is_bounded_by_predicted_memory_on_a_cpu(self, tmp_path):
        shape = ModelShape(layers=2, heads=4, kv_heads=2, width=32, vocabulary=64, tied_head=False, biases=True,
                           learned_positions=8)  # fmt: skip
        each = paper.kv_bytes(shape, paper.Work(dtype="float32"), 8) + 64 * 4
        allowed_gb = (shape.stored_weights * 4 + 5.5 * each) / 1e9
        args = ("--auto", "--prompt-len", "5", "--memory-limit-gb", str(allowed_gb), "--warmup-iters", "0")
        data = run("batch_sweep", tmp_path, *args)
        assert data["metrics"]["largest_batch"] == 5
        assert data["metrics"]["smallest_batch_refused"] == 6
        assert [row["batch_size"] for row in data["rows"]] == [1, 2, 4, 5]
        assert any("not by running out of memory" in note for note in data["notes"])
        assert any("weights and cache are above the limit" in note for note in data["notes"])

    def test_auto_is_bounded_by_time_on_a_cpu(self, tmp_path, monkeypatch):
        script = importlib.import_module("batch_sweep")
        seconds = iter(range(0, 10**6, 7))
        monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
        data = run("batch_sweep", tmp_path, "--auto", "--prompt-len", "5", "--time-limit", "60")
        # Each look at the clock is 7 s later: after three decodes nothing more is tried.
        assert data["metrics"]["largest_batch"] == 4
        assert any("the time limit of 60 s" in note for note in data["notes"])

    def test_a_gpu_is_searched_until_memory_runs_out(self, tmp_path, monkeypatch, capsys):
        script = importlib.import_module("batch_sweep")
        monkeypatch.setattr(script.Limits, "_refused", lambda self, batch: None)
        real = script.decode_once

        def decode_once(model, work, seed, laps):
            if work.batch_size > 6:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(model, work, seed, laps)

        monkeypatch.setattr(script, "decode_once", decode_once)
        monkeypatch.setattr(part("decoding"), "decode_once", lambda model, work, seed, laps: (
            decode_once(model, work, seed, laps) if work.batch_size != 4 else _out()))  # fmt: skip
        data = run("batch_sweep", tmp_path, "--auto", "--prompt-len", "5")
        assert (data["metrics"]["largest_batch"], data["metrics"]["smallest_batch_refused"]) == (6, 7)
        # A batch that ran once may still run out when it is measured: it is kept as a row and passed over.
        assert [row["batch_size"] for row in data["rows"] if row["status"] == "out of memory"] == [4]
        assert "batch 4: out of memory" in capsys.readouterr().out

    def test_no_batch_at_all(self, monkeypatch, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("batch_sweep").main([*TINY, "--auto", "--memory-limit-gb", "1e-6"])
        assert caught.value.code == 1
        assert "no batch fits: 0.00 GB of weights and cache are above" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("args", "text"),
        [(["--batches", "1,0"], "at least 1"), (["--batches", "1,x"], "'x' is not a whole number"),
         (["--time-limit", "nan"], "'nan' is not a number above 0"), (["--time-limit", "inf"], "above 0"),
         (["--batch", "3"], "did you mean --batches?"), (["--kvheads", "3"], "did you mean --kv-heads?")],
    )  # fmt: skip
    def test_bad_options(self, args, text, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("batch_sweep").parse_arguments(args)
        assert caught.value.code == 2
        assert text in capsys.readouterr().err


def _out():
    raise torch.OutOfMemoryError("CUDA out of memory")


class TestSequenceSweep:
    def test_rows_and_fit(self, tmp_path):
        data = run("sequence_sweep", tmp_path, "--lengths", "32,4,8,16")
        assert [row["prompt_len"] for row in data["rows"]] == [4, 8, 16, 32]
        fits, metrics = part("fits"), data["metrics"]
        x = [length + 2.0 for length in (4, 8, 16, 32)]
        line = fits.fitted(x, [row["time_per_output_token_ms"] for row in data["rows"]], 1)
        assert metrics["step_linear_slope_ms"] == pytest.approx(line.linear)
        assert metrics["step_linear_r_squared"] == pytest.approx(line.r_squared)
        assert metrics["prefill_quadratic_curvature_ms"] is not None
        assert data["rows"][-1]["kv_cache_bytes"] == 2 * 2 * 2 * 8 * 4 * 35
        assert data["tokens_run"] == 4 * 3 * 3

    def test_the_cold_run_is_in_no_median(self, tmp_path, monkeypatch):
        decoding, calls = part("decoding"), []
        real = decoding.decode_once

        def decode_once(model, work, seed, laps):
            made = real(model, work, seed, laps)
            calls.append(work.prompt_len)
            # The first repetition of each length takes a hundred seconds more.
            if calls.count(work.prompt_len) == 1:
                laps._marks["decode_step"] = [(0, 10**11)] * 3
            return made

        monkeypatch.setattr(decoding, "decode_once", decode_once)
        data = run("sequence_sweep", tmp_path, "--lengths", "4,8")
        for row in data["rows"]:
            assert row["cold_decode_ms"] == pytest.approx(3e5)
            assert row["step_p99_ms"] < 1e4
        assert data["metrics"]["cold_over_warm_ratio"] > 10
        assert any("is cold and left out" in note for note in data["notes"])
        assert len(data["repetitions"]) == 2
        assert any("too few lengths" in note for note in data["notes"])
        assert data["metrics"]["step_quadratic_curvature_ms"] is None

    def test_a_length_that_does_not_fit_ends_the_sweep(self, tmp_path, monkeypatch):
        decoding = part("decoding")
        real = decoding.decode_once
        monkeypatch.setattr(decoding, "decode_once", lambda model, work, seed, laps: (
            real(model, work, seed, laps) if work.prompt_len < 16 else _out()))  # fmt: skip
        data = run("sequence_sweep", tmp_path, "--lengths", "4,8,16,32")
        assert [row["prompt_len"] for row in data["rows"]] == [4, 8]
        assert data["notes"][0] == "prompt 16: out of memory; longer ones were not tried"


class TestCapacity:
    def test_users_are_those_of_the_paper_model(self, tmp_path, capsys):
        args = ("--prompt-len", "5", "--memory-gb", "0.001", "--positions", "16")
        data = run("capacity", tmp_path, *args)
        sizes = {"layers": 2, "heads": 4, "kv_heads": 2, "width": 32, "vocabulary": 64, "tied_head": False,
                 "biases": True, "learned_positions": 16}  # fmt: skip
        wanted = {
            name: paper.capacity(ModelShape(**sizes, kv_layers=kept), paper.Work(dtype="float32", cache=kind), 16, 1e6)
            for name, kept, kind in (("v1", 2, paper.PLAIN), ("v2", 2, paper.INT8), ("v3", 1, paper.PLAIN),
                                       ("v4", 1, paper.INT8))
        }  # fmt: skip
        assert {row["variant"]: row["users_on_paper"] for row in data["rows"]} == wanted
        assert wanted["v1"] < wanted["v2"] < wanted["v4"]
        assert data["metrics"]["v1_users_found"] is None
        out = capsys.readouterr().out
        assert "no search: it needs a GPU; only the model speaks" in out
        # 2 · 2 layers · 2 heads · 8 values · 4 bytes.
        assert "a token takes 256 bytes in the plain cache, as the memory model says" in out

    def test_weights_on_paper_are_those_of_the_model(self):
        gpt, memory = part("gpt"), part("memory")
        for changes in ({}, {"kv_heads": 2}, {"bias": False, "rms_norm": True, "rotary_base": 10.0, "gated_mlp": True},
                        {"bias": False, "rms_norm": True, "rotary_base": 10.0, "gated_mlp": True, "experts": 4,
                         "active_experts": 2, "shared_experts": 1, "expert_width": 8, "dense_layers": 1}):  # fmt: skip
            shape = gpt.GptShape(**{"layers": 3, "heads": 4, "kv_heads": 4, "width": 32, "vocabulary": 50,
                                    "max_length": 24} | changes)  # fmt: skip
            with torch.device("meta"):
                count = sum(weight.numel() for weight in gpt.Gpt(shape).parameters())
            assert memory.on_paper(shape).stored_weights == count

    def test_a_large_model_is_not_made_for_its_arithmetic(self, tmp_path, capsys):
        path = tmp_path / "r.json"
        args = ["--layers", "32", "--heads", "32", "--width", "4096", "--device", "cpu", "--memory-gb", "80"]
        importlib.import_module("capacity").main([*args, "--results", str(path)])
        data = json.loads(path.read_text(encoding="utf-8"))
        assert (data["repetitions"], data["tokens_run"], data["peak_memory_bytes"]) == ([], 0, None)
        assert data["metrics"]["v1_users_on_paper"] > 100
        assert "one user was decoded for" not in capsys.readouterr().out

    def test_the_search_serves_users_until_memory_runs_out(self, tmp_path, monkeypatch, capsys):
        script = importlib.import_module("capacity")
        real = script.Decoder

        def decoder(model, variant, users):
            if users > {"v1": 5, "v2": 11}[variant.name]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(model, variant, users)

        monkeypatch.setattr(script, "Decoder", decoder)
        parse = script.parse_arguments

        def parsed(argv):
            options = parse(argv)
            options.search = True
            return options

        monkeypatch.setattr(script, "parse_arguments", parsed)
        args = ("--variants", "v1,v2,v2t", "--prompt-len", "4", "--memory-gb", "0.001")
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        data = run("capacity", tmp_path, *args)
        assert [row["users_found"] for row in data["rows"]] == [5, 11, None]
        row = data["rows"][0]
        assert row["found_over_paper_share"] == pytest.approx(5 / row["users_on_paper"])
        out = capsys.readouterr().out
        assert "v1: 5 users, 6 tries, ended by: out of memory" in out
        assert "v2t was not searched: its kernel needs" in out

    @pytest.mark.parametrize(
        ("args", "text"),
        [(["--variants", "v0"], "no variant with a cache 'v0'; there are v1"), (["--search", "true"], "needs a GPU"),
         (["--positions", "5"], "--positions 5 has no room for a prompt of 128"), (["--memory-gb", "-1"], "above 0")],
    )  # fmt: skip
    def test_bad_options(self, args, text, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("capacity").parse_arguments(["--device", "cpu", *args])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err

    def test_memory_of_this_machine(self, monkeypatch):
        free, what = part("memory").memory_of(torch.device("cpu"))
        assert what == "available memory of this machine"
        assert free > 1e8
