"""The command line for operators: it prints tables for people and, with `--json`, JSON for programs."""
