"""Several captures and runs as one dataset: nothing falls together, and one bad input costs no other."""

from pathlib import Path

from builders.ncu import speed_of_light_csv
from builders.nsys import Capture, Kernel, write_sqlite
from nsightkit.ingest import IngestOptions, ingest_paths, open_dataset
from nsightkit.run import Run


def make_run(folder: Path, kernel: str) -> Path:
    folder.mkdir(parents=True)
    ingest_paths([speed_of_light_csv(folder / "profile.csv", kernel)], Run(folder / "run"), IngestOptions(tokens=4))
    return folder / "run"


def test_captures_of_one_name_in_two_runs_stay_apart(tmp_path):
    paths = [make_run(tmp_path / name, "f(int)") for name in ("a", "b")]
    dataset = open_dataset(paths)
    ids = [row["capture_id"] for row in dataset.rows("kernel_counters")]
    assert len(set(ids)) == 2
    assert [capture.capture_id for capture in dataset.info.captures] == ids
    assert dataset.info.tokens == 4


def test_a_run_alone_keeps_its_names(tmp_path):
    dataset = open_dataset([make_run(tmp_path / "a", "f(int)")])
    assert [row["capture_id"] for row in dataset.rows("kernel_counters")] == ["profile"]


def test_a_run_named_twice_counts_once(tmp_path, monkeypatch):
    path = make_run(tmp_path / "a", "f(int)")
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset([path, Path("a/run")]).rows("kernel_counters")) == 1


def test_a_capture_named_twice_counts_once(tmp_path, monkeypatch):
    path = write_sqlite(tmp_path / "a.sqlite", Capture(kernels=[Kernel("f", 0, 5)]))
    monkeypatch.chdir(tmp_path)
    assert open_dataset([path, Path("a.sqlite")]).arrow("kernel_launches").num_rows == 1


def test_a_run_without_its_description_costs_no_other(tmp_path):
    good, bad = (make_run(tmp_path / name, "f(int)") for name in ("a", "b"))
    (bad / "run.json").write_text("{")
    dataset = open_dataset([bad, good])
    assert len(dataset.rows("kernel_counters")) == 1
    assert [failure.path for failure in dataset.failures] == [bad]


def test_damage_that_shows_late_costs_one_capture(tmp_path):
    kernels = [Kernel(f"kernel_{number}", number * 10, 5) for number in range(3000)]
    good = write_sqlite(tmp_path / "good.sqlite", Capture(kernels=kernels))
    bad = write_sqlite(tmp_path / "bad.sqlite", Capture(kernels=kernels))
    data = bytearray(bad.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 8 * 4096] = b"\xff" * 8 * 4096
    bad.write_bytes(data)
    dataset = open_dataset([bad, good])
    assert set(dataset.arrow("kernel_launches")["capture_id"].to_pylist()) == {"good"}
    assert [failure.path for failure in dataset.failures] == [bad]


def test_only_wanted_columns_are_there(tmp_path):
    path = write_sqlite(tmp_path / "a.sqlite", Capture(kernels=[Kernel("f", 0, 5)]))
    dataset = open_dataset([path], {"kernel_launches": ("kernel_name",)})
    assert set(dataset.arrow("kernel_launches").column_names) == {"capture_id", "kernel_name"} or dataset.arrow(
        "kernel_launches"
    ).column_names == ["kernel_name"]
