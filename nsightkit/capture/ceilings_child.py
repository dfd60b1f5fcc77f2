"""Measures a device with torch; it is run by path in a child and never imported by nsightkit.

In: `ceilings_child.py OUTPUT REQUEST`, the request as JSON. Out: a JSON file with the best rates and their spread.
"""

import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

# Type of arithmetic -> element type; where a device does not have it, it is left out and named.
TYPES = {
    "cpu": {"fp32": torch.float32, "fp64": torch.float64, "tensor_bf16": torch.bfloat16},
    "cuda": {
        "fp32": torch.float32, "fp64": torch.float64, "tensor_tf32": torch.float32, "tensor_bf16": torch.bfloat16,
        "tensor_fp16": torch.float16, "tensor_int8": torch.int8,
    },
}  # fmt: skip
SIZES = {"cpu": (1024, 256 * 2**20), "cuda": (8192, 2**30)}
# A repeat shorter than this measures the clock more than the device.
LEAST_S = 0.02


def main() -> int:
    """Measure and write; return 0."""
    output, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    device = request["device"]
    if device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("torch finds no CUDA device here\n")
        return 1
    if request["threads"]:
        torch.set_num_threads(request["threads"])
    size, copied = (request["matrix_size"] or SIZES[device][0]), (request["copy_bytes"] or SIZES[device][1])
    rates, spread, notes = {}, {}, []
    traffic, spread["memory"] = _traffic(device, copied, request["repeats"])
    begin, budget_s = time.perf_counter(), request["budget_s"]
    for name, dtype in TYPES[device].items():
        if budget_s and time.perf_counter() - begin > budget_s:
            notes.append(f"{name} was not measured: the {budget_s:g} s for it were over")
            continue
        try:
            rates[name], spread[name] = _product(name, dtype, (device, size, request["repeats"]))
        except RuntimeError as error:
            notes.append(f"{name} was not measured: {str(error).splitlines()[0][:200]}")
    found = {
        "device_name": torch.cuda.get_device_name() if device == "cuda" else _cpu_name(), "device": device,
        "threads": torch.get_num_threads(), "torch_version": torch.__version__,
        "created_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "matrix_size": size,
        "copy_bytes": copied, "repeats": request["repeats"], "flop_per_s": rates, "bytes_per_s": traffic,
        "spread": spread, "notes": notes, "schema_version": 1,
    }  # fmt: skip
    output.write_text(json.dumps(found), encoding="utf-8")
    return 0


def _product(name: str, dtype: torch.dtype, how: tuple[str, int, int]) -> tuple[float, float]:
    device, size, repeats = how
    if dtype == torch.int8:
        a = torch.randint(-8, 8, (size, size), dtype=dtype, device=device)
        b = a.t().contiguous().t()
        return _best(lambda: torch._int_mm(a, b), 2 * size**3, device, repeats)
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = name == "tensor_tf32"
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    out = torch.empty(size, size, dtype=dtype, device=device)
    return _best(lambda: torch.mm(a, b, out=out), 2 * size**3, device, repeats)


def _traffic(device: str, copied: int, repeats: int) -> tuple[float, float]:
    source = torch.ones(copied // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    both = [
        _best(lambda: target.copy_(source), 2 * source.nbytes, device, repeats),
        _best(source.sum, source.nbytes, device, repeats),
    ]
    return max(both)


def _best(action, work: int, device: str, repeats: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Return the best rate of `repeats`, and the slowest by the fastest of them."""
    action()
    once = max(_seconds(action, 1, device), 1e-7)
    count = max(1, int(LEAST_S / once))
    rates = [work * count / _seconds(action, count, device) for _ in range(repeats)]
    return max(rates), min(rates) / max(rates)


def _seconds(action, count: int, device: str) -> float:  # type: ignore[no-untyped-def]
    begin = time.perf_counter()
    for _ in range(count):
        action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "CPU"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    raise SystemExit(main())
