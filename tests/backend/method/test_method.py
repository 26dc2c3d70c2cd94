"""The method page: its answers have the figures of the run, and do without one."""

import re

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.method.page import PAPER_CONTEXT_LENGTH, PAPER_CONTEXTS, PAPER_FEATURES
from backend.settings import Settings
from tests.support.pages import Page, check_nothing_inline


def test_figures_are_those_of_the_run(pages, catalogue):
    answer = pages.get("/method")
    run, figures = catalogue.runs[0], answer.context["run"]
    largest = max(run.saes, key=lambda sae: sae.num_features)
    assert figures.dense_bytes == largest.num_features * run.num_tokens * 4
    assert figures.sparse_bytes == round(largest.record.metrics["l0"] * run.num_tokens) * 8 < figures.dense_bytes
    assert [one.name for one in figures.saes] == [sae.name for sae in run.saes]
    for one, sae in zip(figures.saes, run.saes, strict=True):
        assert one.num_tokens == sae.record.curve[-1]["tokens"]
        assert one.tokens_per_feature == pytest.approx(one.num_tokens / sae.num_features)
    page = Page(answer.text)
    assert f"{run.num_tokens:,} tokens" in page.text
    assert {sae.href for sae in run.saes} <= set(page.links())
    check_nothing_inline(answer.text)


def test_data_is_scaled_by_tokens_per_feature(pages):
    context = pages.get("/method").context
    paper, scaled = context["paper"], context["scaled"]
    assert (paper.num_features, paper.num_contexts) == (PAPER_FEATURES, PAPER_CONTEXTS)
    assert paper.num_tokens == PAPER_CONTEXTS * PAPER_CONTEXT_LENGTH == 10**10
    assert scaled.num_tokens / scaled.num_features == paper.num_tokens / paper.num_features
    assert "80 billion tokens" in Page(pages.get("/method").text).text


def test_every_question_of_the_contents_is_answered(pages):
    text = pages.get("/method").text
    page, contents = Page(text), re.search(r'<ul class="contents">(.*?)</ul>', text, re.DOTALL)
    asked = [link.removeprefix("#") for link in Page(contents[1]).links()]
    answered = {attributes.get("id") for tag, attributes in page.elements if tag == "h2"}
    assert set(asked) == answered


def test_every_page_leads_to_it(pages):
    assert "/method" in Page(pages.get("/").text).links()


def test_an_unknown_run_is_not_found(client):
    answer = client.get("/method?run=none")
    assert answer.status_code == 404
    assert "no run" in answer.text


def test_it_does_without_a_run(tmp_path):
    with TestClient(create_app(Settings(store=tmp_path))) as client:
        answer = client.get("/method")
    assert answer.status_code == 200
    assert "Here:" not in answer.text
