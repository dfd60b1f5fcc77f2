"""What a kernel's name says: the form common to the tools, library, family, type, tile, friendly name, matches."""

import csv
import gzip
import importlib.util
import json
import re
import sqlite3
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit.analysis.kernel_names import (
    DTYPES,
    FAMILIES,
    LIBRARIES,
    NORMALIZER_VERSION,
    UNCLASSIFIED,
    describe_kernel,
    match_kernels,
)
from nsightkit.analysis.kernel_names.form import normal_form, qualified_head, spell
from nsightkit.analysis.kernel_names.rules import find_operation, head_phrases, rule_book

PROJECT = Path(__file__).resolve().parent.parent

GEMV_NSYS = (
    "std::enable_if<!T7, void>::type internal::gemvx::kernel<int, int, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, "
    "float, (bool)0, (bool)1, (bool)1, (bool)0, (int)7, (bool)0, cublasGemvParamsEx<int, "
    "cublasGemvTensorStridedBatched<const __nv_bfloat16>, cublasGemvTensorStridedBatched<__nv_bfloat16>, float>>(T13)"
)
GEMV_NCU = (
    "enable_if<!T7, void>::type kernel<int, int, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, 0, 1, 1, 0, 7, 0, "
    "cublasGemvParamsEx<int, cublasGemvTensorStridedBatched<const __nv_bfloat16>, "
    "cublasGemvTensorStridedBatched<__nv_bfloat16>, float>>(T13)"
)
GEMV_TORCH = (
    "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, __nv_bfloat16, __nv_bfloat16, "
    "__nv_bfloat16, float, false, true, true, false, 7, false, cublasGemvParamsEx<int, "
    "cublasGemvTensorStridedBatched<__nv_bfloat16 const>, cublasGemvTensorStridedBatched<__nv_bfloat16>, float> >"
    "(cublasGemvParamsEx<int, cublasGemvTensorStridedBatched<__nv_bfloat16 const> >)"
)
GEMV_NORMAL = (
    "kernel<int, int, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, 0, 1, 1, 0, 7, 0, cublasGemvParamsEx<int, "
    "cublasGemvTensorStridedBatched<__nv_bfloat16>, cublasGemvTensorStridedBatched<__nv_bfloat16>, float>>"
)
COPY_NSYS = (
    "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase &)::"
    "[lambda() (instance 3)]::operator ()() const::[lambda() (instance 7)]::operator ()() const::"
    "[lambda(float) (instance 1)], std::array<char *, (unsigned long)2>, (int)4>(int, T1, T2)"
)
COPY_NCU = (
    "void unrolled_elementwise_kernel<direct_copy_kernel_cuda(TensorIteratorBase &)::[lambda() (instance 3)]::"
    "operator ()() lambda() (instance 7)]::operator ()() lambda(float) (instance 1)], array<char *, 2>, 4>(int, T1, T2)"
)
COPY_TORCH = (
    "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::"
    "{lambda()#3}::operator()() const::{lambda()#7}::operator()() const::{lambda(float)#1}, std::array<char*, 2ul>, 4>"
    "(int, at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}, std::array<char*, 2ul>)"
)
COPY_NORMAL = (
    "unrolled_elementwise_kernel<direct_copy_kernel_cuda(TensorIteratorBase&)lambda()#3::operator()()lambda()#7::"
    "operator()()lambda(float)#1, array<char*, 2>, 4>"
)
CAT_NSYS = (
    "void at::native::<unnamed>::CatArrayBatchedCopy<at::native::<unnamed>::OpaqueType<(unsigned int)2>, unsigned int, "
    "(int)4, (int)64, (int)64>(T1 *, at::native::<unnamed>::TensorSizeStride<T2, (unsigned int)4>, int, T2)"
)
CAT_NCU = (
    "void unnamed>::CatArrayBatchedCopy<unnamed>::OpaqueType<2>, unsigned int, 4, 64, 64>"
    "(T1 *, unnamed>::TensorSizeStride<T2, 4>, int, T2)"
)
CAT_TORCH = (
    "void at::native::(anonymous namespace)::CatArrayBatchedCopy<at::native::(anonymous namespace)::OpaqueType<2u>, "
    "unsigned int, 4, 64, 64>(at::native::(anonymous namespace)::OpaqueType<2u>*, int, unsigned int)"
)
CAT_NORMAL = "CatArrayBatchedCopy<OpaqueType<2>, unsigned int, 4, 64, 64>"


