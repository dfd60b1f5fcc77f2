"""Asks this machine what decides whether a GPU can be profiled on it.

In: a `Machine`, which answers questions about programs, files and packages (a test hands in its own answers). Out:
`Facts`, where None stands for "could not be found out". Nothing here judges; see `doctor`.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_ASK_S = 60
_VERSION = re.compile(r"[Vv]ersion (\d{4}\.\d+(?:\.\d+)*)")
_GPU_FIELDS = "index,name,compute_cap,driver_version,mig.mode.current"
# Programs that hold a GPU's counters. Source: ncu's message on an unavailable driver resource names them.
_HOLDERS = ("nv-hostengine", "dcgm-exporter", "dcgmproftester", "nsys", "ncu", "nsight-compute", "nsight-sys")


class Machine(Protocol):
    """What is asked; each answer is None where there is none."""

    def which(self, name: str) -> str | None:
        """Return the path of a program."""

    def output(self, argv: Sequence[str]) -> str | None:
        """Return what a program prints, None where it cannot be run or fails."""

    def text(self, path: str) -> str | None:
        """Return the content of a small file, None where it cannot be read."""

    def variable(self, name: str) -> str | None:
        """Return a variable of the environment."""

    def package(self, name: str) -> str | None:
        """Return the version of an installed Python package."""

    def free_bytes(self, path: str) -> int | None:
        """Return the free space of the file system that holds `path`."""

    def processes(self) -> tuple[str, ...]:
        """Return the names of the running programs."""


class ThisMachine:
    """The machine that nsightkit runs on."""

    def which(self, name: str) -> str | None:
        """Return the path of a program."""
        return shutil.which(name)

    def output(self, argv: Sequence[str]) -> str | None:
        """Return what a program prints, None where it cannot be run or fails."""
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_ASK_S,
                check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    def text(self, path: str) -> str | None:
        """Return the content of a small file, None where it cannot be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def variable(self, name: str) -> str | None:
        """Return a variable of the environment."""
        return os.environ.get(name)

    def package(self, name: str) -> str | None:
        """Return the version of an installed Python package."""
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def free_bytes(self, path: str) -> int | None:
        """Return the free space of the file system that holds `path`."""
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return None

    def processes(self) -> tuple[str, ...]:
        """Return the names of the running programs."""
        names = (self.text(str(path)) for path in Path("/proc").glob("[0-9]*/comm"))
        return tuple(name.strip() for name in names if name)


@dataclass(frozen=True)
class ToolFact:
    """A profiler as found on PATH; `version` None means that it is not NVIDIA's, or did not answer."""

    path: str | None = None
    version: str | None = None
    said: str = ""


@dataclass(frozen=True)
class GpuFact:
    """One GPU as nvidia-smi describes it."""

    index: int
    name: str
    compute_capability: str | None
    mig: bool


@dataclass(frozen=True)
class Facts:
    """What is known of the machine."""

    nsys: ToolFact = field(default_factory=ToolFact)
    ncu: ToolFact = field(default_factory=ToolFact)
    gpus: tuple[GpuFact, ...] = ()
    driver_version: str | None = None
    cuda_version: str | None = None
    counters_for_admins_only: bool | None = None
    capabilities: int | None = None  # CapEff of this process
    paranoid_level: int | None = None
    place: str = "bare metal"  # or docker, kubernetes, wsl
    holders: tuple[str, ...] = ()
    other_gpu_processes: tuple[str, ...] = ()
    nvtx_version: str | None = None
    torch_version: str | None = None
    ncu_report_version: str | None = None
    free_bytes: int | None = None
    folder: str = "."


