"""``nsightkit classify``: what bounds each profiled kernel, by which rule, and how sure that is.

In: captures with hardware counters. Out: one row per kernel, then the bounds counted in kernels and in GPU time. A
report of Nsight Compute is read and judged without pyarrow, pandas or numpy, so that the answer comes at once.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import notes_of, scope_words, scoped, within_of, within_option
from nsightkit.errors import AnalysisError
from nsightkit.report import format as fmt
from nsightkit.report.blocks import counted
from nsightkit.tables import unit_of

if TYPE_CHECKING:
    from nsightkit.analysis.results import ClassifiedKernel, ClassSummary, Verdict
    from nsightkit.ingest.dataset import Dataset

Row = dict[str, Any]
RULE_NAMES = ("auto", "roofline", "sol-gap", "ncu")

# What machines get: the fields of ClassifiedKernel, Verdict and RooflinePoint under their own names.
EXACT_FIELDS = tuple(
    Field(name, name)
    for name in (
        *("capture_id", "kernel_name", "friendly_name", "family", "library", "grid", "block", "nvtx_path"),
        *("launch_count", "failed_count", "duration_ns", "total_ns", "time_share"),
        *("bound", "rule", "rule_verdict", "tier", "margin", "margin_unit", "inputs", "missing", "flags", "limiter"),
        *("immaterial", "remedy"),
        *("precision", "flop", "moved_bytes", "flop_per_byte", "ridge_flop_per_byte", "flop_per_s"),
        *("roof_flop_per_s", "efficiency", "roof_source"),
    )
)
FIELDS = (
    Field("number", "#", "count"),
    Field("friendly_name", "kernel"),
    Field("bound", "bound"),
    Field("rule", "rule"),
    Field("tier", "tier"),
    Field("margin", "margin"),
    Field("flop_per_byte", "intensity", "flop/byte"),
    Field("ridge_flop_per_byte", "ridge", "flop/byte"),
    Field("inputs", "inputs"),
    Field("time_share", "of GPU time", "1"),
    Field("launch_count", "launches", "count"),
)
# A terminal of less than this cannot hold FIELDS side by side; there they become one column of prose.
WIDE_COLUMNS = 180
NARROW_FIELDS = (
    Field("number", "#", "count"),
    Field("friendly_name", "kernel"),
    Field("bound", "bound", wraps=False),
    Field("time_share", "GPU time", "1"),
    Field("launch_count", "launches", "count"),
    Field("why", "rule, tier, margin, inputs"),
)
CLASS_FIELDS = (
    Field("bound", "bound"),
    Field("kernel_count", "kernels", "count"),
    Field("count_share", "of kernels", "1"),
    Field("total_ns", "GPU time", "ns"),
    Field("time_share", "of GPU time", "1"),
)
_POINT_FIELDS = EXACT_FIELDS[-9:]
_INPUT_LABELS = {
    "sm_throughput_pct": "SM",
    "memory_throughput_pct": "memory",
    "dram_throughput_pct": "DRAM",
    "waves_per_sm": "waves per SM",
}


# Not a docstring: click marks preformatted paragraphs with a backspace character.
HELP = """Say what bounds each kernel that Nsight Compute profiled: COMPUTE, MEMORY, LATENCY, BALANCED or UNKNOWN.

PATH is an Nsight Compute report (.ncu-rep), its CSV output, a folder of these, or a run directory; without PATH the
newest run below ./reports is taken. Launches of one kernel with the same grid and block are one row. Beside each
verdict stand the rule, the tier of its inputs, the distance from another bound, and what was missing.

\b
The rules:
  roofline  The time that the arithmetic takes at the peak of its pipe against the time that the DRAM
            traffic takes at peak bandwidth: the longer one bounds the kernel. LATENCY if compute and
            memory throughput are both below 60 %. Needs operations and bytes (ncu --set full or roofline).
  ncu       NVIDIA's own thresholds on compute and memory throughput, as ncu's SpeedOfLight section
            states them. Works with every section set that has SpeedOfLight.
  sol-gap   SM throughput minus DRAM throughput: above --margin COMPUTE, below minus --margin MEMORY,
            else BALANCED. It cannot see latency; it is here to compare with reports that use it.
  auto      roofline where it can decide, else ncu, else UNKNOWN.

