"""Asking the model from an endpoint or a page: quota, errors, status and cookie, on an app of its own."""

import asyncio

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from backend.exceptions import BusyError, EngineOffError, RefusedError
from backend.html.page import Link
from backend.web.clients import COOKIE, OPEN_PER_CLIENT, Client, ClientQuota, set_visitor_cookie
from backend.web.live import Answer, ask, ask_for_page
from backend.web.problems import install


class OneModel:
    """As much of the engine as a page asks before it asks the model."""

    def __init__(self, off: str = "", loaded: bool = False) -> None:
        self.off, self.loaded, self.prepared = off, loaded, 0

    def why_off(self, run: object) -> str:
        return self.off

    def is_loaded(self, run: object) -> bool:
        return self.loaded

    def prepare(self, run: object) -> None:
        self.prepared += 1


def app_of(engine: OneModel, work: object = None, refused: Exception | None = None) -> FastAPI:
    app = FastAPI()
    app.state.quota = ClientQuota(8)
    app.state.seen = []

    @app.get("/page")
    async def page(request: Request) -> Response:
        answer = await ask_for_page(request, engine, None, work, refused)  # type: ignore[arg-type]
        app.state.seen.append(answer)
        return set_visitor_cookie(request, Response(status_code=answer.status))

    @app.get("/api/asked")
    async def asked(request: Request) -> int:
        return await ask(request, work)  # type: ignore[arg-type]

    install(app)
    return app


async def seven() -> int:
    await asyncio.sleep(0)
    return 7


async def busy() -> int:
    raise BusyError("The queue is full.")


def test_an_answer_is_shown_and_the_model_is_loaded_then():
    app = app_of(OneModel(), seven)
    page = TestClient(app).get("/page")
    assert page.status_code == 200
    assert COOKIE in page.cookies
    assert app.state.seen == [Answer("", True, 7)]
    assert TestClient(app).get("/api/asked").json() == 7


@pytest.mark.parametrize(
    ("off", "work", "refused", "prepared"),
    [("off", seven, None, 0), ("", None, None, 1), ("", seven, RefusedError("too long"), 1)],
)
def test_the_model_is_not_asked_but_made_ready_where_it_can_be(off, work, refused, prepared):
    engine = OneModel(off)
    app = app_of(engine, work, refused)
    page = TestClient(app).get("/page")
    assert page.status_code == (422 if refused else 200)
    assert app.state.seen == [Answer(off, False, None, refused)]
    assert engine.prepared == prepared


def test_an_error_gives_the_page_its_status_and_the_ways_on():
    app = app_of(OneModel(loaded=True), busy)
    assert TestClient(app).get("/page").status_code == 503
    [answer] = app.state.seen
    problem = answer.problem("/page?a=1", Link("As plain text", "/page"))
    assert problem.text == "The queue is full."
    assert [step.text for step in problem.next_steps] == ["Try again", "As plain text"]
    refused = Answer("", True, None, RefusedError("no such token")).problem("/page")
    assert refused is not None
    assert refused.next_steps == []
    assert Answer("", True, 7).problem("/page") is None
    failed = TestClient(app).get("/api/asked")
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "5")


def test_who_has_all_places_of_the_quota_is_refused_and_nothing_is_run():
    ran = []

    async def work() -> int:
        ran.append(1)
        return 0

    app = app_of(OneModel(), work)
    client = TestClient(app)
    client.cookies.set(COOKIE, "me")

    me = Client("testclient", "me")
    quota: ClientQuota = app.state.quota
    with quota.take(me), quota.take(me):
        assert OPEN_PER_CLIENT == 2
        refused = client.get("/api/asked")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert client.get("/page").status_code == 429
    assert ran == []
    assert client.get("/api/asked").status_code == 200
    assert ran == [1]


def test_an_engine_that_is_off_is_said_by_its_own_error():
    async def off() -> int:
        raise EngineOffError("There is no model here.")

    answer = TestClient(app_of(OneModel(), off)).get("/api/asked")
    assert (answer.status_code, answer.json()["detail"]) == (503, "There is no model here.")
