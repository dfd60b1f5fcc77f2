"""Options that ``compare``, ``gate`` and ``baseline`` share; light, so that the help page answers at once."""

from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from nsightkit.analysis.compare.comparability import MAY_VARY

BASELINES = Path("baselines")


def complete_side(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what a shell offers for a side of a comparison: stored baselines by name, and files."""
    folder = context.params.get("baselines") or BASELINES
    names = sorted(path.parent.name for path in Path(folder).glob("*/baseline.json"))
    stored = [CompletionItem(name, help="stored baseline") for name in names if name.startswith(incomplete)]
    return [*stored, CompletionItem(incomplete, type="file")]


def baselines_option(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--baselines``."""
    return click.option(
        "--baselines", type=click.Path(path_type=Path), default=BASELINES, show_default=True,
        help="Folder in which stored baselines are looked up by name.",
    )(function)  # fmt: skip


def allowance_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add ``--varies`` and ``--per-token``."""
    varies = click.option(
        "--varies", multiple=True, type=click.Choice(MAY_VARY), help="What differs on purpose. May be repeated."
    )
    per_token = click.option("--per-token", is_flag=True, help="Divide times and launches of each run by its tokens.")
    return varies(per_token(function))
