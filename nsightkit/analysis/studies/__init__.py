"""The arithmetic behind the studies: what each table and figure of a study's report is computed from.

In: `foreign_results.Results` by part of the study, from our own runs or from somebody else's files;
kernels and operators of traces. Out: frozen rows.
"""
