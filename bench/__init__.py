"""Benchmarks: each script measures in one run and prints ratios."""
