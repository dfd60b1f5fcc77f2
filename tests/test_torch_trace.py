"""Traces of torch.profiler: exact times, joins by correlation, nesting of operators, and bad files."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import torch as build
from builders.torch import Raw
from nsightkit import parquet
from nsightkit.errors import IngestError
from nsightkit.ingest import torch_trace
from nsightkit.ingest.chrome_trace import Decimals, nanoseconds, nest
from nsightkit.tables import TABLES

HOSTILE = [
    "a<b>|c*",
    "<script>alert(1)</script>",
    "line\nbreak",
    "\x1b[31mred",
    "k" * 10_000,
    "ünïcode",
    "\ud800half",
    "",
]


def read(path, wanted=None):
    return torch_trace.read((path,), wanted)


def rows(data, table):
    columns = data.tables[table]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def small(tmp_path, events, name="trace.json", **keys):
    return build.write(tmp_path / name, build.trace(events, **keys))


EAGER = [
    build.annotation("decode", Raw("1712195495519000.000"), Raw("900.000")),
    build.operator("aten::linear", Raw("1712195495519100.001"), Raw("300.500"), 11,
                   **{"Input Dims": [[2, 3], [4, 3], []], "Input type": ["float", "float", ""],
                      "Input Strides": [[3, 1], [3, 1], []], "Sequence number": 7}),
    build.operator("aten::addmm", Raw("1712195495519110.002"), Raw("250.250"), 12),
    build.call("cudaLaunchKernel", Raw("1712195495519120.5"), Raw("8.25"), 501, **{"External id": 12}),
    build.kernel("void gemm<float>(int)", Raw("1712195495519689.047"), Raw("73.125"), 501, **{"External id": 12}),
    build.event("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", Raw("1712195495519050.5"), Raw("1.5"), pid=0, tid=7,
                device=0, context=1, stream=7, correlation=400, bytes=2048),
    build.event("gpu_memset", "Memset (Device)", Raw("1712195495519060.5"), 2, pid=0, tid=7, device=0, context=1,
                stream=7, correlation=401, bytes=160),
]  # fmt: skip


class TestEager:
    @pytest.fixture
    def data(self, tmp_path):
        return read(small(tmp_path, EAGER, cuda_runtime_version=12090))

    def test_kernel_times_lose_no_digit(self, data):
        (kernel,) = rows(data, "kernel_launches")
        assert kernel["start_ns"] == 689_047
        assert kernel["duration_ns"] == 73_125

    def test_kernel_columns(self, data):
        (kernel,) = rows(data, "kernel_launches")
        expected = {
            "kernel_name": "void gemm<float>(int)", "device_id": 0, "context_id": 1, "stream_id": 7,
            "correlation_id": 501, "process_id": 1000, "external_id": 12, "registers_per_thread": 32,
            "shared_memory_bytes": 1024, "grid_x": 8, "grid_y": 2, "grid_z": 1, "block_x": 128,
            "static_shared_memory_bytes": None, "dynamic_shared_memory_bytes": None, "graph_id": None,
        }  # fmt: skip
        assert {name: kernel[name] for name in expected} == expected

    def test_copies_use_the_words_of_nsys(self, data):
        copy, fill = rows(data, "memory_operations")
        assert copy["operation"] == "[CUDA memcpy Host-to-Device]"
        assert (copy["source_kind"], copy["destination_kind"], copy["moved_bytes"]) == ("pinned", "device", 2048)
        assert (fill["operation"], fill["destination_kind"]) == ("[CUDA memset]", "device")
        assert fill["duration_ns"] == 2000

    def test_calls(self, data):
        (call,) = rows(data, "cuda_api_calls")
        assert (call["name"], call["api"], call["start_ns"], call["duration_ns"]) == (
            "cudaLaunchKernel", "runtime", 120_500, 8_250)  # fmt: skip
        assert call["return_value"] is None

    def test_operators(self, data):
        outer, inner = rows(data, "cpu_operators")
        assert (outer["depth"], outer["is_leaf"], outer["self_ns"]) == (0, False, 300_500 - 250_250)
        assert (inner["depth"], inner["is_leaf"], inner["self_ns"]) == (1, True, 250_250)
        assert json.loads(outer["input_shapes"]) == [[2, 3], [4, 3], []]
        assert json.loads(outer["input_dtypes"]) == ["float", "float", ""]
        assert json.loads(outer["input_strides"]) == [[3, 1], [3, 1], []]
        assert outer["sequence_number"] == 7
        assert inner["input_shapes"] is None

    def test_annotations_are_ranges(self, data):
        (range_,) = rows(data, "nvtx_ranges")
        assert (range_["name"], range_["domain"], range_["kind"]) == ("decode", "torch.profiler", "user_annotation")
        assert (range_["start_ns"], range_["duration_ns"], range_["thread_id"]) == (0, 900_000, 1000)

    def test_facts_and_gpus(self, data):
        assert data.facts == {"gpu_name": "NVIDIA H100", "compute_capability": "9.0", "cuda_version": "12.9"}
        (gpu,) = rows(data, "gpus")
        assert (gpu["sm_count"], gpu["memory_bytes"]) == (132, 85 * 10**9)
        assert data.notes == ()
        assert "1 kernel launches" in data.scope
        assert "2 operator calls" in data.scope

    def test_every_table_is_valid_parquet(self, data):
        for name, columns in data.tables.items():
            table = parquet.with_capture_id(TABLES[name], columns, "t")
            assert table.num_rows == len(next(iter(columns.values())))

    def test_only_wanted_tables_come(self, tmp_path):
        data = read(small(tmp_path, EAGER), {"cuda_api_calls": None})
        assert list(data.tables) == ["cuda_api_calls"]
        assert data.facts["gpu_name"] == "NVIDIA H100"


def test_gzip_and_byte_order_mark_read_alike(tmp_path):
    plain = read(small(tmp_path, EAGER))
    packed = read(small(tmp_path, EAGER, "trace.json.gz"))
    marked = tmp_path / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "trace.json").read_bytes())
    assert plain.tables == packed.tables == read(marked).tables


def test_external_id_that_is_a_correlation_is_mended_by_time(tmp_path):
    # Releases of 2023 wrote the correlation under "External id".
    events = [
        build.operator("aten::mm", 100, 50, 3),
        build.operator("aten::add", 200, 50, 4),
        build.operator("aten::other", 900, 5, 77),
        build.call("cudaLaunchKernel", 210, 5, 77, **{"External id": 77}),
        build.kernel("k", 300, 5, 77, **{"External id": 77}),
    ]
    (kernel,) = rows(read(small(tmp_path, events)), "kernel_launches")
    assert kernel["external_id"] == 4


def test_cuda_graph_has_many_kernels_per_launch_and_unlaunched_ones(tmp_path):
    graph = [build.kernel(f"k{i}", 300 + i, 1, 9, **{"graph node id": 5 + i, "graph id": 2}) for i in range(3)]
    events = [build.call("cudaGraphLaunch", 200, 5, 9), *graph, build.kernel("early", 10, 1, 8)]
    data = read(small(tmp_path, events))
    kernels = rows(data, "kernel_launches")
    assert [k["graph_node_id"] for k in kernels] == [5, 6, 7, None]
    assert [k["graph_id"] for k in kernels] == [2, 2, 2, None]
    assert [k["process_id"] for k in kernels] == [1000, 1000, 1000, None]
    assert [k["external_id"] for k in kernels] == [None] * 4
    assert data.notes == ("1 of 4 kernels were launched by a call that the trace does not hold",)


def test_cpu_only_says_so(tmp_path):
    data = read(small(tmp_path, [build.operator("aten::mm", 1, 2, 1)], deviceProperties=[]))
    assert set(data.tables) == {"cpu_operators"}
    assert data.facts == {}
    assert "no kernels" in data.notes[0]
    assert data.scope.startswith("the whole trace of torch.profiler: 0 kernel launches")


def test_version_of_our_own_runner_is_a_fact(tmp_path):
    data = read(small(tmp_path, [build.operator("aten::mm", 1, 2, 1)], torch_version="2.13.0+cpu"))
    assert data.tool_version == "2.13.0+cpu"
    assert data.facts["torch_version"] == "2.13.0+cpu"


def test_rank_is_in_the_scope(tmp_path):
    events = [build.operator("aten::mm", 1, 2, 1)]
    data = read(small(tmp_path, events, distributedInfo={"rank": 3, "world_size": 8}))
    assert "rank 3 of 8" in data.scope


def test_odd_times_are_kept_and_noted(tmp_path):
    events = [
        build.kernel("twice", 20, 5, 1),
        build.kernel("twice", 20, 5, 1),
        build.kernel("negative", 40, -3, 2),
        build.kernel("quoted", "60.125", "2.5", 3),
        build.kernel("endless", 80, None, 4),
        build.kernel("nowhen", "soon", 1, 5),
        build.kernel("nan", Raw("NaN"), 1, 6),
        build.kernel("huge", 10**30, 1, 7),
        build.kernel("huge float", Raw("1e300"), 1, 8),
    ]
    data = read(small(tmp_path, events))
    assert [(k["kernel_name"], k["start_ns"], k["duration_ns"]) for k in rows(data, "kernel_launches")] == [
        ("twice", 0, 5000), ("twice", 0, 5000), ("negative", 20_000, -3000), ("quoted", 40_125, 2500),
        ("endless", 60_000, None),
    ]  # fmt: skip
    notes = "\n".join(data.notes)
    assert "1 kernels stand in the trace twice" in notes
    assert "1 events have a negative duration" in notes
    assert "1 events give their time as text" in notes
    assert "1 events have no duration" in notes
    assert "4 events have no usable time" in notes


def test_each_size_of_a_launch_has_its_own_column(tmp_path):
    sizes = {"grid": [2, 3, 4], "block": [5, 6, 7], "cluster": [8, 9, 10]}
    event = build.kernel("k", 1, 1, 1, **sizes)
    (kernel,) = rows(read(small(tmp_path, [event])), "kernel_launches")
    assert {name: [kernel[f"{name}_{axis}"] for axis in "xyz"] for name in sizes} == sizes


def test_odd_arguments_are_unknown_not_zero(tmp_path):
    odd = build.kernel(
        "k", 1, 1, 1, grid=[1, 2], block="128", stream=None, device=True, **{"registers per thread": 2**40}
    )
    odd["args"]["correlation"] = {"a": 1}
    (kernel,) = rows(
        read(small(tmp_path, [odd, build.kernel("no args", 2, 1, 2) | {"args": None}])), "kernel_launches"
    )[:1]
    empty = ("grid_x", "grid_z", "block_x", "stream_id", "device_id", "registers_per_thread", "correlation_id")
    assert {kernel[name] for name in empty} == {None}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_reach_the_table(tmp_path, name):
    events = [build.kernel(name, 1, 1, 1), build.operator(name, 1, 1, 1), build.annotation(name, 1, 1)]
    data = read(small(tmp_path, events))
    expected = name.encode("utf-8", "replace").decode()
    assert data.tables["kernel_launches"]["kernel_name"] == [expected]
    for table in data.tables:
        parquet.with_capture_id(TABLES[table], data.tables[table], "t")


def test_bytes_that_are_no_utf8_cost_their_character_only(tmp_path):
    path = small(tmp_path, [build.kernel("NAME", 1, 1, 1)])
    path.write_bytes(path.read_bytes().replace(b"NAME", b"\xff\xfe"))
    assert read(path).tables["kernel_launches"]["kernel_name"] == ["\ufffd\ufffd"]


BAD = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "truncated"),
    "cut in a string": (lambda whole: whole[: whole.index(b"cudaLaunch") + 4], "truncated"),
    "empty": (lambda whole: b"", "truncated"),
    "garbage inside": (lambda whole: whole.replace(b'"ph"', b"ph", 1), "damaged"),
    "other JSON": (lambda whole: b'{"a": 1}', "no list 'traceEvents'"),
    "a list": (lambda whole: b"[1, 2]", "no list 'traceEvents'"),
    "events of the wrong kind": (lambda whole: b'{"traceEvents": {"a": 1}}', "no list 'traceEvents'"),
    "no events": (lambda whole: b'{"traceEvents": []}', "without events of torch.profiler"),
    "another program's trace": (
        lambda whole: b'{"traceEvents": [{"ph": "X", "cat": "v8", "ts": 1}, 3, null, "x"]}',
        "without events of torch.profiler",
    ),
    "nested too deep": (lambda whole: b'{"traceEvents": ' + b"[" * 200_000, "damaged"),
    "gzip cut": (lambda whole: gzip.compress(whole)[:-30], "truncated or damaged"),
    "gzip broken": (lambda whole: gzip.compress(whole)[:20] + b"\0" * 40, "truncated or damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_the_reason(tmp_path, case):
    damage, reason = BAD[case]
    path = small(tmp_path, EAGER)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IngestError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(IngestError, match="cannot be read"):
        read(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"schemaVersion": 1, "deviceProperties": [', True),
        (b'\xef\xbb\xbf \n{"traceEvents": [', True),
        (b'{"results": []}', False),
        (b'[{"traceEvents": 1}]', False),
        (b"traceEvents", False),
        (b"", False),
    ],
)
def test_recognizes_by_content(tmp_path, head, expected):
    assert torch_trace.recognizes(tmp_path / "any.sqlite", head) is expected


@given(st.integers(0, 2**60 // 1000), st.integers(0, 999))
def test_nanoseconds_are_exact(micros, fraction):
    assert nanoseconds(Decimals(f"{micros}.{fraction:03d}")) == micros * 1000 + fraction


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (Decimals("1.5e3"), 1_500_000), (Decimals("-0.5"), -500), (Decimals("0.0004"), 0), (Decimals("7.12345"), 7123),
        (True, None), (None, None), ([], None), ("", None), (Decimals("NaN"), None), (float("inf"), None),
        (2**70, None), (Decimals("1e400"), None), ("٣.٥", 3500),
    ],
)  # fmt: skip
def test_nanoseconds_of_odd_input(given_, expected):
    assert nanoseconds(given_) == expected


@st.composite
def spans_of_a_thread(draw):
    """Properly nested spans, as calls on one thread are."""
    spans = []

    def fill(start, end, depth):
        here = start
        for _ in range(draw(st.integers(0, 3))):
            begin = draw(st.integers(here, end))
            stop = draw(st.integers(begin, end))
            if stop == begin:
                continue
            spans.append((begin, stop))
            if depth < 3:
                fill(begin, stop, depth + 1)
            here = stop

    fill(0, 1000, 0)
    return spans


@given(spans_of_a_thread())
@settings(max_examples=200)
def test_self_times_add_up_to_the_outermost(spans):
    nesting = nest(spans, 1)
    outermost = [i for i, depth in enumerate(nesting.depths) if depth == 0]
    assert sum(nesting.self_ns) == sum(spans[i][1] - spans[i][0] for i in outermost)
    assert all(own >= 0 for own in nesting.self_ns)
    for index, parent in enumerate(nesting.parents):
        assert nesting.depths[index] == (0 if parent < 0 else nesting.depths[parent] + 1)
        if parent >= 0:
            assert spans[parent][0] <= spans[index][0]
            assert spans[index][1] <= spans[parent][1]
            assert not nesting.leaves[parent]
    assert sum(nesting.leaves) == len(spans) - len(set(nesting.parents) - {-1})


@given(spans_of_a_thread(), st.integers(-5, 1005))
def test_innermost_is_the_shortest_open_span(spans, time_ns):
    nesting = nest(spans, 1)
    found = nesting.innermost(time_ns)
    strictly_open = [i for i, (start, end) in enumerate(spans) if start <= time_ns < end]
    if strictly_open:
        assert spans[found][0] <= time_ns <= spans[found][1]
        assert nesting.depths[found] >= max(nesting.depths[i] for i in strictly_open)
    elif found >= 0:
        assert spans[found][1] == time_ns


def test_rounded_times_still_nest():
    # Whole microseconds: the inner call seems to end 1 µs after the outer one.
    nesting = nest([(0, 10_000), (4_000, 11_000), (11_000, 12_000)], 1000)
    assert nesting.depths == [0, 1, 0]
    assert nesting.self_ns == [4_000, 7_000, 1_000]


# File -> kernels, and how many of them have a known operator.
REAL = {
    "v100-rank0.pt.trace.json.gz": (4350, 4350),
    "a100-benchmark.json.gz": (79, 79),
    "b200-deepseek-v3-shapes.json": (179, 179),
    "b200-eager.json.gz": (768, 766),
    "rtx5080-cuda-graph.json": (321, 14),
    "cpu-only.json.gz": (0, 0),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_traces(shared_data, name):
    path = shared_data / "torch-trace" / name
    before = path.stat().st_mtime_ns, sorted(p.name for p in path.parent.iterdir())
    data = read(path)
    kernels = data.tables.get("kernel_launches", {"kernel_name": [], "external_id": []})
    launched = [number for number in kernels["external_id"] if number is not None]
    assert (len(kernels["kernel_name"]), len(launched)) == REAL[name]
    assert (path.stat().st_mtime_ns, sorted(p.name for p in path.parent.iterdir())) == before


@pytest.mark.shared
def test_real_trace_against_the_file_itself(shared_data):
    path = shared_data / "torch-trace" / "v100-rank0.pt.trace.json.gz"
    raw = json.loads(gzip.decompress(path.read_bytes()), parse_float=str)["traceEvents"]
    kernels = [e for e in raw if e.get("cat") == "kernel"]
    table = read(path).tables["kernel_launches"]
    zero = int(kernels[0]["ts"].replace(".", "")) - table["start_ns"][0]
    assert [s + zero for s in table["start_ns"]] == [int(e["ts"].replace(".", "")) for e in kernels]
    assert sum(table["duration_ns"]) == sum(round(float(e["dur"]) * 1000) for e in kernels)
    assert table["external_id"] == [e["args"]["External id"] for e in kernels]


@pytest.mark.shared
def test_real_trace_whose_external_ids_are_wrong_is_joined_by_time(shared_data):
    data = read(shared_data / "torch-trace" / "a100-benchmark.json.gz")
    operators = {o["external_id"]: o for o in rows(data, "cpu_operators")}
    calls = {c["correlation_id"]: c for c in rows(data, "cuda_api_calls")}
    for kernel in rows(data, "kernel_launches"):
        operator, call = operators[kernel["external_id"]], calls[kernel["correlation_id"]]
        assert operator["start_ns"] <= call["start_ns"] <= operator["start_ns"] + operator["duration_ns"]
        assert operator["thread_id"] == call["thread_id"]
