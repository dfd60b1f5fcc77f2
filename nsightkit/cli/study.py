"""``nsightkit study``: a whole study by one command, or the same report from somebody else's results.

In: the name of a study and a size. Out: the runs of its parts, which a second call takes up again, and the report.
"""

from __future__ import annotations

import shlex
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsightkit.analysis.foreign_results import Results, parse_results
from nsightkit.capture import find_workload
from nsightkit.cli.inputs import INPUT, REPORTS
from nsightkit.cli.output import note
from nsightkit.cli.progress import progress_bar
from nsightkit.cli.sweeping import Cell, Sweep, SweepPlan, results_of, run_sweep
from nsightkit.errors import AnalysisError, CaptureError, NsightkitError
from nsightkit.report import format as fmt
from nsightkit.report.studies import STUDIES
from nsightkit.report.studies.parts import StudyInput
from nsightkit.resources import resource_dir

if TYPE_CHECKING:
    from nsightkit.report.studies.traces import Trace


_TOOLS = ("auto", "none", "torch", "nsys", "ncu", "nsys+ncu")


@click.command("study")
@click.argument("name", type=click.Choice(tuple(STUDIES)), metavar="NAME")
@click.option(
    "--size",
    type=click.Choice(("small", "document")),
    default="small",
    show_default=True,
    help="small: minutes on any CPU. document: the sizes of the original, for a GPU.",
)
@click.option(
    "--tool",
    type=click.Choice(_TOOLS),
    default="auto",
    show_default=True,
    help="Profiler of the parts that are profiled. auto: nsys+ncu where both and a GPU are there, else torch. none "
    "leaves these parts out.",
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=INPUT,
    metavar="PATH",
    help="Run nothing: report on these results files (JSON), captures, runs, or folders of them; may be repeated.",
)
@click.option(
    "--gpu", metavar="KEY", help="Data sheet of this GPU (as rtx-5090) where a capture does not name its own."
)
@click.option("--retry-failed", is_flag=True, help="Run cells again that failed in an earlier call.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the study. Default: ./reports/study-<name>-<size>.",
)
def command(
    name: str, size: str, tool: str, sources: tuple[Path, ...], gpu: str | None, retry_failed: bool, output: Path | None
) -> None:
    """Run the study NAME: its workloads over their settings, then the report with every table and figure.

    NAME is kv-decode, batch-size, kv-assignment, kv-variants or kernel-profile.

    Parts that are profiled run under --tool, and their captures are joined into the report. Cut off, a study goes on
    where it stopped when the same command is given again.

    \b
    nsightkit study kv-decode                       at a small size, on this machine
    nsightkit study kv-decode --size document --tool nsys+ncu
    nsightkit study kv-variants --from results/     the same report from results that are there already
    nsightkit study kernel-profile --from decode.csv --from counters/ --gpu rtx-5090
    """
    declared = declared_study(name)
    folder = output or REPORTS / f"study-{name}-{'foreign' if sources else size}"
    if sources:
        study = _foreign(name, declared, sources, gpu)
    else:
        _warn_of_size(size)
        study = _measured(name, declared, _Wish(size, chosen_tool(tool), folder, gpu, retry_failed))
    from nsightkit.report.studies.writing import write_study

    for text in study.failed:
        note(f"failed: {text}")
    if study.failed and not sources:
        note("--retry-failed runs them again")
    if study.failed and not _has_numbers(study):
        raise CaptureError(
            f"{folder}: every run of the study failed, so there is nothing to report; mend the reasons above first",
            slug="study-failed",
        )
    written = write_study(folder / "report", study, declared.get("asset", ()))
    click.echo(f"report: {written[0]}")
    click.echo(f"assets: {len(written)}, listed in {folder / 'report' / 'manifest.json'}")


@dataclass(frozen=True)
class _Wish:
    """How a study is run."""

    size: str
    tool: str
    folder: Path
    gpu: str | None = None
    retry_failed: bool = False


def _warn_of_size(size: str) -> None:
    """Say before hours have passed that the sizes are those of a GPU."""
    from nsightkit.capture.probes import find_gpus

    if size == "document" and not find_gpus():
        note(
            "no GPU was found: the document's sizes are made for one and may take days on a CPU (--size small: minutes)"
        )


def chosen_tool(tool: str) -> str:
    """Return the tool that `tool` means on this machine."""
    if tool != "auto":
        return tool
    from nsightkit.capture.probes import find_gpus

    return "nsys+ncu" if shutil.which("nsys") and shutil.which("ncu") and find_gpus() else "torch"


def declared_study(name: str) -> dict[str, Any]:
    """Return the declaration of the study called `name`."""
    return tomllib.loads((resource_dir("workloads") / "studies" / f"{name}.toml").read_text(encoding="utf-8"))


def _has_numbers(study: StudyInput) -> bool:
    parts = study.parts.values()
    return bool(study.traces) or any(part.timings or part.quality or part.counted for part in parts)


