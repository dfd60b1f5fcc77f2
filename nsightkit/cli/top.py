"""``nsightkit top``: what takes the time, longest first.

In: captures or runs. Out: one row a kernel, framework operator, API call, memory operation or NVTX range, or GPU time
by range, phase, family, stream, device and rank, with a caption that says which tool, scope and clock the numbers have.
Only the columns that are needed are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.analysis.results import KernelSummary, OperatorSummary, SumRow
from nsightkit.cli.attributed import WANTED
from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import notes_of, scoped, wanted_inside, within_option
from nsightkit.cli.work_listing import ListingType, Tables, work_listing
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.ingest.dataset import Dataset

Row = dict[str, Any]
KINDS = ("kernel", "operator", "api", "memory", "nvtx")
_CAPTURES_SHOWN = 5

_SHARE = Field("share", "share", "1")
_STATISTICS = (
    Field("mean_ns", "mean", "ns"),
    Field("median_ns", "median", "ns"),
    Field("min_ns", "min", "ns"),
    Field("max_ns", "max", "ns"),
    Field("std_ns", "std", "ns"),
)
_MOST_ROWS = 20
_PER_TOKEN = Field("per_token_ns", "per token", "ns")
_KERNEL_FIELDS = (
    Field("friendly_name", "kernel"),
    Field("library", "library"),
    _SHARE,
    Field("total_ns", "total", "ns"),
    Field("launch_count", "launches", "count"),
    *_STATISTICS[:2],
    Field("p95_ns", "p95", "ns"),
    *_STATISTICS[2:4],
)
_OPERATOR_FIELDS = (
    Field("operator_name", "operator"),
    _SHARE,
    Field("self_ns", "own time", "ns"),
    Field("total_ns", "total", "ns"),
    Field("call_count", "calls", "count"),
    Field("mean_ns", "mean", "ns"),
)


def _sum_fields(what: str, *more: Field) -> tuple[Field, ...]:
    sums = (Field("total_ns", "total", "ns"), Field("instance_count", "count", "count"))
    return (Field("name", what), *more, _SHARE, *sums, *_STATISTICS)


@dataclass(frozen=True)
class _Listing:
    """Rows with the columns that people see, the fields that machines get, and what to say of the clock."""

    rows: Sequence[Row]
    shown: Sequence[Field]
    exact: Sequence[str]
    clock: str
    told: Sequence[str] = ()


def _kernel_listing(kernels: Sequence[KernelSummary], clock: str) -> _Listing:
    return _Listing([asdict(kernel) for kernel in kernels], _KERNEL_FIELDS, _names(KernelSummary), clock)


def _names(record: type[Any], *more: str) -> tuple[str, ...]:
    return (*(field.name for field in fields(record)), *more)


_TIMELINE = "clock as the GPU ran"
_CPU = "CPU time"
_NCU = "durations under ncu's clocks, not a timeline"

# Not a docstring: click marks preformatted paragraphs with a backspace character.
HELP = """Say what takes the time, longest first: kernels by default.

PATH is a capture (nsys SQLite or parquet export, .nsys-rep, output of nsys stats, torch.profiler trace, .ncu-rep, ncu
CSV), a folder of captures, or a run directory; without PATH the newest run in ./reports. Launches count as one kernel
if their full demangled names are equal, so counts and totals are those of 'nsys stats'; the table shows a short name,
and --format json or csv has the full one.

\b
What --by lists:
  kernel    GPU kernels (default). A torch.profiler trace without kernels lists its operators instead; a capture of
            Nsight Compute lists the launches it profiled, under ncu's clocks.
  operator  framework operators by their own CPU time (torch.profiler)
  api       calls of the CUDA runtime and driver, CPU time
  memory    copies and fills on the GPU
  nvtx      NVTX ranges, wall time on their thread; as domain:name

\b
GPU time of kernels, copies and fills by any of these keys, or by several joined by commas:
  range     the innermost NVTX range (or torch.profiler annotation) that launched it
  phase     the outermost such range
  kernel    in a combination: range,kernel
  family    what kind of kernel it is: GEMM, attention, norm, …
  stream, device, rank

