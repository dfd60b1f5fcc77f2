"""Captures a workload as the options say, and turns what came out into a run with tables and verdicts.

In: a `Job`. Out: a run directory: captures, tables, ``run.json`` with command lines, overhead and quality.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.capture import Captured, Request, Scope, Workload, load_backend
from nsightkit.capture.nsys import unseen_ranges_of
from nsightkit.capture.probes import Rank, find_gpus, find_other_processes, find_rank
from nsightkit.capture.results import read_results
from nsightkit.capture.shells import command_line
from nsightkit.capture.steps import Step, run_step
from nsightkit.capture.workload import require_torch
from nsightkit.cli.graph_wall import with_graph_wall
from nsightkit.cli.inputs import naming_output, report_failures
from nsightkit.cli.output import note
from nsightkit.cli.overhead import measure_overhead, run_untraced
from nsightkit.cli.profile_options import Wishes
from nsightkit.cli.progress import progress_bar
from nsightkit.cli.spread import spread_line
from nsightkit.errors import CaptureError
from nsightkit.judging import judge
from nsightkit.report import format as fmt
from nsightkit.report.overhead_words import overhead_line
from nsightkit.run import Capture, Run, RunInfo, is_run

if TYPE_CHECKING:
    from nsightkit.analysis.quality import CaptureFacts
    from nsightkit.ingest.sources import Failure

TOKENS_FLAG = "--max-new-tokens"
_OF_THE_WORK = ("batch_size", "prompt_len", "dtype")
_STEMS = {"nsys": "timeline", "ncu": "counters", "torch": "torch-trace"}


@dataclass(frozen=True)
class Job:
    """One call of the command, checked; `tool` is one profiler."""

    tool: str
    run: Run
    workload: Workload
    wishes: Wishes
    shown_args: tuple[str, ...]  # without the path of the results
    rank: Rank | None = None

    def steps(self) -> list[Step]:
        """Return the runs of the workload under the tool, in order."""
        count = self.wishes.process_runs
        return [self._step("" if count == 1 else f"-run{number}") for number in range(1, count + 1)]

    def untraced(self, suffix: str = "-untraced", args: tuple[str, ...] = ()) -> Step:
        """Return a run without a profiler, with `args` added; its files are named apart."""
        step = self._step(suffix)
        options = replace(step.request.options, stem=f"{suffix.removeprefix('-')}{self._rank_suffix}")
        workload = replace(step.request.workload, args=(*step.request.workload.args, *args))
        return replace(step, request=replace(step.request, workload=workload, options=options))

    def again(self, suffix: str, extra: tuple[str, ...]) -> Step:
        """Return one more run under the tool, with words of ours replaced by `extra`."""
        step = self._step(suffix)
        options = replace(step.request.options, extra=(*step.request.options.extra, *extra))
        return replace(step, request=replace(step.request, options=options))

    def results_path(self, suffix: str = "") -> Path:
        """Return where a bundled workload writes its timings."""
        return self.run.capture_dir / f"results{self._rank_suffix}{suffix}.json"

    @property
    def _rank_suffix(self) -> str:
        return "" if self.rank is None else f"-rank{self.rank.number}"

    def _step(self, suffix: str) -> Step:
        options = self.wishes.options(self.tool)
        if self.tool == "ncu" and not options.counters.section_set and not options.counters.metrics:
            options = replace(options, counters=roofline_counters(options.counters, machine_capability()))
        if self.tool == "ncu" and options.counters.replay_mode is None and self.workload.deterministic:
            # Nothing is saved and restored around a kernel then, and it meets the caches and clocks of a real run.
            options = replace(options, counters=replace(options.counters, replay_mode="application"))
        named = self._rank_suffix + suffix
        options = replace(options, stem=f"{_STEMS[self.tool]}{named}" if named else None)
        own = ("--results", str(self.results_path(suffix))) if self._takes_results else ()
        workload = replace(self.workload, args=(*self.shown_args, *own))
        return Step(self.tool, Request(workload, self.run.capture_dir, self.wishes.timeout, options))

    @property
    def _takes_results(self) -> bool:
        return self.workload.bundled and not has_flag(self.shown_args, "--results")

    @property
    def measures_overhead(self) -> bool:
        """Whether the workload runs once more without a profiler; ncu's times are its own, a server never ends.

        Of a part of the run there is nothing to compare, unless the workload times its repetitions itself.
        """
        wishes = self.wishes
        part = wishes.range_name is not None or wishes.gate is not None
        comparable = wishes.window is None and (self.workload.bundled or not part)
        return wishes.overhead and self.tool != "ncu" and comparable


def make_job(tool: str, run: Run, workload: Workload, wishes: Wishes) -> Job:
    """Return the job with the arguments that the workload gets.

    Raises:
        click.UsageError: tokens are said twice, or the tool cannot capture the part that was asked for.
    """
    _refuse_scope(tool, wishes)
    shown = workload.args
    if wishes.tokens is not None and has_flag(shown, TOKENS_FLAG):
        raise click.UsageError(f"--tokens and {TOKENS_FLAG} behind -- say the same thing: give one of them")
    if wishes.tokens is not None and not workload.decodes:
        raise click.UsageError(f"--tokens: {workload.name} decodes nothing; leave it out")
    if workload.bundled and workload.decodes and not has_flag(shown, "--warmup-iters"):
        # The profiler sees the warm-up too: without it the capture holds just the tokens that were asked for.
        shown = ("--warmup-iters", "0", *shown)
    if wishes.tokens is not None:
        told = (TOKENS_FLAG, str(wishes.tokens))
        # A program may take its own first words as a command: there the flag goes last.
        shown = (*shown, *told) if workload.script is None else (*told, *shown)
    return Job(tool, run, workload, wishes, shown, find_rank(os.environ))


def _refuse_scope(tool: str, wishes: Wishes) -> None:
    """Refuse a part of the run that the tool cannot capture: its numbers would be those of another part."""
    reasons = {
        ("ncu", "window"): "ncu knows no window of time; use --range, --gate or --launch-skip",
        ("torch", "window"): "torch.profiler records the whole run; ranges are chosen afterwards",
        ("torch", "range_name"): "torch.profiler records the whole run; ranges are chosen afterwards",
        ("torch", "gate"): "torch.profiler records the whole run; ranges are chosen afterwards",
    }
    names = {"window": "--window", "range_name": "--range", "gate": "--gate"}
    for (refusing, field), reason in reasons.items():
        if tool == refusing and getattr(wishes, field) is not None:
            raise click.UsageError(f"{names[field]} does not go with --tool {tool}: {reason}")


def has_flag(args: tuple[str, ...], flag: str) -> bool:
    """Say whether `flag` stands in `args`, with its value behind it or joined to it."""
    return any(arg == flag or arg.startswith(f"{flag}=") for arg in args)


def roofline_counters(counters: Any, compute_capability: str | None) -> Any:
    """Return `counters` with exactly what the roofline needs on a GPU of `compute_capability`, where that is known."""
    from nsightkit.analysis.counters.counter_plan import SECTIONS, roofline_metrics

    names = roofline_metrics(compute_capability)
    return replace(counters, metrics=names, sections=(*SECTIONS, *counters.sections)) if names else counters


def machine_capability() -> str | None:
    """Return the compute capability of this machine's GPUs, None where there is none or they differ."""
    found = {gpu.compute_capability for gpu in find_gpus()}
    return found.pop() if len(found) == 1 else None


