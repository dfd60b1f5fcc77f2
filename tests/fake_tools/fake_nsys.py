"""A stand-in for nsys: the option tables of 2023.4.4 and 2026.1.1, and their answers to what they do not know.

Run as: fake_nsys.py VERSION BEHAVIOR RECORD ARGS…
"""

import sqlite3
import sys
import tempfile
from pathlib import Path

from options import record_call, run_workload, split, words
from script import events, write_timeline

# Read off `nsys profile --help` of the real 2023.4.4.
OLD = words("""
--backtrace --capture-range --capture-range-end --command-file --cpu-core-events --cpuctxsw --cuda-flush-interval
--cuda-graph-trace --cuda-memory-usage --cuda-um-cpu-page-faults --cuda-um-gpu-page-faults --cudabacktrace --delay
--duration --env-var --export --flush-on-cudaprofilerstop --force-overwrite --ftrace --gpu-metrics-device
--gpu-metrics-frequency --gpu-metrics-set --gpuctxsw --hotkey-capture --inherit-environment --kill --mpi-impl
--nic-metrics --nvtx-capture --osrt-threshold --output --python-backtrace --python-nvtx-annotations --python-sampling
--python-sampling-frequency --resolve-symbols --run-as --sample --samples-per-backtrace --sampling-period --session-new
--show-output --start-later --stats --stop-on-exit --trace --trace-fork-before-exec --wait
""")
NEW = (OLD - {"--gpu-metrics-device", "--python-nvtx-annotations"}) | words("""
--cuda-event-trace --cuda-trace-all-apis --cuda-trace-scope --discard-environment --gpu-metrics-devices --pytorch
--python-functions-trace
""")
TRACES = {"cuda", "nvtx", "osrt", "cublas", "cudnn", "mpi", "opengl", "openacc", "openmp", "none"}
SCOPES = {"process-tree", "system-wide", "none"}
VALUES = {"--sample": SCOPES, "--cpuctxsw": SCOPES,
          "--cuda-graph-trace": {"graph", "node"}, "--wait": {"primary", "all"}, "--export": {"sqlite", "none"},
          "--cuda-memory-usage": {"true", "false"}, "--force-overwrite": {"true", "false"},
          "--discard-environment": {"true", "false"}, "--kill": {"none", "sigkill", "sigterm"},
          "--capture-range": {"none", "cudaProfilerApi", "nvtx", "hotkey"},
          "--python-backtrace": {"cuda", "none"}}  # fmt: skip

# What the real one says when its agent is killed before, during and after the start, and the status it ends with.
AGENT_LOST = {
    "agent-lost": (
        0,
        """Connection to Agent lost. This is most likely a bug. Internal reason: 'End of file'.
Please refer to the troubleshooting section of the docs:
https://docs.nvidia.com/nsight-systems/UserGuide/index.html#troubleshooting""",
    ),
    "agent-launcher": (1, "Agent launcher failed."),
    "agent-exception": (
        1,
        """/build/QuadD/Common/ProtobufComm/Client/SessionPrivate.cpp(142): Throw in function void Start()
Dynamic exception type: boost::wrapexcept<QuadDCommon::NotAvailableException>
std::exception::what: NotAvailableException
[QuadDCommon::tag_message*] = Local Endpoint is not available.""",
    ),
}


def main():
    version, behavior, record, *argv = sys.argv[1:]
    record_call(record, argv)
    if argv[:1] == ["--version"]:
        print(f"NVIDIA Nsight Systems version {version}-234433681190v0")
        return 0
    if behavior == "agent-lost-once":
        with open(record, encoding="utf-8") as calls:
            behavior = "kernels" if sum('"--output"' in line for line in calls) > 1 else "agent-lost"
    table = OLD if version < "2025" else NEW
    if argv[:2] == ["profile", "--help"]:
        print("usage: nsys profile [<args>] [application] [<application args>]")
        print("".join(f"\n\t{name}=\n\n\t   Possible values ...\n" for name in sorted(table)))
        return 0
    options, command = split(argv[1:], table, frozenset(), refuse)
    if sum(word.startswith("--env-var") for word in argv) > 1:
        print("The option --env-var cannot be specified more than once.")
        return 1
    check_values(options)
    return profile(options, command, behavior)


