"""A program whose every kernel, range and pause is known beforehand; run by path in a child, never imported.

In: `selfcheck_workload.py TRUTH [--device DEVICE]`. Out: the work itself, and TRUTH, a JSON file with what a profiler
must find: how often ranges and kernels run, the operations of a product, the bytes of a sum, and the length of a pause
and of a kernel.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nvtx
import torch

STEPS = 6
SIZE = 1024
INNER = (512, 2048)
PAUSE_S = 0.02
SPIN_CYCLES = 20_000_000
GRAPH_REPLAYS = 4
# Larger than the L2 cache of any GPU, so that reading and writing must go through DRAM.
COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 22}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("truth", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    left = [torch.ones(SIZE, inner, device=device) for inner in INNER]
    right = [torch.ones(inner, SIZE, device=device) for inner in INNER]
    source = torch.ones(COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    with torch.inference_mode():
        # Libraries load and choose their kernels before anything is counted.
        for a, b in zip(left, right, strict=True):
            a @ b
        with _range("prefill"):
            for _ in range(2):
                left[0] @ right[0]
            _wait(device)
        with _range("decode"):
            for _ in range(STEPS):
                with _range("decode_step"):
                    for a, b in zip(left, right, strict=True):
                        a @ b
                    # Not copy_: that is a copy of memory and no kernel, which ncu does not see.
                    torch.add(source, 1.0, out=target)
            _wait(device)
        with _range("pause"):
            time.sleep(PAUSE_S)
        spin_ns = None
        if device.type == "cuda":
            _replay(left[0], right[0])
            spin_ns = _spin()
    options.truth.write_text(json.dumps(_truth(device, spin_ns), indent=2) + "\n", encoding="utf-8")


@contextmanager
def _range(name: str) -> Iterator[None]:
    """Name the work inside for nsys, ncu and torch.profiler: neither sees the other's ranges."""
    with nvtx.annotate(name), torch.profiler.record_function(name):
        yield


def _replay(a: torch.Tensor, b: torch.Tensor) -> None:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        a @ b
    with _range("graph"):
        for _ in range(GRAPH_REPLAYS):
            graph.replay()
        torch.cuda.synchronize()


def _spin() -> float:
    """Let one kernel wait so many cycles; return its time in ns as CUDA events measure it, beside any profiler."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with _range("spin"):
        begin.record()
        torch.cuda._sleep(SPIN_CYCLES)
        end.record()
        torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) * 1e6


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _truth(device: torch.device, spin_ns: float | None) -> dict[str, object]:
    return {
        "device": device.type,
        "ranges": {"prefill": 1, "decode": 1, "decode_step": STEPS, "pause": 1,
                   **({"graph": 1, "spin": 1} if device.type == "cuda" else {})},
        "pause_ns": PAUSE_S * 1e9,
        "spin_ns": spin_ns,
        "decode_kernels_least": STEPS * (len(INNER) + 1),
        "product_flop": [2 * SIZE * SIZE * inner for inner in INNER],
        "moved_bytes": 2 * COPY_BYTES[device.type],
        "graph_kernels_least": GRAPH_REPLAYS if device.type == "cuda" else 0,
    }  # fmt: skip


if __name__ == "__main__":
    main()
