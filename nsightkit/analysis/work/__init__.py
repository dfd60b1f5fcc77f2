"""What work there was: what ran on the GPU and which calls launched it, and the FLOPs and bytes that it took.

In: tables of a capture, shapes, operator calls, model shapes. Out: GPU work as arrays and its sums; work from shapes,
from what a program states and from a model on paper, with the formula behind it; analytic points, MFU and MBU.
"""
