"""The report of the study of batch size.

In: `StudyInput` with the parts decode (both arms over batch sizes) and parts (time by part of the model). Out: its
sections.
"""

from __future__ import annotations

from nsightkit.analysis.foreign_results import Timing
from nsightkit.analysis.studies.decode import (
    Ceiling,
    Pair,
    Price,
    amdahl,
    ceiling,
    pairs_of,
    peaks_named,
    predicted_across,
    regime,
)
from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.report import format as fmt
from nsightkit.report.blocks import Block, Section, Text
from nsightkit.report.studies.drawing import Axis, lines, stacked_bars
from nsightkit.report.studies.headlines import reservation, times_faster
from nsightkit.report.studies.parts import StudyInput, flags_section, method_section, ms, table

PRICE = Price(dollars_per_hour=3.0, replies_per_day=10_000_000, tokens_per_reply=200, replies_per_user_day=20)


def build(study: StudyInput) -> list[Section]:
    """Return the sections."""
    pairs = pairs_of(study.results("decode").timings)
    return [
        _overview(study, pairs),
        _ceilings(pairs),
        _amdahl(study, pairs),
        _regimes(study, pairs),
        _cost(pairs),
        _across(pairs),
        flags_section(study),
        method_section(
            study,
            (
                "Utilization is not shown: nothing sampled it. A share of busy units is measured by ncu or NVML, never "
                "derived from a speed-up.",
                "Overhead-bound needs a step of at least twice the roofline time (docs/method.md).",
            ),
        ),
    ]


_BATCH_COLUMNS = (
    ("batch", "count"),
    ("without: a step", "ns"),
    ("with: a step", "ns"),
    ("without: tokens/s in all", ""),
    ("with: tokens/s in all", ""),
    ("speed-up", "x"),
    ("P95 of a step with", "ns"),
    ("KV cache", "byte"),
)


def _overview(study: StudyInput, pairs: list[Pair]) -> Section:
    if not pairs:
        return Section("overview", "Overview", (Text("No pair of arms was measured.", "lead"),))
    last = max(pairs, key=lambda pair: pair.on.batch)
    lead = (
        f"At batch {last.on.batch} a KV cache is {times_faster(last)}; all sequences together make "
        f"{fmt.plain(last.on.tokens_per_s_aggregate)} tokens/s against {fmt.plain(last.off.tokens_per_s_aggregate)}."
        f"{reservation(last)}"
    )
    rows = [_batch_row(pair) for pair in pairs]
    listed = table("batches", "Both arms by batch", _BATCH_COLUMNS, rows, study.scope)
    blocks: tuple[Block, ...] = (Text(lead, "lead"), Text(study.question), listed, *_curves(study, pairs))
    return Section("overview", "Overview", blocks)


def _batch_row(pair: Pair) -> list[float | None]:
    on, off = pair.on, pair.off
    high = ms(on.step_percentiles_ms[1]) if on.step_percentiles_ms else None
    rates = [off.tokens_per_s_aggregate, on.tokens_per_s_aggregate]
    return [on.batch, ms(off.ms_per_token), ms(on.ms_per_token), *rates, pair.speedup, high, on.kv_bytes]


def _curves(study: StudyInput, pairs: list[Pair]) -> list[Block]:
    batch = Axis("batch", "count", True)
    rates = [
        (name, [(float(t.batch), t.tokens_per_s_aggregate) for t in arms])
        for name, arms in (("with", [p.on for p in pairs]), ("without", [p.off for p in pairs]))
    ]
    gains = [("with ÷ without", [(float(p.on.batch), p.speedup) for p in pairs])]
    return [
        lines("throughput", "Tokens a second, all sequences", rates, (batch, Axis("tokens/s", "", True)), study.scope),
        lines("speedup", "Speed-up by batch", gains, (batch, Axis("speed-up")), study.scope),
    ]


def _ceiling_of(pair: Pair) -> Ceiling:
    return ceiling(pair.on.prompt, pair.on.new_tokens)


def _ceilings(pairs: list[Pair]) -> Section:
    columns = (
        ("batch", "count"),
        ("speed-up with prefill in both", "x"),
        ("ceiling, work per token", "x"),
        ("efficiency", "1"),
        ("ceiling, attention", "x"),
        ("positions without", "count"),
        ("positions with", "count"),
    )
    rows = []
    for pair in pairs:
        most, won = _ceiling_of(pair), pair.with_prefill
        rows.append([pair.on.batch, won, most.per_token_work, None if won is None else won / most.per_token_work,
                     most.attention, most.positions_off, most.positions_on])  # fmt: skip
    caption = (
        "Work per token: every linear map, norm and feed-forward part runs once a position, so caching removes these "
        "too. Attention: pairs of positions. Efficiency is the speed-up ÷ the ceiling for work per token; it is no "
        "grade: the ceilings leave out the head, sampling and overhead."
    )
    made = table("ceilings-table", "Ceilings of these runs", columns, rows, caption)
    return Section("ceilings", "What a cache could win", (made, _original_ceilings()))


def _original_ceilings() -> Block:
    """Return the same arithmetic at the original's prompt of 50 and 200 tokens, both ways to count the positions."""
    most = ceiling(50, 199)
    rows = [
        ["work per token, as the original divides", most.positions_off, most.positions_on + 1,
         most.positions_off / (most.positions_on + 1)],
        ["work per token, positions that are run", most.positions_off, most.positions_on, most.per_token_work],
        ["attention, pairs of positions", most.pairs_off, most.pairs_on, most.attention],
    ]  # fmt: skip
    columns = (("what", "text"), ("without", "count"), ("with", "count"), ("ceiling", "x"))
    caption = (
        "Prompt 50, 200 tokens: prefill yields the first, 199 steps the others. Without a cache 50 + 51 + … + 249 "
        "positions; with one 50 + 199. The original divides by 250: no pass reads the last token."
    )
    return table("original-ceilings", "At a prompt of 50 and 200 tokens", columns, rows, caption)


