"""What ``--in RANGE`` means, the same for every command: the option, and a dataset cut to ranges of one name.

In: a dataset and the name of a range. Out: `ScopedDataset`: GPU work that the range launched; calls, ranges and
operators inside it on its thread; launches that Nsight Compute profiled inside it. Scope and what share of the GPU's
time it is travel with it. What a capture cannot be cut by is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click

from nsightkit.cli.attributed import WANTED
from nsightkit.errors import AnalysisError
from nsightkit.ingest.dataset import Dataset
from nsightkit.report import format as fmt
from nsightkit.tables import GPU_WORK

if TYPE_CHECKING:
    import pyarrow as pa

    from nsightkit.analysis.work.operations import CaptureTables

_OPERATORS = ("operator_name", "start_ns", "duration_ns", "self_ns", "process_id", "thread_id")
# By launch of Nsight Compute.
_COUNTED = ("kernel_counters", "rule_results", "metric_values")
# Of the whole capture or run, and not to be cut.
_WHOLE_ONLY = ("reported_sums", "results", "device_memory")


def within_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--in``."""
    return click.option(
        "--in", "within", metavar="RANGE",
        help="Only what ranges (NVTX, annotations) of this name launched or hold; * and ? stand for text.",
    )(function)  # fmt: skip


def scope_words(within: str | None) -> str:
    """Return the scope for a caption."""
    return f"inside {within}" if within else "whole capture"


def several(within: str, forms: Sequence[str]) -> list[str]:
    """Return what to say where a pattern means ranges of several names, which may be more than was thought of."""
    found = list(dict.fromkeys(forms))
    listed = ", ".join(f"'{form}'" for form in found[:5]) + (" …" if len(found) > 5 else "")
    return [f"'{within}' matches ranges of {len(found)} names: {listed}"] if len(found) > 1 else []


def no_work(within: str) -> str:
    """Return what to say of ranges that are there, but launched nothing."""
    return f"ranges named '{within}' launched no GPU work"


@dataclass
class ScopedDataset(Dataset):
    """A dataset cut to ranges of one name; `around` is what it was cut from, `told` what must be said beside it."""

    cut: dict[str, pa.Table] = field(default_factory=dict)
    within: str = ""
    around: Dataset | None = None
    told: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)  # names of start/end ranges

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""
        return table in self.cut or (table not in _WHOLE_ONLY and self._rest.has(table))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a small table as dictionaries."""
        return list(self.cut[table].to_pylist()) if table in self.cut else self._rest.rows(table)

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a table as Arrow."""
        if table not in self.cut:
            return self._rest.arrow(table, columns)
        return self.cut[table] if columns is None else self.cut[table].select(list(columns))

    def counts(self, capture_id: str) -> dict[str, int]:
        """Return table -> number of rows of one capture inside the range."""
        whole = self._rest.counts(capture_id)
        cut = {name: _of_capture(rows, capture_id).num_rows for name, rows in self.cut.items() if name in whole}
        return {name: cut.get(name, count) for name, count in whole.items() if name not in _WHOLE_ONLY}

    @property
    def _rest(self) -> Dataset:
        return self.around if self.around is not None else Dataset(self.name, self.info)


def scoped(dataset: Dataset, within: str | None) -> Dataset:
    """Return what of `dataset` belongs to the ranges that `within` means; all of it where that is None.

    Raises:
        AnalysisError: there are no such ranges, or the captures do not say in which range their numbers lie.
    """
    if within is None or not dataset.info.captures:
        return dataset
    found = ScopedDataset(dataset.name, dataset.info, dataset.runs, failures=dataset.failures, wanted=dataset.wanted,
                          within=within, around=dataset)  # fmt: skip
    known = [*_cut_timelines(dataset, found), *_cut_counters(dataset, found)]
    if not any(hit for hit, _ in known):
        from nsightkit.analysis.ranges.range_summary import no_such_range

        names = [name for _, names in known for name in names]
        raise no_such_range(within, names, found.apart) if known else _cannot(dataset)
    captures = tuple(replace(c, scope=f"inside {within}; {c.scope}") for c in dataset.info.captures)
    found.info = replace(dataset.info, captures=captures)
    return found


def notes_of(dataset: Dataset) -> list[str]:
    """Return what must be said of a dataset that may be scoped."""
    return dataset.told if isinstance(dataset, ScopedDataset) else []


def within_of(dataset: Dataset) -> str | None:
    """Return the name of the range that a dataset is cut to, if it is."""
    return dataset.within if isinstance(dataset, ScopedDataset) else None


def whole_of(dataset: Dataset) -> Dataset:
    """Return what a dataset was cut from, itself where it was not."""
    return dataset.around or dataset if isinstance(dataset, ScopedDataset) else dataset