\b
nsightkit top profile.sqlite
nsightkit top profile.sqlite --by range,kernel --limit 0
nsightkit top profile.sqlite --by phase,family --tokens 16
nsightkit top profile.sqlite --in 'decode_*'
nsightkit top runs/today --tokens 16 --format csv > kernels.csv
"""


@click.command("top", help=HELP)
@paths_argument(required=False)
@click.option(
    "--by", type=ListingType(KINDS), metavar="WHAT", default=None, help="What to list; see above.  [default: kernel]"
)
@within_option
@click.option("--limit", type=click.IntRange(min=0),
              help="Rows to print; 0 prints all.  [default: 20; all in csv, json and parquet]")  # fmt: skip
@click.option(
    "--tokens", type=click.IntRange(min=1),
    help="Tokens that the captured work produced, for time per token. Default: as the run says.",
)  # fmt: skip
@format_option
def command(
    paths: tuple[Path, ...], by: str | None, within: str | None, limit: int | None, tokens: int | None, format_: str
) -> None:
    """See HELP."""
    from nsightkit.ingest import open_dataset

    wanted = _wanted(by) if by in _LISTINGS or by is None else WANTED
    dataset = open_dataset(or_newest_run(paths), wanted_inside() if within else wanted)
    tokens = tokens or dataset.info.tokens
    listing = _listing(dataset, by, within, tokens)
    _say_notes(dataset, listing, by, within)
    if limit is None:
        limit = _MOST_ROWS if format_ in ("table", "markdown") else 0
    _print(dataset, listing, (limit, tokens, format_), within)
    for text in listing.told:
        note(text)
    finish(dataset)


def _listing(dataset: Dataset, by: str | None, within: str | None, tokens: int | None) -> _Listing:
    if not dataset.info.captures:
        return _kernel_listing([], _TIMELINE)
    if by is not None and by not in _LISTINGS:
        work = work_listing(dataset, by.split(","), within, tokens)
        return _Listing(work.rows, work.shown, work.exact, _TIMELINE, work.told)
    source = scoped(dataset, within)
    listing = _LISTINGS[by](source, tokens) if by else _whatever_there_is(source, tokens)
    return replace(listing, told=notes_of(source))


def _print(dataset: Dataset, listing: _Listing, shape: tuple[int, int | None, str], within: str | None) -> None:
    limit, tokens, format_ = shape
    rows = listing.rows[:limit] if limit else listing.rows
    if format_ in ("table", "markdown"):
        shown = [
            Field("number", "#", "count"),
            *listing.shown,
            *([_PER_TOKEN] if tokens and _has_tokens(listing) else []),
        ]
        numbered = [{"number": number, **row} for number, row in enumerate(_told_apart(rows), 1)]
        if rows:
            emit(shown, numbered, format_, _caption(dataset, listing, len(rows), within))
    else:
        emit([Field(name, name) for name in listing.exact], rows, format_)


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with short names of which no two kernels share one."""
    from nsightkit.analysis.kernel_names import tell_apart

    given = [("kernel_name", "friendly_name"), ("kernel", "friendly")]
    full, short = next((pair for pair in given if rows and pair[1] in rows[0]), ("", ""))
    named = [str(row[full]) for row in rows if row.get(full) and str(row[full])[:1] != "["] if short else []
    labels = dict(zip(named, tell_apart(named), strict=True))
    return [row | {short: labels[row[full]]} if row.get(full) in labels else row for row in rows]


def _has_tokens(listing: _Listing) -> bool:
    return "per_token_ns" in listing.exact


def _wanted(by: str | None) -> dict[str, tuple[str, ...] | None]:
    kernels: dict[str, tuple[str, ...] | None] = {
        "kernel_launches": ("kernel_name", "duration_ns"),
        "kernel_counters": ("launch_index", "kernel_name", "failed", "duration_ns"),
        "reported_sums": None,
    }
    operators: dict[str, tuple[str, ...] | None] = {
        "cpu_operators": ("operator_name", "start_ns", "duration_ns", "self_ns")
    }
    lists: dict[str | None, dict[str, tuple[str, ...] | None]] = {
        None: {**kernels, **operators},
        "kernel": kernels,
        "operator": operators,
        "api": {"cuda_api_calls": ("name", "duration_ns"), "reported_sums": None},
        "memory": {"memory_operations": ("operation", "duration_ns", "moved_bytes"), "reported_sums": None},
        "nvtx": {"nvtx_ranges": ("name", "domain", "kind", "start_ns", "duration_ns"), "reported_sums": None},
    }
    return lists[by]


def _whatever_there_is(dataset: Tables, tokens: int | None) -> _Listing:
    kernels = _by_kernel(dataset, tokens)
    if kernels.rows or not dataset.has("cpu_operators"):
        return kernels
    operators = _by_operator(dataset, tokens)
    if operators.rows:
        note("no GPU kernels in the capture: framework operators by their own CPU time instead (--by operator)")
    return operators if operators.rows else kernels


def _by_kernel(dataset: Tables, tokens: int | None) -> _Listing:
    from nsightkit.analysis.kernel_summary import kernels_from_counters, kernels_from_sums, summarize_kernels

    if dataset.has("kernel_launches") and (kernels := summarize_kernels(dataset.arrow("kernel_launches"), tokens)):
        return _kernel_listing(kernels, _TIMELINE)
    if dataset.has("reported_sums") and (kernels := kernels_from_sums(dataset.rows("reported_sums"), tokens)):
        return _kernel_listing(kernels, _TIMELINE)
    if dataset.has("kernel_counters"):
        kernels = kernels_from_counters(dataset.rows("kernel_counters"), tokens)
        return _kernel_listing(kernels, _NCU)
    return _kernel_listing([], _TIMELINE)


