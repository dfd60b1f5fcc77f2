"""Which kernels deserve counters, and how the counters join the timeline that chose them.

In: kernel launches of an nsys run, counters of an ncu run. Out: targets, an ncu plan, joined rows with their match.
"""
