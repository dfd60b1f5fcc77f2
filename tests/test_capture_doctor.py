"""Every finding of the doctor, each triggered by what a probe answered; and the probes themselves."""

import json

import pytest
from click.testing import CliRunner

from nsightkit.capture.doctor import STATUSES, blocks, examine
from nsightkit.capture.probes import Facts, GpuFact, Rank, ToolFact, find_rank, read_facts
from nsightkit.cli import cli

GPU = GpuFact(0, "NVIDIA H100 80GB HBM3", "9.0", False)
WELL = Facts(
    nsys=ToolFact("/opt/nsys", "2025.3.1.90"),
    ncu=ToolFact("/opt/ncu", "2025.2.1.0"),
    gpus=(GPU,),
    driver_version="570.1",
    cuda_version="12.8",
    counters_for_admins_only=False,
    paranoid_level=2,
    nvtx_version="0.2.16",
    torch_version="2.8",
    ncu_report_version="2026.3.1",
    free_bytes=10**12,
)


def with_facts(**changes):
    from dataclasses import replace

    return examine(replace(WELL, **changes))


def finding(findings, name):
    (found,) = [item for item in findings if item.name == name]
    return found


def test_all_well():
    findings = examine(WELL)
    assert {item.status for item in findings} == {"ok"}
    assert not blocks(findings)
    assert finding(findings, "gpu").what == "NVIDIA H100 80GB HBM3 (CC 9.0); driver 570.1, CUDA 12.8"


CASES = [
    ({"nsys": ToolFact()}, "nsys", "blocks", "nsys is not on PATH", "bare metal", "apt-get install nsight-systems"),
    ({"ncu": ToolFact()}, "ncu", "blocks", "ncu is not on PATH", "docker", "RUN apt-get install -y nsight-compute"),
    (
        {"ncu": ToolFact("/usr/bin/ncu", None, "17.1.14")},
        "ncu",
        "blocks",
        "it says '17.1.14'; the npm package",
        "wsl",
        "export PATH=",
    ),
    (
        {"nsys": ToolFact("/usr/bin/nsys", None, "hello")},
        "nsys",
        "blocks",
        "is not NVIDIA Nsight Systems",
        "wsl",
        "PATH",
    ),
    ({"nsys": ToolFact("/x", "2020.3.1")}, "nsys", "blocks", "nsys 2020.3.1 is older than 2021.4", "bare metal", "apt"),
    ({"ncu": ToolFact("/x", "2019.5.0")}, "ncu", "blocks", "ncu 2019.5.0 is older than 2021.1", "bare metal", "apt"),
    ({"gpus": ()}, "gpu", "blocks", "no NVIDIA GPU with a working driver", "docker", "docker run --gpus all"),
    (
        {"gpus": (GpuFact(0, "RTX 5090", "12.0", False),), "ncu": ToolFact("/x", "2024.3.0.0")},
        "ncu and gpu",
        "blocks",
        "ncu 2024.3.0.0 does not know RTX 5090 (CC 12.0)",
        "kubernetes",
        "install ncu 2025.1 or newer",
    ),
    (
        {"gpus": (GpuFact(0, "Tesla P100", "6.0", False),), "ncu": ToolFact("/x", "2024.1.1.0")},
        "ncu and gpu",
        "blocks",
        "ncu 2024.1.1.0 does not know Tesla P100 (CC 6.0)",
        "bare metal",
        "nsightkit profile --tool nsys",
    ),
    (
        {"gpus": (GpuFact(0, "V100", "7.0", False),), "nsys": ToolFact("/x", "2025.5.1")},
        "nsys and gpu",
        "blocks",
        "nsys 2025.5.1 no longer knows V100 (CC 7.0)",
        "docker",
        "install nsys 2025.3 or older",
    ),
    (
        {"counters_for_admins_only": True},
        "counters",
        "blocks",
        "RmProfilingAdminOnly: 1",
        "bare metal",
        "NVreg_RestrictProfilingToAdminUsers=0",
    ),
    ({"counters_for_admins_only": True}, "counters", "blocks", "only administrators", "docker", "--cap-add SYS_ADMIN"),
    ({"counters_for_admins_only": True}, "counters", "blocks", "only administrators", "kubernetes", "add: [SYS_ADMIN]"),
    ({"counters_for_admins_only": True}, "counters", "blocks", "only administrators", "wsl", "NVIDIA Control Panel"),
    ({"counters_for_admins_only": True, "capabilities": 1 << 21}, "counters", "ok", "CAP_SYS_ADMIN", None, ""),
    ({"counters_for_admins_only": True, "capabilities": 1 << 38}, "counters", "ok", "CAP_PERFMON", None, ""),
    ({"counters_for_admins_only": None}, "counters", "hint", "it is not known", "wsl", "NVIDIA Control Panel"),
    (
        {"paranoid_level": 4},
        "cpu sampling",
        "hint",
        "perf_event_paranoid is 4",
        "bare metal",
        "sudo sysctl kernel.perf_event_paranoid=2",
    ),
    ({"place": "docker"}, "place", "hint", "this runs in a container", "docker", "--cap-add SYS_ADMIN"),
    ({"place": "kubernetes"}, "place", "hint", "this runs in a Kubernetes pod", "kubernetes", "securityContext"),
    ({"place": "wsl"}, "place", "hint", "this runs in WSL", "wsl", "--clock-control none"),
    (
        {"gpus": (GpuFact(3, "H100", "9.0", True),)},
        "mig",
        "warning",
        "GPU 3 is split into MIG instances",
        "bare metal",
        "--clock-control none",
    ),
    (
        {"holders": ("nv-hostengine",)},
        "other profilers",
        "warning",
        "running: nv-hostengine",
        "bare metal",
        "dcgmi profile --pause",
    ),
    (
        {"other_gpu_processes": ("python (71)",)},
        "other processes",
        "warning",
        "also on the GPU: python (71)",
        "docker",
        "CUDA_VISIBLE_DEVICES",
    ),
    (
        {"nsys": ToolFact("/x", "2023.4.4.54")},
        "nvtx",
        "blocks",
        "does not record ranges of the Python package nvtx 0.2.16",
        "bare metal",
        "pip install 'nvtx<0.2.12'",
    ),
    ({"free_bytes": 5 * 10**9}, "disk", "warning", "5.0 GB are free", "docker", "-o /path/with/space"),
    ({"free_bytes": 10**8}, "disk", "blocks", "0.1 GB are free", "wsl", "-o /path/with/space"),
    (
        {"ncu_report_version": None},
        "ncu_report",
        "hint",
        "NVIDIA's reader of ncu reports is not installed",
        "bare metal",
        "pip install 'nsightkit[ncu]'",
    ),
    ({"torch_version": None}, "torch", "hint", "torch is not installed", "bare metal", "nsightkit[workloads]"),
]


