"""Builds small inputs as Nsight Compute writes them: CSV pages with every quirk, report containers, a fake ncu.

There is no writer of real .ncu-rep reports: containers built here have the right frame and empty results.
"""

from __future__ import annotations

import csv
import io
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

IDENTITY = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name")
PLACE = ("Context", "Stream", "Block Size", "Grid Size", "Device", "CC")
OLD_PLACE = ("Kernel Time", "Context", "Stream")
METRIC = ("Metric Name", "Metric Unit", "Metric Value")
RULE = ("Rule Name", "Rule Type", "Rule Description")
SPEEDUP = ("Estimated Speedup Type", "Estimated Speedup")


@dataclass(frozen=True)
class PrintedLaunch:
    """One launch as a page shows it. Metrics are (section, name, unit, value as printed) or, on a chart, with its line
    before the name; rules are (section, rule, type, message[, speed-up type, speed-up])."""

    kernel: str = "void gemm<float>(float *)"
    id: int = 0
    grid: str = "(4, 2, 1)"
    block: str = "(128, 1, 1)"
    process: str = "77"
    metrics: Sequence[tuple[str, ...]] = ()
    rules: Sequence[tuple[str, ...]] = ()
    cc: str = "8.0"
    device: str = "0"

    def identity(self) -> list[str]:
        return [str(self.id), self.process, "python", "127.0.0.1", self.kernel]

    def place(self) -> list[str]:
        return ["1", "7", self.block, self.grid, self.device, self.cc]


@dataclass(frozen=True)
class Quirks:
    """How the text around the table looks."""

    above: str = ""
    between: str = ""
    bom: bool = False
    encoding: str = "utf-8"
    line_end: str = "\n"
    delimiter: str = ","
    below: str = ""


PLAIN = Quirks()


def details_csv(path: Path, launches: Sequence[PrintedLaunch], quirks: Quirks = PLAIN, layout: str = "current") -> Path:
    """Write a details page; `layout` is current (20 columns), old (15, with Kernel Time) or roofline (21)."""
    place = OLD_PLACE if layout == "old" else PLACE
    chart = ("Body Item Label",) if layout == "roofline" else ()
    speedup = () if layout == "old" else SPEEDUP
    header = [*IDENTITY, *place, "Section Name", *chart, *METRIC, *RULE, *speedup]
    rows = [row for launch in launches for row in _details_rows(launch, layout, len(speedup))]
    return _write(path, header, rows, quirks)


def speed_of_light_csv(path: Path, kernel: str = "void gemm<float>(float *)") -> Path:
    """Write the details page of one memory-bound launch: 12 % of compute, 78 % of DRAM, 10 µs."""
    section = "GPU Speed Of Light Throughput"
    metrics = (
        (section, "Duration", "us", "10.00"),
        (section, "Compute (SM) Throughput", "%", "12.00"),
        (section, "Memory Throughput", "%", "78.00"),
        (section, "DRAM Throughput", "%", "78.00"),
        ("Launch Statistics", "Waves Per SM", "", "4.00"),
    )
    return details_csv(path, [PrintedLaunch(kernel, metrics=metrics)])


def _details_rows(launch: PrintedLaunch, layout: str, speedups: int) -> list[list[str]]:
    place = ["2024-Jan-01 10:00:00", "1", "7"] if layout == "old" else launch.place()
    front = [*launch.identity(), *place]
    # As ncu does, rows of metrics leave out the cells of rules but for one.
    rows = [[*front, *metric, ""] for metric in launch.metrics]
    blanks = [""] * (4 if layout == "roofline" else 3)
    for section, *rule in launch.rules:
        rows.append([*front, section, *blanks, *rule, *[""] * (3 + speedups - len(rule))])
    return rows


def raw_csv(
    path: Path,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[tuple[PrintedLaunch, Sequence[str]]],
    quirks: Quirks = PLAIN,
) -> Path:
    """Write a raw page: `columns` are (metric, unit), `rows` launches with the values of these metrics as printed."""
    header = [*IDENTITY, *PLACE, *(name for name, _ in columns)]
    units = [""] * (len(IDENTITY) + len(PLACE)) + [unit for _, unit in columns]
    lines = [[*launch.identity(), *launch.place(), *values] for launch, values in rows]
    return _write(path, header, [units, *lines], quirks)


def _write(path: Path, header: list[str], rows: list[list[str]], quirks: Quirks) -> Path:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=quirks.delimiter, quoting=csv.QUOTE_ALL, lineterminator=quirks.line_end)
    buffer.write(quirks.above)
    writer.writerow(header)
    for row in rows:
        writer.writerow(row)
        buffer.write(quirks.between)
    buffer.write(quirks.below)
    text = ("\ufeff" if quirks.bom else "") + buffer.getvalue()
    path.write_bytes(text.encode(quirks.encoding))
    return path


