"""The results file of a workload: what ran, where, what was timed, and how it spread.

In: settings, a measurement, metrics with the unit in their names. Out: a dictionary that `RESULTS_SCHEMA` describes,
checked, and written under a temporary name first.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nsightkit.annotate.measuring import Measurement
from nsightkit.annotate.spread import OUTLIER_RULE

SCHEMA_VERSION = 2

# JSON Schema (2020-12) of the file, in the few words that `check_results` knows.
RESULTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema_version", "workload", "settings", "machine", "timed", "clock", "outlier_rule", "warmup_iters",
                 "seed", "tokens_run", "peak_memory_bytes", "peak_memory_scope", "repetitions", "spreads", "metrics",
                 "created_utc"],
    "properties": {
        "schema_version": {"type": "integer"},
        "workload": {"type": "string"},
        "created_utc": {"type": "string"},
        "settings": {"type": "object"},
        "machine": {
            "type": "object",
            "required": ["device_name", "dtype", "python_version", "torch_version", "threads"],
            "properties": {
                "device_name": {"type": "string"},
                "dtype": {"type": "string"},
                "python_version": {"type": "string"},
                "torch_version": {"type": ["string", "null"]},
                "cuda_version": {"type": ["string", "null"]},
                "threads": {"type": ["integer", "null"]},
            },
        },
        "timed": {"type": "string"},
        "clock": {"type": "string"},
        "outlier_rule": {"type": "string"},
        "warmup_iters": {"type": "integer"},
        "seed": {"type": "integer"},
        "tokens_run": {"type": "integer"},
        "peak_memory_bytes": {"type": ["integer", "null"]},
        "peak_memory_scope": {"type": "string"},
        "repetitions": {"type": "array", "items": {"type": "object"}},
        "spreads": {"type": "object"},
        "metrics": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        # One object for each batch, length or page of a workload that measures several.
        "rows": {"type": "array", "items": {
            "type": "object", "additionalProperties": {"type": ["number", "string", "null"]},
        }},
        "notes": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "null": (type(None),), "boolean": (bool,),
}  # fmt: skip


def describe_machine(device: str, dtype: str) -> dict[str, Any]:
    """Return what ran the work: the device's name, the dtype, and the versions that are loaded."""
    torch = sys.modules.get("torch")
    on_gpu = device.startswith("cuda") and torch is not None
    return {
        "device_name": torch.cuda.get_device_name(device) if on_gpu and torch else f"cpu ({_cpu_name()})",
        "dtype": dtype,
        "python_version": platform.python_version(),
        "torch_version": None if torch is None else str(torch.__version__),
        "cuda_version": None if torch is None else torch.version.cuda,
        "threads": None if torch is None else torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine() or "unknown")


def results_of(
    workload: str,
    settings: Mapping[str, Any],
    machine: Mapping[str, Any],
    measured: Measurement,
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the results; `own` holds what only the workload knows: timed, tokens_run, metrics, maybe rows and notes.

    Raises:
        ValueError: something that the schema asks for is missing or of another kind.
    """  # fmt: skip
    names = sorted({name for rep in measured.repetitions for name in rep})
    spreads = {name: spread.as_dict() for name in names if (spread := measured.spread(name))}
    spreads |= {
        f"{name}_sample": spread.as_dict()
        for name in names
        if any(len(rep.get(name, ())) > 1 for rep in measured.repetitions) and (spread := measured.sample_spread(name))
    }
    data = {
        "schema_version": SCHEMA_VERSION,
        "workload": workload,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "machine": dict(machine),
        "clock": measured.clock,
        "outlier_rule": OUTLIER_RULE,
        "warmup_iters": measured.plan.warmup,
        "seed": measured.plan.seed,
        "peak_memory_bytes": measured.peak_memory_bytes,
        "peak_memory_scope": measured.peak_memory_scope,
        "repetitions": [{f"{name}_ns": values for name, values in rep.items()} for rep in measured.repetitions],
        "spreads": spreads,
        **own,
    }
    check_results(data)
    return data


def check_results(data: Any) -> None:
    """Check `data` against `RESULTS_SCHEMA`.

    Raises:
        ValueError: says what is missing or of another kind, and where.
    """
    _check(data, RESULTS_SCHEMA, "results")


def _check(value: Any, schema: Mapping[str, Any], where: str) -> None:
    wanted = schema.get("type", ())
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    # A truth value is an int to Python, but not to JSON.
    fits = any(isinstance(value, _KINDS[kind]) and isinstance(value, bool) == (kind == "boolean") for kind in kinds)
    if kinds and not fits:
        raise ValueError(f"{where} is {type(value).__name__}, not {' or '.join(kinds)}")
    if isinstance(value, dict):
        _check_members(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        for place, item in enumerate(value):
            _check(item, schema["items"], f"{where}[{place}]")


def _check_members(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> None:
    for name in schema.get("required", ()):
        if name not in value:
            raise ValueError(f"{where} has no {name}")
    for name, item in value.items():
        inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
        if inner is not None:
            _check(item, inner, f"{where}.{name}")


def results_file(text: str) -> Path:
    """Return the path that `text` names, as the type of an argparse option: refused before the work, not after it.

    Makes the folder that the file will lie in.

    Raises:
        argparse.ArgumentTypeError: no file can be written there.
    """
    from argparse import ArgumentTypeError

    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{path} is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentTypeError(f"{path} cannot be written: {error.strerror}: {path.parent}") from None
    if not os.access(path.parent, os.W_OK):
        raise ArgumentTypeError(f"{path} cannot be written: {path.parent} is not writable")
    return path


def write_results(path: Path, data: Mapping[str, Any]) -> None:
    """Write checked results to `path` under a temporary name, then rename; what is no finite number becomes null.

    Raises:
        ValueError: the results do not fit the schema.
        OSError: the file cannot be written.
    """
    check_results(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        text = json.dumps(_finite(data), indent=2, default=str, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinities, which JSON has no words for."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
