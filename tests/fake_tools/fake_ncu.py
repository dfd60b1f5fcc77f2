"""A stand-in for ncu: option tables of 2024.1.1 and 2026.1.0, and their answers to what they do not know.

Run as: fake_ncu.py VERSION BEHAVIOR RECORD ARGS…
"""

import sys
from pathlib import Path

from options import record_call, run_workload, split, words

# Read off `ncu --help` of the real 2024.1.1.
OLD = words("""
--app-replay-buffer --app-replay-match --app-replay-mode --apply-rules --cache-control --check-exit-code --clock-control
--config-file --config-file-path --devices --export --filter-mode --graph-profiling --hostname --import --import-source
--kernel-id --kernel-name --kernel-name-base --kill --launch-count --launch-skip --launch-skip-before-match --log-file
--metrics --mode --nvtx-exclude --nvtx-include --page --print-units --profile-from-start --replay-mode --rule --section
--section-folder --set --target-processes --target-processes-filter
""")
NEW = OLD | words("--rename-kernels --pipeline-boost-state --communicator --print-source")
FLAGS = words("--force-overwrite --nvtx --csv --quiet --verbose --disable-extra-suffixes --list-sets")
VALUES = {"--clock-control": {"base", "none", "reset", "boost", "force-boost"}, "--cache-control": {"all", "none"},
          "--set": {"basic", "detailed", "full", "roofline"}, "--config-file": {"on", "off"},
          "--target-processes": {"all", "application-only"}, "--rename-kernels": {"on", "off"}}  # fmt: skip


def main():
    version, behavior, record, *argv = sys.argv[1:]
    record_call(record, argv)
    if argv[:1] == ["--version"]:
        return say_version(version, behavior)
    table = OLD if version < "2025" else NEW
    if argv[:1] == ["--help"]:
        print("usage: ncu [options] [program] [program-arguments]")
        print("\n".join(f"  {name} arg" for name in sorted(table)))
        print("\n".join(f"  {name}" for name in sorted(FLAGS)))
        return 0
    options, command = split(argv, table, FLAGS, refuse)
    for name, allowed in VALUES.items():
        if options.get(name, min(allowed)) not in allowed:
            refuse(f"{name} {options[name]}")
    return profile(options, command, behavior)


def say_version(version, behavior):
    if behavior == "npm":
        print("17.1.14")
    else:
        print("NVIDIA (R) Nsight Compute Command Line Profiler\nCopyright (c) 2018-2024 NVIDIA Corporation")
        print(f"Version {version} (build 33998838) (public-release)")
    return 0


def refuse(option):
    print(f"==ERROR== unrecognised option '{option}'. Use --help for further details.")
    raise SystemExit(1)


def profile(options, command, behavior):
    if behavior == "no-driver":
        print("==ERROR== Nsight Compute failed to connect to the CUDA driver (stub libcuda.so[.1] on path?).")
        print("==WARNING== No kernels were profiled.")
        return 1
    print("==PROF== Connected to process 4711 (python)")
    status = run_workload(command)
    if behavior == "no-permission":
        print(
            "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"
        )
        return 1
    print("==PROF== Disconnected from process 4711")
    if status:
        print(f"==ERROR== The application returned an error code ({status}).")
        return status
    if behavior == "no-kernels":
        print("==WARNING== No kernels were profiled.")
        return 0
    suffix = ".ncu-repz" if behavior == "packed" else ".ncu-rep"
    Path(options["--export"]).with_suffix(suffix).write_bytes(b"stand-in report")
    print(f"==PROF== Report: {options['--export']}{suffix}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
