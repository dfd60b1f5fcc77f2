"""From captures to tables: finds captures by their content and reads them.

In: paths of captures, of folders of captures, or of run directories. Out: `Dataset`, the tables of all of them, or a
run directory with these tables as parquet. A damaged input is named in `failures` and does not cost the others.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nsightkit.ingest.dataset import Dataset, open_dataset
from nsightkit.ingest.sources import READERS, Failure, Source, find_sources

if TYPE_CHECKING:
    from nsightkit.ingest.store import IngestOptions, ingest_paths, ingest_sources

__all__ = [
    "READERS",
    "Dataset",
    "Failure",
    "IngestOptions",
    "Source",
    "find_sources",
    "ingest_paths",
    "ingest_sources",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    # Writing needs pyarrow; who only reads a report must not wait for it.
    if name in ("IngestOptions", "ingest_paths", "ingest_sources"):
        return getattr(importlib.import_module("nsightkit.ingest.store"), name)
    raise AttributeError(f"module 'nsightkit.ingest' has no attribute {name!r}")
