"""What the profiler cost, in words: on the terminal, on the first screen and in the method of a report alike.

In: the record `Capture.overhead`. Out: a sentence with the interval; a number only where it can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def overhead_line(record: Mapping[str, Any]) -> str:
    """Return in words what is known of the overhead; a number only where it can be trusted."""
    ratio, basis = record.get("ratio"), record.get("basis", "")
    low, high = record.get("low"), record.get("high")
    counts = [record.get(f"{side}_count") for side in ("untraced", "traced")]
    timed = basis if None in counts else f"{basis}; {counts[0]} without, {counts[1]} with the profiler"
    if low is None or high is None:
        if ratio is None:
            return f"overhead: not measurable ({timed})"
        return f"overhead: {ratio:.2f} times as long as without, from one timing each, so without an interval ({timed})"
    interval = f"{low:.2f} … {high:.2f}"
    if record.get("measurable"):
        return f"overhead: {ratio:.2f} times as long as without, {interval} ({timed})"
    bound = "" if ratio is None else f"; no more than {ratio:.2f} is taken"
    return f"overhead: not measurable: {interval} times as long as without ({timed}){bound}"
