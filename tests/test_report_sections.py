"""Sections: right in every kind of run, silent in none; counts equal the rows beneath them."""

from dataclasses import replace

import pytest

from builders.analysis import (
    HOSTILE_NAMES,
    classified,
    make_analysis,
    make_info,
    make_operators,
    make_story,
    make_sums,
    make_top,
)
from nsightkit.analysis.counters.stalls import MEANINGS, Stall
from nsightkit.analysis.distributions import summarize_classes
from nsightkit.analysis.results import Analysis, Verdict
from nsightkit.report import blocks, first_screen
from nsightkit.report.blocks import DataTable, Facts, Figure, Group, Items, Pairs, Text
from nsightkit.report.context import Context, ReportOptions
from nsightkit.report.labels import metric_label, metric_text, sentence
from nsightkit.report.sections import SECTIONS, build_sections, overview

RUNS = {
    "empty": Analysis(),
    "one kernel": make_analysis(1),
    "counters only": make_analysis(6, timeline=False),
    "both": make_analysis(20),
    "hostile": make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES),
    "CPU": Analysis(top_operators=make_operators(), ranges=make_sums("decode")),
    "many": make_analysis(600),
    "story": make_story(make_analysis(20)),
    "hostile story": make_story(make_analysis(len(HOSTILE_NAMES), HOSTILE_NAMES), HOSTILE_NAMES),
}


def walk(parts):
    for part in parts:
        yield part
        if isinstance(part, Group):
            yield from walk(part.blocks)


def sections(analysis, **options):
    info = make_info() if analysis.top_kernels or analysis.kernels else make_info(captures=(), tokens=None)
    return {s.id: s for s in build_sections(Context(info, analysis, ReportOptions(**options)))}


def table(section, name):
    return next(b for b in walk(section.blocks) if isinstance(b, DataTable) and b.id == name)


def column(found, key):
    place = [c.key for c in found.columns].index(key)
    return [row[place] for row in found.rows]


@pytest.mark.parametrize("kind", RUNS)
def test_every_section_has_content_or_says_what_would_supply_it(kind):
    for section in build_sections(Context(make_info(), RUNS[kind])):
        assert bool(section.blocks) != bool(section.missing), section.id
        for part in walk(section.blocks):
            if isinstance(part, DataTable):
                assert part.rows
                assert all(len(row) == len(part.columns) for row in part.rows)
                assert sum(c.markdown for c in part.columns) <= 8, part.id


@pytest.mark.parametrize("kind", RUNS)
def test_ids_are_unique_and_links_lead_somewhere(kind):
    found = build_sections(Context(make_info(), RUNS[kind]))
    parts = [part for section in found for part in walk(section.blocks)]
    ids = [s.id for s in found] + [p.id for p in parts if isinstance(p, (DataTable, Figure))]
    ids += [p.anchor for p in parts if isinstance(p, Group) and p.anchor]
    ids += [n.anchor for p in parts if isinstance(p, blocks.Names) for n in p.names]
    assert len(ids) == len(set(ids))
    links = {c.href for p in parts if isinstance(p, DataTable) for row in p.rows for c in row if c.href}
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_sections_stand_in_reading_order():
    assert [s.id.replace("-", "_") for s in build_sections(Context(make_info(), Analysis()))] == list(SECTIONS)
    assert SECTIONS[0] == "overview"


def test_missing_inputs_name_the_command_that_supplies_them():
    found = sections(Analysis())
    assert "nsightkit profile --tool nsys" in found["top-kernels"].missing
    assert "nsightkit profile --tool ncu" in found["classification"].missing
    assert "nsightkit profile --tool ncu" in found["roofline"].missing
    assert "NVTX" in found["ranges"].missing


def test_a_roofline_without_points_says_what_is_lacking():
    kernels = tuple(replace(k, point=None) for k in classified(6))
    found = sections(Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels))))
    assert "--set full" in found["roofline"].missing
    assert "SM throughput (on 1 kernel)" in found["roofline"].missing


