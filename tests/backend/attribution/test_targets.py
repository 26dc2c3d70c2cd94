"""Tokens that people type as targets, by a tokenizer that doubles a leading space and by one that does not."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.attribution import API
from tests.support.pages import app_with_contexts
from tests.support.tokenizers import SPACE, metaspace_tokenizer, with_tokenizer

WORDS = [f"{SPACE}the", f"{SPACE}Paris", "Paris", f"{SPACE}paris", f"{SPACE}river", *"abcdefghijklmnopqrstuvwxyz"]
TEXT = "the river"


@pytest.fixture(scope="module")
def doubling(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = with_tokenizer(published_store, tmp_path_factory.mktemp("spaces"), metaspace_tokenizer(WORDS))
    with TestClient(app_with_contexts(Settings(store=store.root, max_prompt_tokens=120))) as client:
        yield client


def test_the_tokenizer_doubles_a_leading_space() -> None:
    tokenizer = metaspace_tokenizer(WORDS)
    assert tokenizer.tokenize(" Paris") == [SPACE, f"{SPACE}Paris"]
    assert tokenizer.tokenize("Paris") == [f"{SPACE}Paris"]


@pytest.mark.parametrize(
    ("target", "shown", "others"),
    [
        ("+Paris", "␣Paris", ["Paris", "␣paris"]),
        ("Paris", "Paris", ["␣Paris", "␣paris"]),
        ("%E2%90%A3Paris", "␣Paris", ["Paris", "␣paris"]),
        ("+river", "␣river", []),
        ("river", "␣river", []),
    ],
)
def test_a_target_is_found_and_the_others_are_offered(
    doubling: TestClient, target: str, shown: str, others: list[str]
) -> None:
    page = doubling.get(f"/prompt?text=the+river&target={target}&k=0")
    section = page.context["attribution"]
    assert page.status_code == 200, section.problem
    assert section.target == shown
    assert [one.text for one in section.others] == others
    for one in section.others:
        assert doubling.get(one.href.partition("#")[0]).context["attribution"].target == one.text
        assert one.href.replace("&", "&amp;") in page.text


def test_the_api_takes_a_space_before_a_word_and_names_the_others(doubling: TestClient) -> None:
    body = {"text": TEXT, "target": " Paris", "minus": " paris", "k": 0}
    found = doubling.post(API, json=body).json()
    assert (found["target"]["text"], found["minus"]["text"]) == ("␣Paris", "␣paris")
    assert [one["text"] for one in found["others"]] == ["Paris", "␣paris"]
    assert [one["text"] for one in found["minus_others"]] == ["␣Paris", "Paris"]


@pytest.mark.parametrize(
    ("asked", "offered"),
    [({"target": "PARIS"}, ["␣Paris", "Paris", "␣paris"]), ({"target": "the river"}, ["␣the", "␣river"])],
)
def test_tokens_are_offered_for_what_is_none(doubling: TestClient, asked: dict[str, str], offered: list[str]) -> None:
    page = doubling.get("/prompt", params={"text": TEXT, **asked})
    section = page.context["attribution"]
    assert page.status_code == 422
    assert "no single token" in section.problem
    assert [one.text for one in section.others] == offered
    assert section.minus_others == []


def test_a_token_to_subtract_is_offered_in_its_own_place(doubling: TestClient) -> None:
    section = doubling.get("/prompt", params={"text": TEXT, "target": " river", "minus": "PARIS"}).context[
        "attribution"
    ]
    assert section.others == []
    again = doubling.get(section.minus_others[1].href.partition("#")[0]).context["attribution"]
    assert (again.target, again.minus) == ("␣river", "Paris")
