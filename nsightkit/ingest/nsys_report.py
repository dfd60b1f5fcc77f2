"""Reads Nsight Systems reports, ``.nsys-rep`` and ``.qdrep``, by having nsys export them.

In: a report. Out: `CaptureData`. The export goes into a folder of our own and is removed with the last of its tables;
nothing appears beside the report.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

from nsightkit.errors import IngestError, ToolError
from nsightkit.ingest.nsys_capture import BACKEND, capture_data
from nsightkit.ingest.nsys_database import MAGIC, Database
from nsightkit.ingest.reader import CaptureData, Wanted

__all__ = ["BACKEND", "read", "recognizes"]

# A report begins with a line that names the product under its first name.
_MAGIC = b"NVIDIA Tegra Profiler Report"
_TIMEOUT_S = 3600


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether the file is a report of Nsight Systems."""
    return head.startswith(_MAGIC)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Export one report and read the export.

    Raises:
        ToolError: there is no nsys to export it.
        IngestError: nsys cannot export it.
    """
    (path, *_) = paths
    nsys = shutil.which("nsys")
    if nsys is None:
        raise ToolError(
            f"{path}: a report of Nsight Systems can only be read by nsys itself, and there is no nsys on PATH; "
            "install Nsight Systems, or run 'nsys export --type sqlite' where the report was made and name the .sqlite "
            "file",
            slug="no-nsys",
        )
    folder = Path(tempfile.mkdtemp(prefix="nsightkit-"))
    try:
        export = Database(_exported(nsys, path, folder), shown=path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # Tables are streams: the export must outlive this call, and lasts as long as one of them.
    weakref.finalize(export, shutil.rmtree, folder, ignore_errors=True)
    return capture_data(export, wanted)


def _exported(nsys: str, report: Path, folder: Path) -> Path:
    """Return the SQLite export of `report`; exit statuses prove nothing, the file does."""
    target = folder / "export.sqlite"
    argv = [nsys, "export", "--type", "sqlite", "--force-overwrite=true", "-o", str(target), str(report.absolute())]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", cwd=folder, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{report}: nsys could not be run ({error})", slug="no-nsys") from None
    if not target.is_file() or not _is_database(target):
        raise IngestError(
            f"{report}: nsys could not export it ({_last_words(done.stderr or done.stdout)}); it may be damaged, or "
            "written by a newer nsys than the one on PATH",
            slug="nsys-export-failed",
        )
    return target


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _last_words(text: str) -> str:
    lines = [line.strip() for part in text.split("\r") for line in part.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Processing")]
    return told[-1][:200] if told else "it said nothing"
