"""auth-service's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from auth_service.backends.keyring import parse_master_keys
from servicekit.settings import Port, PostgresUrl, ServiceSettings


def _master_keys(value: SecretStr) -> SecretStr:
    parse_master_keys(value.get_secret_value())
    return value


BaseUrl = Annotated[str, Field(pattern=r"^https?://[^/?#]+(/[^?#]*[^/?#])?$")]


class DatabaseSettings(ServiceSettings):
    """What the migrations need."""

    model_config = SettingsConfigDict(env_prefix="AUTH_", env_ignore_empty=True)

    database_url: PostgresUrl = Field(description="PostgreSQL database of auth-service, as a `postgresql://` URL.")


class StoreSettings(DatabaseSettings):
    """What the command line needs."""

    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections to PostgreSQL at the most.")
    master_keys: Annotated[SecretStr, AfterValidator(_master_keys)] = Field(
        description="Master key ring, `id:key,id:key`, the newest first; a key is 32 random bytes in base64. "
        "Encrypts client secrets and signing keys, and derives refresh tokens."
    )
    key_publish_seconds: int = Field(
        300, ge=0, description="How long a new signing key stands in the JWKS before it signs."
    )


class Settings(StoreSettings):
    """What the service needs."""

    port: Port = Field(8081, description="Port the service listens on.")
    issuer: BaseUrl = Field(description="Public URL of the gateway: `iss` of every token, base of the metadata.")
    users_url: BaseUrl = Field(description="Base URL of user-service.")
    refresh_grace_seconds: float = Field(
        30, ge=0, le=3600, description="How long a spent refresh token is answered with the same successor."
    )
