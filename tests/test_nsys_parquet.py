"""Folders of tables: the same rows as from SQLite, and damaged tables refused."""

from pathlib import Path

import pytest

from builders.nsys import BUSY, Capture, write_parquetdir, write_sqlite
from nsightkit import parquet
from nsightkit.errors import IngestError
from nsightkit.ingest import find_sources, nsys_parquet, nsys_sqlite
from nsightkit.tables import TABLES


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_folder_gives_the_rows_of_the_sqlite_export(tmp_path: Path, suffix: str) -> None:
    folder = nsys_parquet.read((write_parquetdir(tmp_path / "dir", BUSY, suffix),), None)
    database = nsys_sqlite.read((write_sqlite(tmp_path / "x.sqlite", BUSY),), None)
    assert set(folder.tables) == set(database.tables)
    for name in folder.tables:
        ours = parquet.with_capture_id(TABLES[name], folder.tables[name], "c")
        theirs = parquet.with_capture_id(TABLES[name], database.tables[name], "c")
        assert ours.to_pylist() == theirs.to_pylist(), name
        assert ours.num_rows > 0
    assert (folder.facts, folder.notes, folder.tool_version) == (database.facts, database.notes, database.tool_version)


def test_a_folder_is_recognized_by_its_tables(tmp_path: Path) -> None:
    folder = write_parquetdir(tmp_path / "run", BUSY)
    (source,), failures = find_sources([folder])
    assert (source.reader, failures) == ("nsys_parquet", [])
    (tmp_path / "empty").mkdir()
    assert not nsys_parquet.recognizes(tmp_path / "empty", b"")


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    folder = write_parquetdir(tmp_path / "run", BUSY)
    data = nsys_parquet.read((folder,), {"nvtx_ranges": ("name", "start_ns")})
    assert list(data.tables) == ["nvtx_ranges"]
    assert next(iter(data.tables["nvtx_ranges"])).schema.names == ["name", "start_ns"]  # type: ignore[call-overload]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_damaged_table_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    folder = write_parquetdir(tmp_path / "run", BUSY, suffix)
    damaged = folder / f"CUPTI_ACTIVITY_KIND_KERNEL{suffix}"
    damaged.write_bytes(damaged.read_bytes()[:30])
    with pytest.raises(IngestError, match="CUPTI_ACTIVITY_KIND_KERNEL") as caught:
        nsys_parquet.read((folder,), None)
    assert caught.value.slug == "damaged-database"


def test_missing_kernels_are_noted(tmp_path: Path) -> None:
    folder = write_parquetdir(tmp_path / "run", Capture(ranges=BUSY.ranges))
    assert "CUDA was not traced" in nsys_parquet.read((folder,), None).notes[0]
