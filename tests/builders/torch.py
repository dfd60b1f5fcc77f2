"""Builds traces as torch.profiler writes them: decimals as text, so that the file holds exactly these digits."""

import gzip
import json
import re
from pathlib import Path

PROPERTIES = [
    {"id": 0, "name": "NVIDIA H100", "computeMajor": 9, "computeMinor": 0, "numSms": 132, "totalGlobalMem": 85 * 10**9}
]


def event(category, name, ts, dur, **args):
    """One complete event; `ts` and `dur` in microseconds, as a number or as the text that is to stand in the file."""
    place = {"pid": args.pop("pid", 1000), "tid": args.pop("tid", 1000)}
    return {"ph": "X", "cat": category, "name": name, **place, "ts": ts, "dur": dur, "args": args}


def operator(name, ts, dur, external_id, **args):
    return event("cpu_op", name, ts, dur, **{"External id": external_id, **args})


def call(name, ts, dur, correlation, category="cuda_runtime", **args):
    return event(category, name, ts, dur, correlation=correlation, cbid=211, **args)


def kernel(name, ts, dur, correlation, **args):
    """A kernel on device 0; its "pid" and "tid" are device and stream, as the profiler writes them."""
    defaults = {
        "pid": 0, "tid": 7, "device": 0, "context": 1, "stream": 7, "correlation": correlation,
        "grid": [8, 2, 1], "block": [128, 1, 1], "registers per thread": 32, "shared memory": 1024,
    }  # fmt: skip
    return event("kernel", name, ts, dur, **{**defaults, **args})


def annotation(name, ts, dur, **args):
    return event("user_annotation", name, ts, dur, **args)


def trace(events, **keys):
    return {"schemaVersion": 1, "deviceProperties": PROPERTIES, **keys, "traceEvents": events}


class Raw(str):
    """A number that stands in the file with exactly these digits, without quotes."""


def write(path: Path, data) -> Path:
    """Write `data` as JSON; compressed where the name ends in .gz."""
    text = re.sub(r'"\\u0001([^"]*)\\u0001"', r"\1", json.dumps(_marked(data)))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def _marked(data):
    """Return `data` with each `Raw` between two marks that no other text holds."""
    if isinstance(data, Raw):
        return f"\x01{data}\x01"
    if isinstance(data, dict):
        return {key: _marked(value) for key, value in data.items()}
    return [_marked(item) for item in data] if isinstance(data, list) else data
