"""Work that a program states of its ranges: marks in a timeline become places under the roofline.

In: small exports with marks, and the bundled workload. Out: assertions on rows, and on the paper figures themselves.
"""

import importlib
import json
import sys

import pytest
from click.testing import CliRunner

from builders.nsys import SAMPLED_METRICS, Call, Capture, Kernel, Range, Sampling, sampled, write_sqlite
from nsightkit.analysis.roofs.phase_rows import stated_of
from nsightkit.analysis.work import stated_work
from nsightkit.annotate import work as stating
from nsightkit.cli import cli
from nsightkit.ingest.dataset import open_dataset
from nsightkit.resources import resource_dir

FLOP, BYTES = "nsightkit.work flop bfloat16", "nsightkit.work bytes"
# Two decode steps of 1 µs and 3 µs (kernels run for 3 µs of these), each of 100 MFLOP and 8 MB.
KERNELS = (
    Kernel("gemv", 1000, 1500, correlation=1), Kernel("gemv", 1800, 2000, correlation=2),
    Kernel("gemv", 3000, 6000, correlation=3),
)  # fmt: skip
CALLS = tuple(Call("cudaLaunchKernel", t, t + 10, correlation=i) for i, t in ((1, 820), (2, 840), (3, 2020)))
STEPS = (Range(800, 900, text="decode_step"), Range(2000, 2100, text="decode_step"))


def mark(at, text, value):
    return Range(at, None, text=text, kind=34, payload=("doubleValue", value))


def marks_at(*moments, flop=1e8, moved=8e6):
    return tuple(m for at in moments for m in (mark(at, FLOP, flop), mark(at + 1, BYTES, moved)))


def export(folder, *ranges, **changes):
    settings = {"kernels": KERNELS, "calls": CALLS, "ranges": ranges, "gpus": ((0, "NVIDIA H100 80GB HBM3", 132),)}
    return write_sqlite(folder / "run.sqlite", Capture(**(settings | changes)))


def rows_of(path):
    return [row for rows in stated_of(open_dataset([path])).values() for row in rows]


def test_both_sides_spell_the_marks_alike():
    assert {stating.FLOP_MARK.format(dtype=dtype) for dtype in stating.DTYPES} == set(stated_work.FLOP_MARKS)
    assert stating.BYTES_MARK == stated_work.BYTES_MARK


def test_sums_over_instances_and_their_time_on_the_gpu(tmp_path):
    (row,) = rows_of(export(tmp_path, *STEPS, *marks_at(805, 2005)))
    assert (row.name, row.tier, row.family, row.count) == ("decode_step", "analytic", "range", 2)
    assert (row.flop, row.moved_bytes, row.total_ns) == (2e8, 16e6, 4000.0)
    assert row.point.flop_per_s == pytest.approx(2e8 / 4e-6)
    assert row.point.flop_per_byte == pytest.approx(12.5)
    assert row.point.precision == "tensor BF16"
    assert any("busy for 92.5%" in flag for flag in row.flags)


def test_a_bound_needs_to_be_near_the_roof_and_more_than_the_roof_is_none(tmp_path):
    # 3350 GB/s for 4 µs are 13.4 MB: 12 MB are 90 % of the roof, 16 MB lie above it.
    near, above = (tmp_path / name for name in ("near", "above"))
    near.mkdir()
    above.mkdir()
    (row,) = rows_of(export(near, *STEPS, *marks_at(805, 2005, moved=6e6)))
    assert row.bound == "MEMORY"
    (row,) = rows_of(export(above, *STEPS, *marks_at(805, 2005, moved=8e6)))
    assert row.bound == "UNKNOWN"
    assert any("times the roof" in flag for flag in row.flags)


def test_a_mark_counts_for_the_innermost_range_of_its_thread(tmp_path):
    outer = Range(700, 2500, text="decode")
    rows = rows_of(export(tmp_path, outer, *STEPS, *marks_at(805, 2005), *marks_at(1990, flop=5.0, moved=7.0)))
    assert {row.name: (row.flop, row.moved_bytes) for row in rows} == {
        "decode_step": (2e8, 16e6), "decode": (5.0, 7.0),
    }  # fmt: skip


