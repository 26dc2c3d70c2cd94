"""Using the model from an endpoint: within the client's quota, cancelled on disconnect, and shown by a page.

An endpoint of the API calls `ask`. A page calls `ask_for_page`, fills its context from the `Answer`, and ends with
`respond`, which sets the status, Retry-After and the visitor's cookie.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from fastapi import Request, Response

from backend.engine.engine import Engine
from backend.html.page import Link, Page
from backend.html.templates import render
from backend.published.catalogue import OpenRun
from backend.web.clients import quota, set_visitor_cookie, while_connected
from backend.web.problems import retry_headers, status_of
from data.errors import MonosemaError

P = ParamSpec("P")
T = TypeVar("T")

MAY_WORK_LATER = (429, 503)
"""Statuses after which the page offers to try again."""


@dataclass(frozen=True)
class Problem:
    """The reason why the model did not answer, and links to go on."""

    text: str
    next_steps: list[Link]


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The state of the model, and the result of some work with it."""

    off: str
    """The reason why the model is not available; "" when it is."""
    loaded: bool
    """Whether it is in memory: otherwise the first answer waits for it to load."""
    result: T | None = None
    """None without work, or after an error."""
    error: MonosemaError | None = None

    @property
    def status(self) -> int:
        """HTTP status of a page that shows it."""
        return 200 if self.error is None else status_of(self.error)

    def problem(self, again: str, plain: Link | None = None) -> Problem | None:
        """The error as a page shows it. again: the page's own address; plain: the same without a chat template."""
        if self.error is None:
            return None
        steps = [Link("Try again", again)] if self.status in MAY_WORK_LATER else []
        return Problem(str(self.error), steps if plain is None else [*steps, plain])


async def ask(request: Request, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of work with the model, within the client's quota; cancelled when the client disconnects.

    The body must have been read. Raises TooManyError, and the errors of the work.
    """
    with quota(request):
        return await while_connected(request, work(*args, **kwargs))


async def ask_for_page(
    request: Request,
    engine: Engine,
    run: OpenRun,
    work: Callable[[], Coroutine[Any, Any, T]] | None,
    refused: MonosemaError | None = None,
) -> Answer[T]:
    """Run some work with the model of a run for a page. Without work, only load the model in the background.

    refused: an earlier error in the request; then no work is done.
    """
    off, loaded = engine.why_off(run), engine.is_loaded(run)
    if off:
        return Answer(off, loaded, error=refused)
    if work is None or refused is not None:
        engine.prepare(run)
        return Answer(off, loaded, error=refused)
    try:
        return Answer(off, True, await ask(request, work))
    except MonosemaError as error:
        return Answer(off, loaded, error=error)


def respond(request: Request, template: str, page: Page, answer: Answer[Any], status: int | None = None) -> Response:
    """The response of a page that used the model. status: overrides the answer's."""
    headers = retry_headers(answer.error) if answer.error else None
    return set_visitor_cookie(request, render(request, template, page, status or answer.status, headers))