# ---- the normal form


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        *[(name, GEMV_NORMAL) for name in (GEMV_NSYS, GEMV_NCU, GEMV_TORCH)],
        *[(name, COPY_NORMAL) for name in (COPY_NSYS, COPY_NCU, COPY_TORCH)],
        *[(name, CAT_NORMAL) for name in (CAT_NSYS, CAT_NCU, CAT_TORCH)],
        ("void cutlass::Kernel2<cutlass_80_x>(T1::Params)", "Kernel2<cutlass_80_x>"),
        ("void cutlass::Kernel2<cutlass_80_x>(cutlass_80_x::Params)", "Kernel2<cutlass_80_x>"),
        ("fmha(A::B<cutlass::arch::Sm80, (bool)1>::Params)", "fmha(B<Sm80, 1>::Params)"),
        ("fmha(B<Sm80, 1>::Params)", "fmha(B<Sm80, 1>::Params)"),
        ("jacobi(float *, const float *, int)", "jacobi(float*, float*, int)"),
        ("jacobi(float*, float const*, int)", "jacobi(float*, float*, int)"),
        ("void <unnamed>::f<float, (int)-2>(T1 *)", "f<float, -2>"),
        ("void (anonymous namespace)::f<float, -2>(float*)", "f<float, -2>"),
        ("unnamed>::saxpy(float, const float *)", "saxpy(float, float*)"),
        (
            "std::enable_if<(((8)>(0)))&&a::b<c10::Half>::value, void>::type v::norm<c10::Half, 8>(c10::Half*)",
            "norm<Half, 8>",
        ),
        ("copy_blocked[v1,cw51cXTLSUw](Array<long long, 1>)", "copy_blocked(Array<long long, 1>)"),
        ("f<g<h<(unsigned char)1> > >(X)\n", "f<g<h<1>>>"),
        ("ampere_sgemm_128x64_nn", "ampere_sgemm_128x64_nn"),
        ("_Z5saxpyifPfS_", "_Z5saxpyifPfS_"),
        ("", ""),
    ],
)
def test_normal_form_is_what_the_tools_have_in_common(name: str, normal: str) -> None:
    assert describe_kernel(name).normal == normal
    assert describe_kernel(name).full == name


def test_tools_agree_on_everything_but_the_full_name() -> None:
    for names in ((GEMV_NSYS, GEMV_NCU, GEMV_TORCH), (COPY_NSYS, COPY_NCU, COPY_TORCH), (CAT_NSYS, CAT_NCU, CAT_TORCH)):
        said = {
            (k.normal, k.library, k.family, k.dtype, k.tile, k.friendly) for k in (describe_kernel(n) for n in names)
        }
        assert len(said) == 1


def test_what_distinguishes_kernels_is_not_lost() -> None:
    names = [
        GEMV_NSYS,
        GEMV_NSYS.replace("(int)7", "(int)6"),
        COPY_NSYS,
        COPY_NSYS.replace("lambda(float)", "lambda(long)"),
        COPY_NSYS.replace("(instance 7)", "(instance 8)"),
        "f(float *)",
        "f(double *)",
        "f<float>(T1 *)",
        "f<double>(T1 *)",
    ]
    assert len({describe_kernel(name).normal for name in names}) == len(names)


# ---- the friendly names of the DeepSeek-OCR kernel study (its decode table, top to bottom)

