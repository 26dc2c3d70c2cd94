"""The page of completeness and its API, against the artifact of the fake run."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.completeness.figure import BOTTOM, LEFT, RIGHT, TOP, frequency_figure
from backend.completeness.rows import ConceptRow, frequency_text, rivals_text
from backend.published import concepts
from backend.published.concepts import Candidate, completeness_of, concepts_of, represented_by
from data.arrow import read_arrow
from data.artifacts.completeness import CANDIDATES_FILE, CONCEPTS_FILE, SAECounts
from data.concepts.frequency import Bin, Fit
from data.layout import StorePaths
from tests.support.own_features import own_features
from tests.support.pages import Page

SAES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]


def candidates(store: StorePaths, sae: str) -> list[dict[str, Any]]:
    return read_arrow(store.run("fake").stage("completeness") / sae / CANDIDATES_FILE).to_pylist()


@pytest.mark.parametrize("sae", SAES)
def test_the_api_gives_what_the_run_found(client: TestClient, published_store: StorePaths, sae: str) -> None:
    known = read_arrow(published_store.run("fake").stage("completeness") / CONCEPTS_FILE).to_pylist()
    nearest = {row["concept"]: row for row in candidates(published_store, sae) if row["nearest"]}
    found = client.get(f"/api/v1/completeness/tiny/{sae}").json()
    assert found["total"] == len(known) == 6
    assert [one["occurrences"] for one in found["concepts"]] == sorted((c["occurrences"] for c in known), reverse=True)
    for number, concept in enumerate(known):
        mine, row = next(one for one in found["concepts"] if one["name"] == concept["name"]), nearest[number]
        assert mine["represented"] == mine["candidate"]["specific"] == row["specific"]
        assert mine["feature"]["index"] == row["index"]
        assert mine["candidate"]["rivals"] == [known[other]["name"] for other in row["rivals"]]
        for name in ("own", "others", "num_rivals", "num_examples_read", "num_on_concept"):
            assert mine["candidate"][name] == row[name]


def test_what_is_shown_can_be_chosen(client: TestClient) -> None:
    def names(**parameters: str) -> list[str]:
        answer = client.get("/api/v1/completeness/tiny/1-relu-64", params=parameters).json()
        return [one["name"] for one in answer["concepts"]]

    assert sorted(names(show="represented") + names(show="missing")) == sorted(names())
    assert names(list="things", per_page="2", page="2") == names()[2:4]
    assert names(page="9") == []
    assert client.get("/api/v1/completeness/tiny/1-relu-64?list=none").status_code == 404
    assert client.get("/api/v1/completeness/tiny/1-relu-64?show=some").status_code == 422


def test_the_summary_has_thresholds_and_shares(client: TestClient, published_store: StorePaths) -> None:
    found = client.get("/api/v1/completeness").json()
    assert found["run"] == "fake"
    assert found["thresholds"]["candidates"] == 5
    for sae in SAES:
        own = {row["concept"] for row in candidates(published_store, sae) if row["specific"]}
        assert found["found"]["saes"][sae]["num_represented"] == len(own)


def test_the_page_leads_with_how_many_and_lists_every_concept(pages: TestClient) -> None:
    answer = pages.get("/completeness?sae=1-relu-64&show=all")
    context, page = answer.context, Page(answer.text)
    num = context["headline"].split()[0]
    assert (
        context["headline"]
        == f"{num} of 6 concepts ({context['saes'][0].total.split('(')[1]} have a feature of their own in 1-relu-64"
    )
    assert len(context["rows"]) == 6
    assert [one.num_inside for one in context["shared"]] == [6]
    assert ("may be of these and not of the concepts" in page.text) is (len(context["lists"]) > 1)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34;" in answer.text
    assert "<b>bold</b>" not in answer.text
    for row in context["rows"]:
        assert row.feature.href in page.links()
    assert "Overrule" not in page.text


@pytest.mark.parametrize("address", ["sae=none", "list=none", "run=none"])
def test_what_is_not_there_is_said(pages: TestClient, address: str) -> None:
    answer = pages.get(f"/completeness?{address}")
    assert answer.status_code == 404
    assert "'none'" in answer.text or "&#39;none&#39;" in answer.text


def test_a_feature_says_which_concepts_it_represents(
    pages: TestClient, published_store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pages.app.state.library.catalogue().runs[0]
    for sae in run.saes:
        own = {row["index"] for row in candidates(published_store, sae.name) if row["specific"] and row["nearest"]}
        assert {index for index in range(sae.num_features) if represented_by(sae, index)} == own
    monkeypatch.setitem(run.cached, concepts._read_own, own_features(run, 3, {0: 9, 3: 10}))
    page = Page(pages.get("/tiny/1-relu-64/3").text)
    assert "Represents river (Things of the fake run), music (Things of the fake run)" in " ".join(page.text.split())
    assert "/completeness?sae=1-relu-64&list=things#concepts" in page.links()
    said = " ".join(Page(pages.get("/tiny/1-relu-64/3").text).text.split())
    assert "9 of 20 examples in text at which it is as strong stand on river, more on something else." in said
    assert "10 of 20 examples in text at which it is as strong stand on music." in said
    assert "Represents" not in Page(pages.get("/tiny/1-relu-64/4").text).text
    assert "of 6 have a feature of their own here" in pages.get("/tiny/1-relu-64").text


def test_a_concept_with_another_sense_stands_apart(pages: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pages.app.state.library.catalogue().runs[0]
    counts, known = completeness_of(run), concepts_of(run)
    before = pages.get("/completeness")
    assert before.context["ambiguous"] == ""
    assert "so all are counted" in before.text
    lists = [replace(counts.lists[0], ambiguous=["music"])]
    monkeypatch.setitem(run.cached, concepts._read_counts, replace(counts, lists=lists))
    monkeypatch.setitem(
        run.cached,
        concepts._read_concepts,
        [replace(one, list=lists[0], concept=replace(one.concept, ambiguous=one.name == "music")) for one in known],
    )
    monkeypatch.setitem(run.cached, concepts._read_own, own_features(run, 3, {0: 20, 3: 20}))
    answer = pages.get("/completeness?sae=1-relu-64&show=ambiguous")
    assert "of 5 concepts" in answer.context["headline"]
    assert answer.context["ambiguous"].startswith("1 more concept is also ordinary words or names")
    assert [one.name for one in answer.context["rows"]] == ["music"]
    assert "also an ordinary word or name, not counted" in answer.text
    assert "no share counts them" in answer.text
    every = [
        one["name"]
        for show in ("represented", "missing")
        for one in pages.get(f"/api/v1/completeness/tiny/1-relu-64?show={show}").json()["concepts"]
    ]
    assert len(every) == 5
    assert "music" not in every
    said = " ".join(Page(pages.get("/tiny/1-relu-64/3").text).text.split())
    assert "Represents river (Things of the fake run)" in said
    assert "music (Things" not in said


def row(**changes: Any) -> ConceptRow:
    candidate = Candidate(**{"row": 0, "rank": 0, "mean": 1.0, "own": 4, "others": 1, "num_rivals": 1, "rivals": ["b"],
                             "num_examples_read": 10, "num_on_concept": 2, "specific": False, **changes})  # fmt: skip
    return ConceptRow("l", "L", "a", 3, "3×", 4, False, candidate.specific, candidate, None, None)


def test_the_reason_why_a_feature_is_not_a_concepts_own_is_told() -> None:
    assert row(own=2).why_not == "It fires on 2 of 4 of its prompts."
    assert row(others=9, num_rivals=5, rivals=["b", "c", "d", "e", "f"]).why_not == (
        "It fires on b, c, d and 2 other concepts too."
    )
    assert row().why_not == "2 of 10 of its examples in the corpus speak of it."
    assert row(specific=True).why_not == ""
    assert row(specific=True).evidence == "4 of 4 prompts; also on b; 2 of 10 examples in text stand on it"
    assert ConceptRow("l", "L", "a", 3, "", 4, False, False, None, None, None).why_not == "No feature is active on it."


@pytest.mark.parametrize(
    ("read", "on", "said"),
    [(10, 5, "Its own"), (0, 0, "Its own"), (None, None, "Its own"),
     (20, 9, "Its own by prompts, but in text more often on something else")],
)  # fmt: skip
def test_a_feature_that_stands_in_text_for_more_is_said_so(read: int | None, on: int | None, said: str) -> None:
    assert row(specific=True, num_examples_read=read, num_on_concept=on).how_own == said
    assert row(num_examples_read=read, num_on_concept=on).how_own == ""


def test_the_page_says_how_many_stand_for_their_concept_in_text(
    pages: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pages.app.state.library.catalogue().runs[0]
    for found, said in (
        ({0: 18, 3: 8}, "for 1 of the 2; the rest fire in text more often on something else."),
        ({0: 10}, "Their examples in text stand on the concept, too, at least half of them."),
        ({}, ""),
    ):
        monkeypatch.setitem(run.cached, concepts._read_own, own_features(run, 3, found))
        context = pages.get("/completeness?sae=1-relu-64").context
        assert context["in_text"].endswith(said)
        assert bool(context["in_text"]) is bool(said)


def test_a_name_that_two_lists_count_is_said_so(pages: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run = pages.app.state.library.catalogue().runs[0]
    known = concepts_of(run)
    other = replace(known[0].list, name="places", title="Places")
    twice = [replace(one, list=other, concept=known[0].concept) if one.number == 1 else one for one in known]
    monkeypatch.setitem(run.cached, concepts._read_concepts, twice)
    rows = pages.get("/completeness?sae=1-relu-64&show=all").context["rows"]
    assert {row.list: row.also_in for row in rows if row.name == known[0].name} == {
        known[0].list.name: "Places", "places": known[0].list.title,
    }  # fmt: skip
    assert {row.also_in for row in rows if row.name != known[0].name} == {""}


def test_frequencies_are_told_in_words() -> None:
    assert frequency_text(0, 1000) == "never"
    assert frequency_text(None, 1000) == "not counted"
    assert frequency_text(1234, 1_000_000) == "1,234× (1 in 810)"
    assert rivals_text(row(num_rivals=2, rivals=["b", "c"]).candidate) == "b and c"


def test_the_drawing_has_a_dot_for_each_bin_and_marks_where_the_curve_crosses_one_half() -> None:
    bins = [Bin(0, 0, 3, 0), Bin(1e-6, 10**-5.5, 10, 1), Bin(1e-4, 10**-3.5, 40, 30)]
    found = SAECounts(4000, 31, [31], [None], bins, Fit(10.0, 2.0, 1e-5, 5e-6, 2e-5), "")
    figure = frequency_figure(found)
    assert [dot.y for dot in figure.dots] == [
        BOTTOM,
        round(BOTTOM - (BOTTOM - TOP) * 0.1, 1),
        BOTTOM - (BOTTOM - TOP) * 0.75,
    ]
    assert all(LEFT < dot.x < RIGHT for dot in figure.dots)
    half = next(mark for mark in figure.marks if mark.name == "half")
    crossing = min(
        (tuple(map(float, point.split(","))) for point in figure.curve.split()),
        key=lambda point: abs(point[0] - half.x),
    )
    assert crossing[1] == pytest.approx((TOP + BOTTOM) / 2, abs=6)
    assert {mark.name for mark in figure.marks} == {"half", "alive"}
    assert [tick.text for tick in figure.x_ticks][:2] == ["never", "1 in 1M"]
    assert frequency_figure(SAECounts(1, 0, [0], [None], bins[:1], None, "none")) is None
    assert frequency_figure(SAECounts(4000, 0, [0], [None], bins, None, "none")).curve == ""