def test_class_counts_equal_the_rows_of_the_verdicts():
    section = sections(make_analysis(20))["classification"]
    counts, verdicts = table(section, "class-counts"), table(section, "verdicts")
    bounds = [cell.text for cell in column(verdicts, "bound")]
    for bound, count in zip(column(counts, "bound"), column(counts, "kernel_count"), strict=True):
        expected = len(bounds) if bound.text == "OVERALL" else bounds.count(bound.text)
        assert int(count.exact) == expected


def test_shares_of_time_stand_beside_counts_and_add_up():
    counts = table(sections(make_analysis(20))["classification"], "class-counts")
    shares = [float(cell.exact) for cell in column(counts, "time_share")]
    assert sum(shares[:-1]) == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(1.0)
    assert [cell.text for cell in column(counts, "count_share")][-1] == "100 %"


def test_the_rule_and_the_margin_that_were_used_are_stated():
    kernels = tuple(
        replace(k, verdict=Verdict("BALANCED", "sol-gap", "throughput", "balanced", 1.15, "points"))
        for k in classified(3)
    )
    analysis = Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels)), rule="sol-gap", margin=7.5)
    found = sections(analysis)
    words = next(b.text for b in found["classification"].blocks if isinstance(b, Text))
    assert words.startswith("Rule asked for: sol-gap. Used: sol-gap (inputs: throughput) on 3 of 3 profiled kernels.")
    assert "Margin of sol-gap: 7.50 points" in words
    said = " ".join(i for b in found["method"].blocks if isinstance(b, Items) for i in b.items)
    assert "Above the margin of 7.50 points" in said
    assert "Rule ncu" not in said
    assert column(table(found["classification"], "verdicts"), "margin")[0].text == "1.15 points"


def test_the_longest_kernels_are_ten_and_in_order():
    found = table(sections(make_analysis(20))["longest"], "longest-kernels")
    durations = [float(cell.exact.removesuffix(" ns")) for cell in column(found, "duration_ns")]
    assert durations == sorted(durations, reverse=True)
    assert len(durations) == 10
    assert durations[0] == 404_700.0
    assert found.hidden == "10 of 20 profiled kernels are shown; 10 are not."


def test_thirteen_histograms_and_one_roofline_per_kernel():
    found = sections(make_analysis(6))
    histograms = [b for b in walk(found["histograms"].blocks) if isinstance(b, Figure)]
    assert len(histograms) == 13
    assert all(f.table and f.table.rows for f in histograms)
    small = [b for b in walk(found["kernel-rooflines"].blocks) if isinstance(b, Figure)]
    assert len(small) == sum(k.point is not None for k in make_analysis(6).kernels) == 4


def test_tables_say_how_many_rows_they_hide():
    found = table(sections(make_analysis(20), limit=5)["top-kernels"], "kernels-by-time")
    assert len(found.rows) == 5
    assert found.hidden.startswith("5 of 20 kernels are shown; 15 with ")
    everything = table(sections(make_analysis(20), limit=0)["top-kernels"], "kernels-by-time")
    assert len(everything.rows) == 20
    assert everything.hidden == ""


def test_five_hundred_cards_at_most_and_the_rest_is_counted():
    found = sections(make_analysis(600))["kernels"]
    cards = [b for b in walk(found.blocks) if isinstance(b, Group) and b.layout == "card"]
    assert len(cards) == 500
    notes = [b.text for b in found.blocks if isinstance(b, Text)]
    assert notes[0].startswith("500 of 600 profiled kernels are shown; 100 with ")


