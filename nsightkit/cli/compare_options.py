"""Options that ``compare``, ``gate`` and ``baseline`` share; light, so that the help page answers at once."""

from collections.abc import Callable
from pathlib import Path

import click

from nsightkit.analysis.compare.comparability import MAY_VARY

BASELINES = Path("baselines")


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
