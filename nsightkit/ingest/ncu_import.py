"""Has an ncu on PATH print a report as CSV, where NVIDIA's Python reader is not installed.

In: a report. Out: the same launches, through `ncu_csv`. ncu prints two digits after the point, so numbers are rounded.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from nsightkit.errors import IngestError, NsightkitError
from nsightkit.ingest import ncu_csv
from nsightkit.ingest.ncu_rows import Launch

_VERSION_TIMEOUT_S = 60
_PRINT_TIMEOUT_S = 1800
_PAGES = ("raw", "details")


def find_ncu() -> Path | None:
    """Return the ncu of Nsight Compute on PATH; npm has a tool of the same name, which does not count."""
    found = shutil.which("ncu")
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(found) if b"Nsight Compute" in done.stdout else None


def read_launches(ncu: Path, report: Path, shown: Path, *, with_rules: bool) -> tuple[list[Launch], tuple[str, ...]]:
    """Return the launches of `report` as `ncu` prints them, and what must be known about them.

    Args:
        ncu: the tool.
        report: the file under a name that the tool opens.
        shown: the file as the user named it, for messages.
        with_rules: whether the findings of ncu's rules are needed, which stand on another page.

    Raises:
        IngestError: the tool cannot read the report, or prints nothing.
    """
    pages = _PAGES if with_rules else _PAGES[:1]
    with tempfile.TemporaryDirectory(prefix="nsightkit-") as folder:
        printed = tuple(_print_page(ncu, report, page, Path(folder)) for page in pages)
        try:
            launches, notes = ncu_csv.read_launches(tuple(path for path in printed if path.stat().st_size))
        except NsightkitError:
            raise IngestError(
                f"{shown}: ncu on PATH cannot read this report{_own_words(printed)}; install NVIDIA's reader "
                "(pip install 'nsightkit[ncu]') or a newer Nsight Compute",
                slug="ncu-report-unreadable",
            ) from None
    return launches, (*notes, "read through ncu on PATH, which prints two digits after the point")


def _print_page(ncu: Path, report: Path, page: str, folder: Path) -> Path:
    output = folder / f"{page}.csv"
    argv = [str(ncu), "--import", str(report), "--csv", "--page", page, "--print-units", "base"]
    try:
        with output.open("wb") as file:
            subprocess.run(
                argv,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=_PRINT_TIMEOUT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise IngestError(f"{report}: ncu could not print it ({error})", slug="ncu-report-unreadable") from None
    return output


def _own_words(printed: tuple[Path, ...]) -> str:
    for path in printed:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("==ERROR=="):
                return f" (it says: {line.removeprefix('==ERROR==').strip()})"
    return ""
