"""All end-to-end tests against containers: one of each, then several of each service."""

import shlex
import subprocess
import sys

import pytest

from containers import REPOSITORY

REPLICAS = ({}, {"auth_service": 2, "user_service": 3, "gateway": 2})


@pytest.mark.parametrize("replicas", REPLICAS, ids=("one of each", "2 auth-service, 3 user-service, 2 gateway"))
def test_clients_see_no_difference(containers, scaled, capfd, replicas):
    scaled(**replicas)
    variables = {"PARLEY_URL": containers.url, "PARLEY_COMPOSE": shlex.join(containers.command)}
    with capfd.disabled():
        print(f"\ntests-e2e against containers: {replicas or 'one of each'}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests-e2e", "-rs"],
            cwd=REPOSITORY,
            env={**containers.environment, **variables},
        )
    assert done.returncode == 0
