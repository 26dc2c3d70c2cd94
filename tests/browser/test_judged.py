"""What judges say of a feature over its range: the plot and the table, in a real browser, on the fake run."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "/tiny/1-relu-256/3?judge=rule"
HOVER = re.compile(r"(\d+–\d+%) of its maximum: (\d+) of \d+ got (\d)")


def highest_bar(plot: Locator) -> dict[str, float]:
    """Where the highest bar lies."""
    plot.scroll_into_view_if_needed()
    expect(plot).to_have_attribute("data-drawn", "")  # clicks are heard from then on
    boxes = [box for bar in plot.locator(".point path").all() if (box := bar.bounding_box())]
    return max(boxes, key=lambda box: box["height"])


@pytest.mark.parametrize("width", [1280, 390])
def test_a_bar_leads_to_the_texts_that_got_its_answer(open_page: Open, width: int) -> None:
    page = open_page(FEATURE, width=width)
    plot = page.locator("#judged [data-plot]")
    box = highest_bar(plot)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = plot.locator(".hovertext")
    expect(told).to_have_text(HOVER)
    found = HOVER.search(told.text_content() or "")
    assert found is not None
    band, num, answer = found.groups()
    page.mouse.down()
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"judge=rule&band=\d&score={answer}#judged-list"))
    expect(page.locator("#judged-list")).to_have_text(f"{band} of its maximum, answer {answer}")
    expect(page.locator("#judged .example-list > *")).to_have_count(int(num))
    expect(page.locator("#judged .centre").first).to_be_visible()


def test_a_share_of_the_table_leads_to_the_same_without_scripts(open_page: Open) -> None:
    page = open_page(FEATURE, java_script_enabled=False)
    expect(page.locator(".judged-plot")).to_be_hidden()
    cell = page.locator(".judged-table td a").first
    named = re.match(r"(\S+), answer (\d)", cell.get_attribute("aria-label") or "")
    assert named is not None
    cell.click()
    expect(page.locator("#judged-list")).to_have_text(f"{named[1]} of its maximum, answer {named[2]}")
    expect(page.locator("#judged .example-list > *").first).to_be_visible()