def _by_operator(dataset: Tables, tokens: int | None) -> _Listing:
    from nsightkit.analysis.work.operator_summary import summarize_operators

    found = summarize_operators(dataset.arrow("cpu_operators"), tokens) if dataset.has("cpu_operators") else []
    return _Listing([asdict(one) for one in found], _OPERATOR_FIELDS, _names(OperatorSummary), _CPU)


def _by_api(dataset: Tables, tokens: int | None) -> _Listing:
    from nsightkit.analysis.sums import summarize_api, sums_from_report

    rows = summarize_api(dataset.arrow("cuda_api_calls")) if dataset.has("cuda_api_calls") else []
    return _sum_listing("call", rows or sums_from_report(_printed(dataset), "cuda_api_sum"), _CPU)


def _by_memory(dataset: Tables, tokens: int | None) -> _Listing:
    from nsightkit.analysis.sums import summarize_memory, summarize_memory_sizes, sums_from_report

    if not dataset.has("memory_operations"):
        printed = sums_from_report(_printed(dataset), "cuda_gpu_mem_time_sum")
        return _sum_listing("operation", printed, _TIMELINE)
    operations = dataset.arrow("memory_operations")
    sizes = {row.name: row.total_bytes for row in summarize_memory_sizes(operations)}
    rows = [{**asdict(row), "total_bytes": sizes.get(row.name)} for row in summarize_memory(operations)]
    shown = _sum_fields("operation", Field("total_bytes", "moved", "byte"))
    return _Listing(rows, shown, _names(SumRow, "total_bytes"), _TIMELINE)


def _by_nvtx(dataset: Tables, tokens: int | None) -> _Listing:
    from nsightkit.analysis.sums import summarize_ranges, sums_from_report

    rows = summarize_ranges(dataset.arrow("nvtx_ranges")) if dataset.has("nvtx_ranges") else []
    printed = _printed(dataset)
    rows = rows or sums_from_report(printed, "nvtx_sum") or sums_from_report(printed, "nvtx_pushpop_sum")
    listing = _sum_listing("range", rows, "wall time on the range's thread; ranges nest, so shares overlap")
    return _Listing(
        listing.rows, (*listing.shown[:1], Field("style", "style"), *listing.shown[1:]), listing.exact, listing.clock
    )


def _printed(dataset: Tables) -> list[Row]:
    return dataset.rows("reported_sums") if dataset.has("reported_sums") else []


def _sum_listing(what: str, rows: Sequence[SumRow], clock: str) -> _Listing:
    return _Listing([asdict(row) for row in rows], _sum_fields(what), _names(SumRow), clock)


_LISTINGS: dict[str, Callable[[Tables, int | None], _Listing]] = {
    "kernel": _by_kernel,
    "operator": _by_operator,
    "api": _by_api,
    "memory": _by_memory,
    "nvtx": _by_nvtx,
}
_NOTHING = {
    None: "no GPU kernels",
    "kernel": "no GPU kernels",
    "operator": "no framework operators: only torch.profiler traces have them",
    "api": "no CUDA API calls",
    "memory": "no GPU copies or fills",
    "nvtx": "no NVTX ranges",
}


_NO_TIMES = "no durations (profile with a section that has them, such as SpeedOfLight) of the profiled launches"


def _say_notes(dataset: Dataset, listing: _Listing, by: str | None, within: str | None) -> None:
    """Say on stderr what a reader must know before trusting the rows, and why there are none."""
    captures = dataset.info.captures
    if not listing.rows and captures:
        nothing = (
            _NO_TIMES if by in (None, "kernel") and dataset.has("kernel_counters") else _NOTHING.get(by, "no GPU work")
        )
        scope = f" inside {within}" if within else ""
        note(f"{nothing}{scope} in " + ", ".join(capture.source or capture.capture_id for capture in captures))
    backwards = sum((row.get("min_ns") or 0) < 0 for row in listing.rows)
    if backwards:
        note(f"{backwards} of these rows hold work that ends before it starts; its negative time is kept as recorded")
    for capture in captures:
        for text in capture.notes:
            note(f"{capture.capture_id}: {text}")


def _caption(dataset: Dataset, listing: _Listing, shown: int, within: str | None) -> str:
    captures = dataset.info.captures
    told = [
        f"{capture.capture_id}: {capture.backend} {capture.tool_version or 'of unknown version'}, {capture.scope}"
        for capture in captures[:_CAPTURES_SHOWN]
    ]
    if len(captures) > _CAPTURES_SHOWN:
        told.append(f"and {len(captures) - _CAPTURES_SHOWN} more captures")
    if dataset.info.gpu_name:
        told.append(dataset.info.gpu_name)
    if within:
        told.append(f"inside {within}")
    told.append(listing.clock)
    hidden = len(listing.rows) - shown
    if hidden:
        share = sum(row["share"] for row in listing.rows[shown:])
        told.append(f"{hidden} more rows with {fmt.share(share)} of the time are not shown (--limit 0 shows all)")
    return "; ".join(told)
