"""How well kernels are matched where the truth is known."""

from nsightkit.analysis.compare.matching import KernelFacts, Side, match_kernels
from nsightkit.analysis.compare.run_sums import sum_launches
from tests.builders.pairs import Noise, launches, match_case

NOISE = Noise(0.03, 0.1)
CHANGES = ("renamed", "split", "merged")


def side_of(steps, seed=0, noise=NOISE):
    """A program as matching sees it after one noisy run."""
    sums = sum_launches(launches(steps, repeats=20, noise=noise, seed=seed))
    families = {step.kernel_name: step.family for step in steps}
    facts = [
        KernelFacts(name, name, families[name], kernel.launch_count, kernel.total_ns, kernel.geometries)
        for name, kernel in sums.kernels.items()
    ]
    return Side(facts, sums.successions)


def score_matching(seeds):
    """Precision and recall of renamed, split and merged kernels over seeded cases, and the number of cases."""
    right = found = true = cases = 0
    for seed in seeds:
        case = match_case(seed)
        matches = match_kernels(side_of(case.base, seed), side_of(case.head, seed + 10_000))
        got = {(m.base, m.head, m.how) for m in matches if m.how in CHANGES}
        truth = {change for change in case.truth if change[2] in CHANGES}
        right, found, true, cases = right + len(got & truth), found + len(got), true + len(truth), cases + 1
    return right / found, right / true, cases
