"""Versions agree everywhere, and the tests that SECURITY.md names exist."""

import re
import tomllib

from dev.testing import REPOSITORY

PACKAGES = ("auth-service", "gateway", "libs/servicekit", "user-service")


def version_of(package: str) -> str:
    version: str = tomllib.loads((REPOSITORY / package / "pyproject.toml").read_text())["project"]["version"]
    return version


def found(pattern: str, file: str) -> list[str]:
    return re.findall(pattern, (REPOSITORY / file).read_text(), re.MULTILINE)


def test_packages_images_and_the_changelog_are_of_one_version() -> None:
    version = version_of(".")
    assert {version_of(package) for package in PACKAGES} == {version}
    assert found(r"^LABEL org\.opencontainers\.image\.version=(\S+)", "Dockerfile") == [version]
    assert set(found(r"PARLEY_VERSION:-([^}]*)\}", "compose.yaml")) == {version}
    assert found(r'^__version__ = "(.*)"', "libs/servicekit/src/servicekit/__init__.py") == [version]
    assert found(r"^## (\d\S*)", "CHANGELOG.md")[0] == version


def test_the_tests_that_security_names_exist() -> None:
    named = found(r"`([\w./-]+\.(?:py|md))`", "SECURITY.md")
    assert len(named) > 20
    assert not [path for path in named if not (REPOSITORY / path).exists()]