def refuse(option):
    print(f"unrecognised option '{option}'\n\nusage: nsys profile [<args>] [application] [<application args>]",
          file=sys.stderr)  # fmt: skip
    raise SystemExit(1)


def check_values(options):
    unknown = set(options.get("--trace", "cuda").split(",")) - TRACES
    if unknown:
        print(f"Illegal --trace argument '{min(unknown)}'")
        raise SystemExit(1)
    for name, allowed in VALUES.items():
        if options.get(name, min(allowed)) not in allowed:
            print(f"Illegal {name} argument '{options[name]}'")
            raise SystemExit(1)


def profile(options, command, behavior):
    if behavior in AGENT_LOST:
        status, said = AGENT_LOST[behavior]
        print(said, file=sys.stderr)
        return status
    status = run_workload(command)
    if "--duration" in options and options.get("--kill") == "sigterm":
        status = 143
    stem = Path(options["--output"])
    if behavior == "elsewhere" or not stem.parent.is_dir():
        # The real one: "Failed to create", a random name in the temporary folder, and status 0.
        print(f"Failed to create '{stem}.nsys-rep': File exists", file=sys.stderr)
        stem = Path(tempfile.mkdtemp()) / "nsys-report-1fa2"
    if behavior == "disk-full":
        print("Failed to write the report: No space left on device")
        return 1
    print("Generating '/tmp/nsys-report-43b0.qdstrm'")
    print("[1/2] [0%    ] timeline.nsys-rep\r[1/2] [100%  ] timeline.nsys-rep\nGenerated:")
    if behavior in ("no-output", "no-range"):
        return status
    for one in captures_of(options, stem):
        report, export = (one.with_name(f"{one.name}{suffix}") for suffix in (".nsys-rep", ".sqlite"))
        report.write_bytes(b"stand-in report")
        print(f"    {report}")
        if behavior != "no-export":
            answer(export, behavior)
            print(f"    {export}")
    return status


def captures_of(options, stem):
    """One capture, or with repeat one for each range, numbered behind the stem."""
    end, _, count = options.get("--capture-range-end", "stop").partition(":")
    if end != "repeat":
        return [stem]
    return [stem.with_name(f"{stem.name}.{number}") for number in range(1, int(count) + 1)]


def answer(export, behavior):
    if behavior.startswith("script:"):
        write_timeline(export, events(behavior.removeprefix("script:")))
    else:
        write_export(export, kernels=3 if behavior in ("kernels", "graphs") else 0, ranges=behavior != "no-ranges")
    if behavior == "graphs":
        with sqlite3.connect(export) as base:
            base.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN graphNodeId INTEGER")
            base.execute("UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET graphNodeId = 4294967297")
        base.close()


def write_export(path, kernels, ranges):
    """Write the few tables that a small export has; column names as in schema 3.6."""
    with sqlite3.connect(path) as base:
        base.executescript("""
            CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE META_DATA_EXPORT (name TEXT, value TEXT);
            CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT);
            INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_SCHEMA_VERSION', '3.6.0');
            INSERT INTO StringIds VALUES (1, 'prefill'), (2, 'decode'), (3, 'void gemv<float>(int)'), (4, 'gemv');
        """)
        if ranges:
            base.executescript("""
                CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER,
                    eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER, color INTEGER, text TEXT,
                    globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
                INSERT INTO NVTX_EVENTS (start, end, eventType, globalTid, textId, domainId)
                    VALUES (100, 200, 59, 281474976710656, 1, 0), (200, 900, 59, 281474976710656, 2, 0);
            """)
        if kernels:
            base.execute("""CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL,
                deviceId INTEGER, contextId INTEGER, streamId INTEGER, correlationId INTEGER, globalPid INTEGER,
                demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, gridX INTEGER, gridY INTEGER, gridZ INTEGER,
                blockX INTEGER, blockY INTEGER, blockZ INTEGER)""")
            base.executemany(
                "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL "
                "VALUES (?, ?, 0, 1, 7, ?, 281474976710656, 3, 4, 1, 1, 1, 32, 1, 1)",
                [(300 + 10 * i, 305 + 10 * i, i + 1) for i in range(kernels)],
            )
    base.close()


if __name__ == "__main__":
    raise SystemExit(main())
