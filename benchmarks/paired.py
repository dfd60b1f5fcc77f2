"""Whole commands timed in turn: A B A B …, so that a busy machine slows both alike.

In: named commands. Out: medians of wall and CPU time, peak memory, and ratios to the first command. CPU time tells what
a busy machine hides.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What one command cost: median wall and CPU time, and the most memory that any run of it held."""

    wall_s: float
    peak_mb: float
    cpu_s: float


def apart(make: Callable[..., None], *given: object) -> None:
    """Run `make` in a process of its own: a child's peak memory starts at what its parent held when it was forked."""
    maker = multiprocessing.get_context("spawn").Process(target=make, args=given)
    maker.start()
    maker.join()


def measure(commands: Mapping[str, Sequence[str]], rounds: int = 7) -> dict[str, Cost]:
    """Run each command once to warm caches, then all of them in turn `rounds` times."""
    for command in commands.values():
        run_once(command)
    taken: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name].append(run_once(command))
    return {
        name: Cost(
            statistics.median(c.wall_s for c in costs),
            max(c.peak_mb for c in costs),
            statistics.median(c.cpu_s for c in costs),
        )
        for name, costs in taken.items()
    }


def run_once(command: Sequence[str]) -> Cost:
    """Run `command` to its end; it must succeed."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    text = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begin
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)} ended with {child.returncode}:\n{text.decode(errors='replace')}")
    return Cost(wall_s, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def report(title: str, costs: Mapping[str, Cost], bar: str) -> None:
    """Print the costs beside the first command's, and the bar that the project sets itself."""
    first = next(iter(costs.values()))
    print(f"{title}  (bar: {bar})")
    for name, cost in costs.items():
        print(
            f"  {name:<44} {cost.wall_s * 1e3:9.1f} ms  {cost.wall_s / first.wall_s:6.2f} ×  {cost.peak_mb:7.0f} MB"
            f"  {cost.cpu_s * 1e3:9.1f} ms of CPU  {cost.cpu_s / first.cpu_s:6.2f} ×"
        )
