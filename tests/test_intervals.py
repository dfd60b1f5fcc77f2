"""Sets of moments against sets of integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.timeline.intervals import depth_profile, union

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=14)


def interval_set(spans):
    starts = np.array([start for start, _ in spans], np.int64)
    return union(starts, starts + np.array([length for _, length in spans], np.int64))


def moments(spans):
    return {moment for start, length in spans for moment in range(start, start + length)}


def held(intervals):
    return {m for a, b in zip(intervals.start_ns, intervals.end_ns, strict=True) for m in range(a, b)}


@given(SPANS)
def test_union_holds_each_moment_once_in_order(spans):
    found = interval_set(spans)
    assert held(found) == moments(spans)
    assert found.total_ns == len(moments(spans))
    assert (found.start_ns[1:] > found.end_ns[:-1]).all()


@given(SPANS, SPANS)
def test_overlap_and_difference(first, second):
    a, b = interval_set(first), interval_set(second)
    assert held(a.overlap(b)) == moments(first) & moments(second)
    assert held(a.without(b)) == moments(first) - moments(second)
    assert a.overlap(b).total_ns + a.without(b).total_ns == a.total_ns


@given(SPANS, st.lists(st.tuples(st.integers(-5, 60), st.integers(-3, 30)), max_size=8))
def test_how_much_lies_in_a_window(spans, windows):
    starts = np.array([start for start, _ in windows], np.int64)
    ends = starts + np.array([length for _, length in windows], np.int64)
    expected = [len(moments(spans) & set(range(a, b))) for a, b in zip(starts, ends, strict=True)]
    assert interval_set(spans).within(starts, ends).tolist() == expected


@given(SPANS, st.integers(-3, 20), st.integers(20, 60))
def test_gaps_are_the_rest(spans, low, high):
    assert held(interval_set(spans).gaps(low, high)) == set(range(low, high)) - moments(spans)


@given(SPANS)
def test_depth_profile_counts_what_runs_at_once(spans):
    levels = {}
    for moment in moments(spans):
        level = sum(start <= moment < start + length for start, length in spans)
        levels[level] = levels.get(level, 0) + 1
    starts = np.array([start for start, _ in spans], np.int64)
    assert depth_profile(starts, starts + np.array([n for _, n in spans], np.int64)) == levels
