"""Work on many captures at once, one process a core.

In: a function at the top of a module, and its arguments. Out: results as they come, each with its place. A process that
dies (killed for memory, or crashed in a vendor's library) costs the item that it was at, and no other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Whether this item is one of many, which share the cores.
_one_of_many = ContextVar("_one_of_many", default=False)


def has_core_to_spare() -> bool:
    """Say whether a second thread is of use: not where many items are worked on, each by one thread."""
    return not _one_of_many.get()


def each(
    function: Callable[[Item], Result], items: Mapping[int, Item], jobs: int
) -> Iterator[tuple[int, Result | None]]:
    """Yield place and result of every item as soon as it is known; None where its process died.

    Where the caller stops early (Ctrl-C), what has not begun is left and the processes end.

    Args:
        function: called in a fresh process with one item; raises nothing.
        items: place -> what to call it with.
        jobs: how many processes, so how many cores; with 1, all is done in this process.
    """
    if jobs == 1 or len(items) < 2:
        alone = len(items) < 2
        yield from ((place, function(item) if alone else _of_many(function, item)) for place, item in items.items())
        return
    left = dict(items)
    for place, result in _pooled(function, items, jobs):
        del left[place]
        yield place, result
    # The pool broke: one of these broke it, and which one shows only if each has a process of its own.
    for place, item in left.items():
        yield place, next((result for _, result in _pooled(function, {place: item}, 1)), None)


def _pooled(function: Callable[[Item], Result], items: Mapping[int, Item], jobs: int) -> Iterator[tuple[int, Result]]:
    """Yield results until all are there or a process has died."""
    # A forked process would inherit the threads of Arrow in an unusable state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(items)), context, _start_worker)
    try:
        with _without_interrupts():
            waiting = {pool.submit(_of_many, function, item): place for place, item in items.items()}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                place = waiting.pop(future)
                if not _died(future):
                    yield place, future.result()
    except BrokenProcessPool:
        return
    finally:
        pool.shutdown(cancel_futures=True)


def _of_many(function: Callable[[Item], Result], item: Item) -> Result:
    before = _one_of_many.set(True)
    try:
        return function(item)
    finally:
        _one_of_many.reset(before)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Put off Ctrl-C until processes are started: they inherit this, and end in silence once they can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died(future: Future[Result]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def _start_worker() -> None:
    """Let Ctrl-C end a worker without a traceback; the process that started it tells what is missing."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker once the process that started it is gone: after SIGKILL it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
