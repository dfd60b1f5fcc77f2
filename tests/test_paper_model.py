"""The paper model: known sizes to the last parameter, FLOP equal to counted ones to the last unit, hand-made bytes."""

import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape, known_shapes, shape_of_name
from nsightkit.errors import AnalysisError, NsightkitError
from nsightkit.gpus import gpu_of_key


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # As the published checkpoints have them.
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("distilgpt2", 81_912_576),
        ("llama-3-8b", 8_030_261_248),
        ("mixtral-8x7b", 46_702_792_704),
    ],
)
def test_parameters_of_known_models(name, parameters):
    assert shape_of_name(name).stored_weights == parameters


def test_latent_attention_keeps_one_row():
    shape = shape_of_name("deepseek-v2-lite")
    work = paper.Work(dtype="bfloat16")
    assert paper.kv_position_bytes(shape, work) == 27 * (512 + 64) * 2
    assert shape.stored_weights == pytest.approx(15.7e9, rel=0.001)
    # Absorbed form: scores over 512 + 64 values, mixing over 512, for 16 heads.
    assert shape.pair_flop == 2 * 16 * (576 + 512)
    # Spread out to the heads, as in prefill: keys of 128 + 64 values, values of 128.
    assert shape.whole_pair_flop == 2 * 16 * (192 + 128)


def test_kv_bytes_of_the_assignment():
    """The KV assignment study writes 3072 bytes for one position of one layer of DistilGPT2, and 18 kB for all six."""
    work = paper.Work(dtype="float16")
    shape = shape_of_name("distilgpt2")
    assert paper.kv_position_bytes(shape, work) == 6 * 3072 == 18_432
    assert paper.kv_bytes(shape, work, 512) == pytest.approx(9.44e6, rel=0.001)


def test_grouped_queries_and_int8():
    shape = ModelShape(layers=2, heads=8, kv_heads=2, width=64, vocabulary=10)
    assert paper.kv_position_bytes(shape, paper.Work(dtype="float32")) == 2 * 2 * 2 * 8 * 4
    assert paper.kv_position_bytes(shape, paper.Work(cache=paper.INT8)) == 2 * 2 * 2 * (8 + 4)


def test_work_of_the_reference_measurement():
    """GPT-2 small, 64 tokens of prompt: the linear part has 84,934,656 weights, the head 768 × 50257."""
    shape = shape_of_name("gpt2")
    work = paper.Work(prompt=64, new_tokens=15, dtype="float32")
    assert shape.token_weights == 84_934_656
    first, rest = paper.prefill_cost(shape, work), paper.decode_cost(shape, work)
    assert first.linear_flop + rest.linear_flop + first.head_flop + rest.head_flop == 14_654_791_680
    assert rest.passes == 15


def test_bytes_by_hand():
    shape = ModelShape(layers=1, heads=1, width=2, vocabulary=3)
    work = paper.Work(batch=2, prompt=4, new_tokens=1, dtype="float32")
    # Projections 4 × 4, feed-forward 2 × 2 × 8, head 6, one embedding row of 2 a token.
    assert shape.token_weights == 16 + 32
    cost = paper.prefill_cost(shape, work)
    assert (cost.weight_bytes, cost.kv_read_bytes) == ((48 + 6 + 2 * 8) * 4, 0)
    assert cost.kv_written_bytes == 2 * 4 * (2 * 2) * 4
    step = paper.decode_cost(shape, work)
    assert (step.kv_read_bytes, step.kv_written_bytes) == (2 * 4 * 4 * 4, 2 * 1 * 4 * 4)
    assert step.attention_flop == 4 * 2 * 2 * 5
    assert step.flop == 2 * 48 * 2 + 4 * 2 * 2 * 5 + 2 * 6 * 2


