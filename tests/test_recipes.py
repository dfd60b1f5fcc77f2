"""The GitHub Actions recipe of the documentation: valid, made of commands that exist, red where the gate says so.

And the recipe of the Makefile where Python is too old.
"""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli

RECIPES = Path(__file__).resolve().parent.parent / "docs" / "recipes.md"
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def workflow():
    text = RECIPES.read_text(encoding="utf-8")
    (found,) = [block for block in re.findall(r"```yaml\n(.*?)```", text, re.S) if block.startswith("name: GPU time")]
    return yaml.safe_load(found)


@pytest.fixture(scope="module")
def steps(workflow):
    return {step["name"]: step for step in workflow["jobs"]["gate"]["steps"] if "name" in step}


def test_an_old_python_is_told_before_anything_is_made(tmp_path):
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.10.13\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    line = ["make", "demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(line, cwd=RECIPES.parents[1], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"needs Python 3.11 or newer, and {old} is Python 3.10.13; name another one:" in done.stdout
    assert "make demo PYTHON=" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_it_runs_on_pull_requests_with_few_rights(workflow):
    # YAML 1.1 reads the key "on" as true.
    assert workflow[True] == "pull_request"
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert workflow["jobs"]["gate"]["concurrency"] == "gpu"


def test_base_and_head_run_in_turn_five_times(steps):
    text = steps["Profile base and head in turn"]["run"]
    assert "for i in 1 2 3 4 5" in text
    assert text.index("cd base") < text.index("cd head")


def options_of(text):
    """The subcommands of nsightkit that `text` calls, with the options of each."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.search(r"nsightkit ([a-z]+)(.*)", line)
        if found:
            yield found[1], re.findall(r"--[a-z-]+", re.sub(r"'[^']*'", "", found[2]))


def test_every_option_of_its_commands_exists(steps):
    seen = set()
    for step in steps.values():
        for name, options in options_of(step.get("run", "")):
            known = CliRunner().invoke(cli, [name, "--help"]).stdout
            assert [option for option in options if option not in known] == []
            seen.add(name)
    assert seen == {"profile", "gate", "compare"}


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_the_step_ends_with_the_code_of_the_gate_and_leaves_a_comment(steps, tmp_path, code):
    stub = tmp_path / "bin" / "nsightkit"
    stub.parent.mkdir()
    gate = f'echo "| gate |"; echo "why {code}" >&2; exit {code}'
    stub.write_text(f'#!/bin/sh\n[ "$1" = gate ] && {{ {gate}; }}\necho "| compare |"\n', encoding="utf-8")
    stub.chmod(stub.stat().st_mode | stat.S_IEXEC)
    summary = tmp_path / "summary.md"
    environment = {**os.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    # As the runner starts a step that names no shell.
    result = subprocess.run(
        ["bash", "-e", "-c", steps["Gate"]["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == code, result.stderr
    comment = (tmp_path / "comment.md").read_text(encoding="utf-8")
    assert "| gate |" in comment
    assert "| compare |" in comment
    assert f"why {code}" in comment
    assert summary.read_text(encoding="utf-8") == comment


def test_a_comment_is_written_where_the_gate_is_red(steps):
    assert steps["Comment"]["if"].startswith("always()")
    assert "--create-if-none" in steps["Comment"]["run"]


def test_conditions_of_the_recipes_are_understood():
    from nsightkit.analysis.compare.conditions import parse_condition

    texts = re.findall(r"--fail-on '([^']+)'", RECIPES.read_text(encoding="utf-8"))
    assert len(texts) >= 6
    for text in texts:
        parse_condition(text)
