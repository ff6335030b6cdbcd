"""Warnings and errors from all services' logs, to report with a broken promise."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

SHOWN = 20
_SEVERE = {"warning", "error", "critical"}


def utc(seconds: float) -> str:
    """A time in seconds since 1970 in the format of log lines."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def severe_lines(logs: Path, since: float) -> list[str]:
    """The first warnings and errors of all logs after `since` (seconds since 1970), in chronological order."""
    return [line for _, line in sorted(_severe(logs, utc(since)))[:SHOWN]]


def _severe(logs: Path, since: str) -> Iterator[tuple[str, str]]:
    for log in logs.glob("*-*.log"):
        for line in log.read_text(errors="replace").replace("\0", "").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("level") in _SEVERE and event.get("timestamp", "") >= since:
                yield event["timestamp"], f"{log.stem}: {line[:400]}"
