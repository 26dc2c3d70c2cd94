import re

import pytest
from playwright.sync_api import expect

from tests.support.navigation import arrive
from tests.support.views import SERIOUS, check_view, in_every_view

pytestmark = pytest.mark.browser
OPTIONS = ".suggestions [role=option]"


def search_box(page):
    return page.locator(".find input")


def test_the_keyboard_alone_leads_from_any_page_to_a_feature(open_page):
    page = open_page("/tiny/1-relu-64")
    page.keyboard.press("/")
    page.keyboard.type("univ")
    expect(page.locator(OPTIONS).first).to_contain_text("University")
    # An answer to fewer letters may come first, and one that comes later would take the choice back.
    expect(page.locator(OPTIONS).last).to_have_attribute("data-href", re.compile("q=univ$"))
    expect(search_box(page)).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    chosen = page.locator(f"{OPTIONS}[aria-selected=true]")
    expect(chosen).to_have_count(1)
    expect(search_box(page)).to_have_attribute("aria-activedescendant", chosen.get_attribute("id"))
    label, target = chosen.locator(".label").inner_text(), chosen.get_attribute("data-href")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{target}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(label)


def test_suggestions_close_and_enter_without_a_choice_searches(open_page):
    page = open_page("/")
    page.keyboard.press("/")
    page.keyboard.type("river")
    expect(page.locator(OPTIONS).first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(OPTIONS).first).to_be_hidden()
    expect(search_box(page)).to_have_value("river")
    page.keyboard.press("ArrowDown")
    expect(page.locator(OPTIONS).last).to_contain_text("All results")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?q=river$"))
    expect(page.locator(".hit").first).to_be_visible()


def test_a_name_and_enter_lead_to_the_feature(open_page):
    page = open_page("/")
    page.keyboard.press("/")
    page.keyboard.type("1-relu-64/9")
    expect(page.get_by_text("Enter looks for a feature of this name.")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/tiny/1-relu-64/9$"))
    page.goto(page.url.replace("/tiny/1-relu-64/9", "/search"))
    page.get_by_label("What to search for").fill("1-relu-64/9")
    expect(page.locator("#results > p.empty a")).to_have_text("tiny/1-relu-64/9")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/tiny/1-relu-64/9$"))


def test_the_last_suggestion_and_the_mouse_lead_on(open_page):
    page = open_page("/")
    search_box(page).fill("river")
    page.locator(OPTIONS, has_text="All results").click()
    arrive(page, re.compile(r"/search\?q=river$"))
    search_box(page).fill("xylophone")
    expect(page.locator(".suggestions.note")).to_have_text("No feature has these words, or means this.")
    search_box(page).fill("\u200d")
    expect(page.locator(".suggestions.note")).to_contain_text("type a word")
    search_box(page).fill("")
    expect(page.locator(".suggestions.note")).to_be_hidden()


def test_results_follow_what_is_typed_and_the_address_with_them(open_page):
    page = open_page("/search")
    entries = page.evaluate("history.length")
    box = page.get_by_label("What to search for")
    box.press_sequentially("oxf")
    expect(page).to_have_url(re.compile(r"/search\?q=oxf$"))
    expect(page.locator(".hit mark").first).to_have_text(re.compile("oxford", re.IGNORECASE))
    page.locator("select[name=in]").select_option("label")
    page.locator("select[name=sae]").select_option("1-relu-256")
    expect(page).to_have_url(re.compile(r"q=oxf&in=label&sae=1-relu-256$"))
    expect(page.locator(".hit-where").first).to_contain_text("1-relu-256")
    assert page.evaluate("history.length") == entries
    shown = page.locator(".hits").inner_text()
    again = open_page("/" + page.url.split("/", 3)[3])
    assert again.locator(".hits").inner_text() == shown
    expect(again.locator("select[name=in]")).to_have_value("label")
    page.locator(".hit a.label").first.click()
    arrive(page, re.compile("/tiny/1-relu-256/"))
    page.go_back()
    expect(page.locator(".hits")).to_have_text(again.locator(".hits").text_content())


def test_what_goes_wrong_while_typing_is_said_and_can_be_tried_again(open_page):
    page = open_page("/search?q=oxf")
    page.get_by_text("Kind of features, and density").click()
    page.get_by_label("Density from").fill("7")
    expect(page.get_by_role("alert")).to_contain_text("min_density must be at most 1")
    page.get_by_label("Density from").fill("0")
    expect(page.locator(".hit").first).to_be_visible()
    page.context.set_offline(True)
    page.get_by_label("What to search for").fill("river")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".hit mark").first).to_have_text(re.compile("river", re.IGNORECASE))


def test_searching_works_without_scripts(open_page):
    page = open_page("/", java_script_enabled=False)
    search_box(page).fill("river")
    search_box(page).press("Enter")
    expect(page.locator(".hit mark").first).to_be_visible()
    page.locator("select[name=in]").select_option("promoted")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit-foot").first).to_contain_text("found in promoted tokens")


@in_every_view
def test_search_is_accessible_and_fits(open_page, width, scheme):
    for path in ("/search", "/search?q=svg", "/search?q=zzz&in=label&min_density=0.1"):
        page = open_page(path, width=width, color_scheme=scheme)
        if path.endswith("svg"):
            search_box(page).fill("the")
            expect(page.locator(OPTIONS).first).to_be_visible()
            search_box(page).press("ArrowDown")
        check_view(page, width, scheme, impacts=SERIOUS)
