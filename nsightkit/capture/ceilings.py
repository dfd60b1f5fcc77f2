"""Measures what a device reaches in practice: products of matrices and copies, by torch in a child.

In: where to measure and how large. Out: `Ceilings` with their provenance, as a JSON file that other commands read.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nsightkit.capture.process import run_child
from nsightkit.capture.workload import torch_missing
from nsightkit.errors import CaptureError, IngestError
from nsightkit.run import write_text

SCHEMA_VERSION = 1
_CHILD = Path(__file__).resolve().with_name("ceilings_child.py")


@dataclass(frozen=True, slots=True)
class CeilingsRequest:
    """What to measure: `device` is cpu or cuda; sizes of 0 are chosen for the device."""

    device: str = "cpu"
    threads: int = 0  # 0: as torch chooses
    matrix_size: int = 0
    copy_bytes: int = 0
    repeats: int = 5
    budget_s: float = 0.0  # types that would begin later are left out and named; 0: no limit


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The best rate of several repeats for each type, with what produced it."""

    device_name: str
    device: str
    threads: int
    torch_version: str
    created_utc: str
    matrix_size: int
    copy_bytes: int
    repeats: int
    flop_per_s: dict[str, float]  # type of arithmetic -> rate of a square product of matrices
    bytes_per_s: float | None  # the better of a copy (read and written) and a sum (read)
    spread: dict[str, float] = field(default_factory=dict)  # name -> slowest ÷ fastest repeat
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def source(self) -> str:
        """Where and how it was measured, in words."""
        where = f"{self.device_name}, {self.threads} threads" if self.device == "cpu" else self.device_name
        return f"measured on {where} (torch {self.torch_version}, best of {self.repeats})"


def measure_ceilings(request: CeilingsRequest, timeout_s: float | None = 600.0, python: str | None = None) -> Ceilings:
    """Measure in a child, so that torch's threads and memory end with it.

    Args:
        request: what to measure.
        timeout_s: when to end the child.
        python: the interpreter that has torch; our own if None.

    Raises:
        ToolError: torch is missing.
        CaptureError: the device is not there, or the child took too long.
    """
    with tempfile.TemporaryDirectory(prefix="nsightkit-ceilings-") as folder:
        output, log = Path(folder) / "ceilings.json", Path(folder) / "log.txt"
        argv = (python or sys.executable, str(_CHILD), str(output), json.dumps(asdict(request)))
        result = run_child(argv, log, timeout_s)
        if any(line.strip() == "ModuleNotFoundError: No module named 'torch'" for line in result.lines()):
            raise torch_missing()
        if result.timed_out or result.exit_code or not output.is_file():
            raise CaptureError(
                f"the ceilings of {request.device} could not be measured "
                f"({'time limit' if result.timed_out else result.exit_text}); its last lines:\n{result.tail(6)}",
                slug="no-ceilings",
            )
        return read_ceilings(output)


def write_ceilings(path: Path, ceilings: Ceilings) -> None:
    """Write `ceilings` as JSON."""
    write_text(path, json.dumps(asdict(ceilings), indent=2) + "\n")


def read_ceilings(path: Path) -> Ceilings:
    """Read what `write_ceilings` wrote.

    Raises:
        IngestError: it is no such file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema_version"] > SCHEMA_VERSION:
            raise ValueError(f"schema {data['schema_version']} is newer than this nsightkit")
        return _built(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IngestError(
            f"{path}: no ceilings in it ({error}); make the file with 'nsightkit ceilings -o {path.name}'",
            slug="damaged-ceilings",
        ) from None


def _built(data: dict[str, Any]) -> Ceilings:
    known = {f.name for f in fields(Ceilings)}
    rates = {str(name): float(rate) for name, rate in data["flop_per_s"].items()}
    others: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    return Ceilings(**others | {"flop_per_s": rates})
