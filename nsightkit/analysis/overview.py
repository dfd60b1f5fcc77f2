"""Everything that a report needs, from the tables alone.

In: tables by name (`Tables`, which a dataset of `ingest` satisfies). Out: `Analysis`. A table that is not there leaves
its part empty; only the columns that are needed are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from nsightkit.analysis.distributions import make_histograms, summarize_classes
from nsightkit.analysis.results import Analysis, ClassifiedKernel, KernelSummary, OperatorSummary, SumRow
from nsightkit.analysis.roofs.classification import DEFAULT_MARGIN, DEFAULT_RULE, classify_kernels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from nsightkit.analysis.results import RooflineRow
    from nsightkit.analysis.roofs.ceiling_table import CeilingRow
    from nsightkit.analysis.work.analytic import Roofs
    from nsightkit.analysis.work.phase_use import PhaseUse

    Times = npt.NDArray[np.int64]

GPU_WORK = ("kernel_launches", "memory_operations")
# Placing takes about 50 µs an operator call.
MOST_PLACED_OPERATORS = 200_000
_PLACE_COLUMNS = ("capture_id", "device_id", "start_ns", "duration_ns")


class Tables(Protocol):
    """Tables by name, as declared in `tables`."""

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a small table as dictionaries with every declared column."""

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table, or some of its columns, as Arrow."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What tables were cut to: ranges of the name `within`, out of `around`, with what must be said of that.

    While such a range had work on the GPU other work may have run too, so busy and idle are judged among all of it.
    """

    within: str
    around: Tables
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How to analyze.

    `rule`, `margin` (points) and `gpu` (a key of gpus.toml) are those of `classify_kernels`; `tokens` is how many
    tokens the captured work produced, `tracing_ratio` is traced by untraced wall time, `roofs` what the machine was
    measured to reach; None where that is not known.
    """

    rule: str = DEFAULT_RULE
    margin: float = DEFAULT_MARGIN
    tokens: int | None = None
    gpu: str | None = None
    tracing_ratio: float | None = None
    roofs: Roofs | None = None
    scope: Scope | None = None


def analyze_tables(tables: Tables, options: AnalysisOptions | None = None) -> Analysis:
    """Return the analysis of `tables`.

    Raises:
        AnalysisError: the options name a rule or a margin that there is not.
        NsightkitError: the options name a GPU that is not in the table.
    """
    options = options or AnalysisOptions()
    counted = tables.rows("kernel_counters") if tables.has("kernel_counters") else []
    kernels = classify_kernels(counted, options.rule, options.margin, options.gpu)
    span, busy, notes = _gpu_time(tables)
    work, unplaced = ((), ()) if kernels else _work(tables, options)
    analysis = Analysis(
        top_kernels=_told_apart(_top_kernels(tables, options.tokens)),
        top_operators=tuple(_top_operators(tables, options.tokens)),
        api_calls=tuple(_api_calls(tables)),
        memory_operations=tuple(_memory_operations(tables)),
        ranges=tuple(_ranges(tables)),
        kernels=_kernels_told_apart(kernels),
        classes=tuple(summarize_classes(kernels)),
        histograms=tuple(make_histograms(kernels)) if kernels else (),
        rule=options.rule,
        margin=options.margin,
        span_ns=span,
        busy_ns=busy,
        notes=(*notes, *unplaced),
        work=work,
        targets=tuple(tables.rows("counter_targets")) if tables.has("counter_targets") else (),
        phase_uses=_phase_uses(tables, counted, options),
        ceilings=_ceilings(tables, counted, options),
    )
    from nsightkit.analysis.story import tell

    told = replace(analysis, story=tell(tables, analysis, counted, options))
    return told if options.scope is None else _scoped(told, options.scope)


def _scoped(analysis: Analysis, scope: Scope) -> Analysis:
    """Return the analysis with the span and the busy time of the range, not of all between its first and last use."""
    timelines = analysis.story.timelines if analysis.story else ()
    span, busy = (timelines[0].span_ns, timelines[0].busy_ns) if len(timelines) == 1 else (None, None)
    return replace(analysis, span_ns=span, busy_ns=busy, notes=(*scope.told, *analysis.notes))


