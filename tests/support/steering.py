"""Steering over HTTP, for the tests of several modules: a real server, its events, and a brake on its model."""

import json
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from data.sql.database import connect
from data.sql.records import SteeringRecord
from tests.support.models import CHAT_TEMPLATE
from tests.support.serving import serving
from tests.support.stores import store_with_own_model

FEATURE = "tiny/1-relu-64/3"
SECONDS = 30
Event = tuple[int, str, dict[str, Any]]


@dataclass
class Server:
    """A server and somebody who asks it."""

    app: FastAPI
    address: str
    http: httpx.Client

    def body(self, **changes: Any) -> dict[str, Any]:
        """A request that can be done."""
        features = [{"feature": FEATURE, "strength": 4}]
        return {"features": features, "prompt": "the river", "max_new_tokens": 6, **changes}

    def steer(self, visitor: str = "", **changes: Any) -> list[Event]:
        """All events of a request that must be taken."""
        with self.open(visitor, **changes) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            return list(events_of(answer))

    def open(self, visitor: str = "", **changes: Any) -> Any:
        """The answer to a request, as it comes."""
        cookies = {"cookie": f"visitor={visitor}"} if visitor else {}
        return self.http.stream("POST", "/api/v1/steer", json=self.body(**changes), headers=cookies)

    def forget(self) -> None:
        """Take all results out of the store, so that the model is asked again."""
        engine = connect(self.app.state.settings.sql_url)
        with Session(engine) as session, session.begin():
            session.execute(delete(SteeringRecord))
        engine.dispose()


def copied_database(store: StorePaths, folder: Path) -> str:
    """URL of a copy of a store's database: results of one module's tests do not reach another's."""
    shutil.copyfile(store.database, folder / "copy.sqlite")
    return f"sqlite:///{folder / 'copy.sqlite'}"


BRIEF = "{% if messages[0].role != 'system' %}system: Be brief\n{% endif %}" + CHAT_TEMPLATE
"""A chat template with a system prompt of its own."""


def chatting_store(store: StorePaths, folder: Path) -> StorePaths:
    """A store's run with a model that has the chat template BRIEF, and a database of its own."""
    made = store_with_own_model(store, folder / "store")
    config = made.models / "tiny" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": BRIEF}))
    return made


@contextmanager
def steering_server(settings: Settings) -> Iterator[Server]:
    """A real server on a free port."""
    app = create_app(settings)
    with serving(app) as address, httpx.Client(base_url=address, timeout=SECONDS) as http:
        yield Server(app, address, http)


def events_of(answer: httpx.Response | Iterable[str]) -> Iterator[Event]:
    """Server-sent events: number, name, content."""
    lines = answer.iter_lines() if isinstance(answer, httpx.Response) else iter(answer)
    for line in lines:
        if line.startswith("id: "):
            name, data = next(lines), next(lines)
            number = int(line.removeprefix("id: "))
            yield number, name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def tokens_of(events: Iterable[Event], row: int) -> list[dict[str, Any]]:
    """The tokens of one row, the prompt's first."""
    return [data for _, name, data in events if name == "token" and data["row"] == row]


def ids(events: Iterable[Event], row: int) -> list[int]:
    """The same as ids."""
    return [data["token"] for data in tokens_of(events, row)]


class waiting:
    """A request that waits behind another one; its events come in another thread."""

    def __init__(self, server: Server, visitor: str, **changes: Any) -> None:
        self._events: list[Event] = []
        self._known, self._run = threading.Event(), ""

        def listen() -> None:
            with server.open(visitor, **changes) as answer:
                for event in events_of(answer):
                    self._events.append(event)
                    if event[1] == "queued":
                        self._run = self._events[0][2]["id"]
                        self._known.set()

        self._thread = threading.Thread(target=listen, daemon=True)
        self._worker = server.app.state.engine.worker

    def __enter__(self) -> tuple["waiting", str]:
        self._thread.start()
        while not self._known.is_set():  # its prompt is read between two steps of the one that runs
            assert self._thread.is_alive(), "the request was not taken"
            with self._worker._changed:
                self._worker._changed.wait_for(lambda: self._worker._waiting, 0.1)
            self._worker.run_short()
        return self, self._run

    def result(self) -> list[Event]:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self._events

    def __exit__(self, *error: object) -> None:
        self._thread.join(SECONDS)


@dataclass
class Brake:
    """Holds the model before its read number `at` + 1, until let go."""

    at: int
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)
    reads: int = 0
    broken: bool = False
    """Whether the reads that come after it fail."""


@contextmanager
def brake(monkeypatch: pytest.MonkeyPatch, at: int = 1) -> Iterator[Brake]:
    """Put a brake on the model of every server in this process."""
    from pipeline.models.decoder import Decoder

    read, brake = Decoder.read, Brake(at)

    def wait(self: Decoder, *arguments: Any, **options: Any) -> Any:
        brake.reads += 1
        if brake.reads > brake.at:
            brake.reached.set()
            assert brake.let_go.wait(SECONDS)
            if brake.broken and brake.reads > brake.at + 1:
                raise RuntimeError("broken on purpose")
        return read(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "read", wait)
        try:
            yield brake
        finally:
            brake.let_go.set()


def form(**changes: Any) -> dict[str, Any]:
    """The fields of the page's form, all of which can be done."""
    return {
        "f": [f"{FEATURE}:4", ""],
        "s": ["3"],
        "prompt": "the river",
        "new_tokens": "5",
        "temperature": "0",
        **changes,
    }