def test_experts_are_read_as_they_are_met():
    shape = ModelShape(
        layers=3,
        heads=1,
        width=4,
        vocabulary=5,
        experts=4,
        active_experts=1,
        shared_experts=1,
        expert_width=6,
        dense_layers=1,
    )
    one = 2 * 4 * 6
    assert shape.expert_weights == one
    # One token meets one expert; without end all four are read.
    assert shape.read_weights(1) == shape.token_weights
    assert shape.read_weights(10_000) == pytest.approx(shape.token_weights + 2 * 3 * one)
    assert shape.read_weights(2) == pytest.approx(shape.token_weights + 2 * one * 0.75)


def test_roofline_time_is_the_larger_of_two():
    shape = shape_of_name("gpt2")
    peaks = paper.Peaks("made up", flop_per_s=1e12, bytes_per_s=1e11)
    for prompt, bound in ((1, "bytes"), (4096, "flop")):
        cost = paper.prefill_cost(shape, paper.Work(prompt=prompt))
        times = {"flop": cost.flop / 1e12 * 1e9, "bytes": cost.moved_bytes / 1e11 * 1e9}
        assert max(times, key=times.get) == bound
        assert peaks.time_ns(cost) == times[bound]
    assert peaks.ridge_flop_per_byte == 10


def test_floor_of_the_batch_study():
    """The batch size study: one step of 10.3 ms against about 0.18 ms for reading 178 M bf16 weights on an A100."""
    peaks = paper.peaks_of(gpu_of_key("a100-80gb-sxm"), "bfloat16")
    assert 178e6 * 2 / peaks.bytes_per_s == pytest.approx(0.175e-3, rel=0.01)


def test_capacity_counts_the_weights_first():
    shape = shape_of_name("gpt2-medium")
    weights = 2 * 354_823_168
    row = 2 * 24 * 1024 * 2
    assert paper.capacity(shape, paper.Work(), 1024, weights + 3 * 1024 * row + 1) == 3
    assert paper.capacity(shape, paper.Work(), 1024, weights - 1) == 0


def test_measured_capacity_is_that_of_whole_contexts():
    """491 users at "T = 128" on an A6000 are 1024 reserved positions each, as the paper model finds within 2 %."""
    medium = shape_of_name("gpt2-medium")
    plain = paper.capacity(medium, paper.Work(), 1024, 50.615691776e9)
    shared = ModelShape(
        layers=24, heads=16, width=1024, vocabulary=50257, learned_positions=1024, biases=True, kv_layers=12
    )
    both = paper.capacity(shared, paper.Work(cache=paper.INT8), 1024, 49.982542848e9)
    assert plain == pytest.approx(491, rel=0.02)
    assert both == pytest.approx(1867, rel=0.02)


@settings(deadline=None)  # the first call may be slow on a busy machine
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 12))
def test_a_cache_never_costs_flop(batch, prompt, new):
    shape = ModelShape(layers=2, heads=2, width=8, vocabulary=16)
    on, off = (paper.decode_cost(shape, paper.Work(batch, prompt, new, cached)) for cached in (True, False))
    assert on.flop <= off.flop
    assert off.kv_read_bytes == 0
    assert paper.decode_cost(shape, paper.Work(2 * batch, prompt, new)).flop == 2 * on.flop


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"layers": 0}, "at least one layer"),
        ({"kv_heads": 3}, "do not divide"),
        ({"experts": 2, "active_experts": 3}, "3 active of 2 experts"),
    ],
)
def test_impossible_shapes(sizes, text):
    with pytest.raises(AnalysisError, match=text):
        ModelShape(**{"layers": 1, "heads": 4, "width": 8, "vocabulary": 9} | sizes)


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(AnalysisError, match="no model 'gpt5'; did you mean gpt2\\? known are gpt2,"):
        shape_of_name("gpt5")
    with pytest.raises(AnalysisError, match="no model 'zzz'; known are gpt2,"):
        shape_of_name("zzz")
    with pytest.raises(NsightkitError, match="no GPU 'h100-sx' in the table; did you mean h100-sxm\\? it has"):
        gpu_of_key("h100-sx")
    with pytest.raises(AnalysisError, match="dtype 'int3'"):
        paper.Work(dtype="int3")
    assert all(shape.source for shape in known_shapes().values())


