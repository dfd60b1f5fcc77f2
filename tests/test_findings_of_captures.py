"""Each rule on small captures from end to end: one in which it must speak, and one near it in which it must not."""

import pytest

from builders import nsys, timeline, torch
from builders.timeline import Host
from nsightkit.analysis import AnalysisOptions, analyze_tables
from nsightkit.ingest.dataset import open_dataset

GEMM = "ampere_bf16_s1688gemm_bf16_128x128_ldg8_f2f_tn"
GEMV = "void gemv2T_kernel_val<int, int, __nv_bfloat16, __nv_bfloat16, float, (int)128>(T1)"
ATEN = "void at::native::"
ADD = f"{ATEN}vectorized_elementwise_kernel<(int)4, {ATEN}CUDAFunctor_add<float>, std::array<char *, 3>>(int, T2, T3)"
CAT = f"{ATEN}<unnamed>::CatArrayBatchedCopy<float, unsigned int, (int)4, (int)64, (int)64>(T1 *)"
COPY = (
    f"{ATEN}elementwise_kernel<(int)128, (int)2, void {ATEN}gpu_kernel_impl_nocast<{ATEN}direct_copy_kernel_cuda("
    "at::TensorIteratorBase &)::[lambda(float) (instance 1)]>(T1)>(int, T3)"
)
CONVERSION = (
    f"{ATEN}unrolled_elementwise_kernel<{ATEN}direct_copy_kernel_cuda(at::TensorIteratorBase &)::[lambda(float) "
    "(instance 1)], std::array<char *, 2>, (int)4, TrivialOffsetCalculator<(int)1, unsigned int>, "
    f"TrivialOffsetCalculator<(int)1, unsigned int>, {ATEN}memory::LoadWithCast<(int)1>, "
    f"{ATEN}memory::StoreWithCast<(int)1>>(int, T1)"
)


def told(host, folder, tracing_ratio=1.02):
    """Findings of a planted timeline, read from an export of Nsight Systems."""
    path = folder / "planted.sqlite"
    path.unlink(missing_ok=True)
    nsys.write_sqlite(path, timeline.nsys_capture_of(host))
    return analyze_tables(open_dataset([path]), AnalysisOptions(tracing_ratio=tracing_ratio)).story.findings


def busy(*rows):
    """A GPU without a gap that runs (name, ns) one after the other, fifty times."""
    host = Host()
    for _ in range(50):
        for name, ns in rows:
            host.launch(ns, name)
    return host


def titled(findings, start):
    return [finding for finding in findings.found if finding.title.startswith(start)]


WAITING = {
    "Launch-bound": timeline.launch_bound,
    "Relieve the launching thread": timeline.host_bound,
    "Synchronize less": timeline.sync_bound,
    "Overlap communication": timeline.communication_bound,
    "Overlap copies": timeline.copy_bound,
}


@pytest.mark.parametrize("planted", WAITING.values(), ids=WAITING)
def test_time_without_computing_is_said_by_its_cause(planted, tmp_path):
    findings = told(planted(1), tmp_path)
    for start, cause in WAITING.items():
        found = titled(findings, start)
        assert bool(found) == (cause is planted), start
        assert all(one.stake_of == "span on the GPU" and 0 < one.stake_share < 1 for one in found)


def test_a_gpu_that_computes_is_not_told_to_wait_less(tmp_path):
    findings = told(timeline.gpu_bound(1), tmp_path)
    assert [start for start in WAITING if titled(findings, start)] == []


@pytest.mark.parametrize("ratio", [None, 1.4])
def test_launch_bound_is_not_said_without_a_small_measured_overhead(ratio, tmp_path):
    findings = told(timeline.launch_bound(1), tmp_path, ratio)
    assert titled(findings, "Launch-bound") == []
    assert [one.rule for one in findings.withheld] == ["waiting"]


