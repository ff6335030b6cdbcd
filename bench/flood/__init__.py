"""Attacks on a stack of its own, each for ten seconds, and what honest clients get meanwhile."""
