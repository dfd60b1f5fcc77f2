"""A host thread, a GPU with streams, and what a profiler would have seen of them: planted timelines for tests.

In: a program of launches, copies, waits and ranges, with their times. Out: Arrow tables as the readers give them.
The host's clock moves with each call; a stream runs its work in order, never before the call that launched it began.
"""

import random

import pyarrow as pa

LAUNCH_LATENCY = 4_000
CALL = 2_500
_NAMES = ("kernel_name", "name", "operation", "capture_id", "kind", "domain", "source_kind", "destination_kind")


class Host:
    """One process with any number of threads on one GPU (or more, by `device`)."""

    def __init__(self, seed: int = 0, process: int = 1 << 24, thread: int = 1):
        self.random = random.Random(seed)
        self.process, self.thread = process, process + thread
        self.now = 1_000_000
        self.free: dict[tuple[int, int], int] = {}
        self.kernels: list[dict] = []
        self.calls: list[dict] = []
        self.copies: list[dict] = []
        self.ranges: list[dict] = []
        self.open: list[dict] = []
        self.correlation = 100

    def around(self, ns: int, spread: float = 0.2) -> int:
        """A duration near `ns`."""
        return max(1, round(ns * self.random.uniform(1 - spread, 1 + spread)))

    def think(self, ns: int) -> None:
        """Let the host do something outside CUDA."""
        self.now += ns

    def _call(self, name: str, ns: int) -> dict:
        self.correlation += 1
        call = {
            "capture_id": "c", "name": name, "start_ns": self.now, "duration_ns": ns, "process_id": self.process,
            "thread_id": self.thread, "correlation_id": self.correlation,
        }  # fmt: skip
        self.calls.append(call)
        self.now += ns
        return call

    def _work(self, call: dict, ns: int, stream: int, device: int) -> dict:
        earliest = call["start_ns"] + LAUNCH_LATENCY
        start = max(earliest, self.free.get((device, stream), 0) + 500)
        self.free[device, stream] = start + ns
        return {
            "capture_id": "c", "start_ns": start, "duration_ns": ns, "device_id": device, "stream_id": stream,
            "process_id": self.process, "correlation_id": call["correlation_id"],
        }  # fmt: skip

    def launch(self, ns: int, name: str = "gemm", stream: int = 7, device: int = 0, count: int = 1) -> dict:
        """Launch a kernel, or a graph of `count` kernels."""
        call = self._call("cudaLaunchKernel_v7000" if count == 1 else "cudaGraphLaunch_v10000", CALL)
        for _ in range(count):
            self.kernels.append(self._work(call, ns, stream, device) | {"kernel_name": name})
        return self.kernels[-1]

    def wait_for(self, stream: int, other: int, device: int = 0) -> None:
        """Let `stream` wait until `other` has done its work."""
        self._call("cudaStreamWaitEvent_v3020", 800)
        ends = (self.free.get((device, stream), 0), self.free.get((device, other), 0))
        self.free[device, stream] = max(ends)

    def synchronize(self, device: int = 0) -> None:
        """Wait on the host until the GPU is done."""
        done = max((end for (where, _), end in self.free.items() if where == device), default=0)
        self._call("cudaDeviceSynchronize_v3020", max(1_000, done + 2_000 - self.now))

    def copy(self, ns: int, moved: int = 1 << 20, blocking: bool = True, stream: int = 7, device: int = 0) -> None:
        """Copy from the host; a blocking copy returns when it is done."""
        call = self._call("cudaMemcpy_v3020" if blocking else "cudaMemcpyAsync_v3020", 3_000)
        work = self._work(call, ns, stream, device)
        if blocking:
            call["duration_ns"] = work["start_ns"] + ns + 1_000 - call["start_ns"]
            self.now = call["start_ns"] + call["duration_ns"]
        self.copies.append(work | {"operation": "[CUDA memcpy Host-to-Device]", "moved_bytes": moved,
                                   "source_kind": "pageable", "destination_kind": "device"})  # fmt: skip

    def push(self, name: str | None, domain: str | None = None) -> None:
        """Open a range on the current thread."""
        self.open.append({
            "capture_id": "c", "name": name, "domain": domain, "kind": "push_pop", "start_ns": self.now,
            "duration_ns": None, "process_id": self.process, "thread_id": self.thread, "end_thread_id": None,
        })  # fmt: skip
        self.ranges.append(self.open[-1])
        self.now += 100

    def pop(self) -> None:
        """Close the innermost range."""
        self.now += 100
        last = self.open.pop()
        last["duration_ns"] = self.now - last["start_ns"]

    def tables(self) -> dict[str, pa.Table]:
        """The tables of this process as one capture."""
        return tables_of(self.kernels, self.calls, self.copies, self.ranges)


