"""The table of GPUs: figures that fit each other, and matching that would rather say nothing."""

import pytest

from nsightkit.errors import NsightkitError
from nsightkit.gpus import all_gpus, find_gpu, gpu_of_key, source_texts

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


# Dense BF16 operations of an SM and cycle as ncu's `peak_sustained` states them: A100, H800 and B200 reports.
# GA10x to GB20x: the white papers' figures of full-rate cards.
BF16_PER_CYCLE = {"8.0": 2048, "8.6": 1024, "8.9": 1024, "9.0": 4096, "10.0": 8192, "12.0": 1024}
TENSOR_CLOCKED = [
    spec
    for spec in all_gpus()
    if spec.value("tensor_bf16_flop_per_s") and spec.value("boost_clock_hz")
    if spec.compute_capability in BF16_PER_CYCLE and not any(name.startswith("GeForce") for name in spec.names)
]


@pytest.mark.parametrize("spec", TENSOR_CLOCKED, ids=lambda spec: spec.key)
def test_tensor_figures_hold_at_the_clock_that_the_table_states(spec):
    clock = spec.value("tensor_clock_hz") or spec.value("boost_clock_hz")
    per_cycle = spec.value("tensor_bf16_flop_per_s") / spec.sm_count / clock
    assert per_cycle == pytest.approx(BF16_PER_CYCLE[spec.compute_capability], rel=0.015)


def test_tensor_fp64_of_b200_is_within_what_its_cycles_allow():
    spec = GPUS["b200"]
    per_cycle = spec.value("tensor_fp64_flop_per_s") / spec.sm_count / spec.value("boost_clock_hz")
    assert per_cycle <= 128  # ncu: 18944 operations a cycle on 148 SMs


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


@pytest.mark.shared
def test_the_table_agrees_with_what_drivers_state(shared_data):
    """Bandwidths of the table against those that the drivers of public captures state."""
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset(sorted((shared_data / "nsys-sqlite").glob("*.sqlite")))
    known = {}
    for row in dataset.rows("gpus"):
        spec = find_gpu(row["gpu_name"], row["sm_count"])
        if spec and row["memory_bytes_per_s"]:
            known[spec.key] = spec.value("dram_bytes_per_s") / row["memory_bytes_per_s"]
    assert known == {key: pytest.approx(1, rel=0.01) for key in known}
    assert set(known) >= {"a100-80gb-pcie", "gh200-96gb", "rtx-3090", "rtx-4060-ti", "t4", "titan-rtx"}


GEFORCE = [spec for spec in all_gpus() if any(name.startswith("GeForce RTX") for name in spec.names)]


@pytest.mark.parametrize("spec", GEFORCE, ids=lambda spec: spec.key)
def test_geforce_rates_per_cycle_are_those_of_their_generation(spec):
    per_cycle = spec.value("tensor_fp16_acc16_flop_per_s") / spec.sm_count / spec.value("boost_clock_hz")
    assert per_cycle == pytest.approx(1024, rel=0.01)
    if spec.compute_capability != "7.5":
        assert spec.value("tensor_bf16_flop_per_s") == spec.value("tensor_fp16_flop_per_s")


def test_one_name_with_two_sm_counts_is_two_gpus():
    assert find_gpu("NVIDIA GeForce RTX 3080", 68).value("dram_bytes_per_s") == 760e9
    assert find_gpu("NVIDIA GeForce RTX 3080", 70).value("dram_bytes_per_s") == 912e9
    assert find_gpu("NVIDIA GeForce RTX 3060", 28).value("dram_bytes_per_s") is None


@pytest.mark.parametrize(
    ("said", "key"),
    [("h200", "h200-sxm"), ("H200-SXM", "h200-sxm"), ("NVIDIA H200", "h200-sxm"), ("geforce rtx 5090", "rtx-5090"),
     ("gb200", "gb200"), ("rtx-3070", "rtx-3070"), ("jetson-agx-orin", "jetson-agx-orin-64gb")],
)  # fmt: skip
def test_what_people_call_a_gpu(said, key):
    assert gpu_of_key(said).key == key


@pytest.mark.parametrize(
    ("said", "words"),
    [("a100", "a100-40gb, a100-80gb-sxm"), ("h100", "h100-sxm"), ("geforce rtx 3080", "rtx-3080-12gb")],
)
def test_a_name_for_several_gpus_lists_them(said, words):
    with pytest.raises(NsightkitError, match="several") as error:
        gpu_of_key(said)
    assert words in str(error.value)
    with pytest.raises(NsightkitError, match="no GPU"):
        gpu_of_key("")
