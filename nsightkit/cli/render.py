"""``nsightkit render``: the report of a run, as one HTML file and as Markdown with its drawings."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsightkit import __version__
from nsightkit.cli.inputs import kept_run, naming_output, new_run, or_newest_run, paths_argument, report_failures
from nsightkit.cli.measured_roofs import kept_roofs
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.cli.scoping import notes_of, scoped, whole_of, within_of, within_option
from nsightkit.errors import IngestError
from nsightkit.judging import judge_stored, judged
from nsightkit.run import Run, RunInfo, is_run

if TYPE_CHECKING:
    from nsightkit.analysis import AnalysisOptions
    from nsightkit.ingest.dataset import Dataset
    from nsightkit.ingest.sources import Failure
    from nsightkit.report.context import ReportOptions

FORMATS = {"html": ("html",), "markdown": ("markdown",), "both": ("html", "markdown"), "json": ("json",)}


@dataclass(frozen=True)
class _Job:
    """What to read and where to write."""

    paths: tuple[Path, ...]
    folder: Path
    failures: list[Failure] = field(default_factory=list)
    name: str = "report"
    overwrite: bool = True


@click.command("render")
@paths_argument(required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER|FILE",
    help="Folder for the report, or one file: NAME.html or NAME.json. Default: RUN/report. With it, captures are read "
    "straight and no run is kept.",
)  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(tuple(FORMATS)), default="both", show_default=True,
    help="html is one file with everything in it; markdown has its drawings beside it; json is for programs.",
)  # fmt: skip
@click.option(
    "--rule", type=click.Choice(("auto", "roofline", "sol-gap", "ncu")), default="auto", show_default=True,
    help="How to judge what bounds a kernel; 'nsightkit classify --help' explains each.",
)  # fmt: skip
@click.option(
    "--margin", type=click.FloatRange(0, 100), default=5.0, show_default=True,
    help="sol-gap: SM and DRAM within this many points of each other count as balanced.",
)  # fmt: skip
@click.option(
    "--gpu", metavar="KEY", help="Take the data sheet of this GPU (as rtx-5090) where a capture does not name its own."
)
@within_option
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True,
    help="Rows in the tables of the timeline; 0 shows all. The report says how many it leaves out.",
)  # fmt: skip
@click.option(
    "--figures", type=click.Choice(("png", "pdf", "svg")),
    help="Also draw histograms and rooflines as files for papers (uses matplotlib, takes seconds).",
)  # fmt: skip
@click.option("--force", "overwrite", is_flag=True, help="With -o: replace the report of another run there.")
@click.option("--brief", is_flag=True, help="Print the first screen as 25 lines of Markdown, and write nothing.")
@click.option("--terminal", is_flag=True, help="Print the first screen here, and write nothing.")
def command(
    paths: tuple[Path, ...],
    output: Path | None,
    format_: str,
    rule: str,
    margin: float,
    gpu: str | None,
    within: str | None,
    limit: int,
    figures: str | None,
    overwrite: bool,
    brief: bool,
    terminal: bool,
) -> None:
    """Write the report of PATH and print the paths of what was written, the documents first.

    PATH is a run directory, or captures and folders of captures: these are ingested into a run directory below
    ./reports first, unless one there holds them and they are unchanged since. Without PATH the newest run below
    ./reports is taken.

    report.html is one file that needs no network: mail it, open it offline, print it. report.md says the same for pages
    that show Markdown; its drawings lie in figures/. A section whose input was not captured says what would supply it.

    \b
    nsightkit render                                   the newest run below ./reports
    nsightkit render runs/today --rule roofline
    nsightkit render profile.ncu-rep profile.sqlite    ingest both, then render
    nsightkit render profile.ncu-rep -o out --figures pdf
    nsightkit render profile.ncu-rep -o mail.html       one file to mail
    nsightkit render runs/today --brief                 for a comment on a pull request
    """
    from nsightkit.analysis import AnalysisOptions
    from nsightkit.report.context import ReportOptions

    documents = _documents(output, format_, figures)
    inputs = or_newest_run(paths)
    how = AnalysisOptions(rule, margin, gpu=gpu, roofs=kept_roofs(inputs))
    if brief or terminal:
        _show(inputs, how, (brief, within))
        return
    job = replace(_job(inputs, output), overwrite=overwrite or output is None)
    if within and output is None:
        # The report of the whole run stays what it is.
        name = re.sub("[^A-Za-z0-9_-]+", "-", within).strip("-_")
        job = replace(job, folder=job.folder.with_name(f"{job.folder.name}-{name}"))
    options = ReportOptions(documents, limit, figures, job.folder, within, job.name)
    with _without_collector():
        written = _render(job, how, options)
    # Dozens of drawings are one line: the folder they lie in.
    for path in dict.fromkeys(p.parent if p.suffix == ".svg" and figures != "svg" else p for p in written):
        click.echo(os.path.relpath(path))
    report_failures(job.failures)


def _documents(output: Path | None, format_: str, figures: str | None) -> tuple[str, ...]:
    """Return the documents that are wanted: those of `format_`, or the one that a file name asks for.

    Raises:
        click.UsageError: the name is that of a file, and what is wanted is not one file of its kind.
    """
    if output is None or not _is_file(output):
        if output is not None and output.is_file():
            raise click.UsageError(f"{output}: is a file; name a folder, or a file as  -o {output.stem}.html")
        return FORMATS[format_]
    kind = output.suffix[1:]
    if kind == "md":
        raise click.UsageError(
            f"{output}: Markdown has its drawings beside it: name a folder, as  -o {output.stem} --format markdown"
        )
    if format_ not in ("both", kind) or figures:
        also = f"--figures {figures}" if figures else f"--format {format_}"
        raise click.UsageError(f"{output}: one file, but {also} asks for others: name a folder, as  -o {output.stem}")
    return FORMATS[kind]


def _is_file(output: Path) -> bool:
    return output.suffix in (".html", ".json", ".md") and not output.is_dir()


def _job(paths: Sequence[Path], output: Path | None) -> _Job:
    """Say what is to be read and where the report goes; captures without `output` are ingested."""
    if output is not None:
        alone = _is_file(output)
        return _Job(tuple(paths), output.parent if alone else output, name=output.stem if alone else "report")
    runs = [path for path in paths if is_run(path)]
    if not runs:
        return _ingested(paths)
    if len(paths) > 1:
        raise IngestError(
            f"{runs[0]}: one of {len(paths)} inputs, but a report is of one run; name one, or say with -o FOLDER where "
            "the report of all of them goes",
            slug="several-runs",
        )
    return _Job((runs[0],), Run(runs[0]).report_dir)


def _ingested(paths: Sequence[Path]) -> _Job:
    from nsightkit.ingest.sources import find_sources
    from nsightkit.ingest.store import IngestOptions, ingest_sources

    sources, failures = find_sources(paths)
    kept = kept_run(paths, sources)
    if kept:
        note(f"read earlier and unchanged since: {kept.path}")
        return _Job((kept.path,), kept.report_dir, failures)
    run = new_run(paths, None)
    with naming_output(), progress_bar("ingest") as progress:
        options = IngestOptions(progress=progress, judge=judge_stored)
        info, more = ingest_sources(sources, run, RunInfo(name=run.path.name), options)
    return _Job((run.path,) if info.captures else (), run.report_dir, [*failures, *more])


def _render(job: _Job, how: AnalysisOptions, options: ReportOptions) -> tuple[Path, ...]:
    from nsightkit.analysis import analyze_tables
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.report import render_report

    if not job.paths:
        return ()
    dataset = open_dataset(job.paths)
    job.failures.extend(dataset.failures)
    if dataset.failures and not dataset.info.captures:
        return ()
    dataset.info = judged(dataset)
    dataset = scoped(dataset, options.within)
    info, known = _facts(dataset, how)
    if not job.overwrite:
        _leave_others_alone(job, info)
    return render_report(Run(job.paths[0]), info, analyze_tables(dataset, known), options)


def _leave_others_alone(job: _Job, info: RunInfo) -> None:
    """Refuse a place that holds the report of another run; the same run may always be rendered again."""
    from nsightkit.errors import ReportError
    from nsightkit.report.standing import other_report, title_of

    other = other_report(job.folder, info, job.name)
    if other is not None:
        place = job.folder if job.name == "report" else job.folder / job.name
        raise ReportError(
            f"{place}: the report of '{other}' stands there, and this one is of '{title_of(info)}'; name another "
            f"{'folder' if place is job.folder else 'file'}, or say --force",
            slug="other-report",
        )


def _facts(dataset: Dataset, how: AnalysisOptions) -> tuple[RunInfo, AnalysisOptions]:
    """Return the description of the run, and what the analysis must know of it."""
    from nsightkit.analysis.overview import Scope
    from nsightkit.gpus import gpu_of_key

    info = dataset.info if dataset.info.name else replace(dataset.info, name=dataset.name)
    ratios = [ratio for c in info.captures if (ratio := c.overhead.get("ratio"))]
    info = replace(info, nsightkit_version=info.nsightkit_version or __version__)
    if how.gpu and not info.gpu_name and dataset.has("kernel_counters"):
        info = replace(info, gpu_name=f"{gpu_of_key(how.gpu).names[0]} (by --gpu)")
    within = within_of(dataset)
    scope = Scope(within, whole_of(dataset), tuple(notes_of(dataset))) if within else None
    return info, replace(how, tokens=info.tokens, tracing_ratio=max(ratios, default=None), scope=scope)


def _show(paths: Sequence[Path], how: AnalysisOptions, shape: tuple[bool, str | None]) -> None:
    """Print the first screen; captures are read straight from their files."""
    from nsightkit.analysis import analyze_tables
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.report import first_screen
    from nsightkit.report.context import Context, ReportOptions

    dataset = open_dataset(paths)
    brief, within = shape
    if dataset.info.captures or not dataset.failures:
        dataset.info = judged(dataset)
        dataset = scoped(dataset, within)
        info, known = _facts(dataset, how)
        context = Context(info, analyze_tables(dataset, known), ReportOptions(within=within))
        if brief:
            click.echo(first_screen.brief_markdown(context), nl=False)
        else:
            from rich.console import Console

            Console().print(first_screen.terminal(context))
    report_failures(dataset.failures)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave cycles alone while a report is made: it makes few, and looking for them costs a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
