"""The prompt page in a real browser, on a tiny random Llama."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser
TEXT = "the river <script>alert(1)</script> of University"
LONG = ("a" * 40 + "\n") * 60
"""Long for an address, short for the model: each line is two tokens."""
FEATURE = "tiny/1-relu-64/3"
OpenPage = Callable[..., Page]
IN_ITS_BOX = """(e) => {
  const [box, cell] = [e.closest(".strip").getBoundingClientRect(), e.getBoundingClientRect()];
  return box.top <= cell.top && cell.bottom <= box.bottom + 1;
}"""


def box(page: Page):
    return page.get_by_label("Text", exact=True)


def test_the_prompt_page_reads_as_one_types(open_page: OpenPage) -> None:
    page = open_page("/prompt")
    before = page.evaluate("history.length")
    box(page).press_sequentially(TEXT, delay=5)
    expect(page.locator(".cell").last).to_contain_text(" University")
    expect(page).to_have_url(re.compile("text=the\\+river"))
    assert page.evaluate("history.length") == before
    page.locator("#t4").click()
    expect(page.get_by_role("heading", name="On ␣river")).to_be_visible()
    expect(page.locator(".cell[aria-current]")).to_be_focused()
    rows = page.get_by_role("table", name="Features active on this token").get_by_role("row")
    label = rows.nth(1).locator(".label").inner_text()
    rows.nth(1).get_by_role("link", name="show").click()
    expect(page.locator("#tokens-title")).to_contain_text(label)
    page.reload()
    expect(page.locator("#tokens-title")).to_contain_text(label)


def test_steps_are_undone_by_going_back(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=the+river+of+war")
    last = page.locator(".cell").last.get_attribute("id")
    expect(page.locator(".cell[aria-current]")).to_have_id(last)
    page.locator("#t2").click()
    expect(page.locator("#t2")).to_have_attribute("aria-current", "true")
    page.get_by_label("Rank by").select_option("rare")
    expect(page.locator("#all-title + span")).to_have_text("by rare and strong")
    page.go_back()
    expect(page.locator("#all-title + span")).to_have_text("by strength")
    expect(page.get_by_label("Rank by")).to_have_value("max")
    page.go_back()
    expect(page.locator(".cell[aria-current]")).to_have_id(last)


def test_another_rank_and_another_sae_change_what_is_listed(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=the+river+of+University&sae=tiny/1-relu-64")
    page.get_by_label("Rank by").focus()
    page.get_by_label("Rank by").select_option("mean")
    expect(page.get_by_role("columnheader", name="Mean")).to_be_visible()
    expect(page.get_by_label("Rank by")).to_be_focused()
    page.get_by_role("checkbox", name="1-relu-256").check()
    expect(page.locator(".active .from", has_text="1-relu-256").first).to_be_visible()
    expect(page.locator(".active .from", has_text="1-relu-64").first).to_be_visible()
    assert page.url.count("sae=") == 2
    page.get_by_role("checkbox", name="1-relu-64").uncheck()
    expect(page.locator(".active .from")).to_have_count(0)
    page.get_by_role("checkbox", name="1-relu-256").click()
    expect(page.locator("#status")).to_have_text("One autoencoder must stay chosen: choose another one first.")
    expect(page.get_by_role("checkbox", name="1-relu-256")).to_be_checked()


def test_options_are_folded_on_a_phone_and_open_where_there_is_room(open_page: OpenPage) -> None:
    for scripts in (True, False):
        wide = open_page("/prompt?text=the+river", java_script_enabled=scripts)
        expect(wide.get_by_label("Rank by")).to_be_visible()
        expect(wide.get_by_text("Options")).to_be_hidden()
        narrow = open_page("/prompt?text=the+river", width=390, java_script_enabled=scripts)
        expect(narrow.get_by_label("Rank by")).to_be_hidden()
        narrow.get_by_text("Options").click()
        narrow.get_by_label("Rank by").select_option("mean")
        if not scripts:
            narrow.get_by_role("button", name="Read").click()
        expect(narrow.locator("#options-chosen")).to_contain_text("by mean")


def test_common_features_come_last_until_one_switches(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=the+river+of+University")
    page.locator("#switch-common").click()
    expect(page.get_by_role("checkbox", name="Rank common features like the rest")).to_be_checked()
    expect(page.locator("#switch-common")).to_have_text("Put them last")
    expect(page.locator("#switch-common")).to_be_focused()
    page.get_by_role("checkbox", name="Rank common features like the rest").uncheck()
    expect(page.locator("#switch-common")).to_have_text("Rank them like the rest")


def test_a_token_tells_its_id_on_hover_and_focus_without_a_script_too(open_page: OpenPage) -> None:
    for scripts in (True, False):
        page = open_page("/prompt?text=the+river&token=0", java_script_enabled=scripts)
        about = page.locator("#t2 .about")
        expect(about).to_be_hidden()
        page.locator("#t2").hover()
        expect(about).to_contain_text("id ")
        page.mouse.move(0, 0)
        expect(about).to_be_hidden()
        page.locator("#t1").focus()
        page.keyboard.press("Tab")
        expect(about).to_be_visible()


def test_a_shared_link_opens_the_same_in_a_new_profile(open_page: OpenPage) -> None:
    page = open_page("/prompt?sae=tiny/1-relu-256")
    box(page).fill(TEXT)
    expect(page.locator(".cell").last).to_contain_text(" University")
    page.get_by_label("Rank by").select_option("rare")
    expect(page.locator("#all-title + span")).to_have_text("by rare and strong")
    page.locator("#t3").click()
    expect(page.locator("#t3")).to_have_attribute("aria-current", "true")
    other = open_page(page.url.removeprefix(page.evaluate("location.origin")))
    for part in ("#reading", "#options"):
        assert other.locator(part).inner_text() == page.locator(part).inner_text()
    assert box(other).input_value() == TEXT


@pytest.mark.parametrize("scripts", [True, False])
def test_a_long_prompt_is_stored_and_shared_by_a_short_address(open_page: OpenPage, scripts: bool) -> None:
    page = open_page("/prompt", java_script_enabled=scripts)
    box(page).fill(LONG)
    page.get_by_role("button", name="Read").click()
    expect(page.locator(".cell")).to_have_count(121)
    expect(page).to_have_url(re.compile(r"/prompt\?p=[0-9a-f]{24}&"))
    page.locator("#t5").click()
    expect(page.locator("#t5")).to_have_attribute("aria-current", "true")
    other = open_page(re.search("/prompt.*", page.url)[0], java_script_enabled=scripts)
    assert box(other).input_value() == LONG
    expect(other.locator("#t5")).to_have_attribute("aria-current", "true")


def test_tokens_are_walked_by_keys(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=the+river")
    page.locator(".cell").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#t1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#t1")).to_have_attribute("aria-current", "true")
    expect(page.locator("#t1")).to_be_focused()


def test_a_prompt_that_is_refused_and_a_server_that_is_gone_say_so(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=the")
    box(page).fill("b" * 1500)
    expect(page.get_by_role("alert")).to_contain_text("at most")
    page.context.set_offline(True)
    box(page).fill("the river")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cell").last).to_contain_text("river")


@pytest.mark.parametrize("status", [413, 429, 503])
def test_a_refusal_is_said_in_place_with_a_way_on(open_page: OpenPage, status: int) -> None:
    page = open_page("/prompt?text=the")
    refusal = f'<main id="content"><p class="lede">Refused on purpose, {status}.</p></main>'
    page.route("**/prompt?text=the+river*", lambda route: route.fulfill(status=status, body=refusal))
    box(page).fill("the river")
    expect(page.get_by_role("alert")).to_contain_text("Refused on purpose")
    expect(page.locator("#reading")).not_to_have_attribute("aria-busy", "true")
    page.unroute("**/prompt?text=the+river*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cell").last).to_contain_text("river")


def test_while_the_model_is_loaded_the_page_says_so(open_page: OpenPage) -> None:
    page = open_page("/prompt")
    page.evaluate("document.getElementById('status').dataset.loading = 'The model is being loaded.'")
    held: list[Route] = []
    page.route("**/prompt?text=the*", lambda route: held.append(route))
    box(page).fill("the\n")
    expect(page.get_by_role("status").first).to_have_text("The model is being loaded.")
    held[0].continue_()
    expect(page.locator(".cell").last).to_contain_text("↵")
    expect(page.get_by_role("status").first).to_be_empty()


def test_the_prompt_page_works_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/prompt", java_script_enabled=False)
    box(page).fill(TEXT)
    page.get_by_role("checkbox", name="1-relu-256").check()
    page.get_by_label("Rank by").select_option("mean")
    page.get_by_role("button", name="Read").click()
    page.locator("#t4").click()
    expect(page.get_by_role("heading", name="On ␣river")).to_be_visible()
    page.get_by_role("table", name="Features active on this token").get_by_role("link", name="show").first.click()
    expect(page.locator("tr.chosen").first).to_be_visible()
    expect(page.get_by_label("Rank by")).to_have_value("mean")
    box(page).fill("b" * 1500)
    page.get_by_role("button", name="Read").click()
    expect(page.get_by_role("alert")).to_contain_text("at most")


@in_every_view
@pytest.mark.parametrize(
    "path",
    [
        "/prompt?text=" + "a" * 60,
        f"/prompt?text=the+river&token=2&rank=rare&f={FEATURE}&sae=tiny/1-relu-64&sae=tiny/1-batchtopk-64",
        "/prompt?text=" + "b" * 1500,
    ],
)
def test_nothing_runs_over_the_edge_or_shuts_anyone_out(
    open_page: OpenPage, path: str, width: int, scheme: str
) -> None:
    page = open_page(path, width=width, color_scheme=scheme)
    check_view(page, width, scheme)


def test_the_box_of_tokens_shows_the_chosen_one(open_page: OpenPage) -> None:
    page = open_page("/prompt?text=" + "river+and+" * 50 + "University+.", width=390)
    strip, current = page.locator(".strip"), page.locator(".cell[aria-current]")
    expect(current).to_contain_text("University")
    assert strip.evaluate("e => e.scrollTop") > 0
    assert current.evaluate(IN_ITS_BOX)
    assert page.evaluate("scrollY") == 0
    page.get_by_text("Options").click()
    page.get_by_label("Rank by").select_option("rare")
    expect(page.locator("#all-title + span")).to_have_text("by rare and strong")
    assert current.evaluate(IN_ITS_BOX)
