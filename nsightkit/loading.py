"""Tables for notebooks and scripts: ``nsightkit.load(run)``.

In: a run directory, a capture, or a folder of captures. Out: `Loaded`, which gives each table as pandas or Arrow.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nsightkit.errors import IngestError
from nsightkit.ingest.dataset import Dataset, open_dataset
from nsightkit.run import RunInfo
from nsightkit.tables import TABLES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Loaded:
    """The tables of a run or of captures; `docs/tables.md` lists their columns and units."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def info(self) -> RunInfo:
        """What is known of the run as a whole."""
        return self._dataset.info

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables that have rows."""
        return tuple(name for name in TABLES if self._dataset.has(name))

    def arrow(self, table: str) -> pa.Table:
        """Return `table` as Arrow; unit and meaning of a column are in its field's metadata.

        Raises:
            KeyError: there is no table of that name.
        """
        return self._dataset.arrow(TABLES[table].name)

    def pandas(self, table: str) -> pd.DataFrame:
        """Return `table` as a pandas DataFrame.

        Integer columns with missing values become nullable Int64, so that 64-bit ids keep their bits; units are in
        ``frame.attrs["units"]``.
        """
        import pandas as pd
        import pyarrow as pa

        nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}
        frame: pd.DataFrame = self.arrow(table).to_pandas(types_mapper=nullable.get)
        frame.attrs["units"] = {c.name: c.unit for c in TABLES[table].columns if c.unit}
        return frame

    def _repr_html_(self) -> str:
        """Show the first screen of the report in a notebook: verdict, findings, kernels, charts."""
        from nsightkit.analysis import AnalysisOptions, analyze_tables
        from nsightkit.judging import judged
        from nsightkit.report.context import Context
        from nsightkit.report.first_screen import notebook

        info = judged(self._dataset)
        info = info if info.name else replace(info, name=self._dataset.name)
        ratios = [ratio for c in info.captures if (ratio := c.overhead.get("ratio"))]
        options = AnalysisOptions(tokens=info.tokens, tracing_ratio=max(ratios, default=None))
        return notebook(Context(info, analyze_tables(self._dataset, options)))

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {self.arrow(name).num_rows}" for name in self.tables)
        return f"<{self._dataset.name}: {rows or 'no tables'}>"


def load(path: str | Path) -> Loaded:
    """Open a run directory, a capture, or a folder of captures.

    >>> load("reports/decode").pandas("kernel_launches")  # doctest: +SKIP

    Raises:
        IngestError: `path` is none of these, or damaged.
    """
    dataset = open_dataset([Path(path)])
    if not dataset.info.captures and dataset.failures:
        failure = dataset.failures[0]
        raise IngestError(failure.reason, slug=failure.slug)
    return Loaded(dataset)
