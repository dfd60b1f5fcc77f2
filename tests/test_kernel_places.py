"""NVTX paths and places of a timeline's kernels: what they are, and what they decide where names do not."""

import json

import pytest
from click.testing import CliRunner

from builders.nsys import Call, Capture, Kernel, Range, write_sqlite
from nsightkit.analysis.compare.kernel_places import kernel_places
from nsightkit.analysis.work.operations import by_capture
from nsightkit.cli import cli
from nsightkit.cli.attributed import WANTED
from nsightkit.ingest.dataset import open_dataset


def capture(path, names, ranged=True, labels=("attention", "mlp"), steps=6):
    """One kernel in each of two ranges a step, all alike in time, geometry and count."""
    kernels, calls, ranges = [], [], []
    for step in range(steps):
        for place, name in enumerate(names):
            at = 100_000 * step + 10_000 * place
            number = 2 * step + place + 1
            calls.append(Call("cudaLaunchKernel", at + 100, at + 200, correlation=number))
            kernels.append(Kernel(name, at + 1_000, at + 6_000, correlation=number))
            ranges.append(Range(at, at + 9_000, labels[place]))
        ranges.append(Range(100_000 * step - (step > 0), 100_000 * step + 90_000, "decode"))
    write_sqlite(path, Capture(tuple(kernels), tuple(calls), ranges=tuple(ranges) if ranged else ()))
    return path


def compare(*paths):
    result = CliRunner().invoke(cli, ["compare", *map(str, paths), "--format", "json"])
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(result.stdout) if row["level"] == "kernel"]
    return {(tuple(row["base_kernels"]), tuple(row["head_kernels"])): row["how"] for row in rows}


@pytest.fixture
def pair(tmp_path):
    def make(**options):
        base = capture(tmp_path / "base.sqlite", ("alpha_one", "beta_two"), **options)
        # The other way round in name and in order: only the range tells which is which.
        head = capture(tmp_path / "head.sqlite", ("gamma_six", "delta_ten"), **options)
        return base, head

    return make


def test_paths_and_places(tmp_path):
    path = capture(tmp_path / "one.sqlite", ("alpha_one", "beta_two"), steps=3)
    dataset = open_dataset([path], WANTED)
    places = kernel_places(by_capture({name: dataset.arrow(name) for name in WANTED}))
    assert {name: (one.paths, one.ordinals) for name, one in places.items()} == {
        "alpha_one": ({"decode/attention"}, {"attention#0": 3}),
        "beta_two": ({"decode/mlp"}, {"mlp#0": 3}),
    }


def test_the_range_tells_renamed_kernels_apart(pair):
    found = compare(*pair())
    assert found == {(("alpha_one",), ("gamma_six",)): "renamed", (("beta_two",), ("delta_ten",)): "renamed"}


def test_without_ranges_they_are_not_guessed(pair):
    found = compare(*pair(ranged=False))
    assert sorted(found.values()) == ["gone", "gone", "new", "new"]


def test_ranges_that_were_renamed_decide_nothing(tmp_path):
    base = capture(tmp_path / "base.sqlite", ("alpha_one", "beta_two"))
    head = capture(tmp_path / "head.sqlite", ("gamma_six", "delta_ten"), labels=("attn", "ffn"))
    assert sorted(compare(base, head).values()) == ["gone", "gone", "new", "new"]


def test_two_kernels_of_one_range_are_told_apart_by_their_place(tmp_path):
    paths = []
    for side, names in (("base", ("alpha_one", "beta_two")), ("head", ("gamma_six", "delta_ten"))):
        kernels = [
            Kernel(name, 100_000 * step + 10_000 * at + 1_000, 100_000 * step + 10_000 * at + 6_000,
                   correlation=2 * step + at + 1)
            for step in range(6) for at, name in enumerate(names)
        ]  # fmt: skip
        calls = [Call("cudaLaunchKernel", k.start - 900, k.start - 800, correlation=k.correlation) for k in kernels]
        ranges = tuple(Range(100_000 * step, 100_000 * step + 90_000, "block") for step in range(6))
        paths.append(tmp_path / f"{side}.sqlite")
        write_sqlite(paths[-1], Capture(tuple(kernels), tuple(calls), ranges=ranges))
    found = compare(*paths)
    assert found == {(("alpha_one",), ("gamma_six",)): "renamed", (("beta_two",), ("delta_ten",)): "renamed"}


def test_a_baseline_keeps_the_places_of_its_kernels(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base, head = pair()
    saved = CliRunner().invoke(cli, ["baseline", "save", "main", str(base)])
    assert saved.exit_code == 0, saved.output
    assert compare("main", head) == compare(base, head)
    assert set(compare("main", head).values()) == {"renamed"}


def test_a_baseline_of_ranges_that_were_renamed_since_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = capture(tmp_path / "base.sqlite", ("alpha_one", "beta_two"))
    head = capture(tmp_path / "head.sqlite", ("alpha_one", "beta_two"), labels=("one", "two"))
    CliRunner().invoke(cli, ["baseline", "save", "main", str(base)])
    assert set(compare("main", head).values()) == {"same"}