ELEMENTWISE = (
    "void at::native::vectorized_elementwise_kernel<(int)4, at::native::{}, std::array<char *, (unsigned long)3>>"
    "(int, T2, T3)"
)
NOCAST = (
    "void at::native::elementwise_kernel<(int)128, (int)4, void at::native::gpu_kernel_impl_nocast<at::native::{}>"
    "(at::TensorIteratorBase &, const T1 &)::[lambda(int) (instance 1)]>(int, T3)"
)
BF16_3 = "c10::BFloat16, c10::BFloat16, c10::BFloat16"
LAMBDA_BF16 = (
    "(at::TensorIteratorBase &)::[lambda() (instance 1)]::operator ()() const::[lambda() (instance 6)]::operator ()() "
    "const::[lambda(c10::BFloat16) (instance 1)]"
)
FLASH = (
    "Flash_fwd_kernel_traits<(int)128, (int)64, (int)128, (int)4, (bool)0, (bool)0, cutlass::bfloat16_t, "
    "Flash_kernel_traits<(int)128, (int)64, (int)128, (int)4, cutlass::bfloat16_t>>"
)
DOCUMENT_003 = [
    ("cuBLAS", "GEMV", "GEMV (BF16, template=7)", GEMV_NSYS),
    ("cuBLAS", "GEMV", "GEMV (BF16, template=6)", GEMV_NSYS.replace("(int)7", "(int)6")),
    ("PyTorch ATen", "copy", "Direct Copy (float)", COPY_NSYS),
    (
        "PyTorch ATen",
        "elementwise",
        "Elementwise Multiply (BF16, vec)",
        ELEMENTWISE.format(f"BinaryFunctor<{BF16_3}, at::native::binary_internal::MulFunctor<float>>"),
    ),
    (
        "PyTorch ATen",
        "activation",
        "SiLU Activation (BF16, vec)",
        ELEMENTWISE.format(f"<unnamed>::silu_kernel{LAMBDA_BF16}"),
    ),
    (
        "PyTorch ATen",
        "elementwise",
        "Elementwise Multiply (BF16)",
        NOCAST.format(f"BinaryFunctor<{BF16_3}, at::native::binary_internal::MulFunctor<float>>"),
    ),
    (
        "PyTorch ATen",
        "cat",
        "Cat Batched Copy (vec, 128-tile)",
        "void at::native::<unnamed>::CatArrayBatchedCopy_vectorized<at::native::<unnamed>::OpaqueType<(unsigned int)2>"
        ", unsigned int, (int)3, (int)128, (int)1, (int)16, (int)8>(char *, int, T2)",
    ),
    (
        "PyTorch ATen",
        "copy",
        "Copy/Cast (BF16, vec)",
        ELEMENTWISE.format("bfloat16_copy_kernel_cuda(at::TensorIteratorBase &)::[lambda(float) (instance 1)]"),
    ),
    (
        "FlashAttention",
        "attention",
        "Flash Forward Split-KV (BF16)",
        f"void flash::flash_fwd_splitkv_kernel<{FLASH}, (bool)0>(flash::Flash_fwd_params)",
    ),
    (
        "PyTorch ATen",
        "elementwise",
        "Elementwise Add (BF16, vec)",
        ELEMENTWISE.format("CUDAFunctor_add<c10::BFloat16>"),
    ),
    ("PyTorch ATen", "cat", "Cat Batched Copy (64-tile)", CAT_NSYS),
    (
        "PyTorch ATen",
        "reduction",
        "Mean Reduction (float)",
        "void at::native::reduce_kernel<(int)512, (int)1, at::native::ReduceOp<float, at::native::MeanOps<float, "
        "float, float, float>, unsigned int, float, (int)4, (int)4>>(T3)",
    ),
    ("PyTorch ATen", "elementwise", "Elementwise Neg (BF16)", NOCAST.format(f"neg_kernel_cuda{LAMBDA_BF16}")),
    (
        "FlashAttention",
        "attention",
        "Flash Split-KV Combine",
        f"void flash::flash_fwd_splitkv_combine_kernel<{FLASH}, (int)4, (int)3, (bool)1>(flash::Flash_fwd_params)",
    ),
    (
        "PyTorch ATen",
        "sort",
        "TopK Gather (float)",
        "void at::native::sbtopk::gatherTopK<float, unsigned int, (int)1, (bool)0>(at::cuda::TensorInfo<long, T2>)",
    ),
    (
        "PyTorch ATen",
        "indexing",
        "Index Put (elementwise)",
        "void at::native::index_elementwise_kernel<(int)128, (int)4, void at::native::gpu_index_kernel<void at::"
        "native::index_put_kernel_impl<at::native::OpaqueType<(int)2>>(at::TensorIterator &)::[lambda(char *) "
        "(instance 1)]>(at::TensorIteratorBase &)::[lambda(int) (instance 1)]>(long, T3)",
    ),
    (
        "PyTorch ATen",
        "sort",
        "Bitonic Sort (KV in-place)",
        "void at::native::bitonicSortKVInPlace<(int)-2, (int)-1, (int)16, (int)16, long, long, at::native::LTOp<long, "
        "(bool)1>, unsigned int>(at::cuda::detail::TensorInfo<T5, T8>)",
    ),
    (
        "PyTorch ATen",
        "elementwise",
        "Elementwise Multiply (float, vec)",
        ELEMENTWISE.format("AUnaryFunctor<float, float, float, at::native::binary_internal::MulFunctor<float>>"),
    ),
    (
        "PyTorch ATen",
        "reduction",
        "Sum Reduction (float)",
        "void at::native::reduce_kernel<(int)128, (int)4, at::native::ReduceOp<float, at::native::func_wrapper_t<"
        "float, at::native::sum_functor<float, float, float>::operator ()(at::TensorIterator &)::[lambda(float, float) "
        "(instance 1)]>, unsigned int, float, (int)4, (int)4>>(T3)",
    ),
    (
        "CUTLASS",
        "GEMM",
        "CUTLASS GEMM (128×256 tile, BF16, ReLU)",
        "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x256_32x3_tn_align8>(T1::Params)",
    ),
    (
        "CUTLASS",
        "GEMM",
        "CUTLASS GEMM (32×32 tile, BF16, WMMA)",
        "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_32x32_128x2_tn_align8>(T1::Params)",
    ),
    (
        "xFormers",
        "attention",
        "Memory-Efficient Attention (BF16, 64×64 tile)",
        "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::bfloat16_t>::Params)",
    ),
]


