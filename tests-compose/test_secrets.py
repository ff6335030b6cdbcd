"""A service whose secret is missing, short or a sample does not start, and says in one line what to do."""

import subprocess

import pytest

from containers import REPOSITORY

RANDOM = "lY8OZ0jvSgYqVb4f6cTzUQ"
GOOD = {
    "AUTH_DATABASE_URL": f"postgresql://auth:{RANDOM}@postgres/auth",
    "AUTH_MASTER_KEYS": "k1:LJyogAOGVbbhulwbINX4yHrq5B7XFbHSoKOkJNZ0QnY=",
}
# The tests of settings cover more cases: short keys, and passwords that are short or samples.
FAULTS = {
    "missing": ("AUTH_MASTER_KEYS", None),
    "empty": ("AUTH_MASTER_KEYS", ""),
    "sample": ("AUTH_MASTER_KEYS", "k1:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtMTI="),
    "no password file": ("AUTH_DATABASE_URL", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_refuses_to_start(containers, tmp_path, fault):
    name, value = FAULTS[fault]
    for file, text in {**GOOD, name: value}.items():
        if text is not None:
            (tmp_path / file).write_text(text)
            (tmp_path / file).chmod(0o644)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--network=none", f"--volume={tmp_path}:/run/secrets:ro"),
            *("--env=SECRETS_DIR=/run/secrets", "--env=AUTH_ISSUER=http://a", "--env=AUTH_USERS_URL=http://b"),
            "parley-auth-service:tests",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("settings: ")
    assert name in done.stderr
    assert ("make secrets" in done.stderr) == (value is None)
    assert value is None or value not in done.stderr or value == ""


def test_secrets_are_never_replaced(secrets):
    before = {path.name: path.stat().st_mtime_ns for path in secrets.iterdir()}
    subprocess.run([REPOSITORY / "deploy" / "make-secrets.sh", secrets], check=True, capture_output=True)
    assert {path.name: path.stat().st_mtime_ns for path in secrets.iterdir()} == before


def test_a_directory_that_lost_a_secret_is_not_filled_up(tmp_path):
    (tmp_path / "AUTH_MASTER_KEYS").write_text("k1:…")
    script = REPOSITORY / "deploy" / "make-secrets.sh"
    done = subprocess.run([script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["AUTH_MASTER_KEYS"]
