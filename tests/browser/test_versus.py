"""Random features against random neurons, in a real browser, on the fake run."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.mark.parametrize("width", [1280, 390])
def test_everything_is_reached_by_keyboard_and_without_scripts(open_page: Open, width: int) -> None:
    page = open_page("/neurons", width=width, java_script_enabled=False)
    expect(page.get_by_role("heading", name="Yes, by this score.")).to_be_visible()
    page.get_by_role("link", name="neurons", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"group=neurons#drawn"))
    drawn = page.locator("#drawn")
    expect(drawn.locator("li .unit-head").first).to_have_text(re.compile(r"\d+%\s+layer [01], neuron \d+"))
    examples = drawn.locator(".unit-examples").first
    expect(examples).to_be_hidden()
    drawn.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(examples.locator(".centre").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_another_score_is_an_address_and_says_how_far_its_judge_can_be_trusted(open_page: Open) -> None:
    page = open_page("/neurons")
    page.get_by_role("link", name="Specificity, guess").click()
    expect(page).to_have_url(re.compile(r"measure=guess-specificity"))
    expect(page.locator("#result")).to_contain_text("This judge cannot tell right labels from shuffled ones")


def test_a_feature_of_the_list_leads_to_its_page(open_page: Open) -> None:
    page = open_page("/neurons?group=1-relu-256")
    link = page.locator("#drawn .unit-head a").first
    index = link.inner_text().removeprefix("feature ")
    link.click()
    expect(page).to_have_url(re.compile(rf"/tiny/1-relu-256/{index}$"))


def test_the_page_of_an_sae_leads_to_it(open_page: Open) -> None:
    page = open_page("/tiny/1-relu-256")
    page.locator("#neurons").get_by_role("link", name="Random ones of both, judged").click()
    expect(page).to_have_url(re.compile(r"/neurons\?run=fake&group=1-relu-256"))
    expect(page.locator("#drawn-title")).to_contain_text("1-relu-256")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(open_page: Open, scheme: str) -> None:
    page = open_page("/neurons?group=neurons", color_scheme=scheme)
    page.locator("#drawn summary").first.click()
    violations = Axe().run(page).response["violations"]
    assert not [violation["id"] for violation in violations]
