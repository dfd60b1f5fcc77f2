"""Formulas against FlopCounterMode and against the bytes of the real tensors; calls joined with kernels."""

import gzip
import json
import math
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import torch as traces
from nsightkit.analysis.roofs.peaks import Gpu, Peak
from nsightkit.analysis.work.analytic import NO_ROOFS, Roofs, analytic_rows, roofs_of
from nsightkit.analysis.work.formulas import FORMULAS, WRAPPERS, OperatorCall, work_of
from nsightkit.analysis.work.formulas.attention import pairs_under_mask
from nsightkit.analysis.work.formulas.call import KernelShape, Tensor, call_of
from nsightkit.analysis.work.formulas.reduction import kept_elements
from nsightkit.analysis.work.work_model import NO_FORMULA, NO_OPERATOR, TIMELINE_ONLY, call_records
from nsightkit.ingest.dataset import open_dataset

B200 = Gpu("NVIDIA B200", "10.0", 148)


def time_with_work(records):
    """Return (time of calls that have a figure for their work, time of all)."""
    items = list(records)
    return sum(r.time_ns for r in items if r.work), sum(r.time_ns for r in items)


def rows_of(path):
    dataset = open_dataset([path])
    launches = dataset.rows("kernel_launches") if dataset.has("kernel_launches") else []
    return dataset.rows("cpu_operators"), launches


def records_of(path):
    return call_records(*rows_of(path))


def call(name, *inputs, values=(), kernels=()):
    return OperatorCall(name, tuple(inputs), tuple(values), tuple(kernels))


def tensor(*shape, dtype="c10::BFloat16", strides=None):
    return Tensor(shape, dtype, strides)


# ---- against torch -------------------------------------------------------------------------------------------------


