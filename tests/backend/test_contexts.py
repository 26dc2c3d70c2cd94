"""Every page: one class of what it shows, all of it used by its template, and nothing else handed to that."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from fastapi.testclient import TestClient

import backend
from backend.attribution.example_page import ExamplePage
from backend.completeness.own_page import OwnListPage
from backend.completeness.page import CompletenessPage
from backend.features.page import EmbedPage, FeaturePage
from backend.home.page import HomePage
from backend.html.page import Page
from backend.labels.page import LabelPage, OwnerPage
from backend.lists.page import ListEditPage, ListPage, ListsPage, NewListPage
from backend.map.page import ExplorePage
from backend.method.page import MethodPage
from backend.neurons.page import NeuronsPage
from backend.prompts.page import PromptPage
from backend.saes.page import SAEPage
from backend.scaling.page import ScalingPage
from backend.search.prompts_page import PromptSearchPage
from backend.search.words_page import SearchPage
from backend.settings import Settings
from backend.splitting.family_page import FamilyPage
from backend.splitting.sizes_page import SizesPage
from backend.steering.page import ResultPage, SteerPage
from backend.web.docs import DocsPage
from backend.web.problems import ErrorPage
from data.layout import StorePaths
from tests.support.pages import app_with_contexts, check_nothing_inline, variables
from tests.support.steering import copied_database

FEATURE = "tiny/1-relu-64/3"
HANDED_TO_ALL = {"request", "asset", "plotly", "plotly_style_ids", "path", "root"}
"""By backend/html/templates.py."""


def a_list(client: TestClient) -> dict[str, Any]:
    return client.post("/api/v1/lists", json={"name": "a list", "entries": [{"feature": FEATURE}]}).json()


def a_result(client: TestClient) -> str:
    form = {"f": [f"{FEATURE}:4"], "s": ["3"], "prompt": "the river", "new_tokens": "2", "temperature": "0"}
    return client.post("/steer", data=form, follow_redirects=False).headers["location"]


def a_concept_list(client: TestClient) -> str:
    form = {"text": "# Own\nriver\nmusic", "sae": "tiny/1-relu-64"}
    return client.post("/completeness/lists", data=form, follow_redirects=False).headers["location"]


Address = str | Callable[[TestClient], str]
PAGES: list[tuple[type[Page], str, Address]] = [
    (HomePage, "home/home.html", "/"),
    (MethodPage, "method/method.html", "/method"),
    (NeuronsPage, "neurons/neurons.html", "/neurons"),
    (NeuronsPage, "neurons/neurons.html", "/neurons?measure=guess-specificity&group=neurons"),
    (CompletenessPage, "completeness/completeness.html", "/completeness"),
    (CompletenessPage, "completeness/completeness.html", "/completeness?sae=1-relu-64&list=things&show=all"),
    (ScalingPage, "scaling/scaling.html", "/scaling"),
    (OwnListPage, "completeness/own.html", lambda client: a_concept_list(client)),
    (SearchPage, "search/search.html", "/search?q=a"),
    (SearchPage, "search/search.html", "/search"),
    (PromptSearchPage, "search/prompt_search.html", "/search?by=prompts"),
    (PromptSearchPage, "search/prompt_search.html", "/search?by=prompts&pos=the river&neg=war"),
    (PromptPage, "prompts/prompt.html", "/prompt"),
    (PromptPage, "prompts/prompt.html", f"/prompt?text=the river&token=1&f={FEATURE}"),
    (SAEPage, "saes/sae.html", "/tiny/1-relu-64"),
    (FeaturePage, "features/feature.html", f"/{FEATURE}"),
    (FeaturePage, "features/feature.html", f"/{FEATURE}?context=full"),
    (EmbedPage, "features/embed.html", f"/{FEATURE}?embed=1"),
    (ExamplePage, "attribution/example.html", f"/{FEATURE}/example"),
    (ExamplePage, "attribution/example.html", f"/{FEATURE}/example?reading=effects"),
    (ExplorePage, "map/explore.html", "/explore"),
    (ExplorePage, "map/explore.html", f"/explore?f={FEATURE}&q=a&sel=-9,-9,9,-9,9,9"),
    (SizesPage, "splitting/sizes.html", "/compare"),
    (FamilyPage, "splitting/family.html", f"/compare?f={FEATURE}&t=0"),
    (SteerPage, "steering/steer.html", f"/steer?f={FEATURE}"),
    (ResultPage, "steering/result.html", a_result),
    (ListsPage, "lists/lists.html", "/lists"),
    (NewListPage, "lists/new.html", f"/lists/new?f={FEATURE}"),
    (ListPage, "lists/list.html", lambda client: a_list(client)["href"]),
    (ListEditPage, "lists/edit.html", lambda client: a_list(client)["edit"]),
    (LabelPage, "labels/edit.html", lambda client: an_owner(client, f"/{FEATURE}/label")),
    (OwnerPage, "labels/owner.html", "/owner"),
    (DocsPage, "base/docs.html", "/docs"),
    (ErrorPage, "base/error.html", "/none"),
]


def an_owner(client: TestClient, address: str) -> str:
    """An address that only owners see, from now on."""
    client.get("/owner", params={"key": client.app.state.owner_key})
    return address


@pytest.fixture(scope="module")
def live(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server with the model, and a database of its own."""
    url = copied_database(published_store, tmp_path_factory.mktemp("contexts"))
    with TestClient(app_with_contexts(Settings(store=published_store.root, database_url=url))) as client:
        yield client


def pages_of(parent: type[Page]) -> set[type[Page]]:
    return {kind for child in parent.__subclasses__() for kind in (child, *pages_of(child))}


def test_every_page_is_in_the_table() -> None:
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        importlib.import_module(module.name)
    ours = {kind for kind in pages_of(Page) if kind.__module__.startswith("backend.")}
    assert ours == {kind for kind, _, _ in PAGES}


@pytest.mark.parametrize(
    ("kind", "template", "address"),
    PAGES,
    ids=[f"{kind.__name__} {address if isinstance(address, str) else 'made'}" for kind, _, address in PAGES],
)
def test_a_page_shows_what_its_class_declares_and_nothing_else(
    live: TestClient, kind: type[Page], template: str, address: Address
) -> None:
    answer = live.get(address if isinstance(address, str) else address(live))
    assert answer.status_code == (404 if kind is ErrorPage else 200), answer.text
    assert answer.template.name == template
    declared = {field.name for field in fields(kind)}
    assert answer.context.keys() == declared | HANDED_TO_ALL
    assert declared <= variables(template), f"{template} does not use {declared - variables(template)}"
    assert answer.headers["content-security-policy"] == kind.policy
    check_nothing_inline(answer.text)
