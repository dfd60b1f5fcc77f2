from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsightkit.analysis.compare.matching import KernelFacts, Side, match_kernels
from tests.builders.matching_score import score_matching, side_of
from tests.builders.pairs import Step, changed, match_case

STEPS = (
    Step("norm_a", 7_000, family="norm"),
    Step("gemm_a", 80_000, grid=256, family="GEMM"),
    Step("gelu_a", 9_000, family="activation"),
    Step("gemm_b", 70_000, grid=256, family="GEMM"),
    Step("add_a", 4_000, family="elementwise"),
)


def found(base, head):
    matches = match_kernels(side_of(base), side_of(head))
    assert sorted(n for m in matches for n in m.base) == sorted({s.kernel_name for s in base})
    assert sorted(n for m in matches for n in m.head) == sorted({s.kernel_name for s in head})
    return {(m.base, m.head, m.how) for m in matches if m.how != "same"}


def test_a_program_against_itself_is_all_the_same():
    assert found(STEPS, STEPS) == set()


def test_a_renamed_kernel_is_found_by_its_place():
    head = changed(STEPS, "gemm_a", kernel_name="sm90_xmma_v2")
    assert found(STEPS, head) == {(("gemm_a",), ("sm90_xmma_v2",), "renamed")}


def test_a_renamed_kernel_has_a_confidence_and_its_grounds():
    head = changed(STEPS, "gemm_a", kernel_name="sm90_xmma_v2", grid=128)
    match = next(m for m in match_kernels(side_of(STEPS), side_of(head)) if m.how == "renamed")
    assert 0.65 <= match.confidence < 1
    assert "order 1.00" in match.grounds
    assert "geometry 0.00" in match.grounds


def test_two_neighbors_renamed_at_once_are_not_exchanged():
    head = changed(changed(STEPS, "gemm_a", kernel_name="v2_x"), "gelu_a", kernel_name="v2_y")
    assert found(STEPS, head) == {(("gemm_a",), ("v2_x",), "renamed"), (("gelu_a",), ("v2_y",), "renamed")}


def test_split_and_merged():
    pieces = [Step("splitk_part", 60_000, grid=256, family="GEMM"), Step("splitk_reduce", 20_000, family="reduction")]
    head = [STEPS[0], *pieces, *STEPS[2:]]
    names = ("splitk_part", "splitk_reduce")
    assert found(STEPS, head) == {(("gemm_a",), names, "split")}
    assert found(head, STEPS) == {(names, ("gemm_a",), "merged")}


def test_new_and_gone_are_always_there():
    head = [*STEPS[:2], Step("transpose_v9", 3_000, family="copy"), *STEPS[2:]]
    assert found(STEPS, head) == {((), ("transpose_v9",), "new")}
    assert found(head, STEPS) == {(("transpose_v9",), (), "gone")}


def test_a_kernel_renamed_beside_a_new_one_is_no_split():
    head = [
        STEPS[0],
        Step("v2_gemm", 80_000, grid=256, family="GEMM"),
        Step("debug_copy", 50_000, family="copy"),
        *STEPS[2:],
    ]
    assert found(STEPS, head) == {(("gemm_a",), ("v2_gemm",), "renamed"), ((), ("debug_copy",), "new")}


def facts(name, **more):
    known = {"family": "GEMM", "launch_count": 12, "total_ns": 12_000, "geometries": {"1×1×1 / 64×1×1": 12}}
    return KernelFacts(name, name, **{**known, **more})


def test_the_same_gemms_in_other_layers_are_not_paired():
    """Equal shape, count, family and place, but in other ranges: a pairing by place alone would pass every check."""
    base = Side([facts("gemm_old", paths=frozenset({"model/layer.0"}))])
    head = Side([facts("gemm_new", paths=frozenset({"model/layer.7"}))])
    assert {m.how for m in match_kernels(base, head)} == {"gone", "new"}
    same = Side([facts("gemm_new", paths=frozenset({"model/layer.0"}))])
    assert [m.how for m in match_kernels(base, same)] == ["renamed"]


def test_one_kernel_that_moved_to_other_ranges_says_so():
    base = Side([facts("gemm", paths=frozenset({"layer.0"}))])
    head = Side([facts("gemm", paths=frozenset({"layer.7"}))])
    [match] = match_kernels(base, head)
    assert (match.how, match.grounds) == ("same", ("runs in other NVTX ranges",))


def test_other_families_are_never_paired():
    base = Side([KernelFacts("a", "a", "GEMM", 5, 500)])
    head = Side([KernelFacts("b", "b", "softmax", 5, 500)])
    assert {m.how for m in match_kernels(base, head)} == {"gone", "new"}


def test_two_equal_candidates_are_ambiguous_and_left():
    base = Side([facts("old")])
    head = Side([facts("twin_x"), facts("twin_y")])
    assert {m.how for m in match_kernels(base, head)} == {"gone", "new"}


def test_names_that_differ_only_as_tools_print_them_are_one():
    base = Side([KernelFacts("ns::f<(int)1>", "f<1>")])
    head = Side([KernelFacts("f<1>", "f<1>"), KernelFacts("void f<1>", "f<1>")])
    [match] = match_kernels(base, head)
    assert match.head == ("f<1>", "void f<1>")


