"""``nsightkit whatif``: what the kernels of a run would take with another GPU's bandwidth and peaks.

In: captures with counters or shapes, and the peaks of then. Out: one row a kernel or operator, and the sums; beside
them the timeline replayed with the host as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import notes_of, scope_words, scoped, within_of, within_option
from nsightkit.report import format as fmt

if TYPE_CHECKING:
    from nsightkit.analysis.whatif import Change, WhatIf
    from nsightkit.ingest.dataset import Dataset

FIELDS = (
    Field("name", "kernel or operator"),
    Field("tier", "tier"),
    Field("before_ns", "now", "ns"),
    Field("after_ns", "then", "ns"),
    Field("term_before", "larger term now"),
    Field("term_after", "then"),
    Field("reason", "note"),
    Field("kernel_name", "kernel_name", shown=False),
    Field("shapes", "shapes", shown=False),
)


@click.command("whatif")
@paths_argument(required=False)
@click.option("--gpu", metavar="KEY", help="The GPU to move to; 'nsightkit gpus' lists them.")
@click.option(
    "--set", "settings", multiple=True, metavar="PEAK=RATE",
    help="One peak, as dram_bytes_per_s=3e12 or bf16_flop_per_s=1e15; may be repeated.",
)  # fmt: skip
@within_option
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to print; 0 prints all.")
@format_option
def command(
    paths: tuple[Path, ...], gpu: str | None, settings: tuple[str, ...], within: str | None, limit: int, format_: str
) -> None:
    """Say what the kernels would take with other peaks, at unchanged efficiency.

    The larger of compute time and memory time is computed anew for each kernel; what has no place under a roof, or is
    bound by latency or by a unit outside the roofline, keeps its time. Cache sizes and SM counts cannot be projected
    from counters. NOT VALIDATED: no prediction was compared with a measurement on the other GPU. Without PATH the
    newest run below ./reports is taken.

    \b
    nsightkit whatif report.ncu-rep --gpu h200-sxm
    nsightkit whatif trace.json.gz --set dram_bytes_per_s=3e12
    """
    if (gpu is None) == (not settings):
        raise click.UsageError("name either --gpu KEY or --set PEAK=RATE")
    from nsightkit.analysis.whatif import project
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.rooflines import rows_of

    dataset = open_dataset(or_newest_run(paths))
    if not dataset.info.captures:
        finish(dataset)
    dataset = scoped(dataset, within)
    change = _change(dataset, gpu, settings)
    found = project(rows_of(dataset), change)
    rows = [_row(item) for item in sorted(found.rows, key=lambda item: item.after_ns - item.before_ns)]
    scope = f"{scope_words(within)}; " if within else ""
    caption = f"{dataset.name}: {scope}{change.words}; {found.flags[0]}"
    emit(FIELDS, rows[:limit] if limit and format_ in ("table", "markdown") else rows, format_, caption)
    for text in (*notes_of(dataset), *told(found, dataset)):
        note(text)
    finish(dataset)


def _change(dataset: Dataset, gpu: str | None, settings: Sequence[str]) -> Change:
    from nsightkit.analysis.whatif import change_of_settings, change_to_gpu
    from nsightkit.gpus import find_gpu, gpu_of_key

    if gpu is None:
        return change_of_settings(dict(map(_setting, settings)))
    known = [(row["gpu_name"], row["sm_count"]) for row in (dataset.rows("gpus") if dataset.has("gpus") else ())]
    now = {spec.key: spec for name, count in known if (spec := find_gpu(name, count))}
    return change_to_gpu(next(iter(now.values())) if len(now) == 1 else None, gpu_of_key(gpu))


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError:
        raise click.UsageError(f"--set {text}: write PEAK=RATE, as dram_bytes_per_s=3e12") from None


def _row(item: Any) -> dict[str, Any]:
    own = {name: getattr(item, name) for name in item.__slots__ if name != "row"}
    return own | {name: getattr(item.row, name) for name in ("name", "tier", "kernel_name", "shapes")}


def told(found: WhatIf, dataset: Dataset) -> Iterable[str]:
    """Return the sums, what could not be projected, and the replay of the timeline."""
    speedup = f"{found.speedup:.2f} times as fast" if found.speedup else "no time"
    times = f"{fmt.with_unit(found.before_ns, 'ns')} now, {fmt.with_unit(found.after_ns, 'ns')} then"
    yield f"time of the kernels: {times} ({speedup})"
    if found.unprojected_ns:
        share = found.unprojected_ns / found.before_ns
        yield f"{fmt.share(share)} of the time could not be projected and is taken as it is"
    if found.far_ns:
        yield (
            f"{fmt.share(found.far_ns / found.before_ns)} of the time is projected from rows below 60 % of their roof, "
            "where another limit may rule: they may gain or lose less than that"
        )
    yield from _replays(found, dataset)
    yield from found.flags


def _replays(found: WhatIf, dataset: Dataset) -> Iterable[str]:
    # Between two instances of a range other work runs: their span cannot be replayed.
    if within_of(dataset) or not (dataset.has("kernel_launches") and dataset.has("cuda_api_calls")):
        return
    from nsightkit.analysis.timeline.replay import replay
    from nsightkit.analysis.work.operations import by_capture, read_calls, read_operations
    from nsightkit.cli.attributed import WANTED

    others = found.after_ns / found.before_ns if found.before_ns else 1.0
    # Rows of ncu are kernels; rows from shapes are operators, so their kernels share one factor.
    factors = {
        i.row.kernel_name: i.after_ns / i.before_ns for i in found.rows if i.row.tier == "counters" and i.before_ns
    }
    for tables in by_capture({name: dataset.arrow(name) for name in WANTED}):
        calls = read_calls(tables)
        spans = replay(read_operations(tables, calls), calls, factors, others)
        if spans and spans.speedup:
            yield (
                f"{tables.capture_id}: with the host as it was, the span on the GPU goes from "
                f"{fmt.with_unit(spans.before_ns, 'ns')} to {fmt.with_unit(spans.after_ns, 'ns')} "
                f"({spans.speedup:.2f} times as fast)"
            )
