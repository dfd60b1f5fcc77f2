"""Runs a script under torch.profiler; it is run by path in a child and never imported by nsightkit.

In: `torch_runner.py TRACE SCRIPT ARGS…`. Out: a Chrome trace (JSON, gzip) at TRACE, also when the script fails or is
interrupted, the seconds that the script took beside it, and the script's own exit status. A TRACE that ends in .seconds
is only these seconds: the script then runs without a profiler, for comparison.
"""

import json
import os
import runpy
import sys
import time
import traceback
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

SECONDS = ".seconds"


def main() -> int:
    """Run the script; return its exit status."""
    trace, script, *arguments = sys.argv[1:]
    sys.argv = [script, *arguments]
    # As Python itself does for a script that is run by path.
    sys.path[0] = str(Path(script).resolve().parent)
    if trace.endswith(SECONDS):
        return _timed(script, Path(trace))
    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, record_shapes=True, acc_events=True) as profiler:
        profiler.add_metadata_json("torch_version", json.dumps(torch.__version__))
        status = _timed(script, Path(f"{trace}{SECONDS}"))
    _export(profiler, Path(trace))
    return status


def _timed(script: str, seconds: Path) -> int:
    begin = time.perf_counter()
    status = _status_of(script)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds.write_text(f"{time.perf_counter() - begin:.6f}\n", encoding="utf-8")
    return status


def _status_of(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return _exit_status(end.code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BaseException:  # noqa: BLE001 - whatever a script raises ends it, but not the trace of what it did
        traceback.print_exc()
        return 1
    return 0


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
