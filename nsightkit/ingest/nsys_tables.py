"""Turns batches of nsys's columns into batches of ours, for every form of export alike.

In: an `Export`, which gives record batches under nsys's own column names (integers as int64, reals as float64, text as
strings). Out: streams of record batches of the declared tables, with the columns that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from nsightkit.errors import IngestError
from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.parallel import has_core_to_spare
from nsightkit.parquet import ahead, array_of, int64_array
from nsightkit.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


class Export(Protocol):
    """An nsys export, whatever its format."""

    path: Path
    notes: tuple[str, ...]

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of `table`, none where there is no such table."""

    def has_rows(self, table: str) -> bool:
        """Say whether `table` exists and holds a row."""

    def rows(self, table: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
        """Return a small table; a column that the export lacks is None."""

    def strings(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the texts of `ids`."""

    def domains(self, event_type: int) -> list[dict[str, Any]]:
        """Return start, domainId, globalTid, text and textId of the NVTX rows of one type, by start."""

    def batches(self, table: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the columns `wanted` of a large table."""


@dataclass
class Texts:
    """The strings of an export, fetched when a batch first refers to them."""

    export: Export
    known: dict[int, str] = field(default_factory=dict)

    def of(self, ids: Sequence[int | None]) -> list[str | None]:
        """Return the text of each id."""
        new = [i for i in ids if i is not None and i not in self.known]
        if new:
            self.known.update(self.export.strings(new))
        return [None if i is None else self.known.get(i, f"(string {i} is not in the export)") for i in ids]

    def column(self, ids: pa.Array) -> pa.DictionaryArray:
        """Return a column of ids as text."""
        return translated(ids, self.of)


Build: TypeAlias = "Callable[[pa.RecordBatch, Texts], pa.Array]"


@dataclass(frozen=True)
class Recipe:
    """How one of our columns is made: what it needs, whether all of it or any, and how."""

    needs: tuple[str, ...]
    build: Build
    any_of: bool = False

    def sources(self, present: frozenset[str]) -> tuple[str, ...]:
        """Return the columns to read for it, none where the export does not have them."""
        found = tuple(name for name in self.needs if name in present)
        return found if self.any_of or len(found) == len(self.needs) else ()


def ints(array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the values of an int64 array without a copy; those that are null are arbitrary."""
    data = array.buffers()[1]
    whole = np.frombuffer(data, np.int64) if data is not None else np.zeros(0, np.int64)
    return whole[array.offset : array.offset + len(array)]


def nulls(array: pa.Array) -> Any:
    """Return where `array` is null, None where it never is."""
    if not array.null_count:
        return None
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)] == 0


def either(*masks: Any) -> Any:
    """Return where any of the masks is set; a mask may be None."""
    there = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(there) if there else None


def translated(codes: pa.Array, texts_of: Callable[[Sequence[int | None]], Sequence[str | None]]) -> pa.DictionaryArray:
    """Return a column of codes as text; `texts_of` is asked for the distinct ones."""
    import pyarrow as pa

    encoded = codes.dictionary_encode()
    texts = texts_of(encoded.dictionary.to_pylist())
    if len(set(texts)) == len(texts) and None not in texts:
        return pa.DictionaryArray.from_arrays(encoded.indices, array_of(texts, pa.string()))
    words = list(dict.fromkeys(text for text in texts if text is not None))
    place = np.array([-1 if text is None else words.index(text) for text in texts] or [-1], np.int32)
    at = np.asarray(np.frombuffer(encoded.indices.buffers()[1], np.int32)[: len(codes)])
    missing = nulls(encoded.indices)
    indices = place[at if missing is None else np.where(missing, 0, at)]
    absent = either(missing, indices < 0)
    validity = pa.py_buffer(np.packbits(~absent, bitorder="little"))
    buffers = [validity, pa.py_buffer(np.maximum(indices, 0).astype(np.int32))]
    return pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(codes), buffers), array_of(words, pa.string())
    )


def narrow(array: pa.Array) -> pa.Array:
    """Return int64 as int32; a number that does not fit is null."""
    import pyarrow as pa

    values, missing = ints(array), nulls(array)
    if missing is not None:
        values = np.where(missing, 0, values)
    if len(values) and (values.min() < -(2**31) or values.max() >= 2**31):
        missing = either(missing, (values < -(2**31)) | (values >= 2**31))
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.int32(), len(values), [validity, pa.py_buffer(values.astype(np.int32))])


def plain_recipes(table: str, columns: Mapping[str, str]) -> dict[str, Recipe]:
    """Return recipes for columns that are taken as they are."""
    return {
        ours: Recipe((theirs,), _copy(theirs, TABLES[table].column(ours).dtype)) for ours, theirs in columns.items()
    }


def _copy(name: str, dtype: str) -> Build:
    if dtype == "int32":
        return lambda batch, texts: narrow(batch.column(name))
    return lambda batch, texts: batch.column(name)


def _text(name: str) -> Recipe:
    return Recipe((name,), lambda batch, texts: texts.column(batch.column(name)))


def enum_recipe(name: str, values: Mapping[int, str]) -> Recipe:
    """Return a recipe for a column of codes that stand for words; an unknown code is null."""

    def words(codes: Sequence[int | None]) -> list[str | None]:
        return [None if code is None else values.get(code) for code in codes]

    return Recipe((name,), lambda batch, texts: translated(batch.column(name), words))


def _constant(text: str) -> Recipe:
    return Recipe(("start",), lambda batch, texts: translated(batch.column("start"), lambda codes: [text] * len(codes)))


def _duration(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
    start, end = batch.column("start"), batch.column("end")
    return int64_array(ints(end) - ints(start), either(nulls(start), nulls(end)))


def process_of_thread(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
    """Return the process key of each thread key: the same number with the 24 thread bits zero."""
    threads = batch.column("globalTid")
    return int64_array(ints(threads) & ~np.int64(0xFFFFFF), nulls(threads))


TIMES = {
    "start_ns": Recipe(("start",), _copy("start", "int64")),
    "duration_ns": Recipe(("start", "end"), _duration),
}


def _copies(codes: Sequence[int | None]) -> list[str | None]:
    return [nsys.copy_operation(0 if code is None else code) for code in codes]


def kernel_recipes(present: frozenset[str]) -> dict[str, Recipe]:
    """Return how `kernel_launches` is made from a kernel table with the columns `present`."""
    named = next((name for name in ("demangledName", "shortName", "mangledName") if name in present), "demangledName")
    return {"kernel_name": _text(named), "short_name": _text("shortName"), **TIMES,
            **plain_recipes("kernel_launches", nsys.KERNEL_COLUMNS)}  # fmt: skip


def api_recipes(present: frozenset[str]) -> dict[str, Recipe]:
    """Return how `cuda_api_calls` is made."""
    return {
        "name": _text("nameId"),
        "api": enum_recipe("eventClass", nsys.API_KINDS),
        **TIMES,
        "process_id": Recipe(("globalTid",), process_of_thread),
        **plain_recipes("cuda_api_calls", nsys.API_COLUMNS),
    }


def copy_recipes(present: frozenset[str]) -> dict[str, Recipe]:
    """Return how the copies of `memory_operations` are made."""
    return {
        "operation": Recipe(("copyKind",), lambda batch, texts: translated(batch.column("copyKind"), _copies)),
        "source_kind": enum_recipe("srcKind", nsys.MEMORY_KINDS),
        "destination_kind": enum_recipe("dstKind", nsys.MEMORY_KINDS),
        **TIMES,
        **plain_recipes("memory_operations", nsys.MEMORY_COLUMNS),
    }


def fill_recipes(present: frozenset[str]) -> dict[str, Recipe]:
    """Return how the fills of `memory_operations` are made."""
    return {
        "operation": _constant(nsys.MEMSET_OPERATION),
        "destination_kind": enum_recipe("memKind", nsys.MEMORY_KINDS),
        **TIMES,
        **plain_recipes("memory_operations", nsys.MEMORY_COLUMNS),
    }


def graph_recipes(present: frozenset[str]) -> dict[str, Recipe]:
    """Return how `graph_launches` is made."""
    return {**TIMES, **plain_recipes("graph_launches", nsys.GRAPH_COLUMNS)}


@dataclass(frozen=True)
class Stream:
    """One large table of an export and what it becomes: `ours` from `theirs`, for the columns `only`."""

    ours: str
    theirs: str
    recipes: Callable[[frozenset[str]], Mapping[str, Recipe]]
    only: tuple[str, ...] | None = None
    filters: tuple[str, ...] = ()  # columns that `keep` needs
    keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None

    def read(self, export: Export) -> Iterator[pa.RecordBatch]:
        """Yield record batches of our columns.

        Raises:
            IngestError: a column without which the rows mean nothing is missing, or the input is damaged.
        """
        present = export.columns(self.theirs)
        chosen = self._chosen(present, export.path)
        needed = [name for recipe in chosen.values() for name in recipe.sources(present)]
        wanted = list(dict.fromkeys([*needed, *self.filters]))
        texts = Texts(export)
        batches = export.batches(self.theirs, wanted)
        if has_core_to_spare():
            batches = ahead(batches)
        return (_converted(batch, chosen, texts, self.keep) for batch in batches)

    def _chosen(self, present: frozenset[str], path: Path) -> dict[str, Recipe]:
        recipes = self.recipes(present)
        for column in TABLES[self.ours].columns:
            recipe = recipes.get(column.name)
            if recipe and not column.nullable and not recipe.sources(present):
                raise IngestError(
                    f"{path}: its table {self.theirs} lacks the column {recipe.needs[0]}, so this is no schema of nsys "
                    "that nsightkit knows; export the report again with nsys 2022 or later",
                    slug="unknown-nsys-schema",
                )
        return {
            name: recipe
            for name, recipe in recipes.items()
            if (self.only is None or name in self.only) and recipe.sources(present)
        }


def _converted(
    batch: pa.RecordBatch, recipes: Mapping[str, Recipe], texts: Texts, keep: Callable[[Any], Any] | None
) -> pa.RecordBatch:
    import pyarrow as pa

    rows = keep(batch) if keep else batch
    return pa.RecordBatch.from_arrays([r.build(rows, texts) for r in recipes.values()], names=list(recipes))


def together(streams: Sequence[Stream], export: Export) -> Iterator[pa.RecordBatch]:
    """Yield the rows of several streams, one after the other; what cannot be read is said at once."""
    return chain.from_iterable([stream.read(export) for stream in streams])
