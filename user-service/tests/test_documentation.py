"""docs/operations.md says what can be set."""

from pathlib import Path

from servicekit.testing import settings_table
from user_service.settings import Settings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_every_setting_is_documented_with_its_default() -> None:
    assert settings_table(Settings) in OPERATIONS.read_text()
