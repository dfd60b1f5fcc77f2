"""Builds the NVTX listener and runs a program under it: no GPU and no nsys are needed.

In: Python code or a command. Out: what the program told NVTX, as a list of events.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("listener.c")


def compiler() -> str | None:
    """The C compiler of this machine, None where there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """Compile the listener into `folder`."""
    library = folder / "liblistener.so"
    subprocess.run([compiler(), "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def heard(library: Path, log: Path, *argv: str) -> list[dict]:
    """Run Python with `argv` under the listener and return its events in order."""
    env = {**os.environ, "NVTX_INJECTION64_PATH": str(library), "NVTX_LISTENER_LOG": str(log), "OMP_NUM_THREADS": "1"}
    env.pop("NVTX_DISABLE", None)
    subprocess.run([sys.executable, *argv], check=True, env=env, capture_output=True)
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
