"""The tables of any number of captures or of a run directory, under one roof.

In: paths as a user types them, and which tables will be asked for. Out: `Dataset`, which gives rows or Arrow tables.
Nothing is written; captures are read straight from their files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit.errors import NsightkitError
from nsightkit.ingest.capture_names import rank_of
from nsightkit.ingest.reader import CaptureData, Wanted, wanted_columns
from nsightkit.ingest.sources import Failure, Source, find_sources
from nsightkit.run import Capture, Run, RunInfo, is_run, rank_runs
from nsightkit.tables import TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa


# A launch takes about 150 bytes with all its columns.
_MOST_KEPT_ROWS = 500_000


@dataclass
class Dataset:
    """Tables by name. `failures` lists inputs that could not be used; the rest stands without them.

    Where `wanted` names columns of a table, only these are read, and its Arrow table has no others.
    """

    name: str
    info: RunInfo
    runs: list[Run] = field(default_factory=list)
    parts: dict[str, CaptureData] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    wanted: Wanted = None
    sources: dict[str, Source] = field(default_factory=dict)
    _arrow: dict[str, pa.Table] = field(default_factory=dict)

    def has(self, table: str) -> bool:
        """Say whether any capture has `table`."""
        return any(run.table_paths(table) for run in self.runs) or any(table in p.tables for p in self.parts.values())

    def holds_rows(self, table: str) -> bool:
        """Say whether `table` has any row; a stored one is not read for that."""
        stored = any(capture.row_counts.get(table) for capture in self.info.captures)
        return stored or (self.has(table) and bool(self.arrow(table).num_rows))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a small table as dictionaries with every declared column; None where it is missing."""
        names = TABLES[table].column_names
        given = {name: part.tables[table] for name, part in self.parts.items() if table in part.tables}
        plain = {name: data for name, data in given.items() if isinstance(data, Mapping)}
        if self.runs or len(plain) < len(given):
            return list(self.arrow(table).to_pylist())
        return [
            dict.fromkeys(names) | {"capture_id": capture_id} | row
            for capture_id, data in plain.items()
            for row in _plain_rows(data)
        ]

    def arrow(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return `table` as Arrow, all captures together; no rows where none has it.

        What was read is kept, but for some columns of a large stored table: to read these again costs less than the
        memory of them all.
        """
        if table not in self._arrow:
            if columns is not None and self._is_large(table):
                import pyarrow as pa

                pa.default_memory_pool().release_unused()
                return self._read(table, columns).select(list(columns))
            self._arrow[table] = self._read(table, wanted_columns(self.wanted, table))
        whole = self._arrow[table]
        return whole if columns is None else whole.select(list(columns))

    def take(self, table: str) -> pa.Table:
        """Return `table` as `arrow` does, once: it is not kept, and a capture's file cannot be read for it again."""
        whole = self.arrow(table)
        del self._arrow[table]
        return whole

    def counts(self, capture_id: str) -> dict[str, int]:
        """Return table -> number of rows of one capture; a stream is read to be counted."""
        stored = next((c.row_counts for c in self.info.captures if c.capture_id == capture_id and c.row_counts), {})
        part = self.parts.get(capture_id)
        return stored if part is None else {name: self._count(name, capture_id) for name in part.tables}

    def _count(self, table: str, capture_id: str) -> int:
        import pyarrow.compute as pc

        return int(pc.sum(pc.equal(self.arrow(table)["capture_id"], capture_id)).as_py() or 0)

    def gpu_names(self) -> dict[str, str]:
        """Return capture -> names of its GPUs, joined by commas where they differ."""
        names: dict[str, list[str]] = {}
        for row in self.rows("gpus") if self.has("gpus") else ():
            if row["gpu_name"] and row["gpu_name"] not in names.setdefault(row["capture_id"], []):
                names[row["capture_id"]].append(row["gpu_name"])
        return {capture: ", ".join(found) for capture, found in names.items()}

    def _is_large(self, table: str) -> bool:
        """Say whether a table of stored runs alone has more rows than should be held whole."""
        stored = sum(capture.row_counts.get(table, 0) for capture in self.info.captures)
        return stored > _MOST_KEPT_ROWS and not any(table in part.tables for part in self.parts.values())

    def _read(self, table: str, columns: Sequence[str] | None) -> pa.Table:
        import pyarrow as pa

        from nsightkit import parquet

        declared = _narrowed(TABLES[table], columns)
        stored = [
            parquet.prefixed(parquet.read_table(declared, run.table_paths(table)), self.prefix(run))
            for run in self.runs
        ]
        direct = [self._read_part(table, name) for name, part in list(self.parts.items()) if table in part.tables]
        found = [*stored, *(part for part in direct if part is not None)]
        if not found:
            return parquet.schema_of(declared).empty_table()
        return pa.concat_tables(found).unify_dictionaries() if len(found) > 1 else found[0]

    def _read_part(self, table: str, name: str) -> pa.Table | None:
        """Read `table` of one capture; damage that shows only now costs this capture and no other."""
        from nsightkit import parquet

        columns = wanted_columns(self.wanted, table)
        try:
            return parquet.with_capture_id(TABLES[table], self.parts[name].tables[table], name, columns)
        except NsightkitError as error:
            source = self.sources[name]
            self.failures.append(Failure(source.paths[0], str(error), error.slug, source.named))
            del self.parts[name]
            return None

    def prefix(self, run: Run) -> str:
        """Return what stands before the names of the captures of `run` where it is not alone.

        Two runs may have captures of one name, and their launches must not fall together.
        """
        return f"{run.path}:" if len(self.runs) + len(self.parts) > 1 else ""


def _narrowed(table: Table, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    kept = tuple(c for c in table.columns if c.name == "capture_id" or c.name in columns)
    return Table(table.name, table.row_meaning, kept)


def _plain_rows(data: Mapping[str, Sequence[Any]]) -> Iterable[dict[str, Any]]:
    names = list(data)
    return (dict(zip(names, values, strict=True)) for values in zip(*data.values(), strict=True))


def open_dataset(paths: Sequence[Path], wanted: Wanted = None) -> Dataset:
    """Open captures, folders of captures and run directories as one dataset.

    Args:
        paths: what the user named; a folder with the runs rank0, rank1, … of one job means all of them.
        wanted: the tables that will be asked for, with the columns needed; None for all.
    """
    paths = [inner for path in paths for inner in (() if is_run(path) else rank_runs(path)) or (path,)]
    sources, failures = find_sources([path for path in paths if not is_run(path)])
    dataset = Dataset(_name_of(paths), RunInfo(), failures=failures, wanted=wanted)
    # A run that is named twice is one run.
    runs = {path.resolve(): Run(path) for path in reversed(paths) if is_run(path)}
    infos = [_read_source(source, wanted, dataset) for source in sources]
    stored = [_open_run(run, dataset) for run in reversed(runs.values())]
    infos = [
        _renamed(info, dataset.prefix(run)) for run, info in zip(dataset.runs, filter(None, stored), strict=True)
    ] + infos
    dataset.info = merge_infos([info for info in infos if info])
    return dataset


def _open_run(run: Run, dataset: Dataset) -> RunInfo | None:
    try:
        info = run.read_info()
    except NsightkitError as error:
        dataset.failures.append(Failure(run.path, str(error), error.slug, named=True))
        return None
    dataset.runs.append(run)
    return info


def _renamed(info: RunInfo, prefix: str) -> RunInfo | None:
    captures = (
        replace(c, capture_id=prefix + c.capture_id, rank=info.rank if c.rank is None else c.rank)
        for c in info.captures
    )
    return replace(info, captures=tuple(captures))


def _read_source(source: Source, wanted: Wanted, dataset: Dataset) -> RunInfo | None:
    try:
        data = source.read(wanted)
    except NsightkitError as error:
        dataset.failures.append(Failure(source.paths[0], str(error), error.slug, source.named))
        return None
    dataset.parts[source.capture_id] = data
    dataset.sources[source.capture_id] = source
    return RunInfo(captures=(capture_of(source, data),), **data.facts)  # type: ignore[arg-type]


def capture_of(source: Source, data: CaptureData) -> Capture:
    """Return what a run keeps of a capture besides its tables."""
    return Capture(
        source.capture_id,
        data.backend,
        data.tool_version,
        source=", ".join(path.name for path in source.paths),
        scope=data.scope,
        notes=data.notes,
        rank=rank_of(source.paths[0]) if data.rank is None else data.rank,
    )


def tables_of(run: Run, capture: Capture, wanted: Mapping[str, Sequence[str] | None]) -> dict[str, pa.Table]:
    """Return those of the `wanted` tables that have rows of one capture of `run`, with the columns named or with all.

    Raises:
        IngestError: a table is missing or damaged.
    """
    from nsightkit import parquet

    return {
        name: parquet.read_table(TABLES[name], [run.table_path(name, capture.capture_id)], columns)
        for name, columns in wanted.items()
        if capture.row_counts.get(name)
    }


def merge_infos(infos: Sequence[RunInfo]) -> RunInfo:
    """Return one description of several: facts on which they agree, all captures, and every GPU that is named."""
    if len(infos) == 1:
        return infos[0]
    captures = tuple(capture for info in infos for capture in info.captures)
    agreed = {}
    for name in ("gpu_name", "compute_capability", "driver_version", "cuda_version", "torch_version", "tokens"):
        values = {getattr(info, name) for info in infos} - {None}
        if len(values) == 1:
            agreed[name] = values.pop()
        elif name == "gpu_name" and values:
            agreed[name] = ", ".join(sorted(values)) if len(values) <= 3 else f"{len(values)} different GPUs"
    return replace(RunInfo(), captures=captures, **agreed)


def _name_of(paths: Sequence[Path]) -> str:
    first = paths[0].absolute()
    name = first.name if first.is_dir() else first.name.split(".")[0]
    return name if len(paths) == 1 else f"{name}-and-{len(paths) - 1}-more"
