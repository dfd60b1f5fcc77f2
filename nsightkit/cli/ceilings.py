"""``nsightkit ceilings``: what this machine's CPU or GPU reaches in practice, for rooflines without a data sheet.

In: a device. Out: the measured rates, and a JSON file with their provenance for ``roofline --ceilings``.
"""

from __future__ import annotations

from pathlib import Path

import click

from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.report import format as fmt

FIELDS = (
    Field("name", "what"),
    Field("rate", "best", "flop/s"),
    Field("bytes_per_s", "best traffic", "byte/s"),
    Field("spread", "slowest ÷ best", "1"),
)


BESIDE = (
    Field("device", "device"), Field("name", "ceiling"), Field("unit", "unit", shown=False),
    Field("data_sheet", "data sheet"), Field("ncu", "ncu, at its clock"), Field("measured", "measured"),
    Field("drawn", "held against"),
)  # fmt: skip


@click.command("ceilings")
@click.option(
    "--of", "captures", multiple=True, type=click.Path(path_type=Path, readable=False),
    help="Measure nothing: print data sheet, ncu's and measured peaks of the GPUs of this capture or run.",
)  # fmt: skip
@click.option(
    "--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True, help="Where to measure."
)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads on the CPU; 0: as torch chooses.")
@click.option("--size", type=click.IntRange(min=0), default=0, help="Rows and columns of the matrices; 0: chosen.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="The best of so many counts.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("ceilings.json"), show_default=True,
    help="Where the measured rates go.",
)  # fmt: skip
@format_option
def command(
    device: str, threads: int, size: int, repeats: int, output: Path, captures: tuple[Path, ...], format_: str
) -> None:
    """Measure products of matrices for each type and memory traffic, with torch.

    These are rates that torch reaches on this machine at this moment, not what the hardware could do; other load lowers
    them. Use as many threads as the workload does.

    \b
    nsightkit ceilings --threads 1 -o ceilings.json
    nsightkit roofline trace.json.gz --ceilings ceilings.json
    nsightkit ceilings --of report.ncu-rep
    """
    if captures:
        _side_by_side(captures, output, format_)
        return
    from nsightkit.capture.ceilings import CeilingsRequest, measure_ceilings, write_ceilings

    found = measure_ceilings(CeilingsRequest(device, threads, size, 0, repeats))
    write_ceilings(output, found)
    rows = [
        {"name": f"product of matrices, {name}", "rate": rate, "spread": found.spread.get(name)}
        for name, rate in found.flop_per_s.items()
    ]
    rows.append({"name": "memory traffic", "bytes_per_s": found.bytes_per_s, "spread": found.spread.get("memory")})
    emit(FIELDS, rows, format_, f"{found.source}, matrices of {found.matrix_size}, {found.created_utc}")
    for text in found.notes:
        note(text)
    note(f"wrote {output}")


def _side_by_side(captures: tuple[Path, ...], measured: Path, format_: str) -> None:
    from nsightkit.analysis.roofs.ceiling_table import ceilings_by_gpu
    from nsightkit.cli.inputs import finish
    from nsightkit.cli.measured_roofs import kept_ceilings, read_roofs
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(captures, {"kernel_counters": None, "gpus": None})
    if not dataset.info.captures:
        finish(dataset)
    tables = {name: dataset.rows(name) if dataset.has(name) else [] for name in ("kernel_counters", "gpus")}
    roofs = read_roofs(kept_ceilings(captures) or (measured if measured.is_file() else None))
    rows = [
        {name: getattr(row, name) for name in row.__slots__}
        for row in ceilings_by_gpu(tables["kernel_counters"], tables["gpus"], roofs)
    ]
    if format_ in ("table", "markdown"):
        sources = ("data_sheet", "ncu", "measured")
        rows = [row | {name: fmt.with_unit(row[name], row["unit"]) for name in sources} for row in rows]
    emit(BESIDE, rows, format_, f"{dataset.name}: ceilings side by side")
    if not rows:
        note("no peak is known: the GPU is not in the table (nsightkit gpus), and ncu's peaks were not collected")
    finish(dataset)
