"""Labels for the kernels of one listing: different kernels may not look alike, equal ones may not look different."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.kernel_names import describe_kernel, tell_apart

TILED = "void warptiling<128, {}, 16>(int, int, float*)"
HOSTILE = ["a<b>|c*", "<script>alert(1)</script>", "line\nbreak", "\x1b[31mred", "", "k" * 10_000, "k" * 10_001]


def test_a_name_alone_is_the_friendly_one():
    names = [TILED.format(64), "void gemmSN_NN_kernel<float, 256>(float*)"]
    assert tell_apart(names) == [describe_kernel(name).friendly for name in names]


def test_template_numbers_that_differ_are_named():
    labels = tell_apart([TILED.format(64), TILED.format(32), "other(float*)"])
    friendly = describe_kernel(TILED.format(64)).friendly
    assert labels == [f"{friendly} [64]", f"{friendly} [32]", describe_kernel("other(float*)").friendly]


def test_words_of_different_number_are_compared_between_what_is_common():
    labels = tell_apart(["f<int, float, 3>(int)", "f<int, float, float, 3>(int)"])
    assert len(set(labels)) == 2
    assert all(label.startswith("f") and label.endswith("]") for label in labels)


def test_equal_names_are_told_apart_by_what_is_beside_them_and_by_no_more_than_needed():
    beside = [("grid 8×1×1", "block 64×1×1"), ("grid 9×1×1", "block 32×1×1")]
    friendly = describe_kernel(TILED.format(64)).friendly
    assert tell_apart([TILED.format(64)] * 2, beside) == [f"{friendly} [grid 8×1×1]", f"{friendly} [grid 9×1×1]"]
    assert tell_apart([TILED.format(64)] * 2, [beside[0]] * 2) == [friendly, friendly]


def test_names_that_differ_beyond_what_is_read_get_a_number():
    long = "k<" + "int, " * 5000
    labels = tell_apart([long + "1>()", long + "2>()"])
    assert len(set(labels)) == 2
    assert all(len(label) < 200 for label in labels)


def test_nothing_gives_nothing():
    assert tell_apart([]) == []


@given(st.lists(st.sampled_from([*HOSTILE, *(TILED.format(n) for n in range(5)), "f<1>(int)", "f<1,2>(int)"])))
def test_labels_are_equal_exactly_where_full_names_are(names):
    labels = tell_apart(names)
    assert len(labels) == len(names)
    for one, label in zip(names, labels, strict=True):
        for other, beside in zip(names, labels, strict=True):
            assert (label == beside) == (one == other)


@pytest.mark.parametrize("count", [2, 300])
def test_many_kernels_of_one_friendly_name(count):
    assert len(set(tell_apart([TILED.format(n) for n in range(count)]))) == count
