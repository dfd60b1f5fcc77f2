"""Finds the captures among the files that a user names.

In: paths of captures or of folders. Out: `Source` values, each the files of one capture with its reader and a name;
and `Failure` values for what cannot be one. A file's content decides, never its name.
"""

import errno
import gzip
import hashlib
import importlib
import os
import re
import zlib
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nsightkit.errors import IngestError, NsightkitError
from nsightkit.ingest.capture_names import names_of, rank_of
from nsightkit.ingest.reader import CaptureData, Reader, Wanted
from nsightkit.run import CAPTURE_NAME, LOG_NAME, is_run

# In the order in which they are asked; the first that recognizes a file reads it.
READERS = ("ncu_report", "nsys_sqlite", "nsys_parquet", "nsys_report", "torch_trace", "nsys_stats", "ncu_csv")
HEAD_BYTES = 65536
TWICE = "there-twice"  # slug of what is passed over because the same launches are read from another file
_MOST_NAMES = 2000  # of a folder that are compared with a name that does not exist
# What the pages of a report are called that ncu --import --csv prints, behind the report's own name.
_PAGES = ("", "raw", "details", "ncu", "page-raw", "page-details", "metrics")


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why; `named` if the user named it, else it lay in a folder."""

    path: Path
    reason: str
    slug: str
    named: bool
    is_capture: bool = True


@dataclass(frozen=True)
class Source:
    """The files of one capture, the reader for them, and a name that is unique among the sources of one call."""

    reader: str
    paths: tuple[Path, ...]
    capture_id: str
    named: bool = True

    def read(self, wanted: Wanted = None) -> CaptureData:
        """Read the capture; raises IngestError or ToolError."""
        return load_reader(self.reader).read(self.paths, wanted)


def load_reader(name: str) -> Reader:
    """Return the reader module called `name`."""
    return cast(Reader, importlib.import_module(f"nsightkit.ingest.{name}"))


def find_sources(paths: Sequence[Path]) -> tuple[list[Source], list[Failure]]:
    """Return the captures in `paths` and what could not be one; ncu CSVs of one folder are one capture."""
    failures: list[Failure] = []
    found: list[tuple[str, Path, bool]] = []
    for path in paths:
        try:
            captures = [(reader, file, file == path) for reader, file in _captures_in(path, failures)]
            if not captures:
                raise IngestError(f"{path}: {_why_nothing(path)}", slug="not-a-capture")
            found += captures
        except NsightkitError as error:
            failures.append(Failure(path, str(error), error.slug, named=True))
    return _grouped(_without_twins(found, failures)), failures


def _without_twins(
    found: Sequence[tuple[str, Path, bool]], failures: list[Failure]
) -> Iterator[tuple[str, Path, bool]]:
    """Yield `found` without second ways to the same launches: counting both would double every number."""
    exports = {_stem(path) for reader, path, _ in found if reader in ("nsys_sqlite", "nsys_parquet")}
    reports = {path for reader, path, _ in found if reader == "ncu_report"}
    copies = _copies([path for reader, path, _ in found if reader != "ncu_csv"])
    for reader, path, named in found:
        if reader == "nsys_report" and not named and _stem(path) in exports:
            reason = "its export lies beside it and is read instead"
        elif reader == "ncu_csv" and not named and (report := _report_beside(path, reports)) is not None:
            reason = f"a page of {report.name}, which is read"
        elif not named and path in copies:
            reason = f"a copy of {_told_apart(copies[path], path)}, which is read"
        else:
            yield reader, path, named
            continue
        failures.append(Failure(path, reason, TWICE, named=False, is_capture=False))


def _told_apart(file: Path, other: Path) -> str:
    """Return the name of `file`, with its folder where it is not that of `other`: report1.sqlite is in many."""
    return file.name if file.parent == other.parent else str(Path(file.parent.name, file.name))


def _report_beside(csv: Path, reports: Collection[Path]) -> Path | None:
    """Return the report of which `csv` is a page by its name: r.csv, r.raw.csv or r_details.csv beside r.ncu-rep."""
    for report in reports:
        if report.parent == csv.parent and csv.name.startswith(report.stem):
            rest = csv.name[len(report.stem) :].lower().removesuffix(".csv").removesuffix(".ncu-rep")
            if rest.strip("._-") in _PAGES:
                return report
    return None


def _alike(groups: Iterable[Sequence[Path]], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """Split groups by `key`; what is left alone is dropped, and so is a file beside links to it."""
    parts: list[list[Path]] = []
    for group in groups:
        found: dict[Hashable, list[Path]] = {}
        for path in group:
            found.setdefault(key(path), []).append(path)
        parts += [part for part in found.values() if len({path.resolve() for path in part}) > 1]
    return parts


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - HEAD_BYTES))
        return head + file.read(HEAD_BYTES)


def _copies(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return file -> which of `paths` has the same content and is read: the first whose name states a rank, or at all.

    A link is its target, which is no copy of itself.
    """
    alike = _alike([[path for path in paths if path.is_file()]], lambda path: path.stat().st_size)
    copies: dict[Path, Path] = {}
    first: dict[bytes, Path] = {}
    # A thousand ranks may have files of one size: only those that begin and end alike are read as a whole.
    for path in (p for group in _alike(alike, _ends) for p in sorted(group, key=lambda p: rank_of(p) is None)):
        with path.open("rb") as file:
            original = first.setdefault(hashlib.file_digest(file, "blake2b").digest(), path)
        if original.resolve() != path.resolve():
            copies[path] = original
    return copies


