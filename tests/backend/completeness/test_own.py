"""A person's own list: what is refused, what is kept, and that it is judged as the run's lists are."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.completeness.own import OwnAnswer
from backend.completeness.own_page import _counted
from backend.completeness.store import MAX_LIST_CHARACTERS, MAX_OWN_CONCEPTS, ConceptLists
from backend.exceptions import StoreFullError
from backend.settings import Settings
from data.artifacts.completeness import SAECounts
from data.concepts.lists import TEMPLATES
from data.layout import StorePaths
from data.sql.database import connect
from tests.support.fake_run import THINGS
from tests.support.pages import app_with_contexts
from tests.support.steering import copied_database

UPLOAD = "/completeness/lists"


@pytest.fixture(scope="module")
def live(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server with the model, and a database of its own."""
    url = copied_database(published_store, tmp_path_factory.mktemp("concepts"))
    with TestClient(app_with_contexts(Settings(store=published_store.root, database_url=url))) as client:
        yield client


@pytest.mark.parametrize("sae", ["1-relu-64", "1-relu-256", "1-batchtopk-64"])
def test_the_runs_own_list_is_judged_live_as_the_stage_judged_it(live: TestClient, sae: str) -> None:
    stored = {one["name"]: one for one in live.get(f"/api/v1/completeness/tiny/{sae}").json()["concepts"]}
    whole = live.post("/api/v1/completeness", json={"text": THINGS.read_text(), "sae": f"tiny/{sae}"}).json()
    own, measured = whole["concepts"], live.get("/api/v1/completeness").json()["found"]
    assert whole["num_tokens"] == whole["num_training_tokens"] == measured["num_tokens"]
    assert whole["found"] == {**measured["saes"][sae], "shared": []}
    assert [one["name"] for one in own] == [
        "river",
        "university",
        "Oxford",
        "music",
        "engine",
        '<b>bold</b> & "quoted"',
    ]
    for one in own:
        before = stored[one["name"]]
        assert one["represented"] == before["represented"]
        assert (one["occurrences"], one["often"]) == (before["occurrences"], before["often"])
        assert one["feature"]["index"] == before["feature"]["index"]
        assert one["candidate"]["mean"] == pytest.approx(before["candidate"]["mean"], rel=1e-3)
        for name in ("own", "others", "num_rivals", "rivals", "num_examples_read", "num_on_concept"):
            assert one["candidate"][name] == before["candidate"][name], (one["name"], name)


def test_other_concepts_are_compared_with_those_of_the_run(live: TestClient) -> None:
    body = {"text": "> a {}\n> of the {}\nwar\nOxford", "sae": "tiny/1-relu-256"}
    own = live.post("/api/v1/completeness", json=body).json()["concepts"]
    rivals = {name for one in own for name in one["candidate"]["rivals"]}
    assert rivals & {"river", "university", "music", "engine"}
    assert all(one["num_prompts"] == 2 for one in own)


def test_concepts_are_counted_in_what_is_indexed_and_the_page_says_so(live: TestClient) -> None:
    form = {"text": "river\nzebra", "sae": "tiny/1-relu-64"}
    page = live.post(UPLOAD, data=form)
    often = {row.name: row.often for row in page.context["rows"]}
    assert "1 in" in often["river"]
    assert often["zebra"] == "never"
    assert page.context["figure"] is not None
    assert page.context["figure_text"].endswith("a fit needs 5 that are and 5 that are not.")
    assert page.context["counted"].startswith("Counted in all ")
    nowhere = live.post(UPLOAD, data={"text": "zebra", "sae": "tiny/1-relu-64"})
    assert nowhere.context["figure"] is None
    assert "None of these concepts stands in the text." in nowhere.text


def test_a_concept_with_another_sense_is_judged_and_not_counted(live: TestClient) -> None:
    found = live.post("/api/v1/completeness", json={"text": "river\nmusic ~", "sae": "tiny/1-relu-64"}).json()
    assert [one["ambiguous"] for one in found["concepts"]] == [False, True]
    assert sum(one["num"] for one in found["found"]["bins"]) == 1
    assert (
        live.post(UPLOAD, data={"text": "river\nmusic ~", "sae": "tiny/1-relu-64"})
        .context["headline"]
        .endswith("; 1 with another sense not counted")
    )


