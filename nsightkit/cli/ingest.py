"""``nsightkit ingest``: captures into a run directory of parquet tables.

In: captures, and where the run is to be kept. Out: the run, read by processes of this machine or by a Dask cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsightkit.cli.holding import hold
from nsightkit.cli.inputs import naming_output, new_run, paths_argument, report_failures
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.errors import IngestError
from nsightkit.run import Run

if TYPE_CHECKING:
    from nsightkit.ingest.places import RemoteRun


class OutputType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A folder, or a URL of storage, which is not to be taken apart as a path."""

    name = "PATH"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Return a URL as it is, and anything else as a path."""
        from nsightkit.ingest.places import is_url

        return value if is_url(value) else Path(value)


@click.command("ingest")
@paths_argument()
@click.option(
    "-o", "--output", type=OutputType(), metavar="PATH|URL",
    help="Run directory, or with the extra 'dask' a URL of shared storage, such as s3://bucket/run. Default: "
    "./reports/<name>-<time>.",
)  # fmt: skip
@click.option(
    "--tokens", type=click.IntRange(min=1), help="Tokens that the captured work produced, for per-token rows."
)
@click.option(
    "--all-metrics", is_flag=True, help="Also keep every metric of an ncu report, in the table metric_values."
)
@click.option("--force", is_flag=True, help="Replace the tables of a run directory that exists.")
@click.option(
    "--resume", is_flag=True, help="Go on with the run directory -o: captures that it holds as they are stay unread."
)
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="Let the workers of this Dask scheduler read instead (tcp://host:8786); they must see PATH and -o too.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Captures to read at once, each in a process. Default: one a core."
)
def command(
    paths: tuple[Path, ...], output: Path | str | None, tokens: int | None, all_metrics: bool, force: bool,
    resume: bool, scheduler: str | None, jobs: int | None,
) -> None:  # fmt: skip
    """Read each capture in PATH once and keep its tables as parquet.

    A run directory holds run.json, tables/<table>/<capture>.parquet and, once rendered, report/. Every other command
    takes it as its PATH. The captures themselves are opened read-only and stay where they are. A folder of any number
    of captures, one a rank, becomes one run; a damaged one is named at the end and costs no other. With --scheduler
    the same is done by a Dask cluster that is already there: the tables are the same, and its workers leave sums by
    kernel over all captures in summary/ of the run.

    \b
    nsightkit ingest profile.sqlite profile.ncu-rep -o runs/today
    nsightkit ingest captures/ -o runs/all-ranks --resume
    nsightkit ingest /shared/captures -o s3://bucket/run --scheduler tcp://head:8786
    nsightkit top runs/today
    """
    from nsightkit.ingest.store import IngestOptions, ingest_paths
    from nsightkit.judging import judge_stored
    from nsightkit.tables import TABLES

    if scheduler and jobs:
        raise click.UsageError("--jobs counts processes of this machine, and --scheduler does without them")
    run = _run(paths, output, force, resume)
    wanted = dict.fromkeys(TABLES) if all_metrics else None
    try:
        with naming_output(), progress_bar("ingest") as progress:
            options = IngestOptions(
                wanted, tokens, progress, jobs or usual_jobs(paths), resume, scheduler, judge_stored
            )
            info, failures = ingest_paths(paths, run, options)
    except KeyboardInterrupt:
        note(
            f"stopped; {_kept(run)} captures are complete in {_shown(run)}: the same command with -o and --resume "
            "reads the rest"
        )
        raise click.Abort from None
    if info.captures:
        click.echo(_shown(run))
    report_failures(failures)


def _run(paths: Sequence[Path], output: Path | str | None, force: bool, resume: bool) -> Run | RemoteRun:
    if not isinstance(output, str):
        return _resumed(output) if resume else new_run(paths, output, force)
    from nsightkit.ingest.places import RemoteRun

    run = RemoteRun(output.rstrip("/"))
    if run.info() is not None and not (force or resume):
        raise IngestError(f"{output}: holds a run; name another URL or add --force", slug="output-exists")
    return run


def _shown(run: Run | RemoteRun) -> Path | str:
    return run.path if isinstance(run, Run) else run.url


def _kept(run: Run | RemoteRun) -> int:
    from nsightkit.ingest.places import place_of

    with suppress(IngestError):
        if info := place_of(run).info():
            return len(info.captures)
    return 0


def _resumed(output: Path | None) -> Run:
    """Return the run directory to go on with, which need not exist yet."""
    if output is None:
        raise click.UsageError("--resume goes on with the run directory that -o names")
    # A command that was killed early has left tables and no description.
    hold(output)
    begun = output.is_dir() and {path.name for path in output.iterdir()} == {"tables"}
    return Run(output) if begun else new_run((output,), output, force=True)


# Starting a process takes as long as reading some megabytes.
_WORTH_A_PROCESS_BYTES = 8_000_000


def usual_jobs(paths: Sequence[Path]) -> int:
    """Return how many processes are worth their start: at most one a core."""
    from nsightkit.ingest.parallel import cores

    size = sum(file.stat().st_size for path in paths for file in [path, *path.rglob("*")] if file.is_file())
    return max(1, min(cores(), size // _WORTH_A_PROCESS_BYTES))
