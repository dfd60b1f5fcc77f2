"""A trace read event by event gives what a JSON reader gives, wherever the pieces of the file are cut."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit.errors import IngestError
from nsightkit.ingest import trace_stream
from nsightkit.ingest.chrome_trace import Decimals

WHOLE = (
    '{"schemaVersion": 1, "load": -1.5e+3, "odd": [NaN, -Infinity, null], "traceEvents" : [\n'
    ' {"ph": "X", "name": "é😀\\ud83d", "ts": 1000.125, "args": {"a": [[2, 3], [true]], "a": 7}},\n'
    ' 12.50, -1e-3, "x", null, [1, [2]] ] , "distributedInfo": {"rank": 3}}  \n'
)


def stream(path):
    lists = []
    rest = trace_stream.stream_trace(path, lambda: lists.append([]) or lists[-1].append)
    return lists[-1], {key: value for key, value in rest.items() if key != "traceEvents"}


def whole(text):
    data = json.loads(text, parse_float=Decimals)
    return data.pop("traceEvents"), data


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 17, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_pieces_of_any_size_give_what_json_gives(tmp_path, monkeypatch, piece, packed):
    monkeypatch.setattr(trace_stream, "_PIECE", piece)
    path = tmp_path / "t.json"
    raw = b"\xef\xbb\xbf" + WHOLE.encode()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    assert repr(stream(path)) == repr(whole(WHOLE))


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('{"traceEvents": [], "a": 1}', []),
        ('{"a": {"traceEvents": [9]}, "traceEvents": [1]}', [1]),
        ('{"traceEvents": [1, 2], "traceEvents": [3]}', [3]),
        ('{"traceEvents": 5, "traceEvents": [3]}', [3]),
    ],
)
def test_the_last_list_of_the_outermost_object_counts(tmp_path, text, events):
    path = tmp_path / "t.json"
    path.write_text(text)
    assert stream(path)[0] == events


def json_says(raw):
    """Return whether a JSON reader takes `raw` as an object with a list of events."""
    try:
        data = json.loads(raw.decode("utf-8-sig", errors="replace"))
    except ValueError:
        return False
    return isinstance(data, dict) and isinstance(data.get("traceEvents"), list)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(WHOLE.encode())), st.integers(0, 12), st.sampled_from(["", "{", "]", ",", "[", "x", "\0", "1."]),
    st.sampled_from([1, 4, 64, 1 << 20]),
)  # fmt: skip
def test_damage_is_told_where_json_tells_it(tmp_path_factory, place, cut, put, piece):
    raw = WHOLE.encode()
    raw = raw[:place] + put.encode() + raw[place + cut :]
    path = tmp_path_factory.mktemp("damaged") / "t.json"
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_stream, "_PIECE", piece)
        if json_says(raw):
            assert repr(stream(path)) == repr(whole(raw.decode("utf-8-sig", errors="replace")))
        else:
            with pytest.raises(IngestError, match=r"truncated|damaged|no list"):
                stream(path)


def test_only_a_piece_of_the_file_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_stream, "_PIECE", 4096)
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": [{"name": "k" * 50, "at": i} for i in range(20_000)]}))
    held = []
    more = trace_stream._Text._more

    def watched(text, double=False):
        found = more(text, double)
        held.append(len(text.buffer))
        return found

    monkeypatch.setattr(trace_stream._Text, "_more", watched)
    assert len(stream(path)[0]) == 20_000
    assert max(held) < 5 * 4096
