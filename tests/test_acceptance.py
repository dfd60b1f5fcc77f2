"""The three commands of the README, exactly as a user types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def typed(line, folder, path=""):
    environment = {**os.environ, "PATH": os.pathsep.join(p for p in (str(BIN), str(path), os.environ["PATH"]) if p)}
    return subprocess.run(line.split(), cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.nsight
@pytest.mark.torch
def test_profile_tool_nsys_tokens_16(tmp_path, nsight_path):
    pytest.importorskip("torch")
    result = typed("nsightkit profile --tool nsys --tokens 16", tmp_path, nsight_path)
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "reports").iterdir()
    info = json.loads((run / "run.json").read_text())
    assert (info["workload"], info["tokens"]) == ("kv_decode", 16)
    assert (run / "report" / "report.html").is_file()
    ranges = typed(f"nsightkit top {run} --by nvtx --format json --limit 0", tmp_path)
    counts = {row["name"].lstrip(":"): row["instance_count"] for row in json.loads(ranges.stdout)}
    assert (counts["prefill"], counts["decode"], counts["decode_step"]) == (1, 1, 16)
    assert typed("nsightkit render", tmp_path).returncode == 0


@pytest.mark.torch
def test_profile_tool_torch_then_render(tmp_path):
    pytest.importorskip("torch")
    result = typed("nsightkit profile --tool torch --tokens 16", tmp_path)
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "reports").iterdir()
    rendered = typed("nsightkit render", tmp_path)
    assert rendered.returncode == 0, rendered.stderr
    assert (run / "report" / "report.html").stat().st_size > 20_000
    rows = json.loads(typed("nsightkit top --format json", tmp_path).stdout)
    assert rows[0]["operator_name"].startswith("aten::")
    assert abs(sum(row["share"] for row in rows)) <= 1 + 1e-9


def test_profile_tool_nsys_without_nsys_is_one_clear_sentence(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "nsightkit", "profile", "--tool", "nsys", "--tokens", "16"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "nsys" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "reports").exists()


@pytest.mark.shared
def test_classify_report_ncu_rep(tmp_path, shared_data):
    shutil.copy(shared_data / "ncu-rep" / "rtx5060ti-detailed.ncu-rep", tmp_path / "report.ncu-rep")
    result = typed("nsightkit classify report.ncu-rep", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("LATENCY") >= 4
    assert "ncu (Latency Issue)" in result.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.ncu-rep"]


@pytest.mark.shared
def test_deepseek_ocr_study_from_its_own_data(tmp_path, shared_data):
    """Nine memory, seven balanced, four compute: counts, labels and the longest kernels come from one table."""
    folder = shared_data / "seed-runs" / "dsocr-v2"
    result = typed(f"nsightkit classify {folder} --rule sol-gap --format json", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    bounds = [row["bound"] for row in rows]
    assert {bound: bounds.count(bound) for bound in set(bounds)} == {"MEMORY": 9, "BALANCED": 7, "COMPUTE": 4}
    longest = sorted((row["duration_ns"] for row in rows), reverse=True)[:10]
    assert [round(ns / 1000, 2) for ns in longest] == [
        404.7,
        160.74,
        111.81,
        94.91,
        23.42,
        18.34,
        18.08,
        10.34,
        9.82,
        7.97,
    ]
    cat = next(row for row in rows if round(row["duration_ns"]) == 9820)
    assert cat["bound"] == "COMPUTE"


@pytest.mark.shared
def test_the_readme_shows_what_is_printed(tmp_path, shared_data):
    pytest.importorskip("ncu_report")
    shutil.copy(shared_data / "ncu-rep" / "a100-stencil-full.ncu-rep", tmp_path / "a100-stencil.ncu-rep")
    shutil.copy(shared_data / "nsys-sqlite" / "t4-power-iteration-nvtx.sqlite", tmp_path / "power-iteration.sqlite")
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```console\n(.*?)```", readme, re.S)
    lines = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    assert len(lines) == 2
    printed = "\n".join(f"$ {line}\n{typed(line, tmp_path).stdout}" for line in lines)
    assert printed == shown
