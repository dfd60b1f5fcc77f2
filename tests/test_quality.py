"""The verdict on a capture: each reason triggered by tables or facts, and its remedy."""

import pyarrow as pa
import pytest

from nsightkit.analysis.quality import CaptureFacts, judge_capture

WELL = CaptureFacts("nsys", overhead_ratio=1.02)


def ranges(*rows):
    """Rows of nvtx_ranges from (name, begin, length)."""
    return pa.table({
        "name": pa.array([row[0] for row in rows]).dictionary_encode(),
        "start_ns": pa.array([row[1] for row in rows], pa.int64()),
        "duration_ns": pa.array([row[2] for row in rows], pa.int64()),
    })  # fmt: skip


def kernels(count=3, node=None):
    return pa.table(
        {"start_ns": pa.array(range(count), pa.int64()), "graph_node_id": pa.array([node] * count, pa.int64())}
    )


def calls(*names):
    return pa.table({"name": pa.array(names).dictionary_encode()})


def counters(failed=(False, False), dram=(1.0, 1.0), clocks=(1e9, 1e9)):
    return pa.table({
        "failed": list(failed), "dram_bytes": pa.array(dram, pa.float64()),
        "dram_throughput_pct": pa.array([None] * len(failed), pa.float64()),
        "sm_clock_hz": pa.array(clocks, pa.float64()),
    })  # fmt: skip


def said(*texts):
    return pa.table({"text": list(texts)})


def facts(**changes):
    from dataclasses import replace

    return replace(WELL, **changes)


def test_good():
    quality = judge_capture({"kernel_launches": kernels()}, WELL)
    assert quality.as_record() == {"verdict": "good", "reasons": [], "remedies": []}
    assert str(quality) == "good"


