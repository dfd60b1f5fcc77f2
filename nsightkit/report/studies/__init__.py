"""The reports of the studies: one module a study, listed here.

In: a `StudyInput`. Out: sections for the templates that every report uses.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from itertools import groupby

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
    # The first screen's grid has one column, so that it takes the layout of two.
    return [
        replace(section, blocks=_arranged(section.blocks, "even" if section.id == "overview" else "grid"))
        for section in sections
    ]


def _arranged(blocks: tuple[Block, ...], layout: str) -> tuple[Block, ...]:
    """Put figures that follow one another side by side; strips keep their whole width."""
    arranged: list[Block] = []
    for small, run in groupby(blocks, lambda block: isinstance(block, Figure) and not block.keys):
        members = tuple(run)
        arranged += [Group(members, layout=layout)] if small else members
    return tuple(arranged)
