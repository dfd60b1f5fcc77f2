"""``nsightkit roofline``: where every kernel or operator stands under the roofs of its GPU.

In: captures with counters, shapes, or at least times. Out: one row each on the terminal, and with -o a picture, a page
or a CSV file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.measured_roofs import kept_ceilings, read_roofs
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.roofline_words import otherwise_bound, told_apart, unjudged, without_level
from nsightkit.cli.scoping import notes_of, scope_words, scoped, within_option
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflineRow
    from nsightkit.ingest.dataset import Dataset

Row = dict[str, Any]
PRECISIONS = ("fp64", "fp32", "fp16", *(f"tensor_{n}" for n in ("fp64", "tf32", "bf16", "fp16", "fp8", "fp4", "int8")))
EXACT = (
    *("capture_id", "name", "kernel_name", "family", "tier", "bound", "total_ns", "time_share", "count", "level"),
    *("precision", "flop", "moved_bytes", "bytes_per_s", "flop_per_byte", "flop_per_s", "ridge_flop_per_byte"),
    *("peak_flop_per_s", "peak_bytes_per_s", "roof_flop_per_s", "efficiency", "roof_source"),
    "nearer_roof",
    *("formula", "shapes", "missing", "flags"),
)
EXACT_FIELDS = tuple(Field(name, name) for name in EXACT)
FIELDS = (
    Field("number", "#", "count"),
    Field("label", "kernel or operator"),
    Field("tier", "tier"),
    Field("bound", "bound"),
    Field("time_share", "of time", "1"),
    Field("count", "count", "count"),
    Field("level", "level"),
    Field("flop", "FLOP", "flop"),
    Field("moved_bytes", "bytes", "byte"),
    Field("flop_per_byte", "intensity", "flop/byte"),
    Field("flop_per_s", "rate", "flop/s"),
    Field("bytes_per_s", "traffic", "byte/s"),
    Field("nearer_roof", "nearer roof"),
    Field("efficiency", "of its roof", "1"),
)
HELP = """Place every kernel, or every operator of a torch trace, under the roofs of its GPU.

PATH is an Nsight Compute report or CSV, a torch.profiler trace with shapes, a folder of these, or a run directory.
Without PATH the newest run below ./reports is taken.

\b
The tiers, best first; each row names its own:
  counters    operations and bytes that ncu counted, over the time of the same launch
  sampled     shares of the whole GPU that nsys sampled (--gpu-metrics) while a phase ran: a bound and
              its traffic, for phases and not for kernels
  analytic    operations and bytes from the shapes of operator calls, over the time of their kernels.
              Experimental: not compared with counters; bytes are compulsory traffic
  throughput  ncu's percentages only: a bound, but no place
  none        time only, with the reason

A row without floating-point work has no place; its traffic is set against the bandwidth. L2 and L1 are ncu's
hierarchical definitions. A GPU without DRAM counters is placed by L2.

