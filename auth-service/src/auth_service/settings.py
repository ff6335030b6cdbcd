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

    database_url: PostgresUrl = Field(description="auth-service's PostgreSQL database, as a `postgresql://` URL.")


class StoreSettings(DatabaseSettings):
    """The settings that the command line needs."""

    master_keys: Annotated[SecretStr, AfterValidator(_master_keys)] = Field(
        description="Master keys as `id:key,id:key`, newest first; each key is 32 random bytes in base64. "
        "They encrypt client secrets and signing keys, and refresh tokens are derived from them."
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Maximum connections to PostgreSQL per process.")
    key_publish_seconds: int = Field(
        300,
        ge=LEAST_PUBLISH_SECONDS,
        description="Seconds a new signing key is published in the JWKS before it signs; at least 15.",
    )


class ThrottleCommandSettings(ThrottleSettings, StoreSettings):
    """The settings of `throttles …`, which asks user-service whose account a login name belongs to."""

    issuer: BaseUrl = Field(
        description="Public URL of the gateway: the issuer (`iss`) of tokens and the base URL of the metadata."
    )
    users_url: BaseUrl = Field(description="Base URL of user-service.")


class Settings(ThrottleCommandSettings):
    """The settings of the service itself."""

    port: Port = Field(8081, description="Port to listen on.")
    gateway_read_timeout: float = Field(
        30,
        gt=0,
        le=3600,
        validation_alias="GATEWAY_READ_TIMEOUT",
        description="The gateways' read timeout in seconds; set it to the value that they have.",
    )
    refresh_grace_seconds: float = Field(
        120,
        le=3600,
        validate_default=True,
        description="Seconds in which a used refresh token may be retried and gets the same successor; must exceed "
        "`GATEWAY_READ_TIMEOUT` by more than ten seconds, so that a client whose response was lost can retry.",
    )
    refresh_retries: int = Field(20, ge=1, description="Maximum retries of one used refresh token.")
    refresh_rate: WindowText = Field("30/minute", description="Successful refreshes per session, not counting retries.")
    sessions_per_user: int = Field(
        50,
        ge=1,
        description="Maximum live sessions of one user at one client. Opening another ends the session that was opened "
        "or refreshed longest ago.",
    )
    throttle_login_pair: WindowText = Field(
        "5/15minute", description="Failed logins from one network to one account; a successful login resets the count."
    )
    throttle_login_network: WindowText = Field(
        "100/15minute", description="Failed logins from one network to all accounts together."
    )
    throttle_login_account: int = Field(
        20,
        ge=1,
        description="Consecutive failed logins to one account after which unknown networks must wait: one second, "
        "doubled with each failure, up to 15 minutes.",
    )
    throttle_login_row: int = Field(
        100, ge=2, description="Maximum consecutive failed logins to one account from all networks together."
    )
    throttle_login_attempts: WindowText = Field(
        "60/2minute", description="Login attempts, successful or not, from one network to one account."
    )
    throttle_login_alarm: int = Field(
        1000,
        ge=1,
        description="Failed logins within five to ten minutes that halve the budgets of networks and log an error, "
        "provided they outnumber the accounts with a successful login.",
    )
    throttle_secret_pair: WindowText = Field(
        "20/15minute", description="Wrong client secrets from one network for one client."
    )
    throttle_secret_network: WindowText = Field(
        "100/15minute", description="Wrong client secrets from one network for all clients together."
    )
    throttle_secret_client: int = Field(
        1000,
        ge=1,
        description="Consecutive wrong secrets for one client after which unknown networks must wait.",
    )
    throttle_refresh: WindowText = Field("300/15minute", description="Refused refreshes from one network.")
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
        """The budgets that these numbers give."""
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
