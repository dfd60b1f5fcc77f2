"""The child: its log, its exit code, its end by time limit or Ctrl-C with everything that it started."""

import _thread
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from builders.processes import gone
from nsightkit.capture.family import end_family, read_family
from nsightkit.capture.process import ChildResult, end_group, run_child, shell_line
from nsightkit.errors import CaptureError


def python(code):
    return [sys.executable, "-c", code]


def test_output_goes_to_the_log_and_to_the_listener(tmp_path):
    heard = []
    code = "import sys; print('one'); print('two', file=sys.stderr); print('ünï'); sys.stdout.write('half')"
    result = run_child(python(code), tmp_path / "new" / "child.log", on_line=heard.append)
    assert result.exit_code == 0
    assert not result.timed_out
    assert result.log_path.read_text(encoding="utf-8").splitlines() == [
        f"$ {shell_line(python(code))}", "one", "two", "ünï", "half"]  # fmt: skip
    assert heard[1:4] == ["one", "two", "ünï"]
    assert heard[0].startswith("$ ")


def test_lines_leave_out_progress_bars_and_torch_chatter(tmp_path):
    code = r"import sys; sys.stdout.write('[1%]\r[2%]\rdone\nUSDT:2026 profiler_start\n\n  \nreal\n')"
    result = run_child(python(code), tmp_path / "log")
    assert result.lines()[1:] == ["real"]
    assert result.tail() == "  real"


def test_tail_is_the_last_lines_each_cut(tmp_path):
    result = run_child(python("print('x' * 9000)\nfor i in range(50): print(i)\nprint('y' * 9000)"), tmp_path / "log")
    lines = result.tail(3).splitlines()
    assert lines[:2] == ["  48", "  49"]
    assert lines[2] == "  " + "y" * 500


def test_tail_of_a_silent_child(tmp_path):
    assert run_child(python("pass"), tmp_path / "log").tail() == "  (it printed nothing)"


def test_log_that_is_no_utf8_is_read(tmp_path):
    result = run_child(python(r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n')"), tmp_path / "log")
    assert result.tail() == "  \ufffd\ufffd"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("raise SystemExit(7)", "exit code 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9 (SIGKILL)"),
    ],
)
def test_exit_code_in_words(tmp_path, code, text):
    assert run_child(python(code), tmp_path / "log").exit_text == text


