"""What the stand-ins share: recording, and taking a command line apart as the real parsers do."""

import json
import re
import subprocess
import sys
from pathlib import Path


def record_call(path, argv):
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(argv) + "\n")


def split(argv, valued, flags, refuse, repeated=None):
    """Return the options and the workload's command; `refuse(option)` ends the program.

    Options in `repeated` may be given again: all their values go there.
    """
    found = {}
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name not in valued and name not in flags:
            refuse(f"{name}{equals}{value}")
        if name in valued:
            value = value if equals else rest.pop(0)
        found[name] = value
        if name in (repeated or {}):
            repeated[name].append(value)
    return found, rest


def run_workload(command):
    """Run the workload as the real tools do: its output passes through, its status comes back."""
    sys.stdout.flush()
    return subprocess.run(command, check=False).returncode


def words(text):
    return frozenset(re.findall(r"--[a-z0-9-]+", text))
