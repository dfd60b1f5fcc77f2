"""Ranges reach NVTX always and torch.profiler while it runs; timing keeps every sample; results fit their schema."""

import json
import math
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsightkit import annotate
from nsightkit.annotate import ranges
from nsightkit.resources import resource_dir
from nvtx_listener import build, compiler, heard


@pytest.fixture
def spy(monkeypatch):
    """What NVTX is told, in order."""
    said = []
    monkeypatch.setattr(ranges.nvtx, "push_range", lambda name, **more: said.append(("push", name, *more.values())))
    monkeypatch.setattr(ranges.nvtx, "pop_range", lambda: said.append(("pop",)))
    return said


def test_ranges_nest(spy):
    with annotate.range("decode"):
        with annotate.range("step"):
            pass
        with annotate.range("step"):
            pass
    assert spy == [("push", "decode"), ("push", "step"), ("pop",), ("push", "step"), ("pop",), ("pop",)]


def test_an_exception_passes_and_closes_the_range(spy):
    with pytest.raises(KeyError), annotate.range("decode"):
        raise KeyError("x")
    assert spy == [("push", "decode"), ("pop",)]


def test_torch_is_not_imported():
    code = (
        "from nsightkit import annotate\nimport sys\nwith annotate.range('a'): pass\n"
        "print(sorted({'torch', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_half_imported_torch_is_no_trouble(spy, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    with annotate.range("a"):
        pass
    assert spy == [("push", "a"), ("pop",)]


@pytest.mark.torch
def test_torch_sees_ranges_only_while_its_profiler_runs(spy):
    import torch

    torch.set_num_threads(1)
    with annotate.range("before"):
        pass
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profiler:
        with annotate.range("outer"), annotate.range("inner"):
            torch.ones(2).add_(1)
        with pytest.raises(ValueError, match="x"), annotate.range("failing"):
            raise ValueError("x")
    with annotate.range("after"):
        pass
    seen = {event.name: event.time_range for event in profiler.events() if event.is_user_annotation}
    assert set(seen) == {"outer", "inner", "failing"}
    assert seen["outer"].start <= seen["inner"].start
    assert seen["inner"].end <= seen["outer"].end
    assert [word for word, *_ in spy].count("push") == 5
    assert [word for word, *_ in spy].count("pop") == 5


def test_attributes_reach_nvtx(spy):
    with annotate.range("decode_step", category="decode", color="red", payload=7):
        pass
    with annotate.range("batch", payload=8):
        pass
    assert spy == [("push", "decode_step", "red", "decode", 7), ("pop",), ("push", "batch", "blue", None, 8), ("pop",)]


@pytest.mark.torch
@pytest.mark.parametrize("all_threads", [False, True])
def test_a_range_that_says_more_is_an_annotation_under_every_profiler(spy, tmp_path, all_threads):
    """Its name is in the trace as an annotation, with and without inputs and other threads recorded."""
    import torch
    from torch._C._profiler import _ExperimentalConfig

    config = _ExperimentalConfig(profile_all_threads=all_threads)
    activities = [torch.profiler.ProfilerActivity.CPU]
    profiler = torch.profiler.profile(
        activities=activities, record_shapes=all_threads, acc_events=True, experimental_config=config
    )
    with profiler, annotate.range("step", category="decode", color="red", payload=3), annotate.range("plain"):
        torch.ones(1)
    trace = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert {event["name"] for event in events if event.get("cat") == "user_annotation"} == {"step", "plain"}


def test_capture_is_asked_for_only_where_there_is_a_gpu(monkeypatch):
    said = []
    runtime = SimpleNamespace(
        cudaProfilerStart=lambda: said.append("start"), cudaProfilerStop=lambda: said.append("stop")
    )
    for there in (False, True):
        cuda = SimpleNamespace(is_available=lambda there=there: there, cudart=lambda: runtime)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        with annotate.profiled():
            said.append("work")
        with annotate.profiled(enabled=False):
            pass
    with pytest.raises(KeyError), annotate.profiled():
        raise KeyError
    assert said == ["work", "start", "work", "stop", "start", "stop"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if compiler() is None:
        pytest.skip("no C compiler on PATH: the NVTX listener cannot be built")
    return build(tmp_path_factory.mktemp("listener"))


class TestListener:
    """A tool of our own, loaded by NVTX itself."""

    def test_names_nesting_category_color_and_payload(self, library, tmp_path):
        code = (
            "from nsightkit import annotate\n"
            "with annotate.range('decode', category='phase', color='red', payload=8):\n"
            "    for token in (0, 1):\n"
            "        with annotate.range('decode_step', payload=token): pass\n"
            "with annotate.range('plain'): pass\n"
            "with annotate.range('real', payload=0.5): pass\n"
        )
        events = heard(library, tmp_path / "log", "-c", code)
        categories = {e["name"]: e["category"] for e in events if e["event"] == "category"}
        pushed = [e for e in events if e["event"] == "push"]
        assert [(e["name"], e["depth"], e.get("payload")) for e in pushed] == [
            ("decode", 0, 8), ("decode_step", 1, 0), ("decode_step", 1, 1), ("plain", 0, None), ("real", 0, 0.5),
        ]  # fmt: skip
        assert pushed[0]["category"] == categories["phase"] != 0
        assert pushed[1]["category"] == 0
        assert pushed[0]["color"] == 0xFF0000
        assert [e["depth"] for e in events if e["event"] == "pop"] == [1, 1, 0, 0, 0]

    @pytest.mark.torch
    def test_the_workload_says_what_it_does(self, library, tmp_path):
        pytest.importorskip("torch")
        script = str(resource_dir("workloads") / "kv_decode.py")
        sizes = "--prompt-len 5 --max-new-tokens 3 --layers 2 --heads 4 --width 32 --vocabulary 64 --device cpu"
        events = heard(library, tmp_path / "log", script, *sizes.split(), "--warmup-iters", "0", "--batch-size", "2")
        pushed = [e for e in events if e["event"] == "push"]
        steps = [e["payload"] for e in pushed if e["name"] == "decode_step"]
        assert steps == [0, 1, 2]
        assert [e["payload"] for e in pushed if e["name"] in ("prefill", "decode")] == [2, 2]
        assert [e["payload"] for e in pushed if e["name"] == "layer"] == [0, 1] * 4
        assert len(pushed) == sum(e["event"] == "pop" for e in events) == 1 + 1 + 3 + 4 * (1 + 3 * 2)
        marks = [(e["name"], e["depth"], e["payload"]) for e in events if e["event"] == "mark"]
        # Two layers of 12·32² weights and the head 32·64, for 2 × 5 tokens, 2 heads' last position, 5 × 5 pairs.
        first = 2 * 2 * 12 * 32**2 * 10 + 4 * 2 * 32 * 2 * 25 + 2 * 32 * 64 * 2
        assert marks[0] == ("nsightkit.work flop float32", 1, first)
        assert [depth for _, depth, _ in marks] == [1, 1, 2, 2, 2, 2, 2, 2]
        assert marks[1][0] == "nsightkit.work bytes"

    def test_stated_work_of_an_unknown_type_or_below_zero_is_refused(self):
        with pytest.raises(ValueError, match="not one of"):
            annotate.state_work(1.0, 1.0, "posit16")
        with pytest.raises(ValueError, match="cannot be"):
            annotate.state_work(-1.0, 1.0, "float32")
        with pytest.raises(ValueError, match="cannot be"):
            annotate.state_work(1.0, math.nan, "float32")


class TestSpread:
    def test_by_hand(self):
        spread = annotate.spread_of([10, 11, 12, 13, 100])
        assert (spread.count, spread.median_ns, spread.min_ns, spread.max_ns) == (5, 12, 10, 100)
        assert spread.mean_ns == pytest.approx(29.2)
        # Place 0.95 * 4 = 3.8 between 13 and 100.
        assert spread.p95_ns == pytest.approx(13 + 0.8 * 87)
        assert spread.p99_ns == pytest.approx(13 + 0.96 * 87)
        # Quartiles 11 and 13: the fences are 8 and 16.
        assert spread.outliers == (4,)
        assert 10 <= spread.ci_low_ns <= 12 <= spread.ci_high_ns <= 100

    def test_too_few_for_an_interval(self):
        assert annotate.spread_of([]) is None
        spread = annotate.spread_of([3, 4, 5, 6])
        assert (spread.ci_low_ns, spread.ci_high_ns) == (None, None)

    def test_interval_holds_the_true_median_about_as_often_as_it_says(self):
        draw = random.Random(1)
        held = 0
        for trial in range(100):
            spread = annotate.spread_of([draw.gauss(0, 1) for _ in range(25)], seed=trial)
            held += spread.ci_low_ns <= 0 <= spread.ci_high_ns
        assert 88 <= held <= 100

    def test_no_percentile_of_nothing(self):
        for samples, percent in (([], 50), ([1], 101), ([1], -1)):
            with pytest.raises(ValueError, match="percentile"):
                annotate.percentile(samples, percent)

    @given(st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
    def test_order_and_bounds(self, samples):
        spread = annotate.spread_of(samples)
        assert spread.min_ns <= spread.p50_ns <= spread.p95_ns <= spread.p99_ns <= spread.max_ns
        assert spread.p50_ns == pytest.approx(statistics.median(samples))
        assert annotate.spread_of(list(reversed(samples))).p95_ns == spread.p95_ns
        if len(samples) >= 5:
            assert spread.min_ns <= spread.ci_low_ns <= spread.ci_high_ns <= spread.max_ns


class TestMeasure:
    def test_every_part_of_every_repetition(self):
        calls = []

        def work(laps):
            calls.append(random.random())
            with laps.time("whole"):
                for _ in range(3):
                    with laps.time("step"):
                        math.factorial(200)
            return len(calls)

        measured = annotate.measure(work, annotate.Plan(warmup=2, repeats=4, seed=5))
        assert len(calls) == 6
        # The seed is set before each of them.
        assert len(set(calls)) == 1
        assert measured.last == 6
        assert [sorted(rep) for rep in measured.repetitions] == [["step", "whole"]] * 4
        for rep in measured.repetitions:
            assert len(rep["step"]) == 3
            assert 0 < sum(rep["step"]) <= rep["whole"][0]
        assert measured.totals_ns("step") == [sum(rep["step"]) for rep in measured.repetitions]
        assert measured.sample_spread("step").count == 12
        assert measured.spread("other") is None
        assert measured.clock == "monotonic clock of the CPU"
        assert measured.peak_memory_bytes > 1_000_000

    def test_a_part_that_fails_leaves_no_sample(self):
        def work(laps):
            with laps.time("good"):
                pass
            with pytest.raises(KeyError), laps.time("bad"):
                raise KeyError

        assert sorted(annotate.measure(work, annotate.Plan(0, 1)).repetitions[0]) == ["good"]

    @pytest.mark.parametrize("plan", [annotate.Plan(repeats=0), annotate.Plan(warmup=-1)])
    def test_impossible_plans(self, plan):
        with pytest.raises(ValueError, match="repetition"):
            annotate.measure(lambda laps: None, plan)

    def test_a_gpu_is_timed_by_events_without_waiting_between(self, monkeypatch):
        said = []

        class Event:
            count = 0

            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                Event.count += 1
                self.at = Event.count

            def elapsed_time(self, end):
                assert said[-1] == "wait"
                return (end.at - self.at) * 0.5

        cuda = SimpleNamespace(Event=Event, synchronize=lambda device: said.append("wait"),
                               reset_peak_memory_stats=lambda device: said.append("reset"),
                               max_memory_allocated=lambda device: 4096, is_available=lambda: True)  # fmt: skip
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, manual_seed=lambda seed: None))

        def work(laps):
            for _ in range(2):
                with laps.time("step"):
                    said.append("work")

        measured = annotate.measure(work, annotate.Plan(1, 1, device="cuda:0"))
        assert said == ["wait", "work", "work", "wait", "reset", "wait", "work", "work", "wait"]
        assert measured.repetitions == ({"step": [500_000, 500_000]},)
        assert (measured.clock, measured.peak_memory_bytes) == ("CUDA events", 4096)


class TestResults:
    def data(self, **changes):
        measured = annotate.measure(lambda laps: laps.time("a").__enter__(), annotate.Plan(0, 1))
        own = {"timed": "all of it", "tokens_run": 3, "metrics": {"x_ms": 1.5, "y_ms": None}} | changes
        return annotate.results_of(
            "demo", {"batch_size": 2}, annotate.describe_machine("cpu", "float32"), measured, own
        )

    def test_written_and_read_back(self, tmp_path):
        path = tmp_path / "new" / "results.json"
        annotate.write_results(path, self.data())
        data = json.loads(path.read_text(encoding="utf-8"))
        annotate.check_results(data)
        assert data["metrics"] == {"x_ms": 1.5, "y_ms": None}
        assert data["outlier_rule"] == annotate.OUTLIER_RULE
        assert data["machine"]["device_name"].startswith("cpu")
        assert [p.name for p in path.parent.iterdir()] == ["results.json"]

    def test_what_the_docs_name_is_there_and_the_schema_has_the_words_of_json_schema_alone(self):
        said = (Path(__file__).parents[1] / "docs" / "studies.md").read_text(encoding="utf-8")
        named = set(re.findall(r"annotate\.([A-Za-z_]+)", said))
        assert "RESULTS_SCHEMA" in named
        assert [name for name in named if not hasattr(annotate, name)] == []

        def words(schema):
            inner = [*schema.get("properties", {}).values(), *(schema[k] for k in ("items", "additionalProperties")
                                                              if k in schema)]  # fmt: skip
            return set(schema).union(*map(words, inner))

        standard = {"type", "required", "properties", "items", "additionalProperties"}
        assert words(annotate.RESULTS_SCHEMA) == standard

    def test_what_is_no_finite_number_is_null_in_the_file(self, tmp_path):
        """JSON has no NaN: a strict reader would refuse the whole file."""
        path = tmp_path / "r.json"
        annotate.write_results(path, self.data(metrics={"x": math.nan}, rows=[{"y": math.inf, "z": 2.5}]))
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
        assert data["metrics"] == {"x": None}
        assert data["rows"] == [{"y": None, "z": 2.5}]

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"timed": None}, "results.timed is NoneType, not string"),
            ({"tokens_run": True}, "results.tokens_run is bool, not integer"),
            ({"metrics": {"x": "fast"}}, "results.metrics.x is str, not number or null"),
            ({"notes": ["a", 3]}, r"results.notes\[1\] is int, not string"),
        ],
    )
    def test_what_does_not_fit_is_named(self, changes, text):
        with pytest.raises(ValueError, match=text):
            self.data(**changes)

    def test_what_is_missing_is_named(self, tmp_path):
        data = self.data()
        del data["machine"]["dtype"]
        with pytest.raises(ValueError, match=r"results.machine has no dtype"):
            annotate.write_results(tmp_path / "r.json", data)
        assert not list(tmp_path.iterdir())