\b
The tiers: 'counters' means counted work and traffic, 'throughput' means percentages only.

\b
nsightkit classify report.ncu-rep
nsightkit classify profiles/ --rule sol-gap --margin 5
nsightkit classify report.ncu-rep --format json > kernels.json
"""


@click.command("classify", help=HELP)
@paths_argument(required=False)
@within_option
@click.option(
    "--rule", type=click.Choice(RULE_NAMES), default="auto", show_default=True, help="How to judge; see above."
)
@click.option(
    "--margin", type=click.FloatRange(0, 100), default=5.0, show_default=True,
    help="sol-gap: SM and DRAM within this many points of each other count as balanced.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=0), default=0, show_default=True,
    help="Rows to print, by GPU time; 0 prints all.",
)  # fmt: skip
@click.option(
    "--gpu", metavar="KEY", help="Take the data sheet of this GPU (as rtx-5090) where a capture does not name its own."
)
@format_option
def command(
    paths: tuple[Path, ...], within: str | None, rule: str, margin: float, limit: int, gpu: str | None, format_: str
) -> None:
    """Print one row per kernel with its verdict, then the bounds counted in kernels and in GPU time."""
    from nsightkit.analysis.roofs.classification import classify_kernels
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(or_newest_run(paths), {"kernel_counters": None})
    _counters(dataset)
    dataset = scoped(dataset, within)
    kernels = classify_kernels(_counters(dataset), rule, margin, gpu)
    shown = kernels[:limit] if limit else kernels
    if format_ in ("table", "markdown"):
        _for_people(shown, kernels, format_, _caption(dataset, kernels, rule, margin))
    else:
        emit(EXACT_FIELDS, [_exact_row(kernel) for kernel in shown], format_)
    if len(shown) < len(kernels):
        note(f"{counted(len(kernels) - len(shown), 'kernel')} not shown; --limit 0 shows all")
    for text in notes_of(dataset):
        note(text)
    finish(dataset)


def _counters(dataset: Dataset) -> list[Row]:
    rows = dataset.rows("kernel_counters") if dataset.has("kernel_counters") else []
    if not rows:
        # A damaged input is the better explanation, so it goes first.
        finish(dataset)
        raise AnalysisError(
            f"{dataset.name}: no hardware counters in it; classify needs a report of Nsight Compute "
            "('ncu -o report PROGRAM'). 'nsightkit top' lists the kernels of any capture by time",
            slug="no-counters",
        )
    return rows


def _caption(dataset: Dataset, kernels: Sequence[ClassifiedKernel], rule: str, margin: float) -> str:
    tools = {f"{capture.backend} {capture.tool_version or ''}".strip() for capture in dataset.info.captures}
    launches = sum(kernel.launch_count for kernel in kernels)
    parts = [
        dataset.name,
        dataset.info.gpu_name or "",
        scope_words(within_of(dataset)) if within_of(dataset) else "",
        f"{counted(len(kernels), 'kernel')}, {counted(launches, 'profiled launch', 'profiled launches')}",
        f"rule {rule}" + (f", margin {margin:g} points" if rule == "sol-gap" else ""),
        f"{', '.join(sorted(tools))}: times under the profiler's clocks",
    ]
    return " · ".join(part for part in parts if part)


def _for_people(
    shown: Sequence[ClassifiedKernel], kernels: Sequence[ClassifiedKernel], format_: str, caption: str
) -> None:
    from nsightkit.analysis.distributions import summarize_classes
    from nsightkit.analysis.kernel_names import tell_apart

    labels = tell_apart([kernel.kernel_name for kernel in shown], [_geometry(kernel) for kernel in shown])
    rows = [_row(number, kernel) | {"friendly_name": labels[number - 1]} for number, kernel in enumerate(shown, 1)]
    emit(_fields_that_fit(format_), rows, format_, caption)
    for text in _remarks(shown):
        click.echo(fmt.markdown_cell(text) + "  " if format_ == "markdown" else fmt.printable(text))
    click.echo()
    emit(CLASS_FIELDS, [_class_row(line) for line in summarize_classes(kernels)], format_)


def _geometry(kernel: ClassifiedKernel) -> tuple[str, ...]:
    """Return what else tells one row from another, as words: grid, block, capture."""
    return (f"grid {kernel.grid}", f"block {kernel.block}", kernel.capture_id)


def _fields_that_fit(format_: str) -> tuple[Field, ...]:
    narrow = format_ == "table" and sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE_COLUMNS
    return NARROW_FIELDS if narrow else FIELDS


def _row(number: int, kernel: ClassifiedKernel) -> Row:
    verdict, point = kernel.verdict, kernel.point
    word = f" ({verdict.rule_verdict})" if verdict.rule_verdict else ""
    row = {
        "number": number,
        "friendly_name": kernel.friendly_name,
        "bound": verdict.bound,
        "rule": f"{verdict.rule}{word}",
        "tier": verdict.tier,
        "margin": _margin(verdict),
        "flop_per_byte": point.flop_per_byte if point else verdict.inputs.get("flop_per_byte"),
        "ridge_flop_per_byte": point.ridge_flop_per_byte if point else None,
        "inputs": ", ".join(_input(name, value) for name, value in verdict.inputs.items() if name in _INPUT_LABELS),
        "time_share": kernel.time_share,
        "launch_count": kernel.launch_count,
    }
    return row | {"why": _why(row)}


def _why(row: Row) -> str:
    intensity = fmt.with_unit(row["flop_per_byte"], "flop/byte") if row["flop_per_byte"] is not None else ""
    if row["ridge_flop_per_byte"] is not None:
        intensity += f", ridge {fmt.with_unit(row['ridge_flop_per_byte'], 'flop/byte')}"
    margin = f"margin {row['margin']}" if row["margin"] else ""
    return " · ".join(part for part in (row["rule"], row["tier"], margin, intensity, row["inputs"]) if part)


def _margin(verdict: Verdict) -> str | None:
    if verdict.margin is None:
        return None
    # Three digits: a margin of 0.0004 points must not read as none.
    return f"{fmt.plain(verdict.margin)} {verdict.margin_unit}"


def _input(name: str, value: float) -> str:
    return f"{_INPUT_LABELS[name]} {fmt.with_unit(value, unit_of(name))}"


def _remarks(kernels: Sequence[ClassifiedKernel]) -> list[str]:
    """Return what is missing and what to know, each once, with the numbers of the rows that it holds for."""
    remarks: dict[str, list[int]] = {}
    for number, kernel in enumerate(kernels, 1):
        for text in (*_told(kernel.verdict), *_roof(kernel)):
            remarks.setdefault(text, []).append(number)
    return [f"{_ranges(numbers)}: {text}" for text, numbers in remarks.items()]


def _told(verdict: Verdict) -> list[str]:
    """Return the remarks on one verdict: what is missing and can matter, how to get it, flags, the busiest unit."""
    absent = [name for name in verdict.missing if name not in verdict.immaterial]
    lines = [f"not collected: {', '.join(absent)}"] if absent else []
    lines += [verdict.remedy] if verdict.remedy else []
    return [*lines, *verdict.flags, *([f"busiest unit: {verdict.limiter}"] if verdict.limiter else [])]


def _roof(kernel: ClassifiedKernel) -> list[str]:
    """Return which roof a kernel was held against and at which clocks it ran, rounded so that launches agree."""
    clocks = [
        f"{words} {value / 1e9:.2f} GHz"
        for words, name in (("SM clock", "sm_clock_hz"), ("DRAM clock", "dram_clock_hz"))
        if (value := kernel.counters.get(name))
    ]
    roof = [f"roof: {kernel.point.roof_source}"] if kernel.point else []
    text = ", ".join((*roof, *clocks))
    return [text] if text else []


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as people write them.

    >>> _ranges([1, 2, 3, 7])
    '#1–3, 7'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "#" + ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _class_row(line: ClassSummary) -> Row:
    return {field.name: getattr(line, field.name) for field in CLASS_FIELDS}


def _exact_row(kernel: ClassifiedKernel) -> Row:
    verdict = {name: getattr(kernel.verdict, name) for name in kernel.verdict.__slots__}
    own = {field.name: getattr(kernel, field.name) for field in EXACT_FIELDS if hasattr(kernel, field.name)}
    point = {field.name: getattr(kernel.point, field.name, None) for field in _POINT_FIELDS}
    if kernel.point is None:
        # Intensity needs no roof.
        point |= {name: kernel.verdict.inputs.get(name) for name in ("flop", "flop_per_byte")}
    return own | verdict | point
