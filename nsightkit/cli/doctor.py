"""``nsightkit doctor``: can this machine be profiled, and if not, which command mends it?

In: the machine. Out: findings on stdout, as text or JSON; exit code 1 where something blocks a capture.
"""

import json
from dataclasses import asdict

import click

from nsightkit.capture.doctor import Finding, blocks, examine
from nsightkit.capture.probes import Facts, read_facts

_MARKS = {"ok": "ok     ", "hint": "hint   ", "warning": "WARNING", "blocks": "BLOCKS "}


@click.command("doctor")
@click.option(
    "--format", "format_", type=click.Choice(("text", "json")), default="text", show_default=True,
    help="json holds the findings and all that was probed.",
)  # fmt: skip
@click.option("--json", "format_", flag_value="json", help="The same as --format json.")
@click.option("--all", "everywhere", is_flag=True, help="Show the commands for every place, not only for this one.")
def command(format_: str, everywhere: bool) -> None:
    """Check whether GPUs can be profiled on this machine.

    Looked at: nsys, ncu (not npm's), their versions, driver, CUDA and GPUs, permission to read counters, other programs
    that hold the GPU, MIG, the package nvtx, disk space, container or WSL, CPU sampling, and the readers. Each finding
    says why it matters and what mends it. Nothing is changed. The exit code is 1 where something blocks a capture with
    nsys or ncu, else 0.

    \b
    nsightkit doctor
    nsightkit doctor --all   commands for bare metal, docker, Kubernetes and WSL
    nsightkit doctor --json  for scripts
    """
    facts = read_facts()
    findings = examine(facts)
    if format_ == "json":
        click.echo(json.dumps({"findings": [asdict(f) for f in findings], "facts": asdict(facts)}, indent=2))
    else:
        click.echo("\n".join(line for finding in findings for line in _lines(finding, facts, everywhere)))
        blocked = sum(finding.status == "blocks" for finding in findings)
        click.echo(f"\n{'all well' if not blocked else f'{blocked} of {len(findings)} findings block a capture'}")
    if blocks(findings):
        raise click.exceptions.Exit(1)


def _lines(finding: Finding, facts: Facts, everywhere: bool) -> list[str]:
    lines = [f"{_MARKS[finding.status]}  {finding.name}: {finding.what}"]
    if finding.why:
        lines.append(f"         why: {finding.why}")
    shown = {place: way for place, way in finding.mend.items() if everywhere or place == facts.place}
    lines += [f"         mend ({place}): {way}" for place, way in (shown or finding.mend).items()]
    return lines