@pytest.mark.parametrize(("library", "family", "friendly", "name"), DOCUMENT_003, ids=[row[2] for row in DOCUMENT_003])
def test_friendly_names_of_document_003(library: str, family: str, friendly: str, name: str) -> None:
    said = describe_kernel(name)
    assert (said.library, said.family, said.friendly) == (library, family, friendly)


# ---- type and tile


@pytest.mark.parametrize(
    ("name", "dtype", "tile"),
    [
        ("ampere_sgemm_128x64_nn", "FP32", "128x64"),
        ("ampere_bf16_s1688gemm_bf16_128x128_ldg8_f2f_stages_32x1_nt", "BF16", "128x128"),
        ("volta_fp16_s884gemm_fp16_128x128_ldg8_f2f_tn", "FP16", "128x128"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_256x64_16x4_nn_align4>(T1::Params)", "TF32", "256x64"),
        ("void cutlass::Kernel<cutlass_75_tensorop_s1688gemm_f16_128x64_nn_align8>(T1::Params)", "FP16", "128x64"),
        ("ampere_i16832gemm_int8_128x128_ldg16_stages_64x3_tn", "INT8", "128x128"),
        (
            "sm90_xmma_gemm_bf16bf16_bf16f32_f32_nn_n_tilesize128x128x64_warpgroupsize1x1x1__5x_cublas",
            "BF16",
            "128x128",
        ),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nchw_tilesize256x64x32_cudnn", "TF32", "256x64"),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize64x64x8_stage3", "FP32", "64x64"),
        ("nvjet_tst_192x208_64x4_1x1_h_bz_coopB_bias_TNT", "BF16", "192x208"),
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNN", "FP16", "128x256"),
        ("nvjet_qqtst_128x256_128x4_2x1_v_bz_coopA_TNN", "FP8", "128x256"),
        ("bmm_Bfloat16_MxE2m1MxE4m3_Fp32_t128x16x256u2_s3_et128x16_m128x16x32", "FP4", "128x16"),
        ("cutlass3x_sm100_simt_sgemm_f32_f32_f32_f32_f32_64x32x16_1x1x1_3_tnn_align1", "FP32", "64x32"),
        (f"void flash::flash_fwd_kernel<{FLASH}>(flash::Flash_fwd_params)", "BF16", "64x128"),
        ("cudnn_generated_fmha_knob_26_64x64x128_1x4x1_kernel0_0", None, "64x64"),
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevComm *)", "BF16", None),
        ("cupy_multiply__float64_float64_float64", "FP64", None),
        ("wmma_gemm(__half *, __half *, float *, int, int, int)", "FP16", None),
        ("jacobi_kernel(float *, const float *, int)", "FP32", None),
        ("poly_tomsg(short *, unsigned char *)", "INT16", None),
        ("count(int, int)", None, None),
        ("loop_dynamic_slice_fusion_4_peeled_double_buffer", None, None),
        (ELEMENTWISE.format("CUDAFunctorOnSelf_add<long>"), "INT64", None),
        ("gemm_tiled_kernel", None, None),
    ],
)
def test_type_and_tile_are_read_and_never_guessed(name: str, dtype: str | None, tile: str | None) -> None:
    said = describe_kernel(name)
    assert (said.dtype, said.tile) == (dtype, tile)


# ---- library and family


