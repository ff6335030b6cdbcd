"""The settings of user-service, all of which are environment variables."""

from typing import Annotated

import phonenumbers
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from servicekit.settings import Port, PostgresUrl, ServiceSettings
from servicekit.throttling.budgets import WindowText
from servicekit.throttling.settings import ThrottleSettings
from user_service.cores import usable_cores

LEAST_PASSWORD_LENGTH = 8
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/]")]


class DatabaseSettings(ServiceSettings):
    """The settings of the migrations. Their names have the prefix `USERS_`; an empty variable counts as not given."""

    model_config = SettingsConfigDict(env_prefix="USERS_", env_ignore_empty=True)

    database_url: PostgresUrl = Field(description="The service's own database, as a `postgresql://` URL.")


class AccountSettings(DatabaseSettings):
    """The settings of the command line."""

    development: bool = Field(
        False, description="Admits a password policy weaker than eight characters and a blocklist. Never in production."
    )
    password_min_length: int = Field(
        15, ge=1, le=64, description="Least length of a new password, in code points; below 8 only in development."
    )
    password_blocklist: bool = Field(
        True,
        description="Whether new passwords are refused that are common, soon guessed or name the user; "
        "off only in development.",
    )
    phone_region: str | None = Field(
        None, description="ISO country code that a phone number without a leading + is read for, such as BD."
    )

    @field_validator("password_min_length")
    @classmethod
    def _long_enough(cls, value: int, info: ValidationInfo) -> int:
        if value < LEAST_PASSWORD_LENGTH and not info.data.get("development"):
            raise ValueError(f"must be at least {LEAST_PASSWORD_LENGTH} unless USERS_DEVELOPMENT is true")
        return value

    @field_validator("password_blocklist")
    @classmethod
    def _blocklist_on(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and not info.data.get("development"):
            raise ValueError("must be true unless USERS_DEVELOPMENT is true")
        return value

    @field_validator("phone_region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError("must be an ISO 3166 country code in capitals")
        return value


class Settings(ThrottleSettings, AccountSettings):
    """The settings of the service itself."""

    port: Port = Field(8082, description="Port the service listens on.")
    database_pool_size: int = Field(
        10,
        ge=2,
        description="Connections to the database a process opens at most; one of them waits for notifications.",
    )
    issuer: str = Field(min_length=1, description="The issuer that internal tokens must name: AUTH_ISSUER's value.")
    jwks_url: HttpUrl = Field(description="Where auth-service publishes the keys that internal tokens are signed with.")
    open_sign_up: bool = Field(False, description="Whether anyone may sign up, without a token.")
    hash_threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        description="Hashes computed at a time, 19 MiB each. Default: the cores of CPU affinity and cgroup quota.",
    )
    hash_deadline: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Most seconds a password waits to be hashed; who would wait longer is answered 503 at once.",
    )

    throttle_sign_up: WindowText = Field(
        "60/hour",
        description="Sign-ups and changes of login names from one network, and such changes by one user; "
        "those by an administrator are not counted.",
    )
    throttle_password_pair: WindowText = Field(
        "5/15minute", description="Wrong current passwords that one user sends from one network."
    )
    throttle_password_network: WindowText = Field(
        "100/15minute", description="The same from one network for all users together."
    )
    throttle_password_account: int = Field(
        20, ge=1, description="The same in a row for one user, after which networks not known there have to wait."
    )
    throttle_password_attempts: WindowText = Field(
        "60/2minute", description="Current passwords that one user sends from one network, right ones included."
    )
    throttle_password_row: int = Field(
        100,
        ge=2,
        description="Most wrong current passwords of one user in a row, from wherever they come.",
    )
