"""Text in the scripts of the world: every character is seen, and what is read from right to left stands so."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, Page, expect

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.scripts import PERSIAN, publish_scripts_run
from tests.support.serving import serving

pytestmark = pytest.mark.browser
ESCAPED = re.compile(r"\\u[0-9a-f]{4}")
FEATURE = "/tiny/1-relu-64/3"
WIDTHS = pytest.mark.parametrize("width", [1280, 390])


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = StorePaths(tmp_path_factory.mktemp("scripts") / "store")
    publish_scripts_run(store)
    with serving(create_app(Settings(store=store.root))) as address:
        yield address


MEASURE = """all => all.map(e => {
  const text = e.textContent, range = document.createRange();
  if (!text.trim() || e.childElementCount) range.selectNode(e);
  else {
    range.setStart(e.firstChild, text.length - text.trimStart().length);
    range.setEnd(e.firstChild, text.trimEnd().length);
  }
  const box = range.getBoundingClientRect();
  return [text, box.left, box.right, box.top];
})"""
"""The room that tokens take, without the spaces around their letters, which may stand elsewhere."""


def boxes(tokens: Locator) -> list[tuple[str, float, float, float]]:
    """Text, left, right and top of each token that takes room."""
    return [tuple(one) for one in tokens.evaluate_all(MEASURE) if one[2] > one[1]]


def check_order(found: list[tuple[str, float, float, float]], *, leftwards: bool) -> None:
    """Every token stands beside the one before it, or in a later line."""
    for (before, left, right, top), (after, next_left, next_right, next_top) in pairwise(found):
        if next_top > top + 5:
            continue
        ordered = next_right <= left + 1 if leftwards else next_left >= right - 1
        assert ordered, f"{after!r} after {before!r}"


@WIDTHS
def test_a_sentence_from_right_to_left_stands_so(open_page: Callable[..., Page], width: int) -> None:
    page = open_page(FEATURE, width=width)
    page.get_by_label("Try a text on it").fill(f"{PERSIAN} {PERSIAN}")
    page.get_by_role("button", name="Read", exact=True).click()
    line = page.locator("#try-result .tokens")
    expect(line).to_have_attribute("dir", "rtl")
    check_order(boxes(line.locator("span"))[1:], leftwards=True)
    assert PERSIAN in line.inner_text()


@WIDTHS
def test_other_letters_in_it_keep_their_own_order(open_page: Callable[..., Page], width: int) -> None:
    page = open_page(FEATURE, width=width)
    page.get_by_label("Try a text on it").fill("من New York کتاب را می\u200cخواهم")
    page.get_by_role("button", name="Read", exact=True).click()
    line = page.locator("#try-result .tokens")
    expect(line).to_have_attribute("dir", "rtl")
    found = boxes(line.locator("span"))
    latin = [one for one in found if re.fullmatch(r" ?[A-Za-z]+", one[0])]
    assert "".join(one[0].strip() for one in latin) == "NewYork"
    check_order(latin, leftwards=False)
    check_order([one for one in found if re.fullmatch(r" ?[آ-ی]+", one[0])], leftwards=True)


@WIDTHS
def test_the_strip_of_a_prompt_goes_from_right_to_left(open_page: Callable[..., Page], width: int) -> None:
    page = open_page(f"/prompt?text={PERSIAN}", width=width)
    strip = page.locator(".strip")
    expect(strip).to_have_attribute("dir", "rtl")
    check_order(boxes(strip.locator(".tok")), leftwards=True)
    mark = strip.locator(".tok").get_by_text("‹ZWNJ›").first
    expect(mark).to_have_attribute("title", "zero width non-joiner")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("path", [FEATURE, "/tiny/1-relu-64", "/search?q=ไทย", "/"])
def test_every_character_is_itself_or_a_mark_with_a_name(open_page: Callable[..., Page], path: str) -> None:
    page = open_page(path)
    assert not ESCAPED.search(page.locator("body").inner_text())
    unseen = page.locator(".tokens .unseen")
    for one in unseen.all()[:20]:
        assert one.get_attribute("title") or one.get_attribute("data-value")
        assert one.evaluate("e => e.getBoundingClientRect().width") > 0
    for one in page.locator(".tokens .part").all()[:20]:
        assert "part of a character" in (one.get_attribute("title") or one.get_attribute("data-value") or "")


@pytest.mark.parametrize("query", ["ไทย", "C++", "x86-64", "میخواهم", "北京"])
def test_words_are_found_and_marked_whatever_their_script(open_page: Callable[..., Page], query: str) -> None:
    page = open_page(f"/search?q={query.replace('+', '%2B')}")
    marked = page.locator(".hits mark, .hit mark")
    expect(marked.first).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(query)
    expect(page.locator(".suggestions [role=option]").first).to_be_visible()
