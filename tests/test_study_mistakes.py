"""The mistakes of the original studies, written into results files by hand: each report has to refuse or flag them."""

import json

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli

SIZES = {"n_layer": 12, "n_head": 12, "n_embd": 768, "vocab_size": 50257, "block_size": 1024}


def decode_file(folder, kv_cache, total_ms, **changes):
    """Write one result of a KV decode benchmark, as its files look, into `folder`."""
    params = {"kv_cache": kv_cache, "batch_size": 8, "prompt_len": 128, "max_new_tokens": 16, "bench_iters": 5,
              "warmup_iters": 2, "phase": "decode"} | SIZES  # fmt: skip
    params |= {key: changes[key] for key in params.keys() & changes.keys()}
    tokens = params["max_new_tokens"]
    metrics = {"decode_total_ms": total_ms, "prefill_ms": changes.get("prefill_ms", 10.0)}
    metrics["decode_tok_s"] = changes.get("tok_s", params["batch_size"] * 1e3 * tokens / total_ms)
    meta = {"gpu_name": changes.get("gpu", "NVIDIA H100"), "dtype": changes.get("dtype", "bfloat16")}
    data = {"meta": meta, "params": params, "metrics": metrics}
    (folder / f"{kv_cache}-{tokens}.json").write_text(json.dumps(data), encoding="utf-8")


def reported(name, folder, tmp_path):
    """Return the text of the report that the command makes of `folder`."""
    done = CliRunner().invoke(cli, ["study", name, "--from", str(folder), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report" / "report.md").read_text(encoding="utf-8")
    return text.replace("\\_", "_").replace("\u202f", " ")


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def test_a_fair_pair_is_not_flagged(files, tmp_path):
    decode_file(files, True, 160.0)
    decode_file(files, False, 640.0)
    text = reported("kv-decode", files, tmp_path)
    assert "decodes 4.00 times faster" in text
    assert "What would mislead" not in text


def test_a_rate_of_one_sequence_for_a_batch(files, tmp_path):
    decode_file(files, True, 160.0, tok_s=100.0)
    decode_file(files, False, 640.0)
    text = reported("kv-decode", files, tmp_path)
    assert "100.00 tokens/s is the rate of one of 8 sequences; together they make 800.0 tokens/s" in text


def test_a_rate_that_was_made_up(files, tmp_path):
    decode_file(files, True, 160.0, tok_s=1234.0)
    decode_file(files, False, 640.0)
    text = reported("kv-decode", files, tmp_path)
    assert "prints 1234 tokens/s; 16 tokens in 160 ms are 100 a sequence and 800 in all" in text


@pytest.mark.parametrize(("what", "value"), [("dtype", "float32"), ("gpu", "NVIDIA A100"), ("phase", "both")])
def test_arms_that_are_not_alike_make_no_speedup(files, tmp_path, what, value):
    decode_file(files, True, 160.0, **{what: value})
    decode_file(files, False, 640.0)
    text = reported("kv-decode", files, tmp_path)
    assert "No pair of arms that differ in the cache alone was measured" in text
    assert "times faster" not in text
    assert f"unequal {({'phase': 'scope'}).get(what, what)}" in text


def test_a_prefill_inside_one_total(files, tmp_path):
    decode_file(files, True, 420.0)
    decode_file(files, True, 980.0, max_new_tokens=128)
    decode_file(files, False, 640.0)
    assert "about 340 ms happen once, a step takes 5.0 ms" in reported("kv-decode", files, tmp_path)


def test_a_machine_that_was_not_quiet(files, tmp_path):
    decode_file(files, True, 160.0, prefill_ms=27.1)
    decode_file(files, False, 6912.0, prefill_ms=52.0)
    text = reported("kv-decode", files, tmp_path)
    lead = next(line for line in text.splitlines() if line.startswith("**"))
    assert "43.2 times faster (no interval:" in lead
    assert "the machine was not quiet and the speed-up may be off by 1.9 times" in lead
    assert "equal work timed differently" in text


def variant_files(folder, **changes):
    """Write lines of a benchmark of variants, sums of counters and stated peaks into `folder`."""
    about = {"model_config": SIZES, "gpu_name": "NVIDIA RTX A6000", "prompt_length": 32, "dtype": "bfloat16"}
    rows = [about | {"benchmark_name": "latency_vs_T", "version": v, "use_cache": v != "v0", "batch_size": 1, "T": 64,
                     "time_total_ms_median": t, "n_samples": 9} for v, t in (("v0", 200.0), ("v1", 100.0))]  # fmt: skip
    rows += [{"benchmark_name": "perplexity", "version": v, "perplexity": p, "loss": 3.1, "num_tokens_evaluated": 100}
             for v, p in (("v0", 22.6), ("v1", changes.get("v1_perplexity", 22.5)))]  # fmt: skip
    (folder / "results.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    sums = {"dram_bytes": 1e9, "total_flops": changes.get("flop", 1e12), "time_ns": 6e6, "kernel_count": 246}
    sums |= {"prompt_length": changes["prompt"]} if "prompt" in changes else {}
    (folder / "v1_prefill_metrics.json").write_text(json.dumps(sums), encoding="utf-8")
    peaks = {"peak_flop_per_s": changes.get("peak", 154.8e12), "peak_bytes_per_s": 768e9}
    (folder / "peaks.json").write_text(json.dumps(peaks), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flop": 2.3e9}, "tensor FLOP missing"),
        ({"peak": 312e12}, "312 TFLOP/s belongs to"),
        ({"v1_perplexity": 710.0}, "its entries or positions were wrong"),
        ({}, "prompt of the counters not recorded"),
    ],
)
def test_the_variants_of_the_original(files, tmp_path, changes, said):
    fair = {"prompt": 32}
    variant_files(files, **fair)
    assert said not in reported("kv-variants", files, tmp_path)
    variant_files(files, **(fair if changes else {}), **changes)
    text = reported("kv-variants", files, tmp_path)
    assert said in text
    if "v1_perplexity" in changes:
        assert "No cache keeps the perplexity within 5 % of no cache's. Worse text: v1 (perplexity 710" in text