@pytest.mark.parametrize(
    ("name", "library", "family"),
    [
        ("vecAdd(const float *, const float *, float *, int)", "user", "elementwise"),
        ("daxpy_kernel(int, double, double *, double *)", "user", "elementwise"),
        ("sgemm_naive(int, int, int, float *, float *, float *)", "user", "GEMM"),
        ("matrixMulCUDA(float *, float *, float *, int, int)", "user", "GEMM"),
        ("jacobi_kernel(float *, const float *, float *, int, int, int)", "user", "stencil"),
        ("void stencil2d<double>(const T1 *, T1 *, unsigned long)", "user", "stencil"),
        ("reduce6(int *, int *)", "user", "reduction"),
        ("transposeMatrixShared(float *, float *, int, int)", "user", "layout"),
        ("Fan2(float *, float *, float *, int, int, int)", "unknown", UNCLASSIFIED),
        ("compute_B(const float *, float *, int)", "unknown", UNCLASSIFIED),
        ("kernel(double *, int)", "unknown", UNCLASSIFIED),
        ("leaky_re_lu_kernel", "unknown", UNCLASSIFIED),
        ("addressOf(int *)", "unknown", UNCLASSIFIED),  # words are whole words
        ("RAJA::internal::CudaKernelLauncherFixed<1024>(T1)", "RAJA", UNCLASSIFIED),
        ("void flashinfer::norm::RMSNormKernel<8, __half>(__half*)", "FlashInfer", "norm"),
        ("void mine::f(at::PackedTensorAccessor32<float, 2>)", "unknown", UNCLASSIFIED),  # at:: of a parameter
        ("splitKreduce_kernel<32, 16, int, __half>(cublasSplitKParams<float>)", "cuBLAS", "reduction"),
        (
            "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_128x128>(T1::Params)",
            "cuDNN",
            "convolution",
        ),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_nn_n__5x_cublas", "cuBLAS", "GEMM"),
        ("void magma_sgemmEx_kernel<float>(int, cublasLtEpilogue_t, int)", "cuBLAS", "GEMM"),
        ("triton_poi_fused_convolution_relu_3", "Triton", "elementwise"),
        ("triton_tem_fused_mm_4", "Triton", "GEMM"),
        ("input_add_multiply_reduce_fusion", "JAX/XLA", "reduction"),
        ("wrapped_transpose_1", "JAX/XLA", "layout"),
        ("[CUDA memset]", "CUDA runtime", "fill"),
        ("Memcpy DtoH (Device -> Pageable)", "CUDA runtime", "copy"),
        ("_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIfEE", "PyTorch ATen", "elementwise"),
        ("_ZN5flash24flash_fwd_splitkv_kernelI23Flash_fwd_kernel_traitsILi128E", "FlashAttention", "attention"),
        ("_Z5saxpyifPfS_", "user", "elementwise"),
        ("_Z4Fan2PfS_S_iii", "unknown", UNCLASSIFIED),
    ],
)
def test_library_and_family_say_what_the_name_says(name: str, library: str, family: str) -> None:
    said = describe_kernel(name)
    assert (said.library, said.family) == (library, family)


def test_namespace_that_a_tool_leaves_out_changes_the_library_only() -> None:
    full = describe_kernel("void vllm::rms_norm_kernel<c10::BFloat16, 8>(c10::BFloat16*)")
    bare = describe_kernel("void rms_norm_kernel<BFloat16, 8>(BFloat16*)")
    assert (full.library, bare.library) == ("vLLM", "user")
    assert (full.normal, full.family, full.friendly) == (bare.normal, bare.family, bare.friendly)


# ---- the rules as data


@pytest.mark.parametrize("rule", rule_book().operations, ids=lambda rule: f"{rule.rank}-{rule.family}")
def test_each_operation_rule_is_reached_by_its_example(rule) -> None:
    normal = normal_form(spell(rule.example))
    assert find_operation(normal, qualified_head(normal))[0] is rule
    assert describe_kernel(rule.example).family == rule.family


@pytest.mark.parametrize("rule", rule_book().libraries, ids=lambda rule: rule.name)
def test_each_library_rule_is_reached_by_its_example(rule) -> None:
    spelled = spell(rule.example)
    texts = {"head": qualified_head(spelled), "name": spelled}
    reached = next(other for other in rule_book().libraries if other.pattern.search(texts[other.where]))
    assert reached is rule
    assert describe_kernel(rule.example).library == rule.name


def test_lists_are_closed_and_rules_keep_to_them() -> None:
    book = rule_book()
    assert NORMALIZER_VERSION == book.version >= 1
    assert len(set(FAMILIES)) == len(FAMILIES)
    assert len(set(LIBRARIES)) == len(LIBRARIES)
    assert {rule.family for rule in book.operations} == set(FAMILIES) - {UNCLASSIFIED}
    assert all(bool(rule.words) != bool(rule.pattern) for rule in book.operations)
    assert all(rule.where in ("head", "name") for rule in (*book.operations, *book.libraries))
    known = {"dtype", "tile", "vec", "epilogue", "wmma", "template", "batch", "algorithm"}
    assert all(detail in known or detail[0] == "=" for rule in book.operations for detail in rule.details)


