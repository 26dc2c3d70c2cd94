"""Attribution on the prompt page and the further readings of an example, in a real browser on the fake run."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "/tiny/1-relu-256/3"
PROMPT = "/prompt?text=the+river+of+a+University&target=%2370&k=20"


def test_an_open_reading_is_in_the_address(open_page: Open) -> None:
    page = open_page(FEATURE)
    page.locator(".example").nth(1).get_by_role("link", name="what it changed").click()
    expect(page).to_have_url(re.compile("#top-1-effects$"))
    again = open_page(f"{FEATURE}#top-1-effects")
    shown = again.locator(".example").nth(1).locator(".example-reading:not([aria-busy]) .tokens")
    expect(shown).to_have_count(1)
    expect(again.locator(".example-reading")).to_have_count(1)
    again.locator(".example").nth(1).get_by_role("link", name="what it changed").click()
    expect(again).to_have_url(re.compile(f"{FEATURE}$"))


@pytest.mark.parametrize(("link", "reading"), [("why it fired", "causes"), ("what it changed", "effects")])
def test_an_example_is_read_further_in_place_as_on_its_own_page(open_page: Open, link: str, reading: str) -> None:
    page = open_page(FEATURE)
    example = page.locator(".example").nth(1)
    asked = example.get_by_role("link", name=link)
    href = asked.get_attribute("href")
    asked.click()
    shown = example.locator(".example-reading:not([aria-busy]) .tokens")
    expect(shown).to_have_count(1)
    tokens = shown.inner_text()
    asked.click()
    expect(example.locator(".example-reading")).to_have_count(0)
    assert page.url.endswith(FEATURE)
    alone = open_page(href, java_script_enabled=False)
    assert alone.locator("#signed .tokens").inner_text() == tokens
    assert f"reading={reading}" in href or reading == "causes"


def test_a_failed_reading_says_so_and_can_be_asked_again(open_page: Open) -> None:
    page = open_page(FEATURE)
    page.route("**/example?*", lambda route: route.abort("connectionreset"))
    asked = page.locator(".example").first.get_by_role("link", name="why it fired")
    asked.click()
    box = page.locator(".example").first.locator(".example-reading")
    expect(box).to_contain_text("cannot be reached")
    page.unroute("**/example?*")
    asked.click()
    expect(box.locator(".tokens")).to_have_count(1)


def test_a_likely_token_is_chosen_without_leaving_the_page(open_page: Open) -> None:
    page = open_page("/prompt?text=the+river+of+a+University")
    page.locator("#attribution").get_by_role("link", name="Choose an output").click()
    page.locator(".likely a").first.click()
    expect(page.locator(".attributed table")).to_have_count(1)
    page.locator("#attribution").get_by_role("link", name="effect of ablation").click()
    expect(page).to_have_url(re.compile("by=effect"))
    first = page.locator(".attributed tbody tr").first
    expect(first.locator("td").last).to_contain_text("#1")


def test_the_form_works_without_scripts(open_page: Open) -> None:
    page = open_page("/prompt?text=the+river+of+a+University&target=", java_script_enabled=False)
    page.locator("#target").fill("#71")
    page.locator("#minus").fill("#70")
    page.locator("#position").select_option("2")
    page.get_by_role("button", name="Explain").click()
    expect(page).to_have_url(re.compile("target=%2371.*position=2"))
    expect(page.locator(".attributed table")).to_have_count(1)


def test_a_table_of_causes_fits_on_a_phone(open_page: Open) -> None:
    page = open_page(f"{PROMPT}&token=1", width=390)
    wrap = page.locator(".attributed .table-wrap").first
    assert wrap.evaluate("wrap => wrap.scrollWidth <= wrap.clientWidth")
    expect(page.get_by_role("columnheader", name="Effect")).to_be_visible()
    about = page.locator(".cell[aria-current] .about")
    assert about.evaluate("line => line.scrollWidth <= line.clientWidth && line.offsetHeight <= 48")


@in_every_view
@pytest.mark.parametrize("path", [PROMPT, f"{FEATURE}/example", f"{FEATURE}/example?reading=effects"])
def test_pages_fit_and_can_be_read(open_page: Open, path: str, width: int, scheme: str) -> None:
    page = open_page(path, width=width, color_scheme=scheme)
    check_view(page, width, scheme)
