"""What a shell does to a command: outputs shut or full, file names of any bytes, shut folders, two commands at once."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from builders.nsys import Capture, Kernel, Range, write_sqlite
from nsightkit.cli import cli
from nsightkit.run import Run, is_run

LATIN_1 = os.fsdecode(b"caf\xe9")


def nsightkit(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def in_a_shell(line, folder):
    command = f"{sys.executable} -m nsightkit {line}"
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def export(here):
    return write_sqlite(here / "timeline.sqlite", Capture(kernels=(Kernel("a", 10, 30), Kernel("b", 40, 70))))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
@pytest.mark.parametrize("line", ["--help", "top --help", "explain", "gpus"])
def test_a_full_disk_is_one_line(here, line):
    done = in_a_shell(f"{line} > /dev/full", here)
    assert done.returncode == 1
    assert done.stderr == "Error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("line", ["gpus", "--help", "top timeline.sqlite", "top timeline.sqlite --format csv"])
def test_a_closed_output_costs_nothing(export, line):
    done = in_a_shell(f"{line} >&-", export.parent)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_anything_is_loaded_has_no_traceback(here):
    code = (
        "import builtins, sys; real = builtins.__import__\n"
        "def stopped(name, *rest):\n"
        "    if name == 'click': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = stopped\n"
        "from nsightkit.__main__ import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "Aborted!\n")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("classify", "x", "--rule", "rofline"), "Did you mean 'roofline'?"),
        (("model", "gpt2", "--dtype", "bf16"), "Did you mean 'bfloat16'?"),
        (("study", "kvdecode"), "Did you mean 'kv-decode'?"),
        (("top", "x", "--by", "kernl"), "Did you mean 'kernel'?"),
        (("top", "x", "--by", "phase,famly"), "Did you mean 'phase,family'?"),
        (("baseline", "sve"), "Did you mean 'save'?"),
    ],
)
def test_a_misspelt_choice_is_answered_with_the_one_that_was_meant(here, arguments, meant):
    done = nsightkit(*arguments)
    assert done.exit_code == 2
    assert meant in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("utilization", "annotated.sqlite", "--phase", "Decod"), "no range matches 'Decod': is it 'decode'?"),
        (
            ("gate", "annotated.sqlite", "annotated.sqlite", "--fail-on", "Decod.total_ns > +3%"),
            "names the range Decod, which neither side has; 'nsightkit ranges' lists them",
        ),
        (
            ("gate", "annotated.sqlite", "annotated.sqlite", "--fail-on", "family:GEM.total_ns > +3%"),
            "names a family that neither side has; did you mean GEM",
        ),
    ],
)
def test_a_misspelt_part_of_a_capture_is_named(here, arguments, said):
    write_sqlite(here / "annotated.sqlite", Capture(kernels=(Kernel("a", 10, 30),), ranges=(Range(0, 50, "decode"),)))
    done = nsightkit(*arguments)
    assert done.exit_code == (2 if arguments[0] == "gate" else 1)
    assert said in done.stderr


def test_ranges_without_gpu_work_are_not_called_missing(here):
    write_sqlite(here / "cpu.sqlite", Capture(ranges=(Range(0, 50, "decode"),)))
    done = nsightkit("utilization", "cpu.sqlite")
    assert done.exit_code == 0
    assert "its ranges launched no GPU work that was recorded" in done.stderr
    assert "no named range in it" not in done.stderr


@pytest.mark.parametrize("arguments", [("classify", "x", "--rule", "zzz"), ("top", "x", "--by", "zzz")])
def test_what_is_near_to_nothing_gets_no_guess(here, arguments):
    done = nsightkit(*arguments)
    assert done.exit_code == 2
    assert "Did you mean" not in done.stderr


class TestNamesOfAnyBytes:
    def test_a_timeline_is_read(self, export):
        export.rename(export.with_name(f"{LATIN_1}.sqlite"))
        done = nsightkit("top", f"{LATIN_1}.sqlite")
        assert done.exit_code == 0, done.output

    @pytest.mark.shared
    def test_a_report_is_read(self, here, shared_data):
        pytest.importorskip("ncu_report")
        (here / f"{LATIN_1}.ncu-rep").symlink_to(shared_data / "ncu-rep" / "t4-fused-linear-detailed.ncu-rep")
        done = nsightkit("info", f"{LATIN_1}.ncu-rep")
        assert done.exit_code == 0, done.output

    def test_a_run_cannot_be_written_there_and_says_why(self, export):
        done = nsightkit("ingest", export, "-o", LATIN_1)
        assert done.exit_code == 1
        assert "the name holds bytes that are no UTF-8; rename the file or folder" in done.stderr
        assert "more: nsightkit explain bad-file-name" in done.stderr
        assert not Path(LATIN_1).exists()


class TestPaths:
    @pytest.mark.parametrize("command", [("top",), ("compare", "timeline.sqlite"), ("baseline", "save", "x")])
    def test_a_link_to_nothing_is_told(self, export, command):
        Path("gone.sqlite").symlink_to("/nowhere/gone.sqlite")
        done = nsightkit(*command, "gone.sqlite")
        assert done.exit_code == 1
        assert "gone.sqlite: " in done.stderr
        assert "explain no-such-file" in done.stderr
        assert "did you mean gone.sqlite" not in done.stderr

    def test_a_name_is_near_by_more_than_its_ending(self, export):
        assert "did you mean" not in nsightkit("top", "b.sqlite").stderr
        assert "did you mean timeline.sqlite?" in nsightkit("top", "timelin.sqlite").stderr

    def test_a_shut_folder_costs_only_itself(self, export, monkeypatch):
        Path("shut").mkdir()
        real = os.access
        monkeypatch.setattr(
            "nsightkit.ingest.sources.os.access", lambda p, mode: Path(p).name != "shut" and real(p, mode)
        )
        done = nsightkit("top", ".")
        assert done.exit_code == 1
        assert "Error: shut: cannot be read (Permission denied)\nmore: nsightkit explain cannot-read" in done.stderr
        assert "timeline" in done.stdout

    @pytest.mark.parametrize(
        "command",
        [("info",), ("ingest", "x", "-o"), ("deepen",), ("study", "kv-decode", "--from"), ("compare", "x"),
         ("baseline", "save", "x")],
    )  # fmt: skip
    def test_what_lies_in_a_shut_folder_is_told(self, here, command):
        (here / "shut").mkdir(mode=0)
        line = [sys.executable, "-m", "nsightkit", *command, "shut/x"]
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("root may enter every folder, and nothing here takes that right away")
            line = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *line]
        done = subprocess.run(line, cwd=here, capture_output=True, text=True)
        assert done.returncode == 1
        assert "more: nsightkit explain" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("name", ["shut", "shut/x"])
    def test_for_a_gate_what_cannot_be_read_is_no_regression(self, export, monkeypatch, name):
        Path("shut").mkdir()
        real = os.access
        monkeypatch.setattr("os.access", lambda p, mode: Path(p).name != "shut" and real(p, mode))
        done = nsightkit("gate", name, export, "--fail-on", "total_ns > +3%")
        assert done.exit_code == 3, done.output

    def test_a_run_that_is_not_there_is_looked_for_nearby(self, here):
        (here / "decode-run").mkdir()
        done = nsightkit("deepen", "decode-rum")
        assert done.exit_code == 1
        assert "decode-rum: no such run directory; did you mean decode-run?" in done.stderr


class TestTwoAtOnce:
    @pytest.fixture
    def taken(self, here):
        """The folder that another command holds."""
        folder = here / "taken"
        folder.mkdir()
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
        os.close(handle)

    @pytest.mark.parametrize("options", [(), ("--force",), ("--resume",)])
    def test_the_second_waits_or_goes_elsewhere(self, export, taken, options):
        done = nsightkit("ingest", export, "-o", taken, *options)
        assert done.exit_code == 1
        assert "another nsightkit writes into it; wait for its end, or name another folder" in done.stderr
        assert list(taken.iterdir()) == []

    def test_it_is_let_go_at_the_end(self, export):
        assert nsightkit("ingest", export, "-o", "run").exit_code == 0
        assert nsightkit("ingest", export, "-o", "run", "--force").exit_code == 0

    def test_in_one_second_each_has_a_run_of_its_own(self, export):
        lines = [[sys.executable, "-m", "nsightkit", "ingest", str(export)]] * 3
        children = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for line in lines]
        said = [child.communicate()[0].strip() for child in children]
        assert [child.returncode for child in children] == [0, 0, 0]
        assert len(set(said)) == 3
        assert all(is_run(Path(path)) for path in said)
        assert {Run(Path(path)).read_info().name for path in said} == {Path(path).name for path in said}

    def test_what_fails_leaves_no_folder(self, here):
        assert nsightkit("ingest", "missing.sqlite", "-o", "new/run").exit_code == 1
        assert list(here.iterdir()) == []

    def test_a_plan_leaves_no_folder(self, here):
        (here / "work.py").write_text("print(1)\n", encoding="utf-8")
        assert nsightkit("profile", "--tool", "nsys", "--dry-run", "work.py").exit_code == 0
        assert [path.name for path in here.iterdir()] == ["work.py"]


class TestWithoutTorch:
    @pytest.fixture(autouse=True)
    def no_torch(self, here, monkeypatch):
        monkeypatch.setattr("nsightkit.capture.workload.find_spec", lambda name: None)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("sweep", "kv_decode", "--axis", "batch_size=1"),
            ("study", "kv-decode"),
            ("profile", "--tool", "torch", "kv_decode"),
            ("profile", "--tool", "nsys", "kv_decode"),
        ],
    )
    def test_a_bundled_workload_is_not_started(self, here, arguments):
        done = nsightkit(*arguments)
        assert done.exit_code == 1
        assert "torch is not installed for" in done.stderr
        assert "pip install 'nsightkit[workloads]'" in done.stderr
        assert list(here.iterdir()) == []


def test_ceilings_say_that_torch_is_missing_without_its_traceback(here, monkeypatch):
    (here / "child.py").write_text(
        "import sys\nsys.modules['torch'] = None\nraise ModuleNotFoundError(\"No module named 'torch'\")\n"
    )
    monkeypatch.setattr("nsightkit.capture.ceilings._CHILD", here / "child.py")
    done = nsightkit("ceilings")
    assert done.exit_code == 1
    assert "torch is not installed for" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_study_of_which_every_run_failed_is_no_report(here, monkeypatch):
    from nsightkit.cli import study

    plan = {"title": "t", "question": "q", "part": [{"id": "a", "workload": "kv_decode",
            "small": {"axes": {"batch_size": [1]}, "args": "--no-such-option"}}]}  # fmt: skip
    monkeypatch.setattr(study, "declared_study", lambda name: plan)
    done = nsightkit("study", "kv-decode")
    assert done.exit_code == 1
    assert "failed: a, batch_size=1: exit code 2" in done.stderr
    assert "--retry-failed runs them again" in done.stderr
    assert "every run of the study failed" in done.stderr
    assert not (here / "reports" / "study-kv-decode-small" / "report").exists()
