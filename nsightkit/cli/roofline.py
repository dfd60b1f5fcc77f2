"""``nsightkit roofline``: where every kernel or operator stands under the roofs of its GPU.

In: captures with counters, shapes, or at least times. Out: one row each on the terminal, and with -o a picture, a page
or a CSV file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.report import format as fmt
from nsightkit.run import CEILINGS_NAME, is_run

if TYPE_CHECKING:
    from nsightkit.analysis.results import RooflineRow
    from nsightkit.analysis.work.analytic import Roofs

Row = dict[str, Any]
PRECISIONS = ("fp64", "fp32", "fp16", *(f"tensor_{n}" for n in ("fp64", "tf32", "bf16", "fp16", "fp8", "fp4", "int8")))
EXACT = (
    *("capture_id", "name", "kernel_name", "family", "tier", "bound", "total_ns", "time_share", "count", "level"),
    *("precision", "flop", "moved_bytes", "bytes_per_s", "flop_per_byte", "flop_per_s", "ridge_flop_per_byte"),
    *("peak_flop_per_s", "peak_bytes_per_s", "roof_flop_per_s", "efficiency", "roof_source"),
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
    Field("efficiency", "of its roof", "1"),
)
HELP = """Place every kernel, or every operator of a torch trace, under the roofs of its GPU.

PATH is an Nsight Compute report or CSV, a torch.profiler trace with shapes, a folder of these, or a run directory.
Without PATH the newest run below ./reports is taken.

\b
The tiers, best first; each row names its own:
  counters    operations and bytes that ncu counted, over the time of the same launch
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
    "--by", type=click.Choice(("kernel", "family", "range")), default="kernel", show_default=True,
    help="One row a kernel or operator, or sums over its family or the innermost range it ran in.",
)  # fmt: skip
@click.option("--gpu", metavar="KEY", help="Take this data sheet where a capture does not name its GPU.")
@click.option(
    "--ceilings", type=click.Path(path_type=Path, dir_okay=False),
    help="Roofs that 'nsightkit ceilings' measured, for work from shapes. Default: ceilings.json in the run, if any.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(("float32", "float64", "float16", "bfloat16")),
    help="Type of the tensors in NVTX ranges with shapes (emit_nvtx); such ranges do not hold it.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), default=30, show_default=True, help="Rows to print; 0: all.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture (.svg, .png, .pdf), a page (.html) or exact values (.csv).",
)  # fmt: skip
@format_option
def command(
    paths: tuple[Path, ...],
    level: str,
    precision: str | None,
    by: str,
    gpu: str | None,
    ceilings: Path | None,
    dtype: str | None,
    limit: int,
    output: Path | None,
    format_: str,
) -> None:
    """Print the rows and write the file that is asked for."""
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice, by_family, by_range
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.rooflines import WANTED, rows_of

    if output is not None and output.suffix.lower() not in _SUFFIXES:
        raise click.UsageError(f"-o {output}: name a file that ends in {', '.join(_SUFFIXES)}")
    paths = or_newest_run(paths)
    dataset = open_dataset(paths, dict.fromkeys(WANTED if dtype or by == "range" else WANTED[:4]))
    if not dataset.info.captures:
        finish(dataset)
    choice = RooflineChoice((level,), precision, gpu, _measured(ceilings or _kept(paths)), by == "range", dtype)
    rows = rows_of(dataset, choice)
    if by != "kernel":
        rows = by_family(rows) if by == "family" else by_range(rows)
    caption = f"{dataset.name} · {dataset.info.gpu_name or ''} · level {level}".replace(" ·  ·", " ·")
    shown = rows[:limit] if limit else rows
    _print(shown, rows, format_, caption)
    if output is not None:
        _write(output, rows, caption)
        note(f"wrote {output}")
    finish(dataset)


_MOST_UNPLACED = 12
_SUFFIXES = (".svg", ".png", ".pdf", ".html", ".csv")


def _kept(paths: Sequence[Path]) -> Path | None:
    """Return the measured roofs that lie in the one run that is asked about."""
    found = [path / CEILINGS_NAME for path in paths if is_run(path)]
    return found[0] if len(found) == len(paths) == 1 and found[0].is_file() else None


def _measured(path: Path | None) -> Roofs | None:
    if path is None:
        return None
    from nsightkit.analysis.roofs.measured import roofs_from
    from nsightkit.capture.ceilings import read_ceilings

    ceilings = read_ceilings(path)
    return roofs_from(ceilings.flop_per_s, ceilings.bytes_per_s, ceilings.source, ceilings.device)


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
    lines = []
    for tier in dict.fromkeys(row.tier for row in rows if row.level == rows[0].level):
        members = [row for row in rows if row.tier == tier and row.level == rows[0].level]
        share = sum(row.time_share or 0.0 for row in members) / whole
        lines.append(f"tier {tier}: {len(members)} rows, {fmt.share(share)} of the time")
    sources = dict.fromkeys(row.point.roof_source for row in rows if row.point)
    lines += [f"roof: {source}" for source in list(sources)[:4]]
    notes = [_unplaced(row) for row in rows if row.tier == "none"][:_MOST_UNPLACED]
    experimental = dict.fromkeys(flag for row in rows for flag in row.flags if flag.startswith("experimental"))
    assumed = dict.fromkeys(flag for row in rows for flag in row.flags if flag.startswith("assumed"))
    return [*lines, *experimental, *assumed, *notes]


def _unplaced(row: RooflineRow) -> str:
    """Return a row without a figure as a line: what, its share of the time, and why."""
    return f"without a figure: {row.name}, {fmt.share(row.time_share)} of the time: {', '.join(row.missing)}"


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
    return labels


def fmt_shapes(text: str, most: int = 60) -> str:
    """Return shapes cut to what a table can hold."""
    return text if len(text) <= most else text[: most - 1] + "…"


def exact_row(row: RooflineRow) -> Row:
    """Return every field under its own name, those of the point beside those of the row."""
    point = asdict(row.point) if row.point else {}
    own = {name: getattr(row, name) for name in row.__slots__ if name != "point"}
    intensity = row.flop / row.moved_bytes if row.flop and row.moved_bytes else None
    return {"precision": None, "flop_per_byte": intensity} | {k: point.get(k) for k in EXACT if k in point} | own


def _write(path: Path, rows: Sequence[RooflineRow], caption: str) -> None:
    from nsightkit.cli import roofline_files

    if path.suffix.lower() == ".csv":
        roofline_files.write_csv(path, EXACT, [exact_row(row) for row in rows])
    elif path.suffix.lower() == ".html":
        roofline_files.write_page(path, rows, caption, remarks(rows))
    else:
        roofline_files.write_picture(path, rows, caption)