def _top_kernels(tables: Tables, tokens: int | None) -> list[KernelSummary]:
    from nsightkit.analysis import kernel_summary

    if tables.has("kernel_launches"):
        found = kernel_summary.summarize_kernels(tables.arrow("kernel_launches", kernel_summary.COLUMNS), tokens)
        if found:
            return found
    return kernel_summary.kernels_from_sums(_reported(tables), tokens)


def _told_apart(kernels: Sequence[KernelSummary]) -> tuple[KernelSummary, ...]:
    """Return the kernels with names that differ where the kernels do."""
    if len({kernel.friendly_name for kernel in kernels}) == len(kernels):
        return tuple(kernels)
    from nsightkit.analysis.kernel_names import tell_apart

    labels = tell_apart([kernel.kernel_name for kernel in kernels])
    return tuple(
        replace(kernel, friendly_name=label) if label != kernel.friendly_name else kernel
        for kernel, label in zip(kernels, labels, strict=True)
    )


def _kernels_told_apart(kernels: Sequence[ClassifiedKernel]) -> tuple[ClassifiedKernel, ...]:
    """Return the same of profiled kernels, of which two may be one kernel with another grid."""
    if len({kernel.friendly_name for kernel in kernels}) == len(kernels):
        return tuple(kernels)
    from nsightkit.analysis.kernel_names import tell_apart

    beside = [(f"grid {kernel.grid}", f"block {kernel.block}", kernel.capture_id) for kernel in kernels]
    labels = tell_apart([kernel.kernel_name for kernel in kernels], beside)
    return tuple(
        replace(kernel, friendly_name=label) if label != kernel.friendly_name else kernel
        for kernel, label in zip(kernels, labels, strict=True)
    )


def _top_operators(tables: Tables, tokens: int | None) -> list[OperatorSummary]:
    if not tables.has("cpu_operators"):
        return []
    from nsightkit.analysis.work import operator_summary

    return operator_summary.summarize_operators(tables.arrow("cpu_operators", operator_summary.COLUMNS), tokens)


def _work(tables: Tables, options: AnalysisOptions) -> tuple[tuple[RooflineRow, ...], tuple[str, ...]]:
    """Return operators with their work from shapes where there are no counters, and why they are left out."""
    if not tables.has("cpu_operators"):
        return (), ()
    from nsightkit.analysis.roofs.roofline_rows import TABLES_READ, RooflineChoice, roofline_rows

    count = tables.arrow("cpu_operators", ("capture_id",)).num_rows
    if count > MOST_PLACED_OPERATORS:
        return (), (f"{count} operator calls are too many to place in a report: 'nsightkit roofline RUN' places them",)
    rows = {name: tables.rows(name) for name in TABLES_READ if tables.has(name)}
    found = roofline_rows(rows, RooflineChoice(gpu=options.gpu, roofs=options.roofs))
    return (tuple(found) if any(row.tier == "analytic" for row in found) else ()), ()


def _ceilings(tables: Tables, counted: Sequence[dict[str, Any]], options: AnalysisOptions) -> tuple[CeilingRow, ...]:
    """Return data sheet, ncu's and measured peaks side by side, where anything is held against them."""
    if not (counted or options.roofs or tables.has("cpu_operators")):
        return ()
    from nsightkit.analysis.roofs.ceiling_table import ceilings_by_gpu

    devices = tables.rows("gpus") if tables.has("gpus") else []
    return tuple(ceilings_by_gpu(counted, devices, options.roofs))


def _phase_uses(tables: Tables, counted: Sequence[dict[str, Any]], options: AnalysisOptions) -> tuple[PhaseUse, ...]:
    """Return MFU and MBU by phase, where ranges and any source of work are there."""
    if not tables.has("nvtx_ranges") and not any(row.get("nvtx_path") for row in counted):
        return ()  # before the work model is imported, which takes a tenth of the time of a small report
    from nsightkit.analysis.roofs.phase_rows import SAMPLES, states_work, uses_by_phase

    operators = tables.arrow("cpu_operators", ("capture_id",)).num_rows if tables.has("cpu_operators") else 0
    # They are placed a second time here, by phase.
    few = operators <= MOST_PLACED_OPERATORS // 4
    sources = [tables.has(name) for name in ("kernel_counters", "cpu_operators", SAMPLES)]
    if not few or not (any(sources) or states_work(tables)):
        return ()
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice

    return tuple(uses_by_phase(tables, RooflineChoice(gpu=options.gpu, roofs=options.roofs)))


