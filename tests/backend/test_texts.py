"""Text is normalised once, where it comes in: by every form, query string and body, and by each the same."""

from collections.abc import Callable, Iterator
from typing import Any, get_args
from urllib.parse import urlencode

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

from backend.app import ROUTERS
from backend.engine.reading import Reader
from backend.settings import Settings
from backend.texts import Typed, normalise
from data.layout import StorePaths
from pipeline.models.tokenizer import Tokenizer
from tests.support.pages import app_with_contexts
from tests.support.steering import copied_database

FEATURE = "tiny/1-relu-64/3"
NAMES = {
    "model", "sae", "f", "run", "other", "id_", "list_id", "ending", "key", "done", "name", "by", "kind", "reading",
    "path", "colour", "index", "file", "judge", "group", "objective",
}  # fmt: skip
"""Parameters that stand alone and are names or choices, not texts."""
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb", "a\nb"),
        ("a\rb\r\r\nc", "a\nb\n\nc"),
        ("\ufeffa\ufeff", "a\ufeff"),
        ("a\ud83d b", "a\ufffd b"),
        ("\ud83d\ude00", "😀"),
        ("a\u00a0b\u200cc e\u0301 \u3000\x00\t ", "a\u00a0b\u200cc e\u0301 \u3000\x00\t "),
        ("", ""),
    ],
)
def test_line_breaks_marks_of_files_and_half_pairs_alone_are_changed(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(expected) == expected


def test_texts_in_lists_are_normalised_and_other_values_left_alone() -> None:
    class Body(Typed):
        one: str
        some: list[str]
        number: int

    body = Body.model_validate({"one": "a\r\n", "some": ["b\r", "c"], "number": 3})
    assert (body.one, body.some, body.number) == ("a\n", ["b\n", "c"], 3)


def models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of."""
    for part in get_args(kind):
        yield from models_in(part)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models_in(field.annotation)


def parameters_of(dependant: Dependant) -> Iterator[Any]:
    """The parameters of a query string and of a body that an endpoint and what it depends on take."""
    yield from (*dependant.query_params, *dependant.body_params)
    for one in dependant.dependencies:
        yield from parameters_of(one)


def test_every_form_query_string_and_body_is_normalised() -> None:
    seen = set()
    for route in (one for router in ROUTERS for one in router.routes if isinstance(one, APIRoute)):
        for parameter in parameters_of(route.dependant):
            kind = parameter.field_info.annotation
            found = list(models_in(kind))
            assert all(issubclass(one, Typed) for one in found), f"{route.path}: {parameter.name} is not normalised"
            assert found or kind is not str or parameter.name in NAMES, f"{route.path}: {parameter.name}"
            seen |= {one.__name__ for one in found}
    assert {
        "PromptState",
        "SteerBody",
        "Turn",
        "ListForm",
        "EntryBody",
        "LabelForm",
        "WordSearch",
        "PromptBody",
    } <= seen


# ---- the tokens that are read


@pytest.fixture(scope="module")
def live(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    url = copied_database(published_store, tmp_path_factory.mktemp("texts"))
    settings = Settings(store=published_store.root, database_url=url, max_prompt_tokens=100, max_new_tokens=8)
    with TestClient(app_with_contexts(settings)) as client:
        yield client


def form(client: TestClient, method: str, path: str, fields: list[tuple[str, str]]) -> Any:
    """Send a form as browsers do: every line break as two characters."""
    sent = urlencode([(name, text.replace("\n", "\r\n")) for name, text in fields])
    if method == "GET":
        return client.get(f"{path}?{sent}")
    return client.post(path, content=sent, headers=FORM)


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


STEER = [("f", f"{FEATURE}:1"), ("new_tokens", "1"), ("temperature", "0")]
WAYS: dict[str, Callable[[TestClient, str], Any]] = {
    "prompt address": lambda c, text: form(c, "GET", "/prompt", [("text", text)]),
    "prompt form": lambda c, text: form(c, "POST", "/prompt", [("text", text)]),
    "explain form": lambda c, text: form(c, "GET", "/prompt", [("text", text), ("target", "#70"), ("k", "0")]),
    "long prompt": lambda c, text: form(c, "POST", "/prompt", [("text", text + " the" * 40)]),
    "search form": lambda c, text: form(c, "POST", "/search", [("pos", text)]),
    "search address": lambda c, text: form(c, "GET", "/search", [("by", "prompts"), ("pos", text)]),
    "steer form": lambda c, text: form(c, "POST", "/steer", [*STEER, ("prompt", text)]),
    "activations": lambda c, text: c.post("/api/v1/activations", json={"text": crlf(text)}),
    "try": lambda c, text: c.post(f"/api/v1/features/{FEATURE}/activations", json={"text": crlf(text)}),
    "attribution": lambda c, text: c.post("/api/v1/attribution", json={"text": crlf(text), "target": "#70", "k": 0}),
    "search": lambda c, text: c.post("/api/v1/search", json={"positive": [crlf(text)]}),
    "steer": lambda c, text: c.post(
        "/api/v1/steer",
        json={"features": [{"feature": FEATURE, "strength": 1}], "prompt": crlf(text), "max_new_tokens": 1},
    ),
    "stored prompt": lambda c, text: c.get(c.post("/api/v1/prompts", json={"text": crlf(text)}).json()["href"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_tokens_are_read_whichever_way_a_text_comes(
    live: TestClient, published_store: StorePaths, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    read: list[list[int]] = []
    original = Reader.own_tokens

    def noted(self: Reader, *given: Any) -> Any:
        found = original(self, *given)
        read.append(found[0])
        return found

    monkeypatch.setattr(Reader, "own_tokens", noted)
    text = f"{way}:\nthe river\n\nof University"
    answer = WAYS[way](live, text)
    assert answer.status_code == 200, answer.text
    expected = [0, *Tokenizer.load(published_store.models / "tiny").encode(text)]
    assert read
    assert all(tokens[: len(expected)] == expected for tokens in read)
    assert not any(b"\r" in piece for piece in pieces_of(live, read))


def pieces_of(client: TestClient, read: list[list[int]]) -> list[bytes]:
    vocabulary = client.app.state.library.catalogue().runs[0].tables.vocabulary  # type: ignore[attr-defined]
    return [vocabulary[token] for tokens in read for token in tokens]


def test_lists_and_labels_keep_plain_lines_too(live: TestClient) -> None:
    form(live, "POST", "/lists", [("name", "one"), ("note", "a\nb")])
    made = live.post("/api/v1/lists", json={"name": "x", "note": "a\r\nb"}).json()
    assert live.get(f"/api/v1/lists/{made['id']}").json()["note"] == "a\nb"
