"""``nsightkit advice``: what NVIDIA's rules found in a report, ranked by what it could save of the run.

In: reports of Nsight Compute. Out: one row a rule and kernel.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import notes_of, scope_words, scoped, within_option
from nsightkit.errors import AnalysisError
from nsightkit.report import format as fmt

FIELDS = (
    Field("friendly_name", "kernel"),
    Field("rule", "rule"),
    Field("advice", "advice"),
    Field("speedup_kind", "kind"),
    Field("estimated_share", "of its part", "1"),
    Field("time_share", "of time", "1"),
    Field("run_share", "at stake at most", "1"),
    Field("launch_count", "launches", "count"),
    Field("title", "title", shown=False),
    Field("message", "message", shown=False),
    Field("kernel_name", "kernel_name", shown=False),
    Field("capture_id", "capture_id", shown=False),
)
_MOST = 110


@click.command("advice")
@paths_argument(required=False)
@within_option
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to print; 0 prints all.")
@format_option
def command(paths: tuple[Path, ...], within: str | None, limit: int, format_: str) -> None:
    """List what NVIDIA's own rules advise, the most promising first.

    A GLOBAL estimate is about the whole launch: multiplied by the kernel's share of the profiled time it says what is
    at stake, at most. A LOCAL estimate is about one part of the launch and stands as NVIDIA gives it. No two are added.

    Without PATH the newest run below ./reports is taken.

    \b
    nsightkit advice report.ncu-rep
    """
    from nsightkit.analysis.advice import rank_advice
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(or_newest_run(paths), {"rule_results": None, "kernel_counters": None})
    if not dataset.info.captures:
        finish(dataset)
    rules = dataset.rows("rule_results") if dataset.has("rule_results") else []
    if not rules:
        raise AnalysisError(
            f"{dataset.name}: no results of rules in it; profile with ncu --set full, or with --apply-rules yes",
            slug="no-rules",
        )
    dataset = scoped(dataset, within)
    found = rank_advice(dataset.rows("rule_results"), dataset.rows("kernel_counters"))
    shown = found[:limit] if limit and format_ in ("table", "markdown") else found
    scope = f", {scope_words(within)}" if within else ""
    caption = f"{dataset.name}: advice of NVIDIA's rules{scope}, upper bounds"
    emit(FIELDS, [_row(item) for item in shown], format_, caption)
    for text in notes_of(dataset):
        note(text)
    if len(shown) < len(found):
        note(f"{fmt.count(len(found) - len(shown))} rows not shown; --limit 0 shows all")
    finish(dataset)


def _row(item: Any) -> dict[str, Any]:
    from nsightkit.analysis.kernel_names import describe_kernel

    row = asdict(item)
    text = row["title"] or row["message"]
    row["advice"] = text if len(text) <= _MOST else text[: _MOST - 1] + "…"
    row["friendly_name"] = describe_kernel(row["kernel_name"]).friendly
    return row
