"""``nsightkit ingest``: captures into a run directory of parquet tables."""

from collections.abc import Sequence
from pathlib import Path

import click

from nsightkit.cli.inputs import naming_output, new_run, paths_argument, report_failures
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.run import Run, is_run


@click.command("ingest")
@paths_argument()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run directory. Default: ./reports/<name>-<time>."
)
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
    "--jobs", type=click.IntRange(min=1), help="Captures to read at once, each in a process. Default: one a core."
)
def command(
    paths: tuple[Path, ...], output: Path | None, tokens: int | None, all_metrics: bool, force: bool, resume: bool,
    jobs: int | None,
) -> None:  # fmt: skip
    """Read each capture in PATH once and keep its tables as parquet.

    A run directory holds run.json, tables/<table>/<capture>.parquet and, once rendered, report/. Every other command
    takes it as its PATH. The captures themselves are opened read-only and stay where they are. A folder of any number
    of captures, one a rank, becomes one run; a damaged one is named at the end and costs no other.

    \b
    nsightkit ingest profile.sqlite profile.ncu-rep -o runs/today
    nsightkit ingest captures/ -o runs/all-ranks --resume
    nsightkit top runs/today
    """
    from nsightkit.ingest.store import IngestOptions, ingest_paths
    from nsightkit.tables import TABLES

    run = _resumed(output) if resume else new_run(paths, output, force)
    wanted = dict.fromkeys(TABLES) if all_metrics else None
    try:
        with naming_output(), progress_bar("ingest") as progress:
            options = IngestOptions(wanted, tokens, progress, jobs or usual_jobs(paths), resume)
            info, failures = ingest_paths(paths, run, options)
    except KeyboardInterrupt:
        kept = len(run.read_info().captures) if is_run(run.path) else 0
        note(
            f"stopped; {kept} captures are complete in {run.path}: the same command with -o and --resume reads the rest"
        )
        raise click.Abort from None
    if info.captures:
        click.echo(run.path)
    report_failures(failures)


def _resumed(output: Path | None) -> Run:
    """Return the run directory to go on with, which need not exist yet."""
    if output is None:
        raise click.UsageError("--resume goes on with the run directory that -o names")
    # A command that was killed early has left tables and no description.
    begun = output.is_dir() and {path.name for path in output.iterdir()} == {"tables"}
    return Run(output) if begun else new_run((output,), output, force=True)


# Starting a process takes as long as reading some megabytes.
_WORTH_A_PROCESS_BYTES = 8_000_000


def usual_jobs(paths: Sequence[Path]) -> int:
    """Return how many processes are worth their start: at most one a core."""
    from nsightkit.ingest.parallel import cores

    size = sum(file.stat().st_size for path in paths for file in [path, *path.rglob("*")] if file.is_file())
    return max(1, min(cores(), size // _WORTH_A_PROCESS_BYTES))
