"""Walks the container of an Nsight Compute report, so that damage is found: the official library is silent about it.

In: a file that begins with NVR and a zero byte, or is compressed with zstd (.ncu-repz). Out: `Container`: how many
results the file promises, and the versions that its session blocks state. All parts are length-prefixed: a cut shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from nsightkit.errors import IngestError

MAGIC = b"NVR\x00"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# No header of a real report comes near; a flipped byte in a length does.
_MOST_HEADER_BYTES = 64 << 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_RESULTS, _SESSION, _PAYLOAD_BYTES = 2, 3, 5
_OTHER_RESULTS = (7, 8, 9)
_KNOWN_FIELDS = range(1, 32)
_NOTE, _KEY, _VALUE = 8, 1, 2
_SESSION_FACTS = {
    "Nsight Compute Target": "tool_version",
    "CUDA Version": "cuda_version",
    "Display Driver Version": "driver_version",
}


@dataclass(frozen=True)
class Container:
    """What the blocks of a report promise: results, kernels and others, and versions by fact (`tool_version`, …)."""

    result_count: int
    other_result_count: int
    facts: dict[str, str]


class _Damage(Exception):
    """A part that cannot be what it claims to be; `cut` where the file ends inside it."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__(cut)
        self.cut = cut


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def is_container(head: bytes) -> bool:
    """Say whether a file with the first bytes `head` is a report, compressed or not.

    Where the first compressed block is longer than `head`, so that nothing of it can be seen, it counts as one: no
    other capture is compressed with zstd as a whole.
    """
    return head.startswith(MAGIC) or (head.startswith(ZSTD_MAGIC) and _decompressed_head(head) in (MAGIC, b""))


def _decompressed_head(head: bytes) -> bytes:
    # Only a compressed file costs this import.
    import pyarrow as pa

    try:
        stream = pa.CompressedInputStream(pa.BufferReader(head), "zstd")
        return cast(bytes, stream.read(len(MAGIC)))
    except OSError:
        return b""


def walk(path: Path) -> Container:
    """Return what the report at `path` promises.

    Raises:
        IngestError: the file ends early or its parts do not fit together.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
            file.seek(0)
            return _walked(_decompressed(file) if compressed else file, path)
    except OSError as error:
        if error.errno is None:
            raise _damaged(path, 0, cut=True) from None
        raise IngestError(f"{path}: cannot be read ({error.strerror})", slug="cannot-read") from None


def _decompressed(file: BinaryIO) -> _Source:
    import pyarrow as pa

    return cast(_Source, pa.CompressedInputStream(pa.PythonFile(file), "zstd"))


def _walked(source: _Source, path: Path) -> Container:
    results, others, facts = 0, 0, {}
    try:
        if source.read(len(MAGIC)) != MAGIC:
            raise _Damage(cut=False)
        _exactly(source, _length(_exactly(source, 4)))
        while prefix := source.read(4):
            header = _fields(_exactly(source, _length(prefix)))
            for field, value in header:
                if field == _SESSION and isinstance(value, bytes):
                    facts.update(_session_facts(value))
            counts = {field: value for field, value in header if isinstance(value, int)}
            _skip(source, counts.get(_PAYLOAD_BYTES, 0))
            results += counts.get(_RESULTS, 0)
            others += sum(counts.get(field, 0) for field in _OTHER_RESULTS)
    except _Damage as damage:
        raise _damaged(path, results + others, cut=damage.cut) from None
    return Container(results, others, facts)


def _damaged(path: Path, whole: int, *, cut: bool) -> IngestError:
    what = "ends in the middle of a block, so it was cut off" if cut else "has a damaged block"
    return IngestError(
        f"{path}: the report {what} after {whole} whole result{'' if whole == 1 else 's'}; "
        "copy it again from where it was written, or profile again",
        slug="ncu-report-damaged",
    )


def _length(prefix: bytes) -> int:
    if len(prefix) < 4:
        raise _Damage(cut=True)
    length = int.from_bytes(prefix, "little")
    if length > _MOST_HEADER_BYTES:
        raise _Damage(cut=False)
    return length


def _exactly(source: _Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise _Damage(cut=True)
    return data


def _skip(source: _Source, size: int) -> None:
    while size > 0:
        step = len(source.read(min(size, 1 << 20)))
        if step == 0:
            raise _Damage(cut=True)
        size -= step


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    fields = list(_read_fields(message))
    if any(field not in _KNOWN_FIELDS for field, _ in fields):
        raise _Damage(cut=False)
    return fields


def _read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            size, position = _size_of(kind, message, position)
            value = message[position : position + size]
            position += size
            if position > len(message):
                raise _Damage(cut=False)
        yield key >> 3, value


def _size_of(kind: int, message: bytes, position: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(message, position)
    if kind in (_FIXED64, _FIXED32):
        return (8 if kind == _FIXED64 else 4), position
    raise _Damage(cut=False)


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise _Damage(cut=False)


def _session_facts(session: bytes) -> dict[str, str]:
    """Return the versions in a session block; what is no such note is passed over, as it is not ours to read."""
    facts = {}
    try:
        for field, note in _read_fields(session):
            if field == _NOTE and isinstance(note, bytes):
                texts = {number: text for number, text in _read_fields(note) if isinstance(text, bytes)}
                fact = _SESSION_FACTS.get(texts.get(_KEY, b"").decode("utf-8", "replace"))
                words = texts.get(_VALUE, b"").decode("utf-8", "replace").split()
                if fact and words:
                    # "2024.1.1.0 (build 33998838) (public-release)": the version alone.
                    facts[fact] = words[0]
    except _Damage:
        return {}
    return facts
