"""``nsightkit model``: what a language model costs on paper, on a named GPU.

In: a known model or its sizes, the work, GPUs. Out: KV bytes, FLOP, bytes, intensity, roofline time and capacity, each
with its formula.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import click

from nsightkit.analysis.work import paper_model as paper
from nsightkit.analysis.work.model_shapes import ModelShape, known_shapes, shape_from, shape_of_name
from nsightkit.cli.output import Field, Row, emit, format_option, note
from nsightkit.gpus import gpu_of_key
from nsightkit.report import format as fmt

_SIZES = {
    "layers": "Layers.",
    "heads": "Heads of the attention.",
    "kv_heads": "Heads of keys and values (GQA). Default: as many as --heads.",
    "head_width": "Width of a head. Default: --width ÷ --heads.",
    "width": "Width of the hidden state.",
    "mlp_width": "Width within the feed-forward part. Default: 4 × --width.",
    "vocabulary": "Entries of the vocabulary.",
    "experts": "Experts of a layer (MoE). Default: none.",
    "active_experts": "Experts that a token uses.",
    "shared_experts": "Experts that every token uses besides.",
    "expert_width": "Width within an expert.",
    "dense_layers": "First layers without experts.",
    "latent_width": "Width of the compressed row of a position (MLA). Default: no MLA.",
    "query_width": "MLA: width that queries are compressed to. Default: they are not.",
    "rope_width": "MLA: width of a head that carries the position.",
    "nope_width": "MLA: width of a head that does not.",
    "value_width": "MLA: width of a head's values.",
    "kv_layers": "Layers with keys and values of their own; the others borrow them. Default: all.",
}
FIELDS = (
    Field("gpu", "gpu"),
    Field("phase", "phase"),
    Field("quantity", "quantity"),
    Field("pretty", "value", wraps=False),
    Field("value", "exact", "", shown=False),
    Field("unit", "unit", shown=False),
    Field("formula", "formula"),
)


def _size_options(function: Callable[..., None]) -> Callable[..., None]:
    for name, meaning in reversed(_SIZES.items()):
        function = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=click.IntRange(min=0),
            metavar="N",
            help=meaning,
        )(function)
    return function


@click.command("model")
@click.argument("name", default=None, required=False, metavar="[MODEL]")
@_size_options
@click.option("--gated-mlp/--plain-mlp", default=None, help="Three maps in the feed-forward part, or two.")
@click.option("--gpu", "gpus", multiple=True, metavar="KEY", help="Entry of the table of GPUs; may be repeated.")
@click.option("--dtype", type=click.Choice(tuple(paper.DTYPES)), default="bfloat16", show_default=True)
@click.option(
    "--kv-dtype",
    type=click.Choice(("model", "int8")),
    default="model",
    show_default=True,
    help="int8: one byte a value and an fp32 scale a row of a head.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences at once.")
@click.option("--prompt-len", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens of a prompt.")
@click.option("--max-new-tokens", type=click.IntRange(min=0), default=16, show_default=True, help="Tokens to decode.")
@click.option("--kv-cache/--no-kv-cache", default=True, show_default=True, help="Keep keys and values, or not.")
@click.option(
    "--memory-gb", type=click.FloatRange(min=0), help="Memory of the GPU in GB (10^9 bytes), for the capacity."
)
@click.option("--list", "listed", is_flag=True, help="List the known models and stop.")
@format_option
def command(name: str | None, listed: bool, format_: str, **options: Any) -> None:
    """Print KV bytes, FLOP, bytes, intensity and roofline time of MODEL: exact counts of the matrix products.

    Every figure is a prediction from formulas; docs/method.md has them with their sources.

    \b
    nsightkit model gpt2 --gpu a100-80gb-sxm --batch-size 8
    nsightkit model llama-3-8b --gpu h100-sxm --prompt-len 2048 --memory-gb 80
    nsightkit model --layers 6 --heads 8 --width 512 --vocabulary 4096 --dtype float32
    """
    if listed:
        _list(format_)
        return
    shape = _shape(name, options)
    cache = paper.INT8 if options["kv_dtype"] == "int8" else paper.PLAIN
    work = paper.Work(
        options["batch_size"],
        options["prompt_len"],
        options["max_new_tokens"],
        options["kv_cache"],
        options["dtype"],
        cache,
    )
    rows = _counts(shape, work)
    for key in options["gpus"]:
        rows += _on_gpu(shape, work, paper.peaks_of(gpu_of_key(key), work.dtype))
    if options["memory_gb"] is not None:
        rows.append(_capacity(shape, work, options["memory_gb"] * 1e9))
    emit(FIELDS, rows, format_, _caption(name, shape, work))
    if not options["gpus"]:
        note("name a GPU with --gpu for its ridge point and the roofline time, as in --gpu h100-sxm")


def _list(format_: str) -> None:
    fields = (Field("name", "model"), Field("parameters", "parameters", "count"), Field("source", "source"))
    rows = [{"name": k, "parameters": s.stored_weights, "source": s.source} for k, s in known_shapes().items()]
    emit(fields, rows, format_)


def _shape(name: str | None, options: dict[str, Any]) -> ModelShape:
    given = {size: options[size] for size in (*_SIZES, "gated_mlp") if options[size] is not None}
    if name is not None:
        shape = shape_of_name(name)
        # What follows from a size that is changed here must follow anew.
        stale = {"kv_heads", "head_width", "mlp_width", "kv_layers"} - set(given) if given else set()
        return shape_from(asdict(replace(shape, source="")) | dict.fromkeys(_follows(given) & stale, 0) | given)
    missing = [size for size in ("layers", "heads", "width", "vocabulary") if size not in given]
    if missing:
        raise click.UsageError(
            f"name a model ({', '.join(known_shapes())}) or give --{' and --'.join(missing)} as well"
        )
    return shape_from(given)


def _follows(given: dict[str, Any]) -> set[str]:
    depends = {"heads": {"kv_heads", "head_width"}, "width": {"head_width", "mlp_width"}, "layers": {"kv_layers"}}
    return set().union(*(depends.get(name, set()) for name in given))


def _caption(name: str | None, shape: ModelShape, work: paper.Work) -> str:
    return (
        f"{name or 'model'}: {fmt.count(shape.stored_weights)} parameters, {work.dtype}, batch {work.batch}, prompt "
        f"{work.prompt}, {work.new_tokens} decode steps, KV cache {'on' if work.cached else 'off'}; "
        "on paper, not measured"
    )


def _row(phase: str, quantity: str, value: float | None, unit: str, formula: str, gpu: str = "") -> Row:
    return {
        "gpu": gpu,
        "phase": phase,
        "quantity": quantity,
        "pretty": fmt.with_unit(value, unit),
        "value": value,
        "unit": unit,
        "formula": paper.FORMULAS.get(formula, formula),
    }


def _counts(shape: ModelShape, work: paper.Work) -> list[Row]:
    end = work.prompt + work.new_tokens
    rows = [_row("all", "weights", shape.stored_weights * work.value_bytes, "byte", "parameters × bytes per value")]
    if shape.experts:
        rows.append(_row("all", "active parameters", shape.active_weights, "count", "active_weights"))
    if work.cached:
        rows += [
            _row("all", "KV cache a token", paper.kv_position_bytes(shape, work), "byte", "kv_bytes"),
            _row("all", f"KV cache at {end} positions", paper.kv_bytes(shape, work, end), "byte", "kv_bytes"),
        ]
    for phase, cost in _phases(shape, work):
        attention = _attention(shape, phase == "decode" and work.cached)
        rows += [
            _row(phase, "FLOP, linear maps", cost.linear_flop, "flop", "linear_flop"),
            _row(phase, "FLOP, attention", cost.attention_flop, "flop", attention),
            _row(phase, "FLOP, head", cost.head_flop, "flop", "head_flop"),
            _row(phase, "FLOP", cost.flop, "flop", "their sum"),
            _row(phase, "bytes", cost.moved_bytes, "byte", "bytes"),
            _row(phase, "intensity", cost.flop_per_byte, "flop/byte", "intensity"),
        ]
    return rows


def _attention(shape: ModelShape, reads_cache: bool) -> str:
    """Return the key of the formula that counts attention."""
    if not shape.latent_width:
        return "attention_flop"
    return "latent_attention_flop" if reads_cache else "whole_latent_attention_flop"


def _phases(shape: ModelShape, work: paper.Work) -> list[tuple[str, paper.Cost]]:
    phases = [("prefill", paper.prefill_cost(shape, work))]
    if work.new_tokens:
        phases.append(("decode", paper.decode_cost(shape, work)))
    return phases


def _on_gpu(shape: ModelShape, work: paper.Work, peaks: paper.Peaks) -> list[Row]:
    first = peaks.time_ns(paper.prefill_cost(shape, work))
    rows = [
        _row("all", "ridge point", peaks.ridge_flop_per_byte, "flop/byte", "peak ÷ bandwidth", peaks.name),
        _row("prefill", "roofline time", first, "ns", "time", peaks.name),
    ]
    if work.new_tokens:
        total = paper.decode_time_ns(shape, work, peaks)
        rows += [
            _row("decode", "roofline time", total, "ns", "time", peaks.name),
            _row("decode", "roofline time a token", total / work.new_tokens, "ns", "time ÷ new tokens", peaks.name),
        ]
    return rows


def _capacity(shape: ModelShape, work: paper.Work, memory_bytes: float) -> Row:
    positions = work.prompt + work.new_tokens
    users = paper.capacity(shape, work, positions, memory_bytes)
    return _row("all", f"sequences of {positions} positions that fit", users, "count", "capacity")
