"""Neurons on the pages of a feature and of an SAE, in a real browser, on the fake run."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.navigation import arrive
from tests.support.views import check_accessible

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
SAE, FEATURE = "/tiny/1-relu-256", "/tiny/1-relu-256/3"


@pytest.mark.parametrize("width", [1280, 390])
def test_examples_of_a_neuron_unfold_by_keyboard_and_without_scripts(open_page: Open, width: int) -> None:
    page = open_page(FEATURE, width=width, java_script_enabled=False)
    first, examples = page.locator("#neurons summary").first, page.locator("#neurons .neuron-examples").first
    expect(first).to_have_text(re.compile(r"layer [01], neuron \d+ [+−]0\.\d\d"))
    expect(examples).to_be_hidden()
    first.focus()
    page.keyboard.press("Enter")
    expect(examples).to_be_visible()
    expect(examples.locator(".centre").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pointing_at_a_token_tells_the_neurons_value(open_page: Open) -> None:
    page = open_page(FEATURE)
    page.locator("#neurons summary").first.click()
    examples = page.locator("#neurons .neuron-examples").first
    examples.locator(".centre").first.hover()
    assert float(page.locator(".tip").inner_text().replace(",", "").replace("−", "-")) != 0
    examples.locator(".tokens > span:not([class], [title])").first.hover()
    expect(page.locator(".tip")).to_have_text("under 1/12 of the strongest")


def test_the_sae_page_leads_to_the_features_most_like_a_neuron(open_page: Open) -> None:
    page = open_page(SAE)
    card = page.locator("#neurons")
    expect(card).to_contain_text("of the features are like no single neuron")
    card.get_by_role("link", name="List those most like a neuron").click()
    arrive(page, re.compile("sort=highest_r#features"))
    shown = [float(cell) for cell in page.locator("td.c-highest_r").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 50


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_neurons_are_accessible(open_page: Open, scheme: str) -> None:
    page = open_page(FEATURE, color_scheme=scheme)
    page.locator("#neurons summary").first.click()
    check_accessible(page, context="#neurons")
