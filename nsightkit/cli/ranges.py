"""``nsightkit ranges``: which named range of the program cost the GPU's time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.attributed import graph_note, lost_graphs
from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import no_work, scope_words, within_option
from nsightkit.report import format as fmt
from nsightkit.report.timeline_words import lost_graph_note

if TYPE_CHECKING:
    from nsightkit.analysis.ranges.nvtx_projection import Attribution
    from nsightkit.analysis.ranges.range_summary import RangeOptions, RangeSummary, RangeTotals
    from nsightkit.analysis.work.operations import CaptureTables
    from nsightkit.ingest.dataset import Dataset

_NO_RANGES = "no range launched GPU work; mark the phases of the program with NVTX ranges or record_function"
REPORTS = ("nvtx_gpu_proj_sum", "nvtx_kern_sum", "cuda_kern_exec_sum")
_NUMBERS = (
    Field("share", "share", "1"),
    Field("gpu_ns", "GPU time", "ns"),
    Field("own_ns", "own", "ns"),
    Field("operation_count", "GPU operations", "count"),
    Field("instance_count", "instances", "count"),
)
_FIELDS = (
    Field("name", "range"),
    Field("kind", "kind", shown=False),
    *_NUMBERS,
    Field("mean_ns", "projected mean", "ns"),
    Field("median_ns", "median", "ns"),
    Field("min_ns", "min", "ns"),
    Field("max_ns", "max", "ns"),
    Field("range_ns", "CPU time", "ns"),
)
_TOKEN = Field("per_token_ns", "per token", "ns")
_DOC = """Say which range of the program (NVTX or torch.profiler annotation) launched the GPU's work.

