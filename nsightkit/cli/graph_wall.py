"""Takes the wall time of a program with CUDA graphs from a capture of its own.

In: a job of nsys and its run, of which graphs were traced node by node. Out: the run with the wall time of a second
capture, which traces each graph as a whole. Node by node gives the kernels, but slows the launches of graphs down. The
second capture is kept as a file and not read into tables: its work would be counted twice.

Source: docs/method.md, "Capturing", CUDA graphs.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from nsightkit.capture.steps import run_step
from nsightkit.cli.output import note
from nsightkit.cli.overhead import timed_repetitions
from nsightkit.errors import CaptureError
from nsightkit.ingest.dataset import tables_of
from nsightkit.report import format as fmt
from nsightkit.run import Capture, Run, RunInfo

if TYPE_CHECKING:
    from nsightkit.capture import Captured
    from nsightkit.cli.jobs import Job

OPTION = "--cuda-graph-trace"
_SUFFIX = "-graphs"


def with_graph_wall(job: Job, info: RunInfo, captured: Captured) -> RunInfo:
    """Return `info` with the wall time in graph mode, where its first capture holds kernels of graphs."""
    told = any(word.partition("=")[0] == OPTION for word in job.wishes.extra_nsys)
    first = info.captures[0]
    if job.tool != "nsys" or told or job.wishes.window or not _has_nodes(job.run, first):
        return info
    note("again with CUDA graphs traced as a whole, for the wall time (tracing node by node slows their launches)")
    try:
        again = run_step(job.again(_SUFFIX, (f"{OPTION}=graph",)), note, job.wishes.resume)
    except CaptureError as error:
        note(f"no wall time of graphs as a whole: {error}")
        return info
    node, graph = _seconds(job, captured, ""), _seconds(job, again, _SUFFIX)
    if node is None or graph is None:
        return info
    text = (
        f"wall time {fmt.duration(graph * 1e9)} with CUDA graphs traced as a whole ({again.paths[0].name}), "
        f"{fmt.duration(node * 1e9)} node by node: take wall time from the former, the mix of kernels from the latter"
    )
    mode = {"file": again.paths[0].name, "wall_s": graph, "node_wall_s": node}
    changed = replace(first, notes=(*first.notes, text), settings={**first.settings, "graph_mode": mode})
    whole = replace(info, captures=(changed, *info.captures[1:]))
    job.run.write_info(whole)
    return whole


def _has_nodes(run: Run, capture: Capture) -> bool:
    table = tables_of(run, capture, {"kernel_launches": ("graph_node_id",)}).get("kernel_launches")
    return table is not None and table["graph_node_id"].null_count < table.num_rows


def _seconds(job: Job, captured: Captured, suffix: str) -> float | None:
    """Return the time of a repetition as the workload measured it, else that of the process."""
    repetitions = timed_repetitions(job, suffix)
    return median(map(sum, repetitions)) if repetitions else captured.workload_wall_s
