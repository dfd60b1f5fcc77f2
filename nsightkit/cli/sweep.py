"""``nsightkit sweep``: run a workload with every combination of some settings.

In: a workload and axes. Out: one run a cell, the results in parquet, and a table of what each cell took.
"""

import shlex
from pathlib import Path

import click

from nsightkit.capture import find_workload
from nsightkit.cli.inputs import REPORTS
from nsightkit.cli.output import Field, Row, emit, format_option, note
from nsightkit.cli.passed_on import PassesOn, workload_args
from nsightkit.cli.profile_options import Seconds
from nsightkit.cli.progress import progress_bar
from nsightkit.cli.sweeping import Cell, Sweep, SweepPlan, results_of, run_sweep
from nsightkit.report import format as fmt

_SHOWN = (
    "time_to_first_token_ms",
    "time_per_output_token_ms",
    "tokens_per_s_aggregate",
    "kv_cache_bytes",
    "perplexity",
)


@click.command("sweep", cls=PassesOn)
@click.argument("workload")
@click.option(
    "--axis",
    "axes",
    multiple=True,
    required=True,
    metavar="NAME=V1,V2,…",
    help="A setting and its values; may be repeated. NAME is an option of the workload.",
)
@click.option(
    "--tool",
    type=click.Choice(("none", "nsys", "ncu", "torch", "nsys+ncu")),
    default="none",
    show_default=True,
    help="Profile each cell as well.",
)
@click.option(
    "--tool-args", default="", metavar="WORDS", help="Options for 'nsightkit profile', as in '--range decode --top 5'."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the sweep. Default: ./reports/sweep-<workload>-<plan>, the same for the same command.",
)
@click.option("--timeout", type=Seconds(), help="End a cell after this time (90, 90s, 10m or 1h).")
@click.option("--retry-failed", is_flag=True, help="Run cells again that failed in an earlier call.")
@format_option
@click.pass_context
def command(
    ctx: click.Context,
    workload: str,
    axes: tuple[str, ...],
    tool: str,
    tool_args: str,
    output: Path | None,
    timeout: float | None,
    retry_failed: bool,
    format_: str,
) -> None:
    """Run WORKLOAD once for each combination of the axes; what stands behind -- goes to every run.

    A sweep that was cut off goes on where it stopped when the same command is given again: no cell that ended is run
    twice. A cell that fails is recorded and passed over; the exit code is 1 only where every cell failed.

    \b
    nsightkit sweep kv_decode --axis batch_size=1,4,8 --axis kv_cache=on,off -- --prompt-len 64
    """
    found = find_workload(workload)
    plan = SweepPlan(found.name, _axes(axes), workload_args(ctx), tool, tool_args=_words(tool_args))
    sweep = Sweep(plan, found, output or REPORTS / f"sweep-{found.name}-{plan.key}", timeout)
    with progress_bar("sweep") as progress:
        cells = run_sweep(sweep, progress, retry_failed)
    emit(_fields(plan), [_row(sweep, cell) for cell in cells], format_, f"{found.name}: {len(cells)} cells")
    failed = sum(cell.status == "failed" for cell in cells)
    said = f"; {failed} of {len(cells)} cells failed; --retry-failed runs them again" if failed else ""
    note(f"sweep: {sweep.folder}{said}")
    if failed == len(cells):
        # A script that goes on with the results must not take an empty sweep for a good one.
        ctx.exit(1)


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise click.UsageError(f"--tool-args '{text}': {error}") from None


def _axes(texts: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    axes = tuple(_axis(text) for text in texts)
    names = [name for name, _ in axes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.UsageError(f"--axis {twice} is given twice; list its values in one, as in --axis {twice}=A,B")
    return axes


def _axis(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, values = text.partition("=")
    chosen = tuple(dict.fromkeys(value for value in values.split(",") if value))
    if not name.strip("-_") or not chosen:
        raise click.UsageError(f"--axis '{text}' is not NAME=VALUE,VALUE,… as in --axis batch_size=1,4,8")
    return name.strip().lstrip("-").replace("-", "_"), chosen


def _fields(plan: SweepPlan) -> tuple[Field, ...]:
    axes = tuple(Field(name, name.replace("_", " ")) for name, _ in plan.axes)
    return (
        *axes,
        Field("status", "status"),
        Field("first_token_ns", "first token", "ns"),
        Field("token_ns", "a token", "ns"),
        Field("tokens_per_s_aggregate", "tokens/s in all", "tokens/s"),
        Field("kv_cache_bytes", "KV cache", "byte"),
        Field("perplexity", "perplexity", "", shown=plan.workload == "perplexity"),
        Field("wall_ns", "wall", "ns"),
        Field("message", "message"),
        Field("cell", "cell", shown=False),
    )


def _row(sweep: Sweep, cell: Cell) -> Row:
    data = results_of(sweep, cell) if cell.status == "done" else None
    metrics = data["metrics"] if data else {}
    first, token = (metrics.get(name) for name in _SHOWN[:2])
    return {
        **dict(cell.settings),
        "cell": cell.name,
        "status": cell.status,
        "message": fmt.printable(cell.message),
        "wall_ns": None if cell.wall_s is None else cell.wall_s * 1e9,
        "first_token_ns": None if first is None else first * 1e6,
        "token_ns": None if token is None else token * 1e6,
        **{name: metrics.get(name) for name in _SHOWN[2:]},
    }
