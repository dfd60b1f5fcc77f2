"""The reports of the studies: one module a study, listed here.

In: a `StudyInput`. Out: sections for the templates that every report uses.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from itertools import groupby

from nsightkit.analysis.results import Analysis
from nsightkit.report.blocks import Block, Figure, Group, Section
from nsightkit.report.studies.parts import StudyInput

STUDIES = {
    "kv-decode": "kv_decode",
    "batch-size": "batch_size",
    "kv-assignment": "kv_assignment",
    "kv-variants": "kv_variants",
    "kernel-profile": "kernel_profile",
}


def build_study(study: StudyInput) -> list[Section]:
    """Return the sections of `study.name`, the method last."""
    module = importlib.import_module(f"nsightkit.report.studies.{STUDIES[study.name]}")
    sections: list[Section] = module.build(study)
    return [replace(section, blocks=_arranged(section.blocks)) for section in sections]


def analysis_of(study: StudyInput) -> Analysis:
    """Return what the page's own data are made from: the analysis whose sections the study shows, else none."""
    module = importlib.import_module(f"nsightkit.report.studies.{STUDIES[study.name]}")
    made: Analysis = getattr(module, "shown_analysis", lambda _: Analysis())(study)
    return made


def _arranged(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Put figures that follow one another two and two, so that their labels can be read; strips keep their width."""
    arranged: list[Block] = []
    for small, run in groupby(blocks, lambda block: isinstance(block, Figure) and not block.keys):
        members = tuple(run)
        arranged += [Group(members, layout="even")] if small else members
    return tuple(arranged)
