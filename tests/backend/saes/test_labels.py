"""What the labels of an SAE are worth, on its page."""

import pytest

from backend.saes.labels import why_no_summary
from tests.support.pages import Page


def test_mean_scores_of_judges_that_can_be_trusted_stand_on_the_page(pages, catalogue):
    sae = catalogue.runs[0].saes[0]
    answer = pages.get(sae.href)
    summary = answer.context["labels"]
    assert summary.headline.startswith("40 labelled features drawn at random")
    assert [judge.name for judge in summary.judges] == ["rule"]
    assert [(row.task, *((mean.text, mean.interval) for mean in row.means)) for row in summary.rows] == [
        ("Specificity", ("62%", "57–67")), ("Fuzzing", ("81%", "76–86")),
    ]  # fmt: skip
    page = Page(answer.text)
    assert "What its labels are worth" in page.text
    assert "81% 76–86" in page.text


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (
            {"num_features": 8, "num_random": 4, "num_samples": 900},
            "Not known: 8 of its labelled features were judged, 4 of these drawn at random, and a mean needs 10 of "
            "those. A run with score.features=60 or more has them.",
        ),
        (
            {"num_features": 8, "num_samples": 900},
            "8 of its labelled features were judged, at most half of these drawn",
        ),
    ],
)
def test_too_few_of_them_are_counted_with_what_would_bring_more(pages, catalogue, monkeypatch, judged, said):
    sae = catalogue.runs[0].saes[1]
    corpus = sae.run.record.corpus
    monkeypatch.setitem(corpus, "score", {**corpus["score"], "saes": {sae.name: judged}})
    assert said in why_no_summary(sae)
    served = pages.app.state.library.catalogue().runs[0].record.corpus
    monkeypatch.setitem(served, "score", corpus["score"])
    page = Page(pages.get(sae.href).text)
    assert "What its labels are worth" in page.text
    assert said in " ".join(page.text.split())


def test_judges_that_can_tell_nothing_are_said_to_be_why(catalogue, monkeypatch):
    sae = catalogue.runs[0].saes[0]
    corpus = sae.run.record.corpus
    monkeypatch.setitem(
        corpus, "score", {**corpus["score"], "saes": {sae.name: {"num_features": 80, "num_samples": 9}}}
    )
    assert why_no_summary(sae).startswith("No judge of this run can tell")


def test_where_none_were_judged_the_page_says_nothing(pages, catalogue):
    answer = pages.get(catalogue.runs[0].saes[1].href)
    assert answer.context["labels"] is None
    assert "What its labels are worth" not in answer.text
