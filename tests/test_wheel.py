"""The wheel works from an empty folder, in an environment that holds nothing of the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A Python that sees the wheel and its dependencies, but neither the checkout nor its editable install."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run(installed, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import sys; from nsightkit.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_package_templates_and_workloads_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"nsightkit"}
    assert "nsightkit/templates/report.html.j2" in names
    assert "nsightkit/workloads/kv_decode.py" in names
    assert "nsightkit/metrics.toml" in names
    assert "nsightkit/docs/errors.md" in names
    assert "nsightkit/py.typed" in names
    assert not [name for name in names if name.endswith((".pyc", ".env")) or "tests" in name.split("/")]


def test_a_capture_becomes_a_report_from_an_empty_folder(installed, tmp_path):
    from builders.ncu import speed_of_light_csv

    speed_of_light_csv(tmp_path / "kernel.csv")
    top = run(installed, tmp_path, "classify", "kernel.csv", "--format", "json")
    assert top.returncode == 0, top.stderr
    assert json.loads(top.stdout)[0]["bound"] in ("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN")
    rendered = run(installed, tmp_path, "render", "kernel.csv")
    assert rendered.returncode == 0, rendered.stderr
    assert list(tmp_path.glob("reports/*/report/report.html"))


def test_the_package_is_the_installed_one(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import nsightkit; print(nsightkit.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(result.stdout.strip()).is_relative_to(installed)


def test_workloads_are_listed_from_the_wheel(installed, tmp_path):
    result = run(installed, tmp_path, "profile", "no-such-workload", "--tool", "torch")
    assert result.returncode == 1
    assert "kv_decode" in result.stderr


def test_errors_are_explained_from_the_wheel(installed, tmp_path):
    result = run(installed, tmp_path, "explain", "not-comparable")
    assert result.returncode == 0, result.stderr
    assert "Two sides must not be compared" in result.stdout
