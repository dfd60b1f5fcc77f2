"""Puts together what several printed pages say of one launch.

In: records of raw and details pages, each with the file that it comes from. Out: `Launch` values, and the conflicts.
Records with equal ID, kernel, grid, block, process and device are one launch, whichever file they lie in.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nsightkit import metrics
from nsightkit.ingest.ncu_numbers import NumberFormat, is_missing
from nsightkit.ingest.ncu_rows import DURATION, GPU_NAME, Launch, Metric, Rule, Triple, capability_of, without_links
from nsightkit.ingest.ncu_units import to_base

_NAMED_SECTIONS = ("Command line profiler metrics", "section0")
_RULE_KINDS = {"OPT": "OPTIMIZATION", "WRN": "WARNING", "ERR": "ERROR", "INF": "OK", "OK": "OK"}
_KEY_COLUMNS = ("ID", "Process ID", "Kernel Name", "Grid Size", "Block Size", "Device")
_RANGE = re.compile(r'"((?:[^"]|"(?!\s|$))*)"')
# name:payload type:payload:color type:color:message type:message, where the message mostly repeats the name.
_NVTX = re.compile(r"(?P<name>.*):[^:]*:[^:]*:[^:]*:[^:]*:[^:]*:(?:(?P=name)|none)", re.DOTALL)

LaunchKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as printed: in base units, with half a unit of its last digit, or as text; and the file it is from."""

    unit: str
    value: float | None
    band: float
    text: str | None
    file: str

    def agrees_with(self, other: Reading) -> bool:
        """Say whether two readings can be of one value."""
        if self.value is None or other.value is None:
            return self.text == other.text or self.is_missing or other.is_missing
        if math.isnan(self.value) or math.isnan(other.value):
            return math.isnan(self.value) == math.isnan(other.value)
        # A billionth for what is printed in full twice.
        return abs(self.value - other.value) <= (self.band + other.band) * 1.001 + 1e-9 * abs(self.value)

    @property
    def is_missing(self) -> bool:
        """Whether ncu printed that there is no value."""
        return self.value is None and self.text is None


@dataclass
class GatheredLaunch:
    """What the pages said of one launch so far: the cells that identify it, metrics, known labels, rules."""

    identity: Mapping[str, str]
    readings: dict[str, Reading] = field(default_factory=dict)
    labeled: dict[str, Reading] = field(default_factory=dict)
    rules: dict[str, list[Rule]] = field(default_factory=dict)


@dataclass
class Merger:
    """Gathers records by launch, in the order in which launches are first seen."""

    _launches: dict[LaunchKey, GatheredLaunch] = field(default_factory=dict)
    conflicts: dict[str, None] = field(default_factory=dict)

    def gathered(self, identity: Mapping[str, str]) -> GatheredLaunch:
        """Return the launch that the identifying cells of a record stand for."""
        key = tuple(identity.get(column, "") for column in _KEY_COLUMNS)
        return self._launches.setdefault(key, GatheredLaunch(identity))

    def add_named(self, launch: GatheredLaunch, name: str, reading: Reading) -> None:
        """Add a metric under ncu's own name."""
        self._add(launch, name, reading, repeats=False)

    def add_labeled(self, launch: GatheredLaunch, place: tuple[str, str, str], reading: Reading) -> None:
        """Add a metric of a details page that has a label only; `place` is its section, chart line and label."""
        section, line, label = place
        shown = f"{line}/{label}" if line else label
        name = metrics.name_of_label(section, shown, reading.unit)
        if name is not None:
            launch.labeled.setdefault(name, reading)
        # Tables within a section repeat their labels: only another file can contradict.
        self._add(launch, f"{section}/{shown}", reading, repeats=True)

    def _add(self, launch: GatheredLaunch, name: str, reading: Reading, *, repeats: bool) -> None:
        known = launch.readings.setdefault(name, reading)
        if known is reading or (repeats and known.file == reading.file):
            return
        if not known.agrees_with(reading):
            self.conflicts[_conflict(launch, name, known, reading)] = None
        elif known.is_missing or (reading.value is not None and reading.band < known.band):
            launch.readings[name] = reading

    def launches(self) -> list[Launch]:
        """Return the launches."""
        return [_launch(gathered) for gathered in self._launches.values()]


def _conflict(launch: GatheredLaunch, name: str, known: Reading, other: Reading) -> str:
    kernel = launch.identity.get("Kernel Name", "")
    return (
        f"launch {launch.identity.get('ID', '?')} ({kernel[:60]}{'…' if len(kernel) > 60 else ''}): {name} is "
        f"{_shown(known)} in {known.file} and {_shown(other)} in {other.file}; the first is used"
    )