@pytest.mark.parametrize(("changes", "name", "status", "what", "place", "command"), CASES)
def test_finding(changes, name, status, what, place, command):
    findings = with_facts(**changes)
    found = finding(findings, name)
    assert found.status == status
    assert found.status in STATUSES
    assert what in found.what
    assert blocks(findings) == (status == "blocks")
    if place:
        assert found.why
        assert command in found.mend[place]


def test_old_nvtx_is_recorded_by_an_old_nsys():
    findings = with_facts(nsys=ToolFact("/x", "2023.4.4.54"), nvtx_version="0.2.11")
    assert not [item for item in findings if item.name == "nvtx"]


class Answers:
    """A machine that answers from dictionaries."""

    def __init__(self, programs=(), outputs=None, files=None, variables=None, running=()):
        self.programs, self.outputs, self.files = dict(programs), outputs or {}, files or {}
        self.variables, self.running = variables or {}, running

    def which(self, name):
        return self.programs.get(name)

    def output(self, argv):
        return self.outputs.get(" ".join(argv))

    def text(self, path):
        return self.files.get(path)

    def variable(self, name):
        return self.variables.get(name)

    def package(self, name):
        return {"nvtx": "0.2.14"}.get(name)

    def free_bytes(self, path):
        return 7

    def processes(self):
        return self.running


