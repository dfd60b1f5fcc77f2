"""Which kernels deserve counters, how the counters join the timeline that chose them, and why warps waited.

In: kernel launches of an nsys run, counters of an ncu run. Out: targets, an ncu plan, joined rows, stalls.
"""
