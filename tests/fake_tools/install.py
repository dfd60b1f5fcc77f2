"""Puts stand-in profilers on a PATH of their own.

A stand-in knows the options of one real release and refuses what that release refuses. It runs the workload, answers
with a capture, and records its command line, so that a test can see what a backend asked for.
"""

import json
import stat
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSIONS = {"nsys": ("2023.4.4.54", "2026.1.1.204"), "ncu": ("2024.1.1.0", "2026.1.0.0")}


def install(folder: Path, tool: str, version: str, behavior: str = "good") -> Path:
    """Write `folder`/`tool` and return the file in which it records its command lines, one JSON list a line."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{tool}.calls"
    script = folder / tool
    line = " ".join(f"'{word}'" for word in (sys.executable, HERE / f"fake_{tool}.py", version, behavior, record))
    script.write_text(f'#!/bin/sh\nexec {line} "$@"\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return record


def calls(record: Path) -> list[list[str]]:
    """The command lines that a stand-in was called with."""
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
