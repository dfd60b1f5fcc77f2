"""What nsys stats printed, as CSV and as text, of any age, comes back as sums."""

from pathlib import Path
from typing import Any

import pytest

from nsightkit import parquet
from nsightkit.errors import IngestError
from nsightkit.ingest import find_sources, nsys_stats
from nsightkit.tables import REPORTED_SUMS

CSV = """Time (%),Total Time (ns),Instances,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Name
60.0,600,3,200.0,150.0,100,350,130.5,"void gemm<float, 2>(int, ""x"")"
40.0,400,1,400.0,400.0,400,400,0.0,copy
"""
TEXT = """Generating '/somewhere/nsys-report.qdstrm'
Processing [x.sqlite] with [/opt/nvidia/nsight-systems/2025.3.2/host/reports/cuda_api_sum.py]...

 ** CUDA API Summary (cuda_api_sum):

 Time (%)  Total Time (ns)  Num Calls  Avg (ns)  Med (ns)  Min (ns)  Max (ns)   StdDev (ns)           Name
 --------  ---------------  ---------  --------  --------  --------  ---------  -----------  ---------------------
     99.5    1,234,567,890      1,000  200000.5  150000.0       100  9,999,999      12345.6  cudaLaunchKernel
      0.5          400,000          1  400000.0  400000.0   400,000    400,000          0.0  a name of words

Processing [x.sqlite] with [um_sum.py]...
SKIPPED: x.sqlite does not contain CUDA Unified Memory CPU page faults data.

 ** CUDA GPU MemOps Summary (by Size) (cuda_gpu_mem_size_sum):

 Total (MB)  Count  Avg (MB)  Med (MB)  Min (MB)  Max (MB)  StdDev (MB)           Operation
 ----------  -----  --------  --------  --------  --------  -----------  ----------------------------
      1.500      3     0.500     0.250     0.250     1.000        0.433  [CUDA memcpy Host-to-Device]

 ** NVTX Range Summary (nvtx_sum):

 Time (%)  Total Time (ns)  Instances  Avg (ns)  Med (ns)  Min (ns)  Max (ns)  StdDev (ns)   Style     Range
 --------  ---------------  ---------  --------  --------  --------  --------  -----------  --------  --------
    100.0            1,000          2     500.0     500.0       400       600        141.4  Push/Pop  :decode…
"""


def read(tmp_path: Path, text: str | bytes) -> tuple[list[dict[str, Any]], Any]:
    path = tmp_path / "stats.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert nsys_stats.recognizes(path, path.read_bytes())
    data = nsys_stats.read((path,), None)
    return parquet.with_capture_id(REPORTED_SUMS, data.tables["reported_sums"], "c").to_pylist(), data


def test_a_kernel_csv(tmp_path: Path) -> None:
    (first, second), data = read(tmp_path, CSV)
    assert first["report"] == "cuda_gpu_kern_sum"
    assert first["name"] == 'void gemm<float, 2>(int, "x")'
    assert (first["instance_count"], first["total_ns"], first["min_ns"], first["max_ns"]) == (3, 600, 100, 350)
    assert (first["mean_ns"], first["median_ns"], first["std_ns"], first["printed_pct"]) == (200.0, 150.0, 130.5, 60.0)
    assert second["total_bytes"] is None
    assert "only printed sums are known" in data.notes[0]


def test_text_with_several_summaries_between_other_output(tmp_path: Path) -> None:
    rows, data = read(tmp_path, TEXT)
    assert [row["report"] for row in rows] == ["cuda_api_sum", "cuda_api_sum", "cuda_gpu_mem_size_sum", "nvtx_sum"]
    assert (rows[0]["total_ns"], rows[0]["instance_count"], rows[0]["max_ns"]) == (1_234_567_890, 1000, 9_999_999)
    assert rows[1]["name"] == "a name of words"
    assert (rows[2]["total_bytes"], rows[2]["min_bytes"], rows[2]["total_ns"]) == (1_500_000.0, 250_000.0, None)
    assert (rows[3]["style"], rows[3]["name"]) == ("PushPop", ":decode…")
    assert data.tool_version == "2025.3.2"
    assert any("1 names were cut" in note for note in data.notes)


