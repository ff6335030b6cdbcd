"""The embedded PostgreSQL, and the client of tests in one process, for servicekit's own tests."""

import pytest

from servicekit.testing import ServiceClient, create_database, postgres

__all__ = ["create_database", "postgres"]


@pytest.fixture
def aiohttp_client_cls() -> type[ServiceClient]:
    return ServiceClient
