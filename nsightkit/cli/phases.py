"""Counters where they matter: a timeline chooses the launches, ncu measures just these, and the two are joined.

In: a run with a timeline. Out: the same run with the counters as a second capture, and the table counter_targets.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from nsightkit.capture import Request, Workload, load_backend
from nsightkit.capture.shells import command_line
from nsightkit.capture.steps import Step, run_step
from nsightkit.capture.two_phase import Selection, counter_options, counter_step, traced_workload
from nsightkit.cli.inputs import report_failures
from nsightkit.cli.jobs import (
    machine_capability,
    make_job,
    roofline_counters,
    run_job,
    show_end,
    show_plan,
    show_quality,
)
from nsightkit.cli.output import Field, emit, note
from nsightkit.cli.profile_options import Wishes
from nsightkit.errors import CaptureError, NsightkitError, ToolError
from nsightkit.ingest.dataset import tables_of
from nsightkit.judging import judge
from nsightkit.report import format as fmt
from nsightkit.run import Capture, Run, RunInfo

if TYPE_CHECKING:
    from nsightkit.analysis.counters.counter_join import Join, JoinedTarget
    from nsightkit.analysis.counters.targets import TargetPlan

DEFAULT_RANGE = "decode"
_TIMELINE = {name: None for name in ("kernel_launches", "cuda_api_calls", "nvtx_ranges")}
_ROW = (
    Field("kernel_name", "kernel"), Field("range_share", "share", "1"), Field("covered_share", "covered", "1"),
    Field("launch_count", "launches", "count"), Field("match", "match"), Field("profiled", "profiled", "count"),
    Field("mean_ns", "nsys mean", "ns"), Field("ncu_mean_ns", "ncu mean", "ns"),
    Field("duration_ratio", "ncu/nsys", "ratio"), Field("flag_text", "to know"),
)  # fmt: skip


@dataclass(frozen=True)
class _Deepening:
    """What is measured, and of which capture."""

    run: Run
    info: RunInfo
    timeline: Capture
    plan: TargetPlan
    step: Step


def profile_in_two_phases(run: Run, workload: Workload, wishes: Wishes) -> bool:
    """Record a timeline of everything, then deepen it; return whether there is something to render."""
    if wishes.window or wishes.gate:
        raise click.UsageError("--window and --gate do not go with nsys+ncu: the timeline must hold the whole run, so "
                               "that instances of ranges can be counted; use --range")  # fmt: skip
    # The timeline is whole: ranges are chosen afterwards, and their instances counted from the start of the process.
    whole = replace(wishes, range_name=None, repeat=1)
    job = make_job("nsys", run, workload, whole)
    if wishes.dry_run:
        show_plan(job)
        note("note: the second command, for ncu, follows from the timeline; see 'nsightkit deepen RUN --dry-run'")
        return False
    info = run_job(job)
    show_end(job, info)
    if not any(capture.row_counts.get("kernel_launches") for capture in info.captures):
        note("the timeline holds no kernel: there is nothing to measure with ncu")
        return True
    try:
        deepen(run, wishes)
    except NsightkitError as error:
        folder = shlex.quote(str(run.path))
        stands = f"the timeline stands without counters; go on later with  nsightkit deepen {folder}"
        if not isinstance(error, ToolError):
            note(f"{stands}\nits report:  nsightkit render {folder}")
            raise
        note(f"{error}\n{stands}")
    return True


def deepen(run: Run, wishes: Wishes) -> bool:
    """Measure the launches that make up the time of the range; return whether anything was measured.

    Raises:
        CaptureError: the run has no timeline, or ncu left nothing.
        AnalysisError: the range was never seen, holds no kernel, or the budget is too small.
    """
    work = _planned(run, wishes)
    _say_plan(work, wishes)
    if wishes.dry_run:
        planned = load_backend("ncu").plan(work.step.request)
        click.echo(command_line(planned.argv, wishes.shell))
        for text in planned.notes:
            note(f"note: {text}")
        return False
    captured = run_step(work.step, note, wishes.resume)
    info, counters = _ingest(work, captured.paths)
    join = _joined(work, counters)
    settings = {**captured.settings, "range": work.plan.range_name, "step": work.plan.step_name,
                "steps": list(work.plan.steps), "timeline": work.timeline.capture_id}  # fmt: skip
    counters = replace(
        counters, argv=captured.plan.argv, exit_code=captured.exit_code, wall_s=captured.wall_s, settings=settings,
        tool_version=counters.tool_version or captured.plan.tool_version, scope=_scope(work.plan),
        notes=tuple(dict.fromkeys([*counters.notes, *captured.notes, *join.notes])),
    )  # fmt: skip
    counters = _with_join(work, counters, join)
    others = [capture for capture in info.captures if capture.capture_id != counters.capture_id]
    run.write_info(replace(info, captures=(*others, counters)))
    _show(counters, work.plan, join)
    return True


def _planned(run: Run, wishes: Wishes) -> _Deepening:
    from nsightkit.analysis.counters.budget import Cost, fit_budget
    from nsightkit.analysis.counters.targets import Wish, plan_targets
    from nsightkit.analysis.work.operations import by_capture

    info = run.read_info()
    timeline = _timeline_of(run, info)
    (tables,) = by_capture(tables_of(run, timeline, _TIMELINE))
    range_name = wishes.range_name
    if range_name is None and DEFAULT_RANGE in set(tables.nvtx_ranges["name"].to_pylist()):
        range_name = DEFAULT_RANGE
        note(f"the range is {range_name}; --range names another")
    plan = plan_targets(tables, Wish(range_name, wishes.coverage, wishes.top))
    cost = Cost(timeline.overhead.get("untraced_s") or timeline.wall_s or 0.0)
    plan = fit_budget(plan, cost, wishes.budget)
    options = counter_options(wishes.options("ncu"), _stem(info))
    if not options.counters.section_set and not options.counters.metrics:
        # Counters are read on this machine, which an export need not describe.
        known = info.compute_capability or machine_capability()
        options = replace(options, counters=roofline_counters(options.counters, known))
    workload = traced_workload(timeline.argv, run.capture_dir)
    request = Request(workload, run.capture_dir, wishes.timeout, options)
    selection = Selection(plan.kernel_regex, plan.included_ranges, plan.counted_instances, plan.launch_limit)
    return _Deepening(run, info, timeline, plan, counter_step(selection, request))


def _stem(info: RunInfo) -> str:
    """Return the name of the capture with counters: another for each rank, so that all can be read together."""
    return "counters" if info.rank is None else f"counters-rank{info.rank}"


def _timeline_of(run: Run, info: RunInfo) -> Capture:
    found = next((c for c in info.captures if c.backend == "nsys" and c.row_counts.get("kernel_launches")), None)
    if found is None:
        raise CaptureError(
            f"{run.path}: no nsys capture with kernels in this run; make one with 'nsightkit profile --tool nsys+ncu'",
            slug="no-timeline",
        )
    if found.settings.get("scope"):
        raise CaptureError(
            f"{run.path}: its timeline holds only a part of the run ({found.settings['scope']}), so that instances of "
            "ranges cannot be counted for ncu; profile the whole run, the range is chosen afterwards",
            slug="no-timeline",
        )
    return found


def _say_plan(work: _Deepening, wishes: Wishes) -> None:
    from nsightkit.analysis.counters.budget import Cost, estimate

    plan = work.plan
    cost = Cost(work.timeline.overhead.get("untraced_s") or work.timeline.wall_s or 0.0)
    expected = estimate(plan, cost)
    targets = f"{len(plan.targets)} targets make" if len(plan.targets) != 1 else "1 target makes"
    of_steps = f"{plan.step_name} {', '.join(map(str, plan.steps))}" if plan.step_name else "the whole run"
    note(
        f"{targets} up {plan.coverage:.0%} of the kernel time of {_where(plan)}; measured in "
        f"{of_steps}: {expected.launch_count} launches in about {expected.pass_count} passes each, one run of the "
        f"workload, about {fmt.duration(expected.seconds * 1e9)} of {fmt.duration(wishes.budget * 1e9)} (an estimate)"
    )
    if plan.coverage < wishes.coverage:
        note(f"note: {plan.coverage:.0%} is less than the {wishes.coverage:.0%} asked for (--top, --budget)")


def _where(plan: TargetPlan) -> str:
    return f"the range {plan.range_name}" if plan.range_name else "the whole run"


def _scope(plan: TargetPlan) -> str:
    steps = f", {plan.step_name} {', '.join(map(str, plan.steps))} of {plan.step_count}" if plan.step_name else ""
    return f"chosen launches of {_where(plan)}{steps}; each profiled kernel launch by itself"


def _ingest(work: _Deepening, paths: Iterable[Any]) -> tuple[RunInfo, Capture]:
    from nsightkit.ingest.sources import find_sources
    from nsightkit.ingest.store import ingest_sources

    stem = _stem(work.info)
    kept = tuple(capture for capture in work.info.captures if capture.capture_id != stem)
    sources, failures = find_sources(list(paths))
    sources = [replace(source, capture_id=stem) for source in sources]
    info, more = ingest_sources(sources, work.run, replace(work.info, captures=kept))
    report_failures([*failures, *more])
    found = next((capture for capture in info.captures if capture.capture_id == stem), None)
    if found is None:
        raise CaptureError(f"{work.run.capture_dir}: ncu left nothing that can be read", slug="no-output")
    return info, found


def _joined(work: _Deepening, counters: Capture) -> Join:
    from nsightkit.analysis.counters.counter_join import join_counters, profiled_launches

    rows = tables_of(work.run, counters, {"kernel_counters": None}).get("kernel_counters")
    return join_counters(work.plan, profiled_launches(rows.to_pylist() if rows is not None else []))


def _with_join(work: _Deepening, counters: Capture, join: Join) -> Capture:
    """Write the table of targets, judge the capture, and return it with both."""
    from nsightkit import parquet
    from nsightkit.analysis.quality import CaptureFacts
    from nsightkit.tables import TABLES

    rows = _rows(work.plan, join)
    table = TABLES["counter_targets"]
    columns = {name: [row.get(name) for row in rows] for name in table.column_names if name != "capture_id"}
    path = work.run.table_path(table.name, counters.capture_id)
    count = parquet.write_table(path, table, columns, {"capture_id": counters.capture_id, "backend": "ncu"})
    counters = replace(counters, row_counts={**counters.row_counts, table.name: count})
    facts = CaptureFacts("ncu", work.plan.range_name, clock_control=counters.settings.get("clock_control"))
    quality = judge(work.run, counters, facts).as_record()
    return replace(counters, quality=_with_coverage(quality, work.plan, join))


def _with_coverage(quality: dict[str, Any], plan: TargetPlan, join: Join) -> dict[str, Any]:
    """Add what the join tells of the quality: how much of the range's time the joined launches stand for."""
    if not any(row.launch_indices for row in join.rows):
        text = f"no profiled launch could be joined to {_where(plan)}"
        return {"verdict": "unusable", "reasons": [text, *quality["reasons"]],
                "remedies": ["see the notes of the capture", *quality["remedies"]]}  # fmt: skip
    if join.joined_share >= plan.coverage - 1e-9:
        return quality
    text = f"the joined launches stand for {join.joined_share:.0%} of the kernel time, {plan.coverage:.0%} were chosen"
    return {"verdict": max(quality["verdict"], "usable", key=("good", "usable", "unusable").index),
            "reasons": [*quality["reasons"], text],
            "remedies": [*quality["remedies"], "let the workload do the same work in each run (seeds, no autotuning)"],
            }  # fmt: skip


