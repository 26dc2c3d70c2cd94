"""What the labels of an SAE are worth, on its page."""

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


def test_without_enough_of_them_the_page_says_nothing(pages, catalogue):
    answer = pages.get(catalogue.runs[0].saes[1].href)
    assert answer.context["labels"] is None
    assert "What its labels are worth" not in answer.text
