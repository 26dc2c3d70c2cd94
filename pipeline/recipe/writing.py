"""Recipes as TOML: sections of plain values, and arrays of tables."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def to_toml(raw: Mapping[str, Any]) -> str:
    """A dictionary of plain values as TOML, sections after values. None is left out."""
    return "\n".join(_lines(raw, "")).strip() + "\n"


def _lines(raw: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, value in raw.items():
        if value is not None and not _is_section(value):
            yield f"{name} = {_value(value)}"
    for name, value in raw.items():
        below = f"{path}.{name}" if path else name
        for table, heading in _tables(value, below):
            yield from ("", heading, *_lines(table, below))


def _tables(value: Any, path: str) -> list[tuple[Mapping[str, Any], str]]:
    """The sections that a value is, each with its heading."""
    if isinstance(value, Mapping):
        return [(value, f"[{path}]")] if value else []
    return [(table, f"[[{path}]]") for table in value] if _is_section(value) else []


def _is_section(value: Any) -> bool:
    """Whether a value is a section or an array of them."""
    if isinstance(value, list | tuple) and value:
        return all(isinstance(one, Mapping) for one in value)
    return isinstance(value, Mapping)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