def test_every_phrase_can_be_reached() -> None:
    for rule in rule_book().operations:
        for words in rule.words:
            assert words in set(head_phrases(words.replace(" ", "_"))), words


def test_every_phrase_stands_once() -> None:
    words = [words for rule in rule_book().operations for words in rule.words]
    assert len(words) == len(set(words))


def test_no_pattern_repeats_a_repetition() -> None:
    """(x+)+ takes exponential time; the patterns that read foreign names must not hold one."""
    parser = re._parser  # type: ignore[attr-defined]
    repeats = {parser.MAX_REPEAT, parser.MIN_REPEAT}

    def unbounded_inside(tree, inside: bool) -> bool:
        for op, argument in tree:
            unbounded = op in repeats and argument[1] == parser.MAXREPEAT
            if unbounded and inside:
                return True
            items = argument if isinstance(argument, (list, tuple)) else (argument,)
            branches = items[1] if op is parser.BRANCH else items
            nested = [item for item in branches if isinstance(item, parser.SubPattern)]
            if any(unbounded_inside(part, inside or unbounded) for part in nested):
                return True
        return False

    assert unbounded_inside(parser.parse("(a+b?)+"), False)
    assert not unbounded_inside(parser.parse("(?:a+b)?c*"), False)
    patterns = [rule.pattern.pattern for rule in (*rule_book().operations, *rule_book().libraries) if rule.pattern]
    assert [pattern for pattern in patterns if unbounded_inside(parser.parse(pattern), False)] == []


# ---- hostile names

HOSTILE = [
    "<" * 10_000,
    "(" * 10_000,
    ">" * 10_000,
    ")" * 10_000,
    "<(" * 5_000,
    "a::" * 3_333,
    "f<" + "a<" * 5_000,
    "<unnamed>::" * 900,
    "[lambda() (instance 1)]::" * 400,
    "_ZN" + "1a" * 5_000,
    "_Z99999999" + "x" * 10_000,
    "enable_if<" + "(" * 10_000,
    "vectorized_elementwise_kernel<4, " + "a_kernel" * 1_250,
    "multi_tensor_apply_kernel<" + "Functor<a>, " * 800,
    "x" * 10_000 + "…",
    "a<b>|c*",
    "<script>alert(1)</script>",
    "line\none\r\ntwo\ttab",
    "\x1b[31mred\x1b[0m_kernel",
    "\u202egnp.exe",
    "\ud800",
    "{head} {op} {0}",
    "%s %(x)s",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_described_and_kept(name: str) -> None:
    said = describe_kernel(name)
    assert said.full == name
    assert said.family in FAMILIES
    assert said.library in LIBRARIES
    assert 0 < len(said.friendly) <= 120
    assert said.friendly.isprintable()


@given(st.text(alphabet="aZ_09<>()[]{}:,&* -#~…'unamedlbivof", max_size=80))
def test_any_text_is_described_within_the_closed_lists(name: str) -> None:
    said = describe_kernel(name)
    assert said.full == name
    assert said.family in FAMILIES
    assert said.library in LIBRARIES
    assert said.dtype is None or said.dtype in DTYPES
    assert said.tile is None or re.fullmatch(r"\d+x\d+", said.tile)
    assert said.friendly.isprintable()


@given(st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8}){0,3}", fullmatch=True), st.sampled_from(["float", "int", "c10::Half"]))
def test_spelling_of_a_plain_template_does_not_matter(head: str, argument: str) -> None:
    bare = argument.rpartition("::")[2]
    nsys = f"void at::native::<unnamed>::{head}<{argument}, (int)4, (bool)1>(const T1 *, T1 *)"
    torch = f"void at::native::(anonymous namespace)::{head}<{argument}, 4, true>({argument} const*, {argument}*)"
    ncu = f"void unnamed>::{head}<{bare}, 4, 1>(const T1 *, T1 *)"
    assert {describe_kernel(name).normal for name in (nsys, torch, ncu)} == {f"{head}<{bare}, 4, 1>"}


# ---- matching


def test_match_says_matched_ambiguous_or_none() -> None:
    names = [
        "void flash::f<(int)1>(flash::P)",
        "void pytorch_flash::f<(int)1>(pytorch_flash::P)",
        "void a::g<(int)1>(T1)",
    ]
    matches = match_kernels(["void f<1>(P)", "void g<1>(T1)", "void h<1>(T1)"], names)
    assert [(m.status, m.how, m.candidates) for m in matches] == [
        ("ambiguous", "normal", (names[0], names[1])),
        ("matched", "normal", (names[2],)),
        ("none", "none", ()),
    ]


