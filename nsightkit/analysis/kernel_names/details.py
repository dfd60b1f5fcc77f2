"""The details of a kernel that stand in its name: number type, tile, vectorization, epilogue.

In: the forms of a name from `kernel_name_form`. Out: short words, or None where the name does not say.
"""

import re

# C++ types as the compilers of CUDA print them.
CPP_TYPES = {
    "FP4": r"float_u?e2m1\w*|mx_float4_t|nv_float4_t",
    "FP8": r"__nv_fp8_\w+|Float8_\w+|float_u?e[45]m[23]\w*|mx_float8_t",
    "BF16": r"BFloat16|__nv_bfloat162?|bfloat16_t|bfloat16(?=_copy)",
    "FP16": r"__half2?|Half|half[2_]?t?",
    "TF32": r"tfloat32_t",
    "C64": r"complex<float>|cuComplex|cuFloatComplex",
    "C128": r"complex<double>|cuDoubleComplex",
    "FP64": r"double[234]?",
    "FP32": r"float[234]?",
    "INT8": r"u?int8_t|signed char",
}
# Marks inside a kernel's own name. TF32: CUTLASS and cuBLAS call a float GEMM on tensor cores s1688gemm when no half
# type follows. nvjet: letters for A and B, accumulator, result (t BF16, h FP16, q FP8). bmm (TensorRT-LLM): the
# result's type stands first, then those of A and B.
# Source: https://docs.nvidia.com/cutlass/media/docs/cpp/profiler.html (naming of operations)
NAME_MARKS = {
    "FP4": r"^bmm_[A-Za-z0-9]+_(?:Mx)?E2m1|(?<![a-z])(?:nv|mx)?fp4(?![0-9a-z])",
    "FP8": r"^bmm_[A-Za-z0-9]+_(?:Mx)?E4m3|e[45]m[23]|E[45]m[23]|(?<![a-z])fp8(?![0-9a-z])|nvjet_(?:sm\d+_)?[qo]",
    "BF16": r"^bmm_[A-Za-z0-9]+_Bfloat16|(?<![a-z])bf16|bfloat16|nvjet_(?:sm\d+_)?t",
    "FP16": r"(?<![a-z0-9])f16|fp16|float16|(?<![a-z])hgemm|hcudnn|[sh]884gemm|1688gemm_f(?:p)?16|nvjet_(?:sm\d+_)?h",
    "TF32": r"tf32|s1688gemm(?!_b?f(?:p)?16)",
    "FP64": r"float64|(?<![a-z0-9])f64|(?<![a-z])dgem[mv]|d884gemm|_double(?=[(<]|$)",
    "C64": r"complex64|(?<![a-z])cgemm",
    "C128": r"complex128|(?<![a-z])zgemm",
    "FP32": r"float32|(?<![a-z0-9])f32|fp32|Fp32|(?<![a-z])sgem[mv]|scudnn|_float(?=[(<]|$)",
    "INT8": r"i(?:8816|8832|16832|16864)gemm|(?<![a-z])igemm|(?<![a-z0-9])[siu]8(?![0-9a-z])|int8",
    "INT64": r"_[iu]64(?![0-9])",
    "INT32": r"_[iu]32(?![0-9])",
}
_TYPE = re.compile(r"\b(?:" + "|".join(f"(?P<{name}>{words})" for name, words in CPP_TYPES.items()) + r")(?!\w)")
_MARK = re.compile("|".join(f"(?P<{name}>{marks})" for name, marks in NAME_MARKS.items()))
_MARK_LENGTH = 160  # generated names carry their marks near their beginning

# Integers are data only where a pointer, a functor or a lambda holds them; elsewhere they are sizes.
_INTEGER_NAMES = {
    "long long": "INT64",
    "long": "INT64",
    "int": "INT32",
    "short": "INT16",
    "unsigned char": "INT8",
    "bool": "BOOL",
}
_INTEGER = re.compile(r"(?:(?<=\()|(?<=, ))(?:unsigned (?!char))?(long long|long|int|short|unsigned char)(?=\*)")
_FUNCTOR_INTEGER = re.compile(
    r"(?:Functor\w*|ReduceOp|lambda|^Device\w+<\w+Policy)[<(](?:unsigned (?!char))?"
    r"(long long|long|int|short|unsigned char|bool)\b"
)

