"""Reads what a bundled workload wrote about its own run.

In: the path of its results. Out: the JSON object in it.
"""

import json
from pathlib import Path
from typing import Any


def read_results(path: Path) -> dict[str, Any]:
    """Return what a bundled workload wrote, nothing where it wrote nothing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
