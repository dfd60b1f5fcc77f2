"""The sections of a report, one module each with ``build(context) -> Section``.

In: a `Context`. Out: sections in reading order. A section whose input is missing says what would supply it.
"""

from __future__ import annotations

from importlib import import_module

from nsightkit.report.blocks import Section
from nsightkit.report.context import Context

# The order is the order in the document.
SECTIONS = (
    "overview",
    "findings",
    "top_kernels",
    "phases",
    "timeline",
    "launches",
    "ranges",
    "calls",
    "targets",
    "classification",
    "longest",
    "histograms",
    "roofline",
    "kernel_rooflines",
    "kernels",
    "method",
    "names",
)


def build_sections(context: Context) -> list[Section]:
    """Return every section of the report of `context`."""
    return [_build(name, context) for name in SECTIONS]


def _build(name: str, context: Context) -> Section:
    section = import_module(f"nsightkit.report.sections.{name}").build(context)
    if not isinstance(section, Section):
        raise TypeError(f"section {name} did not build a Section")
    return section
