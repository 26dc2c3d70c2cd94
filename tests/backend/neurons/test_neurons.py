"""The page and the API of random features against random neurons, on the fake run."""

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.neurons.wording import difference_text, sentence_of, verdict_of
from backend.published.comparison import get_comparison
from backend.settings import Settings
from data.artifacts.comparison import NEURONS_GROUP, Comparison, GroupTest, Mean, Measure
from tests.support.comparison import DRAWN, HOSTILE_LABEL
from tests.support.pages import Page, check_nothing_inline


def answer_of(client: TestClient, address: str) -> dict:
    found = client.get(address)
    assert found.status_code == 200, found.text
    return found.json()


@pytest.fixture
def name(catalogue) -> str:
    return catalogue.runs[0].name


def test_the_answer_of_the_api_is_what_was_compared(client, catalogue, name) -> None:
    found = answer_of(client, f"/api/v1/neurons/{name}")
    groups = [sae.name for sae in catalogue.runs[0].saes] + [NEURONS_GROUP]
    assert [group["name"] for group in found["comparison"]["groups"]] == groups
    assert [judge["name"] for judge in found["judges"]] == ["rule", "guess", "away", "near"]
    for place, measure in enumerate(found["comparison"]["measures"]):
        for mean in measure["means"]:
            units = answer_of(client, f"/api/v1/neurons/{name}/{mean['group']}")
            values = [value for unit in units if (value := unit["values"][place]) is not None]
            assert mean["num"] == len(values)
            assert mean["mean"] == pytest.approx(np.mean(values), abs=1e-6)
            assert mean["low"] <= mean["mean"] <= mean["high"]


def test_the_api_pages_and_refuses_what_is_not_there(client, name) -> None:
    every = answer_of(client, f"/api/v1/neurons/{name}/neurons")
    assert len(every) == DRAWN
    assert answer_of(client, f"/api/v1/neurons/{name}/neurons?limit=3&offset=5") == every[5:8]
    assert answer_of(client, f"/api/v1/neurons/{name}/neurons?offset=100") == []
    for path in ("none", f"{name}/none"):
        assert client.get(f"/api/v1/neurons/{path}").status_code == 404


def test_the_page_says_what_was_found_by_the_judge_that_can_be_trusted(pages, catalogue) -> None:
    answer = pages.get("/neurons")
    shown = answer.context["shown"]
    assert shown.title == "Specificity, rule"
    assert shown.tells
    assert shown.verdict == "Yes, by this score."
    assert len(shown.verdicts) == len(catalogue.runs[0].saes)
    assert all(row.difference.split(" (")[0].endswith(" points") for row in shown.rows if not row.neurons)
    assert [row.neurons for row in shown.rows] == [False] * len(catalogue.runs[0].saes) + [True]
    page = Page(answer.text)
    assert "tells right labels from shuffled ones" in page.text
    assert "away: The recipe names no sentence encoder" in page.text
    assert HOSTILE_LABEL in page.text
    first = shown.drawn.units[0].unit
    assert f"/tiny/{first.group}/{first.index}" in page.links()
    check_nothing_inline(answer.text)


def test_a_judge_that_cannot_tell_is_said_to_be_so(pages) -> None:
    answer = pages.get("/neurons?measure=guess-specificity")
    assert not answer.context["shown"].tells
    assert "This judge cannot tell right labels from shuffled ones" in Page(answer.text).text


def test_what_was_drawn_is_listed_by_score_page_by_page(pages, client, name) -> None:
    scores = [unit["values"][1] for unit in answer_of(client, f"/api/v1/neurons/{name}/neurons")]
    listed = []
    for number in (1, 2):
        shown = pages.get(f"/neurons?group=neurons&page={number}").context["shown"]
        assert all(row.href == "" and row.title.startswith("layer ") for row in shown.drawn.units)
        listed += [row.unit.values[1] for row in shown.drawn.units]
    assert listed == pytest.approx(sorted(scores, reverse=True))
    assert shown.drawn.units[-1].label == "no rule fits at all"
    beyond = pages.get("/neurons?group=neurons&page=9")
    assert "There is no such page" in Page(beyond.text).text


