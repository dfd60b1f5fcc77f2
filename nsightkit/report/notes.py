"""What a reader must know of the captures: what to do about their quality, what the profiler cost, and their notes.

In: a `Context`. Out: sentences, each thing once; they stand on the first screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nsightkit.report.context import QUALITIES, Context
from nsightkit.report.overhead_words import overhead_line

if TYPE_CHECKING:
    from nsightkit.run import Capture


def notes(context: Context) -> tuple[str, ...]:
    """Return what to do about the quality, what the profiler cost, and what else is to be known: each thing once.

    The reasons of the verdict stand in its line; a note or a cost that a reason already tells is left out.
    """
    told = [*_remedies(context), *_costs(context), *context.analysis.notes]
    for capture in context.info.captures:
        told += _untold(capture)
    return tuple(dict.fromkeys(told))


def _untold(capture: Capture) -> list[str]:
    """Return the notes of a capture that no reason tells: a topic once, with all that was said of it."""
    reasons = [reason for reason in capture.quality.get("reasons", ()) if ": " in reason]
    topics, details = {_topic(reason) for reason in reasons}, {reason.partition(": ")[2] for reason in reasons}
    said: dict[str, list[str]] = {}
    for note in capture.notes:
        topic, _, detail = note.partition(": ")
        if not detail or (topic not in topics and detail not in details):
            said.setdefault(topic, []).append(detail)
    return [
        f"{capture.capture_id}: {topic}" + (f": {'; '.join(many)}" if all(many) else "") for topic, many in said.items()
    ]


def _topic(reason: str) -> str:
    """Return what a reason or a note is about, without the details behind its colon; a name may hold "::"."""
    return reason.partition(": ")[0]


def _remedies(context: Context) -> list[str]:
    """Return what to do, each with the reasons that it answers: by topic where the first line has them in full."""
    captures = context.info.captures
    asked: dict[tuple[str, str], dict[str, None]] = {}
    for capture in captures:
        quality = capture.quality if capture.quality.get("verdict") in QUALITIES else {}
        # The first line has the reasons of the worst verdict alone.
        shown = quality.get("verdict") == context.quality[0]
        for reason, remedy in zip(quality.get("reasons", ()), quality.get("remedies", ()), strict=False):
            asked.setdefault((_topic(reason) if shown else reason, remedy), {})[capture.capture_id] = None
    # Reasons of the same captures with one remedy are one thing to do.
    answered: dict[tuple[str, str], list[str]] = {}
    for (why, remedy), ids in asked.items():
        where = "" if len(ids) == len(captures) else f"{', '.join(ids)}: "
        answered.setdefault((where, remedy), []).append(why)
    return [f"{where}{'; '.join(whys)}. To do: {remedy}." for (where, remedy), whys in answered.items()]


def _costs(context: Context) -> list[str]:
    """Return what the profiler cost, where the verdict has not said so already; the method section has it always."""
    several = len(context.info.captures) > 1
    return [
        (f"{capture.capture_id}: " if several else "") + overhead_line(capture.overhead)
        for capture in context.info.captures
        if capture.overhead and not any("overhead of tracing" in why for why in capture.quality.get("reasons", ()))
    ]
