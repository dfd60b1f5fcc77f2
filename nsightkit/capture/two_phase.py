"""Turns a choice of launches into one run of ncu.

In: which launches of which range, as `Selection`, and how a workload was run. Out: the step for ncu. The filter names
the range with ncu's slash, so that push/pop ranges are meant; instances are counted, so that only the chosen steps are
measured; names are matched in full, so that nsys and ncu mean the same kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nsightkit.capture.backend import Request
from nsightkit.capture.ncu import nvtx_literal
from nsightkit.capture.options import Options, Scope
from nsightkit.capture.steps import Step
from nsightkit.capture.workload import Workload
from nsightkit.errors import CaptureError


@dataclass(frozen=True)
class Selection:
    """Which launches: kernels by name, in which instances of which ranges; no range means the whole run."""

    kernel_regex: str
    ranges: tuple[str, ...] = ()
    instances: tuple[int, ...] = ()
    launch_limit: int | None = None


def counter_step(selection: Selection, request: Request) -> Step:
    """Return the run of ncu that measures `selection`; metrics, clocks and caches are those of `request`."""
    counters = replace(
        request.options.counters,
        kernel_regex=selection.kernel_regex,
        nvtx_include=tuple(f"{nvtx_literal(name)}/" for name in selection.ranges),
        range_instances=selection.instances if selection.ranges else (),
        launch_skip=None,
        launch_count=selection.launch_limit,
    )
    options = replace(request.options, scope=Scope(), counters=counters)
    return Step("ncu", replace(request, options=options))


def traced_workload(argv: Sequence[str], capture_dir: Path) -> Workload:
    """Return the workload of an nsys capture from its command line.

    Args:
        argv: the command line of nsys.
        capture_dir: where that capture lies; results that the workload wrote there are not to be overwritten.

    Raises:
        CaptureError: the command line holds no workload, or its script is gone.
    """
    words = list(argv)
    if "--output" not in words or len(words) <= words.index("--output") + 2:
        raise CaptureError(
            "the capture does not say how its workload was run: profile it with 'nsightkit profile --tool nsys+ncu'",
            slug="no-workload",
        )
    program, *args = words[words.index("--output") + 2 :]
    missing = next((word for word in args[:1] if word.endswith(".py") and not Path(word).is_file()), None)
    if missing:
        raise CaptureError(
            f"the workload's script {missing} is not here: run this from the folder in which it was profiled",
            slug="no-workload",
        )
    return Workload(
        Path(args[0]).stem if args else Path(program).name, None, _apart(args, capture_dir), program=program
    )


def _apart(args: Sequence[str], capture_dir: Path) -> tuple[str, ...]:
    """Return `args` with results inside `capture_dir` going to a file of their own."""
    kept = list(args)
    for place, word in enumerate(kept[:-1]):
        path = Path(kept[place + 1])
        if word == "--results" and path.parent.name == capture_dir.name:
            kept[place + 1] = str(capture_dir / f"{path.stem}-counters.json")
    return tuple(kept)


def counter_options(options: Options, stem: str) -> Options:
    """Return `options` for a capture beside a timeline, in files of its own."""
    return replace(options, stem=stem, python_stacks=False, gpu_metrics=False)
