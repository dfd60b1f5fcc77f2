"""Drives the profilers and leaves what they wrote in a run directory."""
