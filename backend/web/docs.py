"""The description of the API, from OpenAPI to what the page at /docs shows."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request, Response

from backend.exceptions import NotFoundError
from backend.html.page import Page
from backend.html.templates import render

Schema = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One parameter of an API operation."""

    name: str
    place: str
    """path, query or body"""
    type: str
    required: bool
    description: str


@dataclass(frozen=True)
class Operation:
    """One operation of the API."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    tag: str
    answers: str
    """The type of its answer."""
    example: str
    """An address that can be opened as a link, or ""."""


def operations(description: Schema) -> dict[str, list[Operation]]:
    """Every operation by tag, in the order in which they were declared."""
    found = [
        _operation(description, path, method, raw)
        for path, methods in description["paths"].items()
        for method, raw in methods.items()
    ]
    tags = list(dict.fromkeys(operation.tag for operation in found))
    ordered = sorted(found, key=lambda operation: tags.index(operation.tag))
    return {tag: list(group) for tag, group in groupby(ordered, key=lambda operation: operation.tag)}


def _operation(description: Schema, path: str, method: str, raw: Schema) -> Operation:
    body = raw.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    answer: Schema = next(iter(raw["responses"].values())).get("content", {})
    parameters = [_parameter(parameter) for parameter in raw.get("parameters", [])]
    text: str = raw.get("description", "")
    return Operation(
        method=method.upper(),
        path=path,
        summary=raw.get("summary", ""),
        description=text,
        parameters=parameters + (_fields(description, body) if body else []),
        tag=(raw.get("tags") or ["other"])[0],
        answers=_type(next(iter(answer.values()), Schema()).get("schema", {})),
        example=path if method == "get" and not any(p.required for p in parameters) else "",
    )


def _parameter(raw: Schema) -> Parameter:
    schema = raw.get("schema", {})
    text = raw.get("description") or schema.get("description", "")
    return Parameter(raw["name"], raw["in"], _type(schema), raw.get("required", False), text)


def _fields(description: Schema, schema: Schema) -> list[Parameter]:
    """The fields of a body."""
    name = schema.get("$ref", "").rpartition("/")[2]
    body = description.get("components", {}).get("schemas", {}).get(name, schema)
    required = body.get("required", [])
    return [
        Parameter(field, "body", _type(raw), field in required, raw.get("description", ""))
        for field, raw in body.get("properties", {}).items()
    ]


def _type(schema: Schema) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("format") == "binary":
        return "file"
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in schema["anyOf"] if option.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "JSON"))


router = APIRouter(include_in_schema=False)


@router.get("/api/{rest:path}")
def unknown_address(rest: str) -> Response:
    """Answers 404 for unknown addresses below /api, so that they are not taken for pages."""
    raise NotFoundError(f"There is nothing at /api/{rest}: /docs lists what there is.")


@router.get("/docs")
def docs_page(request: Request) -> Response:
    """The API, described."""
    page = DocsPage(operations=operations(request.app.openapi()), openapi=request.app.openapi_url)
    return render(request, "base/docs.html", page)


@dataclass(frozen=True)
class DocsPage(Page):
    """base/docs.html: the API, from its OpenAPI description."""

    operations: dict[str, list[Operation]]
    """By tag."""
    openapi: str
    """Address of the description."""