RANGE = facts(range_name="decode", warm_repetitions=1)
CASES = [
    ({}, WELL, "unusable", "no kernels: no GPU was traced", "nsightkit doctor"),
    ({"nvtx_ranges": ranges(("a", 0, 1))}, WELL, "unusable", "its ranges hold CPU time only", "nsightkit doctor"),
    (
        {"cuda_api_calls": calls("cudaLaunchKernel")},
        WELL,
        "unusable",
        "the CUDA API was called 1 times",
        "CuptiUseRawGpuTimestamps",
    ),
    (
        {"cpu_operators": pa.table({"operator_name": ["aten::mm"]})},
        facts(backend="torch"),
        "usable",
        "no kernels: no GPU was traced; the times are those of the CPU",
        "where torch sees a GPU",
    ),
    (
        {"cpu_operators": pa.table({"operator_name": ["aten::mm", "aten::record_stream"]})},
        facts(backend="torch"),
        "usable",
        "operators that only a GPU has were called, but no GPU was traced",
        "ProfilerActivity.CUDA",
    ),
    (
        {"cuda_api_calls": calls("cudaGraphLaunch_v10000", "cudaGraphLaunch_v10000")},
        WELL,
        "unusable",
        "kernels are hidden in CUDA graphs: 2 launches of graphs",
        "--cuda-graph-trace=node",
    ),
    (
        {"kernel_launches": kernels(), "cuda_api_calls": calls("cudaGraphLaunch")},
        WELL,
        "usable",
        "hidden in CUDA graphs",
        "node by node",
    ),
    (
        {"kernel_launches": kernels(), "nvtx_ranges": ranges(("other", 0, 9))},
        RANGE,
        "unusable",
        "the range decode was never seen",
        "check its spelling",
    ),
    (
        {"kernel_launches": kernels(), "nvtx_ranges": ranges(("decode", 0, 9))},
        facts(range_name="decode"),
        "usable",
        "only the first repetition of decode was captured: it is cold",
        "--repeat",
    ),
    (
        {"kernel_launches": kernels(), "nvtx_ranges": ranges(("decode", 0, 100), ("prefill", 10, 40))},
        RANGE,
        "usable",
        "the range decode also holds prefill: 40% of its time",
        "put prefill before the range",
    ),
    (
        {
            "kernel_launches": kernels(),
            "nvtx_ranges": ranges(
                ("decode", 0, 999), ("step", 1, 500), *(("step", 501 + 10 * i, 10) for i in range(4))
            ),
        },
        RANGE,
        "usable",
        "the first step in decode takes 50.0 times as long as the others",
        "warm up",
    ),
    (
        {"kernel_counters": counters(failed=(True, False))},
        facts(backend="ncu"),
        "usable",
        "ncu could not measure 1 of 2 launches (50%)",
        "fits the driver",
    ),
    (
        {"kernel_counters": counters(failed=(True, True))},
        facts(backend="ncu"),
        "unusable",
        "2 of 2 launches (100%)",
        "ncu",
    ),
    (
        {"kernel_counters": counters(dram=(None, 1.0))},
        facts(backend="ncu"),
        "usable",
        "1 of 2 launches have no DRAM counter",
        "set detailed",
    ),
    (
        {"kernel_counters": counters(clocks=(1e9, 1.2e9))},
        facts(backend="ncu", clock_control="none"),
        "usable",
        "the SM clock moved by 20% between launches",
        "--clock-control base",
    ),
    (
        {"kernel_launches": kernels(), "diagnostics": said("Not all CUDA events might have been collected.")},
        WELL,
        "usable",
        "events are missing: nsys said",
        "--range, --window",
    ),
    (
        {"kernel_launches": kernels(), "diagnostics": said("CUPTI_ERROR_UNKNOWN at start")},
        WELL,
        "usable",
        'CUDA tracing is in doubt: nsys said "CUPTI_ERROR_UNKNOWN at start"',
        "other profilers",
    ),
    (
        {"kernel_launches": kernels()},
        facts(overhead_ratio=1.3),
        "usable",
        "1.30 times as long: no idle or launch-bound",
        "trace less",
    ),
    (
        {"kernel_launches": kernels()},
        facts(backend="torch", overhead_ratio=1.3),
        "usable",
        "1.30 times as long: no idle or launch-bound",
        "a larger batch",
    ),
    (
        {"kernel_launches": kernels()},
        facts(overhead_ratio=None),
        "usable",
        "overhead of tracing is not known",
        "--no-overhead",
    ),
    (
        {"kernel_launches": kernels()},
        facts(overhead_ratio=None, overhead_single=0.58),
        "usable",
        "timed once each, the run took 0.58 times as long",
        "--repeat 3",
    ),
    (
        {"kernel_launches": kernels()},
        facts(overhead_ratio=None, overhead_interval=(0.4, 1.9)),
        "usable",
        "not measurable here (0.40 … 1.90 times as long): no idle",
        "when the machine is quiet",
    ),
    (
        {"kernel_launches": kernels()},
        facts(overhead_ratio=None, overhead_interval=(2.0, 9.0)),
        "usable",
        "at least 2.00 times as long (2.00 … 9.00 times as long)",
        "trace less",
    ),
    (
        {"kernel_launches": kernels()},
        facts(other_processes=("python (7)",)),
        "usable",
        "other processes were on the GPU: python (7)",
        "choose a free GPU",
    ),
]


@pytest.mark.parametrize(("tables", "known", "verdict", "text", "remedy"), CASES)
def test_reason(tables, known, verdict, text, remedy):
    quality = judge_capture(tables, known)
    assert quality.verdict == verdict
    (found,) = [reason for reason in quality.reasons if text in reason.text]
    assert found.verdict == verdict
    assert remedy in found.remedy
    assert len(quality.as_record()["reasons"]) == len(quality.as_record()["remedies"])