def _rows(plan: TargetPlan, join: Join) -> list[dict[str, Any]]:
    return list(_numbered_rows(plan, join.rows))


def _numbered_rows(plan: TargetPlan, joined: Iterable[JoinedTarget]) -> Iterator[dict[str, Any]]:
    covered = 0.0
    for number, row in enumerate(joined):
        target, shape = row.target, row.target.shape
        covered += target.share
        yield {
            "target_index": number,
            "kernel_name": target.kernel_name,
            "nvtx_range": plan.range_name,
            "nvtx_path": shape.nvtx_path or None,
            **{f"grid_{axis}": value for axis, value in zip("xyz", shape.grid, strict=True)},
            **{f"block_{axis}": value for axis, value in zip("xyz", shape.block, strict=True)},
            "dynamic_shared_memory_bytes": shape.dynamic_shared_memory_bytes,
            "mode": target.mode,
            "mode_count": target.mode_count,
            "launch_count": target.launch_count,
            "total_ns": target.total_ns,
            "mean_ns": target.mean_ns,
            "min_ns": target.min_ns,
            "max_ns": target.max_ns,
            "range_share": target.share,
            "covered_share": min(covered, 1.0),
            "match": row.match,
            "launch_indices": json.dumps(row.launch_indices),
            "ncu_mean_ns": row.ncu_mean_ns,
            "nsys_mean_ns": row.nsys_mean_ns,
            "duration_ratio": row.duration_ratio,
            "flags": json.dumps(row.flags),
            "profiled": len(row.launch_indices),
            "flag_text": "; ".join(row.flags),
        }


def _show(counters: Capture, plan: TargetPlan, join: Join) -> None:
    show_quality(counters)
    caption = (
        f"nsys weighs, ncu measures: two executions; {_where(plan)}; joined launches stand for "
        f"{join.joined_share:.0%} of its kernel time"
    )
    emit(_ROW, _rows(plan, join), "table", caption)
    for text in counters.notes:
        click.echo(f"note: {fmt.printable(text)}")
