"""Reads Nsight Compute reports: .ncu-rep, .ncu-repz and the .nsight-cuprof-report of 2019.

In: a report. Out: kernel_counters, gpus, rule_results, and metric_values where asked for. NVIDIA's `ncu_report` reads
it where installed, else an ncu on PATH prints it as CSV for `ncu_csv`. The container is walked first, as both keep
silent about damage.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nsightkit import metrics
from nsightkit.errors import IngestError, ToolError
from nsightkit.ingest.ncu_container import MAGIC, Container, is_container, walk
from nsightkit.ingest.ncu_rows import (
    CLUSTER_NUMBERS,
    DEVICE_NUMBERS,
    DURATION,
    GPU_NAME,
    STALL_NUMBERS,
    Launch,
    Metric,
    Rule,
    Triple,
    as_int,
    capability_of,
    capture_data,
    without_links,
)
from nsightkit.ingest.ncu_units import to_base
from nsightkit.ingest.reader import CaptureData, Wanted, wants

BACKEND = "ncu"
_FUNCTION, _DEMANGLED = 0, 1
_STRING, _NUMBERS = 2, (3, 4, 5, 6)
_KERNEL = 0
_WORKLOADS = {1: "range", 2: "command list", 3: "graph", 4: "subgrid schedule"}
_RULE_KINDS = {1: "OK", 2: "OPTIMIZATION", 3: "WARNING", 4: "ERROR"}
_SPEEDUP_KINDS = {1: "LOCAL", 2: "GLOBAL"}
_PLACES = ("launch__device_id", "launch__context_id", "launch__stream_id")
_GEOMETRY = tuple(
    f"launch__{what}_{part}" for what in ("grid", "block") for part in ("dim_x", "dim_y", "dim_z", "size")
)


def recognizes(path: Path, head: bytes) -> bool:
    """Say whether `path` begins as a report does, compressed or not."""
    return is_container(head)


def read(paths: tuple[Path, ...], wanted: Wanted) -> CaptureData:
    """Read one report.

    Raises:
        IngestError: the report is damaged, or holds no result.
        ToolError: nothing that can read reports is installed.
    """
    (path,) = paths
    container = walk(path)
    if container.result_count + container.other_result_count == 0:
        raise IngestError(
            f"{path}: the report holds no result: ncu profiled no kernel (check its filters, and that the program ran)",
            slug="ncu-no-results",
        )
    facts = dict(container.facts)
    tool_version = facts.pop("tool_version", None)
    read_with = _read_with_library if importlib.util.find_spec("ncu_report") else _read_with_ncu
    launches, notes = read_with(path, wanted, container)
    return capture_data(launches, wanted, tool_version=tool_version, facts=facts, notes=notes)


def _read_with_ncu(path: Path, wanted: Wanted, container: Container) -> tuple[list[Launch], tuple[str, ...]]:
    # The whole of the CSV reader, which is not needed where the library is there.
    from nsightkit.ingest import ncu_import

    ncu = ncu_import.find_ncu()
    if ncu is None:
        raise ToolError(
            f"{path}: to read a report, either install NVIDIA's reader (pip install 'nsightkit[ncu]') or put ncu of "
            "Nsight Compute on PATH; a CSV made by `ncu --import FILE --csv --page raw` is read without either",
            slug="ncu-report-needs-a-tool",
        )
    with _under_its_suffix(path) as named:
        launches, notes = ncu_import.read_launches(ncu, named, path, with_rules=wants(wanted, "rule_results"))
    _check_count(path, len(launches), container)
    return launches, notes


def _read_with_library(path: Path, wanted: Wanted, container: Container) -> tuple[list[Launch], tuple[str, ...]]:
    import ncu_report

    with _under_its_suffix(path) as named:
        context = ncu_report.load_report(str(named))
        actions = [part.action_by_idx(i) for part in _ranges(context) for i in range(part.num_actions())]
        _check_count(path, len(actions), container)
        reader = _ActionReader(wanted)
        launches = [reader.launch(action) for action in actions]
    return launches, tuple(_notes(actions, launches))


@contextmanager
def _under_its_suffix(path: Path) -> Iterator[Path]:
    """Give a name under which the library opens the file: it tells compressed reports by their suffix alone.

    It takes names in UTF-8 only.
    """
    with path.open("rb") as file:
        compressed = file.read(len(MAGIC)) != MAGIC
    suffix = ".ncu-repz" if compressed else ".ncu-rep"
    fits = path.suffix == suffix or (not compressed and path.suffix != ".ncu-repz")
    if fits and str(path).isprintable():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="nsightkit-") as folder:
        link = Path(folder) / f"report{suffix}"
        try:
            link.symlink_to(path.absolute())
        except OSError:
            shutil.copyfile(path, link)
        yield link


def _ranges(context: Any) -> list[Any]:
    return [context.range_by_idx(i) for i in range(context.num_ranges())]


def _check_count(path: Path, read: int, container: Container) -> None:
    promised = container.result_count
    if read not in (promised, promised + container.other_result_count):
        raise IngestError(
            f"{path}: the report is damaged: it promises {promised} results and {read} can be read, so "
            f"{abs(promised - read)} are missing; copy it again from where it was written, or profile again",
            slug="ncu-report-damaged",
        )


def _notes(actions: list[Any], launches: list[Launch]) -> Iterator[str]:
    kinds = [_WORKLOADS.get(kind, "other") for action in actions if (kind := action.workload_type()) != _KERNEL]
    for kind in sorted(set(kinds)):
        yield f"{kinds.count(kind)} of {len(actions)} results describe a {kind}, not a single kernel"
    failed = sum(launch.failed for launch in launches)
    if failed:
        yield f"{failed} of {len(launches)} launches could not be measured by ncu; their counters are left empty"


class _ActionReader:
    """Reads launches one after the other; what kind a metric has is asked once per name, as asking is slow."""

    def __init__(self, wanted: Wanted) -> None:
        self._with_rules = wants(wanted, "rule_results")
        self._with_metrics = wants(wanted, "metric_values")
        counted = wants(wanted, "kernel_counters")
        self._names = (
            *(sorted(metrics.needed_names()) if counted else ()),
            *(STALL_NUMBERS if wants(wanted, "warp_stalls") else ()),
            *DEVICE_NUMBERS,
            *CLUSTER_NUMBERS,
            *_PLACES,
            *_GEOMETRY,
        )

    def launch(self, action: Any) -> Launch:
        raw = self._numbers(action)
        name = action.name(_DEMANGLED) or action.name(_FUNCTION) or "(no name)"
        device_id, context_id, stream_id = (as_int(raw.get(place)) for place in _PLACES)
        return Launch(
            kernel_name=name,
            function_name=action.name(_FUNCTION) or None,
            failed=_has_failed(action),
            device_id=device_id,
            context_id=context_id,
            stream_id=stream_id,
            grid=_triple(raw, _GEOMETRY[:4]),
            block=_triple(raw, _GEOMETRY[4:]),
            nvtx_path=_nvtx_path(action.nvtx_state()),
            gpu_name=_text(action, GPU_NAME),
            compute_capability=capability_of(raw),
            raw=raw,
            metrics=_all_metrics(action) if self._with_metrics else [],
            rules=_rules(action) if self._with_rules else [],
        )

    def _numbers(self, action: Any) -> dict[str, float]:
        raw = {}
        for name in self._names:
            metric = action.metric_by_name(name)
            # has_value matters: as_double answers 0 where there is none.
            if metric is not None and metric.has_value():
                value = metric.as_double()
                if math.isfinite(value):
                    raw[name] = value
        return raw


def _triple(raw: dict[str, float], names: tuple[str, ...]) -> Triple:
    x, y, z, size = (as_int(raw.get(name)) for name in names)
    # Reports of 2019 hold the product alone; ncu itself shows these as one-dimensional.
    return (size, 1, 1) if x is None and size is not None else (x, y, z)


def _has_failed(action: Any) -> bool:
    """Say whether ncu could not measure the launch: it then writes a duration that is no number."""
    duration = action.metric_by_name(DURATION)
    return duration is not None and duration.has_value() and math.isnan(duration.as_double())


def _text(action: Any, name: str) -> str | None:
    metric = action.metric_by_name(name)
    return (metric.as_string() or None) if metric is not None and metric.has_value() else None


def _nvtx_path(state: Any) -> str | None:
    """Return the push/pop ranges open at the launch, outermost first; those of a named domain as domain@range."""
    if state is None:
        return None
    names: list[str] = []
    for domain_id in state.domains():
        domain = state.domain_by_id(domain_id)
        title = domain.name() or ""
        prefix = "" if title in ("", "<default domain>") else f"{title}@"
        names += [prefix + name for name in domain.push_pop_ranges()]
    return "/".join(names) or None


def _all_metrics(action: Any) -> list[Metric]:
    return [_metric(name, action.metric_by_name(name)) for name in sorted(action.metric_names())]


def _metric(name: str, metric: Any) -> Metric:
    if metric is None or not metric.has_value():
        return Metric(name, None if metric is None else _unit(metric), None)
    if metric.kind() == _STRING:
        return Metric(name, _unit(metric), None, metric.as_string())
    value = float(metric.as_double()) if metric.kind() in _NUMBERS else None
    # A number that could not be measured is kept as such: nan is text, as no column of numbers can tell it from none.
    if value is not None and not math.isfinite(value):
        return Metric(name, _unit(metric), None, str(value))
    return Metric(name, _unit(metric), value)


def _unit(metric: Any) -> str | None:
    return to_base(metric.unit() or "")[1] or None


def _rules(action: Any) -> list[Rule]:
    return [_rule(result) for result in action.rule_results_as_dicts()]


def _rule(result: dict[str, Any]) -> Rule:
    message = result.get("rule_message") or {}
    speedup = result.get("speedup_estimation") or {}
    return Rule(
        section=result.get("section_identifier") or None,
        rule=result["rule_identifier"],
        title=message.get("title"),
        message=without_links(message["message"]) if "message" in message else None,
        kind=_RULE_KINDS.get(message.get("type", 0)),
        speedup_kind=_SPEEDUP_KINDS.get(speedup.get("type", 0)),
        estimated_speedup_pct=speedup.get("speedup"),
    )
