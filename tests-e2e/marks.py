"""Conditions under which tests are skipped."""

import os

import pytest

needs_own_stack = pytest.mark.skipif(bool(os.environ.get("PARLEY_URL")), reason="the stack under test runs elsewhere")
