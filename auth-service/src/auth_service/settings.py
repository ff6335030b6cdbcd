"""auth-service's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from auth_service.backends.keyring import parse_master_keys
from auth_service.backends.rotation import RefreshLimits
from auth_service.backends.signing_keys import LEAST_PUBLISH_SECONDS
from auth_service.backends.throttle import LOGINS, Budgets
from servicekit.settings import Port, PostgresUrl, ServiceSettings
from servicekit.throttling.budgets import WindowText, guess_budgets, window
from servicekit.throttling.settings import ThrottleSettings


def _master_keys(value: SecretStr) -> SecretStr:
    parse_master_keys(value.get_secret_value())
    return value


TIME_TO_ASK_AGAIN = 10.0

BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/?#]+(/[^?#]*[^/?#])?$")]


class _Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="AUTH_", env_ignore_empty=True)


class DatabaseSettings(_Settings):
    """The settings that migrations need."""

    database_url: PostgresUrl = Field(description="PostgreSQL database of auth-service, as a `postgresql://` URL.")


class StoreSettings(DatabaseSettings):
    """The settings that the command line needs."""

    master_keys: Annotated[SecretStr, AfterValidator(_master_keys)] = Field(
        description="Master key ring, `id:key,id:key`, the newest first; a key is 32 random bytes in base64. "
        "Encrypts client secrets and signing keys, and derives refresh tokens."
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections to PostgreSQL at the most.")
    key_publish_seconds: int = Field(
        300,
        ge=LEAST_PUBLISH_SECONDS,
        description="Seconds for which a new signing key is published in the JWKS before it signs; 15 at least.",
    )


class ThrottleCommandSettings(ThrottleSettings, StoreSettings):
    """The settings of `throttles …`, which asks user-service for the account of a login."""

    issuer: BaseUrl = Field(description="Public URL of the gateway: `iss` of every token, base of the metadata.")
    users_url: BaseUrl = Field(description="Base URL of user-service.")


class Settings(ThrottleCommandSettings):
    """The settings of the service."""

    port: Port = Field(8081, description="Port the service listens on.")
    gateway_read_timeout: float = Field(
        30,
        gt=0,
        le=3600,
        validation_alias="GATEWAY_READ_TIMEOUT",
        description="How long gateways wait for an answer, as they are told themselves.",
    )
    refresh_grace_seconds: float = Field(
        120,
        le=3600,
        validate_default=True,
        description="How long a spent refresh token is answered with the same successor; longer than "
        "`GATEWAY_READ_TIMEOUT` by more than ten seconds, so that a client whose answer was lost can still ask again.",
    )
    refresh_retries: int = Field(
        20, ge=1, description="Most times that a spent refresh token is answered with the same successor."
    )
    refresh_rate: WindowText = Field("30/minute", description="Successful refreshes of one session, retries apart.")
    sessions_per_user: int = Field(
        50,
        ge=1,
        description="Live sessions of one user at one client. When one more is opened, the one ends that was opened or "
        "refreshed longest ago.",
    )
    throttle_login_pair: WindowText = Field(
        "5/15minute", description="Failed logins of one network at one account; a success clears them."
    )
    throttle_login_network: WindowText = Field(
        "100/15minute", description="Failed logins of one network at all accounts together."
    )
    throttle_login_account: int = Field(
        20,
        ge=1,
        description="Failed logins in a row at one account, after which networks that are not known there have to "
        "wait: a second, then twice as long each time, 15 minutes at the most.",
    )
    throttle_login_row: int = Field(
        100, ge=2, description="Most failed logins in a row at one account, from wherever they come."
    )
    throttle_login_attempts: WindowText = Field(
        "60/2minute", description="Logins of one network at one account, right ones included."
    )
    throttle_login_alarm: int = Field(
        1000,
        ge=1,
        description="Failed logins in five to ten minutes at which, where they are more than the accounts at which "
        "a login succeeded, the budgets of networks are halved and an error is logged.",
    )
    throttle_secret_pair: WindowText = Field("20/15minute", description="Wrong secrets of one network for one client.")
    throttle_secret_network: WindowText = Field(
        "100/15minute", description="Wrong secrets of one network for all clients together."
    )
    throttle_secret_client: int = Field(
        1000,
        ge=1,
        description="Wrong secrets in a row for one client, after which networks not known there have to wait.",
    )
    throttle_refresh: WindowText = Field("300/15minute", description="Refused refreshes of one network.")
    throttle_introspection: WindowText = Field(
        "600/minute", description="Introspections by one client that find no active token."
    )

    @field_validator("refresh_grace_seconds")
    @classmethod
    def _outlasts_everybody(cls, grace: float, info: ValidationInfo) -> float:
        patience = info.data.get("gateway_read_timeout", 0.0) + TIME_TO_ASK_AGAIN
        if grace <= patience:
            raise ValueError(f"must be more than GATEWAY_READ_TIMEOUT and ten seconds, which is {patience:g}")
        return grace

    @property
    def refresh_limits(self) -> RefreshLimits:
        """The limits on refreshes."""
        return RefreshLimits(self.refresh_grace_seconds, self.refresh_retries, window(self.refresh_rate))

    @property
    def budgets(self) -> Budgets:
        """The budgets for guesses."""
        return Budgets(
            logins=guess_budgets(
                LOGINS,
                pair=window(self.throttle_login_pair),
                network=window(self.throttle_login_network),
                free=self.throttle_login_account,
                row=self.throttle_login_row,
                alarm=self.throttle_login_alarm,
                attempts=window(self.throttle_login_attempts),
            ),
            secrets=guess_budgets(
                "client secret",
                pair=window(self.throttle_secret_pair),
                network=window(self.throttle_secret_network),
                free=self.throttle_secret_client,
                row=10 * self.throttle_secret_client,
            ),
            refused_refreshes=window(self.throttle_refresh),
            inactive_tokens=window(self.throttle_introspection),
        )
