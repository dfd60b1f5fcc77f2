"""Pairs of runs whose difference is known: one kernel's time, launches, name or bytes changed by a known amount.

A run is a program (the kernels of one step, in order), repeated, with noise per launch and a drift per process run.
Everything is seeded: the same arguments give the same run.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import numpy as np

from nsightkit import parquet
from nsightkit.tables import KERNEL_LAUNCHES


@dataclass(frozen=True)
class Step:
    """One launch of a step: a kernel, its time, its geometry."""

    kernel_name: str
    mean_ns: float = 10_000.0
    grid: int = 64
    block: int = 128
    family: str = "elementwise"
    path: str = "decode"


@dataclass(frozen=True)
class Noise:
    """Relative deviations: of a process run as a whole, and of a launch."""

    drift: float = 0.0
    launch: float = 0.0


def launches(steps, repeats=1, noise=Noise(), seed=0, capture_id="a"):
    """Arrow rows of kernel_launches of one process run."""
    rng = np.random.default_rng(seed)
    program = list(steps) * repeats
    means = np.array([step.mean_ns for step in program])
    run = np.exp(rng.normal(0, noise.drift)) if noise.drift else 1.0
    jitter = np.exp(rng.normal(0, noise.launch, len(program))) if noise.launch else 1.0
    durations = np.maximum(1, np.rint(means * run * jitter)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(durations + 500)[:-1]]) if len(program) else np.array([], np.int64)
    columns = {
        "capture_id": [capture_id] * len(program),
        "kernel_name": [step.kernel_name for step in program],
        "start_ns": starts.astype(np.int64),
        "duration_ns": durations,
        "device_id": [0] * len(program),
        "stream_id": [7] * len(program),
        "process_id": [1] * len(program),
        "correlation_id": list(range(len(program))),
        "grid_x": [step.grid for step in program],
        "block_x": [step.block for step in program],
        **{f"{part}_{axis}": [1] * len(program) for part in ("grid", "block") for axis in "yz"},
    }
    return parquet.conform(KERNEL_LAUNCHES, columns)


def changed(steps, name, **fields):
    """`steps` with the fields of one kernel replaced."""
    return [replace(step, **fields) if step.kernel_name == name else step for step in steps]


FAMILIES = ("GEMM", "elementwise", "norm", "reduction", "copy", "attention")


def random_program(random: Random, size: int) -> list[Step]:
    """A step of `size` launches of about two thirds as many kernels."""
    names = [
        Step(
            f"{random.choice(FAMILIES).lower()}_k{number}_{random.randrange(10**6)}",
            mean_ns=random.uniform(2_000, 400_000),
            grid=random.choice((32, 64, 96, 128, 512, 1024)),
            block=random.choice((64, 128, 256, 512)),
            family=random.choice(FAMILIES),
        )
        for number in range(max(2, size * 2 // 3))
    ]
    return [*names, *(random.choice(names) for _ in range(size - len(names)))]


@dataclass(frozen=True)
class MatchCase:
    """A changed program and the truth about it: pairs of kernel-name tuples with how they belong together."""

    base: list[Step]
    head: list[Step]
    truth: frozenset  # of (base names, head names, how), how in renamed, split, merged, new, gone


def match_case(seed: int) -> MatchCase:
    """A program in which kernels were renamed, split, merged, removed and added, none of them twice."""
    random = Random(seed)
    base = random_program(random, random.randint(12, 40))
    head = list(base)
    truth = set()
    touched: set[str] = set()
    for number in range(random.randint(1, 6)):
        how = random.choice(("renamed", "renamed", "split", "merged", "gone", "new"))
        change = {"renamed": _rename, "split": _split, "merged": _merge, "gone": _remove, "new": _add}[how]
        found = change(random, head, touched, f"v2_{seed}_{number}")
        if found is not None:
            head, (old, new) = found
            touched |= {*old, *new}
            truth.add((old, new, how))
    return MatchCase(base, head, frozenset(truth))


def _pick(random, steps, touched):
    free = [step for step in steps if step.kernel_name not in touched]
    return random.choice(free) if free else None


def _rename(random, steps, touched, tag):
    old = _pick(random, steps, touched)
    if old is None:
        return None
    # A library upgrade may choose another tile: one rename in four changes the geometry.
    grid = old.grid * 2 if random.random() < 0.25 else old.grid
    new = replace(old, kernel_name=f"{tag}_renamed", grid=grid)
    return [_swap(step, old, new, grid) for step in steps], ((old.kernel_name,), (new.kernel_name,))


def _swap(step, old, new, grid):
    if step.kernel_name != old.kernel_name:
        return step
    return replace(step, kernel_name=new.kernel_name, grid=grid)


def _split(random, steps, touched, tag):
    old = _pick(random, steps, touched)
    if old is None:
        return None
    count = random.choice((2, 2, 3))
    pieces = [
        replace(
            old,
            kernel_name=f"{tag}_piece{at}",
            mean_ns=old.mean_ns / count,
            family=old.family if not at else "reduction",
        )
        for at in range(count)
    ]
    head = [part for step in steps for part in (pieces if step.kernel_name == old.kernel_name else [step])]
    return head, ((old.kernel_name,), tuple(piece.kernel_name for piece in pieces))


def _merge(random, steps, touched, tag):
    counts = {step.kernel_name: sum(s.kernel_name == step.kernel_name for s in steps) for step in steps}
    pairs = [
        (a, b)
        for a, b in pairwise(steps)
        if counts[a.kernel_name] == counts[b.kernel_name] == 1 and not {a.kernel_name, b.kernel_name} & touched
    ]
    if not pairs:
        return None
    first, second = random.choice(pairs)
    whole = replace(first, kernel_name=f"{tag}_fused", mean_ns=first.mean_ns + second.mean_ns)
    head = [whole if step is first else step for step in steps if step is not second]
    return head, ((first.kernel_name, second.kernel_name), (whole.kernel_name,))


def _remove(random, steps, touched, tag):
    old = _pick(random, steps, touched)
    if old is None:
        return None
    return [step for step in steps if step.kernel_name != old.kernel_name], ((old.kernel_name,), ())


def _add(random, steps, touched, tag):
    new = Step(f"{tag}_added", family=random.choice(FAMILIES), grid=random.choice((32, 64, 256)))
    at = random.randrange(len(steps) + 1)
    return [*steps[:at], new, *steps[at:]], ((), (new.kernel_name,))


def process_run(steps, repeats, noise, rng):
    """`RunSums` of one process run of kernels that each stand once in a step; much faster than by way of rows."""
    from nsightkit.analysis.compare.comparability import TIMELINE
    from nsightkit.analysis.compare.run_sums import KernelSum, RunSums

    drift = np.exp(rng.normal(0, noise.drift)) if noise.drift else 1.0
    kernels = {}
    for step in steps:
        durations = step.mean_ns * drift * np.exp(rng.normal(0, noise.launch, repeats))
        times = np.maximum(1, np.rint(durations)).astype(np.int64)
        spread = float(((times - times.mean()) ** 2).sum())
        geometry = {f"{step.grid}×1×1 / {step.block}×1×1": repeats}
        kernels[step.kernel_name] = KernelSum(step.kernel_name, repeats, 0, int(times.sum()), spread, geometry)
    names = [step.kernel_name for step in steps]
    followers = {pair: repeats for pair in zip(names, [*names[1:], names[0]], strict=True)}
    return RunSums(TIMELINE, kernels, followers)


@dataclass(frozen=True)
class Trial:
    """One comparison with known truth: `kind` of change of the kernel `changed_name`, and what was found."""

    kind: str
    changed_name: str
    comparison: object


PROGRAM = tuple(
    Step(f"{family}_kernel_{number}", mean_ns=mean, grid=32 * (number + 1), family=family)
    for number, (family, mean) in enumerate(
        (("gemm", 8e4), ("softmax", 1.2e4), ("gelu", 9e3), ("norm", 7e3), ("gemv", 2.5e4), ("copy", 4e3))
    )
)  # fmt: skip


def trial(seed, kind, change, runs=5, noise=Noise(drift=0.02, launch=0.1), tolerance=0.02):
    """Compare two sides that differ in one kernel only: slower by `change`, renamed, or launched more often."""
    from nsightkit.analysis.compare.comparison import ComparedSide, CompareOptions, compare_runs
    from nsightkit.analysis.compare.noise import NoiseOptions

    rng = np.random.default_rng(seed)
    target = PROGRAM[seed % len(PROGRAM)].kernel_name
    base = [process_run(PROGRAM, 40, noise, rng) for _ in range(runs)]
    head_steps = {
        "nothing": PROGRAM,
        "time": changed(
            PROGRAM, target, mean_ns=next(s.mean_ns for s in PROGRAM if s.kernel_name == target) * (1 + change)
        ),
        "name": changed(PROGRAM, target, kernel_name=f"{target.split('_')[0]}_upgraded_v2"),
        "launches": PROGRAM,
    }[kind]
    head = [process_run(head_steps, 40, noise, rng) for _ in range(runs)]
    if kind == "launches":
        head = [_launched_more(run, target, change) for run in head]
    options = CompareOptions(NoiseOptions(tolerance=tolerance, draws=1000))
    found = compare_runs(ComparedSide("base", base), ComparedSide("head", head), options)
    return Trial(kind, target, found)


def _launched_more(run, name, change):
    old = run.kernels[name]
    more = round(old.launch_count * (1 + change))
    scale = more / old.launch_count
    new = replace(
        old,
        launch_count=more,
        total_ns=round(old.total_ns * scale),
        squared_deviation_ns2=old.squared_deviation_ns2 * scale,
        geometries={text: more for text in old.geometries},
    )
    return replace(run, kernels={**run.kernels, name: new})


def write_run(path, rows, counters=(), **info):
    """A run directory that holds `rows` of kernel_launches, and `counters` as rows of kernel_counters."""
    from nsightkit.run import Capture, Run, RunInfo
    from nsightkit.tables import KERNEL_COUNTERS

    run = Run(path)
    notes = info.pop("notes", ())
    scope = info.pop("scope", "whole capture")
    settings = info.pop("settings", {})
    whole = Capture("nsys", "nsys", "2025.1", scope=scope, notes=notes, settings=settings)
    captures = [whole] if rows is not None else []
    if rows is not None:
        kept = rows.drop_columns(["capture_id"])
        parquet.write_table(run.table_path("kernel_launches", "nsys"), KERNEL_LAUNCHES, kept, {"capture_id": "nsys"})
    if counters:
        captures.append(Capture("ncu", "ncu", "2025.1", scope="each profiled kernel launch by itself"))
        names = dict.fromkeys(key for row in counters for key in row)
        columns = {name: [row.get(name) for row in counters] for name in names}
        parquet.write_table(run.table_path("kernel_counters", "ncu"), KERNEL_COUNTERS, columns, {"capture_id": "ncu"})
    run.write_info(RunInfo(name=path.name, captures=tuple(captures), **{"gpu_name": "NVIDIA H100", **info}))
    return path


def counter_row(name, index=0, **metrics):
    """One profiled launch."""
    return {"launch_index": index, "kernel_name": name, "failed": False, "grid_x": 64, "grid_y": 1, "grid_z": 1,
            "block_x": 128, "block_y": 1, "block_z": 1, **metrics}  # fmt: skip


def write_side(folder, steps, runs=5, noise=Noise(0.01, 0.05), seed=0, repeats=20, **info):
    """A folder of run directories: one program, several process runs."""
    for number in range(runs):
        rows = launches(steps, repeats, noise, seed * 1000 + number)
        write_run(folder / f"run-{number}", rows, **info)
    return folder
