"""What the reports of studies share: their input, tables from plain rows, the flags and the method.

In: `StudyInput`. Out: blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nsightkit.analysis.foreign_results import Results, Timing
from nsightkit.analysis.studies.operators import PhaseProfile
from nsightkit.analysis.unfairness import Flag, find_flags
from nsightkit.report import blocks
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Cell, Column, DataTable, Items, Section, Text


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
    counted: dict[str, int] = field(default_factory=dict)  # operator calls of a traced run
    settings: dict[str, Any] = field(default_factory=dict)
    phases: tuple[PhaseProfile, ...] = ()  # operators of a traced run
    traced_on: str = ""

    def results(self, part: str) -> Results:
        """Return the results of `part`; those of others stand for every part."""
        return self.parts.get(part) or self.parts.get("foreign") or Results()

    @property
    def device(self) -> str:
        """What the timings were made on."""
        names: set[str] = {self.traced_on} - {""}
        names |= {t.gpu for results in self.parts.values() for t in results.timings if t.gpu}
        return ", ".join(sorted(names)) or "a device that is not recorded"

    @property
    def on_cpu(self) -> bool:
        """Whether a CPU was measured."""
        return self.device.startswith("cpu")

    @property
    def scope(self) -> str:
        """Tool, device and clock, for captions."""
        if self.size == "foreign":
            return f"From the results files of others, {self.device}."
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
        # A change of a hundredth of a percent is what INT8 costs, so it keeps its digits and its sign.
        return Cell(f"{100 * value:+.3f} %", repr(value))
    return blocks.number(value, "" if unit in ("x", "change") else unit, "not measured")


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


def flags_section(study: StudyInput) -> Section:
    """Return what makes a comparison in these data unfair."""
    flags = [flag for results in study.parts.values() for flag in find_flags(results)]
    if not flags:
        words = (
            "No rule found an unfairness in these data: equal dtype, device and scope in both arms, and repetitions."
        )
        return Section("fairness", "Fairness", (Text(words),))
    return Section("fairness", "Fairness", (_flag_table(flags),))


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
