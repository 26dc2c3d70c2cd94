"""What holds of a page in every view, by width and palette: everybody can read it, and nothing runs over its edge."""

from collections.abc import Collection

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

OTHER = {"light": "dark", "dark": "light"}
SERIOUS = ("serious", "critical")
VIOLATIONS = {"resultTypes": ["violations"]}
"""Lets axe describe no element that it finds nothing wrong with."""
BEYOND = """(width) => [...document.querySelectorAll("main *")]
  .filter((e) => e.getBoundingClientRect().right > width && !e.closest(".table-wrap"))
  .map((e) => `${e.tagName}.${e.className}`).slice(0, 8)"""
"""Elements that reach beyond the page's width."""

in_every_view = pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
"""Runs a test for each `width`, and each `scheme` that a page is opened and read by axe in."""


def check_view(page: Page, width: int, scheme: str, *, impacts: Collection[str] | None = None) -> None:
    """A page opened in a view fits into it, in the other palette too; axe finds nothing of these impacts, or of any."""
    check_fits(page, width)
    check_accessible(page, impacts=impacts)
    page.emulate_media(color_scheme=OTHER[scheme])
    check_fits(page, width)


def check_fits(page: Page, width: int) -> None:
    """Nothing runs over the page's edge."""
    found = page.evaluate("document.documentElement.scrollWidth")
    assert found <= width, (page.url, found, page.evaluate(BEYOND, width))


def check_accessible(page: Page, *, context: str | None = None, impacts: Collection[str] | None = None) -> None:
    """axe finds nothing in the page, or in what `context` selects: of these impacts, or of any."""
    violations = Axe().run(page, context=context, options=VIOLATIONS).response["violations"]
    found = [one for one in violations if impacts is None or one["impact"] in impacts]
    shown = [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:200]) for one in found]
    assert not found, (page.url, shown)
