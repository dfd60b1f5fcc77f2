"""``nsightkit study``: a whole study by one command, or the same report from somebody else's results.

In: the name of a study and a size. Out: the runs of its parts, which a second call takes up again, and the report.
"""

import shlex
import tomllib
from pathlib import Path
from typing import Any

import click

from nsightkit.analysis.foreign_results import Results, parse_results
from nsightkit.analysis.studies.operators import phase_profiles
from nsightkit.capture import find_workload
from nsightkit.cli.inputs import REPORTS
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.cli.sweeping import Cell, Sweep, SweepPlan, results_of, run_sweep
from nsightkit.errors import AnalysisError
from nsightkit.report import format as fmt
from nsightkit.report.studies import STUDIES
from nsightkit.report.studies.parts import StudyInput
from nsightkit.resources import resource_dir


@click.command("study")
@click.argument("name", type=click.Choice(tuple(STUDIES)))
@click.option(
    "--size",
    type=click.Choice(("small", "document")),
    default="small",
    show_default=True,
    help="small: minutes on any CPU. document: the sizes of the original, for a GPU.",
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Run nothing: report on these results files (JSON) or folders of them; may be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the study. Default: ./reports/study-<name>-<size>.",
)
def command(name: str, size: str, sources: tuple[Path, ...], output: Path | None) -> None:
    """Run the study NAME: its workloads over their settings, then the report with every table and figure.

    Cut off, it goes on where it stopped when the same command is given again.

    \b
    nsightkit study kv-decode                       at a small size, on this machine
    nsightkit study kv-variants --from results/     the same report from results that are there already
    """
    declared = declared_study(name)
    folder = output or REPORTS / f"study-{name}-{'foreign' if sources else size}"
    study = _foreign(name, declared, sources) if sources else _measured(name, declared, size, folder)
    from nsightkit.report.studies.writing import write_study

    written = write_study(folder / "report", study)
    for text in study.failed:
        note(f"failed: {text}")
    click.echo(f"report: {written[0]}")
    click.echo(f"assets: {len(written)}, listed in {folder / 'report' / 'manifest.json'}")


def declared_study(name: str) -> dict[str, Any]:
    """Return the declaration of the study called `name`."""
    return tomllib.loads((resource_dir("workloads") / "studies" / f"{name}.toml").read_text(encoding="utf-8"))


def _foreign(name: str, declared: dict[str, Any], sources: tuple[Path, ...]) -> StudyInput:
    from nsightkit.ingest.foreign_results import load_results

    results = parse_results(load_results(sources))
    if not (results.timings or results.quality or results.counted):
        raise AnalysisError(f"{sources[0]}: holds no results of a known kind", slug="no-results")
    notes: tuple[str, ...] = (
        "Only what the files record is judged; what their authors wrote about them is not in them.",
    )
    if results.passed_over:
        notes += (f"Objects of no known kind, passed over: {fmt.count(results.passed_over)}.",)
    return StudyInput(name, declared["title"], declared["question"], "foreign", {"foreign": results}, notes=notes)


def _measured(name: str, declared: dict[str, Any], size: str, folder: Path) -> StudyInput:
    parts: dict[str, Results] = {}
    commands, failed = [], []
    traced: dict[str, Any] = {}
    for part in declared["part"]:
        sweep = sweep_of(part, size, folder)
        with progress_bar(f"{name} {part['id']}") as progress:
            cells = run_sweep(sweep, progress)
        commands.append(_command(sweep))
        failed += [f"{part['id']}, {cell.name}: {cell.message}" for cell in cells if cell.status == "failed"]
        done = [(cell.name, data) for cell in cells if (data := results_of(sweep, cell)) is not None]
        if sweep.plan.tool == "none":
            parts[part["id"]] = parse_results(done)
        elif done:
            traced = _traced(sweep, cells[0], done[0][1])
    return StudyInput(
        name, declared["title"], declared["question"], size, parts, tuple(commands), tuple(failed), **traced
    )


def sweep_of(part: dict[str, Any], size: str, folder: Path) -> Sweep:
    """Return the sweep of one declared part at `size`."""
    chosen = part[size]
    axes = tuple((axis, tuple(str(value) for value in values)) for axis, values in chosen["axes"].items())
    found = find_workload(part["workload"])
    plan = SweepPlan(found.name, axes, tuple(shlex.split(chosen["args"])), part.get("tool", "none"))
    return Sweep(plan, found, folder / part["id"])


def _command(sweep: Sweep) -> str:
    axes = " ".join(f"--axis {axis}={','.join(values)}" for axis, values in sweep.plan.axes)
    tool = "" if sweep.plan.tool == "none" else f" --tool {sweep.plan.tool}"
    return f"nsightkit sweep {sweep.plan.workload} {axes}{tool} -- {shlex.join(sweep.plan.args)}"


def _traced(sweep: Sweep, cell: Cell, data: dict[str, Any]) -> dict[str, Any]:
    """Return what the study takes from a traced run: operator calls, phases, and what was traced."""
    operators = _rows(sweep, cell, "cpu_operators", ["operator_name", "start_ns", "self_ns", "thread_id"])
    ranges = _rows(sweep, cell, "nvtx_ranges", ["name", "start_ns", "duration_ns", "thread_id"])
    names = [row["operator_name"] for row in operators]
    settings = data["settings"]
    runs = settings["bench_iters"] + settings["warmup_iters"]
    heads = runs * (settings["max_new_tokens"] + 1)
    counted = {
        "attention": names.count("aten::scaled_dot_product_attention") // runs,
        "linear": (names.count("aten::linear") - heads) // runs,
    }
    return {
        "counted": counted if names else {},
        "settings": {"traced_layers": settings["layers"], "traced_tokens": settings["max_new_tokens"]},
        "phases": tuple(phase_profiles(operators, ranges, ("prefill", "decode"))),
        "traced_on": data["machine"]["device_name"],
    }


def _rows(sweep: Sweep, cell: Cell, table: str, columns: list[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    paths = sorted((sweep.path(cell) / "run" / "tables" / table).glob("*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read(columns=columns).to_pylist()]
