"""The section on judges of a feature's page, and the API behind it."""

import re
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from backend.published.catalogue import Catalogue
from backend.published.scores import judges_of
from data.artifacts.scores import RUBRIC
from tests.support.scores import BANDS

PAGE, API = "/tiny/1-relu-64/2", "/api/v1/features/tiny/1-relu-64/2"


def test_every_score_comes_with_its_judge_and_how_far_that_can_be_trusted(client: TestClient) -> None:
    html = client.get(PAGE).text
    assert "This judge tells right labels from shuffled ones 100% of the time" in html
    guess = client.get(f"{PAGE}?judge=guess").text
    assert "This judge cannot tell right labels from shuffled ones (0.51, 0.41 to 0.60; 0.50 is chance)" in guess
    assert "a &lt;b&gt;guessing&lt;/b&gt; model" in guess
    assert "<dt>Judge left out</dt><dd>away: The recipe names no sentence encoder" in guess
    for score in client.get(f"{API}/scores").json():
        assert score["judge"] in {"rule", "guess"}
        assert score["trust"]["num_questions"] > 0


def test_shares_are_those_of_the_judged_activations_and_lead_to_them(client: TestClient) -> None:
    html = client.get(PAGE).text
    html = html[html.index('id="judged"') :]
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", html)
    assert rows[0][0] == "80–100%"
    every = client.get(f"{API}/judged?judge=rule&limit=100").json()
    for title, cells in rows:
        band = int(title.split("–")[0]) * BANDS // 100
        mine = [one for one in every if one["example"]["band"] == band]
        for href, share in re.findall(r'href="([^"]+)"[^>]*>(\d+)%<', cells):
            score = int(re.search(r"score=(\d)", href)[1])
            chosen = [one for one in mine if round(one["score"]) == score]
            assert len(chosen) / len(mine) == pytest.approx(int(share) / 100, abs=0.006)
            listed = client.get(href.replace("&amp;", "&")).text
            section = listed[listed.index('id="judged-list"') :]
            assert section.count('<li class="example"') == len(chosen)
            assert 'aria-current="true" aria-label="' in listed
    assert {round(one["score"]) for one in every} <= set(range(RUBRIC))


def test_a_feature_that_was_not_judged_says_why(client: TestClient) -> None:
    html = client.get("/tiny/1-relu-64/9").text
    why = "<dt>Does it mean what its label says?</dt><dd>It is not among the features that were judged"
    assert why in html[html.index('id="not-measured"') :]
    assert 'id="judged"' not in html
    assert client.get("/api/v1/features/tiny/1-relu-64/9/scores").json() == []
    assert 'id="judged"' not in client.get("/tiny/1-relu-64/5").text  # dead


@pytest.mark.parametrize("query", ["judge=nobody", "judge=rule&band=4", "band=99&score=3", "judge=%3Cb%3E&score=2"])
def test_an_address_that_fits_nothing_shows_the_section_without_a_list(client: TestClient, query: str) -> None:
    answer = client.get(f"{PAGE}?{query}")
    assert answer.status_code == 200
    assert 'id="judged-title"' in answer.text
    assert 'id="judged-list"' not in answer.text


def test_the_api_refuses_what_is_not_there(client: TestClient) -> None:
    answer = client.get(f"{API}/judged?judge=nobody")
    assert answer.status_code == 404
    assert "use one of rule, guess, away, near" in answer.json()["detail"]
    assert client.get(f"{API}/judged?judge=rule&score=4").status_code == 422
    assert client.get(f"{API}/judged?judge=away").json() == []


def test_specificity_in_lists_names_its_judge(client: TestClient) -> None:
    assert "Specificity" not in client.get("/tiny/1-relu-256").text
    html = client.get("/tiny/1-relu-64?sort=specificity").text
    assert "Judge &#39;rule&#39; tells right labels from shuffled ones 100% of the time" in html
    found = client.get("/api/v1/features/tiny/1-relu-64?sort=specificity&per_page=3").json()["features"]
    assert found[0]["specificity"] is not None


def test_where_no_judge_judged_anything_one_reason_is_enough(
    client: TestClient, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = [replace(one, num_features=0, why_none="It was not asked.") for one in judges_of(catalogue.runs[0])]
    monkeypatch.setattr("backend.features.judged.judges_of", lambda run: idle)
    monkeypatch.setattr("backend.features.judged.get_scores", lambda sae, feature: [])
    html = client.get(PAGE).text
    assert "<dd>No feature of this run was judged.</dd>" in html
    assert "Judge left out" not in html
