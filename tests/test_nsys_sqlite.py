"""The reader of nsys SQLite exports: every schema, no change to the input, refusals with the true reason."""

import shutil
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.nsys import BUSY, PID, Capture, Kernel, Range, process_key, thread_key, write_sqlite
from nsightkit import parquet
from nsightkit.errors import IngestError
from nsightkit.ingest import find_sources, nsys_database, nsys_pages, nsys_sqlite
from nsightkit.ingest.reader import CaptureData
from nsightkit.tables import TABLES


def read(path: Path, wanted: object = None) -> CaptureData:
    return nsys_sqlite.read((path,), wanted)  # type: ignore[arg-type]


def rows(data: CaptureData, table: str) -> list[dict[str, object]]:
    return parquet.with_capture_id(TABLES[table], data.tables[table], "c").to_pylist()


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    return write_sqlite(tmp_path / "busy.sqlite", BUSY)


def test_kernels_have_names_times_places_and_graph_nodes(busy: Path) -> None:
    kernels = rows(read(busy), "kernel_launches")
    assert [k["kernel_name"] for k in kernels] == ["void gemm<float>(int)"] * 3 + ["copy<a|b>(char*)"] * 2
    assert [k["duration_ns"] for k in kernels] == [600, 400, 500, 10, 10]
    assert kernels[2]["process_id"] == process_key(PID + 1)
    assert kernels[0]["correlation_id"] == kernels[2]["correlation_id"] == 1
    assert [k["graph_node_id"] for k in kernels] == [None, None, None, 7 << 32 | 1, 7 << 32 | 2]
    first = kernels[0]
    assert (first["short_name"], first["stream_id"], first["block_x"], first["cluster_x"]) == ("void gemm", 7, 32, 2)
    assert first["dynamic_shared_memory_bytes"] == 1024
    assert first["graph_id"] is None


def test_calls_copies_and_fills(busy: Path) -> None:
    data = read(busy)
    calls = rows(data, "cuda_api_calls")
    assert [(c["name"], c["api"], c["duration_ns"]) for c in calls[2:]] == [
        ("cudaLaunchKernel_v7000", "runtime", 60),
        ("cudaGraphLaunch_v10000", "runtime", 90),
        ("cuMemcpyAsync", "driver", 80),
    ]
    assert calls[2]["process_id"] == process_key(PID + 1)
    assert calls[2]["thread_id"] == thread_key(PID + 1)
    memory = rows(data, "memory_operations")
    assert [(m["operation"], m["moved_bytes"], m["duration_ns"]) for m in memory] == [
        ("[CUDA memcpy Host-to-Device]", 1000, 50),
        ("[CUDA memcpy Host-to-Device]", 3000, 20),
        ("[CUDA memcpy Device-to-Device]", 500, 10),
        ("[CUDA memset]", 64, 1),
    ]
    assert [(m["source_kind"], m["destination_kind"]) for m in memory[2:]] == [("pinned", "device"), (None, "device")]


def test_ranges_of_every_kind(busy: Path) -> None:
    found = {(r["name"], r["start_ns"]): r for r in rows(read(busy), "nvtx_ranges")}
    assert [name for name, _ in found] == ["decode", "step", "step", "inner", "request", "still open", "mark"]
    assert found["step", 850]["duration_ns"] == 1650
    assert found["inner", 860]["domain"] == "work"
    assert found["decode", 800]["domain"] is None
    assert found["request", 900]["kind"] == "start_end"
    assert found["request", 900]["end_thread_id"] == thread_key(PID, 9)
    assert found["still open", 950]["duration_ns"] is None
    assert found["still open", 950]["payload"] == 2.5
    assert (found["mark", 990]["kind"], found["mark", 990]["payload"]) == ("mark", -3.0)


def test_a_domain_counts_in_its_own_process_only(tmp_path: Path) -> None:
    capture = Capture(
        ranges=(Range(1, None, text="mine", domain=3, kind=75), Range(2, 4, text="a", domain=3),
                Range(2, 4, text="b", domain=3, pid=PID + 1)),
    )  # fmt: skip
    found = rows(read(write_sqlite(tmp_path / "d.sqlite", capture)), "nvtx_ranges")
    assert [(r["name"], r["domain"]) for r in found] == [("a", "mine"), ("b", None)]


