"""The end-to-end tests against containers, several of each service; `make test` runs them against one of each."""

import shlex
import subprocess
import sys

from containers import REPOSITORY

# These test the reading of requests, the time of answers, and files, for which containers make no difference.
LEFT_OUT = (
    *("test_bad_input.py", "test_bad_user_input.py", "test_one_path_many_dialects.py", "test_timing.py"),
    *("test_flood_figures.py", "test_for_swarm.py", "test_release.py"),
)
REPLICAS = {"auth_service": 2, "user_service": 3, "gateway": 2}


def test_clients_see_no_difference(containers, scaled, capfd):
    scaled(**REPLICAS)
    variables = {"PARLEY_URL": containers.url, "PARLEY_COMPOSE": shlex.join(containers.command)}
    ignored = [f"--ignore=tests-e2e/{name}" for name in LEFT_OUT]
    with capfd.disabled():
        print(f"\ntests-e2e against containers: {REPLICAS}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "tests-e2e", "-rs", *ignored],
            cwd=REPOSITORY,
            env={**containers.environment, **variables},
        )
    assert done.returncode == 0
