"""Going from page to page in a browser, and the time that passes on one."""

import re

from playwright.sync_api import Page, expect


def arrive(page: Page, address: str | re.Pattern[str]) -> None:
    """Wait until the page at an address has come as a whole, and its scripts listen.

    A click or a key that leads somewhere may return before the page has begun to change: what is read or done right
    after it would be of the page before, or of half the next one.
    """
    expect(page).to_have_url(address)
    page.wait_for_load_state()


def stop_clock(page: Page) -> None:
    """Let no time pass on a page and on those after it: what it shows for a moment stays until the clock goes on."""
    page.clock.install(time=0)
    page.clock.pause_at(1)