def read_facts(machine: Machine | None = None, folder: str = ".") -> Facts:
    """Ask the machine everything.

    Args:
        machine: who answers; this machine by default.
        folder: where captures would be written.
    """
    asked = machine or ThisMachine()
    gpus, driver = _gpus(asked)
    params = asked.text("/proc/driver/nvidia/params")
    return Facts(
        nsys=_tool(asked, "nsys", "Nsight Systems"),
        ncu=_tool(asked, "ncu", "Nsight Compute"),
        gpus=gpus,
        driver_version=driver,
        cuda_version=_found(r"CUDA Version: *([\d.]+)", asked.output(["nvidia-smi"]) if gpus else None),
        counters_for_admins_only=None if params is None else "RmProfilingAdminOnly: 1" in params,
        capabilities=_hex(_found(r"CapEff:\s*([0-9a-fA-F]+)", asked.text("/proc/self/status"))),
        paranoid_level=_int(asked.text("/proc/sys/kernel/perf_event_paranoid")),
        place=_place(asked),
        holders=tuple(dict.fromkeys(name for name in asked.processes() if name.startswith(_HOLDERS))),
        other_gpu_processes=_gpu_processes(asked) if gpus else (),
        nvtx_version=asked.package("nvtx"),
        torch_version=asked.package("torch"),
        ncu_report_version=asked.package("ncu-report"),
        free_bytes=asked.free_bytes(folder),
        folder=folder,
    )


def find_gpus(machine: Machine | None = None) -> tuple[GpuFact, ...]:
    """Return the GPUs that nvidia-smi lists, none where it is absent or fails."""
    return _gpus(machine or ThisMachine())[0]


def find_other_processes(machine: Machine | None = None) -> tuple[str, ...]:
    """Return the processes that nvidia-smi sees on the GPUs, none where it is absent or fails."""
    asked = machine or ThisMachine()
    return _gpu_processes(asked) if asked.which("nvidia-smi") else ()


def _tool(machine: Machine, name: str, product: str) -> ToolFact:
    path = machine.which(name)
    if path is None:
        return ToolFact()
    said = machine.output([path, "--version"]) or ""
    version = _VERSION.search(said) if product in said else None
    return ToolFact(path, version[1] if version else None, (said.strip().splitlines() or [""])[0][:80])


def _gpus(machine: Machine) -> tuple[tuple[GpuFact, ...], str | None]:
    if machine.which("nvidia-smi") is None:
        return (), None
    listed = machine.output(["nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader"]) or ""
    rows = [[cell.strip() for cell in line.split(",")] for line in listed.splitlines()]
    rows = [row for row in rows if len(row) == 5 and row[0].isdigit()]
    gpus = tuple(GpuFact(int(row[0]), row[1], _found(r"^(\d+\.\d)$", row[2]), row[4] == "Enabled") for row in rows)
    return gpus, rows[0][3] if rows else None


def _gpu_processes(machine: Machine) -> tuple[str, ...]:
    listed = machine.output(["nvidia-smi", "--query-compute-apps=pid,process_name", "--format=csv,noheader"]) or ""
    own = str(os.getpid())
    rows = [line.split(",", 1) for line in listed.splitlines() if "," in line]
    return tuple(f"{name.strip()} ({pid.strip()})" for pid, name in rows if pid.strip() != own)


def _place(machine: Machine) -> str:
    if "microsoft" in (machine.text("/proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    if machine.variable("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    control_groups = machine.text("/proc/1/cgroup") or ""
    in_docker = machine.text("/.dockerenv") is not None or "docker" in control_groups or "containerd" in control_groups
    return "docker" if in_docker else "bare metal"


def _found(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text or "", re.MULTILINE)
    return match[1] if match else None


def _hex(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _int(text: str | None) -> int | None:
    match = re.fullmatch(r"\s*(-?\d+)\s*", text or "")
    return int(match[1]) if match else None


_RANKS: Mapping[str, tuple[str, str]] = {
    # torchrun, then Open MPI, Slurm, MPICH and Intel MPI: the innermost launcher speaks first.
    "torchrun": ("RANK", "WORLD_SIZE"),
    "mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "mpiexec": ("PMI_RANK", "PMI_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_NTASKS"),
}


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is, as the launcher tells each of them."""

    number: int
    count: int
    launcher: str


def find_rank(environment: Mapping[str, str]) -> Rank | None:
    """Return the rank of this process among those of torchrun, mpirun, mpiexec or srun; None where it stands alone."""
    for launcher, (number_name, count_name) in _RANKS.items():
        number, count = _int(environment.get(number_name)), _int(environment.get(count_name))
        if number is not None and count is not None and count > 1 and 0 <= number < count:
            return Rank(number, count, launcher)
    return None