@pytest.mark.parametrize(
    ("schema", "version", "cluster"), [("2021", None, None), ("2022", "2022.1.2.3", None), ("2025", "2025.1.2.3", 2)]
)
def test_schemas(tmp_path: Path, schema: str, version: str | None, cluster: int | None) -> None:
    data = read(write_sqlite(tmp_path / "x.sqlite", Capture(kernels=BUSY.kernels, schema=schema)))
    assert data.tool_version == version
    assert rows(data, "kernel_launches")[0]["cluster_x"] == cluster
    assert rows(data, "gpus")[0]["compute_capability"] == "9.0"


def test_only_wanted_tables_and_columns_are_read(busy: Path) -> None:
    data = read(busy, {"kernel_launches": ("kernel_name", "duration_ns")})
    assert list(data.tables) == ["kernel_launches"]
    batch = next(iter(data.tables["kernel_launches"]))  # type: ignore[call-overload]
    assert batch.schema.names == ["kernel_name", "duration_ns"]


def test_facts_come_from_an_allow_list(tmp_path: Path) -> None:
    capture = Capture(
        kernels=BUSY.kernels,
        gpus=((0, "NVIDIA A", 10), (1, "NVIDIA A", 10), (2, "Some Display Adapter", 0)),
        environment=(("NvDriverVersion", "52510517"), ("CudaDriverVersion", "12090"), ("Hostname", "secret-host"),
                     ("DeviceEnvironment", "API_TOKEN=abc")),
    )  # fmt: skip
    data = read(write_sqlite(tmp_path / "f.sqlite", capture))
    assert dict(data.facts) == {
        "gpu_name": "NVIDIA A", "compute_capability": "9.0", "driver_version": "525.105.17", "cuda_version": "12.9",
    }  # fmt: skip
    assert len(rows(data, "gpus")) == 2


def test_two_kinds_of_gpu_give_no_common_name(tmp_path: Path) -> None:
    capture = Capture(kernels=BUSY.kernels, gpus=((0, "NVIDIA A", 10), (1, "NVIDIA B", 10)))
    assert "gpu_name" not in read(write_sqlite(tmp_path / "f.sqlite", capture)).facts


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        (Capture(graph_launches=3), "3 graph launches were traced as a whole"),
        (Capture(kernels=BUSY.kernels, graph_launches=2), "2 graph launches were traced as a whole"),
        (Capture(calls=BUSY.calls), "the GPU's records are missing"),
        (Capture(ranges=BUSY.ranges), "CUDA was not traced"),
    ],
)
def test_missing_kernels_are_noted_with_the_reason(tmp_path: Path, capture: Capture, said: str) -> None:
    data = read(write_sqlite(tmp_path / "n.sqlite", capture))
    assert any(said in note for note in data.notes)


def test_a_full_capture_has_no_notes(busy: Path) -> None:
    assert read(busy).notes == ()


HOSTILE = ["x" * 10_000, "<script>alert(1)</script>", "a|b\nc\td", "\x1b[31mred\x1b[0m", "naïve ☃ 核", ""]


def test_hostile_names_survive(tmp_path: Path) -> None:
    capture = Capture(
        kernels=tuple(Kernel(name, i * 10, i * 10 + 5) for i, name in enumerate(HOSTILE)),
        ranges=tuple(Range(i, i + 1, text=name) for i, name in enumerate(HOSTILE)),
    )
    data = read(write_sqlite(tmp_path / "h.sqlite", capture))
    assert [k["kernel_name"] for k in rows(data, "kernel_launches")] == HOSTILE
    assert [r["name"] for r in rows(data, "nvtx_ranges")] == HOSTILE


def test_a_name_that_is_not_in_the_export_is_said(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "s.sqlite", BUSY)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM StringIds WHERE value LIKE 'void gemm<%'")
    connection.close()
    assert rows(read(path), "kernel_launches")[0]["kernel_name"] == "(string 1 is not in the export)"


