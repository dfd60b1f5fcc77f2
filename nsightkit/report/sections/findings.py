"""What would help most, ranked by time at stake, and what is not said for want of evidence.

In: the findings and the demands on the hardware. Out: tables; the first three findings also stand on the first screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nsightkit.report import blocks, demand
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Group, Items, Section, Text
from nsightkit.report.context import Context

if TYPE_CHECKING:
    from nsightkit.analysis.findings import Finding, Number

_COLUMNS = (
    Column("title", "What would help"),
    Column("stake_ns", "At stake, at most", "ns", "number"),
    Column("stake_share", "Share", "1", "share"),
    Column("stake_of", "Of"),
    Column("evidence", "Evidence"),
    Column("basis", "Stake is"),
    Column("confidence", "Confidence"),
    Column("action", "What to do"),
)
_NOTHING = "No finding: no rule found 2 % of its scope at stake."
_NEEDS_TIMELINE = "Rules on families, chains and idle time need a timeline, which this run lacks."
_NEEDS_COUNTERS = "Rules on single kernels need counters of ncu, which this run lacks."
_NEEDS_ROOFS = (
    "Rules on single kernels need FLOP, DRAM traffic and a roof, or a global estimate of NVIDIA's rules: no kernel "
    "here has either."
)
_CAPTION = (
    "At stake is an upper bound, of its own scope alone: stakes overlap and are never added up. Each comes from a "
    "rule; confidence says how much of its evidence was measured."
)
FIRST = 3


def build(context: Context) -> Section:
    """Return all findings, what was withheld, and what the workload asks of a chip."""
    parts: list[Block] = []
    found = context.findings
    if found:
        parts.append(table(context, found, "findings-all", "All findings, most time at stake first"))
    asked = demand.table(context)
    if asked:
        parts.append(asked)
    if context.withheld:
        said = tuple(f"{item.rule.replace('_', ' ')}: {item.reason}." for item in context.withheld)
        parts.append(Group((Items(said, "note"),), "What is not said, and why", "plain"))
    if not found and parts:
        parts.insert(0, Text(_nothing(context), "note"))
    return Section("findings", "Findings", tuple(parts), "" if parts else _nothing(context))


def _nothing(context: Context) -> str:
    """Say that no rule found anything, and what those that were silent would have needed."""
    analysis, said = context.analysis, [_NOTHING]
    if not analysis.top_kernels:
        said.append(_NEEDS_TIMELINE)
    if not analysis.kernels:
        said.append(_NEEDS_COUNTERS)
    elif not _has_stakes(context):
        said.append(_NEEDS_ROOFS)
    return " ".join(said)


def _has_stakes(context: Context) -> bool:
    story = context.analysis.story
    estimates = (one for several in story.advice.values() for one in several) if story else ()
    return any(kernel.point for kernel in context.analysis.kernels) or any(
        one.speedup_kind == "GLOBAL" and one.estimated_speedup_pct for one in estimates
    )


def table(context: Context, found: Sequence[Finding], name: str, title: str, columns: int = 8) -> DataTable:
    """Return findings as rows; the first `columns` columns."""
    rows = tuple(_row(context, finding)[:columns] for finding in found)
    return DataTable(name, title, _COLUMNS[:columns], rows, _CAPTION)


def _row(context: Context, finding: Finding) -> tuple[Cell, ...]:
    none = "a finding about the measurement: it saves no time"
    return (
        blocks.text(finding.title, _link(context, finding)),
        blocks.number(finding.stake_ns, "ns", none),
        blocks.share(finding.stake_share, none),
        blocks.text(finding.stake_of if finding.stake_share is not None else "the measurement"),
        Cell(evidence_words(finding), ""),
        Cell(finding.basis),
        Cell(finding.confidence, finding.reason),
        Cell(finding.action),
    )


def _link(context: Context, finding: Finding) -> str:
    if len(finding.kernels) != 1:
        return ""
    places = [place for place, k in enumerate(context.analysis.kernels) if k.kernel_name == finding.kernels[0]]
    name = context.names.get(finding.kernels[0])
    return context.href(places[0]) if places else f"#{name}" if name else ""


def evidence_words(finding: Finding) -> str:
    """Return the evidence in one line: each number, and behind it what it counts."""
    return "; ".join(_said(number) for number in finding.evidence)


def _said(number: Number) -> str:
    # A percentage in a sentence is a share: the profiler's second decimal stays in the tables of counters.
    value = fmt.share(number.value / 100) if number.unit == "%" else fmt.with_unit(number.value, number.unit)
    return f"{value} {number.label}"
