"""Finds the largest number that fits: by doubling, then by bisection.

In: a question that says of a number why it does not fit, or that it does. Out: `Found`. Memory is judged by trying,
since an allocator's losses are in no formula.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch

# The words that torch's allocators use where the class says only RuntimeError.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


@dataclass(frozen=True)
class Found:
    """The largest number that fitted (0: none), the smallest that did not, why, and all that were tried in order."""

    largest: int
    refused: int | None
    reason: str
    tried: tuple[int, ...]


def largest_that_fits(misfit: Callable[[int], str | None], most: int) -> Found:
    """Return the largest number of 1 to `most` that fits; `misfit` returns the reason why one does not, else None.

    What fits is taken to fit in every smaller number too.
    """
    tried: list[int] = []

    def ask(number: int) -> str | None:
        tried.append(number)
        return misfit(number)

    fits, number, reason = 0, 1, None
    while fits < most and (reason := ask(number)) is None:
        fits, number = number, min(2 * number, most)
    if reason is None:
        return Found(fits, None, f"{most} is the most that was asked for", tuple(tried))
    refused = number
    while refused - fits > 1:
        middle = (fits + refused) // 2
        if (why := ask(middle)) is None:
            fits = middle
        else:
            refused, reason = middle, why
    return Found(fits, refused, reason, tuple(tried))


def ran_out(error: BaseException) -> bool:
    """Return whether `error` says that memory was used up, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _OUT_OF_MEMORY)


def misfit_of(work: Callable[[], object]) -> str | None:
    """Do `work`; return why it does not fit in memory, None where it does. Memory that it held is given back.

    Raises:
        RuntimeError: it failed for another reason.
    """
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return "out of memory"
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return None
