"""``nsightkit utilization``: MFU and MBU of each phase, from every source of its work, side by side.

In: captures with ranges, and a model if its cost on paper is asked for. Out: one row a phase and source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nsightkit.cli.inputs import finish, or_newest_run, paths_argument
from nsightkit.cli.measured_roofs import kept_ceilings, read_roofs
from nsightkit.cli.output import Field, emit, format_option, note
from nsightkit.report import format as fmt

FIELDS = (
    Field("phase", "phase"),
    Field("source", "work from", wraps=False),
    Field("time_ns", "time", "ns"),
    Field("flop", "FLOP", "flop"),
    Field("moved_bytes", "bytes", "byte"),
    Field("flop_share", "MFU", "1"),
    Field("bytes_share", "MBU", "1"),
    Field("peak", "peak"),
    Field("capture_id", "capture"),
    Field("scope", "scope", shown=False),
    Field("flags", "flags", shown=False),
)


@click.command("utilization")
@paths_argument(required=False)
@click.option("--phase", "--in", "phases", multiple=True, metavar="RANGE",
              help="A named range to ask about; * and ? stand for text. May be repeated.")  # fmt: skip
@click.option(
    "--model", "model", metavar="NAME", help="Add the cost on paper of this model ('nsightkit model --list')."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences at once.")
@click.option("--prompt-len", type=click.IntRange(min=1), default=128, show_default=True, help="Tokens of a prompt.")
@click.option("--max-new-tokens", type=click.IntRange(min=0), default=16, show_default=True, help="Tokens to decode.")
@click.option(
    "--kv-cache/--no-kv-cache", "cached", default=True, show_default=True, help="Keep keys and values, or not."
)
@click.option("--dtype", type=click.Choice(("float32", "float64", "float16", "bfloat16")), default="bfloat16",
              show_default=True)  # fmt: skip
@click.option("--gpu", metavar="KEY", help="Take this data sheet where a capture does not name its GPU.")
@format_option
def command(
    paths: tuple[Path, ...], phases: tuple[str, ...], model: str | None, gpu: str | None, format_: str, **work: Any
) -> None:  # fmt: skip
    """Say how much of the peaks each phase used: MFU (arithmetic) and MBU (bandwidth of the memory).

    \b
    Work comes from every source that there is, each over the time of its own execution:
      stated    the program says what its ranges have to do (annotate.state_work; kv_decode does)
      paper     --model and its sizes: what the model needs
      counters  what ncu counted in the launches of the phase that it profiled
      shapes    operators of a torch trace; experimental
      sampled   bytes alone, by the samples of nsys --gpu-metrics

    \b
    nsightkit utilization RUN
    nsightkit utilization profile.sqlite --model gpt2 --batch-size 8 --prompt-len 64
    nsightkit utilization profile.sqlite counters.ncu-rep --phase decode_step
    """
    from nsightkit.analysis.roofs.phase_rows import phase_names, uses_by_phase
    from nsightkit.analysis.roofs.roofline_rows import RooflineChoice
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.rooflines import WANTED_SAMPLED

    paths = or_newest_run(paths)
    dataset = open_dataset(paths, dict.fromkeys(WANTED_SAMPLED))
    if not dataset.info.captures:
        finish(dataset)
    names = _meant_phases(dataset, phases) or phase_names(dataset)
    choice = RooflineChoice(gpu=gpu, roofs=read_roofs(kept_ceilings(paths)), by_range=True, phases=names)
    found = uses_by_phase(dataset, choice) if names else []
    if model:
        found += _on_paper(dataset, choice, (model, work))
    order = {name: place for place, name in enumerate(names)}
    rows = [_row(use) for use in sorted(found, key=lambda use: (order[use.phase], use.capture_id))]
    emit(FIELDS, rows, format_, f"{dataset.name}: use of the peaks by phase")
    has_ranges = dataset.has("nvtx_ranges") and dataset.arrow("nvtx_ranges", ("name",)).num_rows > 0
    for text in _told(found, names, has_ranges):
        note(text)
    finish(dataset)


def _meant_phases(dataset: Any, phases: tuple[str, ...]) -> tuple[str, ...]:
    """Return the phases that were asked for, a pattern as the names that it means.

    Raises:
        AnalysisError: one is in none of the captures, with the names that are: a table without rows would say nothing.
    """
    from nsightkit.analysis.ranges.range_names import meant, normal_name
    from nsightkit.analysis.ranges.range_summary import no_such_range

    if not phases:
        return ()
    ranges = dataset.arrow("nvtx_ranges", ("name",))["name"].unique().to_pylist() if dataset.has("nvtx_ranges") else []
    counted = dataset.rows("kernel_counters") if dataset.has("kernel_counters") else []
    paths = {row.get("nvtx_path") or "" for row in counted}
    names = [name for name in dict.fromkeys([*ranges, *(part for path in paths for part in path.split("/"))]) if name]
    found: list[str] = []
    for phase in phases:
        known = any(phase in (name, normal_name(name)) for name in names)
        forms = [phase] if known else meant(names, phase)
        if not forms:
            raise no_such_range(phase, names)
        found += forms
    return tuple(dict.fromkeys(found))


def _on_paper(dataset: Any, choice: Any, asked: tuple[str, dict[str, Any]]) -> list[Any]:
    from nsightkit.analysis.roofs.phase_rows import phase_times
    from nsightkit.analysis.work.model_shapes import shape_of_name
    from nsightkit.analysis.work.paper_model import Work
    from nsightkit.analysis.work.phase_use import paper_uses

    model, sizes = asked
    work = Work(sizes["batch_size"], sizes["prompt_len"], sizes["max_new_tokens"], sizes["cached"], sizes["dtype"])
    found = paper_uses(phase_times(dataset, choice.phases, choice), shape_of_name(model), work)
    if not found:
        note("the paper model knows prefill, decode and decode_step: no range of that name launched GPU work here")
    return found


def _row(use: Any) -> dict[str, Any]:
    return {name: getattr(use, name) for name in use.__slots__} | {"scope": use.scope}


def _told(found: list[Any], names: tuple[str, ...], has_ranges: bool) -> list[str]:
    """Return what the times are, what is doubtful, and what would be needed where there is nothing."""
    if not names and has_ranges:
        return ["its ranges launched no GPU work that was recorded, and MFU and MBU are those of a GPU; what the CPU "
                "did in each range: 'nsightkit roofline --by range'"]  # fmt: skip
    if not names:
        return ["no named range in it: mark the phases with NVTX ranges (nsightkit.annotate.range)"]
    if not found:
        return ["no work is known of any phase: let the program state it (annotate.state_work), name --model, trace "
                "shapes with torch.profiler, or profile the phase with ncu and --nvtx"]  # fmt: skip
    scopes = dict.fromkeys(f"time of '{use.source}': {use.scope}" for use in found)
    flags = dict.fromkeys(f"{use.phase}, {use.source}: {flag}" for use in found for flag in use.flags)
    experimental = ("shapes and stated work are experimental: not compared with counters",)
    told = experimental if any(use.source in ("shapes", "stated") for use in found) else ()
    return [fmt.printable(text) for text in (*scopes, *told, *flags)]
