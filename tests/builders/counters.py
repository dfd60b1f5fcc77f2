"""Builds rows of kernel_counters from arithmetic: what a kernel computes and moves, on a GPU of the table.

The time comes from a machine that overlaps compute and memory: the longer of both at `efficiency`, and never less than
a launch takes. Throughputs follow from it, as ncu would print them.
"""

from dataclasses import dataclass, field

from nsightkit.analysis.roofs.peaks import DTYPES
from nsightkit.gpus import gpu_of_key

# A launch takes this long although it does nothing.
LEAST_NS = 2500.0


@dataclass(frozen=True)
class Kernel:
    """One launch: operations by name of the type, bytes of DRAM traffic, blocks."""

    name: str
    flop: dict[str, float] = field(default_factory=dict)
    moved_bytes: float = 0.0
    blocks: int = 100_000
    efficiency: float = 0.85


def counters(kernel, key):
    """Return the row of `kernel` on the GPU called `key`."""
    gpu = gpu_of_key(key)
    peaks = {name: gpu.value(f"{name}_{'op' if 'int8' in name else 'flop'}_per_s") for name in kernel.flop}
    # A grid that does not fill the GPU reaches that share of its peaks at most.
    used = min(1.0, kernel.blocks / gpu.sm_count)
    compute_ns = sum(work / peaks[name] for name, work in kernel.flop.items()) * 1e9
    memory_ns = kernel.moved_bytes / gpu.value("dram_bytes_per_s") * 1e9
    duration = max(compute_ns, memory_ns) / kernel.efficiency / used + LEAST_NS
    works = {dtype.work: kernel.flop.get(dtype.name, 0.0) for dtype in DTYPES}
    tensor = any(name.startswith("tensor") for name in kernel.flop)
    return works | {
        "capture_id": "c", "kernel_name": kernel.name, "failed": False, "duration_ns": duration,
        "gpu_name": gpu.names[0], "compute_capability": gpu.compute_capability, "sm_count": gpu.sm_count,
        "grid_x": kernel.blocks, "grid_y": 1, "grid_z": 1, "block_x": 256, "block_y": 1, "block_z": 1,
        "dram_bytes": float(kernel.moved_bytes), "waves_per_sm": kernel.blocks / gpu.sm_count / 4,
        "sm_throughput_pct": 100 * compute_ns / duration,
        "memory_throughput_pct": 100 * memory_ns / duration, "dram_throughput_pct": 100 * memory_ns / duration,
        "tensor_pipe_pct": 100 * compute_ns / duration if tensor else 0.0,
    }  # fmt: skip


def copy(count, item=4, **more):
    """Copy `count` elements: read and write."""
    return Kernel("copy", {}, 2 * count * item, **more)


def add(count, dtype="fp32", item=4, **more):
    """c = a + b."""
    return Kernel("vector add", {dtype: count}, 3 * count * item, **more)


def axpy(count, dtype="fp64", item=8, **more):
    """y = a·x + y."""
    return Kernel("axpy", {dtype: 2 * count}, 3 * count * item, **more)


def gemm(m, n, k, dtype, item, **more):
    """A product of matrices that reads and writes each matrix once."""
    return Kernel(f"gemm {m}×{n}×{k} {dtype}", {dtype: 2 * m * n * k}, item * (m * k + k * n + m * n), **more)


def gemv(m, k, dtype, item, **more):
    """Matrix times vector."""
    return Kernel(f"gemv {m}×{k} {dtype}", {dtype: 2 * m * k}, item * (m * k + k + m), **more)
