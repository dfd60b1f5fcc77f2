"""What NVML samples, with a stand-in for it: no GPU is needed, and none was seen."""

import importlib
import sys
import time
from types import SimpleNamespace

import pytest

from nsightkit import annotate
from nsightkit.annotate import nvml as sampling


class NVMLError(Exception):
    pass


def stand_in(energy=True, clocks=True, opens=True):
    """A pynvml that answers like a GPU of 300 W at 1410 MHz; 5 J pass between two looks at its energy counter."""
    said = []
    counter = iter(range(10_000, 10**6, 5_000))

    def refuse(*_):
        raise NVMLError("Not Supported")

    def init():
        if not opens:
            raise NVMLError("Driver Not Loaded")
        said.append("init")

    module = SimpleNamespace(
        NVMLError=NVMLError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, nvmlInit=init, said=said,
        nvmlShutdown=lambda: said.append("shutdown"),
        nvmlDeviceGetHandleByUUID=lambda uuid: said.append(uuid) or "handle",
        nvmlDeviceGetHandleByIndex=lambda index: said.append(index) or "handle",
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=80, memory=30),
        nvmlDeviceGetClockInfo=(lambda handle, kind: {1: 1410, 2: 1215}[kind]) if clocks else refuse,
        nvmlDeviceGetPowerUsage=lambda handle: 300_000,
        nvmlDeviceGetTotalEnergyConsumption=(lambda handle: next(counter)) if energy else refuse,
    )  # fmt: skip
    return module


def fake_torch(monkeypatch, uuid="1234-abcd"):
    properties = SimpleNamespace(uuid=uuid) if uuid else SimpleNamespace()
    cuda = SimpleNamespace(get_device_properties=lambda index: properties)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_samples_means_and_energy(monkeypatch):
    nvml = stand_in()
    fake_torch(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(sampling, "INTERVAL_S", 0.001)
    with annotate.gpu_use("cuda:0") as watched:
        while len(nvml.said) < 2:
            time.sleep(0.001)
    use = watched.use
    assert watched.missing is None
    assert use.sample_count >= 1
    assert (use.gpu_utilization_pct, use.power_w, use.energy_j) == (80, 300, 5)
    assert (use.sm_clock_hz, use.memory_clock_hz) == (1.41e9, 1.215e9)
    # Found by UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not NVML's.
    assert nvml.said == ["init", "GPU-1234-abcd", "shutdown"]


def test_what_a_gpu_does_not_tell_is_unknown(monkeypatch):
    fake_torch(monkeypatch, uuid=None)
    nvml = stand_in(energy=False, clocks=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with annotate.gpu_use("cuda:1") as watched:
        pass
    assert (watched.use.sm_clock_hz, watched.use.energy_j) == (None, None)
    assert (watched.use.power_w, watched.use.sample_count) == (300, 1)
    assert nvml.said == ["init", 1, "shutdown"]


def test_the_sampler_ends_with_a_block_that_fails(monkeypatch):
    fake_torch(monkeypatch)
    nvml = stand_in()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with pytest.raises(KeyError), annotate.gpu_use("cuda"):
        raise KeyError
    assert nvml.said[-1] == "shutdown"


def test_on_a_cpu_and_without_nvml_it_says_why(monkeypatch):
    with annotate.gpu_use("cpu") as watched:
        pass
    assert (watched.use, watched.missing) == (None, "the work ran on a CPU; NVML knows NVIDIA's GPUs only")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with annotate.gpu_use("cuda") as watched:
        pass
    assert watched.missing == "pynvml is not installed: pip install nvidia-ml-py"
    monkeypatch.setitem(sys.modules, "pynvml", stand_in(opens=False))
    with annotate.gpu_use("cuda") as watched:
        pass
    assert watched.missing == "NVML: Driver Not Loaded"


def test_the_real_module_has_the_names_that_are_used():
    nvml = pytest.importorskip("pynvml")
    for name in vars(stand_in()):
        if name != "said":
            assert hasattr(nvml, name), name
    # Its errors have the base that is caught, whatever the driver says.
    assert issubclass(nvml.NVMLError_NotSupported, nvml.NVMLError)


@pytest.mark.torch
def test_joules_per_token_count_every_repetition(monkeypatch):
    pytest.importorskip("torch")
    from nsightkit.resources import resource_dir

    monkeypatch.syspath_prepend(str(resource_dir("workloads")))
    decoding = importlib.import_module("models.decoding")
    work, plan = decoding.Work(4, 8, 9), annotate.Plan(warmup=1, repeats=2)
    assert decoding._tokens(work, plan) == 3 * 4 * 10
    row = decoding._gpu_row(annotate.GpuUse(7, 80.0, 1e9, 2e9, 300.0, 6.0), 120)
    assert (row["joules_per_token"], row["power_w"], row["nvml_sample_count"]) == (0.05, 300.0, 7)
    assert set(decoding._gpu_row(None, 120).values()) == {None}
