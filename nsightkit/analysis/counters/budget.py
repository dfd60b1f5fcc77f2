"""Whether a plan of targets fits the time that the user gives it, and which part of it does.

In: a target plan, the time of one run and the passes of a launch. Out: an estimate, and a plan that fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nsightkit.analysis.counters.targets import TargetPlan
from nsightkit.errors import AnalysisError


@dataclass(frozen=True)
class Estimate:
    """What measuring a plan will take: about so many seconds, so many launches, each run so many times."""

    seconds: float
    launch_count: int
    pass_count: int


@dataclass(frozen=True)
class Cost:
    """What the estimate rests on: the time of one run of the workload, and of the passes of one launch.

    Source: replay passes of the roofline's counters on the chips of CC 8.0 to 12.0: five to seven, and one for time.
    """

    run_s: float
    pass_count: int = 8
    pass_s: float = 0.01  # saving and restoring memory, emptying caches


def estimate(plan: TargetPlan, cost: Cost) -> Estimate:
    """Return what measuring `plan` will take."""
    launches = plan.measured
    replay_s = sum(cost.pass_count * (item.duration_ns * 1e-9 + cost.pass_s) for item in launches)
    return Estimate(cost.run_s + replay_s, len(launches), cost.pass_count)


def fit_budget(plan: TargetPlan, cost: Cost, budget_s: float) -> TargetPlan:
    """Return as much of `plan` as fits: fewer targets first, then one step instead of two, then fewer launches.

    Raises:
        AnalysisError: one run of the workload takes longer than the budget.
    """
    if cost.run_s >= budget_s:
        raise AnalysisError(
            f"one run of the workload takes {cost.run_s:.0f} s, the budget is {budget_s:.0f} s: raise --budget, or "
            "profile fewer tokens",
            slug="over-budget",
        )
    for steps, least in ((plan.steps, plan.coverage / 2), (plan.steps[:1], 0.0)):
        for count in range(len(plan.targets), 0, -1):
            part = replace(plan, steps=steps, targets=plan.targets[:count])
            if part.coverage < least:
                break
            if estimate(part, cost).seconds <= budget_s:
                return part
    one = replace(plan, steps=plan.steps[:1], targets=plan.targets[:1])
    each = (estimate(one, cost).seconds - cost.run_s) / max(len(one.measured), 1)
    return replace(one, launch_limit=max(1, int((budget_s - cost.run_s) / max(each, 1e-9))))