# --- the three ways to the rows


def ways(path: Path, table: str, kinds: tuple[str, ...] = ("INTEGER", "REAL", "TEXT")) -> dict[str, pa.Table]:
    """Return the columns of some kinds as each way reads them; a way that gives up is left out."""
    database = nsys_database.Database(path)
    wanted = [name for name, kind in database.tables[table].columns.items() if kind in kinds]
    found = {}
    for way in ("_from_pages", "_from_connectorx", "_from_sqlite"):
        try:
            batches = list(getattr(database, way)(table, wanted, 0))
        except nsys_pages.UnsupportedError:
            continue
        found[way] = pa.Table.from_batches(batches) if batches else None
    return found


NUMBERS = ("INTEGER", "REAL")
LARGE = ("CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_MEMCPY",
         "CUPTI_ACTIVITY_KIND_MEMSET", "NVTX_EVENTS")  # fmt: skip


def compare_ways(path: Path) -> int:
    database = nsys_database.Database(path)
    compared = 0
    for table in [table for table in LARGE if database.has_rows(table)]:
        numbers = ways(path, table, NUMBERS)
        assert set(numbers) == {"_from_pages", "_from_connectorx", "_from_sqlite"}, (path.name, table)
        everything = ways(path, table)
        assert {"_from_pages", "_from_sqlite"} <= set(everything), (path.name, table)
        for found in (numbers, everything):
            for name, other in found.items():
                assert other.equals(found["_from_sqlite"]), (path.name, table, name)
        compared += 1
    return compared


def test_all_ways_agree_on_a_small_export(busy: Path) -> None:
    assert compare_ways(busy) == 5


@pytest.mark.shared
def test_all_ways_agree_on_every_shared_export(shared_data: Path) -> None:
    files = sorted((shared_data / "nsys-sqlite").glob("*.sqlite"))
    assert len(files) == 15
    assert sum(compare_ways(file) for file in files) == 53


_INTEGERS = st.one_of(
    st.none(),
    st.integers(-2, 300),
    st.sampled_from([2**15, -(2**15), 2**23, 2**31, 2**47, -(2**47), 2**63 - 1, -(2**63)]),
)
_TEXTS = st.one_of(st.none(), st.text(max_size=8), st.text("é", min_size=20, max_size=120))
_REALS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_INTEGERS, _TEXTS, _REALS, _INTEGERS), min_size=1, max_size=60), st.sampled_from([512, 4096]))
def test_pages_give_what_sqlite_gives(
    tmp_path: Path, values: list[tuple[int | None, str | None, float | None, int | None]], page_size: int
) -> None:
    path = tmp_path / "random.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size={page_size}")
    connection.execute("CREATE TABLE t (a INTEGER, b TEXT, c REAL, d INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", values)
    connection.commit()
    connection.close()
    found = ways(path, "t")
    assert found["_from_sqlite"].to_pydict() == dict(zip("abcd", map(list, zip(*values, strict=True)), strict=True))
    for other in found.values():
        assert other.to_pydict() == found["_from_sqlite"].to_pydict()


def test_pages_read_a_tree_of_several_levels(tmp_path: Path) -> None:
    path = tmp_path / "deep.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size=512")
    connection.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", ((i * i, -i) for i in range(40_000)))
    connection.execute("DELETE FROM t WHERE a % 7 = 0")
    connection.commit()
    connection.close()
    found = ways(path, "t")
    assert found["_from_pages"].equals(found["_from_sqlite"])


def test_a_value_of_another_type_leaves_the_rest(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "mixed.sqlite", BUSY)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET gridX = 'many' WHERE start = 2000")
        connection.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET streamId = 1 << 40 WHERE start = 1000")
    connection.close()
    kernels = rows(read(path), "kernel_launches")
    assert [k["grid_x"] for k in kernels] == [1, None, 1, 1, 1]
    assert [k["stream_id"] for k in kernels] == [None, 7, 9, 7, 7]


