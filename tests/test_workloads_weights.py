"""Real weights from a local folder: logits equal a reference written from the formulas, and misfits are named."""

import importlib
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from builders import weights as made  # noqa: E402 - it needs torch

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("workloads_on_path")]
IDS = [3, 17, 0, 39, 5, 22, 8, 8, 1]
QWEN2 = made.LLAMA | {"model_type": "qwen2", "tie_word_embeddings": True, "use_sliding_window": False,
                      "sliding_window": 4}  # fmt: skip
QWEN3 = made.LLAMA | {"model_type": "qwen3", "head_dim": 8}


def load(folder, max_length=16, dtype=torch.float64):
    return importlib.import_module("models.weights").load_gpt(folder, max_length, torch.device("cpu"), dtype)


def logits_of(model, cached):
    cache = importlib.import_module("models.cache").KVCache(model.shape, 1, model.head.weight) if cached else None
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        if cache is None:
            return model(ids)[0]
        model(ids[:, :4], cache)
        return [model(ids[:, place : place + 1], cache) for place in range(4, len(IDS))][-1][0]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("config", [made.LLAMA, QWEN2, QWEN3, made.MOE], ids=lambda config: config["model_type"])
def test_llama_and_its_kin(config, cached, tmp_path):
    weights = made.drawn(made.llama_sizes(config))
    folder = made.write_folder(tmp_path / "model", config, weights, shards=3)
    expected = made.llama_logits(config, weights, IDS)
    assert (logits_of(load(folder), cached) - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_with_and_without_the_prefix(prefix, tmp_path):
    weights = made.drawn(made.gpt2_sizes(made.GPT2))
    stored = {name.replace("transformer.", prefix, 1): value for name, value in weights.items()}
    folder = made.write_folder(tmp_path / "model", made.GPT2, stored)
    expected = made.gpt2_logits(made.GPT2, weights, IDS)
    assert (logits_of(load(folder), True) - expected).abs().max() <= 1e-10 * expected.abs().max()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_nanogpt_with_and_without_biases(bias, prefix, tmp_path):
    weights = made.drawn(made.gpt2_sizes(made.GPT2, bias))
    folder = made.write_nanogpt(tmp_path / "out", weights, bias, prefix)
    expected = made.gpt2_logits(made.GPT2, weights, IDS, exact_gelu=True)
    assert (logits_of(load(folder), True) - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"model": Hostile(), "model_args": {}}, tmp_path / "ckpt.pt")
    with pytest.raises(ValueError, match="not nanoGPT's"):
        load(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_an_index_cannot_name_files_outside(tmp_path):
    weights = made.drawn(made.llama_sizes(made.LLAMA))
    made.write_folder(tmp_path / "elsewhere", made.LLAMA, weights)
    folder = made.write_folder(tmp_path / "model", made.LLAMA, weights, shards=2)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    index = {"weight_map": dict.fromkeys(weights, "../elsewhere/model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not known here; known are gpt2"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_scaling 'llama3' is not known"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; here it can be 'silu'"),
        ({"max_position_embeddings": 8}, "16 positions are more than the model's 8"),
        ({"model_type": "mistral", "sliding_window": 12}, "16 positions are more than the model's 12"),
        ({"intermediate_size": 25}, r"weight blocks.0.mlp.gate.weight is \(24, 16\), not \(25, 16\)"),
        ({"num_hidden_layers": 3}, "no weight 'model.layers.2"),
        ({"model_type": "qwen2"}, "no weight 'model.layers.0.self_attn.q_proj.bias'"),
    ],
)
def test_what_does_not_fit_is_named(changes, text, tmp_path):
    folder = made.write_folder(tmp_path, made.LLAMA, made.drawn(made.llama_sizes(made.LLAMA)))
    (folder / "config.json").write_text(json.dumps(made.LLAMA | changes), encoding="utf-8")
    with pytest.raises(ValueError, match=text):
        load(folder)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "holds neither config.json"),
        ({"config.json": "{}"}, r"config.json and no \*.safetensors"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "pytorch_model.bin is a pickle: save it again"),
        ({"config.json": "[]"}, "not a JSON object"),
        ({"config.json": "{"}, "config.json"),
        ({"config.json": "{}", "model.safetensors": "no header"}, "header"),
        ({"ckpt.pt": "no zip"}, "not nanoGPT's"),
    ],
)
def test_folders_without_weights_say_what_would_do(files, text, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=text):
        load(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        load(tmp_path / "nowhere")


class TestScripts:
    @pytest.fixture
    def folder(self, tmp_path):
        return made.write_folder(tmp_path / "tiny-llama", made.LLAMA, made.drawn(made.llama_sizes(made.LLAMA)))

    @pytest.mark.parametrize("name", ["kv_decode", "kv_variants", "batch_sweep", "sequence_sweep", "capacity"])
    def test_real_weights_take_the_place_of_sizes(self, name, folder, tmp_path):
        path = tmp_path / "r.json"
        work = {"batch_sweep": ["--prompt-len", "4", "--batches", "1,2"], "sequence_sweep": ["--lengths", "2,4"]}
        args = ["--weights", str(folder), "--max-new-tokens", "3", "--device", "cpu", "--bench-iters", "1"]
        importlib.import_module(name).main([*args, *work.get(name, ["--prompt-len", "4"]), "--results", str(path)])
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["settings"]["weights"] == "tiny-llama"
        assert data["settings"]["shape"]["rotary_base"] == 500.0
        assert (data["settings"]["layers"], data["settings"]["kv_heads"]) == (2, 2)
        assert str(tmp_path) not in path.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (["--layers", "3"], "--weights and --layers: the sizes are those of the weights"),
            (["--prompt-len", "200"], "216 positions are more than the model's 64"),
        ],
    )
    def test_sizes_beside_weights_are_refused(self, args, text, folder, capsys):
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("kv_decode").parse_arguments(["--weights", str(folder), *args])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err

    def test_a_folder_that_lacks_a_weight_ends_politely(self, folder, capsys):
        config = made.LLAMA | {"num_hidden_layers": 3}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("kv_decode").main(
                ["--weights", str(folder), "--device", "cpu", "--prompt-len", "4"]
            )
        assert caught.value.code == 1
        assert "no weight 'model.layers.2" in capsys.readouterr().err


