"""Why the sums of two sides are not of the same work, and so are described and not judged.

In: the values of one line on both sides. Out: flags, in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsightkit.analysis.compare.comparability import COUNTED

if TYPE_CHECKING:
    from nsightkit.analysis.compare.comparison import SideValues

OTHER_GEOMETRY = "other launch geometry: not the same work"
OTHER_COUNT = "another number of launches was profiled: compare the time per launch"
UNTIMED = "launches without a duration are in no total: compare the time per launch"


def flags_of(base: SideValues, head: SideValues, basis: str, is_kernel: bool) -> tuple[str, ...]:
    """Return why two sums cannot be held against each other; nothing for what one side alone has.

    Which launches are profiled with counters is a choice, so another choice is no change. A total that lacks launches
    is smaller than the truth, whoever made it.
    """
    if not base.kernel_names or not head.kernel_names:
        return ()
    untimed = (UNTIMED,) if any(side.sum_timed < side.sum_launches for side in (base, head)) else ()
    if basis != COUNTED:
        return untimed
    if is_kernel and base.geometries and head.geometries and not set(base.geometries) & set(head.geometries):
        return (OTHER_GEOMETRY, *untimed)
    return untimed if base.launch_count == head.launch_count else (OTHER_COUNT, *untimed)
