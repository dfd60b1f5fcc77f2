"""Whether two sides may be compared at all, said before any number.

In: what is known of each side. Out: `Check` values: same, differs (shown), unknown (shown), allowed (differs on
purpose) or refused. What is refused names what differs and the way out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Whose times they are: a timeline's, of all launches; those of launches profiled with counters; or, where no GPU was
# traced, the framework's operators by their own time on the CPU.
TIMELINE, COUNTED, OPERATORS = "timeline", "counters", "operators"
SCOPES = {
    TIMELINE: "all launches, on a timeline",
    COUNTED: "profiled launches, with counters",
    OPERATORS: "operators by their own time on the CPU; no kernel was traced",
}
SAME, DIFFERS, UNKNOWN, ALLOWED, REFUSED = "same", "differs", "unknown", "allowed", "refused"

# Refused where both sides are known and differ -> the way out. `--varies NAME` allows it.
MUST_AGREE = {
    "gpu": "run both on one GPU model, or say that the GPU is what you compare with '--varies gpu'",
    "gpu count": "run both on as many GPUs, or add '--varies \"gpu count\"'",
    "dtype": "run both in one number type, or say that it is what you compare with '--varies dtype'",
    "batch": "run both with one batch size, or say that it is what you compare with '--varies batch'",
    "prompt": "run both with one prompt length, or say that it is what you compare with '--varies prompt'",
    "scope": "capture the same part of both programs, choose one with '--range NAME', or add '--varies scope'",
    "clock control": "profile both with one --clock-control, or add '--varies \"clock control\"'",
    "cache control": "profile both with one --cache-control, or add '--varies \"cache control\"'",
}
# Shown where they differ, and never a reason to refuse.
SHOWN = ("driver", "cuda", "torch", "tool", "host", "workload", "arguments", "warm-up", "sm clock")
# What `--varies` may name.
MAY_VARY = (*MUST_AGREE, "tokens", "model")


@dataclass(frozen=True)
class SideFacts:
    """What is known of one side: of its one run, or of all its runs where they agree.

    `facts` maps names of `MUST_AGREE` and `SHOWN` to text; a name that is absent is not known. `contradictions` names
    facts on which the runs of this side do not agree among themselves.
    """

    name: str
    basis: str  # TIMELINE, COUNTED or OPERATORS
    launch_count: int
    untimed_count: int
    run_count: int = 1
    tokens: int | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    metrics: frozenset[str] = frozenset()  # counters that this side has
    problems: tuple[str, ...] = ()  # failed programs and the like: refused
    warnings: tuple[str, ...] = ()  # what a reader must know: shown
    contradictions: tuple[str, ...] = ()
    hides_graphs: bool = False  # kernels inside CUDA graphs are not in the capture


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the list that goes with every verdict."""

    name: str
    base: str
    head: str
    status: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Allowances:
    """What may differ: names given with ``--varies``, and whether rows are divided by tokens."""

    varies: Collection[str] = ()
    per_token: bool = False


def check_comparable(base: SideFacts, head: SideFacts, allowances: Allowances | None = None) -> list[Check]:
    """Return the list of checks, what is refused first."""
    allowed = allowances or Allowances()
    checks = [
        *_quality(base, head),
        _basis(base, head),
        _graphs(base, head),
        _tokens(base, head, allowed),
        *(_agreement(name, base, head, allowed) for name in (*MUST_AGREE, *SHOWN)),
        *_metrics(base, head),
    ]
    order = (REFUSED, ALLOWED, DIFFERS, UNKNOWN, SAME)
    return sorted(checks, key=lambda check: order.index(check.status))


def refusals(checks: Sequence[Check]) -> list[str]:
    """Return why the sides cannot be compared; nothing where they can."""
    return [check.message for check in checks if check.status == REFUSED]


def agreed(checks: Sequence[Check]) -> list[str]:
    """Return what is the same on both sides with its value: who reads a page elsewhere does not have the captures."""
    return [f"{check.name} {check.base}".strip() for check in checks if check.status == SAME]


def _quality(base: SideFacts, head: SideFacts) -> list[Check]:
    found = []
    for side in (base, head):
        for text in _troubles(side):
            shown = (text, "") if side is base else ("", text)
            found.append(Check("capture quality", *shown, REFUSED, f"{side.name}: {text}"))
        for text in side.warnings:
            shown = (text, "") if side is base else ("", text)
            found.append(Check("capture quality", *shown, DIFFERS, f"{side.name}: {text}"))
        for name in side.contradictions:
            text = f"its {side.run_count} runs differ in {name}; a side is one program run several times"
            found.append(Check(name, "", "", REFUSED, f"{side.name}: {text}"))
    if not found:
        found.append(Check("capture quality", "good", "good", SAME))
    return found


