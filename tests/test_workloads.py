"""The bundled workload: both arms compute the same, the clock and the ranges hold what they say."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from nsightkit import annotate
from nsightkit.resources import resource_dir

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("workloads_on_path")]
TINY = ("--prompt-len", "5", "--max-new-tokens", "3", "--layers", "2", "--heads", "4", "--width", "32",
        "--vocabulary", "64", "--device", "cpu")  # fmt: skip


@pytest.fixture(scope="module")
def gpt():
    return importlib.import_module("models.gpt")


@pytest.fixture(scope="module")
def kv_decode():
    return importlib.import_module("kv_decode")


def shape_of(gpt, **changes):
    return gpt.GptShape(
        **{"layers": 3, "heads": 4, "kv_heads": 4, "width": 32, "vocabulary": 50, "max_length": 24} | changes
    )


class TestModel:
    @pytest.mark.parametrize("kv_heads", [1, 2, 4])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
    def test_cached_logits_equal_uncached(self, gpt, kv_heads, dtype, tolerance):
        shape = shape_of(gpt, kv_heads=kv_heads)
        model = gpt.build_gpt(shape, 1, torch.device("cpu"), dtype)
        ids = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            cache = gpt.KVCache(shape, 2, model.head.weight)
            cached = [model(ids[:, :9], cache)] + [model(ids[:, i : i + 1], cache) for i in range(9, 24)]
            for end, logits in zip(range(9, 25), cached, strict=True):
                whole = model(ids[:, :end])
                assert (logits - whole).abs().max() <= tolerance * whole.abs().max()
                assert torch.equal(logits.argmax(-1), whole.argmax(-1))

    def test_logits_depend_on_every_earlier_token(self, gpt):
        model = gpt.build_gpt(shape_of(gpt), 1, torch.device("cpu"), torch.float64)
        ids = torch.arange(10).view(1, 10)
        with torch.inference_mode():
            base = model(ids)
            for place in range(10):
                changed = ids.clone()
                changed[0, place] = 49
                assert not torch.allclose(model(changed), base, rtol=0, atol=1e-12)

    def test_weights_follow_the_seed_and_the_dtype(self, gpt):
        def weights(seed, dtype):
            return gpt.build_gpt(shape_of(gpt), seed, torch.device("cpu"), dtype).state_dict()

        one, again, other, half = (weights(*x) for x in ((1, torch.float32), (1, torch.float32), (2, torch.float32),
                                                         (1, torch.bfloat16)))  # fmt: skip
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert not torch.equal(one["head.weight"], other["head.weight"])
        assert all(torch.equal(one[name].to(torch.bfloat16), half[name]) for name in one)
        assert float(one["head.weight"].std()) == pytest.approx(0.02, rel=0.1)
        assert torch.equal(one["norm.weight"], torch.ones(32))

    def test_context_limit(self, gpt):
        shape = shape_of(gpt, max_length=4)
        model = gpt.build_gpt(shape, 1, torch.device("cpu"), torch.float32)
        ids = torch.zeros((1, 4), dtype=torch.long)
        with torch.inference_mode():
            cache = gpt.KVCache(shape, 1, model.head.weight)
            model(ids, cache)
            with pytest.raises(ValueError, match="5 positions are more than the model's 4"):
                model(ids[:, :1], cache)
            short = gpt.KVCache(shape, 1, model.head.weight)
            model(ids[:, :1], short)
            with pytest.raises(ValueError, match="one token at a time"):
                model(ids[:, :2], short)

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"width": 33}, "width 33 is not a multiple of 4 heads"),
            ({"kv_heads": 3}, "4 heads are not a multiple of 3 KV heads"),
            ({"layers": 0}, "at least 1"),
        ],
    )
    def test_impossible_sizes(self, gpt, changes, text):
        with pytest.raises(ValueError, match=text):
            shape_of(gpt, **changes)


class TestDecode:
    def run(self, kv_decode, *args):
        options = kv_decode.parse_arguments([*TINY, *args])
        model = kv_decode.model_of(options)
        with torch.inference_mode():
            prompt = kv_decode.make_prompt(options, model)
        laps = annotate.Laps("cpu")
        ids = kv_decode.Decode(model, prompt, options).run(laps)
        return options, laps.samples_ns(), ids

    def test_both_arms_choose_the_same_tokens(self, kv_decode):
        options, _, cached = self.run(kv_decode, "--dtype", "fp32", "--batch-size", "2")
        _, _, uncached = self.run(kv_decode, "--dtype", "fp32", "--batch-size", "2", "--no-kv-cache")
        assert torch.equal(cached, uncached)
        # The prompt, the first token from prefill, and one token a step.
        assert cached.shape == (2, 5 + 1 + 3)
        assert torch.equal(cached[:, :5], kv_decode.make_prompt(options))

    @pytest.mark.parametrize(
        ("phase", "prefill", "decode"), [("both", True, True), ("prefill", True, False), ("decode", False, True)]
    )
    @pytest.mark.parametrize("cache", ["true", "false"])
    def test_only_the_phase_is_timed(self, kv_decode, phase, prefill, decode, cache):
        _, timing, _ = self.run(kv_decode, "--phase", phase, "--kv-cache", cache)
        assert ("prefill" in timing, "decode" in timing) == (prefill, decode)
        assert len(timing.get("decode_step", ())) == (3 if decode else 0)

    @pytest.mark.parametrize("cache", ["--kv-cache", "--no-kv-cache"])
    def test_ranges_have_their_closed_forms(self, kv_decode, cache):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profiler:
            self.run(kv_decode, cache)
        names = [event.name for event in profiler.events() if event.is_user_annotation]
        layers, steps = 2, 3
        forwards = steps + 1
        assert {name: names.count(name) for name in set(names)} == {
            "prefill": 1, "decode": 1, "decode_step": steps, "head": forwards,
            "layer": layers * forwards, "attention": layers * forwards, "mlp": layers * forwards,
        }  # fmt: skip
        attention = [e.name for e in profiler.events() if e.name == "aten::scaled_dot_product_attention"]
        assert len(attention) == layers * forwards

    @pytest.mark.parametrize("dtype", ["bf16", "fp32"])
    def test_both_arms_have_one_precision(self, kv_decode, gpt, dtype):
        options = kv_decode.parse_arguments([*TINY, "--dtype", dtype])
        model = kv_decode.model_of(options)
        wanted = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
        assert {weight.dtype for weight in model.parameters()} == {wanted}
        cache = gpt.KVCache(options.shape, 1, model.head.weight)
        assert {part.dtype for part in (*cache.keys, *cache.values)} == {wanted}

    def test_a_kept_prefix_changes_no_token_and_is_made_once(self, kv_decode, monkeypatch):
        options, _, plain = self.run(kv_decode, "--phase", "decode")
        options = kv_decode.parse_arguments([*TINY, "--phase", "decode", "--cache-prefix"])
        model = kv_decode.model_of(options)
        arm = kv_decode.Decode(model, kv_decode.make_prompt(options, model), options)
        lengths = []
        model.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
        for _ in range(2):
            assert torch.equal(arm.run(annotate.Laps("cpu")), plain)
        assert lengths == [5, 1, 1, 1, 1, 1, 1]

    def test_a_prompt_of_the_model_is_what_it_says(self, kv_decode):
        options, _, ids = self.run(kv_decode, "--prefix-source", "model", "--no-kv-cache")
        model = kv_decode.model_of(options)
        with torch.inference_mode():
            for end in range(1, ids.shape[1]):
                assert torch.equal(model(ids[:, :end]).argmax(-1), ids[:, end])


class TestOptions:
    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            ((), True), (("--kv-cache",), True), (("--kv-cache", "true"), True), (("--kv-cache=on",), True),
            (("--no-kv-cache",), False), (("--kv-cache", "false"), False), (("--kv-cache=0",), False),
        ],
    )  # fmt: skip
    def test_cache_in_either_form(self, kv_decode, args, expected):
        assert kv_decode.parse_arguments(list(args)).kv_cache is expected

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (("--kv-cache", "maybe"), "neither true nor false"),
            (("--layers", "0"), "at least 1"),
            (("--layers", "-2"), "not a whole number"),
            (("--heads", "7"), "not a multiple of 7 heads"),
            (("--device", "tpu9"), "is not known"),
            (("--dtype", "int3"), "invalid choice"),
            (("--seed", "-1"), "not a whole number"),
            (("--cache-prefix",), "needs --phase decode"),
            (("--cache-prefix", "--phase", "decode", "--no-kv-cache"), "needs --phase decode and a KV cache"),
        ],
    )
    def test_bad_options_are_refused(self, kv_decode, capsys, args, text):
        with pytest.raises(SystemExit) as caught:
            kv_decode.parse_arguments(list(args))
        assert caught.value.code == 2
        assert text in capsys.readouterr().err

    def test_spellings_of_a_dtype_are_one(self, kv_decode):
        assert {kv_decode.parse_arguments(["--dtype", d]).dtype for d in ("bf16", "bfloat16")} == {"bfloat16"}


class TestResults:
    def test_file_and_line(self, kv_decode, tmp_path, capsys):
        path = tmp_path / "new" / "results.json"
        args = ["--batch-size", "4", "--bench-iters", "3", "--warmup-iters", "2", "--results", str(path)]
        kv_decode.main([*TINY, *args])
        data = json.loads(path.read_text(encoding="utf-8"))
        metrics = data["metrics"]
        annotate.check_results(data)
        totals = sorted(r["decode_ns"][0] for r in data["repetitions"])
        assert metrics["decode_total_ms"] == pytest.approx(totals[1] / 1e6)
        assert metrics["time_per_output_token_ms"] == pytest.approx(metrics["decode_total_ms"] / 3)
        assert metrics["tokens_per_s_per_sequence"] == pytest.approx(1e3 / metrics["time_per_output_token_ms"])
        assert metrics["tokens_per_s_aggregate"] == pytest.approx(4 * metrics["tokens_per_s_per_sequence"])
        assert metrics["time_to_first_token_ms"] > 0
        steps = [value for r in data["repetitions"] for value in r["decode_step_ns"]]
        assert metrics["step_p99_ms"] == pytest.approx(annotate.percentile(steps, 99) / 1e6)
        # Keys and values of 2 layers, 32 wide, fp32, for 4 sequences of 5 + 3 positions.
        assert metrics["kv_cache_bytes"] == 2 * 2 * 32 * 4 * 4 * 8
        assert data["warmup_iters"] == 2
        assert data["tokens_run"] == (3 + 2) * 3
        assert data["settings"]["kv_cache"] is True
        assert data["settings"]["shape"]["max_length"] == 8
        assert data["machine"]["torch_version"] == torch.__version__
        line = capsys.readouterr().out
        assert line.count("\n") == 1
        assert "KV cache on, float32, cpu, batch 4" in line

    def test_phase_that_did_not_run_is_unknown_not_zero(self, kv_decode, tmp_path):
        path = tmp_path / "results.json"
        kv_decode.main([*TINY, "--phase", "prefill", "--results", str(path)])
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["metrics"]["decode_total_ms"] is None
        assert data["metrics"]["tokens_per_s_aggregate"] is None
        assert data["tokens_run"] == 0


class TestAlone:
    def run(self, *args, **env):
        script = resource_dir("workloads") / "kv_decode.py"
        return subprocess.run(
            [sys.executable, str(script), *args], capture_output=True, text=True, check=False, env={**os.environ, **env}
        )

    def test_by_path(self):
        done = self.run(*TINY)
        assert done.returncode == 0
        assert done.stdout.startswith("kv_decode: KV cache on")

    def test_help_explains_the_options(self):
        done = self.run("--help")
        assert done.returncode == 0
        for option in ("--phase", "--kv-cache", "--prompt-len", "--batch-size", "--max-new-tokens", "--kv-heads",
                       "--warmup-iters", "--bench-iters", "--dtype", "--seed", "--results"):  # fmt: skip
            assert option in done.stdout

    def test_missing_torch_is_one_sentence(self, tmp_path):
        (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module', name='torch')")
        done = self.run(PYTHONPATH=str(tmp_path))
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == "kv_decode needs torch: install it with  pip install 'nsightkit[workloads]'\n"


WORKLOADS = ("batch_sweep", "capacity", "kv_decode", "kv_variants", "perplexity", "sequence_sweep", "vlm_ocr")


class TestEveryWorkload:
    @pytest.mark.parametrize("name", WORKLOADS)
    def test_help_shows_what_it_is(self, name, capsys):
        module = importlib.import_module(name)
        with pytest.raises(SystemExit) as caught:
            module.parse_arguments(["--help"])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert module.__doc__.splitlines()[0] in out
        # What `nsightkit profile` gives to every bundled workload.
        for option in ("--max-new-tokens", "--warmup-iters", "--results", "--dtype", "--device", "--seed", "--threads"):
            assert option in out, option

    @pytest.mark.parametrize("name", WORKLOADS)
    def test_a_mistyped_option_is_answered_with_what_was_meant(self, name, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module(name).parse_arguments(["--result", "x.json", "--dtyp", "fp32"])
        assert caught.value.code == 2
        assert "did you mean --results and --dtype?" in capsys.readouterr().err

    @pytest.mark.parametrize("name", [*WORKLOADS, "layer_similarity", "python_overhead"])
    def test_results_that_cannot_be_written_are_refused_before_the_work(self, name, tmp_path, capsys):
        (tmp_path / "file").touch()
        for path, text in (("file/r.json", "cannot be written"), ("", "is a folder; name a file")):
            with pytest.raises(SystemExit) as caught:
                importlib.import_module(name).parse_arguments(["--results", str(tmp_path / path)])
            assert caught.value.code == 2
            assert text in capsys.readouterr().err

    def test_pages_that_cannot_be_saved_are_no_traceback(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("vlm_ocr").main(["--pages", "1", "--save-pages", str(tmp_path / "file")])
        assert caught.value.code == 1
        assert "--save-pages" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("content", "option", "text"),
        [
            (b"", "--text", "has 0 windows"),
            (None, "--text", "cannot be read: No such file"),
            (b"\x80\x04junk", "--ids", "is no .npy file of plain numbers"),
            (None, "--ids", "cannot be read: No such file"),
        ],
    )
    def test_a_text_that_is_none(self, tmp_path, capsys, content, option, text):
        path = tmp_path / "text.npy"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("perplexity").main([option, str(path)])
        assert caught.value.code == 1
        assert text in capsys.readouterr().err

    def test_python_overhead_names_what_it_looked_at(self, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("python_overhead").parse_arguments(["--tokens", "-3"])
        assert caught.value.code == 2
        assert "argument --tokens: must be at least 1" in capsys.readouterr().err

    def test_python_overhead_gives_the_reason_in_one_line(self, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("python_overhead").main(["--variant", "v9"])
        assert caught.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith("python_overhead: the decode could not be profiled: kv_variants: error: no variant 'v9'")

    def test_all_are_described(self):
        from pathlib import Path

        text = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
        for name in WORKLOADS:
            assert f"| `{name}` |" in text
