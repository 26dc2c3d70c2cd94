"""The page of a feature in a real browser, on the fake run: hover, keys, whole documents, a text to try, frames."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.support.fake_run import DEAD, MARKED
from tests.support.navigation import arrive, stop_clock
from tests.support.pages import value_told
from tests.support.serving import serving
from tests.support.views import SERIOUS, check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "/tiny/1-relu-256/3"
PATHS = [
    f"{FEATURE}?kind=contrast&context=16",
    f"{FEATURE}?context=full",
    f"{FEATURE}?embed=1",
    f"/tiny/1-relu-256/{DEAD}?embed=1",
    f"/tiny/1-relu-256/{MARKED}?kind=interval",
]


def values_of(page: Page, address: str, kind: str) -> list[float]:
    """What the API says of the tokens of the first example."""
    answer = page.request.get(f"{address}/api/v1/features{FEATURE}/examples?kind={kind}")
    return [token["value"] for token in answer.json()[0]["tokens"]]


@pytest.mark.parametrize("kind", ["top", "bottom", "contrast", "interval"])
def test_hover_and_focus_tell_the_value_of_the_api(open_page: Open, address: str, kind: str) -> None:
    page = open_page(f"{FEATURE}?kind={kind}")
    values = values_of(page, address, kind)
    strongest = max(range(len(values)), key=values.__getitem__)
    tokens = page.locator(".example").first.locator(".tokens > span:not(.cut)")
    for number in {0, strongest, len(values) - 1}:
        tokens.nth(number).hover()
        told = value_told(page.locator(".tip").inner_text())
        assert told == pytest.approx(values[number], rel=1e-3)
        page.mouse.move(0, 0)
        tokens.nth(number).evaluate("e => { e.tabIndex = 0; e.focus() }")
        assert value_told(page.locator(".tip").inner_text()) == told


def test_the_token_that_is_pointed_at_is_told_of_while_the_page_scrolls(open_page: Open) -> None:
    page = open_page(FEATURE)
    focused = page.locator(".example").first.locator(".centre")
    focused.focus()
    tip = page.locator(".tip")
    told = tip.inner_text()
    page.locator(".example").nth(1).locator(".tokens > span:not([title])").first.hover()
    expect(tip).to_have_text("0")
    page.evaluate("scrollBy(0, 2); new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(tip).to_have_text("0")
    page.mouse.move(0, 0)
    expect(tip).to_have_text(told)
    assert float(told) > 0


def press(page: Page, key: str, address: str) -> None:
    """Press a key that leads to another page, whose own keys work then."""
    page.keyboard.press(key)
    arrive(page, re.compile(address))


def test_everything_by_keyboard(open_page: Open) -> None:
    page = open_page(FEATURE)
    press(page, "c", "context=full")
    press(page, "c", "context=16")
    page.keyboard.press("j")
    expect(page.locator(".example").nth(0).locator(":focus")).to_have_count(1)
    page.keyboard.press("j")
    expect(page.locator(".example").nth(1).locator(":focus")).to_have_count(1)
    page.keyboard.press("k")
    expect(page.locator(".example").nth(0).locator(":focus")).to_have_count(1)
    button = page.get_by_role("button", name="↵")
    page.keyboard.press("n")
    expect(button).to_have_attribute("aria-pressed", "true")
    press(page, "]", r"/4\?context=16$")
    press(page, "[", r"/3\?context=16$")
    page.keyboard.press("/")
    expect(page.locator(".find input")).to_be_focused()
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(re.escape("/steer?f=tiny/1-relu-256/3")))


def keys_of_help(page: Page) -> set[str]:
    page.keyboard.press("?")
    keys = set(page.locator("dialog.help kbd").all_inner_texts())
    page.keyboard.press("Escape")
    return keys


def test_help_lists_the_keys_that_work_here_and_no_others(open_page: Open) -> None:
    assert keys_of_help(open_page(FEATURE)) == {"/", "?", "j", "k", "[", "]", "c", "n", "s", "p", "m", "y", "v", "l"}
    assert keys_of_help(open_page(f"/tiny/1-relu-256/{DEAD}")) == {"/", "?", "[", "]", "y", "v", "l"}
    assert "]" not in keys_of_help(open_page("/tiny/1-relu-256/255"))
    assert keys_of_help(open_page("/docs")) == {"/", "?"}


def test_an_example_leads_to_its_whole_document(open_page: Open) -> None:
    page = open_page(FEATURE)
    text = page.locator(".example").nth(1).locator(".tokens .centre").inner_text()
    page.locator(".example").nth(1).get_by_role("link", name="whole document").click()
    expect(page.locator("#at .centre")).to_have_text(text)
    expect(page.locator("#at .centre")).to_be_in_viewport()
    expect(page.locator(".document")).to_contain_text("example 2 of")
    page.get_by_role("link", name="Next example").click()
    expect(page.locator(".document")).to_contain_text("example 3 of")
    page.wait_for_load_state()
    page.go_back()
    page.go_back()
    expect(page.locator(".example").first).to_be_visible()


def test_a_text_is_tried_in_place(open_page: Open, address: str) -> None:
    text = "the river <script>alert(1)</script> of"
    page = open_page(FEATURE)
    told = page.request.post(f"{address}/api/v1/features{FEATURE}/activations", data={"text": text}).json()
    assert told["highest"] > 0
    page.get_by_label("Try a text on it").fill(text)
    page.get_by_role("button", name="Read").click()
    result = page.locator("#try-result")
    expect(result.locator(".tokens")).to_have_text("<s>" + text)
    expect(result.locator("script")).to_have_count(0)
    expect(result).to_contain_text(f"Highest {told['highest']:.3g}, {told['share']:.0%} of its maximum.")
    strongest = max(range(len(told["tokens"])), key=lambda number: told["tokens"][number]["value"])
    result.locator(".tokens > span").nth(strongest).hover()
    expect(page.locator(".tip")).to_have_text(f"{told['highest']:.4g}")
    page.get_by_label("Try a text on it").fill("a" * 3000)
    page.keyboard.press("Control+Enter")
    expect(result.locator(".problem")).to_contain_text("at most")
    page.get_by_label("Try a text on it").fill("")
    expect(result.locator(".problem")).to_have_count(0)


def test_a_text_is_tried_without_scripts_on_the_prompt_page(open_page: Open) -> None:
    page = open_page(FEATURE, java_script_enabled=False)
    page.get_by_label("Try a text on it").fill("the river")
    page.get_by_role("button", name="Read").click()
    expect(page).to_have_url(re.compile(re.escape("/prompt?f=tiny%2F1-relu-256%2F3&text=the+river")))
    expect(page.locator(".cell").first).to_be_visible()


def test_another_page_may_embed_a_feature_and_nothing_else(browser: Browser, address: str) -> None:
    """The other page is of another origin: the browser refuses what frame-ancestors does not allow.

    A server of its own gives it, for Chromium lets frames ask this machine only on a page that it knows to be from it.
    """
    context = browser.new_context()
    page = context.new_page()
    frames = [f'<iframe src="{address}{path}"></iframe>' for path in (f"{FEATURE}?embed=1", FEATURE)]
    with (
        serving(Starlette(routes=[Route("/", lambda _: HTMLResponse("".join(frames)))])) as outside,
        page.expect_console_message(lambda message: "frame-ancestors" in message.text),
    ):
        page.goto(outside)
    embedded = page.frame_locator("iframe").nth(0)
    expect(embedded.locator(".example").first).to_be_visible()
    assert embedded.locator(".tokens [title]").first.get_attribute("title")
    expect(page.frame_locator("iframe").nth(1).locator(".example")).to_have_count(0)
    with context.expect_page() as opened:
        embedded.get_by_role("link", name="Open in Monosema").click()
    expect(opened.value).to_have_url(address + FEATURE)
    context.close()


def test_the_html_to_embed_is_copied(open_page: Open, address: str) -> None:
    page = open_page(FEATURE, permissions=["clipboard-read", "clipboard-write"])
    stop_clock(page)
    page.locator("details.embed summary").click()
    page.locator("details.embed").get_by_role("button", name="Copy").click()
    expect(page.locator("details.embed").get_by_role("button", name="Copied")).to_be_visible()
    assert f'src="{address}{FEATURE}?embed=1"' in page.evaluate("navigator.clipboard.readText()")


def test_a_dot_of_the_small_map_opens_its_feature(open_page: Open) -> None:
    page = open_page(FEATURE)
    dot = page.locator(".small-map a").last
    target = dot.get_attribute("href")
    dot.locator("circle").dispatch_event("click")
    expect(page).to_have_url(re.compile(re.escape(str(target)) + "$"))


@in_every_view
def test_the_other_views_are_accessible_and_fit(open_page: Open, width: int, scheme: str) -> None:
    for path in PATHS:
        page = open_page(path, width=width, color_scheme=scheme)
        check_view(page, width, scheme, impacts=SERIOUS)
