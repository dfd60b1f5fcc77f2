"""Tables on disk: types, units and docs come back, and rows that do not fit are refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit import parquet
from nsightkit.errors import IngestError, TableError
from nsightkit.tables import DIAGNOSTICS, GPUS, KERNEL_LAUNCHES

PROVENANCE = {"capture_id": "c", "backend": "nsys", "tool_version": "2025.1"}
LAUNCHES = {"kernel_name": ["a", "b", "a"], "start_ns": [0, 5, 2**62], "duration_ns": [1, None, 3]}


def write(path, data=LAUNCHES, table=KERNEL_LAUNCHES):
    return parquet.write_table(path, table, data, PROVENANCE)


def test_rows_come_back_with_declared_types(tmp_path):
    path = tmp_path / "t" / "c.parquet"
    assert write(path) == 3
    table = parquet.read_table(KERNEL_LAUNCHES, [path])
    assert table.schema.names == list(KERNEL_LAUNCHES.column_names)
    assert table["kernel_name"].to_pylist() == ["a", "b", "a"]
    assert table["start_ns"].to_pylist() == [0, 5, 2**62]
    assert table["duration_ns"].to_pylist() == [1, None, 3]
    assert table["capture_id"].to_pylist() == ["c"] * 3
    assert table["grid_x"].null_count == 3


def test_the_file_explains_itself(tmp_path):
    path = tmp_path / "c.parquet"
    write(path)
    file = pq.ParquetFile(path)
    field = file.schema_arrow.field("duration_ns")
    assert field.metadata[b"unit"] == b"ns"
    assert b"how long it took" in field.metadata[b"doc"]
    meta = json.loads(file.schema_arrow.metadata[b"nsightkit"])
    assert meta["table"] == "kernel_launches"
    assert meta["tool_version"] == "2025.1"
    column = file.metadata.row_group(0).column(file.schema_arrow.get_field_index("start_ns"))
    assert column.compression == "ZSTD"
    assert "DELTA_BINARY_PACKED" in column.encodings


def test_streams_and_arrays_equal_lists(tmp_path):
    batches = (
        pa.record_batch({"kernel_name": [name], "start_ns": [start], "duration_ns": pa.array([duration], pa.int64())})
        for name, start, duration in zip(*LAUNCHES.values(), strict=True)
    )
    write(tmp_path / "stream.parquet", batches)
    write(tmp_path / "list.parquet")
    stream, listed = (parquet.read_table(KERNEL_LAUNCHES, [tmp_path / f"{n}.parquet"]) for n in ("stream", "list"))
    assert stream.to_pylist() == listed.to_pylist()
    arrays = {"device_id": np.array([0, 1], np.int32), "gpu_name": ["x", None]}
    assert parquet.with_capture_id(GPUS, arrays, "c").to_pylist()[1]["device_id"] == 1


def test_several_captures_are_one_table(tmp_path):
    for name in ("a", "b"):
        parquet.write_table(tmp_path / f"{name}.parquet", KERNEL_LAUNCHES, LAUNCHES, {"capture_id": name})
    table = parquet.read_table(KERNEL_LAUNCHES, sorted(tmp_path.glob("*.parquet")), ["capture_id", "duration_ns"])
    assert table.column_names == ["capture_id", "duration_ns"]
    assert table["capture_id"].to_pylist() == ["a"] * 3 + ["b"] * 3


def test_no_files_are_no_rows():
    assert parquet.read_table(GPUS, []).num_rows == 0
    assert parquet.read_table(GPUS, []).column_names == list(GPUS.column_names)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kernel_name": ["a"], "start_ns": [None]}, "start_ns: a value is missing"),
        ({"kernel_name": ["a"], "start_ns": ["soon"]}, "start_ns"),
        ({"kernel_name": ["a"], "start_ns": [2**63]}, "start_ns"),
        ({"kernel": ["a"]}, "has no column kernel"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_leave_no_file(tmp_path, data, message):
    with pytest.raises(TableError, match=message):
        write(tmp_path / "c.parquet", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1"])
def test_a_damaged_table_is_named(tmp_path, content):
    path = tmp_path / "c.parquet"
    path.write_bytes(content)
    with pytest.raises(IngestError, match=r"c\.parquet: damaged table"):
        parquet.read_table(GPUS, [path])


@given(st.lists(st.tuples(st.sampled_from(["info", "warning"]), st.text(max_size=40)), max_size=20))
def test_any_text_survives(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "c.parquet"
    data = {"severity": [r[0] for r in rows], "text": [r[1] for r in rows]}
    write(path, data, DIAGNOSTICS)
    table = parquet.read_table(DIAGNOSTICS, [path])
    assert list(zip(table["severity"].to_pylist(), table["text"].to_pylist(), strict=True)) == rows
