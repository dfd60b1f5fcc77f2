"""How long a trace of torch.profiler takes to read and store, beside Python's own JSON reader on the same file.

In: nothing; a trace of 200 000 events is made first. Out: wall and CPU time and peak memory of whole processes.
"""

import json
import sys
import tempfile
from pathlib import Path

from paired import apart, measure, report

NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
LAUNCHES = 66_667


def make_trace(path: Path) -> None:
    events = []
    for i in range(LAUNCHES):
        at, ids = 1000 + i * 12.5, {"External id": i, "correlation": i}
        place = {"ph": "X", "pid": 1, "tid": 2}
        inputs = {"Input Dims": [[32, 4096], [4096, 4096]], "Input type": ["c10::BFloat16"] * 2}
        grid = {"device": 0, "stream": 7, "grid": [1, 2, 3], "block": [128, 1, 1], "registers per thread": 32}
        events += [
            {**place, "cat": "cpu_op", "name": f"aten::op{i % 50}", "ts": at, "dur": 8.5,
             "args": {"External id": i, **inputs}},
            {**place, "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": at + 1, "dur": 5, "args": ids},
            {**place, "cat": "kernel", "name": f"void kernel_{i % 40}<float>(int)", "ts": at + 6, "dur": 9.5,
             "args": ids | grid},
        ]  # fmt: skip
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events}), encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        apart(make_trace, trace)
        commands = {
            "json.load": [sys.executable, "-c", f"import json; json.load(open({str(trace)!r}))"],
            "nsightkit ingest": [NSIGHTKIT, "ingest", str(trace), "--force", "-o", str(Path(folder) / "run")],
        }
        report("read and store a trace of 200 000 events", measure(commands, rounds=3), "no bar")
