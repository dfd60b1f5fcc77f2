"""Time in which the GPU computes nothing: late launches, the host, synchronization, copies, collectives.

In: shares of the span by cause, and how much tracing slowed the run down. Out: findings. Without a measured overhead of
tracing no cause is given for idle time, since tracing itself makes gaps: that the GPU had nothing to do is said as a
fact of the trace, with low confidence. What runs on the GPU is not in doubt.

Source: docs/method.md, rules for launch-bound runs and for tracing overhead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nsightkit.analysis.findings import LEAST_SHARE, SPAN, Finding, FindingInputs, Number, Withheld

if TYPE_CHECKING:
    from nsightkit.analysis.timeline.whole_run import RunFigures

# Of the idle time, so much must lie in gaps with an empty queue before launches are the cause.
_MOSTLY = 0.5
_LEAST = 0.05
_IDLE = {
    "HOST": (
        "Relieve the launching thread: the GPU waits for its code",
        "Move data loading and Python work off the launching thread.",
    ),
    "SYNCHRONIZATION": (
        "Synchronize less: host and GPU wait for each other in turn",
        "Remove synchronizing calls (.item(), .cpu(), cudaDeviceSynchronize) from the step.",
    ),
}
_LOST_TO = {
    "LAUNCH": "late launches",
    "HOST": "code on the host",
    "SYNCHRONIZATION": "synchronization",
    "COMMUNICATION": "communication alone",
    "TRANSFER": "copies alone",
}
# What the idle time of a trace lies in: the words behind the share.
_IN_TRACE = {
    "LAUNCH": "of the span idle before a late launch",
    "HOST": "of the span idle while the host ran other code",
    "SYNCHRONIZATION": "of the span idle after a synchronization",
    "QUEUED": "of the span idle with a launch already queued",
    "UNKNOWN": "of the span idle for a cause not known",
    "TRANSFER": "of the span idle while the host was inside a blocking copy",
    "COMMUNICATION": "of the span idle after a collective that the host waited for",
}
_ON_GPU = {
    "COMMUNICATION": (
        "Overlap communication with computing: it runs alone",
        "Overlap collectives with computing: larger buckets, another stream, later waits.",
    ),
    "TRANSFER": (
        "Overlap copies with kernels: they run alone",
        "Keep data on the GPU, pin host memory, and copy on a stream of its own beside kernels.",
    ),
}


def find(inputs: FindingInputs) -> Iterator[Finding | Withheld]:
    """Look at what the span on the GPU went to."""
    figures = inputs.figures
    if figures is None:
        yield from _of_sums(inputs)
        return
    for cause in _ON_GPU:
        yield from _on_gpu(figures, cause)
    from nsightkit.analysis.timeline.whole_run import LOSS_THRESHOLD

    if figures.idle_share < LOSS_THRESHOLD:
        return
    if not figures.tracing_allows_idle_verdict:
        if figures.tracing_ratio is None:
            yield _as_traced(figures)
        yield Withheld("waiting", _why_not(figures))
        return
    yield from _idle(figures, LOSS_THRESHOLD)


def _of_sums(inputs: FindingInputs) -> Iterator[Withheld]:
    """Say what is open where communication takes time and single launches are not known."""
    share = inputs.share_of(inputs.family("communication"))
    if share >= _LEAST:
        yield Withheld(
            "waiting",
            f"communication takes {100 * share:.1f} % of the kernel time, but how much of it runs beside kernels is "
            "told by single launches on one clock alone",
        )


def _on_gpu(figures: RunFigures, cause: str) -> Iterator[Finding]:
    """Look at copies or collectives that ran alone, and at idle time they caused where tracing allows to count it."""
    alone, waited = figures.alone(cause), figures.waited.get(cause, 0.0)
    share = alone + (waited if figures.tracing_allows_idle_verdict else 0.0)
    if share < _LEAST:
        return
    evidence = [Number(f"of the span goes to {_LOST_TO[cause]}", alone, "1")]
    if waited >= LEAST_SHARE and figures.tracing_allows_idle_verdict:
        evidence.append(Number(_IN_TRACE[cause], waited, "1"))
    title, action = _ON_GPU[cause]
    yield Finding(
        "waiting", title, action, (*evidence, Number("span", figures.span_ns, "ns")), share * figures.span_ns, share,
        SPAN, "all of that time", "medium",
        "what ran on the GPU was measured; how much of it can overlap is not known",
    )  # fmt: skip


def _as_traced(figures: RunFigures) -> Finding:
    """Return what the trace shows of idle time by cause: a fact with a reservation, no verdict."""
    idle = {name: figures.shares[name] for name in ("LAUNCH", "HOST", "SYNCHRONIZATION", "QUEUED", "UNKNOWN")}
    idle |= figures.waited
    causes = sorted((name for name, share in idle.items() if share >= _LEAST), key=lambda name: -idle[name])
    evidence = [Number("of the span idle in all", figures.idle_share, "1")]
    evidence += [Number(_IN_TRACE[name], idle[name], "1") for name in causes]
    return Finding(
        "waiting", "Give the GPU work while it idles, once the cause is measured",
        "Time the same run without a tracer beside it ('nsightkit profile' does): only then is it known which of these "
        "gaps are the program's.",
        tuple(evidence), figures.idle_share * figures.span_ns, figures.idle_share, SPAN,
        "all idle time of the trace; what tracing added to it is not known", "low",
        "the overhead of tracing was not measured, and tracing makes gaps of its own",
    )  # fmt: skip


def _why_not(figures: RunFigures) -> str:
    idle = f"the GPU was idle for {100 * figures.idle_share:.1f} % of the traced span"
    if figures.tracing_ratio is None:
        return f"{idle}, but the overhead of tracing was not measured: whether launches bound the run is not said"
    return f"{idle}, but tracing made the run {figures.tracing_ratio:.2f} times as long: its gaps may be the tracer's"


def _idle(figures: RunFigures, threshold: float) -> Iterator[Finding | Withheld]:
    survives = figures.corrected_idle_share is not None and figures.corrected_idle_share >= threshold
    late = figures.empty_queue_share_of_idle or 0.0
    reason = f"tracing made the run {figures.tracing_ratio:.2f} times as long, and the share survives that correction"
    if not survives:
        yield Withheld("waiting", "the idle share does not survive the correction for the overhead of tracing")
    elif late > _MOSTLY and figures.shares["LAUNCH"] >= figures.shares["HOST"]:
        title = "Launch-bound: launch less often, since the GPU waits for the next launch"
        action = "Capture the step in a CUDA graph, fuse small kernels, or give each launch more work (a larger batch)."
        yield _finding(figures, ("LAUNCH", title, action), "high", reason)
    else:
        for cause, (title, action) in _IDLE.items():
            if figures.shares[cause] >= _LEAST:
                yield _finding(figures, (cause, title, action), "medium", reason)


def _finding(figures: RunFigures, words: tuple[str, str, str], confidence: str, reason: str) -> Finding:
    cause, title, action = words
    share = figures.shares[cause]
    evidence = [Number(f"of the span goes to {_LOST_TO[cause]}", share, "1"), Number("span", figures.span_ns, "ns")]
    if cause == "LAUNCH":
        evidence.append(Number("of the idle time with an empty queue", figures.empty_queue_share_of_idle or 0.0, "1"))
        if figures.mean_launch_ns is not None:
            evidence.append(Number("from launch call to start, queue empty", figures.mean_launch_ns, "ns"))
    return Finding(
        "waiting", title, action, tuple(evidence), share * figures.span_ns, share, SPAN,
        "all of that time", confidence, reason,
    )  # fmt: skip
