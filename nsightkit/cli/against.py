"""``nsightkit profile --against``: two programs in turn, so that a drift of the machine falls on both.

In: the workload (head), the command of the base, the options. Out: OUTPUT/base/run-1, OUTPUT/head/run-1,
OUTPUT/base/run-2, …: one folder a side, as ``nsightkit compare`` takes them.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches

import click

from nsightkit.analysis.compare.noise import MIN_RUNS
from nsightkit.capture import Workload, find_command, find_workload
from nsightkit.capture.probes import find_rank
from nsightkit.capture.workload import DEFAULT, bundled_workloads
from nsightkit.cli.inputs import named_run, new_run
from nsightkit.cli.jobs import make_job, run_job, show_end, show_plan
from nsightkit.cli.output import note
from nsightkit.cli.profile_options import Wishes
from nsightkit.run import Run

_REFUSED = {"resume": "--resume", "window": "--window"}


def against_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--against``."""
    return click.option(
        "--against", metavar="COMMAND",
        help="Run this base program and WORKLOAD in turn, --repeat times each, into OUTPUT/base and OUTPUT/head for "
        "'nsightkit compare'. COMMAND as one word: 'kv_decode --no-kv-cache', 'old.py ARGS', or any program. What "
        "stands behind -- goes to WORKLOAD alone: repeat it in COMMAND.",
    )(function)  # fmt: skip


def base_of(command: str) -> Workload:
    """Return the workload that the text of ``--against`` names: a bundled one, a script, or a program.

    Raises:
        CaptureError: it is none of them.
        click.UsageError: it is empty, or its quotes do not close.
    """
    try:
        words = tuple(word for word in shlex.split(command) if word != "--")
    except ValueError as error:
        raise click.UsageError(f"--against: {command!r} cannot be split into words ({error})") from None
    if not words:
        raise click.UsageError("--against: name the program that is the base")
    if words[0].startswith("-"):
        return find_workload(DEFAULT, words)
    mistyped = shutil.which(words[0]) is None and get_close_matches(words[0], bundled_workloads(), n=1)
    if words[0] in bundled_workloads() or words[0].endswith(".py") or mistyped:
        return find_workload(words[0], words[1:])
    return find_command(words)


def profile_in_turn(base: Workload, head: Workload, wishes: Wishes, tool: str) -> None:
    """Run `base` and `head` in turn and say how to compare them.

    Raises:
        CaptureError: a run failed; the runs before it stand.
        click.UsageError: an option does not go with two programs.
    """
    _refuse(wishes, tool)
    folder = named_run(f"{head.name}-against-{base.name}").path if wishes.output is None else wishes.output
    new_run((), folder)
    for side, number in _turns(wishes.repeat):
        # The tracing overhead is measured once a side: it does not change from run to run.
        one = replace(wishes, repeat=1, overhead=wishes.overhead and number == 1)
        job = make_job(tool, Run(folder / side / f"run-{number}"), base if side == "base" else head, one)
        if wishes.dry_run:
            show_plan(job)
            continue
        note(f"{side}, run {number} of {wishes.repeat}")
        show_end(job, run_job(job))
    if wishes.dry_run:
        return
    if wishes.repeat < MIN_RUNS:
        note(f"{wishes.repeat} runs a side are described and not judged: a verdict needs --repeat {MIN_RUNS}")
    click.echo(f"compare: nsightkit compare {shlex.quote(str(folder / 'base'))} {shlex.quote(str(folder / 'head'))}")


def _turns(repeat: int) -> Iterator[tuple[str, int]]:
    for number in range(1, repeat + 1):
        yield from (("base", number), ("head", number))


def _refuse(wishes: Wishes, tool: str) -> None:
    given = [option for name, option in _REFUSED.items() if getattr(wishes, name)]
    if tool == "nsys+ncu":
        given.append("--tool nsys+ncu")
    if given:
        raise click.UsageError(f"{given[0]} does not go with --against: leave it out")
    if find_rank(os.environ) is not None:
        raise click.UsageError("--against runs two programs by itself: start it once, not once a rank")
