"""Reads pages with a `Vlm` and keeps the time of every stage of every page.

In: the model, pages, how many tokens to decode. Out: a row for each page, and how the stages vary over the pages.
"""

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cache import KVCache
from models.pages import Page, tiling_of, views_of
from models.vlm import Vlm, image_tokens
from nsightkit import annotate

STAGES = ("sam", "clip", "projector", "prefill", "decode")
TIMED = (
    "sam, clip, projector: the whole page and its tiles, images already on the device; prefill: the decoder's pass "
    "over image and prompt and the choice of the first token; decode: max_new_tokens steps; drawing and cutting the "
    "page and reserving the cache are outside"
)


@dataclass(frozen=True)
class Reading:
    """How pages are read."""

    model: Vlm
    prompt: Tensor
    new_tokens: int
    kv_cache: bool = True

    def read(self, page: Page, laps: annotate.Laps, key: str) -> tuple[Tensor, int]:
        """Read `page` once; `laps` gets key.stage for each stage. Return the ids made and the bytes in the cache."""
        shape, model = self.model.shape, self.model
        tiling = tiling_of(page.image.size, shape.most_tiles)
        views = views_of(page, (shape.page_side, shape.tile_side), tiling, model.image_newline)
        cache = KVCache(shape.decoder, 1, model.image_newline) if self.kv_cache else None
        laps.wait()
        with torch.inference_mode(), annotate.range("page", category="stage"):
            with laps.time(f"{key}.sam"):
                maps = model.sam(views)
            with laps.time(f"{key}.clip"):
                seen = model.clip(maps)
            with laps.time(f"{key}.projector"):
                projected = model.project(maps, seen)
            with annotate.range("prefill", category="stage"), laps.time(f"{key}.prefill"):
                given = model.arranged(projected, tiling, self.prompt)
                token = model.decoder.from_embeddings(given, cache).argmax(dim=-1)
            ids = self._decoded(given, token, cache, (laps, key))
        return ids, cache.used_bytes if cache is not None else 0

    def _decoded(self, given: Tensor, token: Tensor, cache: KVCache | None, kept: tuple[annotate.Laps, str]) -> Tensor:
        """Return the ids (tokens + 1,) that follow `given`."""
        laps, key = kept
        decoder, made = self.model.decoder, [token]
        with annotate.range("decode", category="stage"), laps.time(f"{key}.decode"):
            for place in range(self.new_tokens):
                with annotate.range("decode_step", payload=place), laps.time(f"{key}.decode_step"):
                    if cache is not None:
                        token = decoder(token[None], cache).argmax(dim=-1)
                    else:
                        given = torch.cat((given, decoder.tokens[token][None]), dim=1)
                        token = decoder.from_embeddings(given).argmax(dim=-1)
                    made.append(token)
        return torch.cat(made)

    def positions(self, page: Page) -> int:
        """Return the positions that the decoder's prefill takes for `page`."""
        return image_tokens(self.model.shape, tiling_of(page.image.size, self.model.shape.most_tiles)) + len(
            self.prompt
        )


def row_of(page: Page, reading: Reading, key: str, measured: annotate.Measurement) -> dict[str, float | str | None]:
    """Return what `page` is and the median time of each of its stages."""
    columns, rows = tiling_of(page.image.size, reading.model.shape.most_tiles)
    stages = {stage: measured.spread(f"{key}.{stage}").median_ns / 1e6 for stage in STAGES}
    first_ms = sum(stages[stage] for stage in STAGES[:-1])
    return {
        "page": key.removeprefix("page_"),
        "kind": page.kind,
        "width_px": page.image.width,
        "height_px": page.image.height,
        "words": page.words,
        "ink_share": page.ink_share,
        "tiles": 0 if (columns, rows) == (1, 1) else columns * rows,
        "prefill_tokens": reading.positions(page),
        **{f"{stage}_ms": value for stage, value in stages.items()},
        "time_to_first_token_ms": first_ms,
        "time_per_output_token_ms": stages["decode"] / reading.new_tokens,
    }


def variation(values: list[float]) -> float | None:
    """Return the standard deviation ÷ the mean; None of fewer than two values."""
    mean = statistics.fmean(values) if values else 0.0
    return statistics.stdev(values) / mean if len(values) > 1 and mean else None


def over_pages(rows: list[dict], measured: annotate.Measurement) -> dict[str, float | None]:
    """Return for each stage the median over pages, its variation over them, and that of one page's repetitions.

    Where the second is not clearly below the first, the pages differ no more than the clock does.
    """
    found: dict[str, float | None] = {}
    for stage in STAGES:
        values = [row[f"{stage}_ms"] for row in rows]
        repeats = [variation(measured.totals_ns(f"page_{row['page']}.{stage}")) for row in rows]
        known = [value for value in repeats if value is not None]
        found[f"{stage}_median_ms"] = statistics.median(values)
        found[f"{stage}_variation_over_pages_share"] = variation(values)
        found[f"{stage}_variation_over_repeats_share"] = statistics.median(known) if known else None
    return found
