"""How much work there was: FLOPs and bytes from shapes, from operator calls and from a model on paper.

In: shapes, operator calls, model shapes. Out: work with the formula behind it, and analytic points.
"""
