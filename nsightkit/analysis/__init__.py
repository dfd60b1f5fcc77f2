"""From tables to findings: pure functions that return data and never draw."""

from nsightkit.analysis.overview import AnalysisOptions, Tables, analyze_tables

__all__ = ["AnalysisOptions", "Tables", "analyze_tables"]
