"""A stand-in for ncu: option tables of 2024.1.1 and 2026.1.0, and their answers to what they do not know.

Run as: fake_ncu.py VERSION BEHAVIOR RECORD ARGS…
"""

import sys
from pathlib import Path

from options import record_call, run_workload, split, words
from script import chosen_launches, events, write_report

# Read off `ncu --help` of the real 2024.1.1.
OLD = words("""
--app-replay-buffer --app-replay-match --app-replay-mode --apply-rules --cache-control --check-exit-code --clock-control
--config-file --config-file-path --devices --export --filter-mode --graph-profiling --hostname --import --import-source
--kernel-id --kernel-name --kernel-name-base --kill --launch-count --launch-skip --launch-skip-before-match --log-file
--metrics --mode --nvtx-exclude --nvtx-include --page --print-units --profile-from-start --range-filter --replay-mode
--rule --section --section-folder --set --target-processes --target-processes-filter
""")
NEW = OLD | words("--rename-kernels --pipeline-boost-state --communicator --print-source")
FLAGS = words("--force-overwrite --nvtx --csv --quiet --verbose --disable-extra-suffixes --list-sets")
CLOCKS = {"base", "none", "reset"}
VALUES = {"--clock-control": CLOCKS | {"boost", "force-boost"}, "--cache-control": {"all", "none"},
          "--set": {"basic", "detailed", "full", "roofline"}, "--config-file": {"on", "off"},
          "--target-processes": {"all", "application-only"}, "--rename-kernels": {"on", "off"},
          "--graph-profiling": {"node", "graph"},
          "--replay-mode": {"kernel", "application", "range", "app-range"}, "--profile-from-start": {"on", "off"},
          "--kernel-name-base": {"function", "demangled", "mangled"}}  # fmt: skip


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
    repeated = {"--nvtx-include": [], "--section": []}
    options, command = split(argv, table, FLAGS, refuse, repeated)
    if options.get("--range-filter") and not repeated["--nvtx-include"]:
        print("==ERROR== To use --range-filter option for NVTX ranges, provide NVTX filter using one or more "
              "--nvtx-include option.")  # fmt: skip
        return 1
    if repeated["--nvtx-include"] and "--nvtx" not in options:
        print("==ERROR== NVTX filters need --nvtx.")
        return 1
    for name, allowed in (VALUES | ({"--clock-control": CLOCKS} if version < "2025" else {})).items():
        if options.get(name, min(allowed)) not in allowed:
            print(f"==ERROR== the argument for option '{name}' is invalid. Use --help for further details.")
            return 1
    if options.get("--replay-mode") in ("range", "app-range"):
        for name in ("--kernel-name", "--profile-from-start"):
            if name in options:
                print(f"==ERROR== Option {name.removeprefix('--')} is not supported during range replay.")
                return 1
    return profile(options, command, behavior, repeated["--nvtx-include"])


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


def profile(options, command, behavior, includes=()):
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
    said = {"busy": "==ERROR== Profiling failed because a driver resource was unavailable. Ensure that no other tool "
            "(like DCGM) is concurrently collecting profiling data.",
            "unsupported": "==ERROR== Unsupported GPU"}  # fmt: skip
    if behavior in said:
        print(said[behavior])
        return 1
    print("==PROF== Disconnected from process 4711")
    if status:
        print(f"==ERROR== The application returned an error code ({status}).")
        return status
    if behavior == "no-kernels":
        print("==WARNING== No kernels were profiled.")
        return 0
    if behavior.startswith("script:"):
        return serve(options, includes, events(behavior.removeprefix("script:")))
    suffix = ".ncu-repz" if behavior == "packed" else ".ncu-rep"
    Path(options["--export"]).with_suffix(suffix).write_bytes(b"stand-in report")
    print(f"==PROF== Report: {options['--export']}{suffix}")
    return 0


def serve(options, includes, script):
    launches = chosen_launches(script, options, includes)
    if not launches:
        print("==WARNING== No kernels were profiled.")
        return 0
    print(f"==PROF== Report: {write_report(options['--export'], launches)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
