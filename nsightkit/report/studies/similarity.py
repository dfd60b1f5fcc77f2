"""How alike the layers of a model are, for the study of cache variants: may two of them share keys and values?

In: `Results` with similarities. Out: a section with a heat map a weight matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsightkit.analysis.foreign_results import Results, Similarity
from nsightkit.report.blocks import Block, Section
from nsightkit.report.studies.drawing import heat_map
from nsightkit.report.studies.parts import table

_NEEDS = "The weights of no model were compared; the workload layer_similarity does that."


def similarity_section(results: Results) -> Section:
    """Return the heat maps and the mean cosine of neighbors."""
    found = results.similarity
    if not found:
        return Section("similarity", "Likeness of layers", missing=_NEEDS)
    weights = list(dict.fromkeys(one.weight for one in found))
    rows = [_row(weight, [one for one in found if one.weight == weight]) for weight in weights]
    columns = (("weight", "text"), ("mean of neighbors", ""), ("least", ""), ("most", ""), ("pairs", "count"))
    caption = (
        f"{found[0].source}. Cosine between the matrices of two layers as vectors; 0 is what drawn matrices of this "
        "size have. A low cosine says that the layers are not alike; what sharing costs is for perplexity to say."
    )
    blocks: list[Block] = [table("similarity-table", "Cosine by weight", columns, rows, caption)]
    blocks += [_map(weight, [one for one in found if one.weight == weight]) for weight in weights]
    return Section("similarity", "Likeness of layers", tuple(blocks))


def _row(weight: str, found: Sequence[Similarity]) -> list[object]:
    near = [one.cosine for one in found if abs(one.layer_a - one.layer_b) == 1]
    apart = [one.cosine for one in found if one.layer_a != one.layer_b]
    return [weight, sum(near) / len(near) if near else None, min(apart, default=None), max(apart, default=None),
            len(apart)]  # fmt: skip


def _map(weight: str, found: Sequence[Similarity]) -> Block:
    layers = sorted({one.layer_a for one in found} | {one.layer_b for one in found})
    known = {(one.layer_a, one.layer_b): one.cosine for one in found}
    values = [[1.0 if a == b else known.get((a, b), known.get((b, a), 0.0)) for b in layers] for a in layers]
    names = [str(layer) for layer in layers]
    return heat_map(f"similarity-{weight}", f"{weight}: cosine between layers", names, values, "Shade: the size of the "
                    "cosine, whatever its sign.")  # fmt: skip
