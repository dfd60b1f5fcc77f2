"""Says what the range that is open has to do, so that a timeline alone gives it a place under the roofline.

In: operations and bytes as the program knows them, from its own sizes. Out: two NVTX marks in the default domain, with
constant text and the number as payload. They are read by `analysis/work/stated_work.py`.
"""

from __future__ import annotations

import nvtx

FLOP_MARK = "nsightkit.work flop {dtype}"
BYTES_MARK = "nsightkit.work bytes"
DTYPES = ("float64", "float32", "tfloat32", "bfloat16", "float16", "float8", "int8")


def state_work(flop: float, moved_bytes: float, dtype: str) -> None:
    """State the work of the innermost open range of this thread; it may be called more than once, the sums count.

    >>> state_work(flop=2.0e9, moved_bytes=1.5e8, dtype="bfloat16")

    Args:
        flop: floating-point operations (operations for int8), multiply and add counted as two.
        moved_bytes: compulsory traffic of the GPU's memory.
        dtype: one of `DTYPES`, in which the products are computed.

    Raises:
        ValueError: there is no such type, or a number is negative.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype '{dtype}' is not one of {', '.join(DTYPES)}")
    if not (flop >= 0 and moved_bytes >= 0):
        raise ValueError(f"work of {flop} FLOP and {moved_bytes} bytes cannot be")
    nvtx.mark(FLOP_MARK.format(dtype=dtype), payload=float(flop))
    nvtx.mark(BYTES_MARK, payload=float(moved_bytes))