def show_plan(job: Job) -> None:
    """Print the command lines of `job`."""
    for step in job.steps():
        plan = load_backend(job.tool).plan(step.request)
        click.echo(command_line(plan.argv, job.wishes.shell))
        for text in plan.notes:
            note(f"note: {text}")


def run_job(job: Job) -> RunInfo:
    """Capture, ingest, and judge.

    Raises:
        ToolError: the tool is missing or refuses to work.
        CaptureError: the workload failed, or nothing that can be read came out.
    """
    require_torch(job.workload)
    if job.wishes.resume:
        _refuse_other(job)
    first = None
    if job.measures_overhead and _can_start(job):
        note("first without the profiler, to measure its overhead (--no-overhead leaves this out)")
        first = run_untraced(job)
    captured = [run_step(step, note, job.wishes.resume) for step in job.steps()]
    overhead = measure_overhead(job, captured, first) if job.measures_overhead else {}
    return with_graph_wall(job, _ingest(job, captured, overhead), captured[0])


def _refuse_other(job: Job) -> None:
    """Refuse to go on with the run of another workload: its tables would be lost."""
    known = job.run.read_info().workload if is_run(job.run.path) else job.workload.name
    if known != job.workload.name:
        raise CaptureError(
            f"{job.run.path} is a run of {known}; repeat that command to resume it, or name another folder with -o",
            slug="resume-differs",
        )


