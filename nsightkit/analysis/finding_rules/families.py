"""Families of kernels that a change of the program can shrink: GEMV, conversions, copies, concatenation.

In: the kernels of the timeline by family, and counters of them where there are any. Out: findings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nsightkit.analysis.findings import KERNEL_TIME, Finding, FindingInputs, Number
from nsightkit.analysis.results import KernelSummary

_LEAST_GEMV = 0.10
_LEAST_COPIES = 0.03
# ATen loads or stores through a cast, or names the type that it copies to beside another one.
_CONVERTS = re.compile(
    r"LoadWithCast|StoreWithCast|(?:b?float16|half)_copy_kernel_cuda.*\(float\)|float8\w*_copy_kernel"
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Look at what families of the timeline take."""
    if not inputs.kernel_ns:
        return
    gemv = inputs.family("GEMV")
    if inputs.share_of(gemv) >= _LEAST_GEMV:
        yield _gemv(inputs, gemv)
    copies = inputs.family("copy")
    conversions = [kernel for kernel in copies if _CONVERTS.search(kernel.kernel_name)]
    plain = [kernel for kernel in copies if kernel not in conversions]
    if inputs.share_of(conversions) >= _LEAST_COPIES:
        yield _avoidable(
            inputs, conversions, "Keep one dtype along the path: conversions take time of their own",
            "Keep tensors in one dtype along the path, and let the kernel before or after convert.",
        )  # fmt: skip
    if inputs.share_of(plain) >= _LEAST_COPIES:
        yield _avoidable(
            inputs, plain, "Avoid copies: they move data without changing it",
            "Use views and in-place writes; choose layouts that need no .contiguous().",
        )  # fmt: skip
    cat = inputs.family("cat")
    if inputs.share_of(cat) >= _LEAST_COPIES:
        yield _avoidable(
            inputs, cat, "Write in place: concatenation copies what is already there",
            "Write into a tensor that was allocated once, as a cache of keys and values of full length.",
        )  # fmt: skip


def _gemv(inputs: FindingInputs, kernels: Sequence[KernelSummary]) -> Finding:
    share, total = inputs.share_of(kernels), sum(kernel.total_ns for kernel in kernels)
    names = dict.fromkeys(kernel.kernel_name for kernel in kernels)
    counted = [
        kernel for kernel in inputs.kernels
        if (found := inputs.timeline_shares.get(kernel.kernel_name)) and found.kernel_name in names
    ]  # fmt: skip
    memory = [kernel for kernel in counted if kernel.verdict.bound == "MEMORY"]
    evidence = [Number("of the kernel time in GEMV", share, "1"), Number("in GEMV", total, "ns"),
                Number("launches", sum(kernel.launch_count for kernel in kernels), "count")]  # fmt: skip
    if counted:
        evidence.append(Number(f"of its {len(counted)} profiled kernels memory-bound", len(memory), "count"))
    throughput = [v for kernel in counted if (v := kernel.counters.get("dram_throughput_pct")) is not None]
    if throughput:
        evidence.append(Number("of DRAM's peak by the fastest of them", max(throughput), "%"))
    sure = bool(counted) and len(memory) == len(counted)
    reason = (
        "counters of these kernels say memory-bound: the matrix is what is read" if sure
        else "no counters of all these kernels say that reading the matrix bounds them"
    )  # fmt: skip
    return Finding(
        "families", "Batch the matrix-vector products (GEMV)",
        "Multiply the matrix with several vectors at once, so that it is read once for all. In decoding: more "
        "sequences, or several tokens verified at once.",
        tuple(evidence), total / 2, share / 2, KERNEL_TIME,
        "half of it for each vector, with two at once", "medium" if sure else "low", reason,
        tuple(names),
    )  # fmt: skip


def _avoidable(inputs: FindingInputs, kernels: Sequence[KernelSummary], title: str, action: str) -> Finding:
    share, total = inputs.share_of(kernels), sum(kernel.total_ns for kernel in kernels)
    launches = sum(kernel.launch_count for kernel in kernels)
    evidence = (Number("of the kernel time", share, "1"), Number("in all", total, "ns"),
                Number("launches", launches, "count"))  # fmt: skip
    return Finding(
        "families", title, action, evidence, total, share, KERNEL_TIME, "all of it, if none were needed", "medium",
        "the names of the kernels say what they do; which of them can go is not in the capture",
        tuple(kernel.kernel_name for kernel in kernels),
    )  # fmt: skip
