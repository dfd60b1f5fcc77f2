"""Pointwise kernels that follow one another and could be one kernel.

In: runs of such kernels on a stream, or only their sums. Out: one finding. Tensors are not in a capture: whether one
kernel reads what the one before wrote is not known, and the finding says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from nsightkit.analysis.findings import KERNEL_TIME, Finding, FindingInputs, Number

_FAMILIES = ("elementwise", "activation", "copy")
_LEAST_SUMS = 0.10
_TITLE = "Fuse pointwise kernels that follow one another"
_ACTION = "Use torch.compile or a kernel of your own for the chain, so that the values between stay in registers."


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Look at chains, or at sums where the order of launches is not in the input."""
    activity = inputs.activity
    if activity is not None and activity.kernel_ns:
        chains = activity.chains
        if chains.chain_count:
            yield Finding(
                "chains", _TITLE, _ACTION,
                (Number("chains", chains.chain_count, "count"),
                 Number("launches in them", chains.launch_count, "count"),
                 Number("in them", chains.total_ns, "ns")),
                chains.saved_ns, chains.saved_ns / activity.kernel_ns, KERNEL_TIME,
                "all but the longest kernel of each chain", "medium",
                "the order on the stream was recorded; the tensors between the kernels were not",
            )  # fmt: skip
        return
    kernels = inputs.family(*_FAMILIES)
    share = inputs.share_of(kernels)
    if share >= _LEAST_SUMS:
        total, launches = sum(k.total_ns for k in kernels), sum(k.launch_count for k in kernels)
        yield Finding(
            "chains", _TITLE, _ACTION,
            (Number("of the kernel time is pointwise", share, "1"), Number("launches", launches, "count"),
             Number("a launch on average", total / launches if launches else 0.0, "ns")),
            total / 2, share / 2, KERNEL_TIME, "half of it, if every two became one", "low",
            "only sums are known: neither the order of the launches nor the tensors between them",
            tuple(kernel.kernel_name for kernel in kernels),
        )  # fmt: skip
