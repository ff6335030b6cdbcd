"""Benchmarks, each against a baseline measured in the same run. `make bench-…` starts them, tests never do."""
