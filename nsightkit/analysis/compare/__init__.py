"""What changed between runs, whether it is real, and why.

In: the summaries of two sides. Out: comparability, matches, differences, noise verdicts, gate results.
"""
