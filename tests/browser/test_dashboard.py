import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.fake_run import DEAD
from tests.support.navigation import arrive, stop_clock
from tests.support.pages import value_told
from tests.support.views import SERIOUS, check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "/tiny/1-relu-256/3"
PATHS = [
    "/",
    "/tiny/1-relu-256",
    FEATURE,
    f"/tiny/1-relu-256/{DEAD}",
    f"/explore?f={FEATURE[1:]}",
    "/search?q=a",
    "/docs",
    "/none",
]


def test_browse_from_home_to_a_neighbour_and_back(open_page: Open):
    page = open_page("/")
    page.get_by_role("link", name="1-relu-256", exact=True).first.click()
    expect(page).to_have_url(re.compile(r"/tiny/1-relu-256$"))
    first = page.locator("table.features tbody tr").first
    label = first.locator("a.label").inner_text()
    first.locator("a.label").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(label)
    feature = page.url
    page.locator(".neighbours a.label").first.click()
    expect(page).not_to_have_url(feature)
    page.wait_for_load_state()
    page.go_back()
    expect(page).to_have_url(feature)
    page.go_back()
    expect(page.locator("table.features")).to_be_visible()


def test_every_kind_of_examples_has_its_tab_and_address(open_page):
    page = open_page(FEATURE)
    for title, kind in [("Intervals", "interval"), ("Bottom", "bottom"), ("Contrast", "contrast"), ("Top", "")]:
        tab = page.locator(".tabs a", has_text=title)
        count = int(tab.locator("span").inner_text())
        tab.click()
        expect(page.locator(".tabs a[aria-current=page]")).to_contain_text(title)
        expect(page.locator(".example")).to_have_count(count)
        assert ("kind=" + kind in page.url) == bool(kind)


def test_n_breaks_lines_at_newlines(open_page: Open):
    page = open_page("/tiny/1-relu-256/0")
    mark = page.locator(".newline").first
    after = "e => getComputedStyle(e, '::after').content"
    assert mark.evaluate(after) == "none"
    page.keyboard.press("n")
    assert mark.evaluate(after) == r'"\a "'
    page.keyboard.press("n")
    assert mark.evaluate(after) == "none"


def test_pages_read_without_scripts(open_page):
    page = open_page(FEATURE + "?kind=bottom", java_script_enabled=False)
    expect(page.locator(".example").first).to_be_visible()
    expect(page.locator(".tokens [title]").first).to_be_visible()
    expect(page.locator("button[type=button]:visible")).to_have_count(0)  # those of forms work
    page.locator(".tabs a", has_text="Top").click()
    expect(page.locator(".tabs a[aria-current=page]")).to_contain_text("Top")


def test_hover_tells_the_value_that_the_api_gives(open_page, address):
    page = open_page(FEATURE)
    example = page.request.get(f"{address}/api/v1/features{FEATURE}/examples").json()[0]
    values = [token["value"] for token in example["tokens"]]
    line = page.locator(".example .tokens").first
    for place in (0, values.index(max(values)), len(values) - 1):
        line.locator("span:not(.cut)").nth(place).hover()
        shown = page.locator(".tip").inner_text()
        assert value_told(shown) == pytest.approx(values[place], rel=1e-3)


def test_arrow_keys_walk_through_the_tokens(open_page):
    page = open_page(FEATURE)
    page.locator('.tokens [tabindex="0"]').first.focus()
    expect(page.locator(".tip")).to_be_visible()
    focused = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.textContent") == focused


def test_keys_lead_where_the_help_says(open_page):
    page = open_page(FEATURE)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("]")
    arrive(page, re.compile("/4$"))
    page.keyboard.press("[")
    arrive(page, re.compile("/3$"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    inside = "[...document.querySelectorAll('.example')].findIndex((e) => e.contains(document.activeElement))"
    assert page.evaluate(inside) == 1
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("oxford]\n")
    expect(page).to_have_url(re.compile("/search"))


def test_copy_link(open_page, address):
    page = open_page(FEATURE, permissions=["clipboard-read", "clipboard-write"])
    stop_clock(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == address + FEATURE
    page.clock.run_for("00:02")
    expect(page.get_by_role("button", name="Copy link")).to_be_visible()
    page.goto(f"{address}{FEATURE}?kind=contrast&context=16")
    page.keyboard.press("y")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{address}{FEATURE}?kind=contrast&context=16"


def test_filters_and_sorting_are_in_the_address(open_page):
    page = open_page("/tiny/1-relu-256")
    page.get_by_label("Label contains").fill("a")
    page.locator("select[name=kind]").select_option("all but dead")
    page.get_by_role("button", name="Apply").click()
    arrive(page, re.compile("kind="))
    page.get_by_role("link", name="Density").click()
    arrive(page, re.compile("sort=density"))
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Density")
    rows = page.locator("table.features tbody").inner_text()
    again = open_page(page.url.split("/", 3)[3].join(["/", ""]))
    assert again.locator("table.features tbody").inner_text() == rows


def test_plots_are_drawn(open_page):
    page = open_page("/tiny/1-relu-256")
    for plot in page.locator("[data-plot]").all():
        plot.scroll_into_view_if_needed()
        expect(plot.locator(".js-line, .point path").first).to_be_attached()


def test_the_chosen_theme_stays_and_does_not_flash(open_page):
    page = open_page("/", color_scheme="light")
    page.get_by_role("button", name="Change between light and dark").click()
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.goto(page.url + "docs", wait_until="commit")
    page.wait_for_selector("header")
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Change between light and dark").click()
    assert page.evaluate(background) != dark


@in_every_view
def test_pages_are_accessible_and_fit(open_page, width, scheme):
    for path in PATHS:
        page = open_page(path, width=width, color_scheme=scheme)
        if path.startswith("/explore"):
            page.wait_for_selector("#map[data-drawn]")
        check_view(page, width, scheme, impacts=SERIOUS)
