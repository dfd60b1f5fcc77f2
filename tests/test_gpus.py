"""The table of GPUs: figures that fit each other, and matching that would rather say nothing."""

import pytest

from nsightkit.gpus import all_gpus, find_gpu, source_texts

GPUS = {spec.key: spec for spec in all_gpus()}
LANES = {"7.0": 64, "7.5": 64, "8.0": 64}  # FP32 lanes per SM; 128 on every later chip


CLOCKED = [spec for spec in all_gpus() if spec.value("boost_clock_hz")]


@pytest.mark.parametrize("spec", CLOCKED, ids=lambda spec: spec.key)
def test_fp32_is_sms_times_lanes_times_clock(spec):
    expected = spec.sm_count * LANES.get(spec.compute_capability, 128) * 2 * spec.value("boost_clock_hz")
    assert spec.value("fp32_flop_per_s") == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("spec", all_gpus(), ids=lambda spec: spec.key)
def test_each_value_has_a_known_source_and_a_unit(spec):
    assert set(spec.values) == set(spec.sources)
    assert set(spec.sources.values()) <= set(source_texts())
    assert all(name.endswith(("_flop_per_s", "_op_per_s", "_bytes_per_s", "_hz", "_bytes")) for name in spec.values)
    assert all(value > 0 for value in spec.values.values())


@pytest.mark.parametrize("spec", all_gpus(), ids=lambda spec: spec.key)
def test_figures_are_dense(spec):
    """A sparse figure would be twice as large as the arithmetic of the narrower type allows."""
    fp16, fp8 = spec.value("tensor_fp16_flop_per_s"), spec.value("tensor_fp8_flop_per_s")
    if fp16 and fp8:
        assert fp8 / fp16 == pytest.approx(2, rel=0.02)
    bf16 = spec.value("tensor_bf16_flop_per_s")
    if fp16 and bf16:
        assert bf16 == fp16


@pytest.mark.parametrize("key", ["rtx-3090", "rtx-4060", "rtx-4090", "rtx-5090"])
def test_geforce_halves_the_rate_of_fp32_accumulation(key):
    spec = GPUS[key]
    half, full = spec.value("tensor_fp16_flop_per_s"), spec.value("tensor_fp16_acc16_flop_per_s")
    assert full / half == pytest.approx(2, rel=0.01)
    assert spec.value("tensor_tf32_flop_per_s") == pytest.approx(spec.value("fp32_flop_per_s"), rel=0.01)


def test_rtx_5090_is_not_the_sparse_figure():
    spec = find_gpu("NVIDIA GeForce RTX 5090", 170)
    assert spec.value("tensor_bf16_flop_per_s") == 209.5e12
    assert spec.value("dram_bytes_per_s") == 1792e9
    ridge = spec.value("tensor_bf16_flop_per_s") / spec.value("dram_bytes_per_s")
    assert ridge == pytest.approx(116.9, abs=0.05)


@pytest.mark.parametrize(
    ("name", "sm_count", "key"),
    [
        ("NVIDIA A100-SXM4-80GB", 108, "a100-80gb-sxm"),
        ("NVIDIA A100 80GB PCIe", 108, "a100-80gb-pcie"),
        ("A100-PCIE-40GB", 108, "a100-40gb"),
        ("nvidia  geforce rtx 4090", 128, "rtx-4090"),
        ("NVIDIA H100 80GB HBM3", 132, "h100-sxm"),
        ("Tesla T4", 40, "t4"),
    ],
)
def test_names_as_drivers_print_them(name, sm_count, key):
    assert find_gpu(name, sm_count).key == key


@pytest.mark.parametrize(
    ("name", "sm_count"),
    [
        ("NVIDIA A100-SXM4-80GB", 42),  # a MIG slice
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 24),
        ("NVIDIA GeForce RTX 4090", None),
        (None, 128),
        ("", 128),
        ("NVIDIA H800", 132),
        ("NVIDIA A10G", 72),
    ],
)
def test_what_does_not_fit_stays_unknown(name, sm_count):
    assert find_gpu(name, sm_count) is None


def test_names_are_listed_once():
    names = [(name.casefold(), spec.sm_count) for spec in all_gpus() for name in spec.names]
    assert len(names) == len(set(names))


def test_a_value_that_is_not_known_is_none():
    assert GPUS["v100-sxm2"].value("tensor_bf16_flop_per_s") is None
    assert GPUS["b300"].value("tensor_int8_op_per_s") is None
