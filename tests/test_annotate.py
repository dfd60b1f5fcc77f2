"""Ranges reach NVTX always and torch.profiler while it runs; torch is never imported for them."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from nsightkit import annotate


@pytest.fixture
def spy(monkeypatch):
    """What NVTX is told, in order."""
    said = []
    monkeypatch.setattr(annotate.nvtx, "push_range", lambda name: said.append(("push", name)))
    monkeypatch.setattr(annotate.nvtx, "pop_range", lambda: said.append(("pop",)))
    return said


def test_ranges_nest(spy):
    with annotate.range("decode"):
        with annotate.range("step"):
            pass
        with annotate.range("step"):
            pass
    assert spy == [("push", "decode"), ("push", "step"), ("pop",), ("push", "step"), ("pop",), ("pop",)]


def test_an_exception_passes_and_closes_the_range(spy):
    with pytest.raises(KeyError), annotate.range("decode"):
        raise KeyError("x")
    assert spy == [("push", "decode"), ("pop",)]


def test_torch_is_not_imported():
    code = (
        "from nsightkit import annotate\nimport sys\nwith annotate.range('a'): pass\n"
        "print(sorted({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_half_imported_torch_is_no_trouble(spy, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    with annotate.range("a"):
        pass
    assert spy == [("push", "a"), ("pop",)]


@pytest.mark.torch
def test_torch_sees_ranges_only_while_its_profiler_runs(spy):
    import torch

    torch.set_num_threads(1)
    with annotate.range("before"):
        pass
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profiler:
        with annotate.range("outer"), annotate.range("inner"):
            torch.ones(2).add_(1)
        with pytest.raises(ValueError, match="x"), annotate.range("failing"):
            raise ValueError("x")
    with annotate.range("after"):
        pass
    seen = {event.name: event.time_range for event in profiler.events() if event.is_user_annotation}
    assert set(seen) == {"outer", "inner", "failing"}
    assert seen["outer"].start <= seen["inner"].start
    assert seen["inner"].end <= seen["outer"].end
    assert [word for word, *_ in spy].count("push") == 5
    assert [word for word, *_ in spy].count("pop") == 5
