"""Candidates for labels on a feature's page and in the API, with an owner's label tried as the others were."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.candidates import get_tried
from backend.published.features import get_feature
from backend.settings import Settings
from data.layout import StorePaths
from data.owner import owner_key
from pipeline.models.nearness import different_texts, mark, nearness
from pipeline.models.sentences import SentenceEncoder
from tests.support.fake_run import FakeRun, fake_recipe
from tests.support.scores import PROPOSED, SCORED, TRIED_TEXTS
from tests.support.sentences import make_encoder
from tests.support.steering import copied_database

PAGE, API = "/tiny/1-relu-64/2", "/api/v1/features/tiny/1-relu-64/2"


def table_of(html: str) -> list[list[str]]:
    """The cells of the candidates."""
    section = html[html.index('id="candidates"') :]
    rows = re.split("<tr[^>]*>", section[: section.index("</table>")])[2:]
    return [[unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in re.split("</t[dh]>", row)[:-1]] for row in rows]


def test_every_candidate_is_shown_with_its_origin_and_scores(client: TestClient) -> None:
    html, label = client.get(PAGE).text, client.get(API).json()["label"]
    assert table_of(html) == [
        [f"{PROPOSED} from judge guess", "–", "90%"],
        [f"{label} (its name) from statistics", "100%", "75%"],
        ["promoted, words from promoted tokens", "–", "50%"],
    ]
    assert "3 candidates for its label" in html
    assert f"the share of {2 * TRIED_TEXTS} texts, half of them with the feature" in html
    assert "that judge is right about 82% of what is known: to change what a feature is called, 90% are needed" in html
    assert "Judge near (fuzzing) tells right labels from shuffled ones 92% of the time (0.92, 0.87 to 0.96)" in html
    assert PROPOSED not in html  # it is escaped


def test_the_api_gives_the_same(client: TestClient) -> None:
    first, second, third = client.get(f"{API}/candidates").json()
    assert (first["text"], first["origin"], first["proposer"], first["is_label"]) == (PROPOSED, "judge", "guess", False)
    assert [(score["judge"], score["task"], score["value"]) for score in second["scores"]] == [
        ("rule", "fuzzing", 1.0), ("near", "fuzzing", 0.75),
    ]  # fmt: skip
    assert first["scores"][0]["trust"]["agreement"] == 0.82
    assert second["is_label"]
    assert third["origin"] == "promoted tokens"


def test_a_feature_that_was_not_looked_at_has_no_section(client: TestClient) -> None:
    assert 'id="candidates"' not in client.get("/tiny/1-relu-64/9").text
    assert client.get("/api/v1/features/tiny/1-relu-64/9/candidates").json() == []


@contextmanager
def owner_of(store: StorePaths, folder: Path) -> Iterator[TestClient]:
    """An owner of a server with a database of its own."""
    url = copied_database(store, folder)
    with TestClient(create_app(Settings(store=store.root, live=False, database_url=url))) as client:
        client.get("/owner", params={"key": owner_key(store)})
        yield client


@pytest.fixture
def owner(published_store: StorePaths, tmp_path: Path) -> Iterator[TestClient]:
    with owner_of(published_store, tmp_path) as client:
        yield client


def test_an_owners_label_stands_first_and_says_why_it_has_no_score(owner: TestClient) -> None:
    owner.post(f"{PAGE}/label", data={"label": "Bridges", "note": ""})
    html = owner.get(PAGE).text
    assert table_of(html)[0] == ["Bridges (its name) from an owner of this server", "–", "–"]
    assert ["(its name)" in row[0] for row in table_of(html)] == [True, False, False, False]
    assert "The owner’s label has no score: The recipe of this run turns search by meaning off" in html
    owner.post("/tiny/1-relu-64/9/label", data={"label": "Bridges", "note": ""})
    assert 9 not in SCORED
    assert (
        "This run kept no texts of this feature on which a label could be tried" in owner.get("/tiny/1-relu-64/9").text
    )


def test_an_owners_label_is_tried_as_the_judge_would(tmp_path: Path) -> None:
    store = StorePaths(tmp_path / "store")
    folder = make_encoder(store.models / "encoder")
    FakeRun(fake_recipe(embed={"source": str(folder)}), store.run("fake")).publish()
    with owner_of(store, tmp_path) as client:
        client.post(f"{PAGE}/label", data={"label": "bad weather", "note": ""})
        own, *others = client.get(f"{API}/candidates").json()
        assert (own["text"], own["origin"], own["is_label"]) == ("bad weather", "owner", True)
        assert not any(one["is_label"] for one in others)
        sae = client.app.state.library.catalogue().saes["tiny", "1-relu-64"]
        tried = get_tried(sae, get_feature(sae, 2))
        assert [one.active for one in tried] == [True] * TRIED_TEXTS + [False] * TRIED_TEXTS
        pairs = [("bad weather", mark(one.pieces, one.marked)) for one in tried]
        vectors_ND = SentenceEncoder.load(folder).encode(different_texts(pairs))
        yes = [share >= 0.5 for share in nearness(pairs, vectors_ND)]
        [score] = own["scores"]
        assert score["judge"] == "near"
        assert score["true_positive"] == pytest.approx(sum(yes[:TRIED_TEXTS]) / TRIED_TEXTS)
        assert score["true_negative"] == pytest.approx(1 - sum(yes[TRIED_TEXTS:]) / TRIED_TEXTS)
        assert score["value"] == pytest.approx((score["true_positive"] + score["true_negative"]) / 2)
        assert table_of(client.get(PAGE).text)[0][2] == f"{score['value']:.0%}"
