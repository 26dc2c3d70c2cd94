"""The links at the top of a feature's page: to the sections that are there, without scripts and by keyboard."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.fake_run import DEAD
from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "/tiny/1-relu-256/3"


@pytest.mark.parametrize("path", [FEATURE, f"{FEATURE}?context=full", f"/tiny/1-relu-256/{DEAD}"])
def test_every_link_leads_to_its_section(open_page: Open, path: str) -> None:
    page = open_page(path, java_script_enabled=False)
    links = page.locator(".on-this-page a")
    ids = [(link.get_attribute("href") or "").removeprefix("#") for link in links.all()]
    assert all(page.locator(f"[id='{id_}']").count() == 1 for id_ in ids)
    assert len(set(ids)) == len(ids) > 0


def test_scores_are_reached_by_keyboard(open_page: Open) -> None:
    page = open_page(FEATURE, java_script_enabled=False)
    expect(page.locator("#judged")).not_to_be_in_viewport()
    page.get_by_role("link", name="Scores", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Does it mean what its label says?")).to_be_in_viewport()
    assert page.url.endswith("#judged")


def test_sections_without_anything_to_say_are_not_offered(open_page: Open) -> None:
    page = open_page(f"/tiny/1-relu-256/{DEAD}")
    expect(page.locator(".on-this-page a")).to_have_text(["Direct effect", "Neighbours"])


@in_every_view
def test_the_links_fit_and_are_accessible(open_page: Open, width: int, scheme: str) -> None:
    page = open_page(FEATURE, width=width, color_scheme=scheme)
    expect(page.locator(".on-this-page")).to_be_in_viewport()
    check_view(page, width, scheme)
