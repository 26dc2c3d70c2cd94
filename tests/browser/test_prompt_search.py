"""The search by prompts in a real browser, on a tiny random Llama."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from backend.engine.engine import Engine
from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]
SEARCH = (
    "/search?by=prompts&pos=the+river+of+University&pos=a+river+%3Cb%3Eand&neg=war+music&at_least=0.01&at_most=1&hide=1"
)
NOTHING = "/search?by=prompts&pos=the+river&pos=a+river&neg=the+river&at_least=0.1&at_most=0.01&hide=1"


def prompt(page: Page, kind: str, number: int):
    return page.get_by_label(f"{kind} prompt {number}", exact=True)


@pytest.mark.parametrize("scripts", [True, False])
def test_type_search_open_and_share(open_page: OpenPage, scripts: bool) -> None:
    page = open_page("/search?by=prompts", java_script_enabled=scripts)
    prompt(page, "Positive", 1).fill("the river of University")
    prompt(page, "Positive", 2).fill("a river <b>and")
    prompt(page, "Negative", 1).fill("war music")
    page.get_by_label("In positives").select_option("0.01")
    page.get_by_label("In negatives").select_option("0.5")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".matches tbody tr").first).to_be_visible()
    expect(page.locator(".steps")).to_be_in_viewport()
    expect(page.locator(".steps tbody tr")).to_have_count(3)
    page.wait_for_load_state()
    first = page.locator(".matches .label").first.inner_text()
    other = open_page(re.search("/search.*", page.url)[0], java_script_enabled=scripts)
    assert other.locator("#found").inner_text() == page.locator("#found").inner_text()
    expect(prompt(other, "Positive", 2)).to_have_value("a river <b>and")
    assert page.locator(".matches td.density").first.evaluate("cell => getComputedStyle(cell).display") == "table-cell"
    page.locator(".matches").get_by_role("link", name="See").first.click()
    expect(page.locator("#tokens-title")).to_contain_text(first)


def test_there_is_always_one_more_text_to_fill(open_page: OpenPage) -> None:
    page = open_page("/search?by=prompts")
    expect(page.locator('[data-name="pos"] textarea')).to_have_count(2)
    prompt(page, "Positive", 1).fill("the")
    expect(page.locator('[data-name="pos"] textarea')).to_have_count(2)
    prompt(page, "Positive", 2).fill("river")
    expect(prompt(page, "Positive", 3)).to_have_value("")
    expect(page.locator('[data-name="neg"] textarea')).to_have_count(2)


def test_a_text_box_grows_with_its_text(open_page: OpenPage) -> None:
    page = open_page("/search?by=prompts")
    box = prompt(page, "Positive", 1)
    before = box.bounding_box()["height"]
    box.fill("the river\n" * 8)
    assert box.bounding_box()["height"] > 2 * before
    box.fill("the river\n" * 200)
    assert box.bounding_box()["height"] <= 0.4 * 900 + 1


@pytest.mark.parametrize("path", [SEARCH, "/prompt?text=the", "/steer"])
def test_what_is_chosen_can_be_read_on_a_phone(open_page: OpenPage, path: str) -> None:
    """A select that sizes itself by its options is not wider than the one on the page."""
    page = open_page(path, width=390)
    cut = page.locator("main select").evaluate_all("""selects => selects.filter((select) => {
        const own = select.cloneNode(true);
        own.style.cssText = "width: max-content; max-width: none; position: absolute";
        select.after(own);
        const cut = own.offsetWidth > select.offsetWidth;
        own.remove();
        return cut;
    }).map((select) => select.name)""")
    assert cut == []


def test_when_nothing_is_left_one_click_brings_something(open_page: OpenPage) -> None:
    page = open_page(NOTHING)
    expect(page.locator(".nothing")).to_contain_text("No feature is active in all of these")
    page.get_by_role("link", name=re.compile("Without negative prompt 1")).click()
    expect(page.locator(".matches tbody tr").first).to_be_visible()
    expect(page.locator(".steps tbody tr")).to_have_count(2)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_model_writes_prompts_that_are_edited_then_searched(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, scripts: bool
) -> None:
    """The words of a random model are replaced."""

    async def write(self: Engine, run: object, asked: list[object]) -> list[str]:
        half = len(asked) // 2
        about = [f"the river number {n} was in the University." for n in range(half)]
        return about + [f"the war number {n} was in Oxford." for n in range(half)]

    monkeypatch.setattr(Engine, "write", write)
    page = open_page("/search?by=prompts", java_script_enabled=scripts)
    page.get_by_label("Topic").fill("rivers")
    page.get_by_label("How many").select_option("3")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Write prompts").click()
    expect(page.locator("#written")).to_contain_text("The model wrote these about “rivers”")
    expect(page.locator("#written")).to_be_in_viewport()
    expect(prompt(page, "Positive", 3)).to_have_value("the river number 2 was in the University.")
    prompt(page, "Positive", 1).fill("the river of University")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".steps .excerpt").first).to_have_text("the river of University")
    expect(page.locator(".steps tbody tr")).to_have_count(6)
    expect(page.get_by_role("button", name="Write others")).to_be_visible()


def test_a_refused_prompt_is_said_in_place_and_nothing_is_lost(open_page: OpenPage) -> None:
    page = open_page("/search?by=prompts")
    prompt(page, "Positive", 1).fill("b" * 1500)
    prompt(page, "Negative", 1).fill("the")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("positive prompt 1 cannot be read")
    expect(prompt(page, "Positive", 1)).to_have_value("b" * 1500)
    expect(prompt(page, "Negative", 1)).to_have_value("the")


@in_every_view
@pytest.mark.parametrize("path", ["/search?by=prompts", SEARCH, NOTHING, "/search?by=prompts&pos=" + "b" * 1500])
def test_nothing_runs_over_the_edge_or_shuts_anyone_out(
    open_page: OpenPage, path: str, width: int, scheme: str
) -> None:
    page = open_page(path, width=width, color_scheme=scheme)
    check_view(page, width, scheme)