def _ingest(job: Job, captured: Sequence[Captured], overhead: dict[str, Any]) -> RunInfo:
    from nsightkit.ingest.sources import find_sources
    from nsightkit.ingest.store import IngestOptions, ingest_sources

    first = "" if job.wishes.process_runs == 1 else "-run1"
    results = read_results(job.results_path(first))
    known = RunInfo(
        name=job.run.path.name,
        workload=job.workload.name,
        workload_args=job.shown_args,
        tokens=results.get("tokens_run") or job.wishes.tokens,
        hostname=platform.node() or None,
        torch_version=results.get("machine", {}).get("torch_version"),
        rank=job.rank.number if job.rank else None,
        rank_count=job.rank.count if job.rank else None,
    )
    paths = [path for item in captured for path in item.paths]
    sources, failures = find_sources(paths)
    with naming_output(), progress_bar("reading") as progress:
        info, more = ingest_sources(sources, job.run, known, IngestOptions(progress=progress))
    _refuse_empty_trace(job, more)
    report_failures([*failures, *more])
    if not info.captures:
        raise CaptureError(f"nothing that nsightkit can read came out: {', '.join(map(str, paths))}", slug="no-output")
    made_by = {path.name: item for item in captured for path in item.paths}
    whole = [_completed(capture, made_by[capture.source], job, results) for capture in info.captures]
    info = replace(info, captures=tuple(replace(capture, overhead=overhead) for capture in whole))
    info = _judged(job, info, results)
    job.run.write_info(info)
    return info


def _can_start(job: Job) -> bool:
    """Say whether the profiler is there: where it is not, nothing is run before it says so."""
    request = job.steps()[0].request
    known = load_backend(job.tool).plan(request).tool_version is not None
    return known or (job.tool == "torch" and request.workload.program is not None)


def _refuse_empty_trace(job: Job, failures: Sequence[Failure]) -> None:
    """Say of a trace of ours that holds nothing what that means: the export went well, there was nothing to record."""
    if job.tool == "torch" and any(failure.slug == "no-torch-events" for failure in failures):
        raise CaptureError(
            f"{job.workload.name}: the script ran no torch operators in this process, so torch.profiler recorded "
            "nothing; check that it calls torch itself (not in a process that it starts), or use --tool nsys, which "
            f"follows processes. The trace is kept in {job.run.capture_dir}",
            slug="no-torch-operators",
        )


def _completed(capture: Capture, captured: Captured, job: Job, results: dict[str, Any]) -> Capture:
    """Add what only the run of the profiler tells: command line, exit code, time, and what to know."""
    part = str(job.wishes.options(job.tool).scope)
    scope = f"{job.workload.name}, {part}" if part else f"{job.workload.name} as a whole process"
    scope += _repetitions(results)
    settings = dict(captured.settings) | _workload_settings(results)
    if job.rank:
        settings |= {"rank": job.rank.number, "rank_count": job.rank.count, "launcher": job.rank.launcher}
    notes = [*capture.notes, *captured.notes, *_findings(capture, captured, job)]
    return replace(
        capture,
        tool_version=capture.tool_version or captured.plan.tool_version,
        argv=captured.plan.argv,
        exit_code=captured.exit_code,
        wall_s=captured.wall_s,
        scope=f"{scope}; {capture.scope}" if capture.scope else scope,
        notes=tuple(dict.fromkeys(notes)),
        settings=settings,
    )


def _workload_settings(results: dict[str, Any]) -> dict[str, Any]:
    """Return what decides how much work a bundled workload does, defaults included: its arguments say only changes."""
    told = results.get("settings") or {}
    found = {name: told[name] for name in _OF_THE_WORK if isinstance(told.get(name), str | int)}
    return {"workload": found} if found else {}


def _repetitions(results: dict[str, Any]) -> str:
    settings = results.get("settings", {})
    timed, warm = settings.get("bench_iters"), settings.get("warmup_iters")
    if timed is None or warm is None:
        return ""
    return f", {timed} timed and {warm} warm-up repetitions" + ("" if warm else " (the first one is cold)")


