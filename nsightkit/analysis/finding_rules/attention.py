"""Whether a slower attention kernel ran where a faster one did the same work.

In: operator calls with their shapes, and the kernels of the attention family. Out: one finding where two kernels ran at
equal shapes and types; where the shapes are not in the capture, the reason why two libraries are not compared.

Source: docs/method.md, "Findings".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from nsightkit.analysis.findings import OPERATOR_TIME, Finding, FindingInputs, Number, Withheld
from nsightkit.analysis.results import RooflineRow

# Means of two calls differ by the clock and by noise; less than this is no difference.
_SLOWER = 1.2
# query, key and value: what two operators of attention have in common, whatever they call the rest.
_TENSORS = 3


def find(inputs: FindingInputs) -> Iterator[Finding | Withheld]:
    """Compare calls at equal shapes; say why kernels without shapes are not compared."""
    calls = [row for row in inputs.work if row.family == "attention" and row.kernel_name and row.total_ns]
    if calls:
        yield from _slower(calls)
        return
    seen = {k.library for k in inputs.top_kernels if k.family == "attention"}
    seen |= {k.library for k in inputs.kernels if k.family == "attention"}
    if len(seen) > 1:
        yield Withheld(
            "attention",
            f"attention kernels of {', '.join(sorted(seen))} ran, but at which shapes is not in the capture: their "
            "times are not compared",
        )


def _slower(calls: Sequence[RooflineRow]) -> Iterator[Finding]:
    groups: dict[tuple[str, ...], dict[str, list[RooflineRow]]] = defaultdict(lambda: defaultdict(list))
    for row in calls:
        shapes = tuple(row.shapes.split(", ")[:_TENSORS])
        if row.shapes and len(shapes) == _TENSORS:
            groups[row.capture_id, *shapes][row.kernel_name].append(row)
    for key, kernels in groups.items():
        means = {name: _time(rows) / sum(row.count for row in rows) for name, rows in kernels.items()}
        best, worst = min(means, key=lambda name: means[name]), max(means, key=lambda name: means[name])
        if means[worst] > _SLOWER * means[best]:
            scope = (", ".join(key[1:]), _whole(kernels[worst][0]))
            yield _finding((best, worst), means, kernels[worst], scope)


def _time(rows: Sequence[RooflineRow]) -> float:
    return sum(row.total_ns or 0.0 for row in rows)


def _whole(row: RooflineRow) -> float:
    """Return the time that `time_share` is a share of."""
    return row.total_ns / row.time_share if row.total_ns and row.time_share else 0.0


def _finding(
    names: tuple[str, str], means: dict[str, float], rows: Sequence[RooflineRow], scope: tuple[str, float]
) -> Finding:
    from nsightkit.analysis.kernel_names import describe_kernel

    best, worst = names
    saved = _time(rows) * (1 - means[best] / means[worst])
    fast, slow = (describe_kernel(name) for name in names)
    evidence = (
        Number(f"a call of {slow.friendly} ({slow.library})", means[worst], "ns"),
        Number(f"a call of {fast.friendly} ({fast.library})", means[best], "ns"),
        Number("calls of the slower one", sum(row.count for row in rows), "count"),
    )
    return Finding(
        "attention", "Use the faster attention kernel that ran at the same shapes",
        f"Let these calls take the path of {fast.library}: see which mask, dtype or choice sends them elsewhere.",
        evidence, saved, saved / scope[1] if scope[1] else None, OPERATOR_TIME,
        "the calls of the slower kernel at the mean of the faster", "medium",
        f"query, key and value are equal ({scope[0]}); mask and other arguments are not compared", (worst,),
    )  # fmt: skip
