"""Every real capture goes from file to report, or is refused with the true reason; none gives a traceback."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = ("ncu-rep", "nsys-sqlite", "ncu-csv", "nsys-stats", "torch-trace")
FILES = [path for folder in FOLDERS for path in sorted((SHARED_DATA / folder).glob("*"))]

# What cannot become tables, and a part of the true reason.
REFUSED = {
    "failed-run.csv": "No kernels were profiled",
    "b200-failed-run.csv": "log of an ncu run without a table",
    "ncu-list-sections.txt": "not a capture",
    "ncu-list-sets.txt": "not a capture",
}
# What has no kernel with a time, and why.
NO_KERNEL_TIMES = {
    "a2000-no-kernel-table.sqlite": "CUDA was not traced",
    "titanrtx-no-kernel-table.sqlite": "no kernel",
    "gh200-silu-basic.ncu-rep": "no durations",
    "a100-gpt2-flashattn-details-old.csv": "no durations",
    "a100-metrics-list.csv": "no durations",
}

pytestmark = pytest.mark.shared


def invoke(*arguments):
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def test_the_captures_are_here(shared_data):
    assert len(FILES) >= 60


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_from_file_to_report(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.parent.iterdir())
    ingested = invoke("ingest", path, "-o", "run")
    if path.name in REFUSED:
        assert ingested.exit_code == 1
        assert path.name in ingested.stderr
        assert REFUSED[path.name] in ingested.stderr
        return
    assert ingested.exit_code == 0, ingested.stderr
    check_top(path)
    check_classify(path)
    rendered = invoke("render", "run")
    assert rendered.exit_code == 0, rendered.stderr
    html = (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    assert len(html) < 3_000_000
    assert (tmp_path / "run" / "report" / "report.md").stat().st_size > 500
    assert sorted(path.parent.iterdir()) == before


def check_top(path):
    top = invoke("top", "run", "--format", "json", "--limit", "0")
    assert top.exit_code == 0, top.stderr
    assert bool(json.loads(top.stdout)) == (path.name not in NO_KERNEL_TIMES), top.stderr
    assert NO_KERNEL_TIMES.get(path.name, "") in top.stderr


def check_classify(path):
    classified = invoke("classify", "run", "--format", "json")
    if path.parent.name not in ("ncu-rep", "ncu-csv"):
        assert classified.exit_code == 1
        assert "no hardware counters" in classified.stderr
        return
    assert classified.exit_code == 0, classified.stderr
    rows = json.loads(classified.stdout)
    assert rows
    for row in rows:
        assert row["bound"] in ("COMPUTE", "MEMORY", "LATENCY", "BALANCED", "UNKNOWN")
        assert row["bound"] != "UNKNOWN" or row["missing"] or row["flags"] or row["failed_count"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_run_says_what_its_captures_say(path, tmp_path):
    """Reading a capture directly and through a run directory gives the same rows."""
    if path.name in REFUSED:
        return
    invoke("ingest", path, "-o", tmp_path / "run")
    command = "classify" if path.parent.name in ("ncu-rep", "ncu-csv") else "top"
    direct = invoke(command, path, "--format", "json")
    stored = invoke(command, tmp_path / "run", "--format", "json")
    assert json.loads(direct.stdout) == json.loads(stored.stdout)
