"""The innermost range around a moment and every range around it, against a search of all ranges."""

import random

import numpy as np
import pytest

from nsightkit.analysis.ranges import range_forest
from nsightkit.analysis.ranges.range_forest import build_forest
from nsightkit.errors import AnalysisError

FORESTS = 3000


def nested(rng, lanes, domains):
    """Ranges that nest within a domain; those of two domains may cross. Ties and empty ranges are frequent."""
    found = []

    def grow(lane, moment, depth):
        start = moment
        moment += rng.choice([0, 0, 1, 2])
        for _ in range(rng.randint(0, 3) if depth < 4 else 0):
            moment = grow(lane, moment, depth + 1) + rng.choice([0, 0, 1, 3])
        found.append((lane, start, moment))
        return moment

    for lane in range(lanes):
        if rng.random() < 0.2:
            continue  # a thread without ranges
        for _ in range(domains):
            moment = rng.randint(0, 5)
            for _ in range(rng.randint(0, 4)):
                moment = grow(lane, moment, 0) + rng.choice([0, 0, 1])
    return found


def anything(rng, lanes):
    """Ranges without any order, most of which cross."""
    starts = [rng.randint(0, 30) for _ in range(rng.randint(0, 25))]
    return [(rng.randrange(lanes), start, start + rng.choice([0, 0, 1, 2, 5, 9])) for start in starts]


def case(seed):
    rng = random.Random(seed)
    lanes = rng.randint(1, 4)
    ranges = nested(rng, lanes, rng.choice([1, 1, 2, 3])) if seed % 2 else anything(rng, lanes)
    rng.shuffle(ranges)
    queries = [(rng.randint(-1, lanes), start, start + rng.choice([0, 0, 1, 2, 7]))
               for start in (rng.randint(-3, 45) for _ in range(100))]  # fmt: skip
    return np.array(ranges, np.int64).reshape(-1, 3), np.array(queries, np.int64)


def around(ranges, lane, start, end):
    return [i for i, (own, begin, last) in enumerate(ranges) if own == lane and begin <= start and last >= end]


@pytest.mark.parametrize("block", range(8))
def test_forest_equals_a_search_of_all_ranges(block):
    for seed in range(block * FORESTS // 8, (block + 1) * FORESTS // 8):
        given, queries = case(seed)
        forest = build_forest(given[:, 0], given[:, 1], given[:, 2])
        ranges = list(zip(forest.lane.tolist(), forest.start_ns.tolist(), forest.end_ns.tolist(), strict=True))
        assert ranges == [tuple(row) for row in given[forest.row].tolist()]
        assert ranges == sorted(ranges, key=lambda r: (r[0], r[1], -r[2]))
        expected = [around(ranges, *query) for query in queries.tolist()]
        found = forest.innermost(queries[:, 0], queries[:, 1], queries[:, 2])
        assert found.tolist() == [hit[-1] if hit else -1 for hit in expected], seed
        stacks = [[] for _ in expected]
        while (found >= 0).any():
            for query in np.flatnonzero(found >= 0):
                stacks[query].insert(0, int(found[query]))
            found = forest.next_outer(found, queries[:, 2])
        assert stacks == expected, seed
        assert forest.crossing_count == crossings(ranges), seed
        check_parents(forest, ranges)


@pytest.mark.parametrize("most_turns", [0, 100])
@pytest.mark.parametrize("in_order", [True, False])
def test_blocks_of_calls_find_what_a_search_finds(monkeypatch, most_turns, in_order):
    monkeypatch.setattr(range_forest, "CHUNK", 7)
    monkeypatch.setattr(range_forest, "_MOST_TURNS", most_turns)
    for seed in range(200):
        given, calls = case(seed)
        lanes = int(given[:, 0].max(initial=-1)) + 1
        calls = calls[np.argsort(calls[:, 1], kind="stable")] if in_order else calls
        lane = np.where(calls[:, 0] < lanes, calls[:, 0], -1).astype(np.int32)
        work = np.random.default_rng(seed).integers(-1, lane.size, 60).astype(np.int32)
        forest = build_forest(given[:, 0], given[:, 1], given[:, 2])
        ranges = list(zip(forest.lane.tolist(), forest.start_ns.tolist(), forest.end_ns.tolist(), strict=True))
        hits = [around(ranges, int(lane[row]), *calls[row, 1:].tolist()) if row >= 0 else [] for row in work]
        found = forest.innermost_of_calls(work, lane, calls[:, 1], calls[:, 2])
        assert found.tolist() == [hit[-1] if hit else -1 for hit in hits], seed


def test_parents_of_a_deep_stack_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr(range_forest, "CHUNK", 5)
    deep = [(0, start, 100 - start) for start in range(20)]
    given = np.array(deep + [(0, 200 + 9 * i, 204 + 9 * i) for i in range(9)])
    forest = build_forest(given[:, 0], given[:, 1], given[:, 2])
    assert forest.parent.tolist() == [*range(-1, 19), *[-1] * 9]
    assert forest.depth.tolist() == [*range(20), *[0] * 9]


def crossings(ranges):
    return sum(
        any(own == lane and begin <= start < last < end for own, begin, last in ranges[:place])
        for place, (lane, start, end) in enumerate(ranges)
    )


def check_parents(forest, ranges):
    depths = []
    for place, one in enumerate(ranges):
        before = around(ranges[:place], *one)
        assert forest.parent[place] == (before[-1] if before else -1)
        depths.append(depths[before[-1]] + 1 if before else 0)
    assert forest.depth.tolist() == depths


def test_of_two_equal_ranges_the_later_row_is_inside():
    forest = build_forest(np.zeros(2, np.int64), np.array([5, 5]), np.array([9, 9]))
    assert forest.row.tolist() == [0, 1]
    assert forest.parent.tolist() == [-1, 0]
    assert forest.innermost(np.zeros(1, np.int64), np.array([5]), np.array([9])).tolist() == [1]


def test_no_ranges_enclose_nothing():
    none = np.zeros(0, np.int64)
    forest = build_forest(none, none, none)
    assert forest.innermost(np.zeros(2, np.int64), np.array([1, 2]), np.array([1, 2])).tolist() == [-1, -1]


def test_a_damaged_clock_is_refused():
    with pytest.raises(AnalysisError) as caught:
        build_forest(np.array([0, 7]), np.array([0, 0]), np.array([10, (1 << 62) - 1]))
    assert caught.value.slug == "damaged-clock"
