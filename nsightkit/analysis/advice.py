"""NVIDIA's own advice, ranked without promising more than it does.

In: rows of rule_results and kernel_counters. Out: `Advice` over the run, or `KernelAdvice` by classified kernel. Only a
global estimate, which is about the whole launch, is multiplied by the kernel's share of time; a local one is about a
part of the launch and is shown as it is. No two estimates are added.

Source: NVIDIA, "Nsight Compute", rules with estimated speed-ups; docs/method.md, "Advice".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nsightkit.analysis.grouping import group_key
from nsightkit.analysis.results import ClassifiedKernel

Row = Mapping[str, Any]
GLOBAL, LOCAL = "GLOBAL", "LOCAL"
NOT_ADVICE = ("OK", "ERROR")


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding of a rule over all launches of one kernel; shares are 0 to 1 and upper bounds."""

    capture_id: str
    kernel_name: str
    rule: str
    title: str
    message: str
    launch_count: int
    speedup_kind: str  # GLOBAL, LOCAL or ""
    estimated_share: float | None  # of the launch (GLOBAL) or of a part of it (LOCAL), the largest of its launches
    time_share: float | None  # of the kernel in the profiled time
    run_share: float | None  # GLOBAL only: of the profiled time of all kernels


def rank_advice(rules: Iterable[Row], counters: Sequence[Row]) -> list[Advice]:
    """Return the findings, those that could save most of the run first, then local ones, then those without a figure.

    Args:
        rules: rows of rule_results.
        counters: rows of kernel_counters of the same captures.
    """
    launches = {(row["capture_id"], row["launch_index"]): row for row in counters}
    whole = _time_by(counters, lambda row: row["capture_id"])
    groups: dict[tuple[Any, ...], list[tuple[Row, Row]]] = {}
    said: Counter[tuple[Any, ...]] = Counter()
    for rule in rules:
        launch = launches.get((rule["capture_id"], rule["launch_index"]))
        if launch is not None and rule["kind"] not in NOT_ADVICE and _says_something(rule):
            key = (rule["capture_id"], launch["kernel_name"], rule["rule"], rule["title"], rule["speedup_kind"] or "")
            # A rule may say two things of one launch, as of loads and of stores: each is advice of its own.
            once = (*key, rule["launch_index"])
            place = said[once] if rule["message"] else max(said[once] - 1, 0)
            groups.setdefault((*key, place), []).append((rule, launch))
            said[once] += bool(rule["message"])
    found = [_advice(key[:-1], members, whole) for key, members in groups.items()]
    return sorted(found, key=_rank)


def _says_something(rule: Row) -> bool:
    """Whether a result has words or an estimate: those of some rules hold a table of source lines alone."""
    return bool(rule["title"] or rule["message"] or rule["estimated_speedup_pct"] is not None)


def _time_by(rows: Sequence[Row], key: Any) -> dict[Any, float]:
    times: dict[Any, float] = {}
    for row in rows:
        times[key(row)] = times.get(key(row), 0.0) + (row["duration_ns"] or 0.0)
    return times


def _advice(key: tuple[Any, ...], members: Sequence[tuple[Row, Row]], whole: Mapping[str, float]) -> Advice:
    capture, kernel, rule, title, kind = key
    durations = {launch["launch_index"]: launch["duration_ns"] or 0.0 for _, launch in members}
    estimates: dict[int, float] = {}
    for finding, launch in members:
        if (estimate := _share(finding["estimated_speedup_pct"])) is not None:
            index = launch["launch_index"]
            estimates[index] = max(estimate, estimates.get(index, 0.0))
    time = sum(durations.values())
    saved = sum(estimate * durations[index] for index, estimate in estimates.items())
    largest = max(estimates.values(), default=None)
    total = whole[capture]
    longest = max((rule for rule, _ in members), key=lambda r: (bool(r["message"]), r["estimated_speedup_pct"] or 0.0))
    return Advice(
        capture, kernel, rule, title or "", longest["message"] or "", len(durations), kind, largest,
        time / total if total else None,
        saved / total if total and kind == GLOBAL and largest is not None else None,
    )  # fmt: skip


def _share(percent: float | None) -> float | None:
    return None if percent is None or not 0 <= percent <= 100 else percent / 100


def _rank(advice: Advice) -> tuple[float, float, float]:
    return (-(advice.run_share or 0.0), -(advice.estimated_share or 0.0), -(advice.time_share or 0.0))


@dataclass(frozen=True, slots=True)
class KernelAdvice:
    """One rule on one kernel; of several launches the largest estimate counts."""

    rule: str
    title: str
    message: str
    kind: str
    speedup_kind: str | None  # GLOBAL or LOCAL
    estimated_speedup_pct: float | None
    launch_count: int  # launches on which the rule said so


def advice_by_kernel(
    results: Iterable[Row], launches: Iterable[Row], kernels: Sequence[ClassifiedKernel]
) -> dict[int, tuple[KernelAdvice, ...]]:
    """Return place in `kernels` -> what NVIDIA's rules say of it, the largest global estimate first.

    Args:
        results: rows of rule_results.
        launches: rows of kernel_counters, which tell the kernel of a launch.
        kernels: as `classify_kernels` gives them.
    """
    kernel_of = kernel_places(launches, kernels)
    found: dict[int, dict[tuple[str, str, str], list[Row]]] = {}
    for row in results:
        place = kernel_of.get((row["capture_id"], row["launch_index"]))
        if place is not None and row["kind"] not in NOT_ADVICE and row["message"]:
            key = (row["rule"], row["title"] or "", row["speedup_kind"] or "")
            found.setdefault(place, {}).setdefault(key, []).append(row)
    return {place: tuple(sorted(map(_on_kernel, groups.values()), key=_by_estimate)) for place, groups in found.items()}


def kernel_places(launches: Iterable[Row], kernels: Sequence[ClassifiedKernel]) -> dict[tuple[str, int], int | None]:
    """Return (capture, launch index) -> place in `kernels` of the kernel that it is a launch of."""
    places = {(k.capture_id, k.kernel_name, k.grid, k.block): place for place, k in enumerate(kernels)}
    return {(row["capture_id"], row["launch_index"]): places.get(group_key(row)) for row in launches}


def _on_kernel(rows: list[Row]) -> KernelAdvice:
    first = max(rows, key=lambda row: row["estimated_speedup_pct"] or 0.0)
    launches = len({row["launch_index"] for row in rows})
    return KernelAdvice(
        first["rule"], first["title"] or "", first["message"], first["kind"], first["speedup_kind"],
        first["estimated_speedup_pct"], launches,
    )  # fmt: skip


def _by_estimate(advice: KernelAdvice) -> tuple[int, float]:
    order = {GLOBAL: 0, LOCAL: 1}
    return order.get(advice.speedup_kind or "", 2), -(advice.estimated_speedup_pct or 0.0)
