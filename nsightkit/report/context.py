"""What every section is built from.

In: the run's description, the analyses, and what the reader asked for. Out: `Context`, which also gives each kernel
name and each profiled kernel its anchor in the document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nsightkit.analysis.results import Analysis, ClassifiedKernel, KernelSummary
from nsightkit.report import blocks
from nsightkit.run import RunInfo

if TYPE_CHECKING:
    from nsightkit.analysis.findings import Finding, Withheld

BOUND_WORDS = {
    "COMPUTE": "compute-bound",
    "MEMORY": "memory-bound",
    "LATENCY": "latency-bound",
    "BALANCED": "balanced",
    "UNKNOWN": "unknown",
}
NEEDS_TIMELINE = (
    "No timeline of kernels in this run. Record one with 'nsightkit profile --tool nsys', or ingest an nsys export, "
    "the output of nsys stats, or a torch.profiler trace."
)
SEVERAL_TIMELINES = (
    "{count} captures have a timeline, each with a clock of its own, and are not drawn as one. 'nsightkit ranks' "
    "compares them, 'nsightkit timeline' and 'nsightkit top --by phase,family' list them; or render one of them alone."
)
NEEDS_COUNTERS = (
    "No hardware counters in this run. Record some with 'nsightkit profile --tool ncu', or ingest an .ncu-rep file or "
    "ncu CSV pages."
)
NEEDS_ROOFLINE = (
    "No kernel here has work in FLOP, DRAM traffic, duration and roofs together, so none has a place under a roofline. "
    "Nsight Compute collects them with '--set full' or '--set roofline'. Where it does not state a roof, the data "
    "sheet does if the capture names the GPU, or '--gpu' does."
)
# More than this many kernels one by one is no document any more; the rest is counted and said to be left out.
MOST_KERNELS = 500
# Beyond this many, what stands twice on the page stands once, so that it stays small enough to be mailed.
MANY_KERNELS = 100
# Verdicts on a capture, best first.
QUALITIES = ("good", "usable", "unusable")
# More versions of one tool than this are counted.
_MOST_VERSIONS = 3
# Kernels in the table of the first screen.
FIRST_ROWS = 8


@dataclass(frozen=True)
class ReportOptions:
    """What the reader asked for: `limit` rows in tables of the timeline (0: all), a figure format or None.

    `folder` is where the files go, None for ``RUN/report``. `name` is what they are called there; Markdown, with its
    drawings beside it, is always report.md.
    """

    formats: tuple[str, ...] = ("html", "markdown")
    limit: int = 50
    figures: str | None = None
    folder: Path | None = None
    within: str | None = None  # the range that the tables were cut to
    name: str = "report"


@dataclass(frozen=True)
class Context:
    """The inputs of a section."""

    info: RunInfo
    analysis: Analysis
    options: ReportOptions = field(default_factory=ReportOptions)

    @property
    def needs_timeline(self) -> str:
        """Why what takes the timeline of one capture is not here: there is none, or there are several."""
        count = self.analysis.story.timeline_count if self.analysis.story else 0
        return SEVERAL_TIMELINES.format(count=count) if count > 1 else NEEDS_TIMELINE

    @cached_property
    def kernels(self) -> tuple[tuple[int, ClassifiedKernel], ...]:
        """The profiled kernels with their place in `Analysis.kernels`, longest in all first; at most 500."""
        ranked = sorted(enumerate(self.analysis.kernels), key=lambda pair: -(pair[1].total_ns or 0.0))
        return tuple(ranked[:MOST_KERNELS])

    @cached_property
    def shown_indices(self) -> frozenset[int]:
        """Places in `Analysis.kernels` that have a card."""
        return frozenset(index for index, _ in self.kernels)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What would help, most time at stake first."""
        return self.analysis.story.findings.found if self.analysis.story else ()

    @property
    def withheld(self) -> tuple[Withheld, ...]:
        """What is not said for want of evidence."""
        return self.analysis.story.findings.withheld if self.analysis.story else ()

    @property
    def quality(self) -> tuple[str, tuple[str, ...]]:
        """The worst verdict on the captures ("" where none was judged), and the reasons with what to do."""
        judged = [c for c in self.info.captures if c.quality.get("verdict") in QUALITIES]
        if not judged:
            return "", ()
        worst = max((c.quality["verdict"] for c in judged), key=QUALITIES.index)
        reasons = [
            f"{c.capture_id}: {reason}. To do: {remedy}"
            for c in judged
            for reason, remedy in zip(c.quality.get("reasons", ()), c.quality.get("remedies", ()), strict=False)
        ]
        return worst, tuple(reasons)

    @property
    def hidden_kernels(self) -> str:
        """Say which profiled kernels have no card."""
        total = sum(k.total_ns or 0.0 for k in self.analysis.kernels)
        shown = sum(k.total_ns or 0.0 for _, k in self.kernels)
        rest = 1 - shown / total if total else None
        return blocks.hidden_rows(len(self.analysis.kernels), len(self.kernels), "profiled kernels", rest)

    @property
    def top_count(self) -> int:
        """How many rows a table of kernels shows."""
        return self.options.limit or max(len(self.analysis.top_kernels), len(self.analysis.top_operators))

    @cached_property
    def names(self) -> dict[str, str]:
        """Full kernel name -> anchor of its entry among the full names, in the order of the tables."""
        shown = [k.kernel_name for k in self.analysis.top_kernels[: max(FIRST_ROWS, self.top_count)]]
        shown += [kernel.kernel_name for _, kernel in self.kernels]
        return {name: f"name-{place}" for place, name in enumerate(dict.fromkeys(shown), 1)}

    @cached_property
    def timeline_of(self) -> dict[str, KernelSummary]:
        """Full name of a profiled kernel -> the kernel of the timeline that it is, where that is not in doubt.

        Two tools print one kernel differently.
        """
        top, kernels = self.analysis.top_kernels, self.analysis.kernels
        if not top or not kernels:
            return {}
        from nsightkit.analysis.kernel_names import match_kernels

        by_name = {kernel.kernel_name: kernel for kernel in top}
        matches = match_kernels([kernel.kernel_name for kernel in kernels], list(by_name))
        return {match.name: by_name[match.candidates[0]] for match in matches if match.status == "matched"}

    @cached_property
    def friendly_names(self) -> dict[str, tuple[str, str]]:
        """Full kernel name -> (friendly name, library)."""
        known = {k.kernel_name: (k.friendly_name, k.library) for k in self.analysis.kernels}
        return known | {k.kernel_name: (k.friendly_name, k.library) for k in self.analysis.top_kernels}

    def anchor(self, index: int) -> str:
        """Return the anchor of the card of `Analysis.kernels[index]`, "" where it has none."""
        return f"kernel-{index + 1}" if index in self.shown_indices else ""

    def href(self, index: int) -> str:
        """Return the link to that card."""
        return f"#kernel-{index + 1}" if index in self.shown_indices else ""

    def tools(self, *backends: str) -> str:
        """Return the tools with versions behind the captures of `backends`, as in "ncu 2025.4"."""
        found = [c for c in self.info.captures if not backends or c.backend in backends]
        tools: dict[str, list[str]] = {}
        for capture in found:
            versions = tools.setdefault(capture.backend, [])
            if (capture.tool_version or "") not in versions:
                versions.append(capture.tool_version or "")
        return " + ".join(
            f"{tool} ({len(versions)} versions)" if len(versions) > _MOST_VERSIONS
            else " + ".join(f"{tool} {version}".strip() for version in versions)
            for tool, versions in tools.items()
        )  # fmt: skip

    @property
    def timeline_scope(self) -> str:
        """Where numbers of the timeline come from, for captions."""
        return (self.tools("nsys", "nsys-stats", "torch") or "a timeline profiler") + self._inside

    @property
    def counter_scope(self) -> str:
        """Where numbers of hardware counters come from, for captions."""
        return (self.tools("ncu") or "hardware counters") + self._inside

    @property
    def _inside(self) -> str:
        return f", inside {self.options.within}" if self.options.within else ""
