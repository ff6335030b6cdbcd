"""The errors that the service reports for settings it cannot use."""

import pytest

from servicekit.settings import load_settings
from user_service.cores import usable_cores
from user_service.settings import Settings

REQUIRED = {
    "USERS_DATABASE_URL": "postgresql://users:hush@db/users",
    "USERS_ISSUER": "https://parley.example",
    "USERS_JWKS_URL": "http://auth:8081/.well-known/jwks.json",
}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (REQUIRED | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_three_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert (settings.host, settings.port) == ("127.0.0.1", 8082)
    assert settings.hash_threads == usable_cores() >= 1
    assert not settings.open_sign_up
    assert (settings.password_min_length, settings.password_blocklist) == (15, True)
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"USERS_ISSUER": ""}, "USERS_ISSUER: is missing"),
        ({"USERS_DATABASE_URL": "mysql://secret"}, "USERS_DATABASE_URL: "),
        ({"USERS_JWKS_URL": "auth:8081"}, "USERS_JWKS_URL: "),
        ({"USERS_PASSWORD_MIN_LENGTH": "7"}, "USERS_PASSWORD_MIN_LENGTH: must be at least 8 unless USERS_DEVELOPMENT"),
        ({"USERS_PASSWORD_BLOCKLIST": "false"}, "USERS_PASSWORD_BLOCKLIST: must be true unless USERS_DEVELOPMENT"),
        ({"USERS_PHONE_REGION": "XX"}, "USERS_PHONE_REGION: must be an ISO 3166 country code"),
        ({"USERS_HASH_THREADS": "0"}, "USERS_HASH_THREADS: "),
        ({"USERS_HASH_DEADLINE": "0"}, "USERS_HASH_DEADLINE: "),
        ({"USERS_HASH_DEADLINE": "nan"}, "USERS_HASH_DEADLINE: "),
        ({"USERS_PORT": "65536"}, "USERS_PORT: "),
    ],
)
def test_a_faulty_setting_ends_the_start_with_status_2_and_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], fault: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        load(monkeypatch, **variables)
    errors = capsys.readouterr().err
    assert caught.value.code == 2
    assert fault in errors
    assert errors.count("\n") == 1
    assert "secret" not in errors


def test_development_admits_the_documents_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch, USERS_DEVELOPMENT="true", USERS_PASSWORD_MIN_LENGTH="6", USERS_PASSWORD_BLOCKLIST="false"
    )
    assert (settings.password_min_length, settings.password_blocklist) == (6, False)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
