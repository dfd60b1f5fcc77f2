"""Which metrics ncu has to collect so that a kernel gets its place under the roofline.

In: the compute capability of a GPU. Out: the names that exist on it, and no others: ncu answers a wrong name with
"n/a", which would read as "no such work". A GPU that is not known here gets none: ncu's set `detailed` is collected.
"""

from __future__ import annotations

# Source: names in ncu's section files 2025.3.1 and in what `ncu --query-metrics --chips` lists. CC 7.5 to 9.0 are
# checked against ncu 2024.1.1 on all its chips; of 10.0 all names but packed FP32 are in a full report of a B200 (ncu
# 2025.3); of 12.0 16 of 59 are in a report, the rest is from section files alone; 11.0 and 12.1 are not checked.
_EVERYWHERE = (
    "gpu__time_duration.sum",
    "gpc__cycles_elapsed.max",
    "sm__cycles_elapsed.avg.per_second",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "l1tex__t_sector_hit_rate.pct",
    "lts__t_sector_hit_rate.pct",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "gpu__compute_memory_access_throughput.avg.pct_of_peak_sustained_elapsed",
    "gpu__compute_memory_request_throughput.avg.pct_of_peak_sustained_elapsed",
    "lts__lts2xbar_cycles_active.sum",
    "lts__lts2xbar_cycles_active.sum.peak_sustained",
    "lts__cycles_elapsed.avg.per_second",
    "l1tex__cycles_elapsed.avg.per_second",
    *(
        f"smsp__sass_thread_inst_executed_op_{operation}_pred_on.sum"
        for operation in ("dadd", "dmul", "dfma", "fadd", "fmul", "ffma", "hadd", "hmul", "hfma")
    ),
    *(
        f"sm__sass_thread_inst_executed_op_{operation}_pred_on.sum.peak_sustained"
        for operation in ("dfma", "ffma", "hfma")
    ),
)
_DRAM = (
    "dram__bytes.sum",
    "dram__bytes.sum.peak_sustained",
    "dram__cycles_elapsed.avg.per_second",
    "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
)
_PACKED = tuple(
    f"smsp__sass_thread_inst_executed_op_{operation}_pred_on.sum" for operation in ("fadd2", "fmul2", "ffma2")
)
_BOTH = ("sparsity_off", "sparsity_on")
_AMPERE = (
    *(f"{stem}_{form}" for stem in ("src_bf16_dst_fp32", "src_fp16_dst_fp32", "src_fp16_dst_fp16", "src_tf32_dst_fp32",
                                    "src_int8", "src_int4") for form in _BOTH),
    "src_fp64", "src_int1",
)  # fmt: skip
_HOPPER = (
    "src_bf16_dst_fp32", "src_fp16", "src_tf32_dst_fp32", "src_fp64", "src_fp8_sparsity_off", "src_fp8_sparsity_on",
    "src_int8", "src_int1",
)  # fmt: skip
_BLACKWELL = (
    "src_bf16_dst_fp32", "src_fp16_dst_fp16", "src_fp16_dst_fp32", "src_tf32_dst_fp32", "src_fp64", "src_int8",
)  # fmt: skip
_DATA_CENTER = (*_BLACKWELL, "src_fp4_dst_fp32", "src_fp4_fp6_fp8_dst_fp16", "src_fp4_fp6_fp8_dst_fp32")
_GEFORCE = (
    *_BLACKWELL,
    *(f"{stem}_{form}" for stem in ("src_fp4_dst_fp32", "src_fp4_fp6_dst_fp16", "src_fp4_fp6_dst_fp32",
                                    "src_fp8_dst_fp16", "src_fp8_dst_fp32") for form in _BOTH),
)  # fmt: skip
# Operations of the tensor pipe by compute capability: one family each, as totals and forms overlap.
_TENSOR: dict[str, tuple[str, ...]] = {
    "7.5": ("src_fp16_bf16_tf32_dst_fp32", "src_fp16_dst_fp16", "src_int8", "src_int4", "src_int1"),
    "8.0": _AMPERE,
    "8.6": _AMPERE,
    "8.7": _AMPERE,
    "8.9": (*_AMPERE, *(f"src_fp8_{form}" for form in _BOTH)),
    "9.0": _HOPPER,
    "10.0": _DATA_CENTER,
    "11.0": _DATA_CENTER,
    "12.0": _GEFORCE,
    "12.1": _GEFORCE,
}
# The dense roof of each dtype: from CC 9.0 on the peak of a total is that of sparse operation.
_ROOFS: dict[str, tuple[str, ...]] = {
    "7.5": ("src_fp16_bf16_tf32_dst_fp32", "src_int8"),
    "8.0": ("src_tf32_dst_fp32_sparsity_off", "src_bf16_dst_fp32_sparsity_off", "src_fp16_dst_fp32_sparsity_off",
            "src_int8_sparsity_off", "src_fp64"),
    "9.0": ("op_hgmma_src_tf32_dst_fp32_sparsity_off", "op_hgmma_src_bf16_dst_fp32_sparsity_off",
            "op_hgmma_src_fp16_sparsity_off", "src_fp8_sparsity_off", "op_igmma_src_int8_sparsity_off", "src_fp64"),
    "10.0": ("op_utchmma_src_tf32_dst_fp32_sparsity_off", "op_utchmma_src_bf16_dst_fp32_sparsity_off",
             "op_utchmma_src_fp16_dst_fp32_sparsity_off", "op_utcqmma_src_fp4_fp6_fp8_dst_fp32_sparsity_off",
             "op_utcomma_src_fp4_dst_fp32_sparsity_off", "op_utcimma_src_int8_sparsity_off", "src_fp64"),
    "12.0": ("op_hmma_src_tf32_dst_fp32_sparsity_off", "op_hmma_src_bf16_dst_fp32_sparsity_off",
             "op_hmma_src_fp16_dst_fp32_sparsity_off", "src_fp8_dst_fp32_sparsity_off",
             "src_fp4_dst_fp32_sparsity_off", "op_imma_src_int8_sparsity_off", "src_fp64"),
}  # fmt: skip
_ROOFS |= {"8.6": _ROOFS["8.0"], "8.7": _ROOFS["8.0"], "8.9": (*_ROOFS["8.0"], "src_fp8_sparsity_off"),
           "11.0": _ROOFS["10.0"], "12.1": _ROOFS["12.0"]}  # fmt: skip
