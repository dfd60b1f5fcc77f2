"""What a user may ask of a capture, whichever profiler makes it.

In: the options of the command line. Out: `Options`; each backend takes from it what it knows and refuses the rest.
"""

from dataclasses import dataclass, field

# The default of ncu changed between releases: what is not said is not known.
CLOCK_CONTROL = "base"
CACHE_CONTROL = "all"
# Modes of replay that measure ranges as a whole.
RANGE_REPLAYS = ("range", "app-range")


@dataclass(frozen=True)
class Window:
    """A part of the run by time: `delay_s` after its start, for `duration_s`."""

    delay_s: float
    duration_s: float


@dataclass(frozen=True)
class Scope:
    """Which part of the run is captured; the whole of it where nothing is set."""

    nvtx_range: str | None = None
    range_count: int = 1  # how many instances of the range, one capture each
    window: Window | None = None
    profiler_api: bool = False  # between cudaProfilerStart and cudaProfilerStop

    def __str__(self) -> str:
        if self.nvtx_range is not None:
            count = "the first instance" if self.range_count == 1 else f"the first {self.range_count} instances"
            return f"{count} of the NVTX range {self.nvtx_range}"
        if self.window:
            return f"{self.window.duration_s:g} s from {self.window.delay_s:g} s on"
        return "between cudaProfilerStart and cudaProfilerStop" if self.profiler_api else ""


@dataclass(frozen=True)
class Counters:
    """What ncu collects, of which launches, and under which conditions."""

    section_set: str | None = None
    metrics: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    kernel_regex: str | None = None  # of demangled names
    launch_skip: int | None = None
    launch_count: int | None = None
    replay_mode: str | None = None
    clock_control: str = CLOCK_CONTROL
    cache_control: str = CACHE_CONTROL
    nvtx_include: tuple[str, ...] = ()  # in ncu's grammar, as "decode/"
    range_instances: tuple[int, ...] = ()  # of the included range, counted from 1


@dataclass(frozen=True)
class Options:
    """All of it; `extra` goes to the profiler as it is."""

    scope: Scope = field(default_factory=Scope)
    counters: Counters = field(default_factory=Counters)
    python_stacks: bool = False
    gpu_metrics: bool = False
    extra: tuple[str, ...] = ()
    stem: str | None = None  # of the files that the profiler writes