class TestPerplexityOfRealWeights:
    def run(self, folder, tmp_path, *args):
        path = tmp_path / "r.json"
        importlib.import_module("perplexity").main(
            ["--weights", str(folder), "--device", "cpu", "--windows", "2", "--window-len", "5", "--dtype", "float64",
             "--results", str(path), *args])  # fmt: skip
        return json.loads(path.read_text(encoding="utf-8"))["metrics"]

    @pytest.mark.parametrize("form", ["val.bin", "val.npy"])
    def test_ids_are_what_is_measured(self, form, tmp_path):
        numpy = pytest.importorskip("numpy")
        weights = made.drawn(made.gpt2_sizes(made.GPT2))
        folder = made.write_nanogpt(tmp_path / "out", weights, bias=True)
        ids = [*IDS, 11, 12, 30]
        stored = numpy.array(ids, dtype=numpy.uint16)
        stored.tofile(tmp_path / form) if form == "val.bin" else numpy.save(tmp_path / form, stored)
        found = self.run(folder, tmp_path, "--ids", str(tmp_path / form))
        # Two windows of five predicted tokens each.
        losses = []
        for start in (0, 5):
            window = ids[start : start + 6]
            for end in range(1, 6):
                logits = made.gpt2_logits(made.GPT2, weights, window[:end], exact_gelu=True)
                losses.append(-torch.log_softmax(logits, 0)[window[end]].item())
        assert found["loss"] == pytest.approx(sum(losses) / 10, rel=1e-9)
        assert found["evaluated_tokens"] == 10

    @pytest.mark.parametrize(
        ("ids", "text"),
        [([1, 2, 99] * 9, "the text has the token 99, the model knows 40"), ([1, 2, 3], "the text has 0 windows")],
    )
    def test_ids_that_do_not_fit(self, ids, text, tmp_path, capsys):
        numpy = pytest.importorskip("numpy")
        folder = made.write_nanogpt(tmp_path / "out", made.drawn(made.gpt2_sizes(made.GPT2)), bias=True)
        numpy.save(tmp_path / "ids.npy", numpy.array(ids))
        with pytest.raises(SystemExit) as caught:
            self.run(folder, tmp_path, "--ids", str(tmp_path / "ids.npy"))
        assert caught.value.code == 1
        assert text in capsys.readouterr().err

    def test_without_a_tokenizer_it_says_what_to_do(self, tmp_path, capsys):
        folder = made.write_nanogpt(tmp_path / "out", made.drawn(made.gpt2_sizes(made.GPT2)), bias=True)
        with pytest.raises(SystemExit) as caught:
            self.run(folder, tmp_path)
        assert caught.value.code == 1
        error = capsys.readouterr().err
        assert "has no tokenizer.json" in error
        assert "--ids FILE" in error

    def test_without_the_tokenizers_package_it_says_what_to_install(self, tmp_path, capsys, monkeypatch):
        folder = made.write_folder(tmp_path / "m", made.GPT2, made.drawn(made.gpt2_sizes(made.GPT2)))
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(SystemExit):
            self.run(folder, tmp_path)
        assert "pip install tokenizers" in capsys.readouterr().err

    def test_a_tokenizer_of_the_folder_is_used(self, tmp_path):
        tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: untested here")
        folder = made.write_folder(tmp_path / "m", made.GPT2, made.drawn(made.gpt2_sizes(made.GPT2)))
        words = {f"w{number}": number for number in range(40)}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer.save(str(folder / "tokenizer.json"))
        text = tmp_path / "text.txt"
        ids = [*IDS, 11, 12, 30]
        text.write_text(" ".join(f"w{number}" for number in ids), encoding="utf-8")
        numpy = pytest.importorskip("numpy")
        numpy.save(tmp_path / "ids.npy", numpy.array(ids))
        by_text = self.run(folder, tmp_path, "--text", str(text))
        assert by_text == self.run(folder, tmp_path, "--ids", str(tmp_path / "ids.npy"))
