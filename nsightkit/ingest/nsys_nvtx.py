"""NVTX events of an export as our ranges: names from two places, domains, kinds, payloads.

In: an `Export`. Out: the stream of `nvtx_ranges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nsightkit.ingest import nsys_schema as nsys
from nsightkit.ingest.nsys_tables import (
    TIMES,
    Export,
    Recipe,
    Stream,
    Texts,
    either,
    enum_recipe,
    ints,
    nulls,
    plain_recipes,
    process_of_thread,
    translated,
)
from nsightkit.parquet import int64_array

if TYPE_CHECKING:
    import pyarrow as pa


def range_stream(export: Export, only: tuple[str, ...] | None) -> Stream:
    """Return the stream of ranges and marks; `only` names the columns that are needed."""
    domains = _domain_names(export)

    def recipes(present: frozenset[str]) -> Mapping[str, Recipe]:
        named = {"domain": Recipe(("domainId", "globalTid"), _domain_of(domains))} if domains else {}
        return {
            "name": Recipe(("textId", "text"), _name, any_of=True),
            **named,
            "kind": enum_recipe("eventType", nsys.NVTX_KINDS),
            **TIMES,
            "process_id": Recipe(("globalTid",), process_of_thread),
            **plain_recipes("nvtx_ranges", nsys.NVTX_COLUMNS),
            "payload": Recipe(nsys.NVTX_PAYLOADS, _payload, any_of=True),
        }

    return Stream("nvtx_ranges", nsys.NVTX, recipes, only, filters=("eventType",), keep=_ranges_only)


def _ranges_only(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    wanted = np.isin(ints(batch.column("eventType")), list(nsys.NVTX_KINDS))
    if wanted.all():
        return batch
    mask = pa.Array.from_buffers(pa.bool_(), len(wanted), [None, pa.py_buffer(np.packbits(wanted, bitorder="little"))])
    return batch.filter(mask)


def _name(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
    """Return the registered string where there is one, else the text."""
    columns = batch.schema.names
    registered = batch.column("textId") if "textId" in columns else None
    text = batch.column("text") if "text" in columns else None
    if text is None or (registered is not None and not registered.null_count):
        return texts.column(registered)
    if registered is None or registered.null_count == len(registered):
        return text.dictionary_encode()
    return _first_of(texts.column(registered), text)


def _first_of(names: pa.DictionaryArray, text: pa.Array) -> pa.DictionaryArray:
    """Return `names` where it is not null, else `text`, without touching the strings of each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    others = text.dictionary_encode()
    if pc.any(pc.is_in(names.dictionary, value_set=others.dictionary)).as_py():
        return pc.coalesce(names.dictionary_decode(), text).dictionary_encode()
    unnamed, untold = nulls(names.indices), nulls(others.indices)
    if unnamed is None:
        return names
    codes = np.where(unnamed, _codes(others) + np.int32(len(names.dictionary)), _codes(names))
    missing = None if untold is None else unnamed & untold
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    indices = pa.Array.from_buffers(pa.int32(), len(codes), [validity, pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, pa.concat_arrays([names.dictionary, others.dictionary]))


def _codes(column: pa.DictionaryArray) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.frombuffer(column.indices.buffers()[1], np.int32)[column.indices.offset :][: len(column)]


def _process_number(thread: int) -> int:
    return thread >> 24 & 0xFFFFFF


def _domain_names(export: Export) -> dict[int, str]:
    """Return domain key (see `_domain_keys`) -> name; the first name that a process gives counts."""
    found: dict[int, str] = {}
    if not {"domainId", "globalTid", "eventType"} <= export.columns(nsys.NVTX):
        return found
    texts = Texts(export)
    for row in export.domains(nsys.NVTX_DOMAIN):
        name = row["text"] if row["text"] is not None else texts.of([row["textId"]])[0]
        if name is not None and row["domainId"] is not None and row["globalTid"] is not None:
            found.setdefault(_process_number(row["globalTid"]) << 32 | row["domainId"] & 0xFFFFFFFF, name)
    return found


def _domain_of(names: Mapping[int, str]) -> Any:
    def known(keys: Sequence[int | None]) -> list[str | None]:
        return [None if key is None else names.get(key) for key in keys]

    def build(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
        threads, domains = batch.column("globalTid"), batch.column("domainId")
        keys = (ints(threads) >> 24 & 0xFFFFFF) << 32 | ints(domains) & 0xFFFFFFFF
        return translated(int64_array(keys, either(nulls(threads), nulls(domains))), known)

    return build


def _payload(batch: pa.RecordBatch, texts: Texts) -> pa.Array:
    """Return the one payload of each row, whatever its type was, as a double."""
    import pyarrow as pa

    result, missing = np.zeros(batch.num_rows), np.ones(batch.num_rows, np.bool_)
    for name in [name for name in nsys.NVTX_PAYLOADS if name in batch.schema.names]:
        column = batch.column(name)
        absent = nulls(column)
        if column.null_count == len(column) or len(column) == 0:
            continue
        data = np.frombuffer(column.buffers()[1], np.float64 if column.type == pa.float64() else np.int64)
        values = data[column.offset : column.offset + len(column)]
        here = missing if absent is None else missing & ~absent
        result = np.where(here, values, result)
        missing = missing & ~here
    validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(result), [validity, pa.py_buffer(result)])
