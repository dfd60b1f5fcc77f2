"""How far each kernel is from the hardware's roof: peaks, levels, points, verdicts and their rules.

In: kernel counters, samples of the whole GPU, work from shapes, GPU specifications. Out: roofline points, verdicts with
margin, suspects, remedies.
"""
