"""``nsightkit info``: what a capture or a run holds, before anything is computed from it."""

from pathlib import Path
from typing import Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.cli.scoping import notes_of, scoped, within_option

FIELDS = (
    Field("capture_id", "capture"),
    Field("backend", "tool"),
    Field("tool_version", "version"),
    Field("gpu_name", "GPU"),
    Field("scope", "scope"),
    Field("rows", "rows"),
    Field("source", "file", shown=False),
    Field("notes", "notes", shown=False),
)


@click.command("info")
@paths_argument(required=False)
@within_option
@format_option
def command(paths: tuple[Path, ...], within: str | None, format_: str) -> None:
    """List the captures in PATH: which tool wrote each, on which GPU, what it covers, and how many rows it has.

    Without PATH the newest run below ./reports is taken. Notes on a capture (no kernels, hidden in CUDA graphs, failed
    launches) follow the table.

    \b
    nsightkit info report.ncu-rep
    nsightkit info runs/main --format json
    """
    from nsightkit.ingest.dataset import open_dataset

    dataset = scoped(open_dataset(or_newest_run(paths)), within)
    if not dataset.info.captures:
        finish(dataset)
    rows = [_row(capture, dataset.counts(capture.capture_id), dataset) for capture in dataset.info.captures]
    emit(FIELDS, rows, format_, caption=f"{dataset.name}: {len(rows)} captures" if len(rows) != 1 else dataset.name)
    if format_ in ("table", "markdown"):
        for capture in dataset.info.captures:
            for text in capture.notes:
                note(f"{capture.capture_id}: {text}")
        for text in notes_of(dataset):
            note(text)
    finish(dataset)


def _row(capture: Any, counts: dict[str, int], dataset: Any) -> dict[str, Any]:
    alone = len(dataset.info.captures) == 1
    return {
        "capture_id": capture.capture_id,
        "backend": capture.backend,
        "tool_version": capture.tool_version,
        "gpu_name": dataset.gpu_names().get(capture.capture_id) or (dataset.info.gpu_name if alone else None),
        "scope": capture.scope,
        "rows": {name: count for name, count in counts.items() if count},
        "source": capture.source,
        "notes": list(capture.notes),
    }
