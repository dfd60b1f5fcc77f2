"""How often the operators and kernels of a decode run, against closed forms; and the GEMM that takes the time.

In: kernels of a timeline, operator calls by phase, profiled kernels. Out: frozen rows. A count that no tool made is
None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.results import ClassifiedKernel, KernelSummary
from nsightkit.analysis.studies.operators import PhaseProfile

# Families of `kernel_names` that do a linear map.
LINEAR_FAMILIES = ("GEMM", "GEMV")
ATTENTION_FAMILY = "attention"
_OPERATORS = {"attention": "aten::scaled_dot_product_attention", "linear": "aten::linear"}
_LINEAR_MAPS = 4  # of a layer: queries, keys and values in one; projection; up; down


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a traced run did: sizes, how often it ran the whole, and what it is called."""

    arm: str
    layers: int
    steps: int  # N, decode steps of one run
    runs: int  # repetitions in the capture, warm-up included
    cached: bool | None
    batch: int
    prompt: int


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """How often one kind of work ran in one run, by its closed form, and how often it was counted (None: not)."""

    what: str
    formula: str
    expected: int
    counted: float | None = None

    @property
    def verdict(self) -> str:
        """Say whether the two are equal."""
        if self.counted is None:
            return "not counted"
        gap = self.counted - self.expected
        return "equal" if gap == 0 else f"differs by {gap:+g}"


def closed_forms(layers: int, steps: int, counted: Mapping[str, float | None] | None = None) -> list[InstanceCount]:
    """Return the counts of a prefill and `steps` decode steps: the same with and without a cache, both do both."""
    found = counted or {}
    forms = (
        ("attention", "L × (N + 1)", layers * (steps + 1)),
        ("attention in decode", "L × N", layers * steps),
        ("linear maps of the layers", "4 × L × (N + 1)", _LINEAR_MAPS * layers * (steps + 1)),
        ("linear maps of the layers in decode", "4 × L × N", _LINEAR_MAPS * layers * steps),
    )
    return [InstanceCount(what, formula, expected, found.get(what)) for what, formula, expected in forms]


def counted_operators(phases: Sequence[PhaseProfile], run: Decoded) -> dict[str, float | None]:
    """Return what torch.profiler counted, a run; the head's linear map, one a pass, is left out."""
    by_phase = {phase.name: {row.name: row.call_count for row in phase.operators} for phase in phases}
    if not {"prefill", "decode"} <= set(by_phase):
        return {}

    def of(phase: str, kind: str) -> float:
        return by_phase[phase].get(_OPERATORS[kind], 0) / run.runs

    decode_maps, first_maps = of("decode", "linear") - run.steps, of("prefill", "linear") - 1
    return {
        "attention": of("prefill", "attention") + of("decode", "attention"),
        "attention in decode": of("decode", "attention"),
        "linear maps of the layers": first_maps + decode_maps,
        "linear maps of the layers in decode": decode_maps,
    }


def counted_kernels(
    whole: Sequence[KernelSummary], decode: Sequence[KernelSummary], run: Decoded
) -> dict[str, float | None]:
    """Return what a GPU timeline counted, a run: launches by family; the head's, one a pass, is left out.

    A split attention or a split GEMM launches more than one kernel a call, so a larger count is no mistake.
    """
    if not whole:
        return {}
    found: dict[str, float | None] = {
        "attention": _launches(whole, (ATTENTION_FAMILY,)) / run.runs,
        "linear maps of the layers": _launches(whole, LINEAR_FAMILIES) / run.runs - run.steps - 1,
    }
    if decode:
        found["attention in decode"] = _launches(decode, (ATTENTION_FAMILY,)) / run.runs
        found["linear maps of the layers in decode"] = _launches(decode, LINEAR_FAMILIES) / run.runs - run.steps
    return found


def _launches(kernels: Sequence[KernelSummary], families: Sequence[str]) -> int:
    wanted = {family.casefold() for family in families}
    return sum(kernel.launch_count for kernel in kernels if kernel.family.casefold() in wanted)


def dominant_gemm(kernels: Sequence[ClassifiedKernel]) -> ClassifiedKernel | None:
    """Return the profiled GEMM or GEMV with the longest single launch, None where none was profiled.

    The longest launch and not the largest total: how many launches a capture of counters holds says nothing.
    """
    wanted = {family.casefold() for family in LINEAR_FAMILIES}
    found = [k for k in kernels if k.family.casefold() in wanted and k.duration_ns is not None]
    return max(found, key=lambda k: k.duration_ns or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class Stall:
    """What the warps of a kernel mostly wait for, as ncu's rule CPIStall says."""

    reason: str
    pct: float | None  # of the cycles between two instructions of a warp


_STALL_SHARE = re.compile(r"about ([0-9.]+)% of the total average")


def stalls_of(
    rules: Iterable[Mapping[str, Any]], launches: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str], Stall]:
    """Return (capture, kernel name) -> the stall of its first launch for which the rule speaks.

    Args:
        rules: rows of rule_results.
        launches: rows of kernel_counters.
    """
    names = {(row["capture_id"], row["launch_index"]): row["kernel_name"] for row in launches}
    found: dict[tuple[str, str], Stall] = {}
    for row in rules:
        name = names.get((row["capture_id"], row["launch_index"]))
        if row["rule"] == "CPIStall" and row["title"] and name is not None:
            share = _STALL_SHARE.search(row["message"] or "")
            found.setdefault((row["capture_id"], name), Stall(row["title"], float(share[1]) if share else None))
    return found
