"""Writes the report of a study.

In: a folder and a `StudyInput`. Out: report.html, report.md with its figures, tables.tex, metrics_summary.json, and
manifest.json, which lists them all with their sizes and hashes. Each file is written under a temporary name first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nsightkit.report.blocks import DataTable, Figure, every_block
from nsightkit.report.charts import standalone
from nsightkit.report.context import Context, ReportOptions
from nsightkit.report.render import html_document, markdown_document
from nsightkit.report.studies import analysis_of, build_study
from nsightkit.report.studies.parts import StudyInput
from nsightkit.run import RunInfo, write_text


def write_study(folder: Path, study: StudyInput, assets: Sequence[Mapping[str, str]] = ()) -> list[Path]:
    """Write the report of `study` below `folder` and return the paths.

    Args:
        folder: where to; made where it is missing.
        study: what the report is of.
        assets: the files of the original study, each with ours that answers it, or why none does.

    Raises:
        ReportError: the folder cannot be written.
    """
    from nsightkit import __version__

    sections = build_study(study)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    info = RunInfo(
        name=study.title, workload=study.name, created_utc=created, gpu_name=study.device, nsightkit_version=__version__
    )
    context = Context(info, analysis_of(study), ReportOptions(limit=20))
    blocks = [block for section in sections for block in every_block(section.blocks)]
    figures = [block for block in blocks if isinstance(block, Figure)]
    tables = [block for block in blocks if isinstance(block, DataTable)]
    texts = {
        "report.html": html_document(context, sections),
        "report.md": markdown_document(context, sections),
        "tables.tex": "\n".join(latex(table) for table in tables),
        "metrics_summary.json": json.dumps(summary(study, tables), indent=2) + "\n",
        **{f"figures/{figure.id}.svg": standalone(figure.file_svg or figure.svg) for figure in figures},
    }
    texts["manifest.json"] = json.dumps(_manifest(texts, assets), indent=2) + "\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def summary(study: StudyInput, tables: Sequence[DataTable]) -> dict[str, object]:
    """Return every table with its exact values as text and its caption, for programs."""
    return {
        "study": study.name,
        "size": study.size,
        "device": study.device,
        "tables": {
            table.id: {
                "title": table.title,
                "caption": table.caption,
                "columns": [column.header for column in table.columns],
                "units": [column.unit for column in table.columns],
                "rows": [[cell.exact or cell.text for cell in row] for row in table.rows],
            }
            for table in tables
        },
    }


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "÷": r"$\div$",
    "µ": r"\textmu{}",
    "±": r"$\pm$",
    "²": r"\textsuperscript{2}",
    "–": "--",
    "\u202f": r"\,",
    "−": "$-$",
}


def latex(table: DataTable) -> str:
    """Return `table` as a LaTeX tabular; its text cannot become a command."""
    align = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [f"% {re.sub(r'[^ -~]', ' ', table.title)}", rf"\begin{{tabular}}{{{align}}}", r"\hline"]
    lines.append(" & ".join(_escaped(column.header) for column in table.columns) + r" \\ \hline")
    lines += [" & ".join(_escaped(cell.text) for cell in row) + r" \\" for row in table.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _manifest(texts: dict[str, str], assets: Sequence[Mapping[str, str]] = ()) -> dict[str, object]:
    files = [
        {"path": name, "bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in texts.items()
    ]
    kinds = {"figures": sum(name.startswith("figures/") for name in texts)}
    made: dict[str, object] = {"count": len(files), **kinds, "files": files}
    if assets:
        answers = [answered(asset, texts) for asset in assets]
        met = sum(answer["answered"] is True for answer in answers)
        made |= {"original": {"count": len(answers), "answered": met, "assets": answers}}
    return made


def answered(asset: Mapping[str, str], written: Container[str]) -> dict[str, object]:
    """Return which file of ours answers one of the original, or why none does.

    Args:
        asset: file; ours, where one answers it; why, where none does or where ours needs what may be missing.
        written: the files of this report.
    """
    ours = asset.get("ours", "")
    if ours and ours in written:
        return {"file": asset["file"], "answered": True, "ours": ours}
    return {"file": asset["file"], "answered": False, "why": asset.get("why") or f"{ours}: the data for it are missing"}
