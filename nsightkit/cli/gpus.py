"""``nsightkit gpus``: the peaks of GPUs that nsightkit judges by, each value with its source.

In: no arguments, or the key or name of one GPU. Out: one row a GPU, or one row a value.
"""

from __future__ import annotations

from typing import Any

import click

from nsightkit.cli.output import Field, emit, format_option
from nsightkit.gpus import GpuSpec, all_gpus, gpu_of_key, source_texts
from nsightkit.report import format as fmt

UNITS = {"_flop_per_s": "flop/s", "_op_per_s": "op/s", "_bytes_per_s": "byte/s", "_bytes": "byte", "_hz": "Hz"}
LIST_FIELDS = (
    Field("key", "key"),
    Field("names", "names"),
    Field("compute_capability", "CC"),
    Field("sm_count", "SMs", "count"),
    Field("fp64_flop_per_s", "FP64", "flop/s"),
    Field("fp32_flop_per_s", "FP32", "flop/s"),
    Field("tensor_bf16_flop_per_s", "tensor BF16", "flop/s"),
    Field("tensor_fp8_flop_per_s", "tensor FP8", "flop/s"),
    Field("tensor_int8_op_per_s", "tensor INT8", "op/s"),
    Field("dram_bytes_per_s", "DRAM", "byte/s"),
    Field("l2_bytes", "L2", "byte"),
)
SHOW_FIELDS = (
    Field("name", "value"),
    Field("shown", "figure"),
    Field("figure", "exact", "text", shown=False),
    Field("unit", "unit", "text", shown=False),
    Field("source", "source"),
)
CAPTION = "dense figures, per GPU, at the boost clock; accumulation in FP32 unless it says acc16"


@click.command("gpus")
@click.argument("gpu", required=False, metavar="[GPU]")
@format_option
def command(gpu: str | None, format_: str) -> None:
    """List the GPUs whose data sheets nsightkit knows, or show one GPU with the source of each value.

    A capture's GPU is matched by name and SM count; another SM count (a MIG slice, a laptop version) has no match. What
    is not known is empty, never guessed.

    \b
    nsightkit gpus
    nsightkit gpus h100-sxm
    """
    if gpu is None:
        emit(LIST_FIELDS, [_summary(spec) for spec in all_gpus()], format_, CAPTION)
        return
    spec = _wanted(gpu)
    caption = f"{spec.key}: {', '.join(spec.names)} · CC {spec.compute_capability} · {spec.sm_count} SMs · {CAPTION}"
    emit(SHOW_FIELDS, _values(spec), format_, caption)


def _wanted(text: str) -> GpuSpec:
    for spec in all_gpus():
        if text.casefold() in (name.casefold() for name in spec.names):
            return spec
    return gpu_of_key(text)


def _summary(spec: GpuSpec) -> dict[str, Any]:
    fixed = {"key": spec.key, "names": spec.names, "compute_capability": spec.compute_capability}
    return fixed | {"sm_count": spec.sm_count} | dict(spec.values)


def _values(spec: GpuSpec) -> list[dict[str, Any]]:
    texts = source_texts()
    rows = []
    for name, value in spec.values.items():
        unit = next(unit for suffix, unit in UNITS.items() if name.endswith(suffix))
        shown = fmt.with_unit(value, unit)
        rows.append({"name": name, "shown": shown, "figure": value, "unit": unit, "source": texts[spec.sources[name]]})
    return rows
