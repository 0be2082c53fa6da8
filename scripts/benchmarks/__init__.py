"""What `scripts/bench` measures; `tests/test_counts.py` holds its counts below their limits."""
