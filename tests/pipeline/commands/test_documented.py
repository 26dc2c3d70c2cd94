"""That a person finds every command in the table of commands."""

from pathlib import Path

from pipeline.cli import app
from pipeline.stages import STAGES

RUNNING = Path(__file__).parents[3] / "docs/running.md"


def test_every_command_stands_once_in_the_table() -> None:
    lines = RUNNING.read_text(encoding="utf-8").partition("\n## ")[0].splitlines()
    table = [line.split("|")[1] for line in lines if line.startswith("| `")]
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for name in names - (set(STAGES) - {"scale"}):
        assert any(f"`monosema {name}" in row for row in table), name
    assert len(set(table)) == len(table)
    assert sum("`monosema export FOLDER" in row for row in table) == 1
