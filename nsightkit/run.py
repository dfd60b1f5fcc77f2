"""The run directory: what people keep, zip, compare and gate on.

In: a folder. Out: `Run`, which knows the paths in it, and `RunInfo`, the content of its ``run.json``.

    RUN/run.json   RUN/capture/   RUN/tables/<table>/<capture_id>.parquet   RUN/report/
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nsightkit.errors import IngestError, ReportError

SCHEMA_VERSION = 1
INFO_NAME = "run.json"
CAPTURE_NAME = "capture"
CEILINGS_NAME = "ceilings.json"  # measured roofs of the machine that the run was made on, where there are any
LOG_NAME = "child.log"  # what a profiled program and its profiler said, in the folder of captures
_T = TypeVar("_T")


@dataclass(frozen=True)
class Capture:
    """One profiler output of a run: where it came from and what its numbers cover."""

    capture_id: str
    backend: str  # nsys, ncu, nsys-stats or torch
    tool_version: str | None = None
    source: str = ""  # file name of the input, without the folders of the machine it was read on
    argv: tuple[str, ...] = ()
    exit_code: int | None = None
    wall_s: float | None = None
    scope: str = ""  # what the numbers cover, in a sentence
    row_counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what a reader must know before trusting a number
    # "verdict": good, usable or unusable; "reasons" and "remedies": lists of sentences, in the same order.
    quality: dict[str, Any] = field(default_factory=dict)
    # "ratio" of traced to untraced time (None: not known), its interval "low" to "high", whether it is "measurable",
    # both times in seconds, how many there were, and "basis": what was timed. Empty where not measured.
    overhead: dict[str, Any] = field(default_factory=dict)
    # What the profiler was told that decides what its numbers mean: range, clock_control, cache_control, rank, …
    settings: dict[str, Any] = field(default_factory=dict)
    rank: int | None = None  # among the processes of one job; None where the capture does not say
    # What the capture states of its machine, as RunInfo names it: gpu_name, driver_version, created_utc, …
    facts: dict[str, str] = field(default_factory=dict)
    input_state: str = ""  # sizes and times of the input files and what was read: equal means nothing is to read again


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run as a whole; None is "not recorded"."""

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    workload: str | None = None
    workload_args: tuple[str, ...] = ()
    tokens: int | None = None
    created_utc: str | None = None
    hostname: str | None = None
    gpu_name: str | None = None
    compute_capability: str | None = None
    driver_version: str | None = None
    cuda_version: str | None = None
    torch_version: str | None = None
    nsightkit_version: str | None = None
    rank: int | None = None  # among the processes of one job
    rank_count: int | None = None
    captures: tuple[Capture, ...] = ()


@dataclass(frozen=True)
class Run:
    """The paths of a run directory."""

    path: Path

    @property
    def info_path(self) -> Path:
        """The run's description."""
        return self.path / INFO_NAME

    @property
    def capture_dir(self) -> Path:
        """What the profilers wrote."""
        return self.path / CAPTURE_NAME

    @property
    def report_dir(self) -> Path:
        """What we rendered."""
        return self.path / "report"

    def table_path(self, table: str, capture_id: str) -> Path:
        """Return where the rows of `capture_id` in `table` are kept."""
        return self.path / "tables" / table / f"{capture_id}.parquet"

    def table_paths(self, table: str) -> list[Path]:
        """Return the parquet files of `table`, one a capture, in the order of the captures' names."""
        return sorted((self.path / "tables" / table).glob("*.parquet"))

    def read_info(self) -> RunInfo:
        """Read ``run.json``.

        Raises:
            IngestError: it is missing, damaged, or of a newer nsightkit.
        """
        try:
            text = self.info_path.read_bytes()
        except OSError as error:
            raise _not_a_description(self.info_path, error) from None
        return info_from(text, self.info_path)

    def write_info(self, info: RunInfo) -> None:
        """Write ``run.json`` so that a reader sees the old or the new one, never a half."""
        write_text(self.info_path, json.dumps(asdict(info), indent=2) + "\n")


def info_from(text: bytes, where: Path | str) -> RunInfo:
    """Return the description that ``run.json`` holds; `where` it was is named in errors.

    Raises:
        IngestError: it is damaged, or of a newer nsightkit.
    """
    try:
        data = json.loads(text)
        version = int(data["schema_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise _not_a_description(where, error) from None
    if version > SCHEMA_VERSION:
        raise IngestError(
            f"{where}: written by a newer nsightkit (schema {version}); upgrade nsightkit to read it",
            slug="damaged-run",
        )
    captures = tuple(_build(Capture, item) for item in data.get("captures", ()))
    return _build(RunInfo, {**data, "captures": captures})


def _not_a_description(where: Path | str, error: Exception) -> IngestError:
    return IngestError(f"{where}: not a run description ({error}); ingest the captures again", slug="damaged-run")


def _build(kind: type[_T], data: dict[str, Any]) -> _T:
    # Fields that a later version of the same schema added are passed over.
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})


def is_run(path: Path) -> bool:
    """Say whether `path` is a run directory."""
    # A folder that may not be entered is none, and no reason to stop.
    return os.path.isfile(path / INFO_NAME)


def rank_runs(folder: Path) -> list[Path]:
    """Return the runs rank0, rank1, … in `folder`, by number: 'nsightkit profile -o FOLDER' makes one a rank."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return []
    found = {int(path.name[4:]): path for path in folder.glob("rank*") if path.name[4:].isdigit() and is_run(path)}
    return [found[number] for number in sorted(found)]


def newest_run(folder: Path) -> Run:
    """Return the run in `folder` whose description was written last.

    Raises:
        IngestError: there is none.
    """
    infos = sorted(folder.glob(f"*/{INFO_NAME}"), key=lambda p: p.stat().st_mtime_ns)
    if not infos:
        kept = unfinished_runs(folder)
        names = ", ".join(str(path) for path in kept[:3]) + (" …" if len(kept) > 3 else "")
        raise IngestError(
            f"no run in {folder}/; make one with 'nsightkit profile' or 'nsightkit ingest FILE', or name a run"
            + (
                f". Captures of profiles that did not end well are kept in {names}: repeat the command with "
                f"-o {kept[0]} --resume, or read what is there with  nsightkit ingest {kept[0] / CAPTURE_NAME}"
                if kept
                else ""
            ),
            slug="no-run",
        )
    return Run(infos[-1].parent)


def unfinished_runs(folder: Path) -> list[Path]:
    """Return the folders in `folder` that hold captures but no description, the newest first."""
    found = [path.parent for path in folder.glob(f"*/{CAPTURE_NAME}") if path.is_dir() and not is_run(path.parent)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` under a temporary name first, then rename.

    Raises:
        ReportError: the folder cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path, what: str = "folder") -> Iterator[Path]:
    """Give a temporary name beside `path` that becomes `path` where the block ends well, and is gone where it does not.

    Raises:
        ReportError: it cannot be written; the message asks for another `what`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise ReportError(
            f"cannot write {path}: {error.strerror}; name another {what} with -o", slug="cannot-write"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