FAMILIES = {
    "Batch the matrix-vector products": (GEMV, GEMM),
    "Keep one dtype along the path": (CONVERSION, COPY),
    "Avoid copies": (COPY, CONVERSION),
    "Write in place": (CAT, ADD),
}


@pytest.mark.parametrize("start", FAMILIES)
def test_a_family_is_said_by_the_names_of_its_kernels(start, tmp_path):
    name, other = FAMILIES[start]
    (finding,) = titled(told(busy((name, 20_000), (GEMM, 60_000)), tmp_path), start)
    assert finding.stake_of == "kernel time"
    assert finding.stake_share == pytest.approx(0.125 if name == GEMV else 0.25)
    assert finding.kernels == (name,)
    assert titled(told(busy((other, 20_000), (GEMM, 60_000)), tmp_path), start) == []
    assert titled(told(busy((name, 1_000), (GEMM, 60_000)), tmp_path), start) == []


def test_pointwise_kernels_are_a_chain_only_one_after_the_other(tmp_path):
    (finding,) = titled(told(busy((ADD, 10_000), (ADD, 20_000), (GEMM, 70_000)), tmp_path), "Fuse")
    assert [number.value for number in finding.evidence] == [50, 100, 1_500_000]
    assert (finding.stake_ns, finding.stake_share) == (500_000, pytest.approx(0.1))
    apart = busy((ADD, 10_000), (GEMM, 35_000), (ADD, 20_000), (GEMM, 35_000))
    assert titled(told(apart, tmp_path), "Fuse") == []
    streams = Host()
    for _ in range(50):
        streams.launch(10_000, ADD, stream=7)
        streams.launch(20_000, ADD, stream=8)
        for stream in (7, 8):
            streams.launch(35_000, GEMM, stream=stream)
    assert titled(told(streams, tmp_path), "Fuse") == []


@pytest.mark.parametrize(("first", "said"), [(40, True), (10, False)])
def test_a_cold_start_is_said_of_a_first_instance_that_takes_longer(first, said, tmp_path):
    host = Host()
    for step in range(6):
        host.push("step")
        for _ in range(first if step == 0 else 10):
            host.launch(50_000, GEMM)
        host.synchronize()
        host.pop()
    found = titled(told(host, tmp_path), "Leave the first 'step' out")
    assert bool(found) == said
    assert all(one.stake_ns is None for one in found)


SLOW = "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel::Params)"
FAST = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4>>(Flash_fwd_params)"


def attention(folder, *calls):
    """A trace of attention calls: (operator, kernel, tokens, us)."""
    events, at = [], 0
    for number, (name, kernel, tokens, us) in enumerate(calls, 1):
        events += [
            torch.operator(f"aten::{name}", at, 8, number, **{
                "Input Dims": [[1, 8, tokens, 64]] * 3, "Input type": ["c10::BFloat16"] * 3,
                "Input Strides": [[8 * tokens * 64, tokens * 64, 64, 1]] * 3}),
            torch.call("cudaLaunchKernel", at + 1, 3, number, **{"External id": number}),
            torch.kernel(kernel, at + 10, us, number, **{"External id": number}),
        ]  # fmt: skip
        at += 20 + us
    path = torch.write(folder / "attention.json", torch.trace(events))
    return analyze_tables(open_dataset([path]), AnalysisOptions()).story.findings


def test_a_slower_attention_kernel_is_said_at_equal_shapes_only(tmp_path):
    slow, fast = "_scaled_dot_product_efficient_attention", "_scaled_dot_product_flash_attention"
    (finding,) = titled(attention(tmp_path, (slow, SLOW, 512, 90), (fast, FAST, 512, 30)), "Use the faster attention")
    assert finding.stake_ns == pytest.approx(60_000)
    assert finding.kernels == (SLOW,)
    for other in ((fast, FAST, 128, 30), (fast, FAST, 512, 80)):
        assert titled(attention(tmp_path, (slow, SLOW, 512, 90), other), "Use the faster attention") == []