def test_marks_outside_ranges_or_without_work_count_for_nothing(tmp_path):
    rows = rows_of(
        export(tmp_path, *STEPS, Range(100, 200, text="idle"), *marks_at(110), *marks_at(50), *marks_at(805))
    )
    assert [(row.name, row.flop) for row in rows] == [("decode_step", 1e8)]


def test_several_types_are_told(tmp_path):
    (row,) = rows_of(export(tmp_path, *STEPS, *marks_at(805), mark(810, "nsightkit.work flop float32", 1.0)))
    assert row.flop == 1e8 + 1
    assert any("several types" in flag for flag in row.flags)


def test_captures_without_marks_state_nothing(tmp_path):
    assert rows_of(export(tmp_path, *STEPS)) == []


def test_the_command_shows_ranges_of_itself(tmp_path):
    path = export(tmp_path, *STEPS, *marks_at(805, 2005, moved=6e6))
    result = CliRunner().invoke(cli, ["roofline", str(path)])
    assert result.exit_code == 0, result.output
    assert "the program states the work of its ranges" in result.output
    assert "decode_step" in result.output
    assert "experimental" in result.output


def test_samples_and_stated_work_stand_side_by_side(tmp_path):
    values = ((90, 12, 8, 70, 5, 1_500_000_000),) * 60
    extra = sampled(Sampling(SAMPLED_METRICS, values, every=100, first=1000))
    path = export(tmp_path, *STEPS, *marks_at(805, 2005, moved=6e6), extra=extra)
    rows = json.loads(CliRunner().invoke(cli, ["roofline", str(path), "--format", "json"]).stdout)
    assert [(row["name"], row["tier"], row["bound"]) for row in rows] == [
        ("decode_step", "analytic", "MEMORY"), ("decode_step", "sampled", "MEMORY"),
    ]  # fmt: skip
    stated, placed = rows
    assert placed["flop"] == stated["flop"] == 2e8
    # Both have the same time and peak; the bytes of one are stated, of the other 75 % of the bandwidth over 4 µs.
    assert placed["flop_per_s"] == pytest.approx(stated["flop_per_s"])
    assert placed["flop_per_byte"] == pytest.approx(2e8 / (0.75 * 3350e9 * 4e-6))
    assert "sampled" in placed["flags"][-1]
    out = tmp_path / "both.svg"
    assert CliRunner().invoke(cli, ["roofline", str(path), "-o", str(out)]).exit_code == 0
    assert "samples of the whole GPU" in out.read_text()


def test_samples_of_two_gpus_take_no_place_by_work_that_is_of_both(tmp_path):
    values = ((90, 12, 8, 70, 5, 1_500_000_000),) * 60
    extra = sampled(*(Sampling(SAMPLED_METRICS, values, every=100, first=1000, device=at) for at in (0, 1)))
    kernels = (*KERNELS, Kernel("gemv", 1000, 6000, correlation=1, device=1))
    gpus = tuple((at, "NVIDIA H100 80GB HBM3", 132) for at in (0, 1))
    path = export(tmp_path, *STEPS, *marks_at(805, 2005), extra=extra, kernels=kernels, gpus=gpus)
    rows = json.loads(CliRunner().invoke(cli, ["roofline", str(path), "--format", "json"]).stdout)
    assert {row["name"]: row["flop"] for row in rows if row["tier"] == "sampled"} == {
        "decode_step (GPU 0)": None, "decode_step (GPU 1)": None,
    }  # fmt: skip


@pytest.mark.torch
def test_what_the_workload_states_is_what_torch_counts(monkeypatch):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    monkeypatch.syspath_prepend(str(resource_dir("workloads")))
    kv_decode, costs = importlib.import_module("kv_decode"), importlib.import_module("models.costs")
    sizes = "--prompt-len 5 --max-new-tokens 1 --layers 2 --heads 4 --width 32 --vocabulary 64 --device cpu"
    options = kv_decode.parse_arguments([*sizes.split(), "--batch-size", "2"])
    model, found = kv_decode.model_of(options), costs.phase_costs(options)
    prompt = kv_decode.make_prompt(options)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(prompt, None)
    own = found.prefill.linear_flop + found.prefill.head_flop
    # Torch has no formula for the CPU's attention; the products agree to the last unit.
    assert counter.get_total_flops() in (own, own + found.prefill.attention_flop)
    sys.modules.pop("models.costs", None)
