"""Reads a Chrome trace event by event, so that a trace of any size costs no more memory than what is kept of it.

In: a file, plain or gzip. Out: each member of the list `traceEvents` in turn, decimals as `Decimals`; then what stands
beside the list.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from nsightkit.errors import IngestError
from nsightkit.ingest.chrome_trace import Decimals

_GZIP_MAGIC = b"\x1f\x8b"
# Bytes that are read at once, at first; each time that a value does not fit, twice as many.
_PIECE = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")


def stream_trace(path: Path, restart: Callable[[], Callable[[Any], None]]) -> dict[str, Any]:
    """Give each event of the trace in `path` away, and return the other members of its object.

    Args:
        path: the file.
        restart: called where a list of events begins; returns what takes its events. A file may repeat the key: as with
            every JSON reader the last one counts.

    Raises:
        IngestError: the file cannot be read, is truncated, or is no JSON object with a list of events.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            return _whole(path, _Text(cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw), restart)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _bad(path, f"the compressed file is truncated or damaged: {error}; copy it again") from None
    except OSError as error:
        raise IngestError(f"{path}: cannot be read ({error.strerror})", slug="cannot-read") from None


def _whole(path: Path, text: _Text, restart: Callable[[], Callable[[Any], None]]) -> dict[str, Any]:
    try:
        found = _members(text, restart) if text.next() == "{" else text.value()
        if text.next():
            raise text.error("Extra data")
    except json.JSONDecodeError as error:
        place, length = text.passed + error.pos, text.passed + len(text.buffer)
        cut = error.pos >= len(text.buffer.rstrip()) - 1 or error.msg.startswith("Unterminated string")
        what = "the file is truncated" if cut else "the file is damaged"
        raise _bad(path, f"{what}: {error.msg} at character {place} of {length}; export it again") from None
    except (RecursionError, ValueError) as error:
        raise _bad(path, f"the file is damaged: {error}; export it again") from None
    if not isinstance(found, dict) or found.get("traceEvents") is not _EVENTS:
        raise _bad(path, "JSON, but not a trace: it has no list 'traceEvents'; name a trace of torch.profiler")
    return found


def _bad(path: Path, reason: str) -> IngestError:
    return IngestError(f"{path}: {reason}", slug="damaged-trace")


# Stands for the list that was given away; no value of a file is this object.
_EVENTS = object()


def _members(text: _Text, restart: Callable[[], Callable[[Any], None]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    text.skip()
    if text.next() == "}":
        text.skip()
        return found
    while True:
        if text.next() != '"':
            raise text.error("Expecting property name enclosed in double quotes")
        key = text.value()
        text.expect(":")
        if key == "traceEvents" and text.next() == "[":
            _events(text, restart())
            found[key] = _EVENTS
        else:
            found[key] = text.value()
        if text.next() == "}":
            text.skip()
            return found
        text.expect(",")


def _events(text: _Text, take: Callable[[Any], None]) -> None:
    text.skip()
    if text.next() == "]":
        text.skip()
        return
    while True:
        take(text.value())
        mark = text.next()
        if mark == "]":
            text.skip()
            return
        if mark != ",":
            raise text.error("Expecting ',' delimiter")
        text.place += 1


class _Text:
    """The text of a file, of which only a piece is held: `buffer`, after `passed` characters, read up to `place`."""

    def __init__(self, source: BinaryIO) -> None:
        self.buffer = ""
        self.passed = 0
        self.place = 0
        self._source = source
        self._size = _PIECE
        # A damaged locale costs its odd characters, not the trace.
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._ended = False
        self._decode_value = json.JSONDecoder(parse_float=Decimals).raw_decode

    def next(self) -> str:
        """Return the next character that is no space, without passing it; "" at the end of the file."""
        mark = self.buffer[self.place : self.place + 1]
        while not mark or mark in " \t\n\r":
            found = _SPACE.match(self.buffer, self.place)
            self.place = found.end() if found else self.place
            if self.place == len(self.buffer) and not self._more():
                return ""
            mark = self.buffer[self.place : self.place + 1]
        return mark

    def skip(self) -> None:
        """Pass the character that `next` returned."""
        self.place += 1

    def expect(self, mark: str) -> None:
        """Pass `mark`, with the spaces before it; raises where something else stands there."""
        if self.next() != mark:
            raise self.error(f"Expecting '{mark}' delimiter")
        self.place += 1

    def value(self) -> Any:
        """Return the next value, reading on for as long as it is cut by the end of the piece."""
        self.next()
        while True:
            try:
                value, end = self._decode_value(self.buffer, self.place)
            except json.JSONDecodeError:
                if self._more(double=True):
                    continue
                raise
            # A number may go on in the next piece, and what is left of it in this one is at most "e+".
            if len(self.buffer) - end > 2 or not self._more():
                self.place = end
                self._size = _PIECE
                return value

    def error(self, message: str) -> json.JSONDecodeError:
        """Return the error for what stands at the place, with all of the file read."""
        while self._more(double=True):
            pass
        return json.JSONDecodeError(message, self.buffer, self.place)

    def _more(self, double: bool = False) -> bool:
        if self._ended:
            return False
        raw = self._source.read(self._size)
        self._ended = not raw
        self._size *= 2 if double else 1
        self.buffer = self.buffer[self.place :] + self._decode(raw, not raw)
        self.passed += self.place
        self.place = 0
        return True
