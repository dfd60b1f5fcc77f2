"""Work on many captures on a Dask cluster that exists already.

In: the address of its scheduler, a function at the top of a module, and its arguments. Out: results as they come, each
with its place, as `parallel.each` gives them; and a reduction that stays on the workers. What a worker that dies had in
hand is done again by another. Dask is imported here and nowhere else.

Source: distributed raises KilledWorker for a task that was at hand when allowed-failures workers died (3 by default).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from nsightkit.errors import IngestError

Item = TypeVar("Item")
Result = TypeVar("Result")
# Wait so long for the scheduler, and for the first worker.
_PATIENCE_S = 20
# With a port, or of a kind that has none, as inproc://.
_ADDRESS = re.compile(r":\d+$|^(?!(?:tcp|tls|wss?|ucx)://)[a-z]+://")
# Parts that one task of a reduction puts together.
_FAN_IN = 8


class Cluster:
    """A connection to a scheduler."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def each(
        self, function: Callable[[Item], Result], items: Mapping[int, Item]
    ) -> Iterator[tuple[int, Result | None]]:
        """Yield place and result of every item as soon as it is known; None where it killed its workers.

        Where the caller stops early (Ctrl-C), what has not ended is cancelled.
        """
        from distributed import KilledWorker, as_completed

        waiting = {self._client.submit(function, item, pure=False): place for place, item in items.items()}
        try:
            for future in as_completed(list(waiting), loop=self._client.loop):
                try:
                    yield waiting[future], future.result()
                except KilledWorker:
                    yield waiting[future], None
        finally:
            self._client.cancel(list(waiting))

    def reduced(
        self, function: Callable[[Item], Result], merge: Callable[[Sequence[Result]], Result], items: Sequence[Item]
    ) -> Result:
        """Return `merge` of `function` of all items; only the last result leaves the workers."""
        parts = [self._client.submit(function, item, pure=False) for item in items]
        while len(parts) > 1:
            groups = [parts[begin : begin + _FAN_IN] for begin in range(0, len(parts), _FAN_IN)]
            parts = [self._client.submit(merge, group, pure=False) for group in groups]
        found: Result = self._client.submit(merge, parts, pure=False).result()
        return found


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler at `address` and make sure that its workers can do our work.

    Raises:
        IngestError: dask is not installed, nobody answers, there is no worker, or a worker has another nsightkit.
    """
    try:
        from distributed import Client
    except ImportError:
        raise IngestError(
            "--scheduler needs dask, which is not installed; install it with  pip install 'nsightkit[dask]'",
            slug="dask-missing",
        ) from None
    if not _ADDRESS.search(address):
        # Client would refuse it too, and then wait for it while it is cleared away.
        raise IngestError(
            f"{address} is no address of a Dask scheduler, which has a port: tcp://host:8786, as it prints it",
            slug="no-scheduler",
        )
    try:
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise IngestError(
            f"no Dask scheduler answers at {address} ({_line(error)}); start one with  dask scheduler  and name the "
            "address that it prints",
            slug="no-scheduler",
        ) from None
    with client:
        _check_workers(client, address)
        yield Cluster(client)


def _check_workers(client: Any, address: str) -> None:
    from nsightkit import __version__

    try:
        client.wait_for_workers(1, timeout=_PATIENCE_S)
        versions = client.run(installed_version)
    except TimeoutError:
        raise IngestError(
            f"the Dask scheduler at {address} has no workers; start some with  dask worker {address}",
            slug="no-scheduler",
        ) from None
    except ImportError as error:
        raise IngestError(
            f"a worker of {address} cannot do the work ({_line(error)}); install nsightkit {__version__} on them",
            slug="no-scheduler",
        ) from None
    others = {worker: version for worker, version in versions.items() if version != __version__}
    if others:
        worker, version = next(iter(others.items()))
        raise IngestError(
            f"{worker} has nsightkit {version}, this is {__version__}; install one version on all workers",
            slug="no-scheduler",
        )


def installed_version() -> str:
    """Return the version of nsightkit where this runs."""
    from nsightkit import __version__

    return __version__


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
