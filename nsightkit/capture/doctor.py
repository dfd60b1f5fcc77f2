"""Says whether this machine can be profiled, and how to mend what stands in the way.

In: `Facts` of the machine. Out: a list of `Finding`, each with what was found, why it matters, and the exact command
that mends it on bare metal, in docker, in Kubernetes and on WSL.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nsightkit.capture.nsys import unseen_ranges
from nsightkit.capture.probes import Facts, GpuFact, ToolFact

STATUSES = ("ok", "hint", "warning", "blocks")
# Older releases lack options that every command of ours needs, or cannot be read by the readers.
_OLDEST = {"nsys": (2021, 4), "ncu": (2021, 1)}
_CAP_SYS_ADMIN, _CAP_PERFMON = 21, 38  # Source: linux/capability.h
_LITTLE_SPACE = 10e9
_MODULE = "options nvidia NVreg_RestrictProfilingToAdminUsers=0"
_CONTROL_PANEL = (
    "on the Windows host: NVIDIA Control Panel, Desktop, Enable Developer Settings, Manage GPU Performance Counters, "
    "Allow access to all users"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `mend` maps a place (bare metal, docker, kubernetes, wsl) to what to do there."""

    name: str
    status: str  # one of STATUSES
    what: str
    why: str = ""
    mend: dict[str, str] = field(default_factory=dict)


def examine(facts: Facts) -> list[Finding]:
    """Return what was found, in the order in which one would mend it."""
    return [finding for check in _CHECKS for finding in check(facts)]


def blocks(findings: list[Finding]) -> bool:
    """Say whether something stands in the way of a capture with nsys or with ncu."""
    return any(finding.status == "blocks" for finding in findings)


def _everywhere(text: str) -> dict[str, str]:
    return dict.fromkeys(("bare metal", "docker", "kubernetes", "wsl"), text)


def _nsys(facts: Facts) -> Iterator[Finding]:
    yield _tool_finding("nsys", "Nsight Systems", "nsight-systems", facts.nsys, "timelines of kernels and ranges")


def _ncu(facts: Facts) -> Iterator[Finding]:
    yield _tool_finding("ncu", "Nsight Compute", "nsight-compute", facts.ncu, "hardware counters of kernels")


