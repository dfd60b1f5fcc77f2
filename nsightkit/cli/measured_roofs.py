"""Roofs that were measured on a machine: found beside a run, or measured there once for a run on the CPU.

In: runs, or a job of torch.profiler that met no GPU. Out: `Roofs` for the analysis, and RUN/ceilings.json with their
provenance. What was measured on a quiet machine is kept for later runs on it, a week long.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nsightkit.cli.output import note
from nsightkit.errors import NsightkitError
from nsightkit.run import CEILINGS_NAME, RunInfo, is_run

if TYPE_CHECKING:
    from nsightkit.analysis.work.analytic import Roofs
    from nsightkit.capture.ceilings import Ceilings
    from nsightkit.cli.jobs import Job

_KEPT = timedelta(days=7)
_REPEATS, _BUDGET_S, _TIMEOUT_S = 3, 5.0, 60.0
# Below this ratio of slowest to fastest repeat the machine was busy: such rates are not kept for later runs.
_QUIET = 0.7


def kept_ceilings(paths: Sequence[Path]) -> Path | None:
    """Return the measured roofs that lie in the one run that is asked about."""
    found = [path / CEILINGS_NAME for path in paths if is_run(path)]
    return found[0] if len(found) == len(paths) == 1 and found[0].is_file() else None


def read_roofs(path: Path | None) -> Roofs | None:
    """Return the roofs in `path`, None without a path.

    Raises:
        IngestError: there are no ceilings in it.
    """
    if path is None:
        return None
    from nsightkit.analysis.roofs.measured import roofs_from
    from nsightkit.capture.ceilings import read_ceilings

    ceilings = read_ceilings(path)
    return roofs_from(ceilings.flop_per_s, ceilings.bytes_per_s, ceilings.source, ceilings.device)


def kept_roofs(paths: Sequence[Path]) -> Roofs | None:
    """Return the roofs that lie in the one run that is asked about."""
    return read_roofs(kept_ceilings(paths))


def supply_roofs(job: Job, info: RunInfo) -> None:
    """See that a run on the CPU has the roofs of its machine; without them its report stands all the same."""
    target = job.run.path / CEILINGS_NAME
    traced = next((capture for capture in info.captures if capture.backend == "torch"), None)
    if traced is None or traced.row_counts.get("kernel_launches") or target.is_file() or not job.wishes.ceilings:
        return
    threads = traced.settings.get("threads") or 0
    try:
        found = _remembered(threads, traced.tool_version) or _measured(job, threads)
    except NsightkitError as error:
        note(f"{error}\nthe report has no roofline of this CPU")
        return
    if found is not None:
        from nsightkit.capture.ceilings import write_ceilings

        write_ceilings(target, found)


def _measured(job: Job, threads: int) -> Ceilings | None:
    if job.rank is not None:
        note("ranks of a job share the machine: its roofs are not measured now; 'nsightkit ceilings -o "
             f"{job.run.path}/{CEILINGS_NAME}' does it afterwards")  # fmt: skip
        return None
    from nsightkit.capture.ceilings import CeilingsRequest, measure_ceilings

    note(f"measuring what this CPU reaches with {threads or 'its'} threads, for the roofline: about {_BUDGET_S:g} s "
         "(--no-ceilings leaves this out)")  # fmt: skip
    request = CeilingsRequest("cpu", threads, repeats=_REPEATS, budget_s=_BUDGET_S)
    found = measure_ceilings(request, _TIMEOUT_S, job.workload.program)
    if all(found.spread.get(name, 0.0) >= _QUIET for name in ("fp32", "memory")):
        _remember(found)
    else:
        note("the machine was busy while its roofs were measured: they are not kept for later runs")
    return found


def _cache_path(threads: int, torch_version: str | None) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    words = f"{platform.node()}-{threads}-threads-torch-{torch_version}"
    return base / "nsightkit" / f"ceilings-{re.sub(r'[^A-Za-z0-9.+-]+', '-', words)}.json"


def _remembered(threads: int, torch_version: str | None) -> Ceilings | None:
    from nsightkit.capture.ceilings import read_ceilings

    path = _cache_path(threads, torch_version)
    with suppress(NsightkitError, ValueError):
        found = read_ceilings(path) if path.is_file() else None
        if found and datetime.now(UTC) - datetime.fromisoformat(found.created_utc) < _KEPT:
            note(f"roofs of this CPU as measured at {found.created_utc} ({path}; remove it to measure again)")
            return found
    return None


def _remember(found: Ceilings) -> None:
    from nsightkit.capture.ceilings import write_ceilings

    # Where the folder cannot be written, the next run measures again.
    with suppress(OSError, NsightkitError):
        path = _cache_path(found.threads, found.torch_version)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ceilings(path, found)