def test_grid_and_block_make_another_report(tmp_path: Path) -> None:
    header = CSV.splitlines()[0].replace(",Name", ",GridXYZ,BlockXYZ,Name")
    rows, _ = read(tmp_path, f"{header}\n100.0,5,1,5.0,5.0,5,5,0.0,   4    1    1, 544    1    1,k\n")
    assert (rows[0]["report"], rows[0]["name"]) == ("cuda_gpu_kern_gb_sum", "k")


def test_the_oldest_layout_and_other_units(tmp_path: Path) -> None:
    text = "Time(%),Total Time (ms),Instances,Average,Minimum,Maximum,Name\n100.0,1.5,2,750000.0,500000,1000000,k\n"
    rows, _ = read(tmp_path, text)
    assert (rows[0]["total_ns"], rows[0]["mean_ns"], rows[0]["min_ns"]) == (1_500_000, 750_000.0, 500_000)
    assert rows[0]["median_ns"] is None


def test_calls_of_the_operating_system_are_told_from_cuda(tmp_path: Path) -> None:
    header = CSV.splitlines()[0].replace("Instances", "Num Calls")
    assert read(tmp_path, f"{header}\n1,5,1,5,5,5,5,0,cuInit\n")[0][0]["report"] == "cuda_api_sum"
    assert read(tmp_path, f"{header}\n1,5,1,5,5,5,5,0,poll\n")[0][0]["report"] == "osrt_sum"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_does_not_matter(tmp_path: Path, encoding: str) -> None:
    assert len(read(tmp_path, CSV.encode(encoding))[0]) == 2


def test_a_name_with_a_newline_stays_whole(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, CSV.replace("copy", '"a\nb|<script>"'))
    assert rows[1]["name"] == "a\nb|<script>"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Start (ns),Duration (ns),CorrId,Name\n1,2,3,k\n", "a trace"),
        ("Range,Style,Total Proj Time (ns)\nx,PushPop,3\n", "a trace or a combined report"),
        (CSV.splitlines()[0] + "\n", "holds no rows"),
        (
            " ** OpenMP Summary (openmp_sum):\n\n Time (%)  Name\n --------  ----\n     50.0  x\n",
            "holds only openmp_sum",
        ),
        (
            " ** CUDA Summary (cuda_gpu_kern_sum):\nSKIPPED: x.sqlite does not contain CUDA kernel data.\n",
            "skipped every",
        ),
    ],
)
def test_what_is_no_summary_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    (source,), failures = find_sources([path])
    assert (source.reader, failures) == ("nsys_stats", [])
    with pytest.raises(IngestError, match=said) as caught:
        source.read()
    assert str(path) in str(caught.value)


def test_other_text_is_not_recognized(tmp_path: Path) -> None:
    for text in ("", "hello", '"ID","Process ID","Kernel Name"\n', "Time,Total\n1,2\n"):
        assert not nsys_stats.recognizes(tmp_path / "x", text.encode())


@pytest.mark.shared
def test_every_shared_printout_is_read(shared_data: Path) -> None:
    counts = {}
    for file in [*(shared_data / "nsys-stats").iterdir(), *(shared_data / "seed-runs" / "dsocr-nsys").iterdir()]:
        (source,), failures = find_sources([file])
        assert (source.reader, failures) == ("nsys_stats", [])
        table: Any = source.read().tables["reported_sums"]
        kernels = [name for name, report in zip(table["name"], table["report"], strict=True) if "kern" in report]
        counts[file.name] = len(kernels)
    assert counts == {
        "a100-resnet50-nsys-stats.txt": 13, "gpt-2.7b-forward-kern-sum.txt": 24, "llama2-70b-fsdp-kern-sum.csv": 175,
        "rtx5090-dsocr-all-kern-sum.csv": 113, "rtx5090-dsocr-decode-kern-sum.csv": 46, "all-stage.csv": 113,
        "clip.csv": 19, "decode.csv": 46, "prefill.csv": 97, "projector.csv": 2, "sam.csv": 36,
    }  # fmt: skip
