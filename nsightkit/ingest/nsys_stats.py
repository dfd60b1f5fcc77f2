"""Reads what ``nsys stats`` printed: CSV or columns of text, one summary or several in a row.

In: a file with kernel, API, memory or NVTX summaries. Out: `CaptureData` with the one table `reported_sums`; the
launches behind the sums are not in such a file.

Source: the headers that nsys 2020 to 2026 print; see "nsys stats" in NVIDIA's user guide.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsightkit.errors import IngestError
from nsightkit.ingest.reader import CaptureData, Wanted, wants
from nsightkit.tables import REPORTED_SUMS

BACKEND = "nsys-stats"

_TITLE = re.compile(r"^\s*\*\* .+ \((\w+)(?::[^)]*)?\):\s*$")
_DASHES = re.compile(r"^\s*-+(?:\s+-+)+\s*$")
_HEADER = re.compile(r'^\s*"?(?:Time ?\(%\)|Total \([A-Za-z]+\))"?[ ,]')
# Reports that are no sums of one thing: recognized so that the refusal can say what they are.
_OTHER = re.compile(
    r'^"?(?:(?:API )?Start \(\w+\)"?,|PID,TID,DevId,|NVTX Range,Style,|Range,Style,Total Proj|Name,Projected Start)'
)
_VERSION = re.compile(r"nsight-systems(?:-cli)?[/\\-](\d{4}\.\d+\.\d+)|Nsight Systems (\d{4}\.\d+\.\d+)")
_NS = {"ns": 1.0, "us": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "sec": 1e9, "nsec": 1.0, "usec": 1e3, "msec": 1e6}
_BYTES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3}
_STATISTICS = {
    "totaltime": "total", "total": "total", "avg": "mean", "average": "mean", "med": "median", "median": "median",
    "min": "min", "minimum": "min", "max": "max", "maximum": "max", "stddev": "std",
}  # fmt: skip
_COUNTS = ("instances", "numcalls", "calls", "count", "operations")
_NAMES = ("name", "operation", "range")
_OLD_REPORTS = {
    "gpukernsum": "cuda_gpu_kern_sum", "gpukerngbsum": "cuda_gpu_kern_gb_sum", "cudaapisum": "cuda_api_sum",
    "gpumemtimesum": "cuda_gpu_mem_time_sum", "gpumemsizesum": "cuda_gpu_mem_size_sum", "nvtxsum": "nvtx_sum",
    "nvtxppsum": "nvtx_pushpop_sum", "nvtxsssum": "nvtx_startend_sum", "nvtxsesum": "nvtx_startend_sum",
    "osrtsum": "osrt_sum",
}  # fmt: skip
REPORTS = frozenset(_OLD_REPORTS.values())


@dataclass(frozen=True)
class _Section:
    """One summary: its report where a title names it, its header, and its lines as cells."""

    title: str | None
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether the file holds output of ``nsys stats``."""
    lines = _decoded(head).splitlines()
    return any(_TITLE.match(line) or _HEADER.match(line) or _OTHER.match(line) for line in lines)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read one file.

    Raises:
        IngestError: it holds no summary that can be used.
    """
    path = paths[0]
    text = _decoded(path.read_bytes())
    sections = [(_report_of(section), section) for section in _sections(text.splitlines())]
    usable = [(report, section) for report, section in sections if report in REPORTS and section.rows]
    if not usable:
        raise IngestError(f"{path}: {_why_unusable(text, sections)}", slug="no-nsys-summary")
    rows = [row for report, section in usable for row in _rows(report, section)]
    columns = REPORTED_SUMS.column_names[1:]
    table = {name: [row.get(name) for row in rows] for name in columns}
    reports = list(dict.fromkeys(report for report, _ in usable))
    return CaptureData(
        BACKEND,
        {"reported_sums": table} if wants(wanted, "reported_sums") else {},
        tool_version=_version(text),
        scope="sums that nsys stats printed: " + ", ".join(reports),
        notes=_notes(usable),
    )


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def _sections(lines: Sequence[str]) -> Iterator[_Section]:
    title = None
    for number, line in enumerate(lines):
        if match := _TITLE.match(line):
            title = match[1]
        elif _HEADER.match(line):
            rest = lines[number + 1 :]
            dashes = rest[0] if rest and _DASHES.match(rest[0]) else None
            yield _columns(title, line, dashes, rest[1:]) if dashes else _csv(title, line, rest)
            title = None


def _csv(title: str | None, header: str, rest: Sequence[str]) -> _Section:
    names = tuple(next(csv.reader([header])))
    rows = []
    for row in csv.reader(line + "\n" for line in rest):
        if len(row) != len(names):
            break
        rows.append(tuple(row))
    return _Section(title, tuple(name.strip() for name in names), tuple(rows))


def _columns(title: str | None, header: str, dashes: str, rest: Sequence[str]) -> _Section:
    """Cut lines where the dashes are; the last column reaches to the end of the line."""
    spans = [(match.start(), match.end()) for match in re.finditer(r"-+", dashes)]

    def cells(line: str) -> tuple[str, ...]:
        *some, (start, _) = spans
        return (*(line[a:b].strip() for a, b in some), line[start:].strip())

    rows = []
    for line in rest:
        if not line.strip() or _TITLE.match(line):
            break
        rows.append(cells(line))
    return _Section(title, cells(header), tuple(rows))


def _plain(header: str) -> str:
    return re.sub(r"\(.*\)|\s", "", header).lower()


def _report_of(section: _Section) -> str:
    """Return the report by its title, or else by its header."""
    if section.title:
        return _OLD_REPORTS.get(section.title, section.title)
    names = {_plain(name) for name in section.header}
    if "instances" in names and "name" in names:
        return "cuda_gpu_kern_gb_sum" if "gridxyz" in names else "cuda_gpu_kern_sum"
    if "operation" in names:
        return "cuda_gpu_mem_time_sum" if "time" in names else "cuda_gpu_mem_size_sum"
    if "range" in names:
        return "nvtx_sum" if "style" in names else "nvtx_pushpop_sum"
    if names & {"numcalls", "calls"} and "name" in names:
        # CUDA's calls and those of the operating system have one header; their names tell them apart.
        at = [_plain(name) for name in section.header].index("name")
        return "cuda_api_sum" if any(row[at].startswith("cu") for row in section.rows) else "osrt_sum"
    return "unknown"


def _rows(report: str, section: _Section) -> Iterator[dict[str, Any]]:
    for cells in section.rows:
        row: dict[str, Any] = {"report": report}
        for header, cell in zip(section.header, cells, strict=True):
            row.update(_value(header, cell))
        if row.get("name") is None:
            continue
        yield row


def _value(header: str, cell: str) -> dict[str, Any]:
    name = _plain(header)
    if name in _NAMES:
        return {"name": cell}
    if name == "style":
        return {"style": cell.replace("/", "")}
    number = _number(cell)
    if name == "time":
        return {"printed_pct": number}
    if name in _COUNTS:
        return {"instance_count": None if number is None else round(number)}
    if name not in _STATISTICS:
        return {}
    return _measure(_STATISTICS[name], header, number)


def _measure(statistic: str, header: str, number: float | None) -> dict[str, Any]:
    match = re.search(r"\(([^)]+)\)", header)
    unit = match[1] if match else "ns"
    if unit in _BYTES:
        return {f"{statistic}_bytes": None if number is None else number * _BYTES[unit]}
    if number is None or unit not in _NS:
        return {}
    value = number * _NS[unit]
    return {f"{statistic}_ns": round(value) if statistic in ("total", "min", "max") else value}


def _number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", "").rstrip("%"))
    except ValueError:
        return None


def _version(text: str) -> str | None:
    match = _VERSION.search(text)
    return (match[1] or match[2]) if match else None


def _notes(usable: Sequence[tuple[str, _Section]]) -> tuple[str, ...]:
    notes = ["only printed sums are known: no single launches, hence no percentiles and no timeline"]
    cut = sum(row[-1].endswith(("…", "...")) for _, section in usable for row in section.rows)
    if cut:
        notes.append(f"{cut} names were cut by nsys; print with --format csv to have them whole")
    return tuple(notes)


def _why_unusable(text: str, sections: Sequence[tuple[str, _Section]]) -> str:
    ways = "print one of " + ", ".join(sorted(REPORTS)) + " with 'nsys stats --format csv'"
    if any(_OTHER.match(line) for line in text.splitlines()):
        return f"a trace or a combined report of nsys stats, not a summary; {ways}, or name the export itself"
    if any(section.rows for _, section in sections):
        reports = ", ".join(dict.fromkeys(report for report, _ in sections))
        return f"it holds only {reports}, which nsightkit does not read; {ways}"
    if "SKIPPED" in text:
        return f"nsys stats skipped every summary, because the capture lacks their data; {ways}"
    return f"its summary holds no rows; {ways}"