def test_nothing_is_printed_for_odd_values(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_sqlite(tmp_path / "odd.sqlite", BUSY)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET gridX = 2.5 WHERE start = 2000")
        connection.execute("UPDATE NVTX_EVENTS SET text = CAST(x'ff41' AS TEXT) WHERE text = 'decode'")
        connection.execute("UPDATE CUPTI_ACTIVITY_KIND_RUNTIME SET returnValue = x'00' WHERE start = 900")
    connection.close()
    data = read(path)
    assert [k["grid_x"] for k in rows(data, "kernel_launches")] == [1, None, 1, 1, 1]
    assert rows(data, "nvtx_ranges")[0]["name"] == "\ufffdA"
    assert rows(data, "cuda_api_calls")[0]["return_value"] is None
    assert capfd.readouterr() == ("", "")


def test_long_texts_that_overflow_their_page(tmp_path: Path) -> None:
    texts = ["short", "x" * 20_000, "y" * 300]
    ranges = tuple(Range(i, i + 1, text=text) for i, text in enumerate(texts))
    path = write_sqlite(tmp_path / "long.sqlite", Capture(ranges=ranges))
    assert set(ways(path, "NVTX_EVENTS")) == {"_from_sqlite"}
    assert set(ways(path, "NVTX_EVENTS", NUMBERS)) == {"_from_connectorx", "_from_sqlite"}
    assert [r["name"] for r in rows(read(path), "nvtx_ranges")] == texts


def test_rows_added_after_a_column_was(tmp_path: Path) -> None:
    path = tmp_path / "altered.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.execute("ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 5")
        connection.execute("INSERT INTO t VALUES (2, 6)")
    connection.close()
    found = ways(path, "t")
    assert set(found) == {"_from_connectorx", "_from_sqlite"}
    assert found["_from_connectorx"].equals(found["_from_sqlite"])
    assert found["_from_sqlite"].to_pydict() == {"a": [1, 2], "b": [5, 6]}


# --- the input stays as it was


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_nothing_appears_beside_the_input(tmp_path: Path, journal: str) -> None:
    path = write_sqlite(tmp_path / "busy.sqlite", BUSY)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.close()
    before = snapshot(tmp_path)
    data = read(path)
    assert len(rows(data, "kernel_launches")) == 5
    assert len(rows(data, "nvtx_ranges")) == 7
    assert snapshot(tmp_path) == before


def test_special_characters_in_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20#c?d"
    folder.mkdir()
    path = write_sqlite(folder / "é?mode=rwc.sqlite", BUSY)
    before = snapshot(folder)
    assert len(rows(read(path), "kernel_launches")) == 5
    assert snapshot(folder) == before


def test_a_write_ahead_log_is_read_from_a_copy(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    path = write_sqlite(live / "x.sqlite", Capture(kernels=BUSY.kernels[:1]))
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=wal")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL SELECT * FROM CUPTI_ACTIVITY_KIND_KERNEL")
    writer.commit()
    still = tmp_path / "still"
    still.mkdir()
    for name in ("x.sqlite", "x.sqlite-wal"):
        shutil.copy(live / name, still / name)
    writer.close()
    before = snapshot(still)
    data = read(still / "x.sqlite")
    assert len(rows(data, "kernel_launches")) == 2
    assert any("x.sqlite-wal lies beside the export" in note for note in data.notes)
    assert snapshot(still) == before


# --- refusals


def refusal(path: Path) -> IngestError:
    with pytest.raises(IngestError) as caught:
        [list(batches) for batches in read(path).tables.values()]
    assert str(path) in str(caught.value)
    return caught.value


def test_missing_file_is_refused_and_not_created(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.sqlite").slug == "cannot-read"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.sqlite"
    folder.mkdir()
    assert refusal(folder).slug == "cannot-read"


@pytest.mark.parametrize("content", [b"", b"this is text, not a database\n", b"\0" * 5000])
def test_text_and_garbage_are_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.sqlite"
    path.write_bytes(content)
    assert not nsys_sqlite.recognizes(path, content)
    assert refusal(path).slug == "not-a-capture"
    sources, failures = find_sources([path])
    assert sources == []
    assert failures[0].named


def test_another_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    connection.close()
    error = refusal(path)
    assert error.slug == "no-nsys-export"
    assert "a database of something else" in str(error)


def test_an_unknown_schema_is_refused(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "x.sqlite", BUSY)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME COLUMN start TO beginning")
    connection.close()
    error = refusal(path)
    assert error.slug == "unknown-nsys-schema"
    assert "CUPTI_ACTIVITY_KIND_KERNEL lacks the column start" in str(error)


def test_a_locked_database_is_refused(busy: Path) -> None:
    other = sqlite3.connect(busy)
    other.execute("BEGIN EXCLUSIVE")
    try:
        error = refusal(busy)
    finally:
        other.close()
    assert error.slug == "locked-database"
    assert "try again" in str(error)


@pytest.mark.parametrize("kept", [50, 3000, 9000])
def test_a_truncated_database_is_refused(busy: Path, kept: int) -> None:
    busy.write_bytes(busy.read_bytes()[:kept])
    assert refusal(busy).slug == "damaged-database"


def test_garbage_behind_a_true_header_is_refused(busy: Path) -> None:
    content = busy.read_bytes()
    busy.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))
    assert refusal(busy).slug == "damaged-database"


