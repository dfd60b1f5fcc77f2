"""Which NVTX ranges the GPU time belongs to: forest, joins, projection, summaries and phases.

In: ranges, API calls and launches as arrays. Out: kernels with the ranges that enclose their launches, and their sums.
"""
