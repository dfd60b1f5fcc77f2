"""GPUs of processes that count theirs each from 0 (CUDA_VISIBLE_DEVICES), and streams of processes that share a GPU."""

import pytest

from builders.nsys import Call, Capture, Kernel, process_key, write_parquetdir, write_sqlite
from nsightkit.analysis.timeline.timeline import device_timelines, timeline_inputs
from nsightkit.analysis.work.operations import by_capture
from nsightkit.cli.attributed import WANTED
from nsightkit.ingest.dataset import open_dataset

DEVICES = [(name, "INTEGER") for name in ("gpuId", "cudaId", "pid")]
MEMORY = [
    (name, "INTEGER") for name in ("start", "deviceId", "globalPid", "bytes", "memKind", "memoryOperationType")
]  # fmt: skip


def two_processes(listed, **more):
    """Return two processes that each run ten kernels on what both call device 0, at the same times."""
    kernels = [Kernel("k", i * 100, i * 100 + 60, pid=p, correlation=i + 1) for p in (100, 200) for i in range(10)]
    calls = [Call("cudaLaunchKernel", k.start - 10, k.start - 5, pid=k.pid, correlation=k.correlation) for k in kernels]
    extra = {"TARGET_INFO_CUDA_DEVICE": (DEVICES, listed), **more}
    return Capture(kernels=tuple(kernels), calls=tuple(calls), extra=extra if listed else more)


def timelines(path):
    dataset = open_dataset([path])
    [tables] = by_capture({name: dataset.arrow(name) for name in WANTED if dataset.has(name)})
    return device_timelines(timeline_inputs(tables)), dataset


@pytest.mark.parametrize("write", [write_sqlite, write_parquetdir])
def test_device_0_of_two_processes_may_be_two_gpus(tmp_path, write):
    memory = {"CUDA_GPU_MEMORY_USAGE_EVENTS": (MEMORY, [(5, 0, process_key(200), 64, 2, 0)])}
    found, dataset = timelines(write(tmp_path / "job.sqlite", two_processes([(3, 0, 100), (1, 0, 200)], **memory)))
    assert [(t.device_id, t.kernel_count, t.busy_ns, t.mean_streams) for t in found] == [
        (1, 10, 600, 1.0),
        (3, 10, 600, 1.0),
    ]
    rows = dataset.arrow("kernel_launches").to_pylist()
    assert {(row["process_id"] >> 24 & 0xFFFFFF, row["device_id"]) for row in rows} == {(100, 3), (200, 1)}
    assert dataset.arrow("device_memory")["device_id"].to_pylist() == [1]
    assert any("CUDA_VISIBLE_DEVICES" in note for note in dataset.info.captures[0].notes)


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [(0, 0, 100), (0, 0, 200)],
        # Cards listed in reverse, but alike for both: their numbers stay what nsys prints.
        [(0, 1, 100), (1, 0, 100), (0, 1, 200), (1, 0, 200)],
    ],
)
def test_processes_that_share_a_gpu_have_streams_of_their_own(tmp_path, listed):
    [found], _ = timelines(write_sqlite(tmp_path / "job.sqlite", two_processes(listed)))
    assert (found.device_id, found.kernel_count, found.busy_ns) == (0, 20, 600)
    assert (found.stream_count, found.mean_streams, found.busy_streams_ns) == (2, 2.0, {2: 600})


def test_work_without_a_call_makes_no_stream(tmp_path):
    capture = two_processes([])
    lost = (Kernel("k", 2000, 2050, pid=100, correlation=999), Kernel("k", 2100, 2150, correlation=999, stream=9))
    whole = Capture(kernels=(*capture.kernels, *lost), calls=capture.calls)
    [found], _ = timelines(write_sqlite(tmp_path / "job.sqlite", whole))
    assert found.stream_count == 3
