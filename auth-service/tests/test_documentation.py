"""The handbook documents every setting."""

from pathlib import Path

from auth_service.settings import Settings
from servicekit.testing import settings_table

SETTINGS = Path(__file__).parents[2] / "docs" / "handbook" / "configure.md"


def test_every_setting_is_documented_with_its_default() -> None:
    assert settings_table(Settings) in SETTINGS.read_text()
