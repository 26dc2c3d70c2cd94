"""What is wrong with a recipe, as sentences that say what to do, and the recipe as far as it can be read without."""

import datetime
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.recipe.section import SLUG_PATTERN

T = TypeVar("T", bound=BaseModel)
Place = tuple[int | str, ...]
AUTOENCODERS = {"train", "imports"}
"""Sections of which one is needed: without the mistakes in it there may be none."""


class Readable(NamedTuple):
    """A recipe as far as it can be read."""

    recipe: Any
    """Valid, with neutral values in place of what is wrong."""
    problems: list[str]
    """A line for each mistake."""
    broken: frozenset[str]
    """Sections and fields (`model`, `model.layer`) whose values are not those of the file."""


def read_what_can_be(recipe: type[T], raw: dict[str, Any], neutral: Mapping[str, Any]) -> Readable:
    """Validate a raw recipe, and go on without what is wrong.

    neutral: a valid raw recipe whose values ask for nothing, with all required fields.
    """
    problems: list[str] = []
    touched: set[str] = set()
    while True:
        try:
            return Readable(recipe.model_validate(raw), problems, frozenset(touched))
        except ValidationError as error:
            # What is wrong with a section that stands without its mistakes may follow from those.
            found = [one for one in error.errors() if not _is_part_of(one["loc"], touched)]
            problems += [describe(one, recipe) for one in found if not _follows(one, found)]
            for one in error.errors():
                _replace(raw := _copied(raw), one["loc"], neutral, touched)


def _is_part_of(place: Place, touched: set[str]) -> bool:
    sections = {name.partition(".")[0] for name in touched}
    return str(place[0]) in sections if place else bool(sections & AUTOENCODERS)


def _follows(error: ErrorDetails, others: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short because its items are wrong."""
    depth = len(error["loc"])
    return error["type"] == "too_short" and any(one["loc"][:depth] == error["loc"] != one["loc"] for one in others)


def _copied(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, dict) else value for name, value in raw.items()}


def _replace(raw: dict[str, Any], place: Place, neutral: Mapping[str, Any], touched: set[str]) -> None:
    """Put a neutral value in the place of one that is wrong, and a neutral section where that was done already."""
    names = [str(name) for name in place[:2]]
    if not names:  # two sections do not go together
        raw.update(_copied(neutral))
        touched.update(neutral)
        return
    section, name = names[0], ".".join(names)
    if len(names) == 1 or not isinstance(raw.get(section), dict) or name in touched:
        _put(raw, section, neutral)
        touched.add(section)
    else:
        _put(raw[section], names[1], neutral.get(section, {}))
    touched.add(name)


def _put(raw: dict[str, Any], name: str, neutral: Mapping[str, Any]) -> None:
    raw.pop(name, None)
    if name in neutral:
        raw[name] = neutral[name]


# ---- In words


def describe(error: ErrorDetails, recipe: type[BaseModel]) -> str:
    """One mistake: its place, and what to do."""
    place = ".".join(map(str, error["loc"])) or "recipe"
    return f"{place}: {_hint(error, recipe) or error['msg'].removeprefix('Value error, ')}"


def _hint(error: ErrorDetails, recipe: type[BaseModel]) -> str:
    """More than the library says, where there is more to say; "" elsewhere."""
    kind, value, name = error["type"], error["input"], str(error["loc"][-1]) if error["loc"] else ""
    if kind in {"string_type", "path_type"} and not isinstance(value, dict | list | type(None)):
        return f'{value} is {_toml_kind(value)} in TOML, for it has no quotes: write {name} = "{value}"'
    if kind == "extra_forbidden":
        return f"{error['msg']}{_meant(name, _fields(recipe, error['loc'][:-1]))}"
    if kind == "string_pattern_mismatch" and error.get("ctx", {}).get("pattern") == SLUG_PATTERN:
        return f"'{value}' cannot be a part of an address: use small letters, digits, '.', '_' and '-'"
    return ""


def _toml_kind(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return "a date or a time"
    return "true or false" if isinstance(value, bool) else "a number"


def _meant(name: str, fields: list[str]) -> str:
    near = difflib.get_close_matches(name, fields, n=1)
    return f"; did you mean '{near[0]}'?" if near else f", there are {', '.join(fields)}" if fields else ""


def _fields(recipe: type[BaseModel], place: Place) -> list[str]:
    """Names of the fields of a section; none where the place is within a list."""
    section: Any = recipe
    for name in place:
        if not (isinstance(section, type) and issubclass(section, BaseModel) and name in section.model_fields):
            return []
        section = section.model_fields[str(name)].annotation
    return list(section.model_fields) if isinstance(section, type) and issubclass(section, BaseModel) else []
