"""The sections on timings of benchmarks side by side.

In: a `TimedPage`. Out: sections.
"""

from __future__ import annotations

from nsightkit.analysis.compare.timing_comparison import SETTING, TimedComparison, TimedDifference
from nsightkit.report.blocks import Block, Group, Section, Text
from nsightkit.report.comparison.parts import TimedPage, comparability
from nsightkit.report.studies.drawing import Axis, bars
from nsightkit.report.studies.parts import ms, table

_BARS = 40


def timed_sections(page: TimedPage, suffix: str) -> list[Section]:
    """Return the sections; `suffix` tells the sections of several heads apart."""
    comparison = page.comparison
    lead, _, rest = page.summary.partition(". ")
    return [
        Section(
            f"overview{suffix}", "Overview",
            (Text(f"{lead}.", "lead"), Text(rest), *comparability(comparison.checks, suffix)),
        ),
        Section(f"settings{suffix}", "Settings", _settings(comparison, suffix)),
        Section(f"fairness{suffix}", "Fairness", (_fairness(comparison, suffix),)),
        Section(
            f"kernels{suffix}", "Kernels",
            missing="Results hold timings and no kernels: they do not say what the difference is made of. Profile both "
            "programs with nsys and compare the captures.",
        ),
    ]  # fmt: skip


def _named(row: TimedDifference, comparison: TimedComparison) -> str:
    settings = [dict(other.setting) for other in comparison.rows]
    several = [n for n in SETTING if len({setting.get(n) for setting in settings}) > 1]
    return ", ".join(f"{name} {value}" for name, value in row.setting if name in several) or comparison.head_name


def _settings(comparison: TimedComparison, suffix: str) -> tuple[Block, ...]:
    times = [(_named(row, comparison), 1 / row.estimate.ratio) for row in comparison.compared if row.estimate.ratio]
    caption = "1 is as fast as base. Each bar is one setting."
    title = "How many times as fast as base"
    figure = bars(f"times-as-fast{suffix}", title, times[:_BARS], Axis("times as fast"), caption)
    drawn: list[Block] = [Group((figure,), layout="even")]
    columns = (
        ("setting", "text"), ("base", "ns"), ("head", "ns"), ("times as fast", "x"), ("a step in base", "ns"),
        ("a step in head", "ns"), ("tokens/s in all, base", ""), ("tokens/s in all, head", ""), ("verdict", "text"),
    )  # fmt: skip
    rows = [_row(row, comparison) for row in comparison.rows]
    what = "Time of one token" if comparison.options.per_token else "Time of all new tokens"
    drawn.append(table(f"timings{suffix}", "Timings side by side", columns, rows, f"{what}, as the files record it."))
    return tuple(drawn)


def _row(row: TimedDifference, comparison: TimedComparison) -> list[object]:
    base, head = (timings[0] if timings else None for timings in (row.base, row.head))
    return [
        _named(row, comparison),
        row.base_ns,
        row.head_ns,
        1 / row.estimate.ratio if row.estimate.ratio else None,
        *(ms(timing.ms_per_token) if timing else None for timing in (base, head)),
        *(timing.tokens_per_s_aggregate if timing else None for timing in (base, head)),
        row.verdict or ("described" if base and head else "only on one side"),
    ]


def _fairness(comparison: TimedComparison, suffix: str) -> Block:
    if not comparison.flags:
        return Text("No rule found an unfairness in these data.")
    rows = [[flag.rule, flag.subject, flag.text] for flag in comparison.flags]
    columns = (("rule", "text"), ("where", "text"), ("proof", "text"))
    return table(f"flags{suffix}", "What would mislead", columns, rows, "Rules over what the data hold.")
