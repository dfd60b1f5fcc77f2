"""The pair of the KV decode study as files: decoding without and with a cache, each as nsys and ncu saw it.

12 layers, 16 tokens. Without the cache every step runs the whole prompt: 4 large GEMMs and one attention kernel a layer
and step. With it one prefill does that once, and steps run small kernels.
"""

import json

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli
from tests.builders.ncu import PrintedLaunch, raw_csv
from tests.builders.nsys import Call, Capture, Kernel, Range, write_sqlite

LAYERS, STEPS = 12, 16
GEMM_OFF = "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_256x128_64x3_tn_align8>(T1::Params)"
GEMM_ON = "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_tf32_128x128_16x3_tn_align4>(T1::Params)"
GEMV = "void gemv2T_kernel_val<int, int, float, float, float, float, 128, 16, 4, 4, false>(T1)"
FMHA = "fmha_cutlassF_f32_aligned_64x64_rf_sm80(PyTorchMemEffAttention::Params)"
METRICS = (
    ("gpu__time_duration.sum", "ns"),
    ("launch__registers_per_thread", "register/thread"),
    ("sm__throughput.avg.pct_of_peak_sustained_elapsed", "%"),
    ("dram__bytes.sum", "byte"),
)


class Program:
    """Kernels one after another, each with its call, in ranges."""

    def __init__(self):
        self.kernels, self.calls, self.ranges, self.now = [], [], [], 1_000

    def launch(self, name, ns, grid=(64, 1, 1), block=(128, 1, 1)):
        number = len(self.kernels) + 1
        self.calls.append(Call("cudaLaunchKernel", self.now, self.now + 100, correlation=number))
        self.kernels.append(
            Kernel(name, self.now + 200, self.now + 200 + ns, correlation=number, grid=grid, block=block)
        )
        self.now += 300 + ns

    def within(self, name, work):
        start = self.now
        work()
        self.ranges.append(Range(start, self.now - 50, name))

    def write(self, path):
        capture = Capture(tuple(self.kernels), tuple(self.calls), ranges=tuple(self.ranges))
        write_sqlite(path, capture)


def pass_over_the_prompt(program, gemm, gemm_ns, grid, block):
    for _ in range(LAYERS):
        for _ in range(4 if gemm is GEMM_OFF else 2):
            program.launch(gemm, gemm_ns, grid, block)
        program.launch(FMHA, 400_000)


def step_with_cache(program):
    for _ in range(LAYERS):
        for _ in range(4):
            program.launch(GEMV, 30_000)
        program.launch(FMHA, 90_000)


def counted(path, gemm, ns, registers, grid, block):
    values = (f"{ns}", f"{registers}", "46", f"{ns * 100}")
    raw_csv(path, METRICS, [(PrintedLaunch(gemm, grid=grid, block=block), values)])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("kv")
    off, on = root / "off", root / "on"
    for folder in (off, on):
        folder.mkdir()
    without, cached = Program(), Program()
    for _ in range(STEPS):
        without.within(
            "decode_step", lambda: pass_over_the_prompt(without, GEMM_OFF, 2_000_000, (512, 1, 1), (256, 1, 1))
        )
    without.write(off / "timeline.sqlite")
    cached.within("prefill", lambda: pass_over_the_prompt(cached, GEMM_ON, 6_000_000, (1024, 1, 1), (128, 1, 1)))
    for _ in range(STEPS):
        cached.within("decode_step", lambda: step_with_cache(cached))
    cached.write(on / "timeline.sqlite")
    counted(off / "counters.csv", GEMM_OFF, 3_420_000, 232, "(512, 1, 1)", "(256, 1, 1)")
    counted(on / "counters.csv", GEMM_ON, 6_520_000, 224, "(1024, 1, 1)", "(128, 1, 1)")
    return off, on


def nsightkit(*arguments):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def text(pair):
    return nsightkit(
        "compare", *pair, "--varies", "dtype", "--varies", "scope", "--phase", "prefill", "--phase", "decode_step"
    )


@pytest.fixture(scope="module")
def rows(pair):
    return json.loads(nsightkit("compare", *pair, "--varies", "dtype", "--varies", "scope", "--format", "json"))


def test_kernel_mixes_hold_the_instances_of_the_source(rows):
    launches = {}
    for row in rows:
        if row["level"] == "kernel":
            launches |= {name: row["base_launches"] for name in row["base_kernels"] if row["base_launches"]}
            launches |= {(name, "on"): row["head_launches"] for name in row["head_kernels"] if row["head_launches"]}
    assert (launches[GEMM_OFF], launches[FMHA]) == (4 * LAYERS * STEPS, LAYERS * STEPS) == (768, 192)
    assert (launches[GEMM_ON, "on"], launches[FMHA, "on"]) == (2 * LAYERS, LAYERS * (STEPS + 1)) == (24, 204)


def test_the_accounting_comes_out_to_the_nanosecond(rows):
    whole = rows[0]
    assert whole["base_total_ns"] == 768 * 2_000_000 + 192 * 400_000
    assert whole["head_total_ns"] == 24 * 6_000_000 + 12 * 400_000 + STEPS * LAYERS * (4 * 30_000 + 90_000)
    for level in ("kernel", "family"):
        assert sum(row["difference_ns"] for row in rows if row["level"] == level) == whole["difference_ns"]


def test_the_sentence_says_what_the_speed_up_is_made_of(text):
    assert "mostly kernels that are only in base" in text
    assert "By family: GEMM −1.39 s (fewer launches (0.0312×): algorithmic; more time per launch (3×))" in text


def test_the_dominant_gemms_stand_side_by_side_and_keep_their_scopes(text):
    table = text[text.index("The costliest kernel of GEMM on each side") :].split("\nKernels")[0]
    found = {line.split("  ")[0]: line.split() for line in table.splitlines() if line}
    assert "an execution of its own" in table
    assert found["launches"][-2:] == ["768", "24"]
    assert found["per launch"][-4:] == ["2.00", "ms", "6.00", "ms"]
    assert found["duration (ncu)"][-4:] == ["3.42", "ms", "6.52", "ms"]
    assert found["registers per thread (ncu)"][-2:] == ["232", "224"]
    assert "512×1×1 / 256×1×1" in table


def test_a_phase_of_one_side_alone_is_a_line(text):
    (line,) = [line for line in text.splitlines() if line.startswith("range prefill")]
    assert " new " in line
    assert line.split()[3:6] == ["0", "36", "–"]
    (step,) = [line for line in text.splitlines() if line.startswith("range decode_step")]
    assert "fewer launches" in step or "less time per launch" in step


def test_the_other_number_type_is_refused_unless_said(pair):
    result = CliRunner().invoke(cli, ["compare", *map(str, pair)])
    assert result.exit_code == 3
    assert "dtype: base has BF16, head" in result.stderr


def test_the_page_holds_it_too(pair, tmp_path):
    nsightkit("compare", *pair, "--varies", "dtype", "--varies", "scope", "-o", tmp_path / "page")
    page = (tmp_path / "page" / "compare.md").read_text(encoding="utf-8")
    assert "The costliest kernel of each side" in page
    assert "duration (ncu)" in page
