"""`nsightkit model`: exact values for machines, a formula beside each figure."""

import json

import pytest
from click.testing import CliRunner

from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import shape_of_name
from nsightkit.cli import cli


def rows(*args):
    done = CliRunner().invoke(cli, ["model", *args, "--format", "json"])
    assert done.exit_code == 0, done.output
    return {(r["gpu"], r["phase"], r["quantity"]): r["value"] for r in json.loads(done.stdout)}


def test_figures_are_those_of_the_paper_model():
    found = rows("llama-3-8b", "--gpu", "h100-sxm", "--gpu", "a10", "--prompt-len", "100", "--max-new-tokens", "4",
                 "--memory-gb", "80")  # fmt: skip
    shape, work = shape_of_name("llama-3-8b"), paper.Work(1, 100, 4)
    assert found["", "decode", "FLOP"] == paper.decode_cost(shape, work).flop
    assert found["", "all", "KV cache at 104 positions"] == 104 * 131_072
    assert found["h100-sxm", "decode", "roofline time"] < found["a10", "decode", "roofline time"]
    assert found["", "all", "sequences of 104 positions that fit"] == (80e9 - 2 * 8_030_261_248) // (104 * 131_072)


def test_sizes_instead_of_a_name():
    found = rows("--layers", "1", "--heads", "1", "--width", "2", "--vocabulary", "3", "--dtype", "float32")
    assert found["", "all", "weights"] == 4 * (16 + 32 + 6 + 3 * 2)


def test_what_follows_from_a_changed_size_follows_anew():
    assert rows("gpt2", "--width", "96")["", "all", "KV cache a token"] == 12 * 2 * 96 * 2
    assert rows("gpt2", "--kv-heads", "3")["", "all", "KV cache a token"] == 12 * 2 * 3 * 64 * 2
    assert rows("gpt2", "--layers", "3")["", "all", "KV cache a token"] == 3 * 2 * 768 * 2


def test_no_cache_has_no_bytes_and_more_flop():
    on, off = rows("gpt2"), rows("gpt2", "--no-kv-cache")
    assert not [key for key in off if "KV" in key[2]]
    assert off["", "decode", "FLOP"] > 50 * on["", "decode", "FLOP"]


def test_int8_cache():
    assert rows("gpt2", "--kv-dtype", "int8")["", "all", "KV cache a token"] == 12 * 2 * 12 * (64 + 4)


def test_for_people():
    done = CliRunner().invoke(cli, ["model", "gpt2"])
    assert "on paper, not measured" in done.stdout
    assert "2 × weights met × tokens" in done.stdout
    assert "name a GPU with --gpu" in done.stderr
    listed = CliRunner().invoke(cli, ["model", "--list", "--format", "csv"])
    assert "gpt2,124439808," in listed.stdout


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["gpt9"], 1, "no model 'gpt9'"),
        (["gpt2", "--gpu", "abacus"], 1, "no GPU 'abacus'"),
        (["gpt2", "--gpu", "t4"], 1, "t4: tensor_bf16_flop_per_s is not known"),
        (["--layers", "2"], 2, "--heads and --width and --vocabulary as well"),
        (["gpt2", "--kv-heads", "5"], 1, "do not divide"),
    ],
)
def test_refusals(args, code, text):
    done = CliRunner().invoke(cli, ["model", *args])
    assert done.exit_code == code
    assert text in done.stderr


@pytest.mark.parametrize(
    ("name", "parameters", "active", "kv_bytes"),
    [
        # DeepSeek-V3: 671 B and 37 B; one row of 512 + 64 values a layer, two bytes each.
        ("deepseek-v3", 671_026_279_424, 37_552_157_696, 61 * 576 * 2),
        # Mixtral: 46.7 B and 12.9 B.
        ("mixtral-8x7b", 46_702_792_704, 12_879_925_248, 32 * 2 * 8 * 128 * 2),
        ("qwen3-8b", 8_190_726_144, None, 36 * 2 * 8 * 128 * 2),
    ],
)
def test_published_models(name, parameters, active, kv_bytes):
    found = rows(name)
    assert found["", "all", "weights"] == 2 * parameters
    assert found.get(("", "all", "active parameters")) == active
    assert found["", "all", "KV cache a token"] == kv_bytes


def test_latent_attention_prints_the_formula_that_gives_its_figure():
    """Prefill spreads the rows out to the heads: 128 + 64 values of a key, 128 of a value; a step leaves them as is."""
    options = ["--prompt-len", "10", "--max-new-tokens", "1", "--format", "json"]
    done = CliRunner().invoke(cli, ["model", "deepseek-v3", *options])
    found = {r["phase"]: r for r in json.loads(done.stdout) if r["quantity"] == "FLOP, attention"}
    assert found["prefill"]["formula"].startswith("2 × layers × heads × (nope + rope + value width) × new × seen")
    assert found["prefill"]["value"] == 2 * 61 * 128 * (128 + 64 + 128) * 10 * 10
    said = "2 × layers × heads × (2 × latent width + rope width) × new × seen positions"
    assert found["decode"]["formula"] == said
    assert found["decode"]["value"] == 2 * 61 * 128 * (2 * 512 + 64) * 11
