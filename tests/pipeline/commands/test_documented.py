"""That a person finds every command in the table of commands, and that every command that is named exists."""

import html
import re
from pathlib import Path

import typer

from pipeline.cli import app
from pipeline.recipe import Recipe
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


ROOT = RUNNING.parents[1]
WRITTEN = re.compile(r"`([^`\n]+)`|<code>([^<\n]+)</code>|^ {4}([^\n]+)$|^((?:monosema|make) [^\n]+)$", re.MULTILINE)


def written() -> list[tuple[str, str]]:
    """Every command that docs and pages name: the file and the command."""
    files = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("frontend/templates/**/*.html"))]
    found = []
    for file in files:
        for groups in WRITTEN.findall(file.read_text(encoding="utf-8")):
            line = html.unescape("".join(groups)).partition(" #")[0].strip()
            if re.match(r"(monosema|make) [a-z]", line):
                found.append((str(file.relative_to(ROOT)), line))
    return found


def test_every_command_that_docs_and_pages_name_exists() -> None:
    commands = typer.main.get_group(app).commands
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = written()
    assert len({line for _, line in named}) > 30
    for file, line in named:
        program, name, *rest = line.replace("[", " ").replace("]", " ").split()
        if program == "make":
            assert name in targets, (file, line)
            continue
        assert name in commands, (file, line)
        known = {option for one in commands[name].params for option in (*one.opts, *one.secondary_opts)}
        for word in rest:
            assert not word.startswith("--") or word.partition("=")[0] in known, (file, line, word)


def test_every_field_that_they_set_exists() -> None:
    fields = [(file, field) for file, line in written() for field in re.findall(r"--set ([a-z_.]+)=", line)]
    fields = [(file, field) for file, field in fields if field != "section.field"]  # stands for any
    assert len(fields) > 5
    for file, field in fields:
        section, _, name = field.partition(".")
        assert section in Recipe.model_fields, (file, field)
        part = Recipe.model_fields[section].annotation
        assert not name or name in part.model_fields, (file, field)
