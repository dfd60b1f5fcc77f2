"""How often `nsightkit compare` errs where the truth is known: run ``python benchmarks/simulate_compare.py [TRIALS]``.

One kernel of six changes (nothing, time, name, launches), under a drift of each process run and noise of each launch.
A false alarm is a verdict faster or slower for what did not change. Power is the share of changes that are found, of
the size that was stated as the smallest that could have been seen. Everything is seeded.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.builders.matching_score import score_matching
from tests.builders.pairs import Noise, trial

CHANGED = ("faster", "slower")
SETTINGS = (
    ("drift 2 %, launches 10 %, tolerance 2 %", {}),
    ("drift 2 %, launches 10 %, tolerance 0", {"tolerance": 0.0}),
    ("drift 5 %, launches 2 %, tolerance 0", {"tolerance": 0.0, "noise": Noise(0.05, 0.02)}),
    ("no drift, launches 40 %, tolerance 0", {"tolerance": 0.0, "noise": Noise(0.0, 0.4)}),
    ("drift 2 %, launches 10 %, tolerance 0, 10 runs", {"tolerance": 0.0, "runs": 10}),
    ("drift 0.5 %, launches 2 %, tolerance 2 %", {"noise": Noise(0.005, 0.02)}),
)


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    bad = False
    print(f"{trials} trials a line; false alarm = whole run | any unchanged kernel; 95 % upper bound in brackets")
    for words, setting in SETTINGS:
        figures = simulate(trials, setting)
        bad |= any(upper_bound(figures[key], trials) > 0.065 for key in ("whole", "kernels")) or figures["power"] < 0.8
        power = f"power {figures['power']:.3f} at +{figures['smallest']:.3f}"
        print(
            f"{words:50} whole {figures['whole']:.4f} [{upper_bound(figures['whole'], trials):.4f}]  kernels "
            f"{figures['kernels']:.4f} [{upper_bound(figures['kernels'], trials):.4f}]  {power}  "
            f"renamed found {figures['renamed']:.3f}  inconclusive (nothing changed) "
            f"{figures['inconclusive']:.3f}"
        )
    precision, recall, cases = score_matching(range(200))
    print(f"matching over {cases} cases: precision {precision:.3f}, recall {recall:.3f}")
    return 1 if bad else 0


def simulate(trials: int, setting: dict[str, object]) -> dict[str, float]:
    counts = dict.fromkeys(("whole", "kernels", "found", "tried", "renamed", "names", "inconclusive"), 0)
    smallest_sum = 0.0
    for seed in range(trials):
        null = trial(seed, "nothing", 0.0, **setting)
        counts["whole"] += null.comparison.whole.verdict in CHANGED
        counts["inconclusive"] += null.comparison.whole.verdict == "inconclusive"
        # One kernel of other runs changes by exactly what this comparison said it could have seen.
        target = next(row for row in null.comparison.kernels if row.base.kernel_names == (null.changed_name,))
        smallest = target.estimate.smallest_ratio - 1
        smallest_sum += smallest
        kind = ("time", "launches", "name")[seed // 6 % 3]
        other = trial(seed + 6_000_000, kind, smallest, **setting)
        rows = {row.base.kernel_names: row for row in other.comparison.kernels}
        row = rows.pop((other.changed_name,))
        counts["kernels"] += any(row.verdict in CHANGED for row in rows.values())
        if kind == "name":
            counts["names"] += 1
            counts["renamed"] += row.how == "renamed"
        else:
            counts["tried"] += 1
            counts["found"] += row.verdict == "slower"
    return {
        "whole": counts["whole"] / trials,
        "kernels": counts["kernels"] / trials,
        "power": counts["found"] / counts["tried"],
        "renamed": counts["renamed"] / max(1, counts["names"]),
        "inconclusive": counts["inconclusive"] / trials,
        "smallest": smallest_sum / trials,
    }


def upper_bound(share: float, trials: int) -> float:
    """One-sided 95 % bound of a share (Wilson)."""
    z = 1.645
    center = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return (center + half) / (1 + z * z / trials)


if __name__ == "__main__":
    raise SystemExit(main())
