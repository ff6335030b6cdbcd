"""What operators do on the command line: tables for people, `--json` for programs."""
