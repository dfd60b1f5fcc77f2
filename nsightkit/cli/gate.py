"""``nsightkit gate``: pass or fail a change in CI."""

from pathlib import Path

import click

from nsightkit.cli.compare_options import allowance_options, baselines_option, complete_side
from nsightkit.cli.output import format_option


@click.command("gate")
@click.argument("base", shell_complete=complete_side)
@click.argument("head", shell_complete=complete_side)
@click.option(
    "--fail-on",
    "texts",
    multiple=True,
    required=True,
    metavar="CONDITION",
    help="As 'total_ns > +3%', 'decode.per_token_ns > +2%', 'family:GEMM.total_ns > +1ms', 'kernels:.*.total_ns > "
    "+10%' (each kernel by itself). May be repeated.",
)
@click.option("--in", "within", metavar="RANGE", help="Hold conditions without a SCOPE against the range of this name.")
@click.option("--inconclusive", type=click.Choice(("pass", "fail")), help="Settle what is inconclusive: exit 0 or 1.")
@click.option(
    "--accept",
    "reason",
    metavar="REASON",
    help="Record what fails as accepted in the stored baseline BASE, with this reason, and pass.",
)
@allowance_options
@baselines_option
@format_option
@click.pass_context
def command(
    context: click.Context, base: str, head: str, texts: tuple[str, ...], within: str | None, inconclusive: str | None,
    reason: str | None, varies: tuple[str, ...], per_token: bool, baselines: Path, format_: str,
) -> None:  # fmt: skip
    """Hold HEAD against BASE and end with an exit code for CI.

    A condition is [SCOPE.]METRIC > VALUE or < VALUE. SCOPE is the name of an NVTX range, range:NAME, family:NAME,
    kernel:REGEX (matches taken together) or kernels:REGEX (each by itself); none is the whole run. METRIC is total_ns,
    mean_ns (per launch), per_token_ns, launch_count, or a counter as dram_bytes. VALUE with a sign is a change (+3%,
    +5ms), without one a bound on HEAD (20ms). BASE and HEAD are named as for 'nsightkit compare'; five process runs a
    side are needed, and a single pair is inconclusive.

    Sides may be results of benchmarks too (files, sweeps, a baseline of them). SCOPE is then
    setting:batch=8,prompt=128, none is every setting by itself; METRIC is total_ns, per_token_ns, prefill_ns,
    tokens_per_s or peak_bytes.

    \b
    exit code  0 passed   1 regressed   2 wrong usage   3 not comparable   4 inconclusive

    \b
    nsightkit gate main 'runs/branch-*' --fail-on 'total_ns > +3%'
    nsightkit gate main 'runs/branch-*' --fail-on 'total_ns > +3%' --accept 'exact softmax costs this'
    nsightkit gate speed/base speed/head --fail-on 'per_token_ns > +3%' --fail-on 'tokens_per_s < -3%'
    """
    from nsightkit.cli.gating import GateRequest, hold_and_print

    request = GateRequest(texts, inconclusive, reason, varies, per_token, baselines, format_, within)
    context.exit(hold_and_print(base, head, request))