def _shown(reading: Reading) -> str:
    value = reading.text if reading.value is None else f"{reading.value:.10g}"
    return f"{value} {reading.unit}".strip()


def reading_of(text: str, unit: str, numbers: NumberFormat, file: str) -> Reading:
    """Return a printed value in base units; numbers that are no such are kept as text."""
    factor, base = to_base(unit)
    if is_missing(text):
        return Reading(base, None, 0.0, None, file)
    number = numbers.read(text)
    if number is None:
        return Reading(base, None, 0.0, text, file)
    value, band = number
    return Reading(base, value * factor, band * factor, None, file)


def rule_of(cells: Mapping[str, str], numbers: NumberFormat) -> Rule:
    """Return the finding in a record of a details page."""
    speedup = numbers.read(cells.get("Estimated Speedup", ""))
    message = cells.get("Rule Description", "")
    return Rule(
        section=cells.get("Section Name") or None,
        rule=cells["Rule Name"],
        message=without_links(message) or None,
        kind=_RULE_KINDS.get(cells.get("Rule Type", "")),
        speedup_kind=cells.get("Estimated Speedup Type", "").upper() or None,
        estimated_speedup_pct=None if speedup is None else speedup[0],
    )


def is_metric_name(section: str, name: str) -> bool:
    """Say whether a details page gives ncu's name of a metric rather than a label."""
    return section in _NAMED_SECTIONS or "__" in name


def _launch(gathered: GatheredLaunch) -> Launch:
    identity = gathered.identity
    # What the page names outweighs what is known by its label.
    readings = gathered.labeled | gathered.readings
    raw = {name: r.value for name, r in readings.items() if r.value is not None and math.isfinite(r.value)}
    duration = readings.get(DURATION)
    failed = duration is not None and duration.value is not None and math.isnan(duration.value)
    gpu_name = readings.get(GPU_NAME)
    capability = identity.get("CC", "")
    return Launch(
        kernel_name=identity.get("Kernel Name", "").strip() or "(no name)",
        failed=failed,
        device_id=_whole(identity.get("Device")),
        context_id=_whole(identity.get("Context")),
        stream_id=_whole(identity.get("Stream")),
        grid=_triple(identity.get("Grid Size"), raw, "grid", failed),
        block=_triple(identity.get("Block Size"), raw, "block", failed),
        nvtx_path=_nvtx_path(identity),
        gpu_name=gpu_name.text if gpu_name else None,
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else capability_of(raw),
        raw=raw,
        metrics=[_metric(name, reading) for name, reading in gathered.readings.items()],
        rules=_once_each(gathered.rules.values()),
    )


def _once_each(by_file: Iterable[Sequence[Rule]]) -> list[Rule]:
    """Return the findings of all files; one that several files repeat counts as often as in the fullest of them."""
    kept: Counter[Rule] = Counter()
    for rules in by_file:
        kept |= Counter(rules)
    return list(kept.elements())


def _metric(name: str, reading: Reading) -> Metric:
    value, text = reading.value, reading.text
    if value is not None and not math.isfinite(value):
        value, text = None, str(value)
    return Metric(name, reading.unit or None, value, text)


def _whole(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _triple(text: str | None, raw: Mapping[str, float], what: str, failed: bool) -> Triple:
    """Return the three sizes from `(128, 1, 1)`, else from metrics; none for a failed launch."""
    if failed:
        return None, None, None
    parts = [_whole(part) for part in (text or "").strip().strip("()").split(",")]
    if len(parts) == 3:
        x, y, z = parts
    else:
        x, y, z = (_whole(f"{raw.get(f'launch__{what}_dim_{axis}', -1):.0f}") for axis in "xyz")
    return x, y, z


def _nvtx_path(identity: Mapping[str, str]) -> str | None:
    column = next((name for name in identity if "Push/Pop_Range" in name), None)
    ranges = _RANGE.findall(identity[column]) if column else []
    return "/".join(filter(None, map(_range_name, ranges))) or None


def _range_name(text: str) -> str:
    """Return the name in `domain:name:…`, with the domain where it has a name."""
    domain, _, rest = text.partition(":")
    match = _NVTX.fullmatch(rest)
    name = match["name"] if match else rest.partition(":")[0]
    return name if domain in ("", "<default domain>") else f"{domain}@{name}"
