"""Attacks on the benchmark's own stack, ten seconds each, and what honest clients get meanwhile."""
