"""What changed between runs, whether it is real, and why.

In: the summaries of two sides, or their benchmark timings. Out: comparability, matches, differences, noise verdicts,
gate results.
"""
