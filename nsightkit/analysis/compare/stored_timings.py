"""Timings as a baseline keeps them: plain objects that JSON can hold.

In: `Timing` records, or what `stored_timings` made of them. Out: the other of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from nsightkit.analysis.foreign_results import Timing
from nsightkit.analysis.work.model_shapes import ModelShape
from nsightkit.errors import AnalysisError


def stored_timings(timings: Iterable[Timing]) -> list[dict[str, Any]]:
    """Return the records without what is not known."""
    return [{key: value for key, value in asdict(timing).items() if value is not None} for timing in timings]


def timings_from_stored(items: Iterable[Mapping[str, Any]]) -> tuple[Timing, ...]:
    """Return the records that `stored_timings` wrote; names of a later version are passed over.

    Raises:
        AnalysisError: one lacks a part.
    """
    try:
        return tuple(_timing(item) for item in items)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnalysisError(
            f"stored timings that lack a part ({error}); save the baseline again", slug="no-baseline"
        ) from None


def _timing(item: Mapping[str, Any]) -> Timing:
    unknown = dict.fromkeys(("cached", "gpu", "dtype", "model"))
    known = {field.name for field in fields(Timing)}
    values = {**unknown, **{key: _frozen(value) for key, value in item.items() if key in known}}
    if item.get("model") is not None:
        values["model"] = ModelShape(**item["model"])
    return Timing(**values)  # type: ignore[arg-type]


def _frozen(value: object) -> object:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
