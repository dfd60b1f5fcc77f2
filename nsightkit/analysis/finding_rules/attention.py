"""Whether a slower attention kernel ran where a faster one would have done.

In: the kernels of the attention family. Out: nothing but the reason why it is not said. Kernels can be compared only at
equal shapes, and the shapes of their tensors are not in a capture of nsys or ncu.
"""

from __future__ import annotations

from collections.abc import Iterator

from nsightkit.analysis.findings import FindingInputs, Withheld


def find(inputs: FindingInputs) -> Iterator[Withheld]:
    """Say why two libraries of attention are not compared."""
    seen = {k.library for k in inputs.top_kernels if k.family == "attention"}
    seen |= {k.library for k in inputs.kernels if k.family == "attention"}
    if len(seen) > 1:
        yield Withheld(
            "attention",
            f"attention kernels of {', '.join(sorted(seen))} ran, but at which shapes is not in the capture: their "
            "times are not compared",
        )
