"""``nsightkit deepen``: measure with ncu the launches that a timeline shows to take the time.

In: a run with an nsys capture. Out: the same run with counters of these launches, joined with the timeline.
"""

import os
from pathlib import Path
from typing import Any

import click

from nsightkit.cli.holding import hold
from nsightkit.cli.inputs import INPUT, or_newest_run
from nsightkit.cli.phases import deepen
from nsightkit.cli.profile_options import (
    Wishes,
    counter_options,
    refuse_range_replay,
    run_options,
    target_options,
)
from nsightkit.errors import IngestError
from nsightkit.ingest.sources import near_name
from nsightkit.run import Run, is_run


@click.command("deepen")
@click.argument("path", type=INPUT, metavar="[RUN]", required=False)
@click.option("--range", "--in", "range_name", metavar="NAME",
              help="NVTX range that is asked about. Default: decode where there is one, else all.")  # fmt: skip
@target_options
@counter_options
@run_options
@click.option("--resume", is_flag=True, help="Take the counters that are there, and only join them again.")
@click.pass_context
def command(ctx: click.Context, /, path: Path | None, **given: Any) -> None:
    """Measure with ncu the launches of RUN that make up the time, and join the two.

    RUN is a run directory with an nsys capture of the whole workload; without it the newest one in ./reports. The
    timeline chooses: kernels that make up --coverage of the range's GPU time, told apart by name, grid, block, shared
    memory, cluster, the ranges around them and their place in the step; an early and a late step are measured. The
    workload runs once more under ncu. A launch that ncu profiled outside the range is never joined to it. Each row
    says which share of the time it stands for, how sure the match is, and how much longer the launch took under ncu.

    \b
    nsightkit deepen
    nsightkit deepen reports/decode-run --range decode --coverage 80% --budget 5m
    nsightkit deepen reports/decode-run --dry-run
    """
    (folder,) = or_newest_run(() if path is None else (path,))
    if not os.path.exists(folder):
        raise IngestError(f"{folder}: no such run directory{near_name(folder)}", slug="no-run")
    if not is_run(folder):
        raise IngestError(f"{folder}: is no run directory; make one with 'nsightkit profile --tool nsys'",
                          slug="no-run")  # fmt: skip
    hold(folder)
    wishes = Wishes(**given)
    refuse_range_replay(wishes, "nsys+ncu")
    if deepen(Run(folder), wishes) and wishes.render:
        from nsightkit.cli import render

        ctx.invoke(render.command, paths=(folder,))
