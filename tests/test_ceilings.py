"""Measured ceilings: the file, its provenance, and one small measurement by torch in a child."""

import json

import pytest
from click.testing import CliRunner

from nsightkit.analysis.roofs.measured import roofs_from
from nsightkit.capture.ceilings import Ceilings, CeilingsRequest, measure_ceilings, read_ceilings, write_ceilings
from nsightkit.cli import cli
from nsightkit.errors import CaptureError, IngestError

ONE = Ceilings("A CPU", "cpu", 1, "2.6", "2025-01-01T00:00:00Z", 512, 2**20, 5, {"fp32": 1e11}, 1e10, {"fp32": 0.9})


def test_what_was_written_is_read(tmp_path):
    write_ceilings(tmp_path / "c.json", ONE)
    assert read_ceilings(tmp_path / "c.json") == ONE
    assert ONE.source == "measured on A CPU, 1 threads (torch 2.6, best of 5)"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1, "flop_per_s": {"fp32": "fast"}}', "null"]
)
def test_what_is_no_ceilings_file_is_named(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(IngestError, match=r"c\.json") as caught:
        read_ceilings(tmp_path / "c.json")
    assert caught.value.slug == "damaged-ceilings"


def test_roofs_hold_what_was_measured_and_nothing_else():
    roofs = roofs_from({"fp32": 1e11, "fp64": 0.0}, None, "here", "cpu")
    assert set(roofs.peaks) == {"fp32"}
    assert not roofs.known
    assert roofs_from({}, 5.0, "here", "cpu").bandwidth.low == 5.0


@pytest.mark.torch
def test_a_small_measurement_on_this_cpu(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "c.json"
    result = CliRunner().invoke(
        cli, ["ceilings", "--threads", "1", "--size", "64", "--repeats", "1", "-o", str(out), "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    found = read_ceilings(out)
    assert (found.device, found.threads, found.matrix_size, found.repeats) == ("cpu", 1, 64, 1)
    assert found.flop_per_s["fp32"] > 0
    assert found.bytes_per_s > 0
    assert {row["name"] for row in json.loads(result.stdout)} >= {"memory traffic", "product of matrices, fp32"}


@pytest.mark.torch
def test_types_that_would_begin_after_the_budget_are_left_out_and_named():
    pytest.importorskip("torch")
    found = measure_ceilings(CeilingsRequest("cpu", 1, matrix_size=64, copy_bytes=2**20, repeats=1, budget_s=1e-9))
    assert found.flop_per_s == {}
    assert found.bytes_per_s > 0
    assert [note.partition(" was not measured: the 1e-09 s")[0] for note in found.notes] == [
        "fp32", "fp64", "tensor_bf16",
    ]  # fmt: skip


@pytest.mark.torch
def test_a_device_that_is_not_there(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(CaptureError, match="no CUDA device") as caught:
        measure_ceilings(CeilingsRequest("cuda"))
    assert caught.value.slug == "no-ceilings"
