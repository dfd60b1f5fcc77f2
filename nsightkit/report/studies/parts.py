"""What the reports of studies share: their input, tables from plain rows, the flags and the method.

In: `StudyInput`. Out: blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nsightkit.analysis.foreign_results import Results, Timing
from nsightkit.analysis.unfairness import RULES, Flag, find_flags
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Items, Section, Text

if TYPE_CHECKING:
    from nsightkit.report.studies.traces import Trace


@dataclass(frozen=True)
class StudyInput:
    """What a report is made from. `parts` holds the results of each part of the study, "foreign" those of others."""

    name: str
    title: str
    question: str
    size: str  # small, document, or foreign
    parts: dict[str, Results]
    commands: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    traces: tuple[Trace, ...] = ()  # profiled arms

    def results(self, part: str) -> Results:
        """Return the results of `part`; those of others stand for every part."""
        return self.parts.get(part) or self.parts.get("foreign") or Results()

    @property
    def device(self) -> str:
        """What the timings were made on."""
        names: set[str] = {trace.device for trace in self.traces} - {""}
        names |= {t.gpu for results in self.parts.values() for t in results.timings if t.gpu}
        return ", ".join(sorted(names)) or "a device that is not recorded"

    @property
    def foreign(self) -> bool:
        """Whether results were given, so that nothing is known of how they were made but what they record."""
        return self.size == "foreign"

    @property
    def on_cpu(self) -> bool:
        """Whether a CPU was measured."""
        return self.device.startswith("cpu")

    @property
    def scope(self) -> str:
        """Tool, device and clock, for captions."""
        if self.foreign:
            what = "captures" if self.traces and not any(r.timings for r in self.parts.values()) else "results files"
            return f"From {what} that were given, {self.device}."
        if self.traces and not any(results.timings for results in self.parts.values()):
            return f"Profiled on {self.device}; tracing is inside every time."
        clock = "monotonic clock" if self.on_cpu else "CUDA events"
        return f"Measured by the workload itself on {self.device}, {clock}, nothing traced."


def table(
    id_: str, title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]], caption: str = ""
) -> DataTable:
    """Return a table; `columns` are (header, unit) with unit text for words."""
    made = tuple(Column(_key(header), header, unit, "text" if unit == "text" else "number") for header, unit in columns)
    cells = tuple(tuple(_cell(value, unit) for value, (_, unit) in zip(row, columns, strict=True)) for row in rows)
    return DataTable(id_, title, made, cells, caption)


def _key(header: str) -> str:
    return header.lower().replace(" ", "_").replace("/", "_per_")


def _cell(value: Any, unit: str) -> Cell:
    if unit == "text":
        return blocks.text(None if value is None else str(value))
    if unit == "x" and value is not None:
        return Cell(f"{value:.2f}×", repr(value))
    if unit == "change" and value is not None:
        return Cell(change(value), repr(value))
    return blocks.number(value, "" if unit in ("x", "change") else unit, "not measured")


def change(value: float) -> str:
    """Return a relative change in percent: to a thousandth below 1 %, as INT8 costs so little; whole from 100 %."""
    percent = 100 * value
    size = abs(percent)
    if size < 0.0005:
        return "<0.001 %" if size else "0 %"
    if size >= 1000:
        words = f"{percent:+,.0f} %".replace(",", "\u202f") if size < 1e6 else f"{percent:+.2e} %"
    else:
        words = f"{percent:+.{3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0}f} %"
    return words.replace("-", "\u2212", 1) if percent < 0 else words


def ms(value: float | None) -> float | None:
    """Return milliseconds as nanoseconds, the base unit of tables."""
    return None if value is None else value * 1e6


def arm_rows(timings: Iterable[Timing]) -> list[list[Any]]:
    """Return the rows of `ARM_COLUMNS`."""
    return [
        [
            t.arm,
            t.batch,
            t.prompt,
            t.new_tokens,
            ms(t.prefill_ms),
            ms(t.decode_ms),
            ms(t.ms_per_token),
            t.tokens_per_s_per_sequence,
            t.tokens_per_s_aggregate,
            t.sample_count,
            _interval(t),
        ]
        for t in timings
    ]


ARM_COLUMNS = (
    ("arm", "text"),
    ("batch", "count"),
    ("prompt", "count"),
    ("new tokens", "count"),
    ("first token", "ns"),
    ("decode", "ns"),
    ("a token", "ns"),
    ("tokens/s a sequence", ""),
    ("tokens/s in all", ""),
    ("repetitions", "count"),
    ("95 % interval of decode", "text"),
)


def _interval(timing: Timing) -> str | None:
    if timing.ci_ms is None:
        return None
    low, high = timing.ci_ms
    return f"{fmt.duration(low * 1e6)} to {fmt.duration(high * 1e6)}"


_NOTHING_TO_JUDGE = "No rule could judge these data: none holds what a rule needs."


def flags_section(study: StudyInput) -> Section:
    """Return what makes a comparison in these data unfair."""
    several = sum(bool(results.timings) for results in study.parts.values()) > 1
    flags = [
        replace(flag, subject=f"{flag.subject} (part {part})") if several else flag
        for part, results in study.parts.items()
        for flag in find_flags(results)
    ]
    words = [Text(text) for text in _checked(study, bool(flags))]
    return Section("fairness", "Fairness", (*([_flag_table(flags)] if flags else []), *words))


def _checked(study: StudyInput, flagged: bool) -> list[str]:
    """Say which rules looked at these data, and which had nothing to look at."""
    used = [rule.looks_for for rule in RULES if any(rule.applies(found) for found in study.parts.values())]
    idle = [rule.looks_for for rule in RULES if rule.looks_for not in used]
    said = [f"Looked for{'' if flagged else ' and not found'}: {'; '.join(used)}."] if used else [_NOTHING_TO_JUDGE]
    if idle:
        said.append(f"Not looked for, as the data hold nothing to judge it by: {'; '.join(idle)}.")
    return said


def _flag_table(flags: Sequence[Flag]) -> DataTable:
    return table(
        "flags",
        "What would mislead",
        (("rule", "text"), ("where", "text"), ("proof", "text")),
        [[f.rule, f.subject, f.text] for f in flags],
        "Rules over what the data hold; docs/studies.md states them.",
    )


def method_section(study: StudyInput, more: Sequence[str] = ()) -> Section:
    """Return how the numbers came about, and what a GPU would add."""
    said = [study.scope, *study.notes]
    if study.on_cpu:
        said.append(
            "This was measured on a CPU. A run on a GPU adds kernels, their counters, clocks and power; nothing "
            "here says how a GPU would fare. GPU paths of the workloads are unverified on a GPU."
        )
    said += more
    parts: list[Block] = [Items(tuple(said))]
    if study.failed:
        parts.append(Items(tuple(f"failed: {text}" for text in study.failed)))
    parts += [Text(command, "code") for command in study.commands]
    return Section("method", "Method", tuple(parts))
