"""What to run so that a verdict that is UNKNOWN gets what it lacks.

In: the canonical metrics that are missing. Out: the shortest options of ncu that collect them, in words. Sections and
sets are named rather than metrics, as ncu takes the spelling of each from the chip.

Source: sets and metrics of the section files of ncu 2024.1 and 2025.3.1.
"""

from collections.abc import Iterable, Mapping

SPEED_OF_LIGHT, LAUNCH = "SpeedOfLight", "LaunchStats"
ROOFLINE = "SpeedOfLight_RooflineChart"
HALF = "SpeedOfLight_HierarchicalHalfRooflineChart"
TENSOR = "SpeedOfLight_HierarchicalTensorRooflineChart"
CACHES = "SpeedOfLight_HierarchicalSingleRooflineChart"
_SECTIONS: Mapping[str, str] = {
    "duration_ns": SPEED_OF_LIGHT,
    "sm_throughput_pct": SPEED_OF_LIGHT,
    "memory_throughput_pct": SPEED_OF_LIGHT,
    "dram_throughput_pct": SPEED_OF_LIGHT,
    "waves_per_sm": LAUNCH,
    "dram_bytes": ROOFLINE,
    "peak_dram_bytes_per_s": ROOFLINE,
    "fp64_flop": ROOFLINE,
    "fp32_flop": ROOFLINE,
    "peak_fp64_flop_per_s": ROOFLINE,
    "peak_fp32_flop_per_s": ROOFLINE,
    "fp16_flop": HALF,
    "peak_fp16_flop_per_s": HALF,
    "l2_bytes": CACHES,
    "peak_l2_bytes_per_s": CACHES,
}
# Without both of these NVIDIA's thresholds give no verdict.
_NEEDED = {"sm_throughput_pct", "memory_throughput_pct"}
# Throughputs alone give a verdict; these name the cause of latency beside them.
_THROUGHPUTS = (SPEED_OF_LIGHT, LAUNCH)
# The set `roofline` holds every roofline chart and SpeedOfLight, so it is shorter than three of its sections.
_MOST_SECTIONS = 2


def remedy(missing: Iterable[str]) -> str:
    """Return "collect them with: ncu …" for the canonical metrics in `missing`, "" where ncu has nothing for them.

    >>> remedy(["sm_throughput_pct", "memory_throughput_pct"])
    'collect them with: ncu --section SpeedOfLight'
    """
    missing = tuple(missing)
    wanted = list(dict.fromkeys(section for name in missing if (section := _section(name))))
    if not wanted:
        return ""
    charts = [section for section in wanted if section not in _THROUGHPUTS]
    chosen = [f"--section {section}" for section in wanted]
    if len(charts) > _MOST_SECTIONS or (len(charts) == _MOST_SECTIONS and SPEED_OF_LIGHT in wanted):
        chosen = ["--set roofline", *([f"--section {LAUNCH}"] if LAUNCH in wanted else [])]
    later = " (tensor work: ncu 2025 or later)" if TENSOR in wanted else ""
    enough = f"; for a verdict without a place: ncu --section {SPEED_OF_LIGHT}" if _NEEDED & set(missing) else ""
    return f"collect them with: ncu {' '.join(chosen)}{later}{enough if charts else ''}"


def _section(name: str) -> str | None:
    if name.startswith(("tensor_", "peak_tensor_")):
        return TENSOR
    return _SECTIONS.get(name)