def _captures_in(path: Path, failures: list[Failure]) -> Iterator[tuple[str, Path]]:
    require_input(path)
    reader = reader_for(path)
    if reader is not None:
        yield reader, path
    elif path.is_dir():
        yield from _captures_below(path, failures)
    else:
        raise IngestError(f"{path}: {_why_no_capture(path)}", slug="not-a-capture")


def require_input(path: Path) -> None:
    """Raise where nothing can be read at `path`.

    Raises:
        IngestError: there is nothing, a link to nothing, or no permission.
    """
    if not os.path.exists(path):
        if any(os.path.isdir(folder) and not os.access(folder, os.X_OK) for folder in path.parents):
            raise IngestError(f"{path}: cannot be read ({os.strerror(errno.EACCES)})", slug="cannot-read")
        reason = "no such file or folder"
        if path.is_symlink():
            reason = f"a link to {path.readlink()}, which is not there"
        raise IngestError(f"{path}: {reason}{near_name(path)}", slug="no-such-file")
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        raise IngestError(f"{path}: cannot be read ({os.strerror(errno.EACCES)})", slug="cannot-read")


def near_name(path: Path) -> str:
    """Return "; did you mean …?" where something beside `path` is called nearly as it, else nothing."""
    from difflib import get_close_matches

    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.name != path.name][:_MOST_NAMES]
    except OSError:
        return ""
    near = get_close_matches(path.name, names, n=5)
    # Endings alone make a.sqlite near to b.sqlite.
    alike = [name for name in near if get_close_matches(path.name.split(".")[0], [name.split(".")[0]])]
    return f"; did you mean {path.parent / alike[0]}?" if alike else ""


def _captures_below(folder: Path, failures: list[Failure]) -> Iterator[tuple[str, Path]]:
    for path in _entries(folder):
        try:
            require_input(path)
            reader = reader_for(path)
            inner = list(_captures_below(path, failures)) if reader is None and path.is_dir() else []
        except IngestError as error:
            failures.append(Failure(path, str(error), error.slug, named=False))
            continue
        if reader is not None:
            yield reader, path
        elif path.is_dir():
            yield from inner
        else:
            failures.append(Failure(path, _why_no_capture(path), "not-a-capture", named=False, is_capture=False))


def _entries(folder: Path) -> list[Path]:
    """Return what lies in `folder`, without hidden files, runs, and links that could lead in circles."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise IngestError(f"{folder}: cannot be read ({error.strerror})", slug="cannot-read") from None
    return [p for p in paths if not _is_passed_over(p)]


def _is_passed_over(path: Path) -> bool:
    # The log of a profiled program may look like anything, also like ncu's own output.
    ours = path.name == LOG_NAME or is_run(path) or (path.suffix == ".log" and path.parent.name == CAPTURE_NAME)
    return ours or path.name.startswith(".") or (path.is_symlink() and path.is_dir())


def reader_for(path: Path) -> str | None:
    """Return the name of the reader that recognizes `path`, None where none does.

    Raises:
        IngestError: the file cannot be opened.
    """
    head = _head(path)
    return next((name for name in READERS if load_reader(name).recognizes(path, head)), None)


def _head(path: Path) -> bytes:
    """Return the first bytes of a file, of its content where it is compressed with gzip."""
    if path.is_dir():
        return b""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror})", slug="cannot-read") from None
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                return file.read(HEAD_BYTES)
        except (OSError, EOFError, zlib.error):
            return head
    return head


def _why_no_capture(path: Path) -> str:
    if path.stat().st_size == 0:
        return "the file is empty; copy it again from where it was written, or capture again"
    skipped = next((line for line in _head(path).decode("utf-8", "replace").splitlines() if "SKIPPED: " in line), None)
    if skipped:
        return f'a printout of nsys stats without a table: it said "{skipped.strip()[:200]}"; the capture holds none'
    return (
        "not a capture that nsightkit knows (it reads .ncu-rep, ncu CSV, nsys SQLite or parquet exports, .nsys-rep, "
        "nsys stats output and torch.profiler traces, told apart by their content)"
    )


def _why_nothing(folder: Path) -> str:
    runs = sorted(path.name for path in folder.iterdir() if is_run(path))
    if not runs:
        return "no capture in this folder or below; name a capture, a folder that holds some, or a run directory"
    return f"a folder of {len(runs)} runs and no capture; name one of them, such as {folder / runs[-1]}"


def _stem(path: Path) -> Path:
    # nsys names the folders that it exports into NAME_pqtdir and NAME_arwdir.
    return path.with_name(re.sub(r"_(pqt|arw)dir$", "", path.stem))


def _grouped(found: Iterable[tuple[str, Path, bool]]) -> list[Source]:
    groups: dict[tuple[str, Path], list[tuple[Path, bool]]] = {}
    for reader, path, named in found:
        # A kernel's ncu CSVs, one a section, lie in one folder.
        key = (reader, path.parent.resolve() if reader == "ncu_csv" else path.resolve())
        group = groups.setdefault(key, [])
        # A link and its target, or a file that is named and lies in a named folder, are one file.
        if path.resolve() not in [other.resolve() for other, _ in group]:
            group.append((path, named))
    names = names_of([[path for path, _ in group] for group in groups.values()])
    return [
        Source(reader, tuple(path for path, _ in group), name, named=any(named for _, named in group))
        for ((reader, _), group), name in zip(groups.items(), names, strict=True)
    ]
