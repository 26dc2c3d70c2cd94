from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any
from urllib.parse import parse_qsl

import pytest
from fastapi import FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import Field

from backend.attribution.example_page import ExampleState
from backend.attribution.section import AttributionState
from backend.completeness.address import CompletenessState, OwnState
from backend.features.links import FeatureState
from backend.home.panel import HomeState
from backend.html.address import Address, EmptyIsNone, PagedAddress, ShortFloat, query
from backend.map.page import ExploreState
from backend.neurons.page import NeuronsAddress
from backend.prompts.state import PromptState
from backend.published.search import WordSearch
from backend.published.selection import Selection
from backend.scaling.address import ScalingState
from backend.search.prompts_page import SearchForm
from backend.search.words_page import NamedRun, ReadToo
from backend.splitting.address import CompareState
from backend.steering.form import SteerForm

TEXT = "Who said “a + b = 100%”?\n& why / where\t#1"
FEATURE = "model/1-relu-64/7"
UNUSUAL: list[Address] = [
    AttributionState(target=" Paris", minus="#12", position=0, k=20, by="effect", all=True),
    CompareState(f="", run="a", t=0.25, sae="1-relu-64", other="smaller", order="cosine", page=3, minor=True),
    CompareState(f=FEATURE, t=0.0),
    CompletenessState(run="a", sae="1-relu-64", kind="foods", show="missing", page=2),
    OwnState(sae="model/a", page=3),
    ExampleState(kind="bottom", rank=2, reading="effects", live=True),
    ExploreState(
        f=FEATURE, q=TEXT, sel="0,0,1,1,1,0", hide="a,b", view="0,1,0,1", colour="density", minor=True, run="a"
    ),
    FeatureState(
        kind="interval", context="full", example=2, page=3, judge="rule", band=4, score=2, minor=True, embed=True
    ),
    HomeState(demo=FEATURE, strength=1.5),
    NamedRun(run="a"),
    NeuronsAddress(run="a", measure="rule-specificity", group="neurons", page=2),
    PromptState(text=TEXT, sae=["m/a", "m/b"], chat=True, rank="rare", hide=0.2, mixed=True, f=FEATURE, token=0),
    PromptState(text=TEXT, template=True, plain=True),
    PromptState(p="0" * 24),
    ReadToo(read=True),
    ScalingState(run="a", objective="topk-32", along="features", budget="200 gpu-hours"),
    SearchForm(
        pos=[TEXT, "b"], pos_p=["0" * 24], neg=["c"], neg_p=["1" * 24], sae=["model/a"], at_least=0.3, at_most=0.0,
        hide=0.01, minor=True, order="weakest", chat=True, topic="rivers", k=3, seed=2**31 - 1, edit=True,
    ),
    Selection(
        sort="density", order="asc", page=2, per_page=10, kind="rare", alive=False, labelled=True,
        min_density=1e-05, max_density=0.123456789, minor=True, q=TEXT,
    ),
    SteerForm(
        f=[f"{FEATURE}:2", f"{FEATURE}:off"], s=["1"], without=FEATURE, after=f"{FEATURE}:1.5", fresh=True, prompt=TEXT,
        mode="add", scope="written", sweep=True, strengths="1, much", chat=True, temperature="warm", top_p="0.1234567",
        new_tokens="", seed="-1", colour="activation",
    ),
    WordSearch.model_validate(
        {"q": TEXT, "in": "label", "sae": "a", "kind": "rare", "alive": "all", "minor": True,
         "min_density": "1%", "max_density": 0.5, "page": 2, "per_page": 10}
    ),
]  # fmt: skip
KINDS = list(dict.fromkeys(map(type, UNUSUAL)))


class Toy(Address):
    path = "/toy"
    always = ("kind",)

    kind: str = "a"
    hide: ShortFloat = 0.2
    within: Annotated[str | None, EmptyIsNone] = None
    names: list[str] = Field(default=[])
    loud: bool = False


class ToyList(PagedAddress):
    page: int = 1
    q: str = ""


def subclasses(parent: type[Address]) -> Iterator[type[Address]]:
    for child in parent.__subclasses__():
        yield from ([child] if child.__module__.startswith("backend.") else [])
        yield from subclasses(child)


def read(kind: type[Address], href: str) -> Address:
    """The state that FastAPI reads from an address."""
    found = []

    def page(asked: Any) -> None:
        found.append(asked)

    page.__annotations__["asked"] = Annotated[kind, Query()]
    app = FastAPI()
    app.get("/")(page)
    assert TestClient(app).get("/?" + href.partition("?")[2]).status_code == 200
    return found[0]


def unusual(state: Address) -> set[str]:
    fields = type(state).model_fields.items()
    return {name for name, field in fields if getattr(state, name) != field.get_default()}


def test_every_field_of_every_page_that_keeps_its_state_in_its_address_is_tried_here():
    import_module("backend.app")  # which imports every page
    tried = {kind: set().union(*(unusual(state) for state in UNUSUAL if type(state) is kind)) for kind in KINDS}
    assert tried == {kind: set(kind.model_fields) for kind in set(subclasses(Address)) - {PagedAddress}}


@pytest.mark.parametrize("state", UNUSUAL, ids=lambda state: type(state).__name__)
def test_a_link_says_all_of_a_state(state: Address):
    assert read(type(state), state.href()) == state


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_as_usual_is_not_said(kind: type[Address]):
    state = kind()
    assert {name for name, _ in state.pairs()} - {"by"} == set(kind.always)
    assert not unusual(read(kind, state.href())) - set(kind.always)


def test_pairs_come_in_the_order_of_the_fields_whatever_was_given_first():
    state = Toy(loud=True, names=["b", "a"], hide=0.1 + 0.2, kind="a")
    assert state.pairs() == [("kind", "a"), ("hide", "0.3"), ("names", "b"), ("names", "a"), ("loud", "1")]
    assert state.href(names=[], loud=False) == "/toy?kind=a&hide=0.3"
    assert parse_qsl(state.query()[1:]) == state.pairs()


def test_other_parts_of_a_page_come_after_it():
    assert Toy().href(ToyList(page=2), within="x") == "/toy?kind=a&within=x&page=2"
    assert Toy(hide=0.1).href(ToyList()) == "/toy?kind=a&hide=0.1"


def test_a_link_to_the_page_itself_without_a_query_is_a_question_mark():
    assert ToyList().href() == "?"
    assert ToyList().query() == ""


def test_a_change_of_a_list_leads_to_its_first_page():
    there = ToyList(page=3, q="a")
    assert there.href(q="b") == "?q=b"
    assert there.href(page=4) == "?page=4&q=a"
    assert there.changed() == there


def test_an_empty_choice_is_none():
    assert read(Toy, "?within=").within is None


def test_changes_of_a_stored_prompt_keep_its_id_alone():
    assert PromptState(text="a", p="b").href() == "/prompt?p=b&hide=1"


def test_links_elsewhere_say_nothing_of_what_is_empty():
    assert query(a=0, b=None, c="", d="x y") == "?a=0&d=x+y"
    assert query(a=None) == ""
