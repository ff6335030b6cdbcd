"""docs/operations.md lists all settings."""

from pathlib import Path

from gateway.settings import Settings
from servicekit.testing import settings_table

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_every_setting_is_documented_with_its_default() -> None:
    assert settings_table(Settings) in OPERATIONS.read_text()
