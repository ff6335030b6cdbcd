"""Versions agree everywhere, files named in documents exist, and the handbook lists every log event."""

import re
import tomllib

from dev.testing import REPOSITORY

PACKAGES = ("auth-service", "gateway", "libs/servicekit", "user-service")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_EVENT = re.compile(r"\blog\.(?:debug|info|warning|error|exception)\(\s*\"([^\"]+)\"")
_TOP = "auth-service|bench|deploy|dev|docs|examples|gateway|libs|tests-compose|tests-e2e|tests-faults|user-service"
_PATH = re.compile(rf"`(?:\w+ )*((?:{_TOP})/[\w./-]+)")  # also after a command, as in `pytest tests-e2e/…`


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


def test_the_files_that_documents_name_exist() -> None:
    documents = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    named = [
        (document.name, place / path)
        for document in documents
        for pattern, place in ((_LINK, document.parent), (_PATH, REPOSITORY))
        for path in re.findall(pattern, document.read_text())
    ]
    assert len(named) > 100
    assert not [(document, str(path)) for document, path in named if not path.exists()]


def test_the_handbook_lists_every_log_event() -> None:
    handbook = (REPOSITORY / "docs" / "handbook" / "observe.md").read_text()
    sources = [path for package in PACKAGES for path in (REPOSITORY / package / "src").rglob("*.py")]
    events = {event for path in sources for event in _EVENT.findall(path.read_text())}
    assert len(events) > 30
    assert not [event for event in sorted(events) if f"`{event}`" not in handbook]
