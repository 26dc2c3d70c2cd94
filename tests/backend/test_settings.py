"""Settings of the server, and where they are told."""

from pathlib import Path

from backend.settings import Settings

RUNNING = Path(__file__).parents[2] / "docs/running.md"


def test_every_setting_is_documented():
    text = RUNNING.read_text(encoding="utf-8")

    assert [name for name in Settings.model_fields if f"`MONOSEMA_{name.upper()}`" not in text] == []
