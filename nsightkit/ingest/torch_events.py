"""The events of a trace of torch.profiler by the table that they go into, each kept as small as it can be.

In: the events one after the other, as they stand in the file. Out: `Events`: times in whole ns from the trace's first,
numbers as integers, arguments as the few values that a table needs; equal ones are one object. `Operators` know which
of them launched a piece of work.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nsightkit.ingest.chrome_trace import Decimals, Nesting, nanoseconds, nest
from nsightkit.ingest.torch_memory import MEMORY_EVENT, memory_row

# Source: the categories that PyTorch's profiler library (Kineto) writes, as found in traces of V100 to B200.
_CATEGORIES = {
    "kernel": "kernel_launches",
    "gpu_memcpy": "memory_operations",
    "gpu_memset": "memory_operations",
    "cuda_runtime": "cuda_api_calls",
    "cuda_driver": "cuda_api_calls",
    "cpu_op": "cpu_operators",
    "user_annotation": "nvtx_ranges",
}
_INPUTS = ("Input Dims", "Input type", "Input Strides", "Concrete Inputs")
_ODD = {
    "no-time": "{count} events have no usable time and were left out",
    "text-time": "{count} events give their time as text, not as a number; it was read as microseconds",
    "negative": "{count} events have a negative duration, kept as it is: the clocks of CPU and GPU may disagree",
    "no-duration": "{count} events have no duration: their end was not recorded",
    "duplicate": "{count} kernels stand in the trace twice with the same times; all are kept",
}
_Lane = tuple[int | None, int | None]


@dataclass(slots=True)
class Event:
    """One event; `details` are the arguments that only its table has, in the order of `Events._details`."""

    name: str
    category: str
    start_ns: int
    duration_ns: int | None
    process_id: int | None
    thread_id: int | None
    correlation: int | None
    external_id: int | None
    sequence: int | None
    details: tuple[Any, ...]

    @property
    def end_ns(self) -> int:
        """When it ended; where that is unknown, when it began."""
        return self.start_ns + max(self.duration_ns or 0, 0)


@dataclass
class Events:
    """The events by the table that they go into, and what was odd about them."""

    by_table: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    odd: Counter[str] = field(default_factory=Counter)
    memory: list[dict[str, int]] = field(default_factory=list)  # rows of device_memory
    launch_calls: dict[int, Event] = field(default_factory=dict)
    _fine: bool = False  # whether any time has decimals
    _operators: Operators | None = None
    _same: dict[Any, Any] = field(default_factory=dict)  # value -> the one object that stands for all its equals

    def take(self, item: Any) -> None:
        """Add one event of the file; what is none, or of no interest, is passed over."""
        if not isinstance(item, dict):
            return
        category = item.get("cat")
        if item.get("name") == MEMORY_EVENT and (row := memory_row(item)):
            self.memory.append(row)
        if not isinstance(category, str) or category not in _CATEGORIES or item.get("ph", "X") != "X":
            return
        moment = item.get("ts")
        self._fine = self._fine or type(moment) is Decimals
        start = nanoseconds(moment)
        if start is None:
            self.odd["no-time"] += 1
        else:
            self.by_table[_CATEGORIES[category]].append(self._event(item, start))

    def _event(self, item: Mapping[str, Any], start_ns: int) -> Event:
        duration = nanoseconds(item.get("dur"))
        if duration is None:
            self.odd["no-duration"] += 1
        elif duration < 0:
            self.odd["negative"] += 1
        # A decimal stands as `Decimals`; a plain str was quoted in the file.
        if type(item.get("ts")) is str or type(item.get("dur")) is str:
            self.odd["text-time"] += 1
        args = item.get("args")
        args = args if isinstance(args, dict) else {}
        same, category = self._same, item["cat"]
        name, details = text(item.get("name")), self._details(category, args)
        return Event(
            same.setdefault(name, name), same.setdefault(category, category), start_ns, duration,
            self._number(item.get("pid")), self._number(item.get("tid")), integer(args.get("correlation")),
            self._number(args.get("External id")), integer(args.get("Sequence number")), details,
        )  # fmt: skip

    def _number(self, value: Any) -> int | None:
        number = integer(value)
        return self._same.setdefault(number, number)

    def _details(self, category: str, args: Mapping[str, Any]) -> tuple[Any, ...]:
        get = args.get
        if category == "cpu_op":
            found: tuple[Any, ...] = tuple(self._json(get(key)) for key in _INPUTS)
        elif category in ("kernel", "gpu_memcpy", "gpu_memset"):
            found = (
                integer(get("device"), 32), integer(get("context"), 32), integer(get("stream"), 32),
                integer(get("graph node id")) or None, integer(get("graph id")) or None, integer(get("bytes")),
                integer(get("registers per thread"), 32), integer(get("shared memory"), 32),
                *_xyz(get("grid")), *_xyz(get("block")), *_xyz(get("cluster")),
            )  # fmt: skip
        else:
            return ()
        same: tuple[Any, ...] = self._same.setdefault(found, found)
        return same

    def _json(self, value: Any) -> str | None:
        if value is None:
            return None
        key = repr(value)  # several times as fast as JSON
        known = self._same.get(("json", key))
        if known is None:
            known = self._same["json", key] = json.dumps(value)
        return str(known)

    def finish(self) -> None:
        """Count the times from the first event, and join calls by their correlation ids, all events being there."""
        self._same.clear()
        zero = min((event.start_ns for events in self.by_table.values() for event in events), default=0)
        for events in self.by_table.values():
            for event in events:
                event.start_ns -= zero
        for row in self.memory:
            row["time_ns"] -= zero
        self.odd["duplicate"] = _duplicates(self.by_table["kernel_launches"])
        self.launch_calls = {e.correlation: e for e in self.by_table["cuda_api_calls"] if e.correlation is not None}

    @property
    def operators(self) -> Operators:
        """The operators, nested; made once."""
        if self._operators is None:
            # A time without decimals was rounded to a microsecond.
            self._operators = Operators.of(self.by_table["cpu_operators"], 1 if self._fine else 1000)
        return self._operators

    def call_of(self, event: Event) -> Event | None:
        """Return the CUDA call that launched `event`, None where it is not in the trace."""
        return None if event.correlation is None else self.launch_calls.get(event.correlation)

    def notes(self) -> Iterable[str]:
        """Say what a reader of the numbers must know."""
        kernels = self.by_table["kernel_launches"]
        if not kernels:
            yield "no kernels: the trace holds work of the CPU only; no GPU was traced"
        unlaunched = sum(self.call_of(kernel) is None for kernel in kernels)
        if unlaunched:
            yield f"{unlaunched} of {len(kernels)} kernels were launched by a call that the trace does not hold"
        yield from (words.format(count=self.odd[key]) for key, words in _ODD.items() if self.odd[key])


def _duplicates(kernels: Sequence[Event]) -> int:
    return len(kernels) - len({(k.name, k.start_ns, k.duration_ns, k.thread_id, k.correlation) for k in kernels})


@dataclass(frozen=True)
class Operators:
    """The operators, their nesting per thread, and where each External id is."""

    events: list[Event]
    threads: dict[_Lane, tuple[list[int], Nesting]]
    by_id: dict[int, Event]

    @classmethod
    def of(cls, events: list[Event], resolution_ns: int) -> Operators:
        """Nest the operators of each thread; `resolution_ns` is how far their times may be off."""
        members: dict[_Lane, list[int]] = defaultdict(list)
        for index, event in enumerate(events):
            members[event.process_id, event.thread_id].append(index)
        threads = {
            key: (indices, nest([(events[i].start_ns, events[i].end_ns) for i in indices], resolution_ns))
            for key, indices in members.items()
        }
        return cls(events, threads, {e.external_id: e for e in events if e.external_id is not None})

    def launching(self, event: Event, call: Event | None) -> int | None:
        """Return the External id of the operator that launched `event` through `call`, None for none.

        Some releases wrote the correlation id under "External id": a number counts only where its operator was open
        during the call; else the innermost open operator of the call's thread is taken.
        """
        number = event.external_id
        named = None if number is None else self.by_id.get(number)
        if call is None:
            return number if named else None
        if named and named.thread_id == call.thread_id and named.start_ns <= call.start_ns <= named.end_ns:
            return number
        indices, nesting = self.threads.get((call.process_id, call.thread_id), ([], None))
        inner = nesting.innermost(call.start_ns) if nesting else -1
        return self.events[indices[inner]].external_id if inner >= 0 else None


def integer(value: Any, bits: int = 64) -> int | None:
    """Return a whole number that fits `bits`, None for anything else."""
    if type(value) is not int:
        if not isinstance(value, str):
            return None
        try:
            value = int(value)
        except ValueError:
            return None
    number: int = value
    return number if -(1 << (bits - 1)) <= number < 1 << (bits - 1) else None


def _xyz(value: Any) -> tuple[int | None, int | None, int | None]:
    if not isinstance(value, list) or len(value) != 3:
        return None, None, None
    x, y, z = (integer(item, 32) for item in value)
    return x, y, z


def text(value: Any) -> str:
    """Return a name as text that UTF-8 can hold; JSON may have half a surrogate pair."""
    found = value if isinstance(value, str) else "" if value is None else str(value)
    return found if found.isascii() else found.encode("utf-8", "replace").decode("utf-8")