@pytest.mark.parametrize(
    ("analysis", "lead"),
    [
        (Analysis(), "Nothing in this run can be judged: it holds neither a timeline nor counters of any kernel."),
        (
            Analysis(top_kernels=make_top(6)),
            "GEMM 128×128 (FP16) takes 67.1 % of the kernel time; the first three of 6 kernels take 91.3 %.",
        ),
        (
            Analysis(top_operators=make_operators(4)),
            "aten::addmm takes 48.0 % of the operators' own CPU time; the first three of 4 take 88.0 %.",
        ),
        (
            make_analysis(6, timeline=False),
            "Compute-bound: 89.2 % of the profiled GPU time, in 1 of 6 profiled kernels.",
        ),
        (
            make_analysis(1, timeline=False),
            "GEMM 128×128 (FP16): compute-bound: computes 41.0 TFLOP/s of 48.7 TFLOP/s (84.2 %) (FP32).",
        ),
    ],
)
def test_the_verdict_comes_first(analysis, lead):
    first = sections(analysis)["overview"].blocks[0]
    assert first == Text(lead, "lead")


def test_a_run_with_no_known_bound_says_so():
    unknown = Verdict("UNKNOWN", "auto", "none", "", None, "", missing=("sm_throughput_pct",))
    kernels = tuple(replace(k, verdict=unknown) for k in classified(4))
    lead = sections(Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels))))["overview"].blocks[0]
    whole = "The bound of 100 % of the profiled GPU time is unknown (4 of 4 profiled kernels)"
    assert lead.text == f"{whole}: SM throughput not collected."


def test_facts_carry_exact_values_and_their_scope():
    facts = next(b for b in sections(make_analysis(6))["overview"].blocks if isinstance(b, Facts)).facts
    known = {f.label: f for f in facts}
    total = sum(k.total_ns for k in make_top(6))
    assert known["kernel time"].exact == f"{total} ns"
    assert known["kernel time per token"].exact == f"{total / 16!r} ns"
    assert known["GPU busy"].text == "20.6 %"
    assert "676 ms" in known["GPU busy"].scope
    assert "launch-bound" not in " ".join(f.label + f.scope for f in facts).lower()


def test_a_headline_names_few_of_many_missing_counters():
    missing = ("sm_throughput_pct", "memory_throughput_pct", "dram_bytes", "fp64_flop", "fp32_flop")
    one = replace(classified(1)[0], verdict=Verdict("UNKNOWN", "auto", "none", "", None, "", missing=missing))
    assert sentence(one) == (
        "Bound unknown: SM throughput, Memory throughput, DRAM traffic and 2 more not collected."
    )  # fmt: skip


def test_without_a_gpu_the_facts_are_the_operators_own_time():
    operators = make_operators(4)
    overview = build_sections(Context(make_info(tokens=16), Analysis(top_operators=operators)))[0]
    known = {f.label: f for f in next(b for b in overview.blocks if isinstance(b, Facts)).facts}
    own = sum(o.self_ns for o in operators)
    assert known["operator time on the CPU"].exact == f"{own} ns"
    assert known["operator time per token"].exact == f"{own // 16} ns"
    assert "over 16 tokens" in known["operator time per token"].scope


def test_a_card_says_how_many_states_of_its_warps_it_leaves_out():
    analysis = make_story(make_analysis(2))
    states = tuple(Stall(reason, 0.125, 1.0) for reason in list(MEANINGS)[:8])
    told = str(sections(replace(analysis, story=replace(analysis.story, stalls={0: states})))["kernels"])
    assert "A warp takes 8.00 cycles from one instruction to the next" in told
    assert "; 3 further states." in told


def test_captures_that_are_alike_share_a_row():
    from nsightkit.run import Capture

    captures = tuple(Capture(f"kernel_{i:04}", "ncu", "2025.1", "a.csv, b.csv, c.csv, d.csv") for i in range(1, 21))
    found = build_sections(Context(make_info(captures=captures), make_analysis(3)))[0]
    cells = table(found, "captures").rows[0]
    assert cells[0].text == "kernel_0001 … kernel_0020 (20 captures)"
    assert cells[3].text == "a.csv, b.csv and 2 more"
    assert len(table(found, "captures").rows) == 1


