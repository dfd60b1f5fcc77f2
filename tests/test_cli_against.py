"""``nsightkit profile --against``: both programs in turn, one folder a side, ready to be compared."""

import json

import pytest
from click.testing import CliRunner

from fake_tools.install import calls, install
from nsightkit.cli import cli
from nsightkit.run import Run

SCRIPT = "import sys\nprint('ran with', *sys.argv[1:])\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("old.py", "new.py"):
        (folder / name).write_text(SCRIPT, encoding="utf-8")
    return folder


def nsightkit(*args):
    return CliRunner().invoke(cli, list(args))


def profile(*args):
    return nsightkit("profile", "new.py", "--tool", "nsys", *args)


def test_both_run_in_turn_and_compare_takes_the_folders(here, tmp_path):
    record = install(tmp_path / "bin", "nsys", "2023.4.4.54", "kernels")
    done = profile("--repeat", "2", "--no-overhead", "-o", "ab", "--against", "old.py --slow 'a b'", "--", "--fast")
    assert done.exit_code == 0, done.output
    ran = [" ".join(call) for call in calls(record)]
    names = {"old.py --slow a b": "old", "new.py --fast": "new"}
    assert [name for words in ran for text, name in names.items() if text in words] == ["old", "new", "old", "new"]
    infos = [Run(here / "ab" / side / f"run-{n}").read_info() for side in ("base", "head") for n in (1, 2)]
    assert [info.workload for info in infos] == ["old", "old", "new", "new"]
    assert "compare: nsightkit compare ab/base ab/head" in done.stdout
    assert "a verdict needs --repeat 5" in done.stderr
    result = nsightkit("compare", "ab/base", "ab/head", "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["level"] == "run"


def test_a_dry_run_shows_both_and_makes_nothing(here, tmp_path):
    install(tmp_path / "bin", "nsys", "2023.4.4.54", "kernels")
    done = profile("--dry-run", "--against", "kv_decode --no-kv-cache")
    assert done.exit_code == 0, done.output
    assert "--no-kv-cache" in done.stdout.splitlines()[0]
    assert "new.py" in done.stdout.splitlines()[-1]
    assert sorted(path.name for path in here.iterdir()) == ["new.py", "old.py"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--against", ""), "name the program that is the base"),
        (("--against", "old.py 'open"), "cannot be split into words"),
        (("--against", "old.py", "--resume"), "--resume does not go with --against"),
        (("--against", "old.py", "--tool", "nsys+ncu"), "--tool nsys+ncu does not go with --against"),
    ],
)
def test_wrong_usage_runs_nothing(here, tmp_path, arguments, said):
    install(tmp_path / "bin", "nsys", "2023.4.4.54", "kernels")
    done = profile("-o", "ab", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not (here / "ab").exists()


def test_a_mistyped_workload_is_answered_with_what_was_meant(here):
    done = profile("--dry-run", "--against", "kv_decod --no-kv-cache")
    assert done.exit_code == 1
    assert "'kv_decod' is neither a script nor a bundled workload; did you mean kv_decode?" in done.stderr


def test_a_folder_that_is_taken_is_refused(here, tmp_path):
    install(tmp_path / "bin", "nsys", "2023.4.4.54", "kernels")
    (here / "ab").mkdir()
    (here / "ab" / "mine.txt").write_text("kept", encoding="utf-8")
    done = profile("-o", "ab", "--against", "old.py")
    assert done.exit_code == 1
    assert "is not empty" in done.stderr
