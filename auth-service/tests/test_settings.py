"""Faulty settings are all reported in one line, by name and never by value, and end the process with status 2."""

import asyncio

import pytest

from auth_service.settings import Settings
from servicekit.settings import load_settings

from .processes import environment, run

GOOD = {
    "database_url": "postgresql://auth:p%40ss@db.example:5432/auth?sslmode=require",
    "master_keys": "m2:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=,m1:YUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=",
    "issuer": "https://parley.example",
    "users_url": "http://users:8082",
}


@pytest.fixture
def load(monkeypatch):
    """Call with settings to read them from the environment."""

    def load(**settings):
        for name in environment():
            monkeypatch.setenv(name, environment()[name])
        for name in ("AUTH_DATABASE_URL", "AUTH_MASTER_KEYS", "AUTH_ISSUER", "AUTH_USERS_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(f"AUTH_{name}".upper(), value)
        return load_settings(Settings)

    return load


@pytest.fixture
def fault(load, capsys):
    """Call with settings to get the line that reports their faults."""

    def fault(**settings):
        with pytest.raises(SystemExit) as ended:
            load(**settings)
        line = capsys.readouterr().err
        assert ended.value.code == 2
        assert line.startswith("settings: ")
        assert line.count("\n") == 1
        return line

    return fault


def test_good_settings_are_taken(load):
    settings = load(**GOOD, port="", log_level="debug")
    assert (settings.port, settings.issuer, settings.refresh_grace_seconds) == (8081, "https://parley.example", 120)
    assert "QUJD" not in repr(settings)
    assert "p%40ss" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "mysql://u:s3cr3t@db/auth"),
        ("database_url", "postgresql://u:s3cr3t@db:port/auth"),
        ("database_url", "postgresql://u:s3/cr3t@db/auth"),
        ("database_url", "postgresql://u:s3#cr3t@db/auth"),
        ("database_url", "postgresql://u:s3?cr3t@db/auth"),
        ("database_url", "postgresql://u:s3cr3t@[::1/auth"),
        ("database_url", "s3cr3t"),
        ("master_keys", "s3cr3t"),
        ("master_keys", "m1:s3cr3t"),
        ("master_keys", "m1:" + "A" * 43 + "="),  # not random
        ("master_keys", "m1:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtMTI="),  # change-me-…
        ("master_keys", GOOD["master_keys"].replace("m2", "m1")),
        ("master_keys", GOOD["master_keys"] + ","),
        ("master_keys", "m-1:s3cr3t"),
        ("issuer", "parley.example"),
        ("issuer", "https://parley.example/"),
        ("issuer", "https://parley.example?s3cr3t"),
        ("issuer", "https://parley.example#s3cr3t"),
        ("users_url", "ftp://s3cr3t"),
        ("port", "s3cr3t"),
        ("port", "65536"),
        ("log_level", "s3cr3t"),
        ("refresh_grace_seconds", "-1"),
        ("refresh_grace_seconds", "3601"),
        ("refresh_grace_seconds", "40"),
        ("refresh_grace_seconds", "nan"),
        ("database_pool_size", "0"),
        ("key_publish_seconds", "-1"),
    ],
)
def test_a_fault_is_named_without_its_value(fault, name, value):
    line = fault(**GOOD | {name: value})
    assert line.startswith(f"settings: AUTH_{name.upper()}: ")
    assert "s3cr3t" not in line
    assert "cr3t" not in line


def test_a_grace_must_be_longer_than_the_gateway_waits(load, fault, monkeypatch):
    monkeypatch.setenv("GATEWAY_READ_TIMEOUT", "110")
    assert "must be more than GATEWAY_READ_TIMEOUT and ten seconds, which is 120" in fault(**GOOD)
    assert load(**GOOD, refresh_grace_seconds="120.5").refresh_grace_seconds == 120.5


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql://postgres@/auth?host=/run/postgresql",
        "postgresql://auth:p:s@[::1]:5432/auth",
        "postgresql://auth@one:5432,two:5433/auth?target_session_attrs=read-write",
    ],
)
def test_every_form_of_a_database_url_is_taken(load, url):
    assert load(**GOOD | {"database_url": url}).database_url == url


def test_all_faults_stand_in_one_line(fault):
    line = fault(port="x", log_level="x", issuer="x")
    names = ("AUTH_PORT", "AUTH_LOG_LEVEL", "AUTH_ISSUER", "AUTH_DATABASE_URL", "AUTH_MASTER_KEYS", "AUTH_USERS_URL")
    assert all(f"{name}: " in line for name in names)
    assert line.count("is missing") == 3


def test_a_setting_may_stand_in_a_file(load, monkeypatch, tmp_path):
    (tmp_path / "auth_master_keys").write_text(GOOD["master_keys"] + "\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    settings = load(**{name: value for name, value in GOOD.items() if name != "master_keys"})
    assert settings.master_keys.get_secret_value().strip() == GOOD["master_keys"]


def test_a_directory_that_is_not_there_is_a_fault(fault, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "nowhere"))
    assert fault(**GOOD).startswith("settings: SECRETS_DIR: ")


async def test_every_command_ends_with_status_two():
    commands = dict.fromkeys((("serve",), ("migrate",), ("clients", "list"), ("keys", "rotate")), "AUTH_DATABASE_URL")
    commands["throttles", "clear", "ann"] = "AUTH_MASTER_KEYS"
    ended = await asyncio.gather(*(run(*command, port="x") for command in commands))
    for needed, (status, output, errors) in zip(commands.values(), ended, strict=True):
        assert (status, output) == (2, "")
        assert errors.startswith("settings: ")
        assert f"{needed}: is missing" in errors
        assert errors.count("\n") == 1