def test_a_sentence_names_the_number_that_decides():
    compute, memory, _, latency, balanced, unknown = classified(6)
    assert sentence(memory) == "Memory-bound: moves 643 GB/s of 717 GB/s (89.7 %) through DRAM."
    assert sentence(latency) == "Latency-bound: SM throughput 21.50 %, memory throughput 18.20 % of peak."
    assert sentence(balanced) == "Balanced: SM throughput 63.00 %, memory throughput 66.10 % of peak."
    assert sentence(unknown) == "Bound unknown: SM throughput, Memory throughput not collected."
    failed = replace(unknown, launch_count=0, failed_count=2, verdict=replace(unknown.verdict, missing=()))
    assert sentence(failed) == "Bound unknown: the profiler could not measure it."
    assert sentence(compute).startswith("Compute-bound: computes 41.0 TFLOP/s")


def test_suspects_and_notes_reach_the_card():
    kernel = classified(1)[0]
    point = replace(kernel.point, flags=("1.40 times the roof: clock",))
    verdict = replace(kernel.verdict, flags=("1.40 times the roof: clock", "intensity is a lower bound"))
    kernels = (replace(kernel, point=point, verdict=verdict, failed_count=1),)
    found = sections(Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels))))
    items = next(b for b in walk(found["kernels"].blocks) if isinstance(b, Items)).items
    assert "Suspect: 1.40 times the roof: clock." in items
    assert "Note: intensity is a lower bound." in items
    assert "Note: 1.40 times the roof: clock." not in items
    notes = [b.text for b in walk(found["kernels"].blocks) if isinstance(b, Text) and b.role == "note"]
    assert "1 of them could not be measured" in notes[0]
    assert column(table(found["roofline"], "roofline-points"), "flags")[0].text == "1.40 times the roof: clock"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("sm_throughput_pct", "SM throughput"),
        ("tensor_bf16_flop", "Tensor BF16 work"),
        ("peak_tensor_fp16_flop_per_s", "Tensor FP16 roof"),
        ("peak_dram_bytes_per_s", "DRAM roof"),
        ("flop_per_byte", "Arithmetic intensity"),
        ("l2_bytes", "Returned by L2"),
    ],
)
def test_metrics_have_words(name, label):
    assert metric_label(name) == label


@pytest.mark.parametrize(
    ("launches", "labels"),
    [(1, {"Duration", "DRAM traffic", "SM throughput"}),
     (4, {"Duration (mean)", "DRAM traffic (sum of 4)", "SM throughput"})],
)  # fmt: skip
def test_a_card_of_several_launches_says_what_is_a_sum_and_what_a_mean(launches, labels):
    kernel = replace(classified(1)[0], launch_count=launches)
    kernels = (replace(kernel, counters=kernel.counters | {"dram_bytes": 4e9, "sm_throughput_pct": 30.0}),)
    found = sections(Analysis(kernels=kernels, classes=tuple(summarize_classes(kernels))))
    card = next(b for b in walk(found["kernels"].blocks) if isinstance(b, Pairs))
    told = {label for label, _ in card.pairs}
    assert labels <= told
    assert not any(label.startswith("SM throughput (") for label in told)


def test_a_histogram_calls_a_counter_what_the_cards_call_it():
    from nsightkit.analysis.distributions import HISTOGRAM_METRICS

    assert [metric.label for metric in HISTOGRAM_METRICS] == [metric_label(metric.name) for metric in HISTOGRAM_METRICS]


def test_every_counter_has_words_with_a_unit():
    from nsightkit.tables import COUNTER_COLUMNS

    labels = [metric_label(c.name) for c in COUNTER_COLUMNS]
    assert len(labels) == len(set(labels))
    assert not [label for label in labels if "_" in label]
    assert metric_text("dram_bytes", 2.6e6) == "DRAM traffic 2.60 MB"


def test_the_first_screen_has_the_three_findings_that_would_save_most():
    analysis = make_story(make_analysis(20))
    found = sections(analysis)
    first, whole = table(found["overview"], "findings-first"), table(found["findings"], "findings-all")
    assert len(first.rows) == 3
    assert [row[0].text for row in whole.rows[:3]] == [row[0].text for row in first.rows]
    assert str(len(whole.rows)) in first.hidden
    stakes = [float(cell.exact.removesuffix(" ns")) for cell in column(whole, "stake_ns")]
    assert stakes == sorted(stakes, reverse=True)
    assert stakes == [f.stake_ns for f in analysis.story.findings.found]


