"""Small models that the workloads share; a workload finds them because it is run by path."""
