"""Asking the model from an endpoint: within the client's quota, ended when the client leaves, and shown by a page.

An endpoint of the API calls `ask`. A page calls `ask_for_page`, fills its context from the `Answer`, and ends with
`respond`, which gives status, time to try again and the visitor's cookie.
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
"""Statuses after which the same request is offered again."""


@dataclass(frozen=True)
class Problem:
    """Why the model was not asked, or did not answer, and how to go on."""

    text: str
    next_steps: list[Link]


@dataclass(frozen=True)
class Answer(Generic[T]):
    """The model as a page finds it, and what came of asking it."""

    off: str
    """Why it cannot be asked; "" when it can."""
    loaded: bool
    """Whether it is in memory: a first answer waits for it."""
    result: T | None = None
    """None when nothing was asked, or there is an error."""
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
    """The result of work with the model, within the client's quota; cancelled when the client leaves.

    The body must have been read. Raises TooManyError, and whatever the work raises.
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
    """What a page shows of work with the model of a run. Without work the model is loaded, for it will be asked soon.

    refused: what was wrong with the request before; then nothing is asked.
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
    """A page that asked the model. status: another than that of the answer."""
    headers = retry_headers(answer.error) if answer.error else None
    return set_visitor_cookie(request, render(request, template, page, status or answer.status, headers))
