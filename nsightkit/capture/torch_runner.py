"""Runs a script or a module under torch.profiler; it is run by path in a child and never imported by nsightkit.

In: `torch_runner.py TRACE SCRIPT ARGS…`, or `TRACE -m MODULE ARGS…`. Out: a Chrome trace (JSON, gzip) at TRACE, also
when the script fails or is interrupted, a JSON file beside it with the seconds that the script took, the threads that
torch used and the CPU time of its child processes, and the script's own exit status. A TRACE that ends in .seconds is
only that file: the script then runs without a profiler, for comparison. Where the script's own profiler has ended ours,
that is said, and there is no trace.
"""

import json
import os
import runpy
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

SECONDS = ".seconds"
_STARTED = [0]
MODULE = "-m"
# Said where no trace can be written; `torch_profiler` looks for it in the log.
TAKEN = "nsightkit: the script's own torch.profiler ended the recording"
_TAKEN_STATUS = 70


def main() -> int:
    """Run the script; return its exit status."""
    # A job in the background of a shell starts with it ignored, and --timeout ends the script by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trace, script, *arguments = sys.argv[1:]
    # The script may change the working directory.
    trace = os.path.abspath(trace)
    if script == MODULE:
        module, *arguments = arguments
        # As Python itself does for a module: the folder that it was started in comes first.
        sys.path[0] = os.getcwd()
        script = f"{MODULE}{module}"
    else:
        sys.path[0] = str(Path(script).resolve().parent)
    sys.argv = [script, *arguments]
    if trace.endswith(SECONDS):
        return _timed(script, Path(trace))
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    everywhere = _all_threads()
    _count_threads(bool(everywhere))
    profiler = profile(activities=activities, record_shapes=True, acc_events=True, **everywhere)
    profiler.start()
    profiler.add_metadata_json("torch_version", json.dumps(torch.__version__))
    others = _count_profilers()
    status = _timed(script, Path(f"{trace}{SECONDS}"))
    if others:
        # Only one can record: to stop ours now would end in a segmentation fault.
        sys.stderr.write(f"{TAKEN}\n")
        return status or _TAKEN_STATUS
    profiler.stop()
    _export(profiler, Path(trace))
    return status


def _count_threads(recorded: bool) -> None:
    """Count from now on the threads that start; those of which operators are `recorded` need no count."""
    start = threading.Thread.start

    def counted(self: threading.Thread) -> None:
        _STARTED[0] += 0 if recorded else 1
        start(self)

    threading.Thread.start = counted  # type: ignore[method-assign]


def _count_profilers() -> list[int]:
    """Return a list that grows by one for each profiler of torch that the script starts from now on."""
    started: list[int] = []
    kind = torch.autograd.profiler.profile
    start = getattr(kind, "_start_trace", None)
    if start is not None:

        def counted(self: object) -> object:
            started.append(1)
            return start(self)

        kind._start_trace = counted
    return started


def _all_threads() -> dict[str, object]:
    """Return what makes torch record threads that the script starts itself; nothing where this torch cannot."""
    with suppress(ImportError, TypeError):
        from torch._C._profiler import _ExperimentalConfig

        return {"experimental_config": _ExperimentalConfig(profile_all_threads=True)}
    return {}


def _timed(script: str, seconds: Path) -> int:
    begin, before = time.perf_counter(), _children_s()
    status = _status_of(script)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    told = {
        "seconds": round(time.perf_counter() - begin, 6),
        "threads": torch.get_num_threads(),
        "unseen_threads": _STARTED[0],
        "children_s": round(_children_s() - before, 6),
    }
    seconds.write_text(json.dumps(told) + "\n", encoding="utf-8")
    return status


def _children_s() -> float:
    """Return the CPU time of processes that were started and have ended; 0 where the system does not tell it."""
    try:
        import resource
    except ImportError:
        return 0.0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _status_of(script: str) -> int:
    try:
        if script.startswith(MODULE):
            runpy.run_module(script.removeprefix(MODULE), run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return _exit_status(end.code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BaseException:  # noqa: BLE001 - whatever a script raises ends it, but not the trace of what it did
        _print_traceback(sys.exc_info()[1])
        return 1
    return 0


def _print_traceback(error: BaseException | None) -> None:
    """Print it as Python alone would: without the frames of this file and of runpy."""
    if error is None:
        return
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def _exit_status(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    sys.stderr.write(f"{code}\n")
    return 1


def _export(profiler: profile, trace: Path) -> None:
    partial = trace.with_name(f".{os.getpid()}.partial.json.gz")
    try:
        profiler.export_chrome_trace(str(partial))
        partial.replace(trace)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())
