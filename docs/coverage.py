"""How many files, kernels and how much GPU time of a folder of captures get a verdict, by tier and architecture.

In: a folder of captures. Out: two Markdown tables on the terminal: reports of ncu, whose kernels are judged one by one
(`--rule auto`), and timelines, whose operators are placed by their shapes. Kernels are rows: all launches of one name,
grid and block. The share of time is of the profiled GPU time of each architecture; a mean over files stands beside it,
as one long kernel may hold most of the time.

    python docs/coverage.py FOLDER
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nsightkit.analysis.roofs.classification import classify_kernels
from nsightkit.errors import NsightkitError
from nsightkit.ingest.dataset import Dataset, open_dataset
from nsightkit.rooflines import rows_of

COUNTED = ("counters", "throughput", "none", "failed")
TIMED = ("analytic", "analytic, UNKNOWN", "sampled", "none")


@dataclass
class Cell:
    """What one tier holds of one architecture: files, rows, time, and the shares of time of each file."""

    files: set[str] = field(default_factory=set)
    rows: int = 0
    time_ns: float = 0.0
    shares: dict[str, float] = field(default_factory=lambda: defaultdict(float))


Table = dict[str, dict[str, Cell]]


def add(table: Table, capability: str, file: str, rows: Sequence[tuple[str, float]]) -> None:
    """Count `rows`, pairs of tier and time, of one file under its architecture."""
    whole = sum(time for _, time in rows)
    for tier, time in rows:
        for key in (capability, "all"):
            cell = table.setdefault(key, {}).setdefault(tier, Cell())
            cell.files.add(file)
            cell.rows += 1
            cell.time_ns += time
            cell.shares[file] += time / whole if whole else 0.0


def counted(dataset: Dataset) -> Iterable[tuple[str, str, list[tuple[str, float]]]]:
    """Yield capture, compute capability, and (tier, time) of each kernel of a report of ncu."""
    rows = dataset.rows("kernel_counters") if dataset.has("kernel_counters") else []
    chips = {row["capture_id"]: row.get("compute_capability") for row in rows}
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for kernel in classify_kernels(rows):
        tier = "failed" if not kernel.launch_count else kernel.verdict.tier
        found[kernel.capture_id].append((tier, kernel.total_ns or 0.0))
    for capture, pairs in found.items():
        yield capture, chips[capture] or "not stated", pairs


def timed(dataset: Dataset) -> Iterable[tuple[str, str, list[tuple[str, float]]]]:
    """Yield capture, compute capability, and (tier, time) of each operator or kernel of a timeline."""
    chips: dict[str, str] = {}
    for row in dataset.rows("gpus") if dataset.has("gpus") else ():
        chips.setdefault(row["capture_id"], row["compute_capability"] or "not stated")
    counted_rows = dataset.rows("kernel_counters") if dataset.has("kernel_counters") else []
    counters = {row["capture_id"] for row in counted_rows}
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in rows_of(dataset):
        if row.capture_id not in counters:
            tier = f"{row.tier}, UNKNOWN" if row.tier == "analytic" and row.bound == "UNKNOWN" else row.tier
            found[row.capture_id].append((tier, row.total_ns or 0.0))
    for capture, pairs in found.items():
        yield capture, chips.get(capture, "CPU or not stated"), pairs


def markdown(table: Table, tiers: Sequence[str]) -> str:
    """Return one line an architecture: for each tier files, rows, share of time, and mean share over files."""
    head = "| CC | " + " | ".join(f"{tier}: files · rows · time · mean of files" for tier in tiers) + " |"
    lines = [head, "|---|" + "---:|" * len(tiers)]
    for key in sorted(table, key=_order):
        cells = table[key]
        whole = sum(cell.time_ns for cell in cells.values())
        files = {file for cell in cells.values() for file in cell.files}
        parts = [_cell(cells[tier], whole, len(files)) if tier in cells else "–" for tier in tiers]
        lines.append(f"| {key} | {' | '.join(parts)} |")
    return "\n".join(lines)


def _order(key: str) -> tuple[int, float]:
    try:
        return 0, float(key)
    except ValueError:
        return (2 if key == "all" else 1), 0.0


def _cell(cell: Cell, whole_ns: float, files: int) -> str:
    mean = sum(cell.shares.values()) / files
    share = f"{cell.time_ns / whole_ns:.1%}" if whole_ns else "–"
    return f"{len(cell.files)} · {cell.rows} · {share} · {mean:.1%}"


def main(argv: Sequence[str]) -> None:
    """Print both tables; what cannot be read is named."""
    if len(argv) != 1:
        sys.exit("usage: python docs/coverage.py FOLDER")
    tables: dict[str, Table] = {"counted": {}, "timed": {}}
    for path in sorted(p for p in Path(argv[0]).rglob("*") if p.is_file()):
        try:
            dataset = open_dataset([path])
            if not dataset.info.captures:
                continue
            for name, read in (("counted", counted), ("timed", timed)):
                for capture, chip, pairs in read(dataset):
                    add(tables[name], chip, f"{path.name}:{capture}", pairs)
        except NsightkitError as error:
            print(f"{path.name}: {str(error).splitlines()[0]}", file=sys.stderr)
    print("Reports of ncu, kernels judged by --rule auto:\n")
    print(markdown(tables["counted"], COUNTED))
    print("\nTimelines, operators or kernels placed without counters:\n")
    print(markdown(tables["timed"], TIMED))


if __name__ == "__main__":
    main(sys.argv[1:])
