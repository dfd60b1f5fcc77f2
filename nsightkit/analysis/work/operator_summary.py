"""Framework operators by the CPU time that is their own.

In: rows of `cpu_operators` (torch.profiler). Out: `OperatorSummary` records, longest own time first. An operator's own
time is its duration less that of the operators it called on the same thread, so the own times add up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nsightkit.analysis import durations
from nsightkit.analysis.results import OperatorSummary

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("operator_name", "duration_ns", "self_ns")


def summarize_operators(operators: pa.Table, tokens: int | None = None) -> list[OperatorSummary]:
    """Return one record an operator, longest own time first.

    Args:
        operators: rows of `cpu_operators`; calls without a duration or own time are left out.
        tokens: tokens that the captured work produced, for `per_token_ns`.
    """
    codes, names = durations.words(operators["operator_name"])
    known = durations.present(operators["duration_ns"]) & durations.present(operators["self_ns"]) & (codes >= 0)
    if not known.any():
        return []
    group, of_group = durations.dense([codes[known]])
    own = durations.by_group(group, durations.integers(operators["self_ns"])[known], len(of_group))
    whole = durations.by_group(group, durations.integers(operators["duration_ns"])[known], len(of_group))
    everything = int(np.sum(own.totals))
    found = [
        OperatorSummary(
            operator_name=names[code],
            call_count=int(own.counts[at]),
            self_ns=int(own.totals[at]),
            total_ns=int(whole.totals[at]),
            share=int(own.totals[at]) / everything if everything else 0.0,
            mean_ns=float(whole.means[at]),
            per_token_ns=int(own.totals[at]) / tokens if tokens else None,
        )
        for at, (code,) in enumerate(of_group)
    ]
    return sorted(found, key=lambda operator: (-operator.self_ns, operator.operator_name))
