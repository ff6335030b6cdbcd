"""Settings from environment variables or secret files; invalid ones end the start with one line that lists them."""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

MISSING = "is missing"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^/?#@:,\[\]]*)(:[0-9]{1,5})?"
_LEAST_PASSWORD = 16
_LEAST_VARIETY = 8
# A regular expression for the words of sample secrets. A password must not name the product either.
SAMPLE_WORDS = "change|example|sample|secret|password|placeholder"
_SAMPLE = re.compile(f"{SAMPLE_WORDS}|parley", re.IGNORECASE)
# Kubernetes and Docker tell containers of services in variables such as `AUTH_SERVICE_HOST`, `GATEWAY_PORT_80_TCP`.
_PLATFORM = re.compile(r".*_SERVICE_(HOST|PORT)(_.*)?|.*_PORT_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?")
_PLATFORM_PORT = re.compile(r"(tcp|udp|sctp)://.*")
_POSTGRES_URL = re.compile(rf"postgresql://([^/?#]*@)?{_HOST}(,{_HOST})*(/[^?#]*)?(\?[^#]*)?")


def _postgres_url(url: str) -> str:
    """Refuse URLs on which the driver would fail with an error that quotes the password."""
    if not _POSTGRES_URL.fullmatch(url):
        raise ValueError("must be a postgresql:// URL, with user and password percent-encoded")
    return url


Port = Annotated[int, Field(ge=0, le=65535)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url), Field(repr=False)]


class ServiceSettings(BaseSettings):
    """The settings that every service has; a service's own class adds to them and sets the prefix of their names."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, populate_by_name=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity of the log lines to write: `debug`, `info`, `warning` or `error`."
    )


S = TypeVar("S", bound=ServiceSettings)


def load_settings(settings: type[S], **overrides: Any) -> S:
    """Read `settings` from the environment, then from files named like the variables in `$SECRETS_DIR`.

    Exits with status 2 and one line that names every invalid variable, never its value. A variable with the service's
    prefix that is not a setting is invalid, too. The password of a URL in a file must not be one that can be guessed.
    """
    _pass_over_platform_port(settings)
    secrets = os.environ.get("SECRETS_DIR")
    if secrets is None:
        loaded, faults = _read(settings, overrides)
    elif Path(secrets).is_dir():
        loaded, faults = _read(settings, {"_secrets_dir": secrets, **overrides})
    else:
        _refuse([f"SECRETS_DIR: {secrets} is not a directory"])
    faults += _unknown_variables(settings)
    if secrets is not None:
        faults += _weak_passwords(loaded, Path(secrets)) if loaded is not None else []
        if any(f"{name}: {MISSING}" in faults for name in _secret_variables(settings)):
            faults.append(f"secrets are files below {secrets}, which `make secrets` makes")
    if loaded is None or faults:
        _refuse(faults)
    return loaded


def _read(settings: type[S], arguments: dict[str, Any]) -> tuple[S | None, list[str]]:
    """The settings, or else their faults."""
    try:
        return settings(**arguments), []
    except ValidationError as error:
        return None, [f"{_variable(settings, fault['loc'])}: {_words(fault)}" for fault in error.errors()]
    except OSError as error:
        return None, [f"{error.filename}: {error.strerror}"]


def _prefix(settings: type[BaseSettings]) -> str:
    return settings.model_config.get("env_prefix", "")


def _pass_over_platform_port(settings: type[ServiceSettings]) -> None:
    """Remove `GATEWAY_PORT=tcp://10.0.0.1:80`, which Kubernetes sets if a service is called `gateway`."""
    name = f"{_prefix(settings)}PORT"
    if _PLATFORM_PORT.fullmatch(os.environ.get(name, "")):
        del os.environ[name]


def _unknown_variables(settings: type[ServiceSettings]) -> list[str]:
    """A fault for each variable with the prefix that is not a setting of this service."""
    prefix = _prefix(settings)
    known = {
        spelling
        for kind in (settings, *_kinds(ServiceSettings))
        if _prefix(kind) == prefix
        for name in kind.model_fields
        for spelling in (variable(kind, name), (prefix + name).upper())  # a field with an alias has both
    }
    unknown = {name.upper() for name in os.environ if prefix and name.upper().startswith(prefix)} - known
    return [_unknown(name, prefix, known) for name in sorted(unknown) if not _made_up(name)]


def _made_up(name: str) -> bool:
    """True for a variable by which a container platform announces a service."""
    return bool(_PLATFORM.fullmatch(name) or _PLATFORM_PORT.fullmatch(os.environ.get(name, "")))


def _unknown(name: str, prefix: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(name.removeprefix(prefix), [one.removeprefix(prefix) for one in known], n=1)
    return f"{name}: there is no such setting" + (f"; did you mean {prefix}{nearest[0]}?" if nearest else "")


def _kinds(settings: type[ServiceSettings]) -> Iterator[type[ServiceSettings]]:
    for kind in settings.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _secret_variables(settings: type[ServiceSettings]) -> list[str]:
    fields = settings.model_fields.items()
    return [variable(settings, name) for name, field in fields if field.annotation is SecretStr or not field.repr]


def _weak_passwords(settings: ServiceSettings, secrets: Path) -> list[str]:
    from_files = {path.name.upper() for path in secrets.iterdir()} - {name.upper() for name in os.environ}
    return [
        f"{name}: its password is short or a sample"
        for field, value in settings
        if (name := variable(type(settings), field)) in from_files
        and isinstance(value, str)
        and _is_weak(urlsplit(value).password)
    ]


def _is_weak(password: str | None) -> bool:
    """True if the password can be guessed. None is no password: the other side trusts the connection, or refuses it."""
    if password is None:
        return False
    text = unquote(password)
    return len(text) < _LEAST_PASSWORD or len(set(text)) < _LEAST_VARIETY or bool(_SAMPLE.search(text))


def variable(settings: type[BaseSettings], name: str) -> str:
    """The environment variable of a field: its alias, or the prefix and its name."""
    alias = settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else (_prefix(settings) + name).upper()


def _variable(settings: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    first, *rest = map(str, location)
    head = variable(settings, first) if first in settings.model_fields else first
    return "_".join([head, *rest]).upper()


def _refuse(faults: list[str]) -> NoReturn:
    sys.stderr.write(f"settings: {'; '.join(faults)}\n")
    raise SystemExit(2)


def _words(fault: Any) -> str:
    if fault["type"] == "missing":
        return MISSING
    return str(fault["msg"]).removeprefix("Value error, ")
