"""Reads synthetic pages with a model of DeepSeek-OCR's shape, stage by stage.

A page is cut into tiles; tiles and the whole page go through an encoder that attends inside windows (sam), a second one
that attends over all (clip) and a projector; a decoder with a mixture of experts reads them (prefill) and writes tokens
(decode). The weights are random unless --weights names the published ones, so the work is real and the words are not.
20 pages are drawn from the seed; how each stage varies over them is reported beside how it varies over repetitions.
The ranges page, sam, clip, projector, prefill, decode, decode_step, layer, router and experts are seen by nsys, ncu and
torch.profiler.

    python vlm_ocr.py --pages 5 --max-new-tokens 8
    python vlm_ocr.py --size document --device cuda --results results.json
"""

# nsightkit: deterministic
import argparse
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

try:
    import numpy as np
    import torch

    from models.decoding import table
    from models.options import DTYPES, Parser, add_machine, not_negative, on_machine, positive, truth
    from models.pages import Page, draw_pages
    from models.reading import STAGES, TIMED, Reading, over_pages, row_of
    from models.vlm import SHAPES, Vlm, VlmShape, build_vlm, image_tokens
    from models.vlm_weights import load_vlm, vlm_shape
    from nsightkit import annotate
except ModuleNotFoundError as error:
    print(f"vlm_ocr needs {error.name}: install it with  pip install 'nsightkit[workloads]'", file=sys.stderr)
    sys.exit(1)

