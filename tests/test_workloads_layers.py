"""The workloads that look at weights and at captures: likeness of layers, and the cost of Python and launches."""

import importlib
import json

import pytest

from nsightkit import annotate
from nsightkit.analysis.foreign_results import parse_results

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("workloads_on_path")]


def workload(name):
    return importlib.import_module(name)


class TestLayerSimilarity:
    def test_cosines_by_hand(self):
        found = workload("layer_similarity").cosines(
            [
                torch.tensor([[1.0, 0.0]]),
                torch.tensor([[0.0, 2.0]]),
                torch.tensor([[-3.0, 0.0]]),
                torch.tensor([[1.0, 1.0]]),
            ]
        )
        assert torch.allclose(found.diagonal(), torch.ones(4))
        assert torch.equal(found, found.T)
        assert found[0, 1] == 0
        assert found[0, 2] == -1
        assert found[0, 3].item() == pytest.approx(0.5**0.5)

    def test_equal_layers_are_found(self):
        gpt = workload("models.gpt")
        model = gpt.build_gpt(gpt.GptShape(layers=3, heads=2, kv_heads=1, width=32, vocabulary=20, max_length=8), 0,
                              torch.device("cpu"), torch.float32)  # fmt: skip
        with torch.no_grad():
            model.blocks[2].attention.qkv.weight.copy_(model.blocks[0].attention.qkv.weight)
        rows = {(row["weight"], row["layer_a"], row["layer_b"]): row["cosine"]
                for row in workload("layer_similarity").rows_of(model)}  # fmt: skip
        assert {name for name, _, _ in rows} >= {"query", "key", "value", "output"}
        assert [rows[name, 0, 2] for name in ("query", "key", "value")] == pytest.approx([1, 1, 1])
        # Drawn matrices are about at right angles.
        assert all(abs(rows[name, 0, 1]) < 0.2 for name in ("query", "key", "value", "output"))
        assert set(rows) == {(name, a, b) for name, _, _ in rows for a, b in ((0, 1), (0, 2), (1, 2))}

    def test_a_matrix_of_zeros_is_like_no_other(self, tmp_path, capsys, monkeypatch):
        gpt, similarity = workload("models.gpt"), workload("layer_similarity")
        model = gpt.build_gpt(gpt.GptShape(layers=2, heads=2, kv_heads=2, width=32, vocabulary=20, max_length=8), 0,
                              torch.device("cpu"), torch.float32)  # fmt: skip
        model.blocks[1].attention.out.weight.zero_()
        monkeypatch.setattr(similarity, "load_gpt", lambda *_: model)
        similarity.main(["--results", str(tmp_path / "r.json")])
        assert "output –, " in capsys.readouterr().out
        data = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert [row["cosine"] for row in data["rows"] if row["weight"] == "output"] == [None]
        assert data["metrics"]["output_neighbor_cosine"] is None
        found = parse_results([("a", data)]).similarity
        assert {one.weight for one in found} == {"query", "key", "value", "up", "down"}

    def test_the_trained_model_by_one_command(self, tmp_path, capsys):
        path = tmp_path / "results.json"
        workload("layer_similarity").main(["--threads", "1", "--results", str(path)])
        assert "mean cosine of neighbors" in capsys.readouterr().out
        data = json.loads(path.read_text(encoding="utf-8"))
        annotate.check_results(data)
        found = parse_results([("a", data)]).similarity
        layers = data["settings"]["layers"]
        assert len([one for one in found if one.weight == "key"]) == layers * (layers - 1) // 2
        assert all(-1 <= one.cosine <= 1 for one in found)

    def test_published_weights_keep_the_numbers_of_their_layers(self, tmp_path):
        """The first layer of this mixture of experts is dense, so only the other two have a router."""
        pytest.importorskip("safetensors")
        made = importlib.import_module("builders.weights")
        config = made.MOE | {"num_hidden_layers": 3}
        weights = made.drawn(made.llama_sizes(config))
        folder = made.write_folder(tmp_path / "moe", config, weights)
        path = tmp_path / "results.json"
        workload("layer_similarity").main(["--weights", str(folder), "--results", str(path)])
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = {(row["weight"], row["layer_a"], row["layer_b"]): row["cosine"] for row in data["rows"]}
        assert [key for key in rows if key[0] == "router"] == [("router", 1, 2)]
        one, two = (weights[f"model.layers.{layer}.mlp.gate.weight"].double().flatten() for layer in (1, 2))
        assert rows["router", 1, 2] == pytest.approx((one @ two / one.norm() / two.norm()).item())
        assert {key[1:] for key in rows if key[0] == "query"} == {(0, 1), (0, 2), (1, 2)}
        assert data["settings"]["source"] == "moe"

    def test_a_mistyped_option_is_answered_with_what_was_meant(self, capsys):
        with pytest.raises(SystemExit) as ended:
            workload("layer_similarity").parse_arguments(["--weight", "x"])
        assert ended.value.code == 2
        assert "did you mean --weights?" in capsys.readouterr().err

    def test_weights_that_are_not_there(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as ended:
            workload("layer_similarity").main(["--weights", str(tmp_path / "nothing")])
        assert ended.value.code == 1
        assert "layer_similarity:" in capsys.readouterr().err


class TestPythonOverhead:
    def test_from_a_timeline(self, tmp_path, capsys):
        from fake_tools.script import write_timeline

        launch = ["launch", {"name": "void k<float>(int)", "grid": [1, 1, 1], "block": [32, 1, 1], "duration_ns": 400}]
        write_timeline(tmp_path / "a.sqlite", [["push", "decode"], launch, launch, launch, launch, ["pop"], launch])
        path = tmp_path / "results.json"
        workload("python_overhead").main([str(tmp_path / "a.sqlite"), "--tokens", "2", "--results", str(path)])
        said = capsys.readouterr().out
        assert "4 kernels, 0.40 µs of GPU each" in said
        assert "4 launch calls, 1.00 µs of CPU each" in said
        assert "a token: 2.0 launches" in said
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        assert metrics["launches_per_token"] == 2
        assert metrics["gpu_ns_per_token"] == 800
        assert metrics["operators_per_token"] is None  # nsys sees no operators
        assert 0 < metrics["gpu_busy_share"] < 1

    def test_ranges_that_nest_count_their_time_once(self, tmp_path, capsys):
        from fake_tools.script import write_timeline

        launch = ["launch", {"name": "void k<float>(int)", "grid": [1, 1, 1], "block": [32, 1, 1], "duration_ns": 400}]
        write_timeline(tmp_path / "a.sqlite", [["push", "decode"], ["push", "step"], launch, ["pop"], ["pop"]])
        shares = {}
        for name in ("decode", "*"):
            path = tmp_path / "results.json"
            workload("python_overhead").main([str(tmp_path / "a.sqlite"), "--range", name, "--results", str(path)])
            shares[name] = json.loads(path.read_text(encoding="utf-8"))["metrics"]["gpu_busy_share"]
        assert shares["*"] == shares["decode"]
        said = capsys.readouterr().out
        assert "a: 1 range 'decode', " in said
        assert "a: 2 ranges '*', " in said

    def test_python_functions_where_stacks_were_recorded(self, tmp_path, capsys):
        import sqlite3

        from fake_tools.script import write_timeline

        launch = ["launch", {"name": "void k<float>(int)", "grid": [1, 1, 1], "block": [32, 1, 1], "duration_ns": 400}]
        write_timeline(tmp_path / "a.sqlite", [["push", "decode"], launch, launch, ["pop"]])
        with sqlite3.connect(tmp_path / "a.sqlite") as base:
            base.executescript("""
                CREATE TABLE CUDA_CALLCHAINS (id INTEGER, symbol INTEGER, module INTEGER, stackDepth INTEGER);
                INSERT INTO StringIds VALUES (901, 'quantize'), (902, 'cache.py');
                INSERT INTO CUDA_CALLCHAINS VALUES (1, 901, 902, 0);
                ALTER TABLE CUPTI_ACTIVITY_KIND_RUNTIME ADD COLUMN callchainId INTEGER;
                UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET callchainId = 1;
            """)
        base.close()
        workload("python_overhead").main([str(tmp_path / "a.sqlite")])
        said = capsys.readouterr().out
        assert "2 calls  quantize (cache.py)" in said
        assert "no Python stacks" not in said

    def test_a_range_that_is_not_there(self, tmp_path, capsys):
        from fake_tools.script import write_timeline

        write_timeline(tmp_path / "a.sqlite", [["push", "decode"], ["pop"]])
        with pytest.raises(SystemExit) as ended:
            workload("python_overhead").main([str(tmp_path / "a.sqlite"), "--range", "prefill"])
        assert ended.value.code == 1
        assert "no range called 'prefill'" in capsys.readouterr().err

    def test_without_a_capture_a_small_decode_is_profiled(self, capsys):
        workload("python_overhead").main(["--variant", "v1"])
        said = capsys.readouterr().out
        assert "for 16 tokens" in said
        assert "no kernel ran on a GPU" in said
