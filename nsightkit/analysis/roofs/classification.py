"""The kernels of a capture with their verdicts.

In: rows of the table kernel_counters. Out: `ClassifiedKernel` records. A verdict names its rule, its inputs, how far
they lie from another bound, and what was missing; where inputs are missing or suspect it is UNKNOWN.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from nsightkit.analysis.grouping import KernelGroup, group_launches
from nsightkit.analysis.results import ClassifiedKernel, Verdict
from nsightkit.analysis.roofs.levels import other_levels
from nsightkit.analysis.roofs.peaks import DRAM, Gpu, first_level
from nsightkit.analysis.roofs.remedies import remedy
from nsightkit.analysis.roofs.roofline import place_kernel
from nsightkit.analysis.roofs.rules import RULES
from nsightkit.analysis.roofs.rules.evidence import Evidence
from nsightkit.analysis.roofs.suspects import trusted_counters
from nsightkit.analysis.roofs.units import limiting_unit
from nsightkit.errors import AnalysisError
from nsightkit.gpus import GpuSpec, gpu_of_key

DEFAULT_RULE = "auto"
DEFAULT_MARGIN = 5.0  # points; the figure of the DeepSeek-OCR kernel study


@dataclass(frozen=True, slots=True)
class Judgement:
    """How to judge: a key of `RULES`, for sol-gap the points within which both sides count as balanced, and the GPU.

    `gpu` is a key of gpus.toml; it stands in where a capture does not name its GPU.
    """

    rule: str = DEFAULT_RULE
    margin: float = DEFAULT_MARGIN
    gpu: GpuSpec | None = None


def classify_kernels(
    rows: Iterable[dict[str, Any]],
    rule: str = DEFAULT_RULE,
    margin: float = DEFAULT_MARGIN,
    gpu: str | None = None,
) -> list[ClassifiedKernel]:
    """Return the kernels in `rows` with their verdicts, the longest in total first.

    Args:
        rows: dictionaries with columns of kernel_counters.
        rule: a key of `RULES`.
        margin: for sol-gap, the points within which both sides count as balanced.
        gpu: key of gpus.toml, for captures that do not name their GPU (ncu's details page does not).

    Raises:
        AnalysisError: there is no such rule, or the margin is no distance.
        NsightkitError: there is no such GPU.
    """
    if rule not in RULES:
        raise AnalysisError(f"no rule '{rule}'; choose one of {', '.join(RULES)}", slug="unknown-rule")
    if not 0 <= margin <= 100:
        raise AnalysisError(f"a margin of {margin} points; choose one from 0 to 100", slug="bad-margin")
    judgement = Judgement(rule, margin, gpu_of_key(gpu) if gpu else None)
    groups = group_launches(rows)
    whole = sum(group.total_ns or 0.0 for group in groups)
    kernels = [_classified(group, judgement, whole) for group in groups]
    return sorted(kernels, key=lambda kernel: -1.0 if kernel.total_ns is None else kernel.total_ns, reverse=True)


def _classified(group: KernelGroup, judgement: Judgement, whole_ns: float) -> ClassifiedKernel:
    from nsightkit.analysis.kernel_names import describe_kernel

    name = describe_kernel(group.kernel_name)
    evidence = _evidence(group, judgement.gpu)
    total = group.total_ns
    return ClassifiedKernel(
        capture_id=group.capture_id,
        kernel_name=group.kernel_name,
        friendly_name=name.friendly,
        family=name.family,
        library=name.library,
        launch_count=group.launch_count,
        failed_count=group.failed_count,
        duration_ns=None if total is None else total / group.launch_count,
        total_ns=total,
        time_share=total / whole_ns if total is not None and whole_ns else None,
        grid=group.grid,
        block=group.block,
        counters=group.counters,
        verdict=_verdict(group, judgement, evidence),
        point=evidence.roofline.point,
        nvtx_path=group.nvtx_path,
        other_levels=other_levels(group.kernel_name, evidence.counters, _gpu_of(group, judgement.gpu)),
    )


def _verdict(group: KernelGroup, judgement: Judgement, evidence: Evidence) -> Verdict:
    if group.launch_count:
        verdict = RULES[judgement.rule](evidence, judgement.margin)
        cure = remedy(verdict.missing) if verdict.bound == "UNKNOWN" else ""
        return replace(verdict, limiter=limiting_unit(evidence.counters), remedy=cure)
    flags = (f"failed: the profiler could not measure it (launches: {group.failed_count})",)
    return Verdict("UNKNOWN", judgement.rule, "none", "failed", None, "", flags=flags)


def _gpu_of(group: KernelGroup, assumed: GpuSpec | None) -> Gpu:
    if group.gpu_name is None and assumed:
        # A count or a capability that the capture does state still decides whether the data sheet fits.
        return Gpu(assumed.names[0], group.compute_capability, group.sm_count or assumed.sm_count)
    return Gpu(group.gpu_name, group.compute_capability, group.sm_count)


def _evidence(group: KernelGroup, assumed: GpuSpec | None) -> Evidence:
    trusted, suspects = trusted_counters(group.counters)
    flags = [*suspects, *group.notes]
    gpu = _gpu_of(group, assumed)
    if group.gpu_name is None and assumed:
        flags.append(f"the GPU is not in the capture; taken as {assumed.key} on request")
    if group.failed_count:
        flags.append(f"left out, as the profiler could not measure them: {group.failed_count} launches")
    level = first_level(gpu)
    if level is not DRAM:
        flags.append("this chip shares its DRAM with the CPU and does not count it: the roof is that of L2")
    return Evidence(trusted, place_kernel(group.kernel_name, trusted, gpu, level), tuple(flags))
