"""``nsightkit profile``: run a workload under a profiler; ends in a run directory with tables and a report.

In: a workload, the tool, the tokens. Out: RUN/capture, RUN/tables, RUN/report, and on stdout where they are.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import click

from nsightkit.capture import Workload, find_command, find_workload
from nsightkit.capture.probes import find_rank
from nsightkit.capture.workload import DEFAULT
from nsightkit.cli.against import against_option, base_of, profile_in_turn
from nsightkit.cli.holding import hold
from nsightkit.cli.inputs import named_run, new_run
from nsightkit.cli.jobs import TOKENS_FLAG, closing_line, make_job, run_job, show_end, show_plan
from nsightkit.cli.measured_roofs import supply_roofs
from nsightkit.cli.output import note
from nsightkit.cli.profile_options import (
    TOOLS,
    Wishes,
    counter_options,
    launch_options,
    project_defaults,
    refuse_range_replay,
    refuse_useless,
    run_options,
    scope_options,
    target_options,
)
from nsightkit.errors import NsightkitError
from nsightkit.run import Run

_ARGS_KEY = "nsightkit.workload_args"


class _PassesOn(click.Command):
    """A command that keeps everything behind ``--`` for the workload, and takes defaults from pyproject.toml."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split `args` at the first ``--``."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.meta[_ARGS_KEY] = tuple(args[cut + 1 :])
        options = {param.name: param for param in self.params if param.name and isinstance(param, click.Option)}
        ctx.default_map = {**project_defaults(options), **(ctx.default_map or {})}
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the workload's arguments in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


@click.command("profile", cls=_PassesOn)
@click.argument("workload", required=False)
@click.option("--tool", type=click.Choice(TOOLS), default="auto", show_default=True,
              help="nsys: timeline. ncu: hardware counters. torch: torch.profiler, also without a GPU. nsys+ncu: a "
              "timeline, then counters of its longest kernels. auto: nsys if it is on PATH, else torch.")  # fmt: skip
@click.option("--tokens", type=click.IntRange(min=1),
              help=f"Tokens to decode: the workload gets them as {TOKENS_FLAG} N, the run keeps them.")  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run directory. Default: ./reports/<name>-<time>."
)
@click.option("--name", help="Name of the run in the default directory. Default: the workload's.")
@scope_options
@run_options
@click.option(
    "--resume", is_flag=True, help="Go on with the run at --output: captures that are there are not repeated."
)
@click.option("--overhead/--no-overhead", default=True,
              help="Run the workload without the profiler too, before and after the capture, and keep how much "
              "longer it took with it. On by default.")  # fmt: skip
@click.option("--ceilings/--no-ceilings", default=True,
              help="torch without a GPU: measure what this CPU reaches (some seconds, kept for a week), for the "
              "roofline of the report. On by default.")  # fmt: skip
@click.option("--python-stacks", is_flag=True, help="nsys: Python call stacks of CUDA calls. Slows the program down.")
@click.option("--gpu-metrics", is_flag=True, help="nsys: sample the metrics of the whole GPU. Needs permission.")
@click.option("--extra-nsys", multiple=True, metavar="WORD", help="A word more for nsys; replaces ours. Repeatable.")
@target_options
@launch_options
@counter_options
@against_option
@click.pass_context
def command(ctx: click.Context, /, workload: str | None, **given: Any) -> None:
    """Run WORKLOAD under a profiler, read what it captured, judge the capture, and write a report.

    WORKLOAD is a bundled one (kv_decode, the default: a small language model that decodes tokens; docs/studies.md lists
    the others) or the path of a Python script, which needs no change. What stands behind -- goes to it. Without
    WORKLOAD, a program behind -- is run as it is. It may run several times, so its standard input is empty. Defaults
    may stand in [tool.nsightkit] of the nearest pyproject.toml, under the names of the options.

    \b
    nsightkit profile --tool torch --tokens 16             on any machine with torch, also without a GPU
    nsightkit profile --tool nsys --tokens 16              a timeline of kernels, copies and ranges
    nsightkit profile --tool nsys+ncu --range decode       and counters of the kernels that take the time
    nsightkit profile train.py -- --batch-size 8           your script with its arguments
    nsightkit profile --window 60:10 -- vllm serve MODEL   ten seconds of a server, after its first minute
    nsightkit profile --dry-run --tool ncu                 only show the command
    nsightkit profile --repeat 5 --against 'kv_decode --no-kv-cache'     both in turn, for nsightkit compare

    \b
    Exit codes:
      0  the workload ran, and its run with tables (and report) stands; the last line says where the capture is
         unusable all the same, as under nsys without a GPU
      1  the workload or the profiler failed, or nothing that can be read came out; what is there is kept and named
      2  the command line is wrong; nothing was run
    """
    against = given.pop("against")
    wishes = Wishes(**given)
    refuse_useless(ctx, _chosen(wishes.tool))
    refuse_range_replay(wishes, wishes.tool)
    if wishes.resume and wishes.output is None:
        raise click.UsageError("--resume goes on with the run at --output: name it with -o")
    target = _target(workload, ctx.meta[_ARGS_KEY])
    if against is not None:
        profile_in_turn(base_of(against), target, wishes, _chosen(wishes.tool))
        return
    run = _run(wishes, wishes.name or target.name)
    if wishes.tool == "nsys+ncu":
        from nsightkit.cli.phases import profile_in_two_phases

        made = profile_in_two_phases(run, target, wishes)
    else:
        made = _profile(run, target, wishes)
    if made and wishes.render:
        _render(ctx, run)
    last = closing_line(run.read_info(), wishes.render) if made else None
    if last:
        click.echo(last)


def _profile(run: Run, target: Workload, wishes: Wishes) -> bool:
    job = make_job(_chosen(wishes.tool), run, target, wishes)
    if wishes.dry_run:
        show_plan(job)
        return False
    info = run_job(job)
    show_end(job, info)
    supply_roofs(job, info)
    return True


def _target(workload: str | None, words: tuple[str, ...]) -> Workload:
    if workload is None and words and not words[0].startswith("-"):
        return find_command(words)
    return find_workload(workload or DEFAULT, words)


def _run(wishes: Wishes, name: str) -> Run:
    """Return where the run goes: each rank of a job has its own directory."""
    rank = find_rank(os.environ)
    if wishes.output is None:
        return named_run(f"{name}-rank{rank.number}" if rank else name)
    folder = wishes.output / f"rank{rank.number}" if rank else wishes.output
    hold(folder)
    return Run(folder) if wishes.resume else new_run((), folder)


def _chosen(tool: str) -> str:
    if tool != "auto":
        return tool
    return "nsys" if shutil.which("nsys") else "torch"


def _render(ctx: click.Context, run: Run) -> None:
    from nsightkit.cli import render

    try:
        ctx.invoke(render.command, paths=(run.path,))
    except NsightkitError:
        note(f"the tables stand in {run.path}; only the report is missing")
        raise
