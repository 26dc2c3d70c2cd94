"""Overrides `section.field=value`, read as their field has it: a field of text takes the text as it stands."""

import tomllib
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from data.errors import ConfigError


def apply_override(raw: dict[str, Any], override: str, recipe: type[BaseModel]) -> None:
    """Set one field of a raw recipe. Raises ConfigError when the override names no place in it."""
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"'{override}' is not section.field=value")
    if not text.strip():
        raise ConfigError(f"'{override}' gives no value: leave it out, or give one (\"\" is a text without letters)")
    *sections, field = name.strip().split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{override}': {section} is not a section of the recipe")
    raw[field] = _value(text, is_text=_takes_text(recipe, [*sections, field]))


def _value(text: str, *, is_text: bool) -> Any:
    """As TOML has it, else as a plain string; for a field of text, a string in any case."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text
    return text if is_text and not isinstance(value, str) else value


def _takes_text(recipe: type[BaseModel], names: list[str]) -> bool:
    """Whether the field of these names takes text and nothing else; False where there is none."""
    section: Any = recipe
    for name in names:
        fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
        if name not in fields:
            return False
        section = fields[name].annotation
    return bool(kinds := _kinds(section)) and kinds <= {str, Path}


def _kinds(annotation: Any) -> set[Any]:
    """Types of which a value may be, None left out."""
    if annotation is type(None):
        return set()
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    return {annotation}