def _foreign(name: str, declared: dict[str, Any], sources: tuple[Path, ...], gpu: str | None) -> StudyInput:
    from nsightkit.cli.study_traces import foreign_traces, is_capture
    from nsightkit.ingest.foreign_results import load_results

    captures = [path for path in sources if path.exists() and is_capture(path)]
    others = [path for path in sources if path not in captures]
    results = parse_results(load_results(others)) if others else Results()
    together = declared.get("captures") == "together"
    traces, failed = foreign_traces(captures, together, gpu) if captures else ([], [])
    if not (results.timings or results.quality or results.counted or traces):
        raise AnalysisError(
            (failed or [f"{sources[0]}: holds no results of a known kind"])[0]
            + "; docs/studies.md lists what --from reads",
            slug="no-results",
        )
    notes: tuple[str, ...] = (
        "Only what the files record is judged; what their authors wrote about them is not in them.",
    )
    if results.passed_over:
        notes += (f"Objects of no known kind, passed over: {fmt.count(results.passed_over)}.",)
    parts = {"foreign": results}
    about = (name, declared["title"], declared["question"], "foreign")
    return StudyInput(*about, parts, failed=tuple(failed), notes=notes, traces=tuple(traces))


def _measured(name: str, declared: dict[str, Any], wish: _Wish) -> StudyInput:
    parts: dict[str, Results] = {}
    commands, failed = [], []
    traces: list[Trace] = []
    for part, tool in _jobs(declared["part"], wish.tool):
        sweep = sweep_of(part, wish.size, wish.folder, tool)
        with progress_bar(f"{name} {part['id']}") as progress:
            cells = run_sweep(sweep, progress, wish.retry_failed)
        commands.append(_command(sweep))
        failed += [f"{part['id']}, {cell.name}: {cell.message}" for cell in cells if cell.status == "failed"]
        if sweep.plan.tool == "none":
            done = [(cell.name, data) for cell in cells if (data := results_of(sweep, cell)) is not None]
            parts[part["id"]] = parse_results(done)
        else:
            found, unread = _traces(part["id"], sweep, cells, wish.gpu)
            traces += found
            failed += unread
    about = (name, declared["title"], declared["question"], wish.size)
    return StudyInput(*about, parts, tuple(commands), tuple(failed), traces=tuple(traces))


def _jobs(parts: Sequence[dict[str, Any]], tool: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each part with its tool; one that is profiled may name a tool that comes first."""
    for part in parts:
        if "tool" not in part:
            yield part, "none"
        elif tool != "none":
            yield from ((part, one) for one in dict.fromkeys((part.get("first", tool), tool)))


def sweep_of(part: dict[str, Any], size: str, folder: Path, tool: str = "torch") -> Sweep:
    """Return the sweep of one declared part at `size`; a part that is profiled runs under `tool`."""
    chosen = part[size]
    axes = tuple((axis, tuple(str(value) for value in values)) for axis, values in chosen["axes"].items())
    found = find_workload(part["workload"])
    used = tool if "tool" in part else "none"
    words = tuple(shlex.split(part.get("tool_args", {}).get(used, "")))
    plan = SweepPlan(found.name, axes, tuple(shlex.split(chosen["args"])), used, tool_args=words)
    suffix = "" if used in ("none", part.get("tool")) else f"-{used.replace('+', '-')}"
    return Sweep(plan, found, folder / f"{part['id']}{suffix}")


def _command(sweep: Sweep) -> str:
    axes = " ".join(f"--axis {axis}={','.join(values)}" for axis, values in sweep.plan.axes)
    tool = "" if sweep.plan.tool == "none" else f" --tool {sweep.plan.tool}"
    tool += f" --tool-args {shlex.quote(shlex.join(sweep.plan.tool_args))}" if sweep.plan.tool_args else ""
    return f"nsightkit sweep {sweep.plan.workload} {axes}{tool} -- {shlex.join(sweep.plan.args)}"


def _traces(part: str, sweep: Sweep, cells: Sequence[Cell], gpu: str | None) -> tuple[list[Trace], list[str]]:
    """Return the trace of each cell that ended, and what could not be read."""
    from nsightkit.cli.study_traces import Captured, read_trace

    found, failed = [], []
    for cell in cells:
        if cell.status != "done":
            continue
        label = ", ".join(_words(name, value) for name, value in cell.settings)
        try:
            captured = Captured(label, (sweep.path(cell) / "run",), part, results_of(sweep, cell), gpu)
            found.append(read_trace(captured))
        except NsightkitError as error:
            failed.append(f"{part}, {cell.name}: {error}")
    return found, failed


def _words(name: str, value: str) -> str:
    if name == "variant":
        return value
    return f"{'KV cache' if name == 'kv_cache' else name.replace('_', ' ')} {value}"