@pytest.mark.parametrize(
    ("analysis", "said", "unsaid"),
    [
        (Analysis(), ("need a timeline", "need counters"), "need FLOP"),
        (replace(make_analysis(3), kernels=(), classes=()), ("need counters",), "need a timeline"),
        (replace(make_analysis(3, timeline=False), kernels=tuple(replace(k, point=None) for k in classified(3))),
         ("need a timeline", "need FLOP, DRAM traffic and a roof"), "need counters"),
    ],
)  # fmt: skip
def test_no_finding_says_what_the_silent_rules_lacked(analysis, said, unsaid):
    section = sections(analysis)["findings"]
    text = section.missing or next(part.text for part in walk(section.blocks) if isinstance(part, Text))
    assert text.startswith("No finding: no rule found 2 % of its scope at stake.")
    assert all(words in text for words in said)
    assert unsaid not in text


def test_what_is_withheld_is_said():
    section = sections(make_story(make_analysis(6)))["findings"]
    said = [item for part in walk(section.blocks) if isinstance(part, Items) for item in part.items]
    assert "waiting: the overhead of tracing was not measured." in said


def test_quality_stands_on_the_first_screen_with_what_to_do():
    bad = {"verdict": "usable", "reasons": ["clocks were not locked"], "remedies": ["--clock-control base"]}
    captures = (
        replace(make_info().captures[0], quality=bad),
        replace(make_info().captures[1], quality={"verdict": "good"}),
    )
    context = Context(make_info(captures=captures), make_analysis(3))
    assert context.quality == ("usable", ("timeline: clocks were not locked. To do: --clock-control base",))
    overview = build_sections(context)[0]
    assert overview.blocks[0] == Text("Capture quality: usable (clocks were not locked).", "quality")
    notes = [item for part in walk(overview.blocks) if isinstance(part, Items) for item in part.items]
    assert notes[0] == "timeline: clocks were not locked. To do: --clock-control base."
    printed = "".join(str(part) for part in first_screen.terminal(context).renderables[:2])
    assert "Capture quality: usable (clocks were not locked)." in printed
    assert first_screen.brief_markdown(context).splitlines()[1].startswith("Capture quality: usable (clocks")


def judged(capture, *reasons, verdict="usable"):
    """Return a capture with a verdict of `reasons`, pairs of a reason and what to do about it."""
    whys, remedies = [why for why, _ in reasons], [remedy for _, remedy in reasons]
    return replace(capture, quality={"verdict": verdict, "reasons": whys, "remedies": remedies})


LATE = ("the overhead is not known: no untraced run", "--repeat 3")
COLD = ("the first step of at::mm is cold: 3.0 times as long", "--repeat 3")
LOCKED = ("clocks were not locked", "--clock-control base")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            (LATE, COLD, LOCKED),
            (),
            [
                "timeline: the overhead is not known; the first step of at::mm is cold. To do: --repeat 3.",
                "timeline: clocks were not locked. To do: --clock-control base.",
            ],
        ),
        (
            (LATE, COLD),
            (LATE,),
            [
                "the overhead is not known. To do: --repeat 3.",
                "timeline: the first step of at::mm is cold. To do: --repeat 3.",
            ],
        ),
        (
            (LATE, COLD),
            (COLD, LATE),
            ["the overhead is not known; the first step of at::mm is cold. To do: --repeat 3."],
        ),
    ],
)
def test_a_remedy_says_which_reasons_of_which_captures_it_answers(first, second, said):
    one, other = make_info().captures
    other = judged(other, *second) if second else replace(other, quality={"verdict": "good"})
    context = Context(make_info(captures=(judged(one, *first), other)), make_analysis(3))
    assert [note for note in overview.notes(context) if "To do" in note] == said


