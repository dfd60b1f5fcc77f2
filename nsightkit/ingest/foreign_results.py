"""Loads results files that other benchmarks, or our own workloads, wrote: JSON objects and lines of JSON.

In: files and folders. Out: (file name, object) pairs as they are; `analysis.foreign_results` gives them a meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nsightkit.errors import IngestError
from nsightkit.ingest.sources import near_name

_MOST_BYTES = 64 << 20


def load_results(paths: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects in `paths`, files in the order of their names; a folder's are those right in it.

    A sweep's folder stands for the results of its cells, each named as its cell.

    Raises:
        IngestError: a path is missing, a file is no JSON, or there is no object at all.
    """
    found = [pair for path in paths for file in _files(path) for pair in _objects(file)]
    if not found:
        raise IngestError(f"{paths[0]}: holds no results (.json or .jsonl)", slug="no-results")
    return found


def _files(path: Path) -> list[Path]:
    if (path / "sweep.json").is_file():
        return sorted(path.glob("cells/*/results.json"))
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
    if not path.is_file():
        raise IngestError(f"{path}: no such file or folder{near_name(path)}", slug="no-such-file")
    return [path]


def _objects(file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise IngestError(f"{file}: larger than 64 MiB, so hardly results of a benchmark", slug="no-results")
        text = file.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()] if file.suffix == ".jsonl" else [text]
        loaded = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise IngestError(f"{file}: no JSON ({error}); leave the file out or mend it", slug="no-results") from None
    name = file.parent.name if file.parent.parent.name == "cells" else file.name
    return [(name, data) for data in loaded if isinstance(data, dict)]