# The dtype of each size where none is given: the published weights are bfloat16.
_DTYPES = {"small": "float32", "document": "bfloat16"}
_COLUMNS = (
    ("page", "page", "s"), ("kind", "kind", "s"), ("tiles", "tiles", "d"), ("prefill_tokens", "tokens", "d"),
    *((f"{stage}_ms", f"{stage} ms", ".2f") for stage in STAGES),
    ("time_to_first_token_ms", "first token ms", ".2f"), ("time_per_output_token_ms", "ms a token", ".3f"),
)  # fmt: skip


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = Parser("vlm_ocr", __doc__)
    add = parser.add_argument
    add("--size", choices=tuple(SHAPES), default="small",
        help="small: for any CPU; document: the published sizes, 3 billion weights (default: small)")  # fmt: skip
    add("--pages", type=positive, default=20, metavar="N", help="pages to draw and read (default: 20)")
    add("--prompt-len", type=positive, default=8, metavar="N", help="tokens of the question (default: 8)")
    add("--max-new-tokens", type=positive, default=16, metavar="N", help="decode steps a page (default: 16)")
    add("--kv-cache", type=truth, nargs="?", const=True, default=True, metavar="true|false",
        help="keep keys and values of earlier tokens (default: true)")  # fmt: skip
    add("--bench-iters", type=positive, default=3, metavar="N", help="times each page is read (default: 3)")
    add("--warmup-iters", type=not_negative, default=1, metavar="N", help="times before, not timed (default: 1)")
    add("--weights", type=Path, metavar="FOLDER",
        help="DeepSeek-OCR's published weights in a local folder; sizes are theirs; nothing is downloaded")  # fmt: skip
    add("--save-pages", type=Path, metavar="FOLDER", help="write the drawn pages there as PNG")
    add_machine(parser, dtype=None)
    options = parser.parse_args(argv)
    options.dtype = options.dtype or _DTYPES["document" if options.weights else options.size]
    try:
        on_machine(options)
        options.shape = _shape(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _shape(options: argparse.Namespace) -> VlmShape:
    """Return the shape, with room in the decoder for the page with the most tiles."""
    base = SHAPES[options.size]
    beside = options.prompt_len + options.max_new_tokens
    if options.weights is not None:
        base = vlm_shape(options.weights, 1)
        return vlm_shape(options.weights, _most_tokens(base) + beside)
    return replace(base, decoder=replace(base.decoder, max_length=_most_tokens(base) + beside))


def _most_tokens(shape: VlmShape) -> int:
    return max(image_tokens(shape, (1, tiles)) for tiles in range(1, shape.most_tiles + 1))


def make_reading(options: argparse.Namespace) -> Reading:
    """Return the model and how it reads.

    Raises:
        ValueError: the folder's weights do not fit.
    """
    dtype = DTYPES[options.dtype]
    if options.weights is not None:
        model: Vlm = load_vlm(options.weights, options.shape, options.device, dtype)
    else:
        model = build_vlm(options.shape, options.seed, options.device, dtype)
    drawn = np.random.default_rng(options.seed + 1).integers(options.shape.decoder.vocabulary, size=options.prompt_len)
    return Reading(model, torch.from_numpy(drawn).to(options.device), options.max_new_tokens, options.kv_cache)


def main(argv: list[str] | None = None) -> None:
    """Run the workload."""
    options = parse_arguments(argv)
    try:
        reading = make_reading(options)
    except ValueError as error:
        print(f"vlm_ocr: {error}", file=sys.stderr)
        sys.exit(1)
    pages = draw_pages(options.pages, options.seed)
    keys = [f"page_{number:02d}" for number in range(len(pages))]
    try:
        if options.save_pages:
            _save(pages, keys, options.save_pages)
    except OSError as error:
        print(f"vlm_ocr: --save-pages {options.save_pages}: {error.strerror}", file=sys.stderr)
        sys.exit(1)

    def work(laps: annotate.Laps) -> list[int]:
        return [reading.read(page, laps, key)[1] for page, key in zip(pages, keys, strict=True)]

    plan = annotate.Plan(options.warmup_iters, options.bench_iters, options.seed, str(options.device))
    measured = annotate.measure(work, plan)
    rows = [row_of(page, reading, key, measured) for page, key in zip(pages, keys, strict=True)]
    metrics = metrics_of(rows, measured)
    if options.results:
        _write(options, metrics, rows, measured)
    print(table(rows, _COLUMNS))
    print("\n".join(f"vlm_ocr: {line}" for line in sentences(metrics, options)))


def metrics_of(rows: list[dict], measured: annotate.Measurement) -> dict[str, float | None]:
    """Return medians over the pages, percentiles over all steps, and the variation of each stage."""
    steps = [value for rep in measured.repetitions for name, times in rep.items() if name.endswith(".decode_step")
             for value in times]  # fmt: skip
    step = annotate.spread_of(steps, measured.plan.seed)
    per_token_ms = statistics.median(row["time_per_output_token_ms"] for row in rows)
    return {
        "time_to_first_token_ms": statistics.median(row["time_to_first_token_ms"] for row in rows),
        "time_per_output_token_ms": per_token_ms,
        "step_p50_ms": step.p50_ns / 1e6,
        "step_p95_ms": step.p95_ns / 1e6,
        "step_p99_ms": step.p99_ns / 1e6,
        "tokens_per_s_per_sequence": 1e3 / per_token_ms,
        "tokens_per_s_aggregate": 1e3 / per_token_ms,
        "kv_cache_bytes": statistics.median(measured.last),
        "pages": len(rows),
        **over_pages(rows, measured),
    }


def sentences(metrics: dict[str, float | None], options: argparse.Namespace) -> list[str]:
    """Return the variation and the latencies in words."""

    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{100 * value:.0f} %"

    parts = []
    for stage in STAGES:
        pages, repeats = (share(metrics[f"{stage}_variation_over_{what}_share"]) for what in ("pages", "repeats"))
        parts.append(f"{stage} {metrics[f'{stage}_median_ms']:.2f} ms ± {pages} ({repeats})")
    model = options.size if options.weights is None else options.weights.name
    cache = "on" if options.kv_cache else "off"
    return [
        f"median over {metrics['pages']} pages ± variation over pages (over repetitions of a page): {'; '.join(parts)}",
        f"{model}, {options.dtype}, {options.device}, KV cache {cache}: first token after "
        f"{metrics['time_to_first_token_ms']:.2f} ms, {metrics['time_per_output_token_ms']:.3f} ms a token",
    ]


def _save(pages: list[Page], keys: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page, key in zip(pages, keys, strict=True):
        page.image.save(folder / f"{key}.png")


def _write(options: argparse.Namespace, metrics: dict, rows: list[dict], measured: annotate.Measurement) -> None:
    shape = options.shape
    kept = {name: value for name, value in vars(options).items() if name not in ("results", "shape", "save_pages")}
    if options.weights is not None:
        kept |= {"weights": options.weights.resolve().name, "size": None}
    settings = kept | {
        "device": str(options.device), "batch_size": 1, "question_len": options.prompt_len,
        "prompt_len": int(statistics.median(row["prefill_tokens"] for row in rows)), "shape": asdict(shape.decoder),
        "sam": asdict(shape.sam), "clip": asdict(shape.clip), "page_side": shape.page_side,
        "tile_side": shape.tile_side,
    }  # fmt: skip
    runs = options.warmup_iters + options.bench_iters
    own = {"timed": TIMED, "tokens_run": runs * len(rows) * options.max_new_tokens, "metrics": metrics, "rows": rows,
           "notes": ["pages are synthetic, drawn with Pillow; weights are "
                     + ("random" if options.weights is None else "those of the folder")]}  # fmt: skip
    machine = annotate.describe_machine(str(options.device), options.dtype)
    annotate.write_results(options.results, annotate.results_of("vlm_ocr", settings, machine, measured, own))


if __name__ == "__main__":
    main()
