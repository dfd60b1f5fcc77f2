"""Where in the program each kernel of a timeline is launched: its NVTX paths, and its place within a range.

In: the tables of captures. Out: `Places` per kernel name. Two names are likelier the same work where they stand in the
same range at the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nsightkit.analysis.arrays import Ints
from nsightkit.analysis.compare.run_sums import RunSums
from nsightkit.analysis.ranges.nvtx_projection import Attribution, attribute
from nsightkit.analysis.work.operations import CaptureTables

# A range with thousands of kernels and a counted name a step would make sets that say nothing and take long.
_MOST_PLACES = 512


@dataclass
class Places:
    """Of one kernel: paths from the outermost range, and launches per "innermost range#ordinal within it"."""

    paths: set[str] = field(default_factory=set)
    ordinals: dict[str, int] = field(default_factory=dict)


def kernel_places(captures: Iterable[CaptureTables]) -> dict[str, Places]:
    """Return the places of every kernel that was launched within a push/pop range."""
    found: dict[str, Places] = {}
    for tables in captures:
        _add(found, attribute(tables))
    return found


def _add(found: dict[str, Places], attribution: Attribution) -> None:
    work = attribution.operations
    rows = np.flatnonzero(work.is_kernel & (attribution.node >= 0) & (work.name_code >= 0))
    node, name = attribution.node[rows].astype(np.int64), work.name_code[rows].astype(np.int64)
    ordinal = _ordinals(node, attribution.calls.start_ns[work.call[rows]])
    labels = attribution.spans.names.to_pylist()
    texts: dict[int, str] = {}
    for code, at in np.unique(np.stack([name, node]), axis=1).T.tolist():
        path = texts.get(at) or texts.setdefault(at, _path(attribution, at, labels))
        places = found.setdefault(work.names[code], Places())
        if len(places.paths) < _MOST_PLACES:
            places.paths.add(path)
    inner = attribution.node_name[node].astype(np.int64)
    keys, times = np.unique(np.stack([name, inner, ordinal]), axis=1, return_counts=True)
    for (code, label, place), count in zip(keys.T.tolist(), times.tolist(), strict=True):
        ordinals = found[work.names[code]].ordinals
        if len(ordinals) < _MOST_PLACES:
            ordinals[f"{labels[label]}#{place}"] = ordinals.get(f"{labels[label]}#{place}", 0) + count


def _ordinals(node: Ints, start_ns: Ints) -> Ints:
    """Return which launch of its range instance each is, from 0."""
    order = np.lexsort((start_ns, node))
    ordered = node[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if ordered.size else np.empty(0, np.int64)
    counted = np.arange(ordered.size) - np.repeat(first, np.diff(np.r_[first, ordered.size]))
    ordinal = np.empty(ordered.size, np.int64)
    ordinal[order] = counted
    return ordinal


def _path(attribution: Attribution, node: int, labels: list[str]) -> str:
    names: list[str] = []
    while node >= 0:
        names.append(labels[int(attribution.node_name[node])])
        node = int(attribution.nodes.parent[node])
    return "/".join(reversed(names))


def with_places(sums: RunSums, places: Mapping[str, Places]) -> RunSums:
    """Return the sums with the places of their kernels; what is known already stays."""
    kernels = {
        name: replace(kernel, paths=frozenset(places[name].paths), ordinals=places[name].ordinals)
        if name in places and not kernel.paths
        else kernel
        for name, kernel in sums.kernels.items()
    }
    return replace(sums, kernels=kernels)