def tables_of(kernels=(), calls=(), copies=(), ranges=()) -> dict[str, pa.Table]:
    """Rows as Arrow tables; a table without rows is left out, as readers do."""
    given = {"kernel_launches": kernels, "cuda_api_calls": calls, "memory_operations": copies, "nvtx_ranges": ranges}
    return {name: table_of(rows) for name, rows in given.items() if rows}


def table_of(rows) -> pa.Table:
    """Dictionaries as an Arrow table with the types of the readers."""
    columns = {}
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        kind = pa.string() if name in _NAMES else pa.int64()
        column = pa.array(values, kind)
        columns[name] = column.dictionary_encode() if name in _NAMES else column
    return pa.table(columns)


def launch_bound(seed: int) -> Host:
    """Short kernels, each launched after the last has ended; one wait a step, as decoy."""
    host = Host(seed)
    for step in range(30):
        host.push(f"step_{step}")
        for _ in range(host.random.randint(15, 40)):
            host.launch(host.around(3_000, 0.5))
            host.think(host.around(9_000, 0.4))
        host.synchronize()
        host.pop()
    return host


def sync_bound(seed: int) -> Host:
    """Work of a few kernels, then a wait: the GPU is idle much of the time, but not for want of launches ahead."""
    host = Host(seed)
    for step in range(120):
        host.push(f"step_{step}")
        for _ in range(host.random.randint(1, 3)):
            host.launch(host.around(15_000, 0.5))
        host.synchronize()
        host.think(host.around(30_000, 0.5))
        host.pop()
    return host


def copy_bound(seed: int) -> Host:
    """Copies take the time, blocking or not."""
    host = Host(seed)
    blocking = host.random.random() < 0.5
    for step in range(60):
        host.push(f"step_{step}")
        host.copy(host.around(150_000), blocking=blocking)
        for _ in range(3):
            host.launch(host.around(12_000))
        if not blocking and step % 10 == 9:
            host.synchronize()
        host.pop()
    return host


def communication_bound(seed: int) -> Host:
    """Each layer ends in a collective that the next one waits for."""
    host = Host(seed)
    name = host.random.choice(["ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)",
                               "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096>)"])  # fmt: skip
    for step in range(40):
        host.push(f"step_{step}")
        for _ in range(4):
            host.launch(host.around(25_000))
            host.wait_for(20, 7)
            host.launch(host.around(90_000), name, stream=20)
            host.wait_for(7, 20)
        if step % 10 == 9:
            host.synchronize()
        host.pop()
    return host


def gpu_bound(seed: int) -> Host:
    """Long kernels, launched far ahead; a wait at the end of each step, copies and collectives beside the compute."""
    host = Host(seed)
    for step in range(15):
        host.push(f"step_{step}")
        for _ in range(host.random.randint(10, 25)):
            host.launch(host.around(120_000, 0.4))
        host.copy(host.around(100_000), blocking=False, stream=13)
        host.launch(host.around(200_000), "ncclDevKernel_AllReduce_Sum_f32_RING_LL(x)", stream=20)
        host.synchronize()
        host.pop()
    return host


def host_bound(seed: int) -> Host:
    """Loading data for milliseconds between steps."""
    host = Host(seed)
    for step in range(20):
        host.push(f"step_{step}")
        for _ in range(20):
            host.launch(host.around(40_000))
        host.synchronize()
        host.think(host.around(5_000_000))
        host.pop()
    return host


def waiting_while_busy(seed: int) -> Host:
    """Idle by waiting, made to look launch-bound: a kernel a wait, so that every launch finds an empty queue."""
    host = Host(seed)
    for _ in range(300):
        host.launch(host.around(6_000, 0.5))
        host.synchronize()
        host.think(host.around(12_000, 0.5))
    return host


