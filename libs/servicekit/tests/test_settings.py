"""Invalid settings are reported in one line that names the variables but none of their values."""

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from servicekit.settings import Port, PostgresUrl, ServiceSettings, load_settings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIAL_", env_ignore_empty=True)

    port: Port = Field(1)
    database_url: PostgresUrl = Field()
    key: SecretStr = Field()


@pytest.fixture
def fault(monkeypatch, capsys):
    """Call with the environment to get the line that reports its faults."""

    def fault(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            load_settings(Settings)
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line.rstrip("\n")

    return fault


def test_every_fault_stands_in_the_line(fault):
    line = fault(
        TRIAL_PORT="s3cr3t", TRIAL_DATABASE_URL="postgresql://u:s3/cr3t@h/d", TRIAL_LOG_LEVEL="s3cr3t", TRIAL_KEY=""
    )
    assert line.startswith("settings: ")
    assert {part.split(":")[0] for part in line.removeprefix("settings: ").split("; ")} == {
        "TRIAL_PORT",
        "TRIAL_DATABASE_URL",
        "TRIAL_LOG_LEVEL",
        "TRIAL_KEY",
    }
    assert "TRIAL_KEY: is missing" in line
    assert "cr3t" not in line


def test_a_secret_comes_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "trial_key").write_text("from the file")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("TRIAL_DATABASE_URL", "postgresql://u:s3cr3t@h/d")
    settings = load_settings(Settings)
    assert settings.key.get_secret_value() == "from the file"
    assert "s3cr3t" not in repr(settings)
    assert "from the file" not in repr(settings)
    monkeypatch.setenv("TRIAL_KEY", "from the environment")
    assert load_settings(Settings).key.get_secret_value() == "from the environment"


def test_a_directory_for_secrets_must_exist(fault, tmp_path):
    assert fault(SECRETS_DIR=str(tmp_path / "nowhere")).startswith("settings: SECRETS_DIR: ")


@pytest.mark.parametrize(
    "password", ["s3cr3t", "aaaaaaaabbbbbbbbcccccccc", "change-me-before-you-start", "pass%77ord-for-the-database"]
)
def test_a_password_that_can_be_guessed_is_refused_where_secrets_are_files(fault, tmp_path, password):
    (tmp_path / "trial_key").write_text("a key")
    (tmp_path / "trial_database_url").write_text(f"postgresql://u:{password}@h/d")
    line = fault(SECRETS_DIR=str(tmp_path))
    assert line == "settings: TRIAL_DATABASE_URL: its password is short or a sample"


def test_a_random_password_is_taken(monkeypatch, tmp_path):
    (tmp_path / "trial_key").write_text("a key")
    (tmp_path / "trial_database_url").write_text("postgresql://u:lY8OZ0jvSgYqVb4f6cTzUQ@h/d")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    assert load_settings(Settings).key.get_secret_value() == "a key"


def test_a_missing_secret_is_refused_with_what_to_do(fault, tmp_path):
    line = fault(SECRETS_DIR=str(tmp_path))
    assert "TRIAL_KEY: is missing; " in line
    assert "TRIAL_DATABASE_URL: is missing; " in line
    assert line.endswith(f"secrets are files below {tmp_path}, which `make secrets` makes")


REQUIRED = {"TRIAL_KEY": "a key", "TRIAL_DATABASE_URL": "postgresql://u@h/d"}


def test_a_misspelt_variable_is_refused_with_the_nearest_name(fault):
    line = fault(**REQUIRED, TRIAL_LOG_LEVLE="debug", TRIAL_SOMETHING_ELSE="s3cr3t")
    assert line == (
        "settings: TRIAL_LOG_LEVLE: there is no such setting; did you mean TRIAL_LOG_LEVEL?; "
        "TRIAL_SOMETHING_ELSE: there is no such setting"
    )


def test_variables_that_container_platforms_make_up_are_passed_over(monkeypatch):
    made_up = {
        "TRIAL_SERVICE_HOST": "10.0.0.1",
        "TRIAL_SERVICE_PORT_HTTP": "80",
        "TRIAL_PORT": "tcp://10.0.0.1:80",
        "TRIAL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "TRIAL_PORT_80_TCP_ADDR": "10.0.0.1",
        "TRIAL_AND_MORE_PORT": "tcp://10.0.0.1:80",
        "TRIAL_AND_MORE_PORT_80_UDP_PROTO": "udp",
    }
    for name, value in (REQUIRED | made_up).items():
        monkeypatch.setenv(name, value)
    assert load_settings(Settings).port == 1