def _api_calls(tables: Tables) -> list[SumRow]:
    from nsightkit.analysis.sums import API_COLUMNS, summarize_api

    return _sums(tables, ("cuda_api_calls", API_COLUMNS), summarize_api, ("cuda_api_sum",))


def _memory_operations(tables: Tables) -> list[SumRow]:
    from nsightkit.analysis.sums import MEMORY_COLUMNS, summarize_memory

    return _sums(tables, ("memory_operations", MEMORY_COLUMNS), summarize_memory, ("cuda_gpu_mem_time_sum",))


def _ranges(tables: Tables) -> list[SumRow]:
    from nsightkit.analysis.sums import RANGE_COLUMNS, summarize_ranges

    return _sums(tables, ("nvtx_ranges", RANGE_COLUMNS), summarize_ranges, ("nvtx_sum", "nvtx_pushpop_sum"))


def _sums(
    tables: Tables,
    source: tuple[str, Sequence[str]],
    summarize: Callable[[pa.Table], list[SumRow]],
    reports: Sequence[str],
) -> list[SumRow]:
    """Return the sums over a table, or the lines of the first of `reports` that a printout has."""
    from nsightkit.analysis.sums import sums_from_report

    name, columns = source
    found = summarize(tables.arrow(name, columns)) if tables.has(name) else []
    if found:
        return found
    reported = _reported(tables)
    return next((lines for report in reports if (lines := sums_from_report(reported, report))), [])


def _reported(tables: Tables) -> list[dict[str, Any]]:
    return tables.rows("reported_sums") if tables.has("reported_sums") else []


def _gpu_time(tables: Tables) -> tuple[int | None, int | None, tuple[str, ...]]:
    """Return the span and the busy time of the GPU in ns, and why one of them is not given."""
    parts = [tables.arrow(name, _PLACE_COLUMNS) for name in GPU_WORK if tables.has(name)]
    parts = [part for part in parts if part.num_rows]
    if not parts:
        return None, None, ()
    captures = set().union(*(_distinct(part, "capture_id") for part in parts))
    if len(captures) > 1:
        return None, None, (f"{len(captures)} captures have no common clock: no span and no busy time is given",)
    starts, ends = _intervals(parts)
    if not len(starts):
        return None, None, ()
    span = int(ends.max() - starts.min())
    gpus = set().union(*(_distinct(part, "device_id") for part in parts))
    if len(gpus) > 1:
        return span, None, (f"{len(gpus)} GPUs were at work: idle time is of the sum of their spans",)
    return span, covered_ns(starts, ends), ()


def _distinct(table: pa.Table, column: str) -> set[Any]:
    from nsightkit.analysis.arrays import distinct, ints, words

    # Arrow's own `unique` imports pyarrow.compute, which costs more than all else of a small report.
    if column == "capture_id":
        codes, names = words(table, column)
        texts = names.to_pylist()
        return {texts[code] for code in distinct(codes) if code >= 0}
    return set(distinct(ints(table, column)))


def _intervals(parts: Sequence[pa.Table]) -> tuple[Times, Times]:
    import numpy as np

    from nsightkit.analysis.durations import integers, present

    measured = [present(part["duration_ns"]) for part in parts]
    starts = [integers(part["start_ns"])[known] for part, known in zip(parts, measured, strict=True)]
    lengths = [integers(part["duration_ns"])[known] for part, known in zip(parts, measured, strict=True)]
    return np.concatenate(starts), np.concatenate(starts) + np.concatenate(lengths)


def covered_ns(starts: Times, ends: Times) -> int:
    """Return how long at least one of the intervals lasts; they may overlap.

    Args:
        starts: shape (n,), n ≥ 1, in ns.
        ends: shape (n,), each not before its start.
    """
    import numpy as np

    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    reached = np.maximum.accumulate(ends)
    idle = np.maximum(starts[1:] - reached[:-1], 0)
    return int(reached[-1] - starts[0] - idle.sum())
