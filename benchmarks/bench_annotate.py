"""What a range costs while no tool listens, beside an empty context manager, nvtx alone, and record_function."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import nvtx
import torch

from nsightkit import annotate

_RANGES, _ROUNDS = 20_000, 9


def ns_each(make: Callable[[int], AbstractContextManager]) -> float:
    begin = time.perf_counter_ns()
    for place in range(_RANGES):
        with make(place):
            pass
    return (time.perf_counter_ns() - begin) / _RANGES


def main() -> None:
    torch.set_num_threads(1)
    kinds = {
        "empty context manager": lambda place: nullcontext(),
        "nvtx.annotate": lambda place: nvtx.annotate("decode_step", color="blue"),
        "torch.profiler.record_function": lambda place: torch.profiler.record_function("decode_step"),
        "annotate.range": lambda place: annotate.range("decode_step"),
        "annotate.range with category, color and payload": lambda place: annotate.range(
            "decode_step", category="decode", color="red", payload=place
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    # In turn, so that a change of the machine's speed meets all of them.
    for _ in range(_ROUNDS):
        for name, make in kinds.items():
            found[name].append(ns_each(make))
    print("a range while no tool listens (bar: a plain range under 2 µs; a decode step of 6 layers has 26 of them)")
    for name, times in found.items():
        print(f"  {name}: {statistics.median(times):.0f} ns (fastest {min(times):.0f})")


if __name__ == "__main__":
    main()
