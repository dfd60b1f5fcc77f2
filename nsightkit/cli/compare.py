"""``nsightkit compare``: what changed between runs, is it real, and why."""

from pathlib import Path

import click

from nsightkit.cli.compare_options import allowance_options, baselines_option, complete_side
from nsightkit.cli.output import format_option


@click.command("compare")
@click.argument("base", shell_complete=complete_side)
@click.argument("heads", nargs=-1, required=True, metavar="HEAD [MORE]...", shell_complete=complete_side)
@allowance_options
@click.option(
    "--in", "--range", "range_name", metavar="RANGE",
    help="Only what ranges (NVTX, annotations) of this name launched; * and ? stand for text.",
)  # fmt: skip
@click.option(
    "--phase",
    "phases",
    multiple=True,
    metavar="RANGE",
    help="Also compare what ranges of this name launched. May be repeated.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.02,
    show_default=True,
    help="Relative change that does not matter: 0.02 is 2 %.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Kernels in the table; 0 prints all. New, gone and changed ones always show; csv, json, parquet hold all.",
)
@baselines_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write the page compare.html and its Markdown compare.md, with figures, into this folder.",
)
@format_option
def command(
    base: str, heads: tuple[str, ...], varies: tuple[str, ...], per_token: bool, range_name: str | None,
    phases: tuple[str, ...], tolerance: float, limit: int, baselines: Path, output: Path | None,
    format_: str,
) -> None:  # fmt: skip
    """Compare HEAD with BASE; each MORE is compared with BASE too.

    A side is a capture, a folder of captures, a run directory, a stored baseline, or results of benchmarks (JSON of our
    workloads or of others), whose timings are compared setting by setting. A trace without a GPU is compared by the
    operators' own time on the CPU. The unit of a verdict is the process run, and a side needs at least five of them:
    name a folder that holds run directories, a quoted pattern, or several paths joined by commas. One run a side is
    described, never judged.

    Exit code 3: the sides cannot be compared (the message names what differs and the way out).

    \b
    nsightkit compare before.sqlite after.sqlite
    nsightkit compare 'runs/main-*' 'runs/branch-*' --per-token
    nsightkit compare main runs/branch --format markdown
    nsightkit compare main runs/branch -o changes        # changes/compare.html and changes/compare.md
    nsightkit compare 'results/*KVfalse*.json' 'results/*KVtrue*.json'
    """
    from nsightkit.analysis.compare.comparison import CompareOptions
    from nsightkit.analysis.compare.noise import NoiseOptions
    from nsightkit.cli.comparing import CompareRequest, compare_and_print

    options = CompareOptions(NoiseOptions(tolerance=tolerance), per_token)
    request = CompareRequest(baselines, varies, options, range_name, phases, limit, format_, output)
    compare_and_print(base, heads, request)
