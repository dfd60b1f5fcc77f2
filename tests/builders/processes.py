"""Watches processes end."""

import time
from pathlib import Path


def gone(pid: int | str, within_s: float = 10.0) -> bool:
    """Say whether process `pid` ends within the time; a zombie has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path("/proc", str(pid), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
