"""Runs one child in a process group of its own, writes down what it prints, and ends the whole group when told to.

In: a command line, a log file, a time limit. Out: `ChildResult`. The child writes straight into the log: a daemon that
it leaves behind cannot keep us waiting, and what it printed is there whatever happens to us.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nsightkit.capture.family import end_family, read_family
from nsightkit.errors import CaptureError

# Unbuffered, so that the last lines of a child that was killed are in its log.
EXTRA_ENV = {"PYTHONUNBUFFERED": "1"}
_POLL_S = 0.05
# SIGINT first: nsys and our torch runner then write what they have.
_ENDINGS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 5.0))
# Two lines that torch prints on stderr per profile.
_NOISE = "USDT:"


@dataclass(frozen=True)
class ChildResult:
    """How a child ended; `wall_s` is the time from its start to its end."""

    argv: tuple[str, ...]
    exit_code: int
    wall_s: float
    log_path: Path
    timed_out: bool = False
    group: int | None = None  # the process group that it led

    @property
    def exit_text(self) -> str:
        """The exit code in words; a signal by its name."""
        number = -self.exit_code if self.exit_code < 0 else self.exit_code - 128
        try:
            return f"exit code {self.exit_code} ({signal.Signals(number).name})"
        except ValueError:
            return f"exit code {self.exit_code}"

    def lines(self) -> list[str]:
        """Return the lines of the log without progress bars and blank lines; the first is the command itself."""
        # Not read as text: that would turn each step of a progress bar into a line.
        text = self.log_path.read_bytes().decode("utf-8", "replace")
        return [line.removesuffix("\r") for line in text.split("\n") if _is_telling(line)]

    def tail(self, count: int = 12) -> str:
        """Return the last lines that the child printed."""
        return "\n".join(f"  {line[:500]}" for line in self.lines()[1:][-count:]) or "  (it printed nothing)"

    def first_error(self) -> str | None:
        """Return the profiler's own first error line, None where it has none."""
        marks = ("==ERROR==", "ERROR:", "FATAL", "Failed to ", "No reports were generated", "No kernels were profiled")
        return next((line.strip()[:500] for line in self.lines()[1:] if any(mark in line for mark in marks)), None)


def _is_telling(line: str) -> bool:
    return bool(line.strip()) and "\r" not in line.removesuffix("\r") and not line.startswith(_NOISE)


def run_child(
    argv: Sequence[str], log_path: Path, timeout_s: float | None = None, on_line: Callable[[str], None] | None = None
) -> ChildResult:
    """Run `argv` to its end; the command and what it prints go to `log_path` and, line by line, to `on_line`.

    Raises:
        CaptureError: it cannot be started, or Ctrl-C was pressed, or we were told to end; its group has ended then.
    """
    command = f"$ {shell_line(argv)}"
    with _opened(log_path, command) as log, log_path.open("rb") as reader:
        if on_line:
            on_line(command)
        reader.seek(0, os.SEEK_END)
        begin = time.monotonic()
        child = _start(argv, log)
        lines = _Lines(reader, on_line)
        try:
            with _told_to_end():
                timed_out = _wait(child, timeout_s, lines)
        except KeyboardInterrupt:
            end_group(child)
            raise CaptureError(
                f"interrupted; {Path(argv[0]).name} and all that it started were ended, and what is there is kept in "
                f"{log_path.parent}",
                slug="interrupted",
            ) from None
        wall_s = time.monotonic() - begin
        lines.pass_on()
    return ChildResult(tuple(argv), child.returncode, wall_s, log_path, timed_out, child.pid)


@contextmanager
def _told_to_end() -> Iterator[None]:
    """Take a polite end from outside (timeout, a batch system, a lost terminal) as Ctrl-C.

    The child has a session of its own: it would run on without us.
    """
    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    ours = threading.current_thread() is threading.main_thread()
    # Who ignores a signal, as nohup does, means it.
    taken = [number for number in numbers if ours and signal.getsignal(number) is signal.SIG_DFL]

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    try:
        for number in taken:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def shell_line(argv: Sequence[str]) -> str:
    """Return the command as one would type it in a POSIX shell."""
    return " ".join([*(f"{name}={value}" for name, value in EXTRA_ENV.items()), shlex.join(argv)])


def _opened(log_path: Path, command: str) -> IO[bytes]:
    """Return the log with the command as its first line, unbuffered: the child writes into it from here on."""
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_path.write_text(f"{command}\n", encoding="utf-8")
        return log_path.open("ab", buffering=0)
    except OSError as error:
        raise CaptureError(
            f"cannot write {log_path}: {error.strerror}; name another folder with -o", slug="cannot-write"
        ) from None


def _start(argv: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **EXTRA_ENV},
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise CaptureError(f"cannot start {argv[0]}: {error.strerror}", slug="cannot-start") from None


class _Lines:
    """Passes on the lines that have arrived in the log since the last look."""

    def __init__(self, reader: IO[bytes], on_line: Callable[[str], None] | None) -> None:
        self._reader, self._on_line, self._rest = reader, on_line, b""

    def pass_on(self) -> None:
        if self._on_line is None:
            return
        *whole, self._rest = (self._rest + self._reader.read()).split(b"\n")
        for line in self._telling(whole):
            self._on_line(line)

    @staticmethod
    def _telling(lines: Sequence[bytes]) -> Iterator[str]:
        return (text for line in lines if _is_telling(text := line.decode("utf-8", "replace")))


def _wait(child: subprocess.Popen[bytes], timeout_s: float | None, lines: _Lines) -> bool:
    """Wait for the child; return whether it had to be ended for taking too long."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            child.wait(_POLL_S)
            return False
        except subprocess.TimeoutExpired:
            lines.pass_on()
        if deadline is not None and time.monotonic() > deadline:
            end_group(child)
            return True


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything that it started: politely first, then for good; no other process is touched."""
    family = read_family(child.pid)
    for number, grace_s in _ENDINGS:
        family |= read_family(child.pid, family)
        _signal_group(child, number)
        try:
            child.wait(grace_s)
            break
        except subprocess.TimeoutExpired:
            continue
    if sys.platform != "win32":
        # Also after a polite end: the child may have left others of its group behind, or of groups of their own.
        _signal_group(child, signal.SIGKILL)
        end_family(read_family(child.pid, family))
    else:
        child.kill()
    child.wait()


def end_rest(result: ChildResult) -> None:
    """End what a child that has ended left of its group, with all that this started."""
    if result.group is not None:
        end_family(read_family(result.group))


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    if sys.platform == "win32":
        child.terminate()
        return
    try:
        # start_new_session made the child the leader: its id is the group's, and stays taken while a member lives.
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return