def _amdahl(study: StudyInput, pairs: list[Pair]) -> Section:
    timed: list[Timing] = [t for t in study.results("parts").timings if t.parts_ms and t.cached is False]
    if not timed or not pairs:
        return Section(
            "amdahl",
            "Amdahl's split",
            missing="No arm without a cache was timed by part of the model; the workload kv_variants does that.",
        )
    rows = [_split(t, pairs) for t in timed]
    whole = [(f"batch {t.batch}", [(name, value * 1e6) for name, value in t.parts_ms]) for t in timed]
    columns = (("batch", "count"), ("attention", "1"), ("feed-forward", "1"), ("rest of the layers", "1"),
               ("head", "1"), ("Amdahl's limit", "x"), ("if attention alone were shortened", "x"),
               ("measured", "x"))  # fmt: skip
    caption = (
        "Shares of the time without a cache, measured. Attention here holds its projections and may win up to the "
        "ceiling for attention, feed-forward parts and the rest up to the ceiling for work per token; the head maps "
        "one position either way. A measured speed-up above the limit for attention alone proves that a cache removes "
        "more than attention."
    )
    found: list[Block] = [
        table("amdahl-table", "From measured shares", columns, rows, caption),
        stacked_bars("parts", "Without a cache: time by part", whole, study.scope),
    ]
    return Section("amdahl", "Amdahl's split", tuple(found))


def _split(t: Timing, pairs: list[Pair]) -> list[float | None]:
    parts, most = dict(t.parts_ms), ceiling(t.prompt, t.new_tokens)
    total = sum(parts.values())
    share = {name: value / total for name, value in parts.items()}
    attention = (share.get("attention", 0.0), most.attention)
    others = [(share.get(name, 0.0), most.per_token_work) for name in ("mlp", "other")]
    measured = next((p.with_prefill for p in pairs if p.on.batch == t.batch), None)
    shown: list[float | None] = [share.get(name) for name in ("attention", "mlp", "other", "head")]
    return [t.batch, *shown, amdahl(attention, *others), amdahl(attention), measured]


def _regimes(study: StudyInput, pairs: list[Pair]) -> Section:
    rows = []
    for pair in pairs:
        for t in (pair.on, pair.off):
            found = regime(t, peaks_named(t.gpu, t.dtype))
            rows.append([t.batch, t.arm, found.step_ns, found.floor_ns, found.bound.lower(), found.reason])
    columns = (
        ("batch", "count"),
        ("arm", "text"),
        ("a step", "ns"),
        ("roofline time", "ns"),
        ("regime", "text"),
        ("why", "text"),
    )
    caption = "Roofline time: the paper model on the table of GPUs. Flat times over batch alone prove nothing."
    return Section("regime", "Regime", (table("regimes", "What bounds a step", columns, rows, caption),))


def _cost(pairs: list[Pair]) -> Section:
    columns = (
        ("batch", "count"),
        ("without: a reply", "USD"),
        ("with: a reply", "USD"),
        ("without: a user and year", "USD"),
        ("with: a user and year", "USD"),
        ("with: the service, a year", "USD"),
    )
    rows = [
        [p.on.batch, PRICE.per_reply(p.off), PRICE.per_reply(p.on), PRICE.per_user_year(p.off),
         PRICE.per_user_year(p.on), PRICE.per_year(p.on)]
        for p in pairs
    ]  # fmt: skip
    caption = (
        f"One calculation: {PRICE.tokens_per_reply:g} tokens a reply ÷ tokens/s of all sequences × "
        f"{PRICE.dollars_per_hour:g} USD an hour. A user and year is 365 × {PRICE.replies_per_user_day:g} replies; the "
        f"service is 365 × {fmt.count(PRICE.replies_per_day)} replies on as many machines as that takes. Decode only, "
        "every batch full. Price and numbers of replies are assumptions; on a CPU the result only shows the arithmetic."
    )
    return Section("cost", "Cost", (table("cost-table", "Cost", columns, rows, caption),))


def _sizes(model: ModelShape) -> str:
    heads = f"{model.heads} heads"
    if model.kv_heads != model.heads:
        heads += f", {model.kv_heads} of keys and values"
    weights = f"{fmt.count(model.stored_weights)} weights"
    return f"{model.layers} layers, {heads}, width {model.width}, vocabulary {fmt.count(model.vocabulary)}, {weights}"


def _across(pairs: list[Pair]) -> Section:
    if not pairs or pairs[0].on.model is None:
        return Section("across", "Across GPUs, predicted", missing="The results do not state the sizes of the model.")
    batches = sorted({1, *(p.on.batch for p in pairs)})
    found = predicted_across(pairs[0].on, batches)
    rows = [[row.gpu, row.batch, row.step_on_ns, row.speedup] for row in found]
    columns = (("GPU", "text"), ("batch", "count"), ("step with a cache", "ns"), ("speed-up", "x"))
    caption = (
        f"Predicted by the paper model in bfloat16, not measured: overhead, which rules small models, is not in it. "
        f"The model is that of these runs: {_sizes(pairs[0].on.model)}."
    )
    return Section("across", "Across GPUs, predicted", (table("across-table", "Predicted", columns, rows, caption),))
