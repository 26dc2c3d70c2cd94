"""Error responses: a page for people, RFC 9457 problem details for programs.

The message of every error of backend/exceptions.py and data/errors.py says what to do.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException as StarletteHTTPException

from backend.exceptions import BusyError, ForbiddenError, NotFoundError, TooManyError, TooSlowError
from backend.html.page import Page
from backend.html.templates import render
from backend.html.tokens import visible_text
from data.errors import ArtifactError, ConfigError, MonosemaError, ServeError

PROBLEM = "application/problem+json"
API_PREFIXES = ("/api/", "/healthz", "/readyz")
"""Path prefixes that programs read."""
STATUS_OF: dict[type[MonosemaError], int] = {
    NotFoundError: 404,
    ForbiddenError: 403,
    ConfigError: 422,
    TooManyError: 429,
    ServeError: 503,
    ArtifactError: 503,
}
RETRY_AFTER: dict[type[MonosemaError], int] = {TooManyError: 5, BusyError: 5, TooSlowError: 30}
"""Seconds to wait before another try."""
ERROR_TITLES = {
    403: "Not allowed",
    404: "Not found",
    413: "Request too large",
    421: "Unknown host",
    422: "Invalid input",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Service unavailable",
}

FIELD_ERRORS = {
    "missing": "is missing.",
    "float_parsing": "must be a number, not '{given}'.",
    "int_parsing": "must be a whole number, not '{given}'.",
    "int_from_float": "must be a whole number, not '{given}'.",
    "finite_number": "must be a finite number, not '{given}'.",
    "bool_parsing": "must be true or false, not '{given}'.",
    "literal_error": "must be {expected}, not '{given}'.",
    "greater_than_equal": "must be at least {ge}, not '{given}'.",
    "greater_than": "must be above {gt}, not '{given}'.",
    "less_than_equal": "must be at most {le}, not '{given}'.",
    "less_than": "must be below {lt}, not '{given}'.",
    "string_too_long": "has {length} characters; {max_length} are the most.",
    "string_too_short": "must have at least {min_length} characters.",
}
"""Messages for invalid fields, by Pydantic's type of error."""
SHOWN_CHARACTERS = 40
"""Of the given value."""

_STANDARD = {status.value for status in HTTPStatus}
NO_DATABASE = "The server's database cannot be reached at the moment. Try again; the server's log has the reason."
UNEXPECTED_DETAIL = "The server failed to answer. Its log has the details."

logger = logging.getLogger("monosema")


def install(app: FastAPI) -> None:
    """Register the exception handlers."""
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(MonosemaError, _our_error)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)


def answer(
    request: Request,
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    form: "RefusedForm | None" = None,
) -> Response:
    """An error response: a page, or problem details, by the path of the request.

    form: the form that was refused, which the page offers for correction.
    """
    title = _phrase(status)
    if request.url.path.startswith(API_PREFIXES) or request.url.path.endswith(".json"):
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(body, status, headers, PROBLEM)
    plain = quote(request.url.path) if status == 422 and request.method == "GET" and request.url.query else ""
    page = ErrorPage(status=status, title=ERROR_TITLES.get(status, title), detail=detail, plain=plain, form=form)
    return render(request, "base/error.html", page, status, headers)


def _phrase(status: int) -> str:
    """The standard's phrase for a status, or a plain one for statuses that it does not define."""
    return HTTPStatus(status).phrase if status in _STANDARD else f"Status {status}"


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    plain = error.detail == _phrase(error.status_code)
    detail = "There is nothing at this address." if plain and error.status_code == 404 else str(error.detail)
    return answer(request, error.status_code, detail, dict(error.headers or {}))


def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    return answer(request, 422, " ".join(map(_field_error, errors)), form=_refused_form(request, errors, error.body))


def _refused_form(request: Request, errors: Sequence[dict[str, Any]], body: object) -> "RefusedForm | None":
    """What was typed into the form that made an invalid request; None where no form did."""
    places = [error["loc"] for error in errors]
    wrong = dict.fromkeys(str(place[1]) for place in places if len(place) > 1 and place[0] in ("query", "body"))
    if isinstance(body, FormData):
        sent = [(name, text) for name, text in body.multi_items() if isinstance(text, str)]
    else:
        sent = request.query_params.multi_items() if request.method == "GET" else []
    if not wrong or not sent:
        return None
    missing = [(name, "") for name in wrong if name not in dict(sent)]
    address = request.url.path + (f"?{request.url.query}" if request.method != "GET" and request.url.query else "")
    return RefusedForm(
        action=address,
        method=request.method.lower(),
        wrong=[pair for pair in sent if pair[0] in wrong] + missing,
        kept=[pair for pair in sent if pair[0] not in wrong],
    )


def _field_error(error: dict[str, Any]) -> str:
    """A message on one invalid field."""
    if error["type"] == "json_invalid":
        return f"The body is not valid JSON: {error['ctx']['error']} (character {error['loc'][-1]})."
    field = ".".join(str(part) for part in error["loc"][1:]) or error["loc"][0]
    if error["type"] not in FIELD_ERRORS:
        return f"{field}: {error['msg']}."
    given = visible_text(str(error["input"]))
    shown = given if len(given) <= SHOWN_CHARACTERS else given[:SHOWN_CHARACTERS] + "…"
    values = {
        name: f"{value:g}" if isinstance(value, float) else str(value).replace("'", "")
        for name, value in error.get("ctx", {}).items()
    }
    return f"{field} {FIELD_ERRORS[error['type']].format(**values, given=shown, length=len(given))}"


def _our_error(request: Request, error: Exception) -> Response:
    return answer(request, status_of(error), str(error), retry_headers(error))


def retry_headers(error: Exception) -> dict[str, str]:
    """The Retry-After header, where the time is known."""
    seconds = RETRY_AFTER.get(type(error)) if isinstance(error, MonosemaError) else None
    return {} if seconds is None else {"retry-after": str(seconds)}


def _no_database(request: Request, error: Exception) -> Response:
    assert isinstance(error, OperationalError)
    logger.error("%s %s failed: %s", request.method, request.url.path, error.orig)
    return answer(request, 503, NO_DATABASE, {"retry-after": "5"})


def _unexpected(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(request, 500, UNEXPECTED_DETAIL)


# ---- pages


@dataclass(frozen=True)
class RefusedForm:
    """A form that was refused, with what was typed, to be corrected and sent again."""

    action: str
    method: str
    wrong: list[tuple[str, str]]
    """Name and text of the fields that do not fit."""
    kept: list[tuple[str, str]]
    """Of all others."""


@dataclass(frozen=True)
class ErrorPage(Page):
    """base/error.html: the error, and links to go on."""

    status: int
    title: str
    detail: str
    """A sentence on the error and its remedy."""
    plain: str
    """Address of the same page without its query, where the query is invalid; else ""."""
    form: RefusedForm | None
