"""Measurements behind every figure in the documents; see `benchmarks.harness`."""
