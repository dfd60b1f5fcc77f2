"""What the commands share about their inputs.

In: the PATH arguments. Out: a dataset, and at the end the list of inputs that could not be used with the exit code.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click

from nsightkit.cli.holding import hold, is_ours
from nsightkit.cli.output import note
from nsightkit.errors import IngestError, NsightkitError
from nsightkit.ingest.dataset import Dataset
from nsightkit.ingest.sources import TWICE, Failure, Source
from nsightkit.run import INFO_NAME, Run, is_run, newest_run

REPORTS = Path("reports")
_MOST_TWICE = 5
# An input that may not be read is an error that is explained (1), not wrong usage (2).
INPUT = click.Path(path_type=Path, readable=False)


def paths_argument(required: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the argument PATH…."""
    metavar = "PATH..." if required else "[PATH]..."
    return click.argument("paths", nargs=-1, required=required, type=INPUT, metavar=metavar)


def or_newest_run(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return `paths`, or the newest run below ./reports where none is named."""
    return tuple(paths) or (Path(os.path.relpath(newest_run(REPORTS).path)),)


@contextmanager
def naming_output() -> Iterator[None]:
    """Add to an error about a place that cannot be written which option names another."""
    try:
        yield
    except NsightkitError as error:
        if error.slug != "cannot-write" or " -o" in str(error):
            raise
        raise type(error)(f"{error}; name another folder with -o", slug=error.slug) from None


def new_run(paths: Sequence[Path], output: Path | None, force: bool | None = None) -> Run:
    """Return the run directory to write: `output`, or ./reports/<name of the first path>-<time>.

    `force` is None for a command that has no such option.

    Raises:
        IngestError: `output` holds something already, and `force` does not allow to replace it.
    """
    if output is None:
        return named_run(_name_of(paths))
    if output.is_file():
        raise IngestError(f"{output}: is a file; name a folder with -o", slug="output-exists")
    hold(output)
    if output.is_dir() and any(output.iterdir()) and not (force and is_run(output)):
        can_replace = is_run(output) and force is not None
        way_out = "name another folder or add --force" if can_replace else "name another folder"
        if force is not None and {path.name for path in output.iterdir()} == {"tables"}:
            way_out = "a command that wrote it was killed; go on with --resume, or name another folder"
        raise IngestError(f"{output}: is not empty; {way_out}", slug="output-exists")
    return Run(output)


def _name_of(paths: Sequence[Path]) -> str:
    first = paths[0].absolute()
    return first.name if first.is_dir() else first.name.split(".")[0]


def kept_run(paths: Sequence[Path], sources: Sequence[Source]) -> Run | None:
    """Return the newest run that `new_run(paths, None)` named earlier and that holds `sources` as they are now."""
    from nsightkit.ingest.store import is_ingest_of

    made = sorted(REPORTS.glob(f"{_stem(_name_of(paths))}-*/{INFO_NAME}"), key=lambda p: p.stat().st_mtime_ns)
    runs = (Run(path.parent) for path in reversed(made))
    return next((run for run in runs if is_ingest_of(run, sources)), None) if sources else None


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"


def named_run(name: str) -> Run:
    """Return a run directory ./reports/<name>-<time> that nobody else has or had."""
    base = REPORTS / f"{_stem(name)}-{datetime.now():%Y%m%d-%H%M%S}"
    candidates = (base, *(base.with_name(f"{base.name}-{number}") for number in range(2, 1000)))
    return Run(next(path for path in candidates if not path.exists() and is_ours(path) and _is_empty(path)))


def _is_empty(folder: Path) -> bool:
    # Another command may have made it, written it and ended since it did not exist.
    return not folder.is_dir() or not any(folder.iterdir())


def finish(dataset: Dataset) -> None:
    """List the inputs that could not be used; see `report_failures`."""
    report_failures(dataset.failures)


def report_failures(failures: Sequence[Failure]) -> None:
    """List `failures` on stderr and end with exit code 1 where one is a capture or was named by the user."""
    damaged = [failure for failure in failures if failure.named or failure.is_capture]
    twice = [failure for failure in failures if failure.slug == TWICE and failure not in damaged]
    others = [failure for failure in failures if failure not in damaged and failure not in twice]
    for failure in twice[:_MOST_TWICE]:
        note(f"passed over {failure.path.name}: {failure.reason}")
    if len(twice) > _MOST_TWICE:
        note(f"passed over {len(twice) - _MOST_TWICE} more files whose launches are read from others")
    if others:
        note(f"passed over {len(others)} files that are no captures: " + ", ".join(f.path.name for f in others[:10])
             + (" …" if len(others) > 10 else ""))  # fmt: skip
    for failure in damaged:
        reason = failure.reason if str(failure.path) in failure.reason else f"{failure.path}: {failure.reason}"
        note(f"Error: {reason}\nmore: nsightkit explain {failure.slug}")
    if damaged:
        raise click.exceptions.Exit(1)
