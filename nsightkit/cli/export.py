"""``nsightkit export``: a timeline for other viewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import note
from nsightkit.cli.scoping import notes_of, scoped, within_option

if TYPE_CHECKING:
    from nsightkit.ingest.dataset import Dataset

FORMATS = ("perfetto",)


@click.command("export")
@paths_argument(required=False)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="perfetto", show_default=True, help="What to write."
)
@within_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write. Default: <name>.perfetto.json.gz here."
)
def command(paths: tuple[Path, ...], format_: str, within: str | None, output: Path | None) -> None:
    """Write the captures in PATH as one timeline in the Trace Event Format.

    Ranges and CUDA calls stand by thread, GPU work by stream, with arrows from the call to the work. A kernel carries
    its full name, its geometry, the path of ranges that launched it, and, where PATH holds counters of Nsight Compute
    too, its bound. Open the file at ui.perfetto.dev, which keeps it in the browser, or in chrome://tracing.

    \b
    nsightkit export profile.sqlite
    nsightkit export runs/today -o today.json
    """
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.cli.attributed import captures_of
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.report.perfetto import TraceInputs, write_trace

    dataset = scoped(open_dataset(or_newest_run(paths)), within)
    if dataset.info.captures:
        target = output or Path(f"{dataset.name}.perfetto.json.gz")
        facts = _facts(dataset)
        captures = (TraceInputs(tables, attribute(tables), facts) for tables in captures_of(dataset))
        count = write_trace(target, captures)
        note(f"{count} events")
        for text in notes_of(dataset):
            note(text)
        click.echo(target)
    finish(dataset)


def _facts(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Return what is known of kernels by name: family, library, and the bound where counters are there."""
    from nsightkit.analysis.kernel_names import describe_kernel

    names: list[str] = []
    if dataset.has("kernel_launches"):
        names = [name for name in dataset.arrow("kernel_launches")["kernel_name"].unique().to_pylist() if name]
    facts: dict[str, dict[str, Any]] = {}
    bounds = _bounds(dataset)
    for name in names:
        described = describe_kernel(name)
        facts[name] = {"family": described.family, "library": described.library}
        if described.normal in bounds:
            facts[name]["bound"] = bounds[described.normal]
    return facts


def _bounds(dataset: Dataset) -> dict[str, str]:
    """Return normal kernel name -> bound; kernels that have several are left out, as a name alone cannot tell them."""
    if not dataset.has("kernel_counters"):
        return {}
    from nsightkit.analysis.kernel_names import describe_kernel
    from nsightkit.analysis.roofs.classification import classify_kernels

    found: dict[str, set[str]] = {}
    for kernel in classify_kernels(dataset.rows("kernel_counters")):
        found.setdefault(describe_kernel(kernel.kernel_name).normal, set()).add(kernel.verdict.bound)
    return {name: bounds.pop() for name, bounds in found.items() if len(bounds) == 1}
