"""Progress of long work, on stderr and only where a person watches.

In: a title. Out: a callback (name, done, total) for the library.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar while the block runs; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda name, done, total: bar.update(task, description=f"{title} {name}", completed=done, total=total)