def _troubles(side: SideFacts) -> list[str]:
    found = list(side.problems)
    if not side.launch_count:
        found.append("no kernel launch; an empty capture is neither faster nor slower: capture again")
    elif side.untimed_count == side.launch_count:
        found.append(
            "no launch has a duration, so there is no time to compare; "
            "with ncu collect gpu__time_duration.sum, as --section SpeedOfLight does"
            if side.basis == COUNTED
            else "no launch has a duration; capture again and let the program end"
        )
    return found


def _basis(base: SideFacts, head: SideFacts) -> Check:
    shown = (SCOPES[base.basis], SCOPES[head.basis])
    if base.basis == head.basis or not (base.launch_count and head.launch_count):
        return Check("measurement", *shown, SAME if base.basis == head.basis else UNKNOWN)
    return Check(
        "measurement",
        *shown,
        REFUSED,
        f"measurement: base has times of {shown[0]}, head of {shown[1]}; {_basis_way_out(base, head)}",
    )


def _basis_way_out(base: SideFacts, head: SideFacts) -> str:
    if OPERATORS in (base.basis, head.basis):
        return "run both where the profiler sees the GPU"
    return "ncu fixes clocks and replays launches, so compare nsys with nsys and ncu with ncu"


def worded(text: str, basis: str) -> str:
    """Return `text`, which speaks of kernels and their launches, in the words of `basis`."""
    if basis != OPERATORS:
        return text
    for old, new in (("launches", "calls"), ("launch", "call"), ("kernel", "operator"), ("Kernel", "Operator")):
        text = text.replace(old, new)
    return text


def _graphs(base: SideFacts, head: SideFacts) -> Check:
    shown = _both("graph (kernels hidden)" if side.hides_graphs else "node or none" for side in (base, head))
    if base.hides_graphs == head.hides_graphs:
        both = "both captures hide the kernels inside CUDA graphs: only launches outside graphs are compared"
        return Check("graph mode", *shown, DIFFERS if base.hides_graphs else SAME, both if base.hides_graphs else "")
    side = base.name if base.hides_graphs else head.name
    return Check(
        "graph mode",
        *shown,
        REFUSED,
        f"graph mode: {side} hides the kernels inside CUDA graphs and the other side does not; "
        "capture it again with --cuda-graph-trace=node",
    )


def _tokens(base: SideFacts, head: SideFacts, allowed: Allowances) -> Check:
    shown = _both("" if side.tokens is None else str(side.tokens) for side in (base, head))
    if base.tokens is None or head.tokens is None:
        if allowed.per_token:
            side = base.name if base.tokens is None else head.name
            text = f"tokens: not known of {side}, so nothing can be divided by them; ingest it again with --tokens N"
            return Check("tokens", *shown, REFUSED, text)
        return Check("tokens", *shown, UNKNOWN)
    if base.tokens == head.tokens:
        return Check("tokens", *shown, SAME)
    if allowed.per_token or "tokens" in allowed.varies:
        return Check("tokens", *shown, ALLOWED, "divided by tokens" if allowed.per_token else "differs on purpose")
    return Check(
        "tokens",
        *shown,
        REFUSED,
        f"tokens: base made {shown[0]}, head {shown[1]}; compare per token with --per-token, or run both for as many",
    )


def _both(texts: Iterable[str]) -> tuple[str, str]:
    base, head = texts
    return base, head


def _agreement(name: str, base: SideFacts, head: SideFacts, allowed: Allowances) -> Check:
    old, new = base.facts.get(name), head.facts.get(name)
    shown = (old or "", new or "")
    if old is None or new is None:
        return Check(name, *shown, UNKNOWN)
    if old == new:
        return Check(name, *shown, SAME)
    if name not in MUST_AGREE or (name == "scope" and old.partition(": ")[0] != new.partition(": ")[0]):
        # Each tool describes its scope in its own words.
        return Check(name, *shown, DIFFERS)
    if name in allowed.varies:
        return Check(name, *shown, ALLOWED, "differs on purpose")
    return Check(name, *shown, REFUSED, f"{name}: base has {old}, head {new}; {MUST_AGREE[name]}")


def _metrics(base: SideFacts, head: SideFacts) -> list[Check]:
    if not base.metrics and not head.metrics:
        return []
    both, either = base.metrics & head.metrics, base.metrics | head.metrics
    shown = (f"{len(base.metrics)} metrics", f"{len(head.metrics)} metrics")
    if both == either:
        return [Check("counters", *shown, SAME)]
    parts = [
        f"only in {side}: {', '.join(sorted(own)[:6])}{' …' if len(own) > 6 else ''}"
        for side, own in (("base", base.metrics - both), ("head", head.metrics - both))
        if own
    ]
    return [Check("counters", *shown, DIFFERS, f"other sections were collected; not compared, {'; '.join(parts)}")]
