"""``nsightkit baseline``: what later runs are compared with, kept small enough to be committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.compare_options import baselines_option, complete_side
from nsightkit.cli.output import Field, Row, emit, format_option

if TYPE_CHECKING:
    from nsightkit.baseline import Baseline, StoredRun, Timings
    from nsightkit.cli.side_facts import LoadedRun
    from nsightkit.cli.sides import LoadedSide
    from nsightkit.parquet import TableData

LIST_FIELDS = (
    Field("name", "baseline"),
    Field("created_utc", "saved"),
    Field("run_count", "runs", "count"),
    Field("gpu_name", "GPU"),
    Field("setting_count", "settings", "count"),
    Field("launch_count", "launches per run", "count"),
    Field("total_ns", "GPU time per run", "ns"),
    Field("tokens", "tokens", "count"),
    Field("accepted_count", "accepted", "count"),
    Field("source", "made from"),
)
ACCEPTED_FIELDS = (
    Field("condition", "accepted condition"),
    Field("change", "up to", "×"),
    Field("reason", "reason"),
    Field("head", "of"),
    Field("created_utc", "when"),
)


@click.group("baseline")
def command() -> None:
    """Keep what later runs are compared with, as small parquet and JSON: sums per kernel, counters, no raw capture.

    Results of benchmarks are kept as their timings, setting by setting.

    \b
    nsightkit baseline save main 'runs/main-*'     one baseline of several process runs
    nsightkit baseline save speed 'results/*.json' one of timings
    nsightkit gate main 'runs/branch-*' --fail-on 'total_ns > +3%'
    """


@command.command("save")
@click.argument("name")
@click.argument("run", shell_complete=complete_side)
@click.option(
    "--phase", "--range", "ranges", multiple=True, metavar="RANGE",
    help="Also keep the sums within the NVTX range of this name, for --in and --phase of compare. May be repeated.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a baseline of that name.")
@baselines_option
def save(name: str, run: str, ranges: tuple[str, ...], force: bool, baselines: Path) -> None:
    """Save RUN as the baseline NAME.

    RUN is named as a side of 'nsightkit compare': a capture, a run, a folder or a quoted pattern of process runs, or
    results of benchmarks.

    \b
    nsightkit baseline save main runs/main --range decode
    nsightkit baseline save main 'runs/main-*' --force
    """
    from nsightkit.baseline import Baseline, baseline_path, now_utc, save_baseline

    baseline_path(baselines, name)
    kept = _timings(run, ranges, baselines) or _runs(run, ranges, baselines)
    path = save_baseline(baselines, Baseline(name, created_utc=now_utc(), source=run), kept, force)
    click.echo(path)


def _timings(argument: str, ranges: tuple[str, ...], baselines: Path) -> Timings | None:
    from nsightkit.analysis.compare.stored_timings import stored_timings
    from nsightkit.baseline import Timings
    from nsightkit.cli.timed_sides import timed_side
    from nsightkit.cli.timings import refuse_ranges

    side = timed_side(argument, baselines)
    if side is None:
        return None
    refuse_ranges(ranges)
    return Timings(stored_timings(side.results.timings))


def _runs(argument: str, ranges: tuple[str, ...], baselines: Path) -> list[StoredRun]:
    from nsightkit.baseline import StoredRun
    from nsightkit.cli.side_places import with_own_places
    from nsightkit.cli.sides import load_side

    side = load_side(argument, baselines, ranges)
    _refuse_bad(side)
    return [StoredRun(loaded.dataset.info, _tables(loaded)) for loaded in with_own_places(side).runs]


def _refuse_bad(side: LoadedSide) -> None:
    """A baseline without times would make every later run incomparable."""
    from nsightkit.errors import AnalysisError

    facts = side.facts
    trouble = [*facts.problems, *(f"its runs differ in {name}" for name in facts.contradictions)]
    if not facts.launch_count:
        trouble.append("no kernel launch")
    elif facts.untimed_count == facts.launch_count:
        trouble.append("no launch has a duration")
    if trouble:
        raise AnalysisError(f"{side.name} cannot be a baseline: {'; '.join(trouble)}", slug="bad-baseline")


def _tables(loaded: LoadedRun) -> dict[str, TableData]:
    from nsightkit.analysis.compare.run_sums import stored_tables

    tables: dict[str, TableData] = dict(stored_tables(loaded.sums, loaded.ranges))
    gpus = loaded.dataset.rows("gpus") if loaded.dataset.has("gpus") else []
    if gpus:
        tables["gpus"] = {key: [row[key] for row in gpus] for key in gpus[0] if key != "capture_id"}
    return tables


@command.command("list")
@baselines_option
@format_option
def list_(baselines: Path, format_: str) -> None:
    """List the stored baselines."""
    from nsightkit.baseline import list_baselines

    rows = [_row(baseline, baselines) for baseline in list_baselines(baselines)]
    emit(LIST_FIELDS, rows, format_, caption="" if rows else f"no baselines in {baselines}/")


def _row(baseline: Baseline, folder: Path) -> Row:
    from nsightkit.baseline import read_timings, run_paths
    from nsightkit.cli.sides import load_side

    about = {
        "name": baseline.name,
        "created_utc": baseline.created_utc,
        "accepted_count": len(baseline.accepted),
        "source": baseline.source,
    }
    kept = read_timings(folder / baseline.name)
    if kept is not None:
        return {**about, **_timed_row(kept)}
    side = load_side(str(folder / baseline.name), folder)
    runs = [loaded.sums for loaded in side.runs]
    return {
        **about,
        "run_count": len(run_paths(folder / baseline.name)),
        "gpu_name": side.facts.facts.get("gpu"),
        "launch_count": sum(sums.launch_count for sums in runs) / len(runs),
        "total_ns": sum(sums.total_ns for sums in runs) / len(runs),
        "tokens": side.facts.tokens,
    }


def _timed_row(kept: Sequence[Mapping[str, Any]]) -> Row:
    """Return what a baseline of timings holds; `run_count` is the fewest process runs of a setting."""
    from collections import Counter

    settings = Counter(
        (item.get("arm"), item.get("batch"), item.get("prompt"), item.get("new_tokens")) for item in kept
    )
    gpus = {str(item["gpu"]) for item in kept if item.get("gpu")}
    return {
        "run_count": min(settings.values(), default=0),
        "setting_count": len(settings),
        "gpu_name": ", ".join(sorted(gpus)) or None,
    }


@command.command("show")
@click.argument("name", shell_complete=complete_side)
@baselines_option
@format_option
def show(name: str, baselines: Path, format_: str) -> None:
    """Show one baseline and the regressions that were accepted.

    \b
    nsightkit baseline show main
    """
    from nsightkit.baseline import baseline_path, read_baseline

    path = baseline_path(baselines, name)
    baseline = read_baseline(path)
    row = _row(baseline, baselines)
    accepted = [{field.name: getattr(item, field.name) for field in ACCEPTED_FIELDS} for item in baseline.accepted]
    if format_ in ("table", "markdown"):
        emit(LIST_FIELDS, [row], format_)
        if accepted:
            click.echo()
            emit(ACCEPTED_FIELDS, accepted, format_)
    else:
        emit((*LIST_FIELDS, Field("accepted", "accepted")), [{**row, "accepted": accepted}], format_)


@command.command("rm")
@click.argument("name", shell_complete=complete_side)
@baselines_option
def remove(name: str, baselines: Path) -> None:
    """Remove the baseline NAME.

    \b
    nsightkit baseline rm main
    """
    from nsightkit.baseline import remove_baseline

    remove_baseline(baselines, name)
    click.echo(f"removed {name}")
