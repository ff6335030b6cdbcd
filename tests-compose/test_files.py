"""Linters find no fault with compose.yaml and the Dockerfile."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from containers import REPOSITORY, run
from registry import DIGEST, Registry

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
PYTHON_IMAGE = "python:3.13-slim-trixie"
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]


def test_compose_takes_the_file():
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"], cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_environment_chooses():
    """The public port's address and the base images; a pinned image is used for builds and for containers."""
    pins = {f"{name}_IMAGE": f"{name.lower()}:1@sha256:{'a' * 64}" for name in ("PYTHON", "POSTGRES", "REDIS")}
    default, chosen = _composed(), _composed(GATEWAY_ADDRESS="0.0.0.0", **pins)
    assert _public_address(default) == "127.0.0.1"
    assert _public_address(chosen) == "0.0.0.0"
    for services, python in ((default, PYTHON_IMAGE), (chosen, pins["PYTHON_IMAGE"])):
        built = [service["build"]["args"] for service in services.values() if "build" in service]
        assert built == [{"PYTHON_IMAGE": python}] * len(built)
    assert chosen["postgres"]["image"] == pins["POSTGRES_IMAGE"]
    assert chosen["redis"]["image"] == pins["REDIS_IMAGE"]


def _composed(**variables):
    """The services as compose.yaml alone describes them with these variables."""
    command = ["docker", "compose", "--file", "compose.yaml", "--env-file", "/dev/null", "config", "--format", "json"]
    return json.loads(run(*command, environment={"PATH": os.environ["PATH"], **variables}))["services"]


def _public_address(services):
    return services["port"]["ports"][0]["host_ip"]


def test_pinning_writes_every_digest_or_none(tmp_path):
    shutil.copy(REPOSITORY / "compose.yaml", tmp_path)
    settings = tmp_path / ".env"
    with Registry() as registry:
        names = dict.fromkeys(("PYTHON_IMAGE", "POSTGRES_IMAGE"), f"{registry.address}/some:1")
        try:
            settings.write_text(before := _lines({**names, "REDIS_IMAGE": f"{registry.address}/nothing:1"}))
            assert _pin_images(tmp_path) != 0
            assert settings.read_text() == before
            names["REDIS_IMAGE"] = names["PYTHON_IMAGE"]
            settings.write_text(_lines({**names, "PYTHON_IMAGE": f"{registry.address}/some:1@sha256:of-last-month"}))
            assert _pin_images(tmp_path) == 0
            pins = {name: f"{image}@{DIGEST}" for name, image in names.items()}
            assert sorted(settings.read_text().splitlines()) == sorted(_lines(pins).splitlines())
        finally:
            subprocess.run(["docker", "rmi", names["PYTHON_IMAGE"]], capture_output=True)


def _lines(variables):
    return "".join(f"{name}={value}\n" for name, value in {"GATEWAY_PORT": "8081", **variables}.items())


def _pin_images(directory):
    script = REPOSITORY / "deploy" / "pin-images.sh"
    return subprocess.run([script], cwd=directory, capture_output=True).returncode


def test_buildkit_finds_nothing_to_warn_of():
    """This needs a buildx that can check; older ones reject the option."""
    done = subprocess.run(["docker", "buildx", "build", "--check", "."], cwd=REPOSITORY, capture_output=True, text=True)
    if "unknown flag" in done.stderr:
        pytest.skip("this buildx cannot check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no warnings found" in (done.stdout + done.stderr)


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_image_comes_from_one_base_which_can_be_pinned():
    assert [text for instruction, text in INSTRUCTIONS if instruction == "ARG"] == [f"PYTHON_IMAGE={PYTHON_IMAGE}"]
    stages = set()
    for instruction, text in INSTRUCTIONS:
        if instruction == "FROM":
            base, _, stage = text.partition(" AS ")
            assert base in stages or base == "${PYTHON_IMAGE}", base
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
