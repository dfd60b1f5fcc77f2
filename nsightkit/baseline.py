"""Baselines: what a later run is compared with, small enough to be committed.

In: the tables of one or more process runs and a name. Out: a folder below the folder of baselines:

    FOLDER/NAME/baseline.json     when and from what it was made, and the regressions that were accepted
    FOLDER/NAME/run-01/           a run directory with sums per kernel (run.json, tables/); no launches, no capture
    FOLDER/NAME/timings.json      in place of runs, where it was made from results of benchmarks
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsightkit import parquet
from nsightkit.errors import IngestError, ReportError
from nsightkit.run import Run, RunInfo, write_text
from nsightkit.tables import TABLES

if TYPE_CHECKING:
    from nsightkit.parquet import TableData

DESCRIPTION = "baseline.json"
TIMINGS = "timings.json"
SCHEMA_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Acceptance:
    """A regression that somebody accepted: the condition passes until the change is surely beyond `change`."""

    condition: str
    change: float  # a ratio for a relative condition, else base units
    reason: str
    created_utc: str
    head: str = ""


@dataclass(frozen=True)
class Baseline:
    """What is known of a stored baseline."""

    name: str
    schema_version: int = SCHEMA_VERSION
    created_utc: str = ""
    source: str = ""  # what it was made from, as the user named it
    accepted: tuple[Acceptance, ...] = ()


@dataclass(frozen=True)
class StoredRun:
    """One process run of captures to keep: its description and its tables by name."""

    info: RunInfo
    tables: Mapping[str, TableData] = field(default_factory=dict)


@dataclass(frozen=True)
class Timings:
    """The timings of benchmarks to keep, each an object that JSON can hold."""

    items: Sequence[Mapping[str, Any]]


def now_utc() -> str:
    """Return the time as baselines record it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def baseline_path(folder: Path, name: str) -> Path:
    """Return where the baseline `name` is kept.

    Raises:
        ReportError: `name` is no plain name.
    """
    if not _NAME.fullmatch(name):
        raise ReportError(
            f"'{name}' cannot name a baseline; use letters, digits, dot, dash and underscore", slug="bad-baseline-name"
        )
    return folder / name


def is_baseline(path: Path) -> bool:
    """Say whether `path` is a stored baseline."""
    return os.path.isfile(path / DESCRIPTION)


def find_baseline(argument: str, folder: Path) -> Path | None:
    """Return the baseline that `argument` names, by its path or by its name in `folder`; None where it is none."""
    return next((path for path in (Path(argument), folder / argument) if is_baseline(path)), None)


def save_baseline(
    folder: Path, baseline: Baseline, kept: Sequence[StoredRun] | Timings, replace_old: bool = False
) -> Path:
    """Write a baseline and return its folder; it appears whole or not at all.

    Args:
        folder: the folder of baselines.
        baseline: what is said of it.
        kept: process runs of captures, or the timings of benchmarks.
        replace_old: replace a baseline of that name.

    Raises:
        ReportError: it exists and `replace_old` is False, or the folder cannot be written.
    """
    path = baseline_path(folder, baseline.name)
    _refuse_old(path, replace_old)
    # Of its own for each process: two that save at once must not mix.
    partial = folder / f".{baseline.name}.{os.getpid()}.partial"
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        if isinstance(kept, Timings):
            write_text(partial / TIMINGS, json.dumps(kept.items, indent=1) + "\n")
        else:
            for number, stored in enumerate(kept, 1):
                _write_run(Run(partial / f"run-{number:02}"), stored)
        _write_description(partial, baseline)
        _refuse_old(path, replace_old)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    except OSError as error:
        raise ReportError(
            f"cannot write {path}: {error.strerror}; name another folder with --baselines", slug="cannot-write"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _refuse_old(path: Path, replace_old: bool) -> None:
    if path.exists() and not (replace_old and is_baseline(path)):
        way_out = "add --force to replace it" if is_baseline(path) else "it is no baseline; choose another name"
        raise ReportError(f"{path}: exists already; {way_out}", slug="output-exists")


def _write_run(run: Run, stored: StoredRun) -> None:
    capture = stored.info.captures[0].capture_id if stored.info.captures else "run"
    for name, data in stored.tables.items():
        parquet.write_table(run.table_path(name, capture), TABLES[name], data, {"capture_id": capture})
    run.write_info(stored.info)


def _write_description(path: Path, baseline: Baseline) -> None:
    write_text(path / DESCRIPTION, json.dumps(asdict(baseline), indent=2) + "\n")


def read_baseline(path: Path) -> Baseline:
    """Return the description of the baseline at `path`.

    Raises:
        IngestError: there is none, or it is damaged or of a newer nsightkit.
    """
    if not is_baseline(path):
        raise IngestError(f"{path}: no baseline of that name; 'nsightkit baseline list' shows them", slug="no-baseline")
    try:
        data = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        version = int(data["schema_version"])
        accepted = tuple(Acceptance(**_known(Acceptance, item)) for item in data.get("accepted", ()))
        found = Baseline(**{**_known(Baseline, data), "accepted": accepted})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IngestError(
            f"{path / DESCRIPTION}: damaged ({error}); save the baseline again", slug="no-baseline"
        ) from None
    if version > SCHEMA_VERSION:
        raise IngestError(f"{path}: written by a newer nsightkit (schema {version}); upgrade", slug="no-baseline")
    return found


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {key: value for key, value in data.items() if key in names}


def run_paths(path: Path) -> list[Path]:
    """Return the run directories of the baseline at `path`, one a process run."""
    return sorted(found.parent for found in path.glob("run-*/run.json"))


def read_timings(path: Path) -> list[dict[str, Any]] | None:
    """Return the timings that the baseline at `path` keeps; None where it keeps sums of kernels.

    Raises:
        IngestError: they are damaged.
    """
    if not (path / TIMINGS).is_file():
        return None
    try:
        found = json.loads((path / TIMINGS).read_text(encoding="utf-8"))
        if not isinstance(found, list):
            raise ValueError("no list")
    except (OSError, ValueError) as error:
        raise IngestError(f"{path / TIMINGS}: damaged ({error}); save the baseline again", slug="no-baseline") from None
    return found


def list_baselines(folder: Path) -> list[Baseline]:
    """Return the baselines below `folder`, by name; none where the folder does not exist."""
    found = (path.parent for path in sorted(folder.glob(f"*/{DESCRIPTION}")))
    # Hidden is what a save has not finished, or could not.
    return [read_baseline(path) for path in found if not path.name.startswith(".")]


def accept_regressions(path: Path, accepted: Sequence[Acceptance]) -> Baseline:
    """Record accepted regressions in the baseline at `path`; a later one for a condition replaces the earlier one.

    Raises:
        IngestError: there is no baseline.
        ReportError: it cannot be written.
    """
    old = read_baseline(path)
    replaced = {item.condition for item in accepted}
    kept = tuple(item for item in old.accepted if item.condition not in replaced)
    new = replace(old, accepted=(*kept, *accepted))
    _write_description(path, new)
    return new


def remove_baseline(folder: Path, name: str) -> None:
    """Remove the baseline `name`, and nothing that is not one.

    Raises:
        IngestError: there is no such baseline.
        ReportError: it cannot be removed.
    """
    path = baseline_path(folder, name)
    if not is_baseline(path):
        raise IngestError(f"{path}: no baseline of that name; 'nsightkit baseline list' shows them", slug="no-baseline")
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise ReportError(f"cannot remove {path}: {error.strerror}", slug="cannot-write") from None