def _tool_finding(name: str, product: str, package: str, tool: ToolFact, purpose: str) -> Finding:
    install = {
        "bare metal": f"apt-get install {package}  (from NVIDIA's CUDA repository), or add its folder to PATH",
        "docker": f"RUN apt-get install -y {package}  in an image with NVIDIA's CUDA repository",
        "kubernetes": f"use an image that has {package}, or mount the host's copy and add its folder to PATH",
        "wsl": f"apt-get install {package}  inside WSL",
    }
    if tool.path is None:
        return Finding(name, "blocks", f"{name} is not on PATH", f"NVIDIA {product} measures {purpose}", install)
    if tool.version is None:
        npm = "; the npm package npm-check-updates also installs an 'ncu'" if name == "ncu" else ""
        return Finding(
            name, "blocks", f"{tool.path} is not NVIDIA {product}: it says '{tool.said}'{npm}",
            "its answers would be taken for measurements",
            _everywhere(f"put the folder of NVIDIA's {name} first:  export PATH=/path/of/{package}:$PATH"),
        )  # fmt: skip
    if _numbers(tool.version) < _OLDEST[name]:
        oldest = ".".join(map(str, _OLDEST[name]))
        return Finding(
            name, "blocks", f"{name} {tool.version} is older than {oldest}",
            "its options and reports differ from those that nsightkit knows", install,
        )  # fmt: skip
    return Finding(name, "ok", f"{name} {tool.version} at {tool.path}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def _gpu(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus:
        yield Finding(
            "gpu", "blocks", "no NVIDIA GPU with a working driver: nvidia-smi lists none",
            "kernels and counters exist only on a GPU; '--tool torch' measures on the CPU",
            {"bare metal": "install the driver and reboot; check with  nvidia-smi",
             "docker": "docker run --gpus all …  (needs nvidia-container-toolkit on the host)",
             "kubernetes": "ask for one in the pod:  resources: {limits: {nvidia.com/gpu: 1}}",
             "wsl": "install the driver on the Windows host, none inside WSL; check with  nvidia-smi"},
        )  # fmt: skip
        return
    names = ", ".join(f"{gpu.name} (CC {gpu.compute_capability or 'unknown'})" for gpu in facts.gpus)
    yield Finding("gpu", "ok", f"{names}; driver {facts.driver_version}, CUDA {facts.cuda_version or 'unknown'}")
    for tool, version in (("nsys", facts.nsys.version), ("ncu", facts.ncu.version)):
        yield from (found for gpu in facts.gpus if version and (found := _unsupported(tool, version, gpu)))


def _unsupported(tool: str, version: str, gpu: GpuFact) -> Finding | None:
    """Source: release notes of nsys 2025.4 (Pascal and Volta end) and ncu 2020.1 (Pascal ends), and ncu's chip lists.

    The lists begin with Volta in 2024.1, and with 2025.1 hold Blackwell.
    """
    capability = float(gpu.compute_capability or 8.0)
    if tool == "ncu" and capability < 7.0:
        return Finding(f"{tool} and gpu", "blocks", f"ncu {version} does not know {gpu.name} (CC {capability:.1f})",
                       "no ncu since 2020.1 reads counters of GPUs before Volta; timelines of nsys are not concerned",
                       _everywhere("nsightkit profile --tool nsys"))  # fmt: skip
    if capability >= 10.0 and _numbers(version) < (2025, 1):
        what, way = f"{tool} {version} does not know {gpu.name} (CC {capability:.1f})", "2025.1 or newer"
    elif capability < 7.5 and _numbers(version) >= (2025, 4):
        what, way = f"{tool} {version} no longer knows {gpu.name} (CC {capability:.1f})", "2025.3 or older"
    else:
        return None
    return Finding(f"{tool} and gpu", "blocks", what, "it would end with 'Unsupported GPU'",
                   _everywhere(f"install {tool} {way}"))  # fmt: skip


def _counters(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus:
        return
    if facts.counters_for_admins_only is False:
        yield Finding("counters", "ok", "every user may read the GPU's counters (RmProfilingAdminOnly: 0)")
    elif _may(facts, _CAP_SYS_ADMIN) or _may(facts, _CAP_PERFMON):
        yield Finding("counters", "ok", "this process may read the GPU's counters (CAP_SYS_ADMIN or CAP_PERFMON)")
    elif facts.counters_for_admins_only is None:
        yield Finding("counters", "hint", "it is not known whether counters may be read",
                      "/proc/driver/nvidia/params is not there; ncu will tell", {"wsl": _CONTROL_PANEL})  # fmt: skip
    else:
        yield Finding(
            "counters", "blocks", "only administrators may read the GPU's counters (RmProfilingAdminOnly: 1)",
            "ncu would end with ERR_NVGPUCTRPERM; nsys and torch.profiler need no counters",
            {"bare metal": f"echo '{_MODULE}' | sudo tee /etc/modprobe.d/nvidia-profiling.conf"
             " && sudo update-initramfs -u && sudo reboot",
             "docker": "docker run --cap-add SYS_ADMIN …  or set the module option on the host",
             "kubernetes": "securityContext: {capabilities: {add: [SYS_ADMIN]}}  or set the module option on the node",
             "wsl": _CONTROL_PANEL},
        )  # fmt: skip


def _may(facts: Facts, bit: int) -> bool:
    return facts.capabilities is not None and bool(facts.capabilities >> bit & 1)


def _sampling(facts: Facts) -> Iterator[Finding]:
    level = facts.paranoid_level
    if level is None or level <= 2:
        return
    command = "sudo sysctl kernel.perf_event_paranoid=2"
    yield Finding(
        "cpu sampling", "hint", f"perf_event_paranoid is {level}",
        "nsys cannot sample the CPU above 2; kernels, ranges and CUDA calls are recorded all the same",
        {"bare metal": command, "docker": f"{command}  on the host", "kubernetes": f"{command}  on the node",
         "wsl": command},
    )  # fmt: skip


def _place(facts: Facts) -> Iterator[Finding]:
    if facts.place == "bare metal":
        return
    texts = {
        "docker": ("in a container", "nsys needs --cap-add SYS_ADMIN to sample the CPU, ncu to read counters"),
        "kubernetes": ("in a Kubernetes pod", "DCGM on the node often holds the counters, which a pod cannot see"),
        "wsl": ("in WSL", "nsys may deliver CUDA calls without kernels there; clocks cannot be locked"),
    }
    what, why = texts[facts.place]
    yield Finding("place", "hint", f"this runs {what}", why, {
        "docker": "docker run --gpus all --cap-add SYS_ADMIN …",
        "kubernetes": "securityContext: {capabilities: {add: [SYS_ADMIN]}}",
        "wsl": "nsightkit profile --clock-control none",
    })  # fmt: skip


def _mig(facts: Facts) -> Iterator[Finding]:
    sliced = [str(gpu.index) for gpu in facts.gpus if gpu.mig]
    if sliced:
        yield Finding(
            "mig", "warning", f"GPU {', '.join(sliced)} is split into MIG instances",
            "clocks cannot be locked, and counters of shared units are not there",
            _everywhere("nsightkit profile --clock-control none"),
        )  # fmt: skip


def _holders(facts: Facts) -> Iterator[Finding]:
    if facts.holders and facts.gpus:
        yield Finding(
            "other profilers", "warning", f"running: {', '.join(facts.holders)}",
            "one program at a time may own the counters; ncu would end with 'driver resource unavailable'",
            {"bare metal": "dcgmi profile --pause   and afterwards   dcgmi profile --resume",
             "docker": "dcgmi profile --pause  on the host",
             "kubernetes": "kubectl -n gpu-operator delete pod -l app=nvidia-dcgm-exporter --field-selector "
             "spec.nodeName=NODE  (its DaemonSet starts it again: set nvidia.com/gpu.deploy.dcgm-exporter=false first)",
             "wsl": "end the other profiler"},
        )  # fmt: skip
    if facts.other_gpu_processes:
        yield Finding(
            "other processes", "warning", f"also on the GPU: {', '.join(facts.other_gpu_processes[:5])}",
            "they share clocks, caches and memory bandwidth: timings are theirs too",
            _everywhere("end them, or choose a free GPU:  CUDA_VISIBLE_DEVICES=N nsightkit profile …"),
        )  # fmt: skip


def _nvtx(facts: Facts) -> Iterator[Finding]:
    if unseen_ranges(facts.nsys.version, facts.nvtx_version):
        yield Finding(
            "nvtx", "blocks", f"nsys {facts.nsys.version} does not record ranges of the Python package nvtx "
            f"{facts.nvtx_version}",
            "a capture would have no range, and nsys would not say so",
            _everywhere("pip install 'nvtx<0.2.12'   or install a newer nsys"),
        )  # fmt: skip


def _space(facts: Facts) -> Iterator[Finding]:
    if facts.free_bytes is not None and facts.free_bytes < _LITTLE_SPACE:
        full = facts.free_bytes < 0.1 * _LITTLE_SPACE
        yield Finding(
            "disk", "blocks" if full else "warning", f"{facts.free_bytes / 1e9:.1f} GB are free in {facts.folder}",
            "a timeline of a few minutes takes gigabytes, and a full disk leaves no report",
            _everywhere("write elsewhere:  nsightkit profile -o /path/with/space …"),
        )  # fmt: skip


def _readers(facts: Facts) -> Iterator[Finding]:
    if facts.ncu_report_version is None:
        yield Finding(
            "ncu_report", "hint", "NVIDIA's reader of ncu reports is not installed",
            "reports are then read through ncu on PATH, rounded to two digits",
            _everywhere("pip install 'nsightkit[ncu]'"),
        )  # fmt: skip
    if facts.torch_version is None:
        yield Finding(
            "torch", "hint", "torch is not installed", "'--tool torch' and the bundled workloads need it",
            _everywhere("pip install 'nsightkit[workloads]'"),
        )  # fmt: skip


_CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _nsys, _ncu, _gpu, _counters, _holders, _mig, _nvtx, _space, _place, _sampling, _readers,
)  # fmt: skip