SAID = "NVIDIA Nsight Systems version 2025.1.1.65-251135540420v0"
SMI = "nvidia-smi --query-gpu=index,name,compute_cap,driver_version,mig.mode.current --format=csv,noheader"
APPS = "nvidia-smi --query-compute-apps=pid,process_name --format=csv,noheader"
FULL = Answers(
    {"nsys": "/n/nsys", "ncu": "/n/ncu", "nvidia-smi": "/s"},
    {
        "/n/nsys --version": SAID + "\n",
        "/n/ncu --version": "NVIDIA (R) Nsight Compute Command Line Profiler\nVersion 2025.2.1.0 (build 1)\n",
        SMI: "0, NVIDIA A100-SXM4-40GB, 8.0, 550.54, Enabled\n1, NVIDIA A100-SXM4-40GB, 8.0, 550.54, Disabled\n",
        "nvidia-smi": "| Driver Version: 550.54   CUDA Version: 12.4  |\n",
        APPS: "99999999, python\n",
    },
    {
        "/proc/driver/nvidia/params": "A: 0\nRmProfilingAdminOnly: 1\n",
        "/proc/self/status": "CapEff:\t0000000000200000\n",
        "/proc/sys/kernel/perf_event_paranoid": "3\n",
    },
    {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    ("bash", "nv-hostengine", "python"),
)


class TestProbes:
    def test_everything_is_read(self):
        facts = read_facts(FULL, "/data")
        assert facts.nsys == ToolFact("/n/nsys", "2025.1.1.65", SAID)
        assert facts.ncu.version == "2025.2.1.0"
        assert [(gpu.index, gpu.compute_capability, gpu.mig) for gpu in facts.gpus] == [
            (0, "8.0", True),
            (1, "8.0", False),
        ]
        assert (facts.driver_version, facts.cuda_version) == ("550.54", "12.4")
        assert facts.counters_for_admins_only is True
        assert facts.capabilities == 1 << 21
        assert facts.paranoid_level == 3
        assert facts.place == "kubernetes"
        assert facts.holders == ("nv-hostengine",)
        assert facts.other_gpu_processes == ("python (99999999)",)
        assert (facts.nvtx_version, facts.torch_version, facts.free_bytes) == ("0.2.14", None, 7)

    def test_nothing_answers(self):
        facts = read_facts(Answers())
        assert facts == Facts(nvtx_version="0.2.14", free_bytes=7)

    @pytest.mark.parametrize(
        ("files", "place"),
        [({"/proc/sys/kernel/osrelease": "5.15.1-microsoft-standard-WSL2"}, "wsl"), ({"/.dockerenv": ""}, "docker"),
         ({"/proc/1/cgroup": "0::/docker/abc"}, "docker"), ({}, "bare metal")],
    )  # fmt: skip
    def test_place(self, files, place):
        assert read_facts(Answers(files=files)).place == place

    def test_npm_ncu_has_no_version(self):
        facts = read_facts(Answers({"ncu": "/npm/ncu"}, {"/npm/ncu --version": "17.1.14\n"}))
        assert facts.ncu == ToolFact("/npm/ncu", None, "17.1.14")

    def test_gpu_without_capability_or_with_errors(self):
        machine = Answers({"nvidia-smi": "/s"}, {SMI: "0, Old, [N/A], 470.1, [N/A]\nERR! broken\n"})
        assert read_facts(machine).gpus == (GpuFact(0, "Old", None, False),)


class TestRank:
    @pytest.mark.parametrize(
        ("variables", "rank"),
        [
            ({"RANK": "3", "WORLD_SIZE": "8"}, Rank(3, 8, "torchrun")),
            ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, Rank(0, 2, "mpirun")),
            ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Rank(1, 2, "mpiexec")),
            ({"SLURM_PROCID": "5", "SLURM_NTASKS": "16"}, Rank(5, 16, "srun")),
            ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
            ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "RANK": "1", "WORLD_SIZE": "4"}, Rank(1, 4, "torchrun")),
            ({"RANK": "x", "WORLD_SIZE": "4"}, None),
            ({"RANK": "9", "WORLD_SIZE": "4"}, None),
            ({}, None),
        ],
    )
    def test_rank(self, variables, rank):
        assert find_rank(variables) == rank


class TestCommand:
    def test_says_what_blocks_and_exits_with_1(self, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        done = CliRunner().invoke(cli, ["doctor"])
        assert done.exit_code == 1
        assert "BLOCKS   nsys: nsys is not on PATH" in done.stdout
        assert "why: NVIDIA Nsight Systems measures timelines" in done.stdout
        assert "findings block a capture" in done.stdout

    def test_json_holds_findings_and_facts(self, monkeypatch):
        monkeypatch.setattr("nsightkit.cli.doctor.read_facts", lambda: WELL)
        done = CliRunner().invoke(cli, ["doctor", "--json"])
        assert done.exit_code == 0, done.output
        data = json.loads(done.stdout)
        assert [item["status"] for item in data["findings"]] == ["ok"] * 4
        assert data["facts"]["ncu"]["version"] == "2025.2.1.0"

    def test_all_places(self, monkeypatch):
        from dataclasses import replace

        monkeypatch.setattr("nsightkit.cli.doctor.read_facts", lambda: replace(WELL, counters_for_admins_only=True))
        here = CliRunner().invoke(cli, ["doctor"]).stdout
        everywhere = CliRunner().invoke(cli, ["doctor", "--all"]).stdout
        assert here.count("mend (") == 1
        assert everywhere.count("mend (") == 4