def test_a_half_written_database_with_a_hot_journal_is_refused(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    path = write_sqlite(live / "x.sqlite", BUSY)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size=1")
    writer.execute("BEGIN")
    for _ in range(12):
        writer.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL SELECT * FROM CUPTI_ACTIVITY_KIND_KERNEL")
    still = tmp_path / "still"
    still.mkdir()
    for file in live.iterdir():
        shutil.copy(file, still / file.name)
    writer.execute("ROLLBACK")
    writer.close()
    assert (still / "x.sqlite-journal").stat().st_size > 0
    before = snapshot(still)
    assert refusal(still / "x.sqlite").slug == "damaged-database"
    assert snapshot(still) == before


def test_a_damaged_log_beside_an_empty_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute("CREATE TABLE t (a INTEGER)")
    connection.close()
    (tmp_path / "x.sqlite-wal").write_bytes(b"half of a frame" * 10)
    before = snapshot(tmp_path)
    assert refusal(path).slug == "no-nsys-export"
    assert snapshot(tmp_path) == before


def test_events_that_nsys_missed_are_quoted(tmp_path: Path) -> None:
    columns = [("severity", "INTEGER"), ("text", "TEXT"), ("source", "INTEGER")]
    said = [(2, "Not all CUDA events might have been collected.", 1)] * 2 + [(1, "Profiling has started.", 2)]
    path = write_sqlite(
        tmp_path / "x.sqlite", Capture((Kernel("k", 0, 9),), extra={"DIAGNOSTIC_EVENT": (columns, said)})
    )
    ((source,), _) = find_sources([path])
    assert source.read().notes == ('events may be missing: nsys said "Not all CUDA events might have been collected."',)


# --- real exports


@pytest.mark.shared
def test_every_shared_export_gives_its_tables(shared_data: Path) -> None:
    index = {line.split("\t")[0]: line.split("\t")[4] for line in (shared_data / "INDEX.tsv").read_text().splitlines()}
    before = {p.name: p.stat().st_mtime_ns for p in (shared_data / "nsys-sqlite").iterdir()}
    for file in sorted((shared_data / "nsys-sqlite").iterdir()):
        sources, failures = find_sources([file])
        assert (len(sources), failures) == (1, [])
        assert sources[0].reader == "nsys_sqlite"
        data = sources[0].read()
        kernels = rows(data, "kernel_launches") if "kernel_launches" in data.tables else []
        assert len(kernels) == (
            0 if index[f"nsys-sqlite/{file.name}"] == "none" else int(index[f"nsys-sqlite/{file.name}"])
        )
        assert any(note.startswith("no kernel rows") for note in data.notes) == (not kernels)
    assert {p.name: p.stat().st_mtime_ns for p in (shared_data / "nsys-sqlite").iterdir()} == before
