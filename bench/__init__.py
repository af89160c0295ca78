"""Benchmarks: every one runs its competitors and this package side by side, in one process, on simulated data."""
