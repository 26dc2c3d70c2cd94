"""Concepts that have a feature, in a real browser, on the fake run."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
ADDRESS = "/completeness?sae=1-relu-256&show=all"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_reads_without_scripts_at_any_width(open_page: Open, width: int) -> None:
    page = open_page(ADDRESS, width=width, java_script_enabled=False)
    expect(page.locator("h1")).to_have_text(re.compile(r"\d of 6 concepts .* in 1-relu-256"))
    expect(page.locator(".concepts tbody tr")).to_have_count(6)
    expect(page.locator(".frequency .dot").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_lists_and_autoencoders_are_chosen_by_links(open_page: Open) -> None:
    page = open_page(ADDRESS)
    page.get_by_role("link", name="1-batchtopk-64").first.click()
    expect(page.locator("h1")).to_contain_text("1-batchtopk-64")
    page.get_by_role("navigation", name="Lists").get_by_role("link", name="Things of the fake run").click()
    expect(page).to_have_url(re.compile("list=things.*#concepts"))
    page.get_by_role("link", name="Without", exact=True).click()
    expect(page.locator(".concepts")).to_contain_text("Not its own")


def test_a_list_of_ones_own_is_typed_and_answered(open_page: Open) -> None:
    page = open_page(ADDRESS)
    page.get_by_label("One concept a line").fill("# My words\nriver\nmusic")
    page.get_by_role("button", name="Look for them").click()
    expect(page).to_have_url(re.compile("/completeness/lists/[0-9a-f]{24}"))
    expect(page.locator("h1")).to_have_text("My words")
    expect(page.locator(".concepts tbody tr")).to_have_count(2)
    expect(page.locator(".lede")).to_contain_text("of 2 concepts have a feature of their own in 1-relu-256")


def test_what_is_no_list_comes_back_to_be_corrected(open_page: Open) -> None:
    page = open_page(ADDRESS)
    page.get_by_label("One concept a line").fill("river\nriver")
    page.get_by_role("button", name="Look for them").click()
    expect(page.get_by_role("alert")).to_contain_text("'river' twice")
    expect(page.get_by_label("One concept a line")).to_have_value("river\nriver")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(open_page: Open, scheme: str) -> None:
    page = open_page(ADDRESS, color_scheme=scheme)
    violations = Axe().run(page).response["violations"]
    assert not [violation["id"] for violation in violations]