\b
nsightkit roofline report.ncu-rep -o roofline.svg
nsightkit roofline trace.json.gz --by family
nsightkit roofline report.ncu-rep --level all -o roofline.html
nsightkit roofline cpu-trace.json --ceilings ceilings.json
nsightkit roofline profile.sqlite --dtype bfloat16
"""


@click.command("roofline", help=HELP)
@paths_argument(required=False)
@click.option(
    "--level", "level", type=click.Choice(("dram", "l2", "l1", "all")), default="dram", show_default=True,
    help="Which memory's traffic and bandwidth.",
)  # fmt: skip
@click.option("--precision", type=click.Choice(PRECISIONS), help="Only work of this type, under its own roof.")
@click.option(
    "--by", type=click.Choice(("kernel", "family", "range")),
    help="One row a kernel or operator, or sums over its family or the innermost range it ran in. Default: kernel; "
    "range where nsys sampled the GPU and nothing better is known.",
)  # fmt: skip
@click.option("--gpu", metavar="KEY", help="Take this data sheet where a capture does not name its GPU.")
@click.option(
    "--ceilings", type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Roofs that 'nsightkit ceilings' measured, for work from shapes. Default: ceilings.json in the run, if any.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(("float32", "float64", "float16", "bfloat16")),
    help="Type of the tensors in NVTX ranges with shapes (emit_nvtx); such ranges do not hold it.",
)  # fmt: skip
@within_option
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to print; 0 prints all.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture (.svg, .png, .pdf), a page (.html) or exact values (.csv).",
)  # fmt: skip
@format_option
def command(
    paths: tuple[Path, ...],
    level: str,
    precision: str | None,
    by: str | None,
    gpu: str | None,
    ceilings: Path | None,
    dtype: str | None,
    within: str | None,
    limit: int,
    output: Path | None,
    format_: str,
) -> None:
    """Print the rows and write the file that is asked for."""
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice, by_family, by_range
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.rooflines import WANTED_SAMPLED, rows_of

    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise click.UsageError(f"-o {output}: name a file that ends in {', '.join(_SUFFIXES)}")
    paths = or_newest_run(paths)
    dataset = open_dataset(paths, dict.fromkeys(WANTED_SAMPLED))
    if not dataset.info.captures:
        finish(dataset)
    dataset = scoped(dataset, within)
    by = by or _best(dataset, dtype)
    roofs = read_roofs(ceilings or kept_ceilings(paths))
    choice = RooflineChoice((level,), precision, gpu, roofs, by == "range", dtype)
    rows = rows_of(dataset, choice)
    if by != "kernel":
        rows = by_family(rows) if by == "family" else by_range(rows)
    scope = f" · {scope_words(within)}" if within else ""
    caption = f"{dataset.name} · {dataset.info.gpu_name or ''} · level {level}{scope}".replace(" ·  ·", " ·")
    shown = rows[:limit] if limit else rows
    _print(shown, rows, format_, caption)
    if output is not None:
        _write(output, rows, caption)
        note(f"wrote {output}")
    for text in notes_of(dataset):
        note(text)
    finish(dataset)


def _best(dataset: Dataset, dtype: str | None) -> str:
    """Return by range where nsys sampled the GPU and there are neither counters nor shapes; else by kernel."""
    from nsightkit.analysis.roofs.phase_rows import states_work

    if dtype or any(map(dataset.has, ("kernel_counters", "cpu_operators"))):
        return "kernel"
    if dataset.has("gpu_metric_samples"):
        note("tier sampled, as there are no counters and no shapes: nsys sampled the whole GPU, so rows are phases")
        return "range"
    if states_work(dataset):
        note("tier analytic, as there are no counters and no shapes: the program states the work of its ranges")
        return "range"
    return "kernel"


_MOST_UNPLACED = 12
_MOST_NAMED = 6
_SUFFIXES = (".svg", ".png", ".pdf", ".html", ".csv")


def _print(shown: Sequence[RooflineRow], rows: Sequence[RooflineRow], format_: str, caption: str) -> None:
    if not rows:
        note("no row: nothing did work of this type that could be placed")
    if format_ not in ("table", "markdown"):
        emit(EXACT_FIELDS, [exact_row(row) for row in shown], format_)
        return
    labels = _labels(shown)
    emit(FIELDS, [_row(place, row, labels[place]) for place, row in enumerate(shown)], format_, caption)
    for text in remarks(rows):
        click.echo(fmt.markdown_cell(text) + "  " if format_ == "markdown" else fmt.printable(text))
    if len(shown) < len(rows):
        note(f"{fmt.count(len(rows) - len(shown))} rows not shown; --limit 0 shows all")


def remarks(rows: Sequence[RooflineRow]) -> list[str]:
    """Return what to know of the rows as a whole: time by tier, roofs used, and each thing missing, once."""
    if not rows:
        return []
    whole = sum(row.time_share or 0.0 for row in rows if row.level == rows[0].level) or 1.0
    # A phase may stand there twice, by what was sampled and by what is stated.
    whole = min(whole, float(len({row.capture_id for row in rows})))
    lines = []
    for tier in dict.fromkeys(row.tier for row in rows if row.level == rows[0].level):
        members = [row for row in rows if row.tier == tier and row.level == rows[0].level]
        timed = [row.time_share for row in members if row.time_share is not None]
        share = sum(timed) / whole if timed else None
        lines.append(f"tier {tier}: {len(members)} row{'s' * (len(members) != 1)}, {fmt.share(share)} of the time")
    sources = dict.fromkeys(row.point.roof_source for row in rows if row.point)
    lines += [f"roof: {source}" for source in list(sources)[:4]]
    notes = _unplaced([row for row in rows if row.level == rows[0].level])
    experimental = dict.fromkeys(flag for row in rows for flag in row.flags if flag.startswith("experimental"))
    assumed = dict.fromkeys(flag for row in rows for flag in row.flags if flag.startswith("assumed"))
    phases = [row for row in rows if row.family in ("phase", "range") and row.tier != "none"]
    said = dict.fromkeys(text for row in phases for text in (*row.flags, *_why(row)))
    open_ = [*unjudged(rows), *otherwise_bound(rows), *without_level(rows)]
    return [*lines, *open_, *(experimental | assumed | said), *notes]


def _why(row: RooflineRow) -> Iterator[str]:
    if row.bound == "UNKNOWN" and row.missing:
        yield f"{row.name} is UNKNOWN: {'; '.join(row.missing)}"


def _unplaced(rows: Sequence[RooflineRow]) -> Iterator[str]:
    """Yield the rows without a figure, those of one reason in a line: what, their share of the time, and why."""
    alike: dict[tuple[str, ...], list[RooflineRow]] = {}
    for row in rows:
        if row.tier == "none":
            alike.setdefault(tuple(row.missing), []).append(row)
    for missing, members in list(alike.items())[:_MOST_UNPLACED]:
        names = [f"{name}{f' ({count} times)' if count > 1 else ''}" for name, count in _counted(members).items()]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield (
            f"without a figure: {', '.join(names[:_MOST_NAMED])}{more}; {_of_the_time(members)}: {', '.join(missing)}"
        )


def _counted(rows: Sequence[RooflineRow]) -> Counter[str]:
    return Counter(row.name for row in rows)


def _of_the_time(rows: Sequence[RooflineRow]) -> str:
    shares = [row.time_share for row in rows if row.time_share is not None]
    return f"{fmt.share(sum(shares) if shares else None)} of the time"


def _row(place: int, row: RooflineRow, label: str) -> Row:
    return exact_row(row) | {"number": place + 1, "label": label}


def _labels(rows: Sequence[RooflineRow]) -> list[str]:
    """Return what people see of each row: operators with their shapes, kernels so that none looks like another."""
    from nsightkit.analysis.kernel_names import describe_kernel, tell_apart

    labels = [f"{row.name} ({fmt_shapes(row.shapes)})" if row.shapes else row.name for row in rows]
    own = [i for i, row in enumerate(rows) if row.kernel_name and not row.shapes]
    kernels = [i for i in own if describe_kernel(rows[i].kernel_name).friendly == rows[i].name]
    # Rows of one kernel at several levels have the level in a column of its own.
    beside = [(f"grid {rows[i].grid}", f"block {rows[i].block}", rows[i].capture_id) for i in kernels]
    for index, label in zip(kernels, tell_apart([rows[i].kernel_name for i in kernels], beside), strict=True):
        labels[index] = label
    return [told_apart(label, row, rows) for row, label in zip(rows, labels, strict=True)]


def fmt_shapes(text: str, most: int = 60) -> str:
    """Return shapes cut to what a table can hold."""
    return text if len(text) <= most else text[: most - 1] + "…"


def exact_row(row: RooflineRow) -> Row:
    """Return every field under its own name, those of the point beside those of the row."""
    point = asdict(row.point) if row.point else {}
    own = {name: getattr(row, name) for name in row.__slots__ if name in EXACT}
    intensity = row.flop / row.moved_bytes if row.flop and row.moved_bytes else None
    # Without arithmetic the roof is the bandwidth alone.
    given = {
        "nearer_roof": row.nearer_roof,
        "precision": None,
        "flop_per_byte": intensity,
        "efficiency": row.bandwidth_share,
    }
    return given | {"roof_source": row.bandwidth_source} | {k: point.get(k) for k in EXACT if k in point} | own


def _write(path: Path, rows: Sequence[RooflineRow], caption: str) -> None:
    from nsightkit.cli import roofline_files

    if path.suffix.lower() == ".csv":
        roofline_files.write_csv(path, EXACT, [exact_row(row) for row in rows])
    elif path.suffix.lower() == ".html":
        roofline_files.write_page(path, rows, caption, remarks(rows))
    else:
        roofline_files.write_picture(path, rows, caption)
