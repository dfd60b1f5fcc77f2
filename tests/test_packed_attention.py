"""Attention over packed sequences: pairs against brute force, FLOP against torch's count, no figure without lengths.

In: made-up calls. Out: assertions on work, and on the reason where there is none.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.work.formulas import OperatorCall, work_of
from nsightkit.analysis.work.formulas.call import Tensor
from nsightkit.analysis.work.formulas.packed_attention import LENGTHS_UNKNOWN, PAGED, pairs_in_window, why_unknown

HALF = "c10::BFloat16"


def half(*shape):
    return Tensor(shape, HALF)


def ends(sequences):
    return Tensor((sequences + 1,), "int")


def varlen(tokens, sequences, longest, causal=True, **more):
    """A call of flash_attn's varlen forward with 4 heads of 16, and 2 heads of keys."""
    given_values = {5: str(longest), 6: str(longest), 9: str(causal)} | more.get("values", {})
    inputs = (half(tokens, 4, 16), *[half(more.get("keys", tokens), 2, 16)] * 2, ends(sequences), ends(sequences))
    values = tuple(given_values.get(place, "") for place in range(13))
    return OperatorCall("flash_attn::_flash_attn_varlen_forward", inputs + (None,) * 8, values)


def brute(queries, keys, left, right):
    seen = 0
    for i in range(queries):
        for j in range(keys):
            distance = j - (i + keys - queries)
            seen += (left < 0 or distance >= -left) and (right < 0 or distance <= right)
    return seen


@given(st.integers(0, 12), st.integers(0, 12), st.integers(-1, 6), st.integers(-1, 6))
def test_pairs_by_brute_force(queries, keys, left, right):
    assert pairs_in_window(queries, keys, left, right) == brute(queries, keys, left, right)


@pytest.mark.parametrize(("causal", "pairs"), [(True, 3 * 36), (False, 3 * 64)])
def test_equal_lengths_follow_from_the_longest(causal, pairs):
    work = work_of(varlen(24, 3, 8, causal))
    assert work.flop == 2 * 4 * pairs * 32
    assert work.read_bytes == 2 * (24 * 4 * 16 + 2 * 24 * 2 * 16)
    assert work.written_bytes == 2 * 24 * 4 * 16
    assert (work.dtype, work.assumption) == ("tensor_bf16", "")


def test_one_sequence_needs_no_longest():
    assert work_of(varlen(24, 1, 999)).flop == 2 * 4 * (24 * 25 // 2) * 32


def test_lengths_in_the_trace_count_each_for_itself():
    call = varlen(24, 2, 20, values={3: "[0, 4, 24]", 4: "[0, 4, 24]"})
    assert work_of(call).flop == 2 * 4 * (10 + 210) * 32


def test_other_lengths_leave_no_figure_and_say_why():
    call = varlen(24, 3, 20)
    assert work_of(call) is None
    assert why_unknown(call) == LENGTHS_UNKNOWN


def test_paged_keys_leave_no_figure():
    query, pages = half(3, 4, 16), half(10, 16, 2, 16)
    values = ("",) * 5 + ("1", "160", "", "", "True")
    call = OperatorCall(
        "flash_attn::_flash_attn_varlen_forward", (query, pages, pages, ends(3), ends(3), *[None] * 5), values
    )
    assert work_of(call) is None
    assert why_unknown(call) == PAGED


def test_a_causal_mask_over_unequal_lengths_is_an_assumption():
    call = varlen(4, 1, 4, keys=10)
    work = work_of(call)
    assert work.flop == 2 * 4 * brute(4, 10, -1, 0) * 32
    assert "aligned" in work.assumption


def test_a_window_counts_what_it_shows():
    call = varlen(24, 3, 8, values={10: "2", 11: "0"})
    assert work_of(call).flop == 2 * 4 * 3 * brute(8, 8, 2, 0) * 32


def test_backward_has_five_products():
    tensors = (half(24, 4, 16), half(24, 4, 16), half(24, 2, 16), half(24, 2, 16), half(24, 4, 16), None)
    values = ("",) * 8 + ("8", "8", "0.0", "True")
    call = OperatorCall("aten::_flash_attention_backward", (*tensors, ends(3), ends(3), *[None] * 4), values)
    assert work_of(call).flop == 2 * 4 * 3 * 36 * 16 * 5


@pytest.mark.parametrize(("kind", "pairs"), [("0", 3 * 64), ("1", 3 * 36), ("2", 3 * 36)])
def test_the_efficient_kernel_packs_under_a_batch_of_one(kind, pairs):
    inputs = (half(1, 24, 4, 16), *[half(1, 24, 4, 16)] * 2, None, ends(3), ends(3), *[None] * 4)
    values = ("",) * 6 + ("8", "8", "0.0", kind)
    work = work_of(OperatorCall("aten::_efficient_attention_forward", inputs, values))
    assert work.flop == 2 * 4 * pairs * 32
    assert work.assumption == ""


def test_the_package_without_packing_and_vllm():
    dense = OperatorCall(
        "flash_attn::_flash_attn_forward",
        (half(3, 8, 4, 16), *[half(3, 8, 2, 16)] * 2),
        ("",) * 5 + ("True", "-1", "-1"),
    )
    assert work_of(dense).flop == 2 * 4 * 3 * 36 * 32
    packed = varlen(24, 3, 8, values={8: "True"})
    assert (
        work_of(OperatorCall("vllm::flash_attn_varlen_func", packed.inputs, packed.values)).flop == 2 * 4 * 3 * 36 * 32
    )


@pytest.mark.torch
@pytest.mark.parametrize("lengths", [(8, 8, 8), (24,), (3, 1, 20)])
def test_as_torch_counts_without_a_mask(lengths):
    torch = pytest.importorskip("torch")
    from torch.utils import flop_counter

    places = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    q = torch.empty(24, 4, 16)
    longest = max(lengths)
    counted = flop_counter._flash_attention_forward_flop(q, q, q, places, places, longest, longest)
    inputs = (half(24, 4, 16),) * 3 + (ends(len(lengths)),) * 2 + (None,) * 4
    told = str(places.tolist())
    values = ("", "", "", told, told, str(longest), str(longest), "0.0", "False")
    work = work_of(OperatorCall("aten::_flash_attention_forward", inputs, values))
    assert work.flop == counted
