"""Memory in use: from both tools' records, by the allocator's totals or by adding up, and a curve of bounded size."""

import random

import pytest
from click.testing import CliRunner

from builders import torch
from builders.nsys import INT, PID, Capture, Kernel, process_key, write_sqlite
from nsightkit.analysis.timeline.memory_use import POINTS, memory_use
from nsightkit.cli import cli
from nsightkit.ingest.dataset import open_dataset

COLUMNS = [(name, INT) for name in ("start", "globalPid", "deviceId", "bytes", "memKind", "memoryOperationType")]


def nsys_with(tmp_path, events):
    """`events` are (time, bytes, kind, 0 allocation or 1 release[, device])."""
    rows = [(at, process_key(PID), device[0] if device else 0, size, kind, what)
            for at, size, kind, what, *device in events]  # fmt: skip
    capture = Capture(kernels=(Kernel("k", 5, 9),), extra={"CUDA_GPU_MEMORY_USAGE_EVENTS": (COLUMNS, rows)})
    return write_sqlite(tmp_path / "a.sqlite", capture)


def uses(path):
    return memory_use(open_dataset([path]).arrow("device_memory"))


def test_nsys_sizes_are_added_up_and_host_memory_is_left_out(tmp_path):
    path = nsys_with(tmp_path, [(10, 100, 2, 0), (20, 900, 1, 0), (30, 50, 2, 0), (40, 100, 2, 1), (50, 7, 2, 0, 1)])
    first, second = uses(path)
    assert (first.device_id, first.peak_bytes, first.peak_ns, first.last_bytes) == (0, 150, 30, 50)
    assert first.peak_reserved_bytes is None
    assert not first.is_total
    assert first.points == ((10, 100), (30, 150), (40, 50))
    assert (second.device_id, second.peak_bytes) == (1, 7)


def test_what_was_there_before_is_at_least_what_is_released(tmp_path):
    [use] = uses(nsys_with(tmp_path, [(10, 400, 2, 1), (20, 100, 2, 0)]))
    assert use.points == ((10, 0), (20, 100))
    assert use.peak_bytes == 100


def memory_event(ts, changed, allocated=None, reserved=None, kind=1, **more):
    args = {"Bytes": changed, "Device Id": 0, "Device Type": kind, "Total Allocated": allocated,
            "Total Reserved": reserved, **more}  # fmt: skip
    args = {name: value for name, value in args.items() if value is not None}
    return {"ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 1, "tid": 1, "ts": ts,
            "args": args}  # fmt: skip


def test_torch_states_its_totals(tmp_path):
    events = [torch.kernel("k", 100, 5, 1), memory_event(110, 64, 1064, 4096), memory_event(120, -64, 1000, 2048),
              memory_event(115, 5, 5, 5, kind=0), memory_event(116, "many", 1)]  # fmt: skip
    [use] = uses(torch.write(tmp_path / "t.json", torch.trace(events)))
    assert (use.event_count, use.peak_bytes, use.last_bytes, use.peak_reserved_bytes) == (2, 1064, 1000, 4096)
    assert use.is_total
    assert use.points == ((10_000, 1064), (20_000, 1000))


def test_the_curve_keeps_every_peak_in_few_points(tmp_path):
    rng = random.Random(3)
    events = [(at, rng.randint(1, 99), 2, int(at > 5 and rng.random() < 0.4)) for at in range(5000)]
    [use] = uses(nsys_with(tmp_path, events))
    level, levels = 0, []
    for _, size, _, released in events:
        level += -size if released else size
        levels.append(level)
    floor = min(0, *levels)
    assert use.peak_bytes == max(levels) - floor
    assert len(use.points) <= POINTS
    assert max(used for _, used in use.points) == use.peak_bytes


def test_the_command_says_where_nothing_was_recorded(tmp_path):
    path = write_sqlite(tmp_path / "a.sqlite", Capture(kernels=(Kernel("k", 5, 9),)))
    result = CliRunner().invoke(cli, ["timeline", str(path), "--show", "memory"])
    assert result.exit_code == 0
    assert "--cuda-memory-usage=true" in result.stderr
    assert CliRunner().invoke(cli, ["timeline", str(path), "--show", "memory", "--in", "x"]).exit_code == 2


def test_the_report_draws_it(tmp_path):
    path = nsys_with(tmp_path, [(10, 2_000_000, 2, 0), (30, 500_000, 2, 0), (40, 2_000_000, 2, 1)])
    result = CliRunner().invoke(cli, ["render", str(path), "-o", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Memory of the GPU in use" in text
    assert "2.50 MB" in text
    assert "allocated before the capture began is not in the figures" in text


@pytest.mark.shared
def test_a_real_trace(shared_data):
    [use] = uses(shared_data / "torch-trace" / "b200-deepseek-v3-shapes.json")
    assert (use.event_count, use.last_bytes) == (394, 24297472)
    assert use.peak_reserved_bytes == 48234496
