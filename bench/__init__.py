"""Benchmarks against a baseline measured in the same run; started by `make bench-…`, never by the tests."""
