"""``nsightkit ingest``: captures into a run directory of parquet tables."""

from pathlib import Path

import click

from nsightkit.cli.inputs import new_run, paths_argument, report_failures
from nsightkit.cli.progress import progress_bar


@click.command("ingest", short_help="Turn captures into a run directory of parquet tables.")
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
def command(paths: tuple[Path, ...], output: Path | None, tokens: int | None, all_metrics: bool, force: bool) -> None:
    """Read each capture in PATH once and keep its tables as parquet.

    A run directory holds run.json, tables/<table>/<capture>.parquet and, once rendered, report/. Every other command
    takes it as its PATH. The captures themselves are opened read-only and stay where they are.

    \b
    nsightkit ingest profile.sqlite profile.ncu-rep -o runs/today
    nsightkit top runs/today
    """
    from nsightkit.ingest.store import IngestOptions, ingest_paths
    from nsightkit.tables import TABLES

    run = new_run(paths, output, force)
    wanted = dict.fromkeys(TABLES) if all_metrics else None
    with progress_bar("ingest") as progress:
        info, failures = ingest_paths(paths, run, IngestOptions(tokens=tokens, wanted=wanted, progress=progress))
    if info.captures:
        click.echo(run.path)
    report_failures(failures)