def test_match_is_ambiguous_when_two_names_claim_one() -> None:
    matches = match_kernels(["void flash::f<1>(P)", "void mine::f<1>(P)"], ["void f<1>(P)"])
    assert [m.status for m in matches] == ["ambiguous", "ambiguous"]
    assert matches[0].rivals == ("void mine::f<1>(P)",)


def test_full_name_decides_before_the_normal_form() -> None:
    names = ["void flash::f<1>(P)", "void pytorch_flash::f<1>(P)"]
    assert [(m.status, m.how, m.candidates) for m in match_kernels(names, names)] == [
        ("matched", "full", (names[0],)),
        ("matched", "full", (names[1],)),
    ]


def test_match_of_names_cut_short_and_of_bare_function_names() -> None:
    full = [
        "void at::native::reduce_kernel<(int)512, (int)1, at::native::ReduceOp<float>>(T3)",
        "void k::f<(int)2>(T1)",
    ]
    cut = match_kernels(["void at::native::reduce_kernel<(int)512, (int)1, at::nat…"], full)[0]
    assert (cut.status, cut.how, cut.candidates) == ("matched", "prefix", (full[0],))
    back = match_kernels([full[0]], ["void at::native::reduce_kernel<(int)512, (int)1, at::nat…"])[0]
    assert (back.status, back.how) == ("matched", "prefix")
    bare = match_kernels(["f"], full)[0]
    assert (bare.status, bare.how, bare.candidates) == ("matched", "head", (full[1],))
    assert match_kernels(["f<3>"], full)[0].status == "none"
    assert match_kernels(["…"], full)[0].status == "none"


def test_repeated_names_are_answered_once() -> None:
    assert len(match_kernels(["f", "f"], ["f", "f"])) == 1
    assert match_kernels(["f"], ["f", "f"])[0].status == "matched"


# ---- the page in the docs


def test_page_in_the_docs_is_current() -> None:
    spec = importlib.util.spec_from_file_location("kernel_names_table", PROJECT / "docs" / "kernel_names_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.kernel_names_page()
    assert (PROJECT / "docs" / "kernel-names.md").read_text(encoding="utf-8") == page
    assert all(f"| {family} |" in page for family in FAMILIES)
    assert all(f"| {library} |" in page for library in LIBRARIES)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 4, 5}


# ---- real captures


def _printed_table(path: Path) -> dict[str, float]:
    """The kernel table of `nsys stats` as printed text: name -> ns."""
    _, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("cuda_gpu_kern_sum")
    times: dict[str, float] = defaultdict(float)
    for line in rest.splitlines():
        cells = re.split(r"\s{2,}", line.strip(), maxsplit=8)
        if len(cells) == 9 and re.fullmatch(r"[\d.]+", cells[0]):
            times[cells[8]] += float(cells[1].replace(",", ""))
        elif times and not line.strip():
            break
    return times


def _stats_csv(path: Path) -> dict[str, float]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        times: dict[str, float] = defaultdict(float)
        for row in csv.DictReader(file):
            times[row["Name"]] += float(row["Total Time (ns)"])
        return times


def _sqlite(path: Path) -> dict[str, float]:
    query = "SELECT s.value, sum(k.end - k.start) FROM {} k JOIN StringIds s ON s.id = k.demangledName GROUP BY 1"
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        table = "CUPTI_ACTIVITY_KIND_KERNEL"
        return dict(connection.execute(query.format(table))) if table in tables else {}
    finally:
        connection.close()


def _torch_trace(path: Path) -> dict[str, float]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    times: dict[str, float] = defaultdict(float)
    for event in json.loads(text)["traceEvents"]:
        if event.get("cat") == "kernel":
            times[event["name"]] += event["dur"] * 1000
    return times


