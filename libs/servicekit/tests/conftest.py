"""The embedded PostgreSQL for servicekit's own tests."""

from servicekit.testing import create_database, postgres

__all__ = ["create_database", "postgres"]