Details = dict[str, str | None]

_TILES = tuple(
    re.compile(pattern)
    for pattern in (
        r"tilesize(\d+)x(\d+)",
        r"^bmm_\w+?_t(\d+)x(\d+)x",
        r"\bGemmShape<(\d+), (\d+), ",
        r"\bFlash_(?:fwd|bwd)_kernel_traits<\d+, (\d+), (\d+)",
        # The first tuple of constants is the cluster (at most 16 blocks); a tile is at least 16 wide.
        r"\btuple<C<(\d{2,3})>, C<(\d{2,3})>, C<\d+>>",
        r"_(\d{2,3})x(\d{1,3})(?:x\d+)?(?=_|>|\(|$)",
    )
)
_TILE_FAMILIES = frozenset({"GEMM", "attention", "convolution"})
_EPILOGUES = {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "sigmoid": "sigmoid", "swiglu": "SwiGLU", "bias": "bias"}
_EPILOGUE = re.compile(r"(?<=_)(relu|gelu|silu|sigmoid|swi[Gg]lu|bias)(?=_|>|$)")
_ALGORITHM = re.compile(r"_(RING|TREE|NVLS|NVLSTREE|COLLNET\w*?|PAT)_(LL128|LL|SIMPLE)\b")
DTYPES = tuple(dict.fromkeys((*CPP_TYPES, *NAME_MARKS, *_INTEGER_NAMES.values())))
_CPP_WORDS = {"FP32": "float", "FP64": "double", "INT64": "long", "INT32": "int", "BOOL": "bool"}


def dtype_of(normal: str, spelled: str) -> str | None:
    """Return the type of the first operand that the name mentions, or None. Floating types go before integers."""
    mark = _MARK.search(normal, 0, _MARK_LENGTH)
    found = _TYPE.search(normal) or (mark is None and _TYPE.search(spelled)) or None
    if mark and (not found or mark.start() <= found.start()):
        return mark.lastgroup
    if found:
        return found.lastgroup
    integer = _FUNCTOR_INTEGER.search(normal) or _INTEGER.search(normal)
    return _INTEGER_NAMES[integer[1]] if integer else None


def tile_of(normal: str, family: str) -> str | None:
    """Return the block tile, rows x columns, of a kernel that works in tiles, or None."""
    if family not in _TILE_FAMILIES:
        return None
    for pattern in _TILES:
        found = pattern.search(normal)
        if found:
            return f"{found[1]}x{found[2]}"
    return None


def detail_words(details: tuple[str, ...], known: Details) -> list[str]:
    """Return the text of each of a rule's `details` that is known; `=text` is itself."""
    texts = (detail[1:] if detail.startswith("=") else known.get(detail) for detail in details)
    return [text for text in texts if text]


def known_details(
    normal: str, groups: dict[str, str | None], dtype: str | None, tile: str | None
) -> dict[str, str | None]:
    """Return every detail that a rule may ask for, as text."""
    head = normal.partition("<")[0]
    epilogue = _EPILOGUE.search(normal)
    algorithm = _ALGORITHM.search(normal)
    template, batch = groups.get("template"), groups.get("batch")
    return {
        "dtype": dtype,
        "tile": f"{tile.replace('x', '×')} tile" if tile else None,
        "vec": "vec" if "vectorized" in head or head.endswith("_vec") else None,
        "epilogue": _EPILOGUES[epilogue[1].lower()] if epilogue else None,
        "wmma": "WMMA" if "_wmma_" in normal else None,
        "template": f"template={template}" if template else None,
        "batch": f"{batch}-tile" if batch else None,
        "algorithm": f"{algorithm[1].capitalize()} {algorithm[2]}" if algorithm else None,
    }


def cpp_word(dtype: str | None) -> str | None:
    """Return the C++ word for `dtype` (float for FP32), as PyTorch's kernels print it."""
    return _CPP_WORDS.get(dtype, dtype) if dtype else None
