"""The form of the steering page in a browser: what is asked of it, and what must stand there then."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.steering import FEATURE

OpenPage = Callable[..., Page]
ASKED = f"/steer?f={FEATURE}:4&prompt=the+river&temperature=0&new_tokens=12"


def steer(page: Page) -> None:
    page.locator("#go").click()


def open_settings(page: Page) -> None:
    page.locator(".options summary").click()


def written(page: Page, row: int) -> str:
    return page.locator(f'[data-row="{row}"] .new').all_inner_texts().__str__()


def expect_a_message(page: Page, words: str | re.Pattern[str], again: bool = False) -> None:
    """A message in place, with a button where asking again may help; nothing turns for ever, no column is blank."""
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(words)
    expect(alert.get_by_role("button", name="Try again")).to_have_count(int(again))
    expect(page.locator("#go")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#progress")).to_be_empty()
    for column in page.locator("#texts .text").all():
        expect(column.locator(".ending")).not_to_be_empty()


def expect_it_goes_on(page: Page, button: str = "Try again") -> None:
    """The way on leads to the end."""
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#progress")).to_contain_text("24 tokens in")
    expect(page.get_by_role("alert")).to_have_count(0)