@pytest.mark.parametrize(
    ("tables", "known"),
    [
        ({"kernel_launches": kernels(node=5), "cuda_api_calls": calls("cudaGraphLaunch")}, WELL),
        (
            {"kernel_launches": kernels(), "nvtx_ranges": ranges(("decode", 0, 9), ("decode", 20, 9))},
            facts(range_name="decode"),
        ),
        ({"kernel_launches": kernels(), "nvtx_ranges": ranges(("prefill", 0, 9), ("decode", 10, 9))}, RANGE),
        (
            {"kernel_launches": kernels(), "nvtx_ranges": ranges(("prefill", 0, 9))},
            facts(range_name="prefill", warm_repetitions=1),
        ),
        ({"kernel_launches": kernels()}, facts(range_name="decode", range_limited=True, warm_repetitions=1)),
        ({"kernel_launches": kernels(), "diagnostics": said("Profiling has started.")}, WELL),
        ({"kernel_launches": kernels()}, facts(overhead_ratio=1.1)),
        ({"kernel_launches": kernels()}, facts(overhead_ratio=None, overhead_wanted=False)),
        ({"kernel_counters": counters()}, facts(backend="ncu", overhead_ratio=None, clock_control="base")),
    ],
)
def test_nothing_to_say(tables, known):
    assert judge_capture(tables, known).verdict == "good"


def test_worst_comes_first():
    tables = {"diagnostics": said("events were dropped"), "nvtx_ranges": ranges(("decode", 0, 9))}
    quality = judge_capture(tables, facts(overhead_ratio=2.0))
    assert quality.verdict == "unusable"
    assert [reason.verdict for reason in quality.reasons] == ["unusable", "usable", "usable"]


def launched(*rows):
    """Rows of kernels or calls from (name, correlation id, process)."""
    names, ids, processes = zip(*rows, strict=True)
    return pa.table({
        "name": pa.array(names).dictionary_encode(), "start_ns": pa.array(range(len(rows)), pa.int64()),
        "correlation_id": pa.array(ids, pa.int64()), "process_id": pa.array(processes, pa.int64()),
        "graph_node_id": pa.nulls(len(rows), pa.int64()),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        (("k", 7, 1), ("1 of 2 launches of graphs",)),
        (("k", 7, 2), ("2 launches of graphs",)),
        (("k", None, 1), ("2 launches of graphs",)),
    ],
)
def test_a_graph_whose_kernels_share_its_correlation_id_is_not_hidden(kernel, told):
    # torch.profiler names no node: 34 kernels carry the id of the cudaGraphLaunch that ran them.
    two = launched(("cudaGraphLaunch", 7, 1), ("cudaGraphLaunch", 9, 1))
    trace = facts(backend="torch")
    (reason,) = judge_capture({"cuda_api_calls": two, "kernel_launches": launched(kernel)}, trace).reasons
    assert all(words in reason.text for words in told)
    both = launched(("k", 7, 1), ("k", 9, 1), ("k", 9, 1))
    assert judge_capture({"cuda_api_calls": two, "kernel_launches": both}, trace).reasons == ()


@pytest.mark.parametrize(("tables", "told"), [({"nvtx_ranges": ranges(("a", 0, 1))}, 1),
                                              ({"cuda_api_calls": calls("cudaMalloc")}, 2)])  # fmt: skip
def test_the_overhead_of_a_trace_without_gpu_or_operators_is_not_asked_for(tables, told):
    reasons = judge_capture(tables, CaptureFacts("nsys", made_elsewhere=True)).reasons
    assert len(reasons) == told
    assert reasons[0].text.startswith("no kernels")


@pytest.mark.parametrize(
    "overhead", [{"overhead_ratio": 1.3}, {"overhead_ratio": None, "overhead_interval": (2.0, 9.0)}]
)
def test_no_remedy_for_torch_names_an_option_that_torch_refuses(overhead):
    quality = judge_capture({"kernel_launches": kernels()}, facts(backend="torch", **overhead))
    assert [reason.remedy for reason in quality.reasons if "--range" in reason.remedy] == []
