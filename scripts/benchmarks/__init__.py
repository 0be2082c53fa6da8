"""Benchmarks for `scripts/bench`; `tests/test_counts.py` checks that counts are below their limits."""