def _findings(capture: Capture, captured: Captured, job: Job) -> Iterator[str]:
    rows = capture.row_counts
    kernels = sum(rows.get(name, 0) for name in ("kernel_launches", "kernel_counters"))
    if not kernels and not any("no kernels" in text and "GPU" in text for text in capture.notes):
        yield "no kernels: no GPU was traced; the times are those of the CPU"
    if captured.backend == "nsys" and not rows.get("nvtx_ranges"):
        yield from _no_ranges(job, captured)


def _no_ranges(job: Job, captured: Captured) -> Iterator[str]:
    why = unseen_ranges_of(job.workload, captured.plan.tool_version)
    if job.workload.bundled:
        yield f"no NVTX ranges, although {job.workload.name} makes them: {why or 'see nsightkit doctor'}"
    elif why is not None:
        yield f"no NVTX ranges, whether or not {job.workload.name} makes any: {why}"


def _judged(job: Job, info: RunInfo, results: dict[str, Any]) -> RunInfo:
    """Add the verdict on each capture."""
    warm = results.get("settings", {}).get("warmup_iters") or 0
    captures = []
    for number, capture in enumerate(info.captures):
        quality = judge(job.run, capture, _facts(job, capture, warm + number))
        captures.append(replace(capture, quality=quality.as_record()))
    return replace(info, captures=tuple(captures))


def _facts(job: Job, capture: Capture, earlier: int) -> CaptureFacts:
    from nsightkit.analysis.quality import CaptureFacts

    scope = job.wishes.options(job.tool).scope
    return CaptureFacts(
        backend=capture.backend,
        range_name=_range_name(scope),
        range_limited=scope.nvtx_range is not None,
        overhead_ratio=capture.overhead.get("ratio"),
        overhead_interval=_interval(capture.overhead),
        overhead_wanted=job.wishes.overhead,
        overhead_single=capture.overhead.get("middle"),
        clock_control=capture.settings.get("clock_control"),
        # Asked after the run: what is there then has nothing to do with it. Ranks share GPUs on purpose.
        other_processes=() if job.rank else find_other_processes(),
        warm_repetitions=earlier,
    )


def _range_name(scope: Scope) -> str | None:
    """Return the name of the captured range without its domain."""
    return scope.nvtx_range.rpartition("@")[0] or scope.nvtx_range if scope.nvtx_range else None


def _interval(overhead: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = overhead.get("low"), overhead.get("high")
    return None if low is None or high is None else (low, high)


def show_end(job: Job, info: RunInfo) -> None:
    """Print the verdict first, then what there is and where."""
    for capture in info.captures:
        show_quality(capture)
        wall = fmt.duration(None if capture.wall_s is None else capture.wall_s * 1e9)
        click.echo(f"{job.workload.name} under {capture.backend} {capture.tool_version or ''}: {wall}".rstrip())
        rows = ", ".join(f"{name} {fmt.count(count)}" for name, count in capture.row_counts.items())
        click.echo(f"tables: {rows or 'none'}")
        if capture.overhead:
            click.echo(overhead_line(capture.overhead))
        for text in capture.notes:
            click.echo(f"note: {fmt.printable(text)}")
    if len(info.captures) > 1:
        scope = job.wishes.options(job.tool).scope
        click.echo(spread_line(job.run, info.captures, _range_name(scope)))
    click.echo(f"run: {job.run.path}")


def closing_line(info: RunInfo, rendered: bool) -> str | None:
    """Return what it means that captures are not good enough, None where all can be used; it ends the output."""
    bad = [capture for capture in info.captures if capture.quality.get("verdict") == "unusable"]
    if not bad:
        return None
    named = ", ".join(capture.capture_id for capture in bad)
    (reason, *_) = bad[0].quality.get("reasons") or ("see above",)
    stands = "the workload ran and its report is written" if rendered else "the workload ran and its tables are kept"
    return (
        f"{stands}, hence exit code 0; but do not judge GPU work by {fmt.printable(named)}: {fmt.printable(reason)} "
        "(capture quality unusable; its remedy stands above)"
    )


def show_quality(capture: Capture) -> None:
    """Print the verdict on a capture with its reasons and remedies."""
    click.echo(f"capture quality of {capture.capture_id}: {capture.quality.get('verdict', 'not judged')}")
    for reason, remedy in zip(capture.quality.get("reasons", ()), capture.quality.get("remedies", ()), strict=True):
        click.echo(f"  {fmt.printable(reason)}\n    remedy: {fmt.printable(remedy)}")