def test_a_reason_that_the_first_line_leaves_out_is_told_in_full():
    one, other = make_info().captures
    captures = (judged(one, LOCKED, verdict="unusable"), judged(other, LATE))
    notes = overview.notes(Context(make_info(captures=captures), make_analysis(3)))
    assert f"{other.capture_id}: the overhead is not known: no untraced run. To do: --repeat 3." in notes
    assert f"{one.capture_id}: clocks were not locked. To do: --clock-control base." in notes


def test_the_heat_map_and_its_table_hold_all_time():
    analysis = make_story(make_analysis(6))
    (figure,) = sections(analysis)["phases"].blocks
    assert sum(int(cell.exact.split()[0]) for cell in column(figure.table, "gpu_ns")) == 15_500_000
    assert sum(float(cell.exact) for cell in column(figure.table, "share")) == pytest.approx(1.0)


def test_a_card_quotes_the_rules_and_the_limiter_and_the_class_means():
    analysis = make_story(make_analysis(20))
    card = next(part for part in walk(sections(analysis)["kernels"].blocks) if isinstance(part, Group) and part.bound)
    said = " ".join(item for part in walk(card.blocks) if isinstance(part, Items) for item in part.items)
    assert "Long Scoreboard Stalls (global speed-up 42.50 %): Warps wait <b>long</b>." in said
    assert "Theoretical occupancy is limited by registers." in said
    pairs = [p for p in walk(card.blocks) if isinstance(p, blocks.Pairs) and p.title.startswith("Beside the mean of")]
    means = {c.bound: c.means for c in analysis.classes}[card.bound]
    assert repr(means["duration_ns"]).removesuffix(".0") in dict(pairs[0].pairs)["Duration"].exact


def test_a_demand_is_a_share_of_what_it_names():
    rows = table(sections(make_story(make_analysis(20)))["findings"], "demand").rows
    known = {row[1].text: float(row[2].exact.split()[0]) for row in rows}
    assert {row[4].text for row in rows} <= {"high", "medium", "low"}
    assert all(row[4].exact for row in rows)
    top = make_analysis(20).top_kernels
    whole = sum(k.total_ns for k in top)
    assert known["Matrix times vector (GEMV)"] == pytest.approx(
        sum(k.total_ns for k in top if k.family == "GEMV") / whole
    )
    assert 0 < known["L2 hit rate, weighted by time"] <= 100


def test_a_launch_bound_run_says_so_first(tmp_path):
    from builders.timeline import launch_bound, write_run
    from nsightkit.analysis import AnalysisOptions, analyze_tables
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset([write_run(tmp_path / "run", launch_bound(7))])
    untold = sections(analyze_tables(dataset))
    told = sections(analyze_tables(dataset, AnalysisOptions(tracing_ratio=1.03)))
    leads = [next(b.text for b in found["overview"].blocks if isinstance(b, Text)) for found in (untold, told)]
    assert leads[0].startswith("The GPU was busy 25.7 % of the 9.31 ms, as traced, and waited for the rest.")
    assert "the overhead of tracing was not measured" in leads[0]
    assert leads[1] == "Launch-bound: the GPU works 25.7 % of the time."
    assert "was not measured" in " ".join(
        item for part in walk(untold["findings"].blocks) if isinstance(part, Items) for item in part.items
    )


@pytest.mark.parametrize(
    ("planted", "lead"),
    [
        ("copy_bound", "Copies alone take 78.2 % of the 11.7 ms: nothing computes meanwhile."),
        ("communication_bound", "Communication alone takes 77.7 % of the 18.7 ms: nothing computes meanwhile."),
        ("host_bound", "waited for the rest: 85.3 % for code of the program outside CUDA."),
        ("sync_bound", "waited for the rest: 54.5 % after synchronizing."),
        ("gpu_bound", "gemm takes 91.5 % of the kernel time."),
    ],
)
def test_the_first_sentence_is_about_what_takes_the_time(planted, lead, tmp_path):
    from builders import timeline
    from nsightkit.analysis import AnalysisOptions, analyze_tables
    from nsightkit.ingest.dataset import open_dataset

    dataset = open_dataset([timeline.write_run(tmp_path / "run", getattr(timeline, planted)(1))])
    found = sections(analyze_tables(dataset, AnalysisOptions(tracing_ratio=1.03)))
    assert next(b.text for b in found["overview"].blocks if isinstance(b, Text)).endswith(lead)


