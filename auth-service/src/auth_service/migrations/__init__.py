"""The schema of auth-service's database, forward only."""

from pathlib import Path

DIRECTORY = Path(__file__).parent