def varint(value: int) -> bytes:
    """Encode a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def proto(number: int, value: int | bytes) -> bytes:
    """Encode one protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


@dataclass
class ContainerBuilder:
    """Writes the frame of a report: a header, then blocks of results and notes, each behind its length."""

    data: bytearray = field(default_factory=lambda: bytearray(b"NVR\0" + (2).to_bytes(4, "little") + proto(1, 7)))
    ends: list[int] = field(default_factory=list)

    def block(
        self, *, results: int = 0, payload: bytes = b"", note: tuple[str, str] | None = None, others: int = 0
    ) -> None:
        header = proto(1, 0) + proto(2, results)
        if note:
            header += proto(3, proto(8, proto(1, note[0].encode()) + proto(2, note[1].encode())))
        header += proto(5, len(payload))
        if others:
            header += proto(7, others)
        self.data += len(header).to_bytes(4, "little") + header + payload
        self.ends.append(len(self.data))

    def write(self, path: Path) -> Path:
        path.write_bytes(self.data)
        return path


def container(results: int = 2, version: str = "2024.1.1.0 (build 1) (public-release)") -> ContainerBuilder:
    """Return the frame of a report with `results` empty results and the versions that a session notes."""
    builder = ContainerBuilder()
    builder.block(note=("Nsight Compute Target", version))
    builder.block(note=("CUDA Version", "12.4"))
    builder.block(note=("Display Driver Version", "550.54"))
    for index in range(results):
        builder.block(results=1, payload=bytes([index]) * (200 + index))
    return builder


def fake_ncu(folder: Path, pages: dict[str, Path], says: str = "Nsight Compute Command Line Profiler") -> Path:
    """Write a program called ncu that answers --version with `says` and prints the file of the page asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    tool = folder / "ncu"
    known = {name: str(path) for name, path in pages.items()}
    tool.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"pages, says = {known!r}, {says!r}\n"
        "if '--version' in sys.argv:\n"
        "    print(says)\n"
        "    sys.exit(0)\n"
        "page = sys.argv[sys.argv.index('--page') + 1]\n"
        "if page not in pages:\n"
        "    print('==ERROR== Failed to load report file')\n"
        "    sys.exit(1)\n"
        "sys.stdout.buffer.write(open(pages[page], 'rb').read())\n"
    )
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return tool


@dataclass
class FakeMetric:
    """A metric as NVIDIA's reader gives it; `value` None stands for one without a value, which as_double calls 0."""

    value: float | str | None
    unit_name: str = ""

    def has_value(self) -> bool:
        return self.value is not None

    def as_double(self) -> float:
        return float(self.value) if isinstance(self.value, int | float) else 0.0

    def as_string(self) -> str | None:
        return self.value if isinstance(self.value, str) else None

    def kind(self) -> int:
        return 2 if isinstance(self.value, str) else 4

    def unit(self) -> str:
        return self.unit_name


@dataclass
class FakeDomain:
    title: str
    names: tuple[str, ...]

    def name(self) -> str:
        return self.title

    def push_pop_ranges(self) -> tuple[str, ...]:
        return self.names


@dataclass
class FakeState:
    held: tuple[FakeDomain, ...]

    def domains(self) -> tuple[int, ...]:
        return tuple(range(len(self.held)))

    def domain_by_id(self, place: int) -> FakeDomain:
        return self.held[place]


@dataclass
class FakeAction:
    """A result as NVIDIA's reader gives it."""

    values: dict[str, FakeMetric]
    names: tuple[str, str] = ("gemm", "void gemm<float>(float *)")
    state: FakeState | None = None
    kind: int = 0
    rules: Callable[[], list[dict[str, object]]] = list

    def name(self, base: int = 0) -> str:
        return self.names[base]

    def metric_by_name(self, name: str) -> FakeMetric | None:
        return self.values.get(name)

    def metric_names(self) -> tuple[str, ...]:
        return tuple(self.values)

    def nvtx_state(self) -> FakeState | None:
        return self.state

    def workload_type(self) -> int:
        return self.kind

    def rule_results_as_dicts(self) -> list[dict[str, object]]:
        return self.rules()


@dataclass
class FakeContext:
    """A report as NVIDIA's reader gives it: one range of `actions`."""

    actions: list[FakeAction]

    def num_ranges(self) -> int:
        return 1

    def range_by_idx(self, place: int) -> FakeContext:
        return self

    def num_actions(self) -> int:
        return len(self.actions)

    def action_by_idx(self, place: int) -> FakeAction:
        return self.actions[place]