@pytest.mark.torch
@pytest.mark.usefixtures("workloads_on_path")
class TestCounted:
    """FLOP that torch counts while the workload runs."""

    def counted(self, work):
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        def attention(query, key, *rest, **more):
            batch, heads, new, width = query
            return 4 * batch * heads * new * key[2] * width

        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        with FlopCounterMode(display=False, custom_mapping={flash: attention}) as counter:
            work()
        return counter.get_total_flops()

    @pytest.mark.parametrize("kv_heads", [4, 2])
    @pytest.mark.parametrize("cache", ["true", "false"])
    def test_kv_decode(self, cache, kv_heads):
        kv_decode = importlib.import_module("kv_decode")
        annotate = importlib.import_module("nsightkit.annotate")
        options = kv_decode.parse_arguments(
            [
                "--prompt-len",
                "7",
                "--max-new-tokens",
                "5",
                "--layers",
                "3",
                "--heads",
                "4",
                "--width",
                "32",
                "--batch-size",
                "2",
                "--vocabulary",
                "50",
                "--device",
                "cpu",
                "--kv-cache",
                cache,
                "--kv-heads",
                str(kv_heads),
            ]
        )
        model = kv_decode.model_of(options)
        arm = kv_decode.Decode(model, kv_decode.make_prompt(options), options)
        shape = ModelShape(layers=3, heads=4, kv_heads=kv_heads, width=32, vocabulary=50)
        work = paper.Work(2, 7, 5, cache == "true", "float32")
        expected = paper.prefill_cost(shape, work).flop + paper.decode_cost(shape, work).flop
        assert self.counted(lambda: arm.run(annotate.Laps("cpu"))) == expected

    @pytest.mark.parametrize("cached", [True, False])
    def test_a_mixture_of_experts(self, cached):
        """Each token meets the router, its two experts and the shared ones, whichever the router chooses."""
        import torch

        gpt = importlib.import_module("models.gpt")
        sizes = {"layers": 3, "heads": 4, "kv_heads": 2, "width": 32, "vocabulary": 50, "mlp_width": 48,
                 "gated_mlp": True, "experts": 6, "active_experts": 2, "shared_experts": 1, "expert_width": 24,
                 "dense_layers": 1}  # fmt: skip
        parts = {"rms_norm": True, "rotary_base": 100.0, "bias": False, "max_length": 20}
        model = gpt.build_gpt(gpt.GptShape(**sizes, **parts), 0, torch.device("cpu"), torch.float32)
        shape, work = ModelShape(**sizes), paper.Work(2, 7, 3, cached, "float32")
        ids = torch.randint(50, (2, 10), generator=torch.Generator().manual_seed(1))
        cache = gpt.KVCache(model.shape, 2, model.head.weight) if cached else None
        assert self.counted(lambda: model(ids[:, :7], cache)) == paper.prefill_cost(shape, work).flop
        steps = [
            self.counted(lambda end=end: model(ids[:, end - 1 if cached else 0 : end], cache)) for end in (8, 9, 10)
        ]
        assert steps == [cost.flop for cost in paper.step_costs(shape, work)]
        if cache is not None:
            assert cache.used_bytes == paper.kv_bytes(shape, work, 10)

    def test_the_decoder_that_reads_pages(self):
        """Prefill and decode of vlm_ocr cost what the paper model says of its shape."""
        import torch

        annotate, reading = importlib.import_module("nsightkit.annotate"), importlib.import_module("models.reading")
        script, memory = importlib.import_module("vlm_ocr"), importlib.import_module("models.memory")
        options = script.parse_arguments(["--device", "cpu", "--max-new-tokens", "3"])
        made = script.make_reading(options)
        for page in importlib.import_module("models.pages").draw_pages(2, 0):
            given = torch.zeros(1, made.positions(page), options.shape.decoder.width)
            work = paper.Work(1, given.shape[1], 3, dtype="float32")
            shape = memory.on_paper(options.shape.decoder)
            cache = reading.KVCache(options.shape.decoder, 1, given)
            prefill = self.counted(lambda given=given, cache=cache: made.model.decoder.from_embeddings(given, cache))
            assert prefill == paper.prefill_cost(shape, work).flop
            kept = (annotate.Laps("cpu"), "p")
            decode = self.counted(
                lambda given=given, cache=cache, kept=kept: made._decoded(given, torch.tensor([5]), cache, kept)
            )
            assert decode == paper.decode_cost(shape, work).flop

    def test_layers_that_borrow_project_only_queries(self):
        import torch

        gpt, variants = importlib.import_module("models.gpt"), importlib.import_module("models.variants")
        sizes = gpt.GptShape(layers=4, heads=2, kv_heads=2, width=16, vocabulary=20, max_length=16)
        model = gpt.build_gpt(sizes, 0, torch.device("cpu"), torch.float32)
        shape = ModelShape(layers=4, heads=2, width=16, vocabulary=20, kv_layers=2)
        decoder = variants.Decoder(model, variants.VARIANTS["v3"], 1)
        ids = torch.zeros((1, 6), dtype=torch.long)
        work = paper.Work(1, 6, 1, dtype="float32")
        assert self.counted(lambda: decoder.feed(ids)) == paper.prefill_cost(shape, work).flop
        assert self.counted(lambda: decoder.feed(ids[:, :1])) == paper.decode_cost(shape, work).flop
        assert decoder.cache_bytes == paper.kv_bytes(shape, work, 7)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_latent_attention(self, dtype):
        """Latent attention written out as matrix products: prefill of 5 positions spread out, two absorbed steps."""
        import torch

        torch_dtype = getattr(torch, dtype)
        heads, width, latent, rope, nope, value = 3, 24, 10, 4, 6, 5
        shape = ModelShape(layers=2, heads=heads, width=width, vocabulary=40, mlp_width=32, gated_mlp=True,
                           latent_width=latent, rope_width=rope, nope_width=nope, value_width=value)  # fmt: skip
        generator = torch.Generator().manual_seed(0)

        def drawn(*sizes):
            return torch.randn(*sizes, generator=generator, dtype=torch_dtype)

        def spread_out(query, rows):
            keys_values = (rows[:, :latent] @ drawn(latent, heads * (nope + value))).view(-1, heads, nope + value)
            keys, values = keys_values.transpose(0, 1).split((nope, value), dim=-1)
            keys = torch.cat((keys, rows[:, latent:].expand(heads, -1, -1)), dim=-1)
            return (query @ keys.mT).softmax(-1) @ values

        def layer(x, rows):
            new = x.shape[0]
            query = (x @ drawn(width, heads * (nope + rope))).view(new, heads, nope + rope).transpose(0, 1)
            row = x @ drawn(width, latent + rope)
            rows = torch.cat((rows, row))
            if new > 1:
                mixed = spread_out(query, rows)
            else:
                # Keys are never expanded: the queries are brought to the compressed rows instead.
                absorbed = torch.cat((query[..., :nope] @ drawn(heads, nope, latent), query[..., nope:]), dim=-1)
                shares = (absorbed @ rows.T.expand(heads, -1, -1)).softmax(-1)
                mixed = (shares @ rows[:, :latent].expand(heads, -1, -1)) @ drawn(heads, latent, value)
            x = x + mixed.transpose(0, 1).reshape(new, heads * value) @ drawn(heads * value, width)
            return x + ((x @ drawn(width, 32)) * (x @ drawn(width, 32))) @ drawn(32, width), rows

        caches = [torch.zeros(0, latent + rope, dtype=torch_dtype) for _ in range(2)]

        def forward(new):
            x = drawn(new, width)
            for number in range(2):
                x, caches[number] = layer(x, caches[number])
            x[-1:] @ drawn(width, 40)

        work = paper.Work(1, 5, 2, dtype=dtype)
        assert self.counted(lambda: forward(5)) == paper.prefill_cost(shape, work).flop
        assert self.counted(lambda: [forward(1), forward(1)]) == paper.decode_cost(shape, work).flop
        held = sum(rows.numel() * rows.element_size() for rows in caches)
        assert held == paper.kv_bytes(shape, work, 7)
