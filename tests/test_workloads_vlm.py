"""The model that reads pages: windows, routing, cache, pages, and the ranges and results of its script."""

import importlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit import annotate

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("workloads_on_path")]
CPU = torch.device("cpu")


def part(name):
    return importlib.import_module(f"models.{name}")


def small_vlm(dtype=torch.float32, max_length=100):
    vlm = part("vlm")
    shape = vlm.SHAPES["small"]
    shape = replace(shape, decoder=replace(shape.decoder, max_length=max_length))
    model = vlm.build_vlm(shape, 3, CPU, dtype)
    # Larger weights than at the start of training, so that attention and routing matter.
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data *= 4
    return model


@pytest.fixture(scope="module")
def model():
    return small_vlm()


class TestWindows:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
    def test_cutting_and_joining_is_nothing(self, rows, columns, window):
        sam = part("sam")
        x = torch.arange(2 * rows * columns * 3, dtype=torch.float32).view(2, rows, columns, 3)
        cut = sam.windows_of(x, window)
        assert cut.shape == (2 * math.ceil(rows / window) * math.ceil(columns / window), window, window, 3)
        assert torch.equal(sam.joined_windows(cut, (rows, columns)), x)

    def test_a_patch_is_seen_in_its_window_and_nowhere_else(self):
        sam = part("sam")
        shape = sam.SamShape(layers=1, heads=2, width=8, window=3, grid=7, global_layers=())
        for window in (3, 0):
            block = sam.SamBlock(shape, window)
            part("layers").fill_weights(block, 1, CPU, torch.float64)
            x = torch.randn(1, 7, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            other = x.clone()
            # All channels alike would vanish in the norm.
            other[0, 4, 1, 0] += 1
            with torch.inference_mode():
                changed = (block(x) - block(other)).abs().amax(-1)[0] > 1e-12
            wanted = torch.zeros(7, 7, dtype=torch.bool)
            wanted[3:6, 0:3] = True
            assert torch.equal(changed, wanted if window else torch.ones(7, 7, dtype=torch.bool))

    def test_attention_with_distances_is_that_of_the_formula(self):
        sam = part("sam")
        attention = sam.PatchAttention(8, 2, 3)
        part("layers").fill_weights(attention, 1, CPU, torch.float64)
        for weight in attention.parameters():
            weight.data *= 20
        x = torch.randn(1, 3, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        flat = x.view(9, 8)
        found = torch.zeros(9, 8, dtype=torch.float64)
        qkv = flat @ attention.qkv.weight.T + attention.qkv.bias
        for head in range(2):
            q, k, v = (qkv[:, 8 * i + 4 * head : 8 * i + 4 * head + 4] for i in range(3))
            for a in range(9):
                scores = []
                for b in range(9):
                    down, across = a // 3 - b // 3, a % 3 - b % 3
                    score = (
                        q[a] @ k[b] / 2 + q[a] @ attention.rel_pos_h[down + 2] + q[a] @ attention.rel_pos_w[across + 2]
                    )
                    scores.append(score)
                found[a, 4 * head : 4 * head + 4] = torch.softmax(torch.stack(scores), 0) @ v
        expected = found @ attention.proj.weight.T + attention.proj.bias
        assert torch.allclose(attention(x).view(9, 8), expected, rtol=1e-10, atol=1e-12)

    def test_positions_of_another_side_are_interpolated(self):
        sam, clip = part("sam"), part("clip")
        stored = torch.ones(1, 4, 4, 2)
        assert torch.allclose(sam.resized(stored, 6), torch.ones(1, 6, 6, 2))
        assert sam.resized(stored, 4) is stored
        assert clip._positions(torch.arange(17.0).view(17, 1), 4).flatten().tolist() == list(range(17))
        assert clip._positions(torch.arange(17.0).view(17, 1), 2).shape == (5, 1)


class TestRouting:
    def experts(self, **changes):
        sizes = {"layers": 1, "heads": 2, "kv_heads": 2, "width": 8, "vocabulary": 9, "max_length": 4, "experts": 6,
                 "active_experts": 2, "shared_experts": 1, "expert_width": 5}  # fmt: skip
        layer = part("experts").Experts(part("shape").GptShape(**sizes | changes))
        part("layers").fill_weights(layer, 1, CPU, torch.float64)
        for weight in layer.parameters():
            weight.data *= 30
        return layer

    def test_each_token_meets_its_best_experts_and_the_shared_ones(self):
        layer = self.experts()
        x = torch.randn(7, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        silu = torch.nn.functional.silu
        for row, made in zip(x, layer(x[None])[0], strict=True):
            shares = torch.softmax(layer.router.weight @ row, 0)
            expected = torch.zeros(8, dtype=torch.float64)
            for expert in sorted(range(6), key=lambda e, s=shares: -s[e])[:2]:
                gate, up = (layer.gate_up[expert] @ row).chunk(2)
                expected += shares[expert] * (layer.down[expert] @ (silu(gate) * up))
            shared = layer.shared
            expected += shared.down.weight @ (silu(shared.gate.weight @ row) * (shared.up.weight @ row))
            assert torch.allclose(made, expected, rtol=1e-10, atol=1e-14)

    def test_other_experts_are_not_touched(self):
        layer = self.experts()
        x = torch.randn(1, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        before = layer(x)
        _, chosen = layer.route(x)
        for expert in set(range(6)) - set(chosen.flatten().tolist()):
            layer.down[expert] = math.nan
        assert torch.equal(layer(x), before)
        layer.down[chosen[0, 0]] = math.nan
        assert layer(x).isnan().all()

    def test_impossible_counts_are_refused(self):
        for active in (0, 7):
            with pytest.raises(ValueError, match=f"{active} active of 6 experts"):
                self.experts(active_experts=active)


class TestCache:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
    def test_cached_logits_equal_uncached(self, dtype, tolerance):
        model = small_vlm(dtype)
        decoder = model.decoder
        page = part("pages").draw_pages(6, 0)[4]
        tiling = part("pages").tiling_of(page.image.size, 9)
        views = part("pages").views_of(page, (256, 128), tiling, model.image_newline)
        ids = torch.randint(512, (12,), generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            maps = model.sam(views)
            given = model.arranged(model.project(maps, model.clip(maps)), tiling, torch.arange(5))
            cache = part("cache").KVCache(decoder.shape, 1, given)
            cached = [decoder.from_embeddings(given, cache)] + [decoder(token.view(1, 1), cache) for token in ids]
            for end, logits in enumerate(cached):
                rest = torch.nn.functional.embedding(ids[:end], decoder.tokens)[None]
                whole = decoder.from_embeddings(torch.cat((given, rest), dim=1))
                assert (logits - whole).abs().max() <= tolerance * whole.abs().max()
                assert torch.equal(logits.argmax(-1), whole.argmax(-1))
        assert cache.length == given.shape[1] + 12

    def test_both_arms_write_the_same(self, model):
        reading = part("reading")
        pages = part("pages").draw_pages(5, 1)
        for page in pages:
            with_, without = (
                reading.Reading(model, torch.arange(4), 6, cache).read(page, annotate.Laps("cpu"), "p")
                for cache in (True, False)
            )
            assert torch.equal(with_[0], without[0])
            assert with_[0].shape == (7,)
            # Keys and values of 4 layers, 128 wide, fp32.
            positions = reading.Reading(model, torch.arange(4), 6).positions(page) + 6
            assert (with_[1], without[1]) == (2 * 4 * 128 * 4 * positions, 0)


class TestShapes:
    def test_the_document_size_is_the_published_one(self):
        vlm = part("vlm")
        with torch.device("meta"):
            model = vlm.Vlm(vlm.SHAPES["document"])
        counts = {name: sum(w.numel() for w in child.parameters()) for name, child in model.named_children()}
        # SAM's base model with its compressor, CLIP's large one without the patch map, and 3 billion in the decoder.
        assert counts["sam_model"] == pytest.approx(95.6e6, rel=0.01)
        assert counts["vision_model"] == pytest.approx(303e6, rel=0.01)
        assert counts["projector"] == 2048 * 1280 + 1280
        assert counts["decoder"] == pytest.approx(2.93e9, rel=0.01)
        paper = part("memory").on_paper(vlm.SHAPES["document"].decoder)
        active = paper.token_weights + paper.head_weights
        assert active == pytest.approx(0.57e9, rel=0.05)

    def test_image_tokens_of_the_published_modes(self):
        vlm = part("vlm")
        shape = vlm.SHAPES["document"]
        # 1024 pixels are 16 × 16 tokens and a newline a row, 640 pixels 10 × 10.
        assert vlm.image_tokens(shape, (1, 1)) == 16 * 17 + 1
        assert vlm.image_tokens(shape, (2, 3)) == 16 * 17 + 1 + (2 * 10 + 1) * 3 * 10

    def test_tiles_lie_in_the_sequence_as_on_the_page(self, model):
        """Row by row over all tiles, each row ended by the newline, the page after them."""
        tiles = torch.arange(6 * 2 * 2, dtype=torch.float32).view(6, 2, 2, 1).expand(-1, -1, -1, 128)
        page = torch.full((1, 4, 4, 128), -1.0)
        line = model.arranged([tiles, page], (3, 2), torch.arange(2))[0]
        assert line.shape[0] == (3 * 2 + 1) * 4 + 4 * 5 + 1 + 2
        assert line[:6, 0].tolist() == [0, 1, 4, 5, 8, 9]
        assert torch.equal(line[6], model.image_newline)
        assert line[7:13, 0].tolist() == [2, 3, 6, 7, 10, 11]
        assert torch.equal(line[-3], model.view_separator)
        assert torch.equal(line[-2:], model.decoder.tokens[:2])


class TestPages:
    def test_a_seed_gives_the_same_pages(self):
        pages = part("pages")
        one, again, other = pages.draw_pages(20, 4), pages.draw_pages(20, 4), pages.draw_pages(20, 5)
        assert [page.image.tobytes() for page in one] == [page.image.tobytes() for page in again]
        assert len({page.image.tobytes() for page in (*one, *other)}) == 40
        assert {page.kind for page in one} == {"text", "columns", "table", "form"}
        assert all(0.001 < page.ink_share < 0.3 and page.words > 3 for page in one)
        assert len({pages.tiling_of(page.image.size, 9) for page in one}) >= 4

    @pytest.mark.parametrize(
        ("size", "tiling"),
        [((640, 640), (1, 1)), ((500, 400), (1, 1)), ((1280, 640), (2, 1)), ((700, 1400), (1, 2)),
         ((2000, 2000), (3, 3)), ((850, 1100), (2, 3)), ((6000, 100), (9, 1))],
    )  # fmt: skip
    def test_tilings(self, size, tiling):
        assert part("pages").tiling_of(size, 9) == tiling

    def test_views_hold_the_page(self):
        pages = part("pages")
        page = pages.draw_pages(1, 0)[0]
        tiles, whole = pages.views_of(page, (64, 32), (3, 2), torch.zeros(1))
        assert (tiles.shape, whole.shape) == ((6, 3, 32, 32), (1, 3, 64, 64))
        large = torch.tensor(list(page.image.resize((96, 64)).tobytes())).view(64, 96) / 127.5 - 1
        joined = torch.cat([torch.cat(list(tiles[row * 3 : row * 3 + 3, 0]), dim=1) for row in range(2)])
        assert torch.allclose(joined, large)
        assert whole.min() >= -1
        assert whole.max() <= 1


class TestScript:
    ARGS = ("--pages", "3", "--max-new-tokens", "2", "--bench-iters", "2", "--warmup-iters", "0", "--device", "cpu")

    def test_results(self, tmp_path, capsys):
        path = tmp_path / "r.json"
        saved = tmp_path / "pages"
        importlib.import_module("vlm_ocr").main([*self.ARGS, "--results", str(path), "--save-pages", str(saved)])
        data = json.loads(path.read_text(encoding="utf-8"))
        annotate.check_results(data)
        stages = ("sam", "clip", "projector", "prefill", "decode")
        assert [row["page"] for row in data["rows"]] == ["00", "01", "02"]
        for row in data["rows"]:
            assert row["time_to_first_token_ms"] == pytest.approx(sum(row[f"{stage}_ms"] for stage in stages[:4]))
            assert row["time_per_output_token_ms"] == pytest.approx(row["decode_ms"] / 2)
        values = [row["sam_ms"] for row in data["rows"]]
        mean = sum(values) / 3
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 2) / mean
        assert data["metrics"]["sam_variation_over_pages_share"] == pytest.approx(spread)
        assert all(data["metrics"][f"{stage}_variation_over_repeats_share"] >= 0 for stage in stages)
        assert data["tokens_run"] == 2 * 3 * 2
        assert data["settings"]["shape"]["experts"] == 16
        assert len(list(saved.glob("*.png"))) == 3
        assert "variation over pages" in capsys.readouterr().out

    def test_one_reading_of_a_page_has_no_variation(self, tmp_path):
        path = tmp_path / "r.json"
        args = ["--pages", "1", "--max-new-tokens", "1", "--bench-iters", "1", "--warmup-iters", "0", "--device", "cpu"]
        importlib.import_module("vlm_ocr").main([*args, "--results", str(path)])
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        assert metrics["sam_variation_over_pages_share"] is None
        assert metrics["sam_variation_over_repeats_share"] is None

    def test_every_stage_is_a_range(self):
        script = importlib.import_module("vlm_ocr")
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profiler:
            script.main([*self.ARGS[:-4], "--bench-iters", "1", "--warmup-iters", "0", "--device", "cpu"])
        names = [event.name for event in profiler.events() if event.is_user_annotation]
        counts = {name: names.count(name) for name in set(names)}
        for stage in ("page", "sam", "clip", "projector", "prefill", "decode"):
            assert counts[stage] == 3
        assert counts["decode_step"] == 3 * 2
        # Three layers of four have experts; a prefill and two steps a page.
        assert counts["router"] == counts["experts"] == 3 * 3 * 3
        assert counts["window_attention"] == counts["global_attention"]

    def test_a_model_of_another_kind_is_refused(self, tmp_path, capsys):
        pytest.importorskip("safetensors")
        made = importlib.import_module("builders.weights")
        folder = made.write_folder(tmp_path, made.LLAMA | {"model_type": "mamba"}, made.drawn({"x": (1,)}))
        with pytest.raises(SystemExit) as caught:
            importlib.import_module("vlm_ocr").main(["--weights", str(folder)])
        assert caught.value.code == 2
        assert "model_type 'mamba' is not known" in capsys.readouterr().err


def published_names(model, config):
    """The weights of `model` as the published checkpoint names them."""
    stored = {}
    for name, value in model.state_dict().items():
        if not name.startswith("decoder."):
            theirs = {"image_newline": "model.image_newline", "view_separator": "model.view_seperator"}
            stored[theirs.get(name, f"model.{name}")] = value
    for name, recipe in part("published").recipes_of(config, model.decoder.shape):
        value = model.decoder.get_parameter(name)
        each = list(value) if recipe.experts else [value]
        per_weight = len(recipe.parts) // len(each)
        pieces = [piece for one in each for piece in one.split(_heights(recipe, one, per_weight, model))]
        stored |= dict(zip(recipe.parts, (piece.clone() for piece in pieces), strict=True))
    return stored


def _heights(recipe, value, count, model):
    shape = model.decoder.shape
    if count == 3:
        return [shape.query_width, shape.kv_width, shape.kv_width]
    return [value.shape[0] // count] * count


def test_published_weights_come_back(tmp_path):
    pytest.importorskip("safetensors")
    made = importlib.import_module("builders.weights")
    config = made.MOE | {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 4,
                         "intermediate_size": 512, "vocab_size": 512, "n_routed_experts": 16, "num_experts_per_tok": 4,
                         "n_shared_experts": 2, "moe_intermediate_size": 64, "max_position_embeddings": 400,
                         "rms_norm_eps": 1e-6, "rope_theta": 10000.0}  # fmt: skip
    model = small_vlm()
    shape = model.shape
    nested = {"model_type": "DeepseekOCR", "language_config": config}
    folder = made.write_folder(tmp_path / "ocr", nested, published_names(model, nested), shards=2)
    sizes = {"sam": vars(shape.sam), "clip": vars(shape.clip), "page_side": 256, "tile_side": 128}
    (folder / "vision.json").write_text(json.dumps(sizes), encoding="utf-8")
    again = part("vlm_weights").load_vlm(folder, part("vlm_weights").vlm_shape(folder, 100), CPU, torch.float32)
    assert again.shape == shape
    for (name, one), (other, two) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(one, two), name
    path = tmp_path / "r.json"
    importlib.import_module("vlm_ocr").main(
        ["--weights", str(folder), "--pages", "1", "--max-new-tokens", "1", "--bench-iters", "1", "--device", "cpu",
         "--dtype", "fp32", "--results", str(path)])  # fmt: skip
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["settings"]["weights"], data["settings"]["size"]) == ("ocr", None)
    assert data["notes"] == ["pages are synthetic, drawn with Pillow; weights are those of the folder"]
