"""Templates, compiled once for all runs.

In: the folder of templates. Out: a jinja2 environment. Compiled templates are kept where Python keeps its own
bytecode, in ``__pycache__`` beside the templates; where that cannot be written, they are compiled anew each time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.util import cache_from_source
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class CompiledTemplates(jinja2.BytecodeCache):
    """Keeps the bytecode of templates in a folder; jinja2 checks it against the template's text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill `bucket` from the folder, or leave it empty."""
        with contextlib.suppress(OSError), self._path(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep `bucket` if Python may keep its own bytecode and the folder can be written."""
        if sys.dont_write_bytecode:
            return
        path = self._path(bucket)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                bucket.write_bytecode(file)
            partial.replace(path)

    def _path(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}.{sys.implementation.cache_tag}.jinja2"


def make_environment(folder: Path) -> jinja2.Environment:
    """Return an environment for the templates in `folder`; pages are escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        # Decided by name: a page is escaped, the Markdown twin escapes by its own filters.
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=CompiledTemplates(Path(cache_from_source(str(folder / "report.py"))).parent),
    )
