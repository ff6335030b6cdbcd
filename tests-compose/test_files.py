"""compose.yaml and the Dockerfile say nothing that a linter would mind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from containers import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]


def test_compose_takes_the_file():
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_buildkit_finds_nothing_to_warn_of():
    """Of those that can check; older ones are known by what they say to the option."""
    done = subprocess.run(["docker", "buildx", "build", "--check", "."], cwd=REPOSITORY, capture_output=True, text=True)
    if "unknown flag" in done.stderr:
        pytest.skip("this buildx cannot check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no warnings found" in (done.stdout + done.stderr)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_image_comes_from_one_pinned_base():
    stages = set()
    for instruction, text in INSTRUCTIONS:
        if instruction == "FROM":
            base, _, stage = text.partition(" AS ")
            assert base in stages or re.fullmatch(r"python:3\.\d+-slim-[a-z]+", base), base
            stages.add(stage)
    assert {"gateway", "auth-service", "user-service"} <= stages


def test_what_is_run_and_as_whom():
    names = [instruction for instruction, _ in INSTRUCTIONS]
    assert "ADD" not in names
    assert [text for instruction, text in INSTRUCTIONS if instruction == "STOPSIGNAL"] == ["SIGTERM"]
    assert {text for instruction, text in INSTRUCTIONS if instruction == "USER"} == {"10001:10001"}
    for instruction, text in INSTRUCTIONS:
        assert instruction not in ("CMD", "ENTRYPOINT") or text.startswith("["), text
        assert instruction != "RUN" or "sudo" not in text


def test_source_is_copied_after_what_is_installed():
    for stage in re.split(r"\nFROM ", DOCKERFILE):
        copies = [line for line in stage.splitlines() if line.startswith("COPY")]
        if any("--from=source" in line for line in copies):
            assert "--from=source" in copies[-1]
            assert "RUN" not in [line.split(" ")[0] for line in stage.splitlines()]