# Integrated GPUs have no counter of DRAM traffic.
_WITHOUT_DRAM = frozenset({"8.7", "11.0", "12.1"})
# Static facts of a launch: they cost no pass.
SECTIONS = ("LaunchStats", "Occupancy")


def known_capabilities() -> tuple[str, ...]:
    """Return the compute capabilities whose metrics are known."""
    return tuple(_TENSOR)


def roofline_metrics(compute_capability: str | None) -> tuple[str, ...]:
    """Return the metrics to collect on a GPU of `compute_capability` (major.minor); none where it is not known."""
    if compute_capability is None or compute_capability not in _TENSOR:
        return ()
    version = float(compute_capability)
    tensor = (f"sm__ops_path_tensor_{stem}.sum" for stem in _TENSOR[compute_capability])
    roofs = (f"sm__ops_path_tensor_{stem}.sum.peak_sustained" for stem in _ROOFS[compute_capability])
    # GB203 and its kin spell the direction in another way.
    direction = ("op_read", "op_write") if compute_capability == "12.0" else ("read", "write")
    dram = (*_DRAM, *(f"dram__bytes_{way}.sum" for way in direction))
    writeback = "lgds" if version >= 9.0 else "lg"
    return (
        *_EVERYWHERE,
        *(() if compute_capability in _WITHOUT_DRAM else dram),
        f"l1tex__lsu_writeback_active_mem_{writeback}.sum",
        f"l1tex__lsu_writeback_active_mem_{writeback}.sum.peak_sustained",
        *(_PACKED if compute_capability == "10.0" else ()),
        *tensor,
        *roofs,
    )