def _ncu_csvs(folder: Path) -> dict[str, float]:
    """The one kernel of each folder and its duration in ns."""
    scale = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
    times: dict[str, float] = {}
    for path in sorted(folder.glob("kernel_*/ncu.section_SpeedOfLight.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row["Metric Name"] == "Duration"]
        times[rows[0]["Kernel Name"]] = float(rows[0]["Metric Value"].replace(",", "")) * scale[rows[0]["Metric Unit"]]
    return times


def _captures(data: Path) -> dict[str, dict[str, float]]:
    found = {path.name: _sqlite(path) for path in sorted((data / "nsys-sqlite").glob("*.sqlite"))}
    found |= {path.name: _torch_trace(path) for path in sorted((data / "torch-trace").iterdir())}
    found |= {path.name: _stats_csv(path) for path in sorted((data / "nsys-stats").glob("*.csv"))}
    found |= {path.name: _printed_table(path) for path in sorted((data / "nsys-stats").glob("*.txt"))}
    found |= {f"dsocr/{path.name}": _stats_csv(path) for path in sorted((data / "seed-runs/dsocr-nsys").glob("*.csv"))}
    found |= {"dsocr-v2": _ncu_csvs(data / "seed-runs" / "dsocr-v2")}
    return {name: times for name, times in found.items() if times}


@pytest.mark.shared
def test_unclassified_share_of_time_over_all_real_names_is_under_five_percent(shared_data: Path) -> None:
    captures = _captures(shared_data)
    unclassified = {
        name: sum(time for kernel, time in times.items() if describe_kernel(kernel).family == UNCLASSIFIED)
        for name, times in captures.items()
    }
    totals = {name: sum(times.values()) for name, times in captures.items()}
    assert len(captures) == 30
    assert sum(unclassified.values()) / sum(totals.values()) < 0.05
    shares = {name: unclassified[name] / totals[name] for name in captures}
    # Programs whose own kernels say nothing by their names: shown as unclassified, not guessed.
    silent = {"rtx3090-gaussian-8k.sqlite", "rtx6000-oldest-schema.sqlite", "rtx3090-cluster-columns.sqlite"}
    assert {name for name, share in shares.items() if share >= 0.05} == silent
    assert all(shares[name] == 0 for name in shares if name not in silent)


@pytest.mark.shared
def test_all_profiled_kernels_of_document_003_match_the_timeline(shared_data: Path) -> None:
    runs = shared_data / "seed-runs"
    profiled = list(_ncu_csvs(runs / "dsocr-v2"))
    everything = match_kernels(profiled, _stats_csv(runs / "dsocr-nsys" / "all-stage.csv"))
    decode = match_kernels(profiled, _stats_csv(runs / "dsocr-nsys" / "decode.csv"))
    assert [(m.status, m.how) for m in everything] == [("matched", "normal")] * 20
    assert [m.status for m in decode].count("matched") == 14
    assert [m.status for m in decode].count("none") == 6
    for match in everything:
        ncu, nsys = describe_kernel(match.name), describe_kernel(match.candidates[0])
        assert (ncu.library, ncu.family, ncu.dtype, ncu.tile) == (nsys.library, nsys.family, nsys.dtype, nsys.tile)
        assert ncu.friendly == nsys.friendly


@pytest.mark.shared
def test_top_twenty_of_the_timeline_are_the_profiled_kernels_in_order(shared_data: Path) -> None:
    runs = shared_data / "seed-runs"
    times = _stats_csv(runs / "dsocr-nsys" / "all-stage.csv")
    top = sorted(times, key=lambda name: -times[name])[:20]
    listed = re.findall(r"^-\s+name: (.+)$", (runs / "dsocr-v2" / "top-kernels.yaml").read_text(encoding="utf-8"), re.M)
    assert [name.strip("'\"") for name in listed] == top
    matches = match_kernels(_ncu_csvs(runs / "dsocr-v2"), times)
    assert [match.candidates[0] for match in matches] == top


@pytest.mark.shared
def test_torch_and_nsys_agree_on_the_names_they_share(shared_data: Path) -> None:
    torch = set(_torch_trace(shared_data / "torch-trace" / "b200-deepseek-v3-shapes.json"))
    nsys = set(_sqlite(shared_data / "nsys-sqlite" / "rtx3090x2-ddp-nccl.sqlite"))
    matched = [match for match in match_kernels(torch, nsys) if match.how == "normal"]
    assert len(matched) >= 10
    for match in matched:
        first, second = describe_kernel(match.name), describe_kernel(match.candidates[0])
        assert (first.library, first.family, first.friendly) == (second.library, second.family, second.friendly)


@pytest.mark.shared
def test_printed_tables_match_the_capture_they_were_printed_from(shared_data: Path) -> None:
    printed = _printed_table(shared_data / "nsys-stats" / "a100-resnet50-nsys-stats.txt")
    stored = _sqlite(shared_data / "nsys-sqlite" / "a100-resnet50.sqlite")
    assert {match.status for match in match_kernels(printed, stored)} == {"matched"}
    assert len(printed) == len(stored) == 13