def test_captures_of_several_gpus_are_no_one_run():
    lead = build_sections(Context(make_info(gpu_name="17 different GPUs"), make_analysis(6)))[0].blocks[0]
    assert lead.text.startswith("2 captures of 17 different GPUs in one report")
    both = make_info(gpu_name="NVIDIA A100, NVIDIA H100")
    assert (
        "different GPUs (NVIDIA A100, NVIDIA H100)" in build_sections(Context(both, make_analysis(6)))[0].blocks[0].text
    )
    one = make_info(gpu_name="NVIDIA A100, NVIDIA H100", captures=make_info().captures[:1])
    assert "in one report" not in build_sections(Context(one, make_analysis(6)))[0].blocks[0].text


def test_kernels_of_one_friendly_name_are_told_apart(tmp_path):
    from nsightkit.analysis import analyze_tables
    from nsightkit.ingest.dataset import open_dataset
    from nsightkit.parquet import write_table
    from nsightkit.run import Run
    from nsightkit.tables import TABLES

    run = Run(tmp_path / "run")
    names = ["void gemm<float, 128>(float *)", "void gemm<float, 256>(float *)"]
    launches = {"kernel_name": names, "start_ns": [0, 10], "duration_ns": [5, 5], "device_id": [0, 0]}
    counters = {
        "launch_index": [0, 1], "kernel_name": [names[0]] * 2, "failed": [False] * 2, "duration_ns": [5.0, 9.0],
        "grid_x": [1, 2], "grid_y": [1, 1], "grid_z": [1, 1], "block_x": [32, 32], "block_y": [1, 1],
        "block_z": [1, 1],
    }  # fmt: skip
    for table, rows in (("kernel_launches", launches), ("kernel_counters", counters)):
        write_table(run.table_path(table, "c"), TABLES[table], rows, {"capture_id": "c"})
    run.write_info(make_info())
    analysis = analyze_tables(open_dataset([run.path]))
    top = {k.friendly_name: k.kernel_name for k in analysis.top_kernels}
    assert set(top.values()) == set(names)
    assert len({k.friendly_name for k in analysis.kernels}) == 2
    assert all("grid" in k.friendly_name for k in analysis.kernels)


def test_three_kernels_have_no_distribution_and_one_has_no_mean():
    three, one = sections(make_analysis(3)), sections(make_analysis(1))
    assert "3 profiled kernels, too few" in three["histograms"].missing
    assert sections(make_analysis(4))["histograms"].missing == ""
    assert [b.id for b in walk(one["classification"].blocks) if isinstance(b, DataTable)] == [
        "class-counts",
        "verdicts",
    ]
    assert "no order" in one["longest"].missing


def test_what_is_missing_without_effect_stands_apart_and_the_remedy_stands_with_it():
    kernel = classified(1)[0]
    verdict = replace(
        kernel.verdict, missing=("dram_bytes", "fp64_flop"), immaterial=("fp64_flop",), remedy="collect them with: ncu"
    )
    analysis = replace(make_analysis(1), kernels=(replace(kernel, verdict=verdict),))
    said = [i for b in walk(sections(analysis)["kernels"].blocks) if isinstance(b, Items) for i in b.items]
    assert "Missing: DRAM traffic; collect them with: ncu." in said
    assert "Not collected, and without effect on the verdict, as its pipe was idle: FP64 work." in said


def test_a_row_inside_another_gets_no_bar():
    found = table(sections(make_analysis(6))["ranges"], "range-sums")
    assert all(cell.bar is None for cell in column(found, "share"))
    assert all(cell.text.endswith("%") for cell in column(found, "share"))
