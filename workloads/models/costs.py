"""What the phases of a decoding cost on paper, for `annotate.state_work`.

In: the shape of the model and the options of the workload. Out: FLOP and bytes of the prefill and of each decode step.
"""

import argparse
from dataclasses import dataclass

from models.memory import on_paper
from nsightkit.analysis.work.paper_model import Cost, Work, prefill_cost, step_costs


@dataclass(frozen=True)
class PhaseCosts:
    """The prompt's forward pass, and one a decode step."""

    prefill: Cost
    steps: tuple[Cost, ...]


def phase_costs(options: argparse.Namespace) -> PhaseCosts:
    """Return the costs of `options`, which has the shape, the work and the dtype."""
    shape = on_paper(options.shape)
    work = Work(options.batch_size, options.prompt_len, options.max_new_tokens, options.kv_cache, options.dtype)
    return PhaseCosts(prefill_cost(shape, work), tuple(step_costs(shape, work)))
