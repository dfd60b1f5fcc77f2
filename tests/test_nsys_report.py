"""Reports of nsys: exported by an nsys, read, and nothing left behind."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from builders.nsys import BUSY, write_sqlite
from nsightkit import parquet
from nsightkit.errors import IngestError, ToolError
from nsightkit.ingest import find_sources, nsys_parquet, nsys_report
from nsightkit.ingest.reader import CaptureData
from nsightkit.tables import TABLES
from real_tools import answered

MAGIC = b"NVIDIA Tegra Profiler Report 2025@1@1@1"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "run.nsys-rep"
    path.parent.mkdir()
    path.write_bytes(MAGIC + b"\0" * 100)
    return path


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep our temporary files where the test can see them."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def fake_nsys(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an nsys on PATH that runs `script` with the output file as sys.argv[6] and the report as sys.argv[7]."""
    folder.mkdir()
    tool = folder / "nsys"
    tool.write_text(f"#!{sys.executable}\nimport sys, shutil\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def names_of(data: CaptureData) -> list[str]:
    table = parquet.with_capture_id(TABLES["kernel_launches"], data.tables["kernel_launches"], "c")
    return list(table["kernel_name"].to_pylist())


def test_a_report_is_told_by_its_content(report: Path) -> None:
    (source,), failures = find_sources([report])
    assert (source.reader, failures) == ("nsys_report", [])
    assert not nsys_report.recognizes(report, b"NVR\0")


def test_without_nsys_the_error_names_both_ways(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError, match="no nsys on PATH") as caught:
        nsys_report.read((report,), None)
    assert "nsys export --type sqlite" in str(caught.value)


def test_a_report_is_exported_read_and_cleaned_up(
    report: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_sqlite(tmp_path / "made.sqlite", BUSY)
    check = "assert sys.argv[1:5] == ['export', '--type', 'sqlite', '--force-overwrite=true']"
    fake_nsys(tmp_path / "bin", monkeypatch, f"{check}\nshutil.copy({str(made)!r}, sys.argv[6])")
    data = nsys_report.read((report,), None)
    assert len(list(scratch.iterdir())) == 1  # the streams are still to be read
    assert len(names_of(data)) == 5
    del data
    gc.collect()
    assert list(scratch.iterdir()) == []
    assert [p.name for p in report.parent.iterdir()] == ["run.nsys-rep"]


@pytest.mark.parametrize(
    "script",
    [
        "print('Invalid version prefix', file=sys.stderr); sys.exit(1)",
        "print('Invalid version prefix', file=sys.stderr)",  # status 0 proves nothing
        "open(sys.argv[6], 'w').close(); print('Invalid version prefix', file=sys.stderr)",
    ],
)
def test_a_failed_export_is_refused(
    report: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    fake_nsys(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(IngestError, match="Invalid version prefix") as caught:
        nsys_report.read((report,), None)
    assert str(report) in str(caught.value)
    assert caught.value.slug == "nsys-export-failed"
    assert list(scratch.iterdir()) == []


def test_a_damaged_export_names_the_report(
    report: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nsys(tmp_path / "bin", monkeypatch, "open(sys.argv[6], 'wb').write(b'SQLite format 3\\0' + b'x' * 300)")
    with pytest.raises(IngestError, match=r"run\.nsys-rep") as caught:
        nsys_report.read((report,), None)
    assert caught.value.slug == "damaged-database"
    gc.collect()
    assert list(scratch.iterdir()) == []


@pytest.mark.nsight
@pytest.mark.shared
def test_the_old_shared_report_had_no_cuda(
    shared_data: Path, nsight_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{nsight_path}{os.pathsep}{os.environ['PATH']}")
    (source,), failures = find_sources([shared_data / "nsys-rep" / "nsys2021.qdrep"])
    assert failures == []
    data = source.read()
    assert data.notes == ("no kernel rows: CUDA was not traced, or the program did not use it",)
    assert (data.facts["gpu_name"], data.facts["driver_version"]) == ("NVIDIA RTX A2000 12GB", "520.61.05")


WORKLOAD = """
import nvtx
nvtx.get_domain("mine")
for i in range(3):
    with nvtx.annotate("step"):
        with nvtx.annotate(f"inner {i}", domain="work"):
            pass
"""


@pytest.mark.nsight
def test_a_real_capture_by_every_road(tmp_path: Path, nsight_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{nsight_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "work.py").write_text(WORKLOAD)
    profile = [
        "nsys",
        "profile",
        "--trace=nvtx",
        "--sample=none",
        "--cpuctxsw=none",
        "-o",
        "run",
        sys.executable,
        "work.py",
    ]
    done = answered(profile, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    expected = None
    for kind in (None, "parquetdir", "arrowdir"):
        path = tmp_path / "run.nsys-rep"
        if kind:
            subprocess.run(["nsys", "export", "--type", kind, "-o", kind, "run.nsys-rep"], cwd=tmp_path,
                           capture_output=True, check=True)  # fmt: skip
            path = tmp_path / kind
        data = (nsys_parquet if kind else nsys_report).read((path,), None)
        found = parquet.with_capture_id(TABLES["nvtx_ranges"], data.tables["nvtx_ranges"], "c").to_pylist()
        inner = [(f"inner {i}", "work") for i in range(3)]
        assert sorted((r["name"], r["domain"]) for r in found) == [*inner, *[("step", None)] * 3]
        expected = expected or found
        assert found == expected
