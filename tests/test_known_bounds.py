"""Kernels whose bound follows from their arithmetic, built and real: a verdict may be missing, never wrong."""

import pytest

from builders import counters as build
from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.gpus import gpu_of_key
from nsightkit.ingest.dataset import open_dataset

# (kernel, bound): each on each GPU that has its type.
BUILT = [
    (build.copy(2**28), "MEMORY"),
    (build.copy(2**26, item=8), "MEMORY"),
    (build.add(2**28), "MEMORY"),
    (build.add(2**27, "fp64", 8), "MEMORY"),
    (build.axpy(2**27), "MEMORY"),
    (build.axpy(2**28, "fp32", 4), "MEMORY"),
    (build.Kernel("triad", {"fp32": 2 * 2**28}, 3 * 4 * 2**28), "MEMORY"),
    (build.Kernel("reduction", {"fp32": 2**29}, 4 * 2**29), "MEMORY"),
    (build.Kernel("stencil of 7 points", {"fp64": 8 * 2**27}, 2 * 8 * 2**27, efficiency=0.75), "MEMORY"),
    (build.gemv(2**15, 2**15, "fp32", 4), "MEMORY"),
    (build.gemv(2**15, 2**15, "tensor_fp16", 2), "MEMORY"),
    (build.gemm(1, 2**15, 2**15, "tensor_fp16", 2), "MEMORY"),
    (build.gemm(8192, 8192, 8192, "fp32", 4), "COMPUTE"),
    (build.gemm(4096, 4096, 4096, "fp32", 4), "COMPUTE"),
    (build.gemm(8192, 8192, 8192, "tensor_fp16", 2), "COMPUTE"),
    (build.gemm(16384, 8192, 8192, "tensor_bf16", 2), "COMPUTE"),
    (build.gemm(8192, 8192, 8192, "tensor_tf32", 4), "COMPUTE"),
    (build.gemm(8192, 8192, 8192, "tensor_int8", 1), "COMPUTE"),
    (build.Kernel("n-body", {"fp32": 20 * 2.0**36}, 32 * 2**18), "COMPUTE"),
    (build.copy(256, blocks=1), "LATENCY"),
    (build.add(1024, blocks=4), "LATENCY"),
    (build.axpy(50_000, blocks=196), "LATENCY"),
    (build.gemm(64, 64, 64, "fp32", 4, blocks=1), "LATENCY"),
    (build.gemm(128, 128, 4096, "tensor_fp16", 2, blocks=1), "LATENCY"),
    (build.Kernel("one block that computes", {"fp32": 1e9}, 4096, blocks=1), "LATENCY"),
    (build.Kernel("long chain of dependences", {"fp32": 1e10}, 1e6, efficiency=0.05), "LATENCY"),
]
GPUS = ["a100-80gb-sxm", "h100-sxm", "rtx-5090", "t4"]


def has_types(key, kernel):
    spec = gpu_of_key(key)
    return all(spec.value(f"{name}_{'op' if 'int8' in name else 'flop'}_per_s") for name in kernel.flop)


CASES = [(kernel, bound, key) for kernel, bound in BUILT for key in GPUS if has_types(key, kernel)]


@pytest.mark.parametrize(("kernel", "bound", "key"), CASES, ids=[f"{k.name}-{b}-{g}" for k, b, g in CASES])
def test_a_built_kernel_has_the_bound_of_its_arithmetic(kernel, bound, key):
    (found,) = classify_kernels([build.counters(kernel, key)])
    assert found.verdict.bound in (bound, "UNKNOWN"), found.verdict
    # Of FP64 on a chip with few FP64 pipes, arithmetic is the bound after all, and must not be called memory.
    slow = "fp64" in kernel.flop and key in ("rtx-5090", "t4")
    assert slow or found.verdict.bound == bound, found.verdict


@pytest.mark.parametrize(
    "absent", ["dram_bytes", "sm_throughput_pct", "memory_throughput_pct", "duration_ns", "both", "name"]
)
def test_a_counter_that_is_missing_takes_a_verdict_away_and_never_turns_it(absent):
    for kernel, bound, key in CASES:
        row = build.counters(kernel, key)
        gone = {"both": ("sm_throughput_pct", "memory_throughput_pct"), "name": ("gpu_name",)}.get(absent, (absent,))
        (found,) = classify_kernels([row | dict.fromkeys(gone)])
        slow = "fp64" in kernel.flop and key in ("rtx-5090", "t4")
        assert slow or found.verdict.bound in (bound, "UNKNOWN"), (kernel.name, key, found.verdict)


# (report, part of the kernel's name, bound, why)
REAL = [
    ("rtx3070-nvtx.ncu-rep", "daxpy", "MEMORY", "two flop for 24 bytes"),
    ("rtx3070-nvtx.ncu-rep", "init_data", "MEMORY", "writes only"),
    ("rtx3070-nvtx.ncu-rep", "check_results", "MEMORY", "reads only"),
    ("rtx3070-vectoradd.ncu-rep", "VecAdd", "LATENCY", "50 000 elements: 600 kB, less than 2 µs of DRAM time"),
    ("rtx3070-vectoradd-2.ncu-rep", "VecAdd", "LATENCY", "the same"),
    ("gtx1660ti-mojo-basic.ncu-rep", "", "LATENCY", "one block"),
    ("rtx4080s-kyber-51k.ncu-rep", "", "LATENCY", "two blocks on 80 SMs"),
    ("a100-stencil-full.ncu-rep", "stencil2d", "MEMORY", "a stencil: a few flop an element"),
    ("gh200-silu-686m.ncu-rep", "silu", "MEMORY", "one pass over 0.5 GB"),
    ("t4-copy-blocked-details.csv", "copy_blocked", "MEMORY", "a copy"),
    ("v100-openacc-30k.nsight-cuprof-report", "uacc_cuda_fill", "LATENCY", "one block"),
]


@pytest.mark.shared
def test_no_real_kernel_with_a_known_bound_has_a_wrong_verdict(shared_data):
    right, wrong = [], []
    for name, part, bound, _ in REAL:
        folder = "ncu-csv" if name.endswith(".csv") else "ncu-rep"
        dataset = open_dataset([shared_data / folder / name], {"kernel_counters": None})
        kernels = [k for k in classify_kernels(dataset.rows("kernel_counters")) if part in k.kernel_name]
        assert kernels, name
        right += [k for k in kernels if k.verdict.bound == bound]
        wrong += [(name, k.kernel_name, k.verdict) for k in kernels if k.verdict.bound not in (bound, "UNKNOWN")]
    assert not wrong
    assert len(right) >= 30