@pytest.mark.parametrize("name", ["a<b>|c*", "<script>alert(1)</script>", "x\ny", "\x1b[31mred", "k" * 10_000, ""])
def test_hostile_names_are_kept_as_they_are(name):
    matches = match_kernels(Side([facts(name)]), Side([facts(name + "_v2")]))
    assert sorted(n for m in matches for n in m.base) == [name]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_kernel_stands_in_exactly_one_match(seed):
    case = match_case(seed)
    matches = match_kernels(side_of(case.base), side_of(case.head))
    assert sorted(n for m in matches for n in m.base) == sorted({step.kernel_name for step in case.base})
    assert sorted(n for m in matches for n in m.head) == sorted({step.kernel_name for step in case.head})


def test_precision_and_recall_over_two_hundred_cases():
    precision, recall, cases = score_matching(range(200))
    assert cases == 200
    assert precision >= 0.93
    assert recall >= 0.90


class TestOneTemplateWithOtherNumbers:
    OLD, NEW_ONE = "warptile<128, 16, 64>", "warptile<128, 32, 32>"

    def test_the_only_ones_of_a_template_are_one_kernel_tuned_anew(self):
        base = Side([facts(self.OLD, geometries={"64 / 128": 1}, launch_count=1, total_ns=227)])
        head = Side([facts(self.NEW_ONE, geometries={"32 / 256": 1}, launch_count=1, total_ns=195)])
        [match] = match_kernels(base, head)
        assert (match.how, match.confidence, match.grounds) == ("renamed", 0.7, ("one template, other numbers",))

    def test_two_on_one_side_are_left(self):
        other = {"geometries": {"32 / 256": 1}}
        base = Side([facts(self.OLD)])
        head = Side([facts(self.NEW_ONE, **other), facts("warptile<256, 32, 32>", **other)])
        assert {match.how for match in match_kernels(base, head)} == {"new", "gone"}

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("vectorized<4, AddFunctor>", "vectorized<4, MulFunctor>"),
            ("copy<float>", "copy<double>"),
            ("one<128>", "two<128>"),
        ],
    )
    def test_types_and_functors_are_other_work(self, old, new):
        geometries = ({"64 / 128": 1}, {"32 / 256": 1})
        base, head = (Side([facts(name, geometries=g)]) for name, g in zip((old, new), geometries, strict=True))
        assert {match.how for match in match_kernels(base, head)} == {"new", "gone"}

    def test_ten_times_the_time_is_another_kernel(self):
        base = Side([facts(self.OLD, total_ns=100)])
        head = Side([facts(self.NEW_ONE, total_ns=1_500)])
        assert {match.how for match in match_kernels(base, head)} == {"new", "gone"}


def test_other_work_between_the_same_neighbors_is_no_split():
    pieces = [Step("foo_a", 2_000, grid=7), Step("bar_a", 1_000, grid=9)]
    head = [part for step in STEPS for part in (pieces if step.kernel_name == "gemm_a" else [step])]
    # Two kernels in the place of one, and a thirtieth of its time: nothing says that they do its work.
    assert found(STEPS, head) == {(("gemm_a",), (), "gone"), ((), ("foo_a",), "new"), ((), ("bar_a",), "new")}


def test_a_program_of_which_every_name_changed_is_renamed_and_not_split():
    steps = (Step("a_x", 5_000, grid=10), Step("b_x", 50_000, grid=64), Step("c_x", 4_000, grid=99))
    head = [replace(step, kernel_name=step.kernel_name.replace("_x", "_y")) for step in steps]
    renamed = {((step.kernel_name,), (step.kernel_name.replace("_x", "_y"),), "renamed") for step in steps}
    assert found(steps, head) == renamed


def generated(numbers, grids, times=(7_000, 70_000)):
    """A step with two kernels as torch.compile names them."""
    one, two = (
        Step(f"triton_poi_fused_add_mul_{number}", time, grid=grid)
        for number, grid, time in zip(numbers, grids, times, strict=True)
    )
    return (STEPS[0], one, STEPS[2], two, STEPS[4])


@pytest.mark.parametrize("numbers", [(1, 2), (1, 0)])
def test_generated_kernels_that_were_counted_anew_are_matched_by_their_work(numbers):
    old, new = generated((0, 1), (20, 200)), generated(numbers, (20, 200))
    pairs = {((old[at].kernel_name,), (new[at].kernel_name,), "renamed") for at in (1, 3)}
    assert found(old, new) == pairs
    assert found(new, old) == {(head, base, how) for base, head, how in pairs}


def test_generated_kernels_of_another_batch_keep_their_names():
    assert found(generated((0, 1), (20, 200)), generated((0, 1), (40, 400), (14_000, 140_000))) == set()


def test_a_generated_kernel_for_which_nothing_better_is_found_keeps_its_name():
    alone = [KernelFacts("triton_poi_fused_add_1", "triton_poi_fused_add_1", "", 10, 900, {"8 / 64": 10})]
    other = [
        KernelFacts("triton_poi_fused_add_1", "triton_poi_fused_add_1", "", 10, 950, {"16 / 64": 10}),
        KernelFacts("triton_poi_fused_add_2", "triton_poi_fused_add_2", "", 900, 99, {"8 / 64": 900}),
    ]
    by_name = next(m for m in match_kernels(Side(alone), Side(other)) if m.base)
    assert (by_name.head, by_name.how) == (("triton_poi_fused_add_1",), "same")
    assert by_name.confidence == 0.7
    assert by_name.grounds == ("same name, other launch geometry",)
