"""Reads what ncu prints with --csv: raw and details pages of any version and locale, and logs with a table in them.

In: the CSV files of one folder, which are one capture. Out: kernel_counters, gpus, rule_results, and metric_values
where asked for. A file without a table (the log of a run that failed) does not cost the others; it is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nsightkit.errors import IngestError
from nsightkit.ingest.ncu_merge import GatheredLaunch, Merger, is_metric_name, reading_of, rule_of
from nsightkit.ingest.ncu_numbers import NumberFormat, number_format
from nsightkit.ingest.ncu_rows import Launch, capture_data
from nsightkit.ingest.ncu_text import PageTable, PrintedText, looks_printed_by_ncu, read_text
from nsightkit.ingest.reader import CaptureData, Wanted

BACKEND = "ncu"
_IDENTITY = (
    "ID",
    "Process ID",
    "Process Name",
    "Host Name",
    "Kernel Name",
    "Kernel Time",
    "Context",
    "Stream",
    "Block Size",
    "Grid Size",
    "Device",
    "CC",
)
_NEEDED_OF_DETAILS = ("Section Name", "Metric Name", "Metric Unit", "Metric Value")
_NVTX_MARKS = ("Push/Pop_Range", "Start/Stop_Range")
_MOST_CONFLICTS = 20


@dataclass
class _File:
    """One file: its name for messages, what it holds, how it writes numbers."""

    path: Path
    printed: PrintedText
    numbers: NumberFormat


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether `path` begins as text that ncu printed: a table, or the log of a run."""
    return looks_printed_by_ncu(head)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read the files of one folder as one capture.

    Raises:
        IngestError: no file has a table that can be read; the message says why.
    """
    launches, notes = read_launches(paths)
    return capture_data(launches, wanted, notes=notes)


def read_launches(paths: tuple[Path, ...]) -> tuple[list[Launch], tuple[str, ...]]:
    """Return the launches that the files of one folder describe, and notes on them; raises as `read`."""
    files, problems = [], []
    for path in paths:
        try:
            files.append(_opened(path))
        except IngestError as error:
            problems.append(error)
    if not files:
        raise _none_readable(paths, problems)
    merger, silent = Merger(), 0
    for file in files:
        silent += sum(_gather(merger, file, table) for table in file.printed.tables)
    launches = merger.launches()
    if not launches:
        raise IngestError(
            f"{paths[0]}: the table of ncu has a header and no rows: no kernel was profiled (check ncu's filters)",
            slug="ncu-csv-no-table",
        )
    left_out = (f"left out: {problem}" for problem in problems)
    return launches, (*_notes(files, launches, silent), *_conflict_notes(merger), *left_out)


def _none_readable(paths: tuple[Path, ...], problems: list[IngestError]) -> IngestError:
    if len(problems) == 1:
        return problems[0]
    if not problems:
        return IngestError("ncu printed nothing", slug="ncu-csv-no-table")
    return IngestError(
        f"{paths[0].parent}: none of {len(problems)} files of ncu can be read; the first: {problems[0]}",
        slug=problems[0].slug,
    )


def _opened(path: Path) -> _File:
    printed = read_text(path)
    if not printed.tables:
        raise IngestError(f"{path}: {_why_no_table(printed)}", slug="ncu-csv-no-table")
    if printed.is_cut:
        raise IngestError(
            f"{path}: the file ends in the middle of a row, so it was cut off; copy it again, or profile again",
            slug="ncu-csv-cut",
        )
    for table in printed.tables:
        _check(table, path)
    return _File(path, printed, number_format(_number_texts(printed), str(path)))


def _check(table: PageTable, path: Path) -> None:
    if not table.is_details and table.units is None and table.records:
        raise IngestError(
            f"{path}: the row of units under the header is missing, so no number can be trusted; print the page again "
            "with `ncu --import FILE --csv --page raw`",
            slug="ncu-csv-no-units",
        )
    absent = [name for name in _NEEDED_OF_DETAILS if table.is_details and name not in table.columns]
    if absent:
        raise IngestError(
            f"{path}: the header of ncu's details page has no column {' and no '.join(absent)}; print it again with "
            "`ncu --import FILE --csv --page raw`",
            slug="ncu-csv-damaged",
        )
    misfit = table.first_misfit()
    if misfit is not None:
        raise IngestError(
            f"{path}: row {misfit + 1} under the header has {len(table.records[misfit])} cells where the header has "
            f"{len(table.columns)}: the file is damaged, or other output lies within the row; print it again with "
            "`ncu --import FILE --csv --page raw`",
            slug="ncu-csv-damaged",
        )


def _why_no_table(printed: PrintedText) -> str:
    wanted_kinds = ("ERROR", "WARNING")
    said = next((f"=={kind}== {text}" for want in wanted_kinds for kind, text in printed.log if kind == want), None)
    if said is not None:
        return f"the run failed, ncu says: {said}"
    return (
        "the log of an ncu run without a table of metrics: no kernel was profiled, or the table went elsewhere "
        "(run ncu with --csv --page raw)"
    )


def _number_texts(printed: PrintedText) -> Iterator[str]:
    for table in printed.tables:
        if table.is_details:
            places = [i for i, name in enumerate(table.columns) if name in ("Metric Value", "Estimated Speedup")]
        else:
            places = [i for i, name in enumerate(table.columns) if not _identifies(name)]
        for record in table.records:
            yield from (record[i] for i in places if i < len(record))


def _identifies(column: str) -> bool:
    return column in _IDENTITY or any(mark in column for mark in _NVTX_MARKS)


def _gather(merger: Merger, file: _File, table: PageTable) -> int:
    """Add the records of a table; return how many say nothing."""
    if table.is_details:
        return _gather_details(merger, file, table)
    _gather_raw(merger, file, table)
    return 0


def _gather_raw(merger: Merger, file: _File, table: PageTable) -> None:
    units = table.units or []
    metrics = [
        (i, name, units[i] if i < len(units) else "") for i, name in enumerate(table.columns) if not _identifies(name)
    ]
    identifying = [(i, name) for i, name in enumerate(table.columns) if _identifies(name)]
    for record in table.records:
        launch = merger.gathered({name: record[i] for i, name in identifying})
        for i, name, unit in metrics:
            merger.add_named(launch, name, reading_of(record[i], unit, file.numbers, file.path.name))


def _gather_details(merger: Merger, file: _File, table: PageTable) -> int:
    silent = 0
    identifying = [name for name in table.columns if _identifies(name)]
    for record in table.records:
        # Rows of metrics leave out the cells of rules behind them.
        cells = dict(zip(table.columns, record, strict=False))
        launch = merger.gathered({name: cells.get(name, "") for name in identifying})
        if cells.get("Rule Name"):
            launch.rules.setdefault(str(file.path), []).append(rule_of(cells, file.numbers))
        elif cells.get("Metric Name"):
            _gather_metric(merger, launch, cells, file)
        else:
            silent += 1
    return silent


def _gather_metric(merger: Merger, launch: GatheredLaunch, cells: dict[str, str], file: _File) -> None:
    section, name = cells.get("Section Name", ""), cells["Metric Name"]
    reading = reading_of(cells["Metric Value"], cells.get("Metric Unit", ""), file.numbers, file.path.name)
    if is_metric_name(section, name):
        merger.add_named(launch, name, reading)
    else:
        merger.add_labeled(launch, (section, cells.get("Body Item Label", ""), name), reading)


def _notes(files: list[_File], launches: list[Launch], silent: int) -> Iterator[str]:
    failed = sum(launch.failed for launch in launches)
    if failed:
        yield f"{failed} of {len(launches)} launches could not be measured by ncu; their counters are left empty"
    if silent:
        yield f"{silent} rows hold neither a metric nor a rule; they are left out"
    doubtful = [file.path.name for file in files if not file.numbers.sure]
    if doubtful:
        yield (
            f"{', '.join(doubtful)}: numbers such as 1.234 could be thousands in another locale; "
            "the point is read as decimal"
        )


def _conflict_notes(merger: Merger) -> Iterator[str]:
    conflicts = list(merger.conflicts)
    yield from conflicts[:_MOST_CONFLICTS]
    if len(conflicts) > _MOST_CONFLICTS:
        yield f"{len(conflicts) - _MOST_CONFLICTS} more values contradict each other between files"