def wanted_inside() -> dict[str, tuple[str, ...] | None]:
    """Return the tables and columns that cutting kernels, calls, copies, ranges and operators takes."""
    counters = dict.fromkeys(_COUNTED[:1])
    return {**WANTED, "cpu_operators": _OPERATORS, **counters}


def _cannot(dataset: Dataset) -> AnalysisError:
    return AnalysisError(
        f"{dataset.name}: its numbers cannot be told apart by range: --in needs a timeline with NVTX ranges or "
        "annotations (nsys, torch.profiler), or a report of ncu that was made with --nvtx",
        slug="no-such-range",
    )


def _cut_timelines(dataset: Dataset, found: ScopedDataset) -> Iterator[tuple[bool, list[str]]]:
    """Cut captures with a timeline; yield whether each has such ranges, and its names."""
    from nsightkit.analysis.ranges.nvtx_projection import attribute
    from nsightkit.analysis.ranges.range_names import meant
    from nsightkit.analysis.ranges.range_scope import rows_inside, tables_inside
    from nsightkit.analysis.ranges.range_summary import names_in_use
    from nsightkit.analysis.work.operations import by_capture

    if not any(dataset.has(name) for name in (*GPU_WORK, "cpu_operators")):
        return
    parts: dict[str, list[pa.Table]] = {}
    whole_ns = inside_ns = 0
    forms: list[str] = []
    operators = dataset.arrow("cpu_operators") if dataset.has("cpu_operators") else None
    for tables in by_capture({name: dataset.arrow(name) for name in WANTED if dataset.has(name)}):
        attribution = attribute(tables)
        part = tables_inside(tables, attribution, found.within)
        _keep(parts, dataset, part)
        if operators is not None:
            mine = _of_capture(operators, tables.capture_id)
            parts.setdefault("cpu_operators", []).append(rows_inside(mine, attribution, found.within))
        whole_ns, inside_ns = whole_ns + attribution.total_ns, inside_ns + attribute(part).total_ns
        names = names_in_use(attribution.spans)
        found.apart += names_in_use(attribution.apart)
        forms += meant(names, found.within)
        yield bool(forms), names
    found.cut |= {name: _joined(tables) for name, tables in parts.items()}
    if whole_ns:
        share = fmt.share(inside_ns / whole_ns)
        found.told.append(f"launched inside {found.within}: {share} of {fmt.duration(whole_ns)} GPU time")
    found.told += several(found.within, forms)


def _keep(parts: dict[str, list[pa.Table]], dataset: Dataset, part: CaptureTables) -> None:
    for name in WANTED:
        rows = getattr(part, name)
        if rows is not None and dataset.has(name):
            parts.setdefault(name, []).append(rows)


def _cut_counters(dataset: Dataset, found: ScopedDataset) -> Iterator[tuple[bool, list[str]]]:
    """Cut the launches of Nsight Compute, and what is known of each; yield as for timelines.

    Raises:
        AnalysisError: no launch says in which range it ran.
    """
    if not dataset.has("kernel_counters"):
        return
    rows = dataset.arrow("kernel_counters")
    paths = [_ranges_of(path) for path in rows["nvtx_path"].to_pylist()]
    if not any(paths) and not found.cut:
        raise AnalysisError(
            f"{dataset.name}: --in {found.within}: the report of Nsight Compute does not say in which range a launch "
            "ran; profile with ncu --nvtx",
            slug="no-such-range",
        )
    from nsightkit.analysis.ranges.range_names import means

    chosen = [any(means(name, found.within) for name in path) for path in paths]
    places = {
        (capture, launch)
        for capture, launch, inside in zip(
            rows["capture_id"].to_pylist(), rows["launch_index"].to_pylist(), chosen, strict=True
        )
        if inside
    }
    found.cut |= {name: _of_launches(dataset.arrow(name), places) for name in _COUNTED if dataset.has(name)}
    if rows.num_rows:
        unknown = "" if any(paths) else "; the report of Nsight Compute does not say in which range a launch ran"
        found.told.append(f"profiled inside {found.within}: {len(places)} of {rows.num_rows} launches{unknown}")
    yield any(chosen), list(dict.fromkeys(name for path in paths for name in path))


def _ranges_of(path: str | None) -> list[str]:
    """Return the ranges of a path, without their domains."""
    return [name.rpartition("@")[2] for name in path.split("/")] if path else []


def _of_launches(rows: pa.Table, places: set[tuple[Any, Any]]) -> pa.Table:
    import pyarrow as pa

    keys = zip(rows["capture_id"].to_pylist(), rows["launch_index"].to_pylist(), strict=True)
    return rows.filter(pa.array([key in places for key in keys], pa.bool_()))


def _of_capture(rows: pa.Table, capture_id: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.equal(rows["capture_id"], capture_id))


def _joined(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts).unify_dictionaries() if len(parts) > 1 else parts[0]
