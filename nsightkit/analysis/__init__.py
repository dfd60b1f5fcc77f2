"""From tables to findings: pure functions that return data and never draw."""
