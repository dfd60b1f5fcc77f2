"""A scripted program run, as both stand-ins serve it: nested ranges, and the launches inside them.

A script is a list of events: ["push", name], ["pop"], ["wait", ns], ["launch", {...}] with name, grid, block, shared,
duration_ns (in the timeline), ncu_ns (under ncu), flop, dram_bytes, graph_node and metrics (more that ncu counts). nsys
and ncu print one kernel's name differently: `ncu_name`.
"""

import json
import re
import sqlite3
import sys
from pathlib import Path

PROCESS = 281474976710656
_ESCAPED = re.compile(r"\\(.)")


def events(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def ranges_and_launches(script):
    """Times as nsys sees them: each launch call takes 1 µs, kernels follow one another on one stream."""
    now, gpu, correlation = 1000, 1000, 0
    stack, ranges, launches = [], [], []
    for kind, *rest in script:
        now += 100
        if kind == "wait":
            now += rest[0]
        elif kind == "push":
            stack.append(len(ranges))
            ranges.append([rest[0], now, None])
        elif kind == "pop":
            ranges[stack.pop()][2] = now
        else:
            correlation += 1
            launch = dict(rest[0])
            launch["path"] = [ranges[place][0] for place in stack]
            launch["instances"] = list(stack)
            launch["call"] = (now, now + 1000)
            gpu = max(gpu, now + 2000)
            launch["gpu"] = (gpu, gpu + launch["duration_ns"])
            gpu += launch["duration_ns"]
            now += 1000
            launch["correlation"] = correlation
            launches.append(launch)
    return ranges, launches


# The tables of an export of nsys, with the columns that are read.
EXPORT = """
    CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE META_DATA_EXPORT (name TEXT, value TEXT);
    CREATE TABLE META_DATA_CAPTURE (name TEXT, value TEXT);
    INSERT INTO META_DATA_EXPORT VALUES ('EXPORT_SCHEMA_VERSION', '3.6.0');
    CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER,
        eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER, color INTEGER, text TEXT,
        globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
    CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL,
        eventClass INTEGER, globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL,
        returnValue INTEGER NOT NULL);
    CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL,
        deviceId INTEGER, contextId INTEGER, streamId INTEGER, correlationId INTEGER, globalPid INTEGER,
        demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, gridX INTEGER, gridY INTEGER, gridZ INTEGER,
        blockX INTEGER, blockY INTEGER, blockZ INTEGER, dynamicSharedMemory INTEGER);
"""


def write_timeline(path, script):
    """Write the tables of an nsys export, columns as in schema 3.6."""
    ranges, launches = ranges_and_launches(script)
    texts = {}

    def text(word):
        return texts.setdefault(word, len(texts) + 1)

    with sqlite3.connect(path) as base:
        base.executescript(EXPORT)
        base.executemany(
            "INSERT INTO NVTX_EVENTS (start, end, eventType, globalTid, textId, domainId) VALUES (?, ?, 59, ?, ?, 0)",
            [(start, end, PROCESS, text(name)) for name, start, end in ranges],
        )
        base.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, 0, ?, ?, ?, 0)",
            [(*item["call"], PROCESS, item["correlation"], text("cudaLaunchKernel_v7000")) for item in launches],
        )
        base.executemany(
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, 0, 1, 7, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*item["gpu"], item["correlation"], PROCESS, text(item["name"]), text(item["name"]), *item["grid"],
              *item["block"], item.get("shared", 0)) for item in launches],
        )  # fmt: skip
        if any("graph_node" in item for item in launches):
            base.execute("ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL ADD COLUMN graphNodeId INTEGER")
            base.executemany(
                "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET graphNodeId = ? WHERE correlationId = ?",
                [(item.get("graph_node"), item["correlation"]) for item in launches],
            )
        base.executemany("INSERT INTO StringIds VALUES (?, ?)", [(number, word) for word, number in texts.items()])
    base.close()


def chosen_launches(script, options, includes):
    """The launches that ncu's filters let through, as its documentation has them."""
    ranges, launches = ranges_and_launches(script)
    wanted = []
    for item in launches:
        name = item.get("ncu_name", item["name"])
        if includes and not any(included(item, include, ranges, options) for include in includes):
            continue
        if not named(name, options):
            continue
        wanted.append(item)
    skip, count = int(options.get("--launch-skip", 0)), options.get("--launch-count")
    return wanted[skip:][: int(count) if count else None]


def named(name, options):
    pattern = options.get("--kernel-name")
    if pattern is None:
        return True
    base = name if options.get("--kernel-name-base") == "demangled" else re.split(r"[<(]", name)[0].split()[-1]
    if pattern.startswith("regex:"):
        return re.search(pattern.removeprefix("regex:"), base) is not None
    return pattern == base


def included(item, include, ranges, options):
    """`name/` is a push/pop range anywhere on the stack; `name` alone is a start/end range, of which there is none."""
    if not include.endswith("/"):
        return False
    name = _ESCAPED.sub(r"\1", include.removesuffix("/"))
    if name not in item["path"]:
        return False
    numbers = options.get("--range-filter")
    if numbers is None:
        return True
    place = item["instances"][item["path"].index(name)]
    instance = sum(other[0] == name for other in ranges[: place + 1])
    return str(instance) in numbers.split(":")[2].split("|")


def write_report(stem, launches):
    """Write the frame of a report with one result a launch, and beside it what NVIDIA's reader would say of each."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from builders.ncu import container

    report = Path(f"{stem}.ncu-rep")
    container(results=len(launches)).write(report)
    Path(f"{report}.json").write_text(json.dumps(launches), encoding="utf-8")
    return report


def read_report(path):
    """What `ncu_report.load_report` gives for a report of `write_report`."""
    from builders.ncu import FakeAction, FakeContext, FakeDomain, FakeMetric, FakeState

    def action(item):
        values = {
            "gpu__time_duration.sum": FakeMetric(float(item["ncu_ns"]), "ns"),
            "dram__bytes.sum": FakeMetric(float(item.get("dram_bytes", 1)), "byte"),
            "launch__shared_mem_per_block_dynamic": FakeMetric(float(item.get("shared", 0)), "byte"),
            "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum": FakeMetric(float(item.get("flop", 1)), "inst"),
            "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum": FakeMetric(0.0, "inst"),
            "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": FakeMetric(0.0, "inst"),
            "device__attribute_compute_capability_major": FakeMetric(8.0),
            "device__attribute_compute_capability_minor": FakeMetric(0.0),
            **{name: FakeMetric(float(value)) for name, value in item.get("metrics", {}).items()},
            **{f"launch__grid_dim_{axis}": FakeMetric(float(v)) for axis, v in zip("xyz", item["grid"], strict=True)},
            **{f"launch__block_dim_{axis}": FakeMetric(float(v)) for axis, v in zip("xyz", item["block"], strict=True)},
        }
        name = item.get("ncu_name", item["name"])
        state = FakeState((FakeDomain("<default domain>", tuple(item["path"])),))
        return FakeAction(values, (re.split(r"[<(]", name)[0].split()[-1], name), state)

    return FakeContext([action(item) for item in json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))])
