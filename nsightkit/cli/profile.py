"""``nsightkit profile``: run a workload under a profiler; ends in a run directory with tables and a report.

In: a workload, the tool, the tokens. Out: RUN/capture, RUN/tables, RUN/report, and on stdout where they are.
"""

import json
import platform
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from nsightkit.capture import Captured, Request, Workload, find_workload, load_backend
from nsightkit.capture.process import shell_line
from nsightkit.capture.workload import DEFAULT
from nsightkit.cli.inputs import named_run, new_run, report_failures
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.errors import CaptureError, NsightkitError
from nsightkit.report import format as fmt
from nsightkit.run import Capture, Run, RunInfo

TOOLS = ("auto", "nsys", "ncu", "torch")
_TOKENS_FLAG = "--max-new-tokens"
_ARGS_KEY = "nsightkit.workload_args"


class _PassesOn(click.Command):
    """A command that keeps everything behind ``--`` for the workload."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split `args` at the first ``--``."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.meta[_ARGS_KEY] = tuple(args[cut + 1 :])
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the workload's arguments in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


@dataclass(frozen=True)
class _Job:
    """One call of the command, checked."""

    tool: str
    run: Run
    request: Request
    tokens: int | None
    shown_args: tuple[str, ...]  # without the path of the results

    @property
    def results_path(self) -> Path:
        return _results_path(self.run)


@click.command("profile", cls=_PassesOn, short_help="Run a workload under a profiler and report on it.")
@click.argument("workload", default=DEFAULT, required=False)
@click.option("--tool", type=click.Choice(TOOLS), default="auto", show_default=True,
              help="nsys: timeline. ncu: hardware counters. torch: torch.profiler, also without a GPU. "
              "auto: nsys if it is on PATH, else torch.")  # fmt: skip
@click.option("--tokens", type=click.IntRange(min=1),
              help=f"Tokens to decode: the workload gets them as {_TOKENS_FLAG} N, the run keeps them.")  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run directory. Default: ./reports/<name>-<time>."
)
@click.option("--name", help="Name of the run in the default directory. Default: the workload's.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
              help="End the workload and the profiler after this time; what was captured is kept.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the exact command line, quoted for a POSIX shell, and stop.")
@click.option("--no-render", is_flag=True, help="Stop after the tables, without a report.")
@click.pass_context
def command(
    ctx: click.Context, workload: str, tool: str, tokens: int | None, output: Path | None, name: str | None,
    timeout: float | None, dry_run: bool, no_render: bool,
) -> None:  # fmt: skip
    """Run WORKLOAD under a profiler, read what it captured, and write a report.

    WORKLOAD is a bundled one (kv_decode, the default: a small language model that decodes tokens) or the path of a
    Python script, which needs no change. What stands behind -- goes to it.

    \b
    nsightkit profile --tool torch --tokens 16             on any machine with torch, also without a GPU
    nsightkit profile --tool nsys --tokens 16              a timeline of kernels, copies and ranges
    nsightkit profile train.py -- --batch-size 8           your script with its arguments
    nsightkit profile --dry-run --tool ncu                 only show the command
    """
    target = find_workload(workload, ctx.meta[_ARGS_KEY])
    run = named_run(name or target.name) if output is None else new_run((), output)
    job = _job(_chosen(tool), run, target, tokens, timeout)
    if dry_run:
        _show_plan(job)
        return
    captured = load_backend(job.tool).capture_workload(job.request, note)
    info = _ingest(job, captured)
    _show_end(job, info)
    if not no_render:
        _render(ctx, run)


def _chosen(tool: str) -> str:
    if tool != "auto":
        return tool
    return "nsys" if shutil.which("nsys") else "torch"


def _job(tool: str, run: Run, target: Workload, tokens: int | None, timeout: float | None) -> _Job:
    if tokens is not None and _has(target.args, _TOKENS_FLAG):
        raise click.UsageError(f"--tokens and {_TOKENS_FLAG} behind -- say the same thing: give one of them")
    shown = target.args
    if target.bundled and not _has(shown, "--warmup-iters"):
        # The profiler sees the warm-up too: without it the capture holds just the tokens that were asked for.
        shown = ("--warmup-iters", "0", *shown)
    if tokens is not None:
        shown = (_TOKENS_FLAG, str(tokens), *shown)
    own = ("--results", str(_results_path(run))) if target.bundled and not _has(shown, "--results") else ()
    workload = replace(target, args=(*shown, *own))
    return _Job(tool, run, Request(workload, run.capture_dir, timeout), tokens, shown)


def _has(args: tuple[str, ...], flag: str) -> bool:
    return any(arg == flag or arg.startswith(f"{flag}=") for arg in args)


def _results_path(run: Run) -> Path:
    return run.capture_dir / "results.json"


def _show_plan(job: _Job) -> None:
    plan = load_backend(job.tool).plan(job.request)
    click.echo(shell_line(plan.argv))
    for text in plan.notes:
        note(f"note: {text}")


def _ingest(job: _Job, captured: Captured) -> RunInfo:
    from nsightkit.ingest.sources import find_sources
    from nsightkit.ingest.store import IngestOptions, ingest_sources

    results = _results(job)
    known = RunInfo(
        name=job.run.path.name,
        workload=job.request.workload.name,
        workload_args=job.shown_args,
        tokens=results.get("tokens_run") or job.tokens,
        hostname=platform.node() or None,
        torch_version=results.get("machine", {}).get("torch_version"),
    )
    sources, failures = find_sources(captured.paths)
    with progress_bar("reading") as progress:
        info, more = ingest_sources(sources, job.run, known, IngestOptions(progress=progress))
    report_failures([*failures, *more])
    if not info.captures:
        names = ", ".join(str(path) for path in captured.paths)
        raise CaptureError(f"nothing that nsightkit can read came out: {names}", slug="no-output")
    info = replace(info, captures=tuple(_completed(capture, captured, job, results) for capture in info.captures))
    job.run.write_info(info)
    return info


def _results(job: _Job) -> dict[str, Any]:
    try:
        data = json.loads(job.results_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _completed(capture: Capture, captured: Captured, job: _Job, results: dict[str, Any]) -> Capture:
    """Add what only the run of the profiler tells: command line, exit code, time, and what to know."""
    notes = [*capture.notes, *captured.notes, *_findings(capture, captured, job)]
    scope = f"{job.request.workload.name} as a whole process" + _repetitions(results)
    return replace(
        capture,
        tool_version=capture.tool_version or captured.plan.tool_version,
        argv=captured.plan.argv,
        exit_code=captured.exit_code,
        wall_s=captured.wall_s,
        scope=f"{scope}; {capture.scope}" if capture.scope else scope,
        notes=tuple(dict.fromkeys(notes)),
    )


def _repetitions(results: dict[str, Any]) -> str:
    settings = results.get("settings", {})
    timed, warm = settings.get("bench_iters"), settings.get("warmup_iters")
    if timed is None or warm is None:
        return ""
    return f", {timed} timed and {warm} warm-up repetitions" + ("" if warm else " (the first one is cold)")


def _findings(capture: Capture, captured: Captured, job: _Job) -> list[str]:
    found = []
    rows = capture.row_counts
    kernels = sum(rows.get(name, 0) for name in ("kernel_launches", "kernel_counters"))
    if not kernels and not any("no kernels" in text and "GPU" in text for text in capture.notes):
        found.append("no kernels: no GPU was traced; the times are those of the CPU")
    if captured.backend == "nsys" and job.request.workload.bundled and not rows.get("nvtx_ranges"):
        found.append(_no_ranges(job, captured))
    return found


def _no_ranges(job: _Job, captured: Captured) -> str:
    from importlib.metadata import version

    return (
        f"no NVTX ranges, although {job.request.workload.name} makes them: nsys {captured.plan.tool_version} does not "
        f"record those of the Python package nvtx {version('nvtx')}; install 'nvtx<0.2.12' or a newer nsys"
    )


def _show_end(job: _Job, info: RunInfo) -> None:
    for capture in info.captures:
        wall = fmt.duration(None if capture.wall_s is None else capture.wall_s * 1e9)
        click.echo(f"{job.request.workload.name} under {job.tool} {capture.tool_version or ''}: {wall}".rstrip())
        rows = ", ".join(f"{name} {fmt.count(count)}" for name, count in capture.row_counts.items())
        click.echo(f"tables: {rows or 'none'}")
        for text in capture.notes:
            click.echo(f"note: {fmt.printable(text)}")
    click.echo(f"run: {job.run.path}")


def _render(ctx: click.Context, run: Run) -> None:
    from nsightkit.cli import render

    try:
        ctx.invoke(render.command, paths=(run.path,))
    except NsightkitError:
        note(f"the tables stand in {run.path}; only the report is missing")
        raise
