"""What the GPU did over time: busy, idle, gaps by cause, copies, memory, ranks, and the verdict over a whole run.

In: launches, API calls, copies and ranges of a capture, timings with and without the profiler. Out: intervals,
sums and verdicts as data.
"""