def torch_cases():
    """(name, operator, arguments): each is run for real; all inputs are read and all results written."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return [*torch_products(torch), *torch_others(torch)]


def random_tensor(torch, *shape, dtype=None):
    return torch.rand(shape).to(dtype or torch.float32)


def torch_products(torch):
    """Products of matrices, convolutions and attention."""
    aten, bf16, rand = torch.ops.aten, torch.bfloat16, partial(random_tensor, torch)
    ints = torch.randint(-5, 5, (32, 48), dtype=torch.int8)
    image, conv = rand(2, 6, 13, 11), aten.convolution.default
    q, k = rand(2, 4, 9, 16), rand(2, 4, 12, 16)
    return [
        ("mm", aten.mm.default, (rand(33, 20), rand(20, 17))),
        ("mm bf16", aten.mm.default, (rand(33, 20, dtype=bf16), rand(20, 17, dtype=bf16))),
        ("mm expanded", aten.mm.default, (rand(1, 20).expand(33, 20), rand(20, 17))),
        ("addmm", aten.addmm.default, (rand(17), rand(33, 20), rand(20, 17))),
        ("bmm", aten.bmm.default, (rand(3, 33, 20), rand(3, 20, 17))),
        ("baddbmm", aten.baddbmm.default, (rand(3, 33, 17), rand(3, 33, 20), rand(3, 20, 17))),
        ("int_mm", aten._int_mm.default, (ints, ints.t().contiguous())),
        ("mv", aten.mv.default, (rand(20, 30), rand(30))),
        ("conv", conv, (image, rand(8, 6, 3, 3), rand(8), [2, 1], [1, 1], [1, 2], False, [0, 0], 1)),
        ("conv groups", conv, (image, rand(8, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 2)),
        ("conv transposed", conv, (image, rand(6, 8, 3, 3), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1)),
        ("conv transposed groups", conv, (image, rand(6, 4, 3, 3), None, [2, 2], [1, 1], [1, 1], True, [0, 0], 2)),
        ("conv1d", conv, (rand(2, 6, 30), rand(8, 6, 5), None, [1], [2], [1], False, [0], 1)),
        ("attention cpu", aten._scaled_dot_product_flash_attention_for_cpu.default, (q, k, k)),
    ]  # fmt: skip


def torch_others(torch):
    """Norms, elementwise operators, reductions and copies."""
    aten, f32, bf16, rand = torch.ops.aten, torch.float32, torch.bfloat16, partial(random_tensor, torch)
    row = rand(1, 64).expand(32, 64)
    return [
        ("layer_norm", aten.native_layer_norm.default, (rand(5, 7, 64), [64], rand(64), rand(64), 1e-5)),
        ("group_norm", aten.native_group_norm.default, (rand(2, 8, 6, 6), rand(8), rand(8), 2, 8, 36, 4, 1e-5)),
        ("softmax", aten._softmax.default, (rand(5, 64), -1, False)),
        ("log_softmax", aten._log_softmax.default, (rand(5, 64), -1, False)),
        ("add", aten.add.Tensor, (rand(32, 64), rand(32, 64))),
        ("add broadcast", aten.add.Tensor, (rand(32, 64), rand(64))),
        ("add expanded", aten.add.Tensor, (rand(32, 64), row)),
        ("mul types", aten.mul.Tensor, (rand(32, 64, dtype=bf16), rand(32, 64))),
        ("mul scalar", aten.mul.Tensor, (rand(32, 64), 2.0)),
        ("gt", aten.gt.Tensor, (rand(32, 64), rand(32, 64))),
        ("where", aten.where.self, (rand(32, 64) > 0.5, rand(32, 64), rand(32, 64))),
        ("exp", aten.exp.default, (rand(32, 64),)),
        ("tanh", aten.tanh.default, (rand(32, 64),)),
        ("gelu", aten.gelu.default, (rand(32, 64),)),
        ("silu", aten.silu.default, (rand(32, 64),)),
        ("pow", aten.pow.Tensor_Scalar, (rand(32, 64), 2)),
        ("clamp", aten.clamp.default, (rand(32, 64), 0, 1)),
        ("cat", aten.cat.default, ([rand(3, 5), rand(4, 5)], 0)),
        ("sum all", aten.sum.default, (rand(32, 64),)),
        ("sum dim", aten.sum.dim_IntList, (rand(32, 64, 3), [1])),
        ("sum keepdim", aten.sum.dim_IntList, (rand(32, 64, 3), [0, 2], True)),
        ("sum of integers", aten.sum.default, (torch.ones(32, 64, dtype=torch.int32),)),
        ("mean dim", aten.mean.dim, (rand(32, 64), [-1])),
        ("amax", aten.amax.default, (rand(32, 64), [-1])),
        ("max dim", aten.max.dim, (rand(32, 64), 1)),
        ("argmax", aten.argmax.default, (rand(32, 64), -1)),
        ("cumsum", aten.cumsum.default, (rand(32, 64), 1)),
        ("max_pool", aten.max_pool2d_with_indices.default, (rand(2, 3, 12, 10), [3, 3], [2, 2], [1, 1])),
        ("gelu_backward", aten.gelu_backward.default, (rand(32, 64), rand(32, 64))),
        ("softmax_backward", aten._softmax_backward_data.default, (rand(5, 64), rand(5, 64), -1, f32)),
        ("batch_norm", aten.native_batch_norm.default, (rand(4, 8, 5, 5), *[rand(8)] * 4, False, 0.1, 1e-5)),
    ]  # fmt: skip


def profiled(function, arguments, tmp_path):
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as profiler:
        result = function(*arguments)
    path = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(path))
    results = result if isinstance(result, (tuple, list)) else [result]
    return [r for r in results if isinstance(r, torch.Tensor)], records_of(path)


def stored_bytes(item):
    import torch

    if isinstance(item, (list, tuple)):
        return sum(map(stored_bytes, item))
    if not isinstance(item, torch.Tensor):
        return 0
    sizes = [size for size, stride in zip(item.shape, item.stride(), strict=True) if stride]
    return math.prod(sizes) * item.element_size()


# Results that are of no size in a trace of shapes: the statistics of attention, scalars that stand for numbers.
SMALL = {"attention cpu": 2 * 4 * 9 * 4, "mul scalar": -8, "batch_norm": 0}


@pytest.mark.torch
def test_every_case_is_run():
    """The two tests below take the cases by number, as torch may be missing where tests are collected."""
    assert len(torch_cases()) == 45


@pytest.mark.torch
@pytest.mark.parametrize("case", range(45))
def test_bytes_are_those_of_the_tensors(case, tmp_path):
    name, function, arguments = torch_cases()[case]
    results, records = profiled(function, arguments, tmp_path)
    base = function.__name__.split(".")[0]
    main = [r for r in records if r.work and r.name == f"aten::{base}"]
    assert len(main) == 1, [r.name for r in records]
    assert main[0].work.read_bytes == sum(map(stored_bytes, arguments)) - min(SMALL.get(name, 0), 0)
    assert main[0].work.written_bytes == sum(map(stored_bytes, results)) - max(SMALL.get(name, 0), 0)


@pytest.mark.torch
@pytest.mark.parametrize("case", range(45))
def test_flop_of_products_are_those_of_flop_counter_mode(case, tmp_path):
    from torch.utils.flop_counter import FlopCounterMode

    name, function, arguments = torch_cases()[case]
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    expected = counter.get_total_flops()
    _, records = profiled(function, arguments, tmp_path)
    heavy = [r for r in records if r.work and (FORMULAS.get(r.name) or WRAPPERS[r.name]).heavy]
    if name in ("attention cpu", "int_mm", "mv"):
        # FlopCounterMode has no formula for these; the product's own sizes say it.
        expected = {"attention cpu": 4 * 2 * 4 * 9 * 12 * 16, "int_mm": 2 * 32 * 48 * 32, "mv": 2 * 20 * 30}[name]
    assert sum(r.work.flop for r in heavy) == expected


@pytest.mark.torch
def test_a_model_is_counted_as_flop_counter_mode_counts_it(tmp_path):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)]
    model = torch.nn.Sequential(*layers)
    x = torch.rand(4, 3, 6, 6)

    def step():
        model(x).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    records = profiled_step(step, tmp_path)
    heavy = [r for r in records if r.work and (FORMULAS.get(r.name) or WRAPPERS[r.name]).heavy]
    assert sum(r.work.flop for r in heavy) == counter.get_total_flops()
    # Each is counted once: no call lies inside another.
    spans = sorted((r.start_ns, r.end_ns, r.thread_id) for r in records if r.work)
    assert all(a[1] <= b[0] or a[2] != b[2] for a, b in pairwise(spans))


def profiled_step(step, tmp_path):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=True) as profiler:
        step()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    return records_of(tmp_path / "trace.json")


# ---- shapes without torch ------------------------------------------------------------------------------------------


def test_a_product_of_bf16_runs_on_the_tensor_pipe_and_its_name_tells_tf32():
    a, b = tensor(128, 64), tensor(64, 32)
    assert work_of(call("aten::mm", a, b)).dtype == "tensor_bf16"
    single = [tensor(128, 64, dtype="float"), tensor(64, 32, dtype="float")]
    tf32 = KernelShape("cutlass_80_tensorop_s1688gemm_128x128", (1, 1, 1), 10)
    assert work_of(call("aten::mm", *single)).dtype == "fp32"
    assert work_of(call("aten::mm", *single, kernels=[tf32])).dtype == "tensor_tf32"


def test_scaled_mm_writes_the_type_that_it_is_told():
    a, b = tensor(16, 32, dtype="c10::Float8_e4m3fn"), tensor(32, 16, dtype="c10::Float8_e4m3fn")
    scale = tensor(dtype="float")
    one = work_of(
        call("aten::_scaled_mm", a, b, scale, scale, None, None, None, None, values=[""] * 6 + ["15", "True"])
    )
    assert (one.flop, one.read_bytes, one.written_bytes, one.dtype) == (2 * 16 * 32 * 16, 1024, 512, "tensor_fp8")


@pytest.mark.parametrize(
    ("name", "place", "count"),
    [
        ("aten::_scaled_dot_product_flash_attention", 4, 7),
        ("aten::_scaled_dot_product_efficient_attention", 6, 8),
        ("aten::_scaled_dot_product_cudnn_attention", 6, 9),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", 4, 7),
        ("aten::scaled_dot_product_attention", 5, 8),
    ],
)
def test_attention_in_every_form(name, place, count):
    q, k = tensor(2, 8, 100, 64), tensor(2, 8, 100, 64)
    for causal, pairs in (("False", 100 * 100), ("True", 5050)):
        values = [""] * count
        values[place] = causal
        work = work_of(call(name, q, k, k, *[None] * (count - 3), values=values))
        assert work.flop == 4 * 2 * 8 * pairs * 64
        assert work.moved_bytes == 4 * 2 * 8 * 100 * 64 * 2
        assert not work.assumption
    assert "causal" in work_of(call(name, q, k, k)).assumption


@pytest.mark.parametrize(
    ("name", "place", "count"),
    [
        ("aten::_scaled_dot_product_flash_attention_backward", 11, 14),
        ("aten::_scaled_dot_product_efficient_attention_backward", 11, 12),
        ("aten::_scaled_dot_product_cudnn_attention_backward", 14, 15),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", 7, 8),
    ],
)
def test_attention_backward_counts_the_pairs_under_its_mask(name, place, count):
    torch = pytest.importorskip("torch")
    schema = getattr(torch.ops.aten, name.removeprefix("aten::")).default._schema
    assert schema.arguments[place].name == "is_causal"
    q, k, v, out = tensor(2, 8, 100, 64), tensor(2, 8, 100, 64), tensor(2, 8, 100, 32), tensor(2, 8, 100, 32)
    for causal, pairs in (("False", 100 * 100), ("True", 5050)):
        values = [""] * count
        values[place] = causal
        work = work_of(call(name, out, q, k, v, *[None] * (count - 4), values=values))
        assert work.flop == 2 * 2 * 8 * pairs * (3 * 64 + 2 * 32)
        # Gradient and result of the value's width are read, and the three inputs; their gradients are written.
        assert work.moved_bytes == (2 * 32 + 2 * (64 + 64 + 32)) * 2 * 8 * 100 * 2
        assert not work.assumption
    assert "causal" in work_of(call(name, out, q, k, v)).assumption


@given(st.integers(1, 40), st.integers(1, 40))
def test_pairs_under_a_causal_mask_are_counted(queries, keys):
    expected = sum(1 for i in range(queries) for j in range(keys) if j <= i)
    assert pairs_under_mask(queries, keys, True) == expected
    assert pairs_under_mask(queries, keys, False) == queries * keys


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_a_reduction_leaves_what_it_does_not_reduce(shape, data):
    dims = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), max_size=len(shape)))
    gone = {d % len(shape) for d in dims} if dims else set(range(len(shape)))
    assert kept_elements(tuple(shape), tuple(dims)) == math.prod(s for i, s in enumerate(shape) if i not in gone)


def test_a_gather_reads_rows_not_the_table():
    table, index = tensor(50257, 768), tensor(1, 12, dtype="long int")
    work = work_of(call("aten::embedding", table, index))
    assert work.flop == 0
    assert work.read_bytes == 12 * 768 * 2 + 12 * 8
    assert work.written_bytes == 12 * 768 * 2


def test_a_backward_convolution_counts_the_gradients_that_are_wanted():
    grad, x, weight = tensor(4, 8, 6, 6), tensor(4, 3, 6, 6), tensor(8, 3, 3, 3)
    once = 2 * 4 * 36 * 8 * 27
    for mask, times in (("[True, True, False]", 2), ("[False, True, True]", 1), ("[False, False, True]", 0)):
        values = ["", "", "", "[8]", "[1, 1]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1", mask]
        assert work_of(call("aten::convolution_backward", grad, x, weight, values=values)).flop == times * once


def test_a_mixture_of_experts_is_found_from_its_grids():
    kernels = [
        KernelShape("bmm_MxE4m3_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3", (8, 342, 1), 88_000),
        KernelShape("bmm_Bfloat16_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3", (24, 342, 1), 56_000),
    ]
    work = work_of(call("vllm::moe_forward", tensor(888, 3072), tensor(888, 128), None, kernels=kernels))
    # 342 tiles = (888 · 4 − 128) ÷ 16 + 128: four experts a token; 8 · 128 = 2 · 512 rows.
    assert work.flop == 2 * 4 * 888 * (3072 * 1024 + 512 * 3072)
    assert work.dtype == "tensor_fp8"
    assert work.assumption
    assert work_of(call("vllm::moe_forward", tensor(888, 3072), tensor(888, 128), None)) is None


@pytest.mark.parametrize(
    "broken",
    [
        call("aten::mm", tensor(3, 4), tensor(5, 6)),
        call("aten::mm", tensor(3, 4)),
        call("aten::mm", None, None),
        call("aten::bmm", tensor(2, 3, 4), tensor(3, 4, 5)),
        call("aten::add", tensor(3, 4), tensor(5, 6)),
        call("aten::add"),
        call("aten::add", tensor(3, dtype="odd"), tensor(3, dtype="odd")),
        call("aten::cat", None),
        call("aten::sum", tensor(2, 3), None, values=["", "[7]"]),
        call("aten::convolution", tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)),
        call("aten::_scaled_dot_product_flash_attention", tensor(2, 3), tensor(2, 3), tensor(2, 3)),
        call("aten::sort", tensor(3)),
    ],
    ids=lambda c: c.name,
)
def test_shapes_that_do_not_fit_give_no_figure(broken):
    assert work_of(broken) is None


NAMES = sorted({**FORMULAS, **WRAPPERS})
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
TENSORS = st.builds(Tensor, SHAPES, st.sampled_from(["float", "c10::BFloat16", "long int", "bool", "odd"]))


@given(
    st.sampled_from(NAMES),
    st.lists(st.one_of(st.none(), TENSORS, st.lists(TENSORS, max_size=3).map(tuple)), max_size=7),
    st.lists(st.sampled_from(["", "True", "False", "[1, 1]", "[-1]", "2", "[]", "x"]), max_size=11),
)
def test_no_call_breaks_a_formula_and_no_figure_is_negative(name, inputs, values):
    work = work_of(OperatorCall(name, tuple(inputs), tuple(values)))
    if work is not None:
        assert min(work.flop, work.read_bytes, work.written_bytes) >= 0


def test_where_has_a_figure_only_beside_a_tensor_that_gives_the_type():
    condition, values = tensor(8, dtype="bool"), tensor(8, dtype="float")
    assert work_of(call("aten::where", condition, values, None)).moved_bytes == 8 + 2 * 8 * 4
    assert work_of(call("aten::where", condition, condition, condition)).moved_bytes == 4 * 8
    assert work_of(call("aten::where", condition, None, None)) is None  # of numbers the trace has no type
    assert work_of(call("aten::where", condition)) is None  # as many places as are true


def test_the_type_of_a_list_comes_from_the_kernel_or_is_assumed():
    columns = [json.dumps([[[4, 4], [2, 2]], []]), json.dumps(["TensorList", "Scalar"]), None, None]
    named = KernelShape("void CatArrayBatchedCopy<OpaqueType<2u>, unsigned>", (1, 1, 1), 5)
    assert work_of(call_of("aten::cat", columns, [named])).moved_bytes == 2 * 20 * 2
    assumed = work_of(call_of("aten::cat", columns))
    assert assumed.moved_bytes == 2 * 20 * 4
    assert "list" in assumed.assumption


# ---- calls joined with kernels -------------------------------------------------------------------------------------

SHAPES_OF_MM = {
    "Input Dims": [[128, 64], [64, 32]],
    "Input type": ["c10::BFloat16"] * 2,
    "Input Strides": [[64, 1], [32, 1]],
}


def gpu_trace(tmp_path, *more):
    events = [
        traces.operator(
            "aten::linear", 0, 100, 1, **{"Input Dims": [[128, 64], [32, 64]], "Input type": ["c10::BFloat16"] * 2}
        ),
        traces.operator("aten::mm", 10, 50, 2, **SHAPES_OF_MM),
        traces.call("cudaLaunchKernel", 20, 5, 7, **{"External id": 2}),
        traces.call("cudaLaunchKernel", 30, 5, 8, **{"External id": 2}),
        traces.kernel("gemm<a|b>", 200, 10, 7, **{"External id": 2}),
        traces.kernel("splitKreduce", 215, 3, 8, **{"External id": 2}),
        *more,
    ]
    return traces.write(tmp_path / "t.json", traces.trace(events))


def test_the_point_is_the_operator_call_with_the_time_of_all_its_kernels(tmp_path):
    records = records_of(gpu_trace(tmp_path))
    assert [(r.name, r.time_ns, r.kernel_count, r.main_kernel) for r in records] == [
        ("aten::mm", 13_000, 2, "gemm<a|b>")
    ]
    assert records[0].work.flop == 2 * 128 * 64 * 32
    assert time_with_work(records) == (13_000, 13_000)


def test_kernels_without_operator_or_formula_keep_their_time_and_a_reason(tmp_path):
    more = (
        traces.operator("aten::sort", 300, 50, 3, **SHAPES_OF_MM),
        traces.call("cudaLaunchKernel", 310, 5, 9, **{"External id": 3}),
        traces.kernel("radixSort<script>", 400, 20, 9, **{"External id": 3}),
        traces.kernel("orphan", 500, 40, 99),
    )
    records = {r.name: r for r in records_of(gpu_trace(tmp_path, *more))}
    assert (records["aten::sort"].time_ns, records["aten::sort"].reason) == (20_000, NO_FORMULA)
    assert (records["orphan"].time_ns, records["orphan"].reason) == (40_000, NO_OPERATOR)
    assert time_with_work(records.values()) == (13_000, 73_000)


def test_a_timeline_without_operators_says_what_it_lacks():
    launch = {"kernel_name": "k", "external_id": None, "duration_ns": 5, "start_ns": 0}
    launch |= {f"grid_{axis}": 1 for axis in "xyz"}
    (record,) = call_records([], [launch])
    assert (record.work, record.reason) == (None, TIMELINE_ONLY)


# ---- rows under roofs ----------------------------------------------------------------------------------------------


def record_of(work_call, time_ns):
    from nsightkit.analysis.work.work_model import CallRecord

    return CallRecord(work_call.name, "shapes", time_ns, 0, 0, 1, 1, work_of(work_call), "k", 1)


BIG_GEMM = call("aten::mm", tensor(8192, 8192), tensor(8192, 8192))
BIG_COPY = call("aten::copy_", tensor(2**30), tensor(2**30))
GEMM_NS = 2 * 8192**3 / 2250e12 * 1e9
COPY_NS = 2 * 2 * 2**30 / 8e12 * 1e9


@pytest.mark.parametrize(
    ("work_call", "time_ns", "bound"),
    [
        (BIG_GEMM, GEMM_NS / 0.8, "COMPUTE"),
        (BIG_COPY, COPY_NS / 0.9, "MEMORY"),
        (BIG_GEMM, GEMM_NS / 0.3, "UNKNOWN"),  # far from its roof: shapes cannot say why
        (BIG_COPY, COPY_NS / 1.5, "UNKNOWN"),  # above the roof: flagged
        (call("aten::add", tensor(2**28), tensor(2**28)), 3 * 2 * 2**28 / 8e12 * 1e9 / 0.85, "MEMORY"),
        (call("aten::mm", tensor(1, 8192), tensor(8192, 8192)), (8192**2 + 2 * 8192) * 2 / 8e12 * 1e9 / 0.8, "MEMORY"),
    ],
)
def test_bounds_from_shapes(work_call, time_ns, bound):
    (row,) = analytic_rows("c", [record_of(work_call, round(time_ns))], roofs_of(B200))
    assert row.bound == bound
    assert row.tier == "analytic"
    assert any("experimental" in flag for flag in row.flags)
    if work_call is BIG_COPY:
        assert row.point is None
        assert row.bytes_per_s == pytest.approx(4 * 2**30 / round(time_ns) * 1e9)


def test_without_a_roof_there_is_work_and_time_only():
    (row,) = analytic_rows("c", [record_of(BIG_GEMM, 1000)], NO_ROOFS)
    assert (row.bound, row.point, row.flop) == ("UNKNOWN", None, 2 * 8192**3)
    assert row.missing


@pytest.mark.parametrize(("factor", "bound", "close"), [(0.97, "COMPUTE", True), (0.9, "COMPUTE", False),
                                                        (1.03, "MEMORY", True), (1.1, "MEMORY", False)])  # fmt: skip
def test_work_at_the_ridge_says_that_both_sides_may_bound(factor, bound, close):
    """The product of 8192 has 8192 / 3 FLOP a byte; the ridge lies at `factor` times that."""
    peak = factor * 8192 / 3 * 1e12
    roofs = Roofs({"tensor_bf16": Peak(peak, peak, "x")}, Peak(1e12, 1e12, "x"))
    time = round(max(2 * 8192**3 / peak, 6 * 8192**2 / 1e12) * 1e9 / 0.8)
    (row,) = analytic_rows("c", [record_of(BIG_GEMM, time)], roofs)
    assert row.bound == bound
    assert any("at the ridge" in flag for flag in row.flags) == close


def test_an_assumption_gives_no_verdict():
    attention = call("aten::_scaled_dot_product_flash_attention", *[tensor(8, 32, 4096, 128)] * 3)
    flop = 4 * 8 * 32 * 4096**2 * 128
    (row,) = analytic_rows("c", [record_of(attention, round(flop / 2250e12 * 1e9 / 0.7))], roofs_of(B200))
    assert row.bound == "UNKNOWN"
    assert any(flag.startswith("assumed") for flag in row.flags)


@given(st.floats(1e-3, 1e3), st.sampled_from([BIG_GEMM, BIG_COPY]))
def test_scaling_roofs_and_time_together_changes_no_verdict(scale, work_call):
    base = Roofs({"tensor_bf16": Peak(1e15, 1e15, "x")}, Peak(1e12, 1e12, "x"))
    scaled = Roofs({"tensor_bf16": Peak(1e15 / scale, 1e15 / scale, "x")}, Peak(1e12 / scale, 1e12 / scale, "x"))
    time = 10**9
    a = analytic_rows("c", [record_of(work_call, time)], base)[0].bound
    b = analytic_rows("c", [record_of(work_call, round(time * scale))], scaled)[0].bound
    assert a == b


@pytest.mark.shared
@pytest.mark.parametrize("name", ["b200-eager.json.gz", "b200-deepseek-v3-shapes.json"])
def test_at_least_nine_tenths_of_the_kernel_time_has_a_formula(shared_data, name):
    placed, whole = time_with_work(records_of(shared_data / "torch-trace" / name))
    assert placed / whole >= 0.99


@pytest.mark.shared
def test_the_kernel_time_of_a_trace_is_kept_whole(shared_data):
    path = shared_data / "torch-trace" / "b200-eager.json.gz"
    raw = json.loads(gzip.decompress(path.read_bytes()))
    kernels = [e for e in raw["traceEvents"] if e.get("cat") == "kernel"]
    assert sum(r.time_ns for r in records_of(path)) == round(sum(e["dur"] for e in kernels) * 1000)
    assert sum(r.kernel_count for r in records_of(path)) == len(kernels)


@pytest.mark.shared
def test_a_trace_of_the_cpu_has_work_and_time_and_no_roof(shared_data):
    records = records_of(shared_data / "torch-trace" / "cpu-only.json.gz")
    rows = analytic_rows("c", records)
    assert {row.bound for row in rows} == {"UNKNOWN"}
    assert sum(row.flop or 0 for row in rows) > 1e9
    assert all(row.point is None for row in rows)


def test_every_formula_is_in_the_docs():
    from pathlib import Path

    docs = Path(__file__).resolve().parent.parent / "docs"
    text = (docs / "method.md").read_text(encoding="utf-8")
    plain = [name.removeprefix("aten::_foreach_").removeprefix("aten::").rstrip("_") for name in NAMES]
    assert not [
        name for name, short in zip(NAMES, plain, strict=True) if f"`{name}`" not in text and f"`{short}`" not in text
    ]
