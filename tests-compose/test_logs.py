"""The limit on kept logs, and the handbook's sample for another driver. test_rolling_update.py reads kept logs."""

import json
import os
import re

from containers import REPOSITORY, run


def test_the_oldest_kept_logs_make_room(containers, scaled, tmp_path):
    scaled()
    newer, older = (f"gateway-2026-01-0{day}T00:00:00-0123456789ab.log.gz" for day in (2, 1))
    for age, name in enumerate((newer, older, "not of Parley.log.gz"), 1):
        (tmp_path / name).write_bytes(bytes(600_000))
        os.utime(tmp_path / name, (age, 10_000 - age))
    variables = {**containers.environment, "PARLEY_LOGS": str(tmp_path), "PARLEY_LOGS_MB": "1"}
    (gateway,) = containers.ids("gateway")
    run(str(REPOSITORY / "deploy" / "keep-logs.sh"), gateway, environment=variables)
    names = {path.name for path in tmp_path.iterdir()} - {newer, "not of Parley.log.gz"}
    assert len(names) == 1, names
    (kept,) = names
    assert re.fullmatch(rf"gateway-[0-9T:-]{{19}}-{gateway[:12]}\.log\.gz", kept)
    assert (tmp_path / kept).stat().st_mode & 0o777 == 0o600


def test_the_handbooks_override_replaces_driver_and_options(tmp_path):
    """A driver rejects another driver's options, so the override must leave none from compose.yaml."""
    page = REPOSITORY / "docs" / "handbook" / "observe.md"
    (sample,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "override.yaml").write_text(sample)
    files = ("--file", "compose.yaml", "--file", str(tmp_path / "override.yaml"))
    services = json.loads(run("docker", "compose", *files, "config", "--format", "json"))["services"]
    chosen = {name: service["logging"] for name, service in services.items() if not name.endswith("-migrate")}
    assert len(chosen) >= 5
    for name, logging in chosen.items():
        assert logging == {"driver": "journald", "options": {"tag": "{{.Name}}"}}, name
