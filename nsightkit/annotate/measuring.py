"""Times named parts of repeated work.

In: a function that does the work once and times its parts with the `Laps` it is given. Out: `Measurement`: every
sample of every part. CUDA events time a GPU, so that nothing waits between the parts; a monotonic clock a CPU.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nsightkit.annotate.ranges import profiled
from nsightkit.annotate.spread import Spread, spread_of


@dataclass(frozen=True)
class Plan:
    """How often to run: `warmup` times unmeasured, then `repeats` times; the seed is set before each of them.

    `device` is cpu or cuda (or cuda:N). `mark_capture` brackets the measured runs with the CUDA profiler's start and
    stop, for tools that are told to record only what lies between.
    """

    warmup: int = 1
    repeats: int = 5
    seed: int = 0
    device: str = "cpu"
    mark_capture: bool = False


class Laps:
    """The stopwatch of one repetition."""

    def __init__(self, device: str) -> None:
        """Choose the clock of `device`."""
        self._device = device
        self._events = device.startswith("cuda")
        self._marks: dict[str, list[tuple[Any, Any]]] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add one sample of the part `name`: the block. A block that raises adds none."""
        begin = self._mark()
        yield
        self._marks.setdefault(name, []).append((begin, self._mark()))

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self._events:
            sys.modules["torch"].cuda.synchronize(self._device)

    def samples_ns(self) -> dict[str, list[int]]:
        """Return all samples by part, in nanoseconds; waits for the device."""
        self.wait()
        return {name: [self._between(*pair) for pair in pairs] for name, pairs in self._marks.items()}

    def _mark(self) -> Any:
        if not self._events:
            return time.perf_counter_ns()
        event = sys.modules["torch"].cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, begin: Any, end: Any) -> int:
        return round(begin.elapsed_time(end) * 1e6) if self._events else int(end - begin)


@dataclass(frozen=True)
class Measurement:
    """Samples in nanoseconds by repetition and part, the plan behind them, and the peak memory."""

    plan: Plan
    clock: str
    repetitions: tuple[dict[str, list[int]], ...]
    peak_memory_bytes: int | None
    peak_memory_scope: str
    last: Any = field(default=None, compare=False)  # what the last repetition returned

    def totals_ns(self, name: str) -> list[int]:
        """Return the time of the part `name` in each repetition that has it."""
        return [sum(rep[name]) for rep in self.repetitions if name in rep]

    def spread(self, name: str) -> Spread | None:
        """Return the spread of `totals_ns` over the repetitions."""
        return spread_of(self.totals_ns(name), self.plan.seed)

    def sample_spread(self, name: str) -> Spread | None:
        """Return the spread of the single samples of `name`, all repetitions together."""
        return spread_of([value for rep in self.repetitions for value in rep.get(name, ())], self.plan.seed)


def measure(work: Callable[[Laps], Any], plan: Plan) -> Measurement:
    """Run `work` as `plan` says and return what it timed.

    Raises:
        ValueError: the plan has no repetition.
    """
    if plan.repeats < 1 or plan.warmup < 0:
        raise ValueError("a measurement needs at least one repetition, and no negative warm-up")
    for _ in range(plan.warmup):
        _once(work, plan)
    _reset_peak(plan.device)
    repetitions, last = [], None
    with profiled(plan.mark_capture):
        for _ in range(plan.repeats):
            samples, last = _once(work, plan)
            repetitions.append(samples)
    peak, scope = _peak(plan.device)
    clock = "CUDA events" if plan.device.startswith("cuda") else "monotonic clock of the CPU"
    return Measurement(plan, clock, tuple(repetitions), peak, scope, last)


def merged(parts: Mapping[str, Measurement]) -> Measurement:
    """Return one measurement of several that were taken one after the other; their parts are named `key.part`.

    Raises:
        ValueError: there is none.
    """
    if not parts:
        raise ValueError("nothing was measured")
    first = next(iter(parts.values()))
    count = max(len(part.repetitions) for part in parts.values())
    repetitions = tuple(
        {
            f"{key}.{name}": values
            for key, part in parts.items()
            if place < len(part.repetitions)
            for name, values in part.repetitions[place].items()
        }
        for place in range(count)
    )
    peaks = [part.peak_memory_bytes for part in parts.values() if part.peak_memory_bytes is not None]
    return Measurement(first.plan, first.clock, repetitions, max(peaks, default=None), first.peak_memory_scope)


def _once(work: Callable[[Laps], Any], plan: Plan) -> tuple[dict[str, list[int]], Any]:
    set_seed(plan.seed)
    laps = Laps(plan.device)
    laps.wait()
    made = work(laps)
    return laps.samples_ns(), made


def set_seed(seed: int) -> None:
    """Seed Python's random numbers, and those of numpy and torch where they are loaded."""
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def _reset_peak(device: str) -> None:
    if device.startswith("cuda"):
        sys.modules["torch"].cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> tuple[int | None, str]:
    if device.startswith("cuda"):
        return sys.modules["torch"].cuda.max_memory_allocated(device), "torch's allocator, measured repetitions"
    try:
        import resource
    except ModuleNotFoundError:
        return None, "not known on this system"
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "resident memory of the process since its start"