PLANTED = {
    "LAUNCH": (launch_bound,),
    "SYNCHRONIZATION": (sync_bound, waiting_while_busy),
    "TRANSFER": (copy_bound,),
    "COMMUNICATION": (communication_bound,),
    "GPU": (gpu_bound,),
    "HOST": (host_bound,),
}


def write_run(folder, host: Host, **facts):
    """Write the tables of a host as a run directory with one nsys capture, and return its path."""
    from nsightkit import parquet
    from nsightkit.run import Capture, Run, RunInfo
    from nsightkit.tables import TABLES

    run = Run(folder)
    counts = {}
    for name, rows in host.tables().items():
        data = rows.drop_columns(["capture_id"])
        counts[name] = parquet.write_table(run.table_path(name, "c"), TABLES[name], data, {"capture_id": "c"})
    run.write_info(RunInfo(captures=(Capture("c", "nsys", "2025.1", row_counts=counts),), **facts))
    return folder


def with_waiting_thread(host: Host) -> Host:
    """Add a thread that waits for the GPU all the time and launches nothing: it must not be taken for the cause."""
    begin = min(call["start_ns"] for call in host.calls)
    end = max(call["start_ns"] + call["duration_ns"] for call in host.calls)
    host.correlation += 1
    host.calls.append({
        "capture_id": "c", "name": "cudaEventSynchronize_v3020", "start_ns": begin, "duration_ns": end - begin,
        "process_id": host.process, "thread_id": host.thread + 77, "correlation_id": host.correlation,
    })  # fmt: skip
    return host


def torch_trace_of(host: Host) -> dict:
    """The same timeline as torch.profiler writes it; a blocking copy is an asynchronous one and a wait."""
    from builders import torch

    def place(row):
        return {"pid": row["process_id"] >> 24, "tid": row["thread_id"] - row["process_id"]}

    def us(ns):
        return torch.Raw(f"{ns / 1000:.3f}")

    events = []
    for call in host.calls:
        name, start, length = call["name"].split("_v")[0], call["start_ns"], call["duration_ns"]
        if name == "cudaMemcpy":
            wait = torch.call("cudaStreamSynchronize", us(start + 3_000), us(length - 3_000), 0, **place(call))
            events.append(wait)
            name, length = "cudaMemcpyAsync", 3_000
        events.append(torch.call(name, us(start), us(length), call["correlation_id"], **place(call)))
    for row in host.kernels:
        where = {"pid": row["device_id"], "tid": row["stream_id"], "stream": row["stream_id"]}
        events.append(torch.kernel(row["kernel_name"], us(row["start_ns"]), us(row["duration_ns"]),
                                   row["correlation_id"], device=row["device_id"], **where))  # fmt: skip
    for row in host.copies:
        args = {"device": row["device_id"], "stream": row["stream_id"], "correlation": row["correlation_id"],
                "bytes": row["moved_bytes"], "pid": row["device_id"], "tid": row["stream_id"]}  # fmt: skip
        name = "Memcpy HtoD (Pageable -> Device)"
        events.append(torch.event("gpu_memcpy", name, us(row["start_ns"]), us(row["duration_ns"]), **args))
    events += [torch.annotation(row["name"], us(row["start_ns"]), us(row["duration_ns"]), **place(row))
               for row in host.ranges]  # fmt: skip
    return torch.trace(events)


def nsys_capture_of(host: Host):
    """The same timeline as an export of Nsight Systems, for `builders.nsys.write_sqlite`."""
    from builders import nsys

    def span(row):
        return row["start_ns"], row["start_ns"] + row["duration_ns"]

    pid = host.process >> 24
    kernels = tuple(nsys.Kernel(row["kernel_name"], *span(row), pid, row["correlation_id"], row["stream_id"])
                    for row in host.kernels)  # fmt: skip
    calls = tuple(nsys.Call(row["name"], *span(row), pid, row["correlation_id"], thread=row["thread_id"] - host.process)
                  for row in host.calls)  # fmt: skip
    copies = tuple(nsys.Copy(1, *span(row), row["moved_bytes"], pid, row["correlation_id"], row["stream_id"])
                   for row in host.copies)  # fmt: skip
    ranges = tuple(nsys.Range(*span(row), text=row["name"], pid=pid, thread=row["thread_id"] - host.process)
                   for row in host.ranges)  # fmt: skip
    return nsys.Capture(kernels, calls, copies, ranges)