A kernel belongs to the innermost range that was open on its thread when it was launched, and to every range around
that. GPU time is the sum of the kernels, copies and fills launched inside, each once; 'own' leaves out what an inner
range launched, so it adds up. The projected time of an instance runs from the first start to the last end of its
work on the GPU. Work launched by a thread without an open range (PyTorch's backward pass) counts for the range that
is open in its process. What no range launched is told below the table.

\b
nsightkit ranges profile.sqlite
nsightkit ranges profile.sqlite --tree
nsightkit ranges profile.sqlite --in 'decode_*' --format csv
nsightkit ranges profile.sqlite --as-nsys nvtx_gpu_proj_sum --format csv
"""


@click.command("ranges", help=_DOC)
@paths_argument(required=False)
@within_option
@click.option("--tree", is_flag=True, help="List paths, from the outermost range down, instead of names.")
@click.option("--raw-names", is_flag=True, help="Keep step_1 and step_2 apart instead of counting them as step_*.")
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to print; 0 prints all.")
@click.option("--tokens", type=click.IntRange(min=1), help="Tokens that the work produced, for time per token.")
@click.option(
    "--as-nsys", type=click.Choice(REPORTS), help="Compute this report as NVIDIA's 'nsys stats' does instead."
)
@format_option
def command(
    paths: tuple[Path, ...], within: str | None, tree: bool, raw_names: bool, limit: int, tokens: int | None,
    as_nsys: str | None, format_: str,
) -> None:  # fmt: skip
    """See _DOC."""
    from nsightkit.analysis.ranges.range_summary import RangeOptions
    from nsightkit.cli.attributed import WANTED
    from nsightkit.ingest.dataset import open_dataset

    if as_nsys and (within or tree or raw_names):
        raise click.UsageError("--as-nsys takes none of --in, --tree and --raw-names: nsys has no such options")
    dataset = open_dataset(or_newest_run(paths), WANTED)
    if as_nsys:
        _as_nsys(dataset, as_nsys, limit, format_)
    elif dataset.info.captures:
        options = RangeOptions(raw_names, within, tokens or dataset.info.tokens)
        _own(dataset, options, (tree, limit, format_))
    finish(dataset)


def _own(dataset: Dataset, options: RangeOptions, shape: tuple[bool, int, str]) -> None:
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.range_summary import summarize_ranges
    from nsightkit.cli.attributed import captures_of

    tree, limit, format_ = shape
    lost: list[int] = []

    def attributed(tables: CaptureTables) -> Attribution:
        attribution = attribute(tables)
        lost.append(lost_graphs(attribution))
        return attribution

    # `map` keeps no hold of a capture's tables once they are attributed: 60 MB of a million ranges.
    found = summarize_ranges(map(attributed, captures_of(dataset, keep=False)), options)
    for_people = format_ in ("table", "markdown")
    listed = _paths(found, for_people) if tree else [asdict(row) for row in found.rows]
    shown = _tree_fields() if tree else _fields(found, options.tokens, for_people)
    rows = listed[:limit] if limit and for_people else listed
    emit(shown, rows, format_, _caption(dataset, options, len(rows), len(listed)))
    if not listed:
        note(_why_none(found.totals) if options.within is None else no_work(options.within))
    for text in told(found.totals) if options.within is None else ():
        note(text)
    if sum(lost):
        note(lost_graph_note(sum(lost)))


def _why_none(totals: RangeTotals) -> str:
    if not totals.empty_count:
        return _NO_RANGES
    if totals.unlaunched_ns == totals.unattributed_ns > 0:
        return "no range can be given GPU work: the capture lacks the calls that launched it; trace the CUDA API too"
    return "no range launched GPU work: none was open on the thread, or in the process, when work was launched"


def _fields(found: RangeSummary, tokens: int | None, for_people: bool) -> list[Field]:
    from nsightkit.analysis.ranges.range_summary import RangeRow

    if not for_people:
        return [Field(field.name, field.name) for field in fields(RangeRow)]
    kinds = {row.kind for row in found.rows}
    listed = [Field("kind", "kind") if field.name == "kind" and len(kinds) > 1 else field for field in _FIELDS]
    return [*listed, *([_TOKEN] if tokens else [])]


def _tree_fields() -> list[Field]:
    return [Field("path", "range"), Field("depth", "depth", "count", shown=False), *_NUMBERS]


def _paths(found: RangeSummary, for_people: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in found.paths:
        text: Any = ("· " * row.depth + row.path[-1]) if for_people else list(row.path)
        rows.append({**asdict(row), "path": text, "depth": row.depth})
    return rows


def _caption(dataset: Dataset, options: RangeOptions, shown: int, known: int) -> str:
    tools = ", ".join(dict.fromkeys(f"{c.backend} {c.tool_version or ''}".strip() for c in dataset.info.captures))
    scope = scope_words(options.within)
    rest = f", {known - shown} rows left out (--limit 0)" if shown < known else ""
    return f"{dataset.name}: GPU time by range, {scope}, {tools}, times as the GPU ran{rest}"


def told(totals: RangeTotals) -> Iterable[str]:
    """Return what must be said of a summary: how much no range launched, and what was odd about the ranges."""
    share = totals.unattributed_share
    yield f"launched outside every range: {fmt.share(share)} of {fmt.duration(totals.gpu_ns)} GPU time" + (
        f" ({fmt.duration(totals.unlaunched_ns)} of it by calls that the capture does not hold)"
        if totals.unlaunched_ns else ""
    )  # fmt: skip
    if totals.graph_count:
        yield graph_note(totals.graph_count, totals.graph_ns)
    if totals.inherited_ns:
        yield (
            f"{fmt.duration(totals.inherited_ns)} were launched by threads without an open range and count for the "
            "range that was open in their process"
        )
    if totals.crossing_count:
        yield (
            f"ranges that cross another of their thread: {totals.crossing_count}; each counts what was launched "
            "inside it"
        )
    if totals.unclosed_count:
        yield f"ranges that were never closed, and last to the end of the capture: {totals.unclosed_count}"
    if totals.empty_count:
        yield f"ranges that launched no GPU work, and are not listed: {totals.empty_count}"


def _as_nsys(dataset: Dataset, report: str, limit: int, format_: str) -> None:
    from nsightkit.analysis.ranges import nsys_reports
    from nsightkit.cli.attributed import captures_of

    make = getattr(nsys_reports, report)
    several = len(dataset.info.captures) > 1
    rows: list[dict[str, Any]] = []
    for tables in captures_of(dataset):
        found = make(nsys_reports.nsys_view(tables))
        rows += [{"capture_id": tables.capture_id, **row} for row in found] if several else found
    for_people = format_ in ("table", "markdown")
    shown = [Field(name, name.removesuffix("_ns").replace("_", " "), _unit(name)) for name in (rows[0] if rows else ())]
    caption = f"{dataset.name}: {report}, as NVIDIA's nsys stats counts"
    emit(shown, rows[:limit] if limit and for_people else rows, format_, caption)


def _unit(name: str) -> str:
    return "ns" if name.endswith("_ns") else "text"
