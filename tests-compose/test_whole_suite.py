"""All end-to-end tests against containers, several of each service; `make test` runs them against one of each."""

import shlex
import subprocess
import sys

from containers import REPOSITORY

REPLICAS = {"auth_service": 2, "user_service": 3, "gateway": 2}


def test_clients_see_no_difference(containers, scaled, capfd):
    scaled(**REPLICAS)
    variables = {"PARLEY_URL": containers.url, "PARLEY_COMPOSE": shlex.join(containers.command)}
    with capfd.disabled():
        print(f"\ntests-e2e against containers: {REPLICAS}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests-e2e", "-rs"],
            cwd=REPOSITORY,
            env={**containers.environment, **variables},
        )
    assert done.returncode == 0