def test_a_part_of_the_corpus_is_said_with_its_share() -> None:
    nothing = SAECounts(9, 0, [0], [], [], None, "none")
    assert _counted(OwnAnswer([], 2_000, 16_000, nothing)) == (
        "Counted in the first 2,000 tokens of the training documents, 12% of them."
    )


def test_a_list_has_an_address_that_can_be_shared(live: TestClient) -> None:
    form = {"text": "# Mine\r\nriver\r\nmusic", "sae": "tiny/1-relu-64"}
    answer = live.post(UPLOAD, data=form, follow_redirects=False)
    assert answer.status_code == 303
    page = live.get(answer.headers["location"])
    assert page.context["title"] == "Mine"
    assert page.context["headline"].split(" a feature")[0].endswith(("of 2 concepts have",))
    assert {row.name for row in page.context["rows"]} == {"river", "music"}
    again = live.post(UPLOAD, files={"file": ("a.txt", b"\xef\xbb\xbf# Mine\nriver\nmusic\n")}, follow_redirects=False)
    assert again.headers["location"].partition("?")[0] == answer.headers["location"].partition("?")[0]
    assert all(f"“{template}”" in page.text.replace("&#39;", "'") for template in TEMPLATES)
    other = live.get(answer.headers["location"].replace("1-relu-64", "1-relu-256"))
    assert other.context["sae"].name == "1-relu-256"


@pytest.mark.parametrize(
    ("form", "file", "said"),
    [
        ({"text": ""}, None, "has no concepts"),
        ({}, None, "has no concepts"),
        ({"text": "x" * 61}, None, "line 1 has 61 characters"),
        ({"text": "\n".join(f"word{n}" for n in range(MAX_OWN_CONCEPTS + 1))}, None, f"{MAX_OWN_CONCEPTS} at most"),
        ({"text": "a " * MAX_LIST_CHARACTERS}, None, f"{MAX_LIST_CHARACTERS:,} characters at most"),
        ({"text": "a\0b"}, None, "not text"),
        ({"text": "one\none"}, None, "twice"),
        ({}, b"\x89PNG\r\n\x1a\n\xff\xfe", "not text in UTF-8"),
        ({}, b"x" * (4 * MAX_LIST_CHARACTERS + 1), "characters at most"),
        ({}, b"# only a title", "has no concepts"),
    ],
)
def test_what_is_no_list_is_refused_beside_what_was_typed(
    live: TestClient, form: dict[str, str], file: bytes | None, said: str
) -> None:
    files = {"file": ("a.txt", file)} if file else None
    answer = live.post(UPLOAD, data=form, files=files)
    assert answer.status_code == 422
    assert said in answer.text.replace("&#39;", "'")
    assert answer.context["upload"].text == form.get("text", "").replace("\r\n", "\n")
    if "text" in form and "\0" not in form["text"]:
        body = live.post("/api/v1/completeness", json={"text": form["text"]})
        assert body.status_code == 422


@pytest.mark.parametrize("name", ["none", "0" * 24, "../x", "%00"])
def test_there_is_no_list_at_other_addresses(live: TestClient, name: str) -> None:
    assert live.get(f"{UPLOAD}/{name}").status_code == 404


def test_a_prompt_that_is_too_long_for_the_model_is_refused(live: TestClient) -> None:
    name = "w" * 60
    body = {"text": f"> {'long ' * 15}{{}}\n{name}"}
    answer = live.post("/api/v1/completeness", json=body)
    assert answer.status_code == 422
    assert "the model reads" in answer.json()["detail"]


def test_without_the_model_the_page_says_so(
    published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = copied_database(published_store, tmp_path_factory.mktemp("off"))
    with TestClient(create_app(Settings(store=published_store.root, database_url=url, live=False))) as client:
        answer = client.post(UPLOAD, data={"text": "river"})
        assert answer.status_code == 200
        assert "turned off" in answer.text
        assert client.post("/api/v1/completeness", json={"text": "river"}).status_code == 503


def test_no_more_lists_are_kept_than_the_limit(sql_url: str) -> None:
    engine = connect(sql_url)
    lists = ConceptLists(engine, 2)
    first = lists.save("a\nb")
    lists.save("c")
    assert lists.save("a\nb ") == first
    with pytest.raises(StoreFullError, match="MONOSEMA_MAX_CONCEPT_LISTS"):
        lists.save("d")
    assert [one.name for one in lists.load(first).concepts] == ["a", "b"]
    engine.dispose()
