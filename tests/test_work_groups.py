"""GPU time by combinations of phase, range, kernel, family, stream and device."""

import pytest

from builders.timeline import Host
from nsightkit.analysis.ranges.nvtx_projection import attribute
from nsightkit.analysis.work.operations import by_capture
from nsightkit.analysis.work.work_groups import KEYS, MEMORY_FAMILY, NO_RANGE, work_by
from nsightkit.errors import AnalysisError

GEMM, NORM = "ampere_sgemm_128x64_nn", "void layer_norm_kernel<float>(float*)"


@pytest.fixture
def found():
    host = Host()
    for phase, times in (("prefill", 3), ("decode", 1)):
        host.push(phase)
        host.push("layer_0")
        host.launch(100 * times, GEMM)
        host.launch(10 * times, NORM, stream=9)
        host.pop()
        host.copy(7)
        host.pop()
    host.launch(1, GEMM, device=1)
    [capture] = by_capture(host.tables())
    return attribute(capture)


def times(rows):
    return {row.keys: row.gpu_ns for row in rows}


def test_phase_by_family_is_complete(found):
    rows = work_by([found], ("phase", "family"), tokens=2)
    assert times(rows) == {
        ("prefill", "GEMM"): 300, ("decode", "GEMM"): 100, ("prefill", "norm"): 30, ("decode", "norm"): 10,
        ("prefill", MEMORY_FAMILY): 7, ("decode", MEMORY_FAMILY): 7, (NO_RANGE, "GEMM"): 1,
    }  # fmt: skip
    assert sum(row.gpu_ns for row in rows) == found.total_ns
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert rows[0].per_token_ns == 150


def test_other_keys(found):
    assert times(work_by([found], ("range",))) == {("layer_0",): 440, ("prefill",): 7, ("decode",): 7, (NO_RANGE,): 1}
    assert times(work_by([found], ("range", "kernel"), "decode")) == {
        ("layer_0", GEMM): 100, ("layer_0", NORM): 10, ("decode", "[CUDA memcpy Host-to-Device]"): 7,
    }  # fmt: skip
    assert times(work_by([found], ("stream",)))["9",] == 40
    assert times(work_by([found], ("device",)))["1",] == 1
    assert times(work_by([found, found], ("device",)))["1",] == 2


def test_every_key_accounts_for_all_work(found):
    for key in KEYS:
        assert sum(row.gpu_ns for row in work_by([found], (key,))) == found.total_ns


def test_an_unknown_range_is_refused(found):
    with pytest.raises(AnalysisError, match="decode"):
        work_by([found], ("kernel",), "nowhere")