def test_links_keep_what_is_chosen(pages) -> None:
    links = Page(pages.get("/neurons?measure=fit&group=neurons").text).links()
    assert "/neurons?measure=rule-detection&group=neurons#result" in links
    assert "/neurons?measure=fit&group=1-relu-64#drawn" in links
    assert "/neurons?measure=fit&group=neurons&page=2#drawn" in links


@pytest.mark.parametrize("query", ["measure=none", "group=none", "run=none"])
def test_what_is_not_there_is_not_found(client, query) -> None:
    assert client.get(f"/neurons?{query}").status_code == 404


def test_the_page_does_without_a_run(tmp_path) -> None:
    with TestClient(create_app(Settings(store=tmp_path))) as client:
        answer = client.get("/neurons")
    assert answer.status_code == 200
    assert "Nothing is compared here." in answer.text


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([(0.3, 1e-5), (0.2, 0.01)], "Yes, by this score."),
        ([(0.3, 1e-5), (0.2, 0.2)], "Of 1 of 2 SAEs yes, by this score; of the rest no difference is shown."),
        ([(-0.3, 1e-5), (0.2, 0.2)], "No: of 1 of 2 SAEs neurons do better by this score."),
        ([(0.1, 0.3), (-0.1, 0.2)], "No difference is shown by this score: what there is may be chance."),
        ([], "Too few could be scored to compare them."),
    ],
)
def test_the_verdict_has_the_sign_of_what_is_no_chance(parts, verdict) -> None:
    tests = tuple(_test(f"sae{n}", value, p) for n, (value, p) in enumerate(parts))
    means = tuple(Mean(name, 20, 0.5, 0.4, 0.6) for name in [*(test.group for test in tests), NEURONS_GROUP])
    measure = Measure("rule", "specificity", means, tests)
    assert verdict_of(measure) == verdict
    said = [sentence_of(measure, test) for test in tests]
    assert all(difference_text(test) in sentence for sentence, test in zip(said, tests, strict=True))
    assert all(("often" in sentence) == (test.p >= 0.05) for sentence, test in zip(said, tests, strict=True))


def _test(name: str, value: float, p: float) -> GroupTest:
    width = 0.05 if p < 0.05 else 0.4
    return GroupTest(name, value, value - width, value + width, 0.5, p, "means")


@pytest.mark.parametrize(
    ("test", "shown", "said"),
    [
        (GroupTest("sae", 0.15, 0.02, 0.29, 0.55, 0.12), True, "Its interval leaves 0 out."),
        (GroupTest("sae", 0.1, -0.02, 0.29, 0.7, 0.01), False, "Its interval holds 0: it may be chance."),
        (GroupTest("sae", 0.15, 0.001, 0.29, 0.55, 0.06, "means"), False, "Too close to tell: chance alone"),
        (GroupTest("sae", 0.15, -0.001, 0.29, 0.55, 0.045, "means"), False, "Too close to tell: chance alone"),
    ],
)
def test_what_is_said_never_contradicts_the_interval_beside_it(test, shown, said) -> None:
    means = (Mean("sae", 20, 0.5, 0.4, 0.6), Mean(NEURONS_GROUP, 20, 0.35, 0.3, 0.4))
    measure = Measure("rule", "specificity", means, (test,))
    assert (verdict_of(measure) == "Yes, by this score.") is shown
    assert said in sentence_of(measure, test)


def test_a_p_of_ranks_is_called_so(client, catalogue, monkeypatch) -> None:
    assert "A permutation test of the difference of means" in client.get("/neurons").text
    monkeypatch.setattr("backend.neurons.page.get_comparison", lambda run: _older(get_comparison(run)))
    assert "p of ranks" in Page(client.get("/neurons").text).text


def _older(comparison: Comparison) -> Comparison:
    raw = comparison.as_json()
    for test in (test for measure in raw["measures"] for test in measure["tests"]):
        del test["p_of"]
    return Comparison.from_json(raw)
