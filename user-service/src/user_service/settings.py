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

    database_url: PostgresUrl = Field(description="user-service's PostgreSQL database, as a `postgresql://` URL.")


class AccountSettings(DatabaseSettings):
    """The settings of the command line."""

    development: bool = Field(
        False, description="Allows a password policy that is too weak for production. Never set it in production."
    )
    password_min_length: int = Field(
        15,
        ge=1,
        le=64,
        description="Minimum length of a new password in code points; below 8 only with `USERS_DEVELOPMENT`.",
    )
    password_blocklist: bool = Field(
        True,
        description="Refuse new passwords that are common, easily guessed or contain the user's names; "
        "`false` only with `USERS_DEVELOPMENT`.",
    )
    phone_region: str | None = Field(
        None, description="ISO country code for phone numbers without a leading `+`, such as `BD`."
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

    port: Port = Field(8082, description="Port to listen on.")
    database_pool_size: int = Field(
        10,
        ge=2,
        description="Maximum connections to PostgreSQL per process; one of them listens for notifications.",
    )
    issuer: str = Field(min_length=1, description="Required issuer of internal tokens: the value of `AUTH_ISSUER`.")
    jwks_url: HttpUrl = Field(description="URL of auth-service's JWKS.")
    open_sign_up: bool = Field(False, description="Allow sign-up without a token.")
    hash_threads: int = Field(
        default_factory=usable_cores,
        ge=1,
        description="Password hashes to compute in parallel, 19 MiB each. Default: the number of cores that CPU "
        "affinity and the cgroup's CPU quota allow.",
    )
    hash_deadline: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Maximum seconds a password may wait to be hashed; a request that would wait longer gets 503.",
    )

    throttle_sign_up: WindowText = Field(
        "60/hour",
        description="Sign-ups and login name changes from one network, and login name changes by one user; "
        "an administrator's are not counted.",
    )
    throttle_password_pair: WindowText = Field(
        "5/15minute", description="Wrong current passwords sent by one user from one network."
    )
    throttle_password_network: WindowText = Field(
        "100/15minute", description="Wrong current passwords sent from one network by all users together."
    )
    throttle_password_account: int = Field(
        20,
        ge=1,
        description="Consecutive wrong current passwords of one user after which unknown networks must wait.",
    )
    throttle_password_attempts: WindowText = Field(
        "60/2minute", description="Current passwords, right or wrong, sent by one user from one network."
    )
    throttle_password_row: int = Field(
        100,
        ge=2,
        description="Maximum consecutive wrong current passwords of one user from all networks together.",
    )
