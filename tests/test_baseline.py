import json

import pytest

from nsightkit.analysis.compare.run_sums import stored_tables, sum_launches
from nsightkit.baseline import (
    Acceptance,
    Baseline,
    StoredRun,
    accept_regressions,
    list_baselines,
    read_baseline,
    remove_baseline,
    run_paths,
    save_baseline,
)
from nsightkit.errors import IngestError, ReportError
from nsightkit.run import Capture, Run, RunInfo
from tests.builders.pairs import Step, launches

HOSTILE = "a<b>|c*\n\x1b[31m<script>" + "k" * 10_000


@pytest.fixture
def stored():
    sums = sum_launches(launches([Step("gemm"), Step(HOSTILE)], 3))
    return StoredRun(RunInfo(gpu_name="H100", captures=(Capture("nsys", "nsys"),)), stored_tables(sums, {}))


def test_a_baseline_is_small_and_holds_no_launches(tmp_path, stored):
    path = save_baseline(tmp_path, Baseline("main", created_utc="2026-01-01", source="runs/main"), [stored] * 2)
    assert [found.name for found in run_paths(path)] == ["run-01", "run-02"]
    assert read_baseline(path) == Baseline("main", created_utc="2026-01-01", source="runs/main")
    names = sorted({file.parent.name for file in path.rglob("*.parquet")})
    assert names == ["counter_means", "kernel_successions", "kernel_sums"]
    assert Run(path / "run-01").read_info().gpu_name == "H100"
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 100_000


def test_saving_twice_needs_a_word(tmp_path, stored):
    save_baseline(tmp_path, Baseline("main"), [stored])
    with pytest.raises(ReportError, match="--force"):
        save_baseline(tmp_path, Baseline("main"), [stored])
    save_baseline(tmp_path, Baseline("main", source="new"), [stored] * 3, replace_old=True)
    assert read_baseline(tmp_path / "main").source == "new"
    assert len(run_paths(tmp_path / "main")) == 3


def test_what_a_killed_save_left_is_no_baseline(tmp_path, stored):
    path = save_baseline(tmp_path, Baseline("main"), [stored])
    path.rename(tmp_path / ".main.4711.partial")
    assert list_baselines(tmp_path) == []
    save_baseline(tmp_path, Baseline("main"), [stored])
    assert [baseline.name for baseline in list_baselines(tmp_path)] == ["main"]


def test_of_two_that_save_at_once_one_wins_and_one_is_told(tmp_path, stored, monkeypatch):
    def meanwhile(*arguments):
        monkeypatch.undo()
        save_baseline(tmp_path, Baseline("main", source="first"), [stored])

    monkeypatch.setattr("nsightkit.baseline.os.getpid", lambda: 1)
    monkeypatch.setattr("nsightkit.baseline._write_run", meanwhile)
    with pytest.raises(ReportError, match="exists already; add --force"):
        save_baseline(tmp_path, Baseline("main", source="second"), [stored])
    assert read_baseline(tmp_path / "main").source == "first"


def test_a_folder_that_is_no_baseline_is_never_replaced(tmp_path, stored):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "precious").write_text("x")
    with pytest.raises(ReportError, match="it is no baseline"):
        save_baseline(tmp_path, Baseline("src"), [stored], replace_old=True)
    with pytest.raises(IngestError):
        remove_baseline(tmp_path, "src")
    assert (tmp_path / "src" / "precious").read_text() == "x"


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../x", "a b", "-rf", "x" * 200, "\x1b[31m"])
def test_a_name_is_a_plain_name(tmp_path, stored, name):
    with pytest.raises(ReportError, match="cannot name a baseline"):
        save_baseline(tmp_path, Baseline(name), [stored])


def test_listing_and_removing(tmp_path, stored):
    assert list_baselines(tmp_path / "none") == []
    for name in ("b", "a"):
        save_baseline(tmp_path, Baseline(name), [stored])
    assert [found.name for found in list_baselines(tmp_path)] == ["a", "b"]
    remove_baseline(tmp_path, "a")
    assert [found.name for found in list_baselines(tmp_path)] == ["b"]


def test_an_acceptance_is_kept_and_replaced_by_a_later_one(tmp_path, stored):
    path = save_baseline(tmp_path, Baseline("main"), [stored])
    accept_regressions(path, [Acceptance("total_ns > +3% [run]", 1.05, "exact softmax", "2026-01-01", "pr-7")])
    accept_regressions(path, [Acceptance("total_ns > +3% [run]", 1.08, "more", "2026-02-01"),
                              Acceptance("mean_ns > +1% [run]", 1.02, "other", "2026-02-01")])  # fmt: skip
    assert [(item.change, item.reason) for item in read_baseline(path).accepted] == [(1.08, "more"), (1.02, "other")]


def test_a_damaged_or_newer_baseline_says_so(tmp_path, stored):
    path = save_baseline(tmp_path, Baseline("main"), [stored])
    text = (path / "baseline.json").read_text()
    (path / "baseline.json").write_text(json.dumps({**json.loads(text), "schema_version": 99}))
    with pytest.raises(IngestError, match="newer nsightkit"):
        read_baseline(path)
    (path / "baseline.json").write_text(text[:20])
    with pytest.raises(IngestError, match="damaged"):
        read_baseline(path)
    with pytest.raises(IngestError, match="'nsightkit baseline list' shows them"):
        read_baseline(tmp_path / "other")


def test_nothing_half_written_stays(tmp_path, stored):
    broken = StoredRun(stored.info, {"kernel_sums": {"nonsense": [1]}})
    with pytest.raises(Exception, match="no column nonsense"):
        save_baseline(tmp_path, Baseline("main"), [stored, broken])
    assert list(tmp_path.iterdir()) == []
