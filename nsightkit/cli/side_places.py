"""NVTX paths and places of kernels, read only where names alone do not match the two sides.

In: two loaded sides. Out: the same sides, their first runs with the places of each kernel where both captures have
ranges in common.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nsightkit.analysis.kernel_names import describe_kernel
from nsightkit.cli.side_facts import LoadedRun
from nsightkit.cli.sides import LoadedSide

if TYPE_CHECKING:
    from nsightkit.analysis.compare.kernel_places import Places


def placed(base: LoadedSide, head: LoadedSide) -> tuple[LoadedSide, LoadedSide]:
    """Return both sides with places, or as they are where they would decide nothing."""
    if not (_normal_names(base) - _normal_names(head) and _normal_names(head) - _normal_names(base)):
        return base, head
    old, new = _places(base.runs[0]), _places(head.runs[0])
    shared = {path for one in old.values() for path in one.paths} & {path for one in new.values() for path in one.paths}
    # Ranges that were renamed on one side say nothing of its kernels.
    return (_with(base, old), _with(head, new)) if shared else (base, head)


def with_own_places(side: LoadedSide) -> LoadedSide:
    """Return the side with places, for a baseline: what it is later compared with is not known yet."""
    places = _places(side.runs[0])
    return _with(side, places) if places else side


def _normal_names(side: LoadedSide) -> set[str]:
    return {describe_kernel(name).normal for run in side.runs for name in run.sums.kernels}


def _places(run: LoadedRun) -> dict[str, Places]:
    from nsightkit.analysis.compare.kernel_places import Places, kernel_places

    if run.path is None:
        # A stored baseline holds them already; counters say in which ranges a kernel ran, and not at which place.
        return {
            name: Places(set(kernel.paths), dict(kernel.ordinals))
            for name, kernel in run.sums.kernels.items()
            if kernel.paths
        }
    from nsightkit.analysis.work.operations import by_capture
    from nsightkit.cli.attributed import WANTED
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset([run.path], WANTED)
    if not dataset.has("nvtx_ranges") or not dataset.arrow("nvtx_ranges").num_rows:
        return {}
    mine = {capture.capture_id for capture in run.dataset.info.captures if capture.backend == run.backend}
    tables = by_capture({name: dataset.arrow(name) for name in WANTED})
    return kernel_places(capture for capture in tables if capture.capture_id in mine)


def _with(side: LoadedSide, places: dict[str, Places]) -> LoadedSide:
    from nsightkit.analysis.compare.kernel_places import with_places

    first = side.runs[0]
    ranges = {name: with_places(sums, places) for name, sums in first.ranges.items()}
    return replace(side, runs=(replace(first, sums=with_places(first.sums, places), ranges=ranges), *side.runs[1:]))