def test_exit_code_that_a_tool_passes_on_for_a_signal(tmp_path):
    assert ChildResult((), 137, 1.0, tmp_path).exit_text == "exit code 137 (SIGKILL)"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("==ERROR== no driver", "==ERROR== no driver"),
        ("Failed to create 'x': File exists", "Failed to create 'x': File exists"),
        ("all is well", None),
    ],
)
def test_first_error_line(tmp_path, line, expected):
    result = run_child(python(f"print('start'); print({line!r}); print('==ERROR== later')" if expected
                              else f"print({line!r})"), tmp_path / "log")  # fmt: skip
    assert result.first_error() == expected


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import signal, time; {ignore}; time.sleep(300)"]{more})
print("pid", child.pid, flush=True)
time.sleep(300)
"""


def pid_in(log):
    return int(next(line.split()[1] for line in log.read_text().splitlines() if line.startswith("pid ")))


# nsys gives the workload a session of its own.
@pytest.mark.parametrize("more", ["", ", start_new_session=True"])
def test_timeout_ends_the_whole_family(tmp_path, more):
    log = tmp_path / "log"
    # The grandchild ignores the polite signal.
    code = PARENT.format(ignore="signal.signal(signal.SIGINT, signal.SIG_IGN)", more=more)
    result = run_child(python(code), log, timeout_s=1.5)
    assert result.timed_out
    assert result.exit_code != 0
    assert gone(pid_in(log))


def test_time_limit_is_no_harm_to_a_quick_child(tmp_path):
    assert not run_child(python("pass"), tmp_path / "log", timeout_s=60).timed_out


@pytest.mark.usefixtures("hears_signals")
def test_interrupt_ends_the_group_and_names_what_is_kept(tmp_path):
    log = tmp_path / "log"

    def interrupt(line):
        if line.startswith("pid "):
            _thread.interrupt_main()

    with pytest.raises(CaptureError) as caught:
        run_child(python(PARENT.format(ignore="pass", more="")), log, on_line=interrupt)
    assert caught.value.slug == "interrupted"
    assert str(tmp_path) in str(caught.value)
    assert gone(pid_in(log))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("hears_signals")
def test_told_to_end_it_ends_the_group_and_the_handler_is_put_back(tmp_path, number):
    pid = tmp_path / "pid"
    before = signal.getsignal(number)
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); print('up'); time.sleep(300)"

    def end_us(line):
        if line == "up":
            signal.raise_signal(number)

    with pytest.raises(CaptureError, match="interrupted") as caught:
        run_child(python(code), tmp_path / "child.log", on_line=end_us)
    assert caught.value.slug == "interrupted"
    assert gone(int(pid.read_text(encoding="utf-8")))
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        heard = []
        code = "import time; print('up'); time.sleep(0.3); print('end')"

        def hang_up(line):
            heard.append(line)
            signal.raise_signal(signal.SIGHUP)

        assert run_child(python(code), tmp_path / "child.log", on_line=hang_up).exit_code == 0
        assert heard[-1] == "end"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_daemon_left_behind_does_not_keep_us_waiting(tmp_path):
    code = ("import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], "
            "start_new_session=True); print('pid', p.pid)")  # fmt: skip
    result = run_child(python(code), tmp_path / "log", timeout_s=60)
    pid = pid_in(tmp_path / "log")
    try:
        assert result.exit_code == 0
        assert not result.timed_out
    finally:
        os.kill(pid, signal.SIGKILL)


def test_only_the_group_is_ended():
    other = subprocess.Popen(python("import time; time.sleep(300)"))
    child = subprocess.Popen(python("import time; time.sleep(300)"), start_new_session=True)
    try:
        end_group(child)
        assert child.returncode is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="read from /proc")
def test_an_id_that_another_process_has_by_now_is_left_alone():
    child = subprocess.Popen(python("import time; time.sleep(300)"), start_new_session=True)
    try:
        (process,) = read_family(child.pid)
        end_family([replace(process, started=process.started - 1)])
        assert child.poll() is None
        end_family([process])
        assert child.wait(10) == -signal.SIGKILL
    finally:
        child.kill()
        child.wait()


def test_a_group_that_has_ended_is_no_error():
    child = subprocess.Popen(python("pass"), start_new_session=True)
    child.wait()
    end_group(child)
    assert child.returncode == 0


def test_stdin_is_closed(tmp_path):
    result = run_child(python("import sys; print(repr(sys.stdin.read()))"), tmp_path / "log", timeout_s=30)
    assert result.lines()[-1] == "''"


def test_missing_executable(tmp_path):
    with pytest.raises(CaptureError, match="cannot start") as caught:
        run_child([str(tmp_path / "absent")], tmp_path / "log")
    assert caught.value.slug == "cannot-start"


def test_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="cannot write") as caught:
        run_child(python("pass"), tmp_path / "file" / "log")
    assert caught.value.slug == "cannot-write"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
def test_log_on_a_full_disk(tmp_path):
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(CaptureError, match=r"cannot write .*log: No space left on device; name another folder"):
        run_child(python("pass"), tmp_path / "log")


def test_shell_line_quotes_for_posix(tmp_path):
    argv = [
        sys.executable,
        "-c",
        "import os, sys; print(os.environ['PYTHONUNBUFFERED'], sys.argv[1:])",
        "a b",
        "$x'",
        "*",
    ]
    said = subprocess.run(["sh", "-c", shell_line(argv)], capture_output=True, text=True, check=True).stdout
    assert said == "1 ['a b', \"$x'\", '*']\n"
